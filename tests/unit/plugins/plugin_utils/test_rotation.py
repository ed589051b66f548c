# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a rotation, against the simulator and an escrow in memory."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client, Connection
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError, InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _escrow
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Claim
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_backend import EscrowError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._gate import Gate, HealthGate
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import Options
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation

from tests.harness.simulator import Simulator
from tests.unit.plugins.plugin_utils.memory import MemoryEscrow

TUNNELS = 8
DEVICE = "paris"
SET = {"route": "psk_set", "validate_only": False}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator(tunnels=TUNNELS) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: Simulator) -> Simulator:
    running.clear_faults()
    running.reset()
    return running


@pytest.fixture
def escrow() -> MemoryEscrow:
    return MemoryEscrow()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def rotation(simulator: Simulator, escrow: MemoryEscrow, said: list[str]) -> Rotation:
    return make(simulator, escrow, say=said.append)


def make(simulator: Simulator, escrow: MemoryEscrow, **fields: Any) -> Rotation:
    """A rotation of an account, by one run whose lease does not end."""
    connection = Connection(simulator.account, simulator.token, base_url=simulator.base_url, retries=0)
    given: dict[str, Any] = {"claim": claim, "say": str, **fields}
    return Rotation(client=Client(connection), backend=escrow, **given)


def claim(rotation_id: str) -> Claim:
    now = time.time()
    return Claim(rotation_id, "this run", now, now + 900)


def options(**fields: Any) -> Options:
    given = {
        "hosts": frozenset(["localhost"]),
        "max_age": None,
        "force": True,
        "wave_size": 1000,
        "canary": 0,
        "group_by": "auto",
        "confirmation": "none",
        "max_failures": "0",
        "summaries": {},
        "adopt": True,
        "mode": "rotate",
        "rollback_id": "",
        "now": time.time_ns(),
    }
    return Options(**{**given, **fields})


def begin(rotation: Rotation, *, preflight: bool = True, **fields: Any) -> dict[str, Any]:
    return rotation.begin(options(**fields), {"localhost": ["all"]}, has_devices=False, preflight=preflight)


def begin_with_device(rotation: Rotation, **fields: Any) -> dict[str, Any]:
    """One device with two tunnels, so two waves."""
    pair = [x["name"] for x in rotation.client.list_tunnels()][:2]
    wanted = options(hosts=frozenset([DEVICE]), **fields)
    return rotation.begin(wanted, {DEVICE: pair}, has_devices=True, preflight=False)


def results(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [result for own in state["results"].values() for result in own]


def truth(simulator: Simulator) -> dict[str, str]:
    return {x["id"]: x["psk"] for x in simulator.state()["tunnels"]}


def done(state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """What a device says that has its keys."""
    return {DEVICE: {"wave": state["token"], "done": True, "failed": {}, "finished": str(time.time()), **fields}}


def states(escrow: MemoryEscrow) -> set[str]:
    return {x.record["state"] for x in escrow.records.values()}


def test_without_devices_the_first_step_does_everything(
    rotation: Rotation, simulator: Simulator, escrow: MemoryEscrow
) -> None:
    state = begin(rotation)
    assert {x["status"] for x in results(state)} == {"promoted"}
    assert {x["id"]: x["psk"] for x in results(state)} == truth(simulator)
    assert {i: x.record["current"]["psk"] for i, x in escrow.records.items()} == truth(simulator)
    assert state["changed"] is True


def test_a_wave_is_one_request_beside_the_list_and_the_validation(rotation: Rotation, simulator: Simulator) -> None:
    state = begin(rotation, wave_size=2)
    operations = [(x["operation"], x["validate_only"]) for x in simulator.journal() if x["event"] == "settled"]
    assert operations == [("list", False), ("psk_set", True)] + [("psk_set", False)] * len(state["waves"])


def test_each_wave_is_told(rotation: Rotation, said: list[str]) -> None:
    begin(rotation, wave_size=4)
    assert re.fullmatch(r"wave 1 of 2: 4 tunnels, 4 promoted, \d\.\d s", said[0])
    assert len(said) == 2


def test_a_wave_with_devices_is_told_when_they_have_reported(rotation: Rotation, said: list[str]) -> None:
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    assert said == []
    rotation.settle(state, done(state))
    assert re.fullmatch(r"wave 1 of 2: 1 tunnel, 1 promoted, \d\.\d s", said[0])


def test_turning_back_is_told_beside_its_wave(rotation: Rotation, said: list[str]) -> None:
    begin(rotation)
    said.clear()
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    state = rotation.turn_back(rotation.settle(state, done(state, done=False, reason="no")))
    rotation.settle(state, done(state))
    assert [line.rpartition(", ")[0] for line in said] == [
        "wave 1 of 2: 1 tunnel, 1 failed",
        "wave 1 of 2, turning back: 1 tunnel, 1 rolled_back",
    ]


def test_the_escrow_keeps_the_wave_and_how_long_the_device_took(rotation: Rotation, escrow: MemoryEscrow) -> None:
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    state = rotation.settle(state, done(state, finished=str(time.time() + 5)))
    (shown,) = [_escrow.view(x.record) for x in escrow.records.values()]
    assert shown["wave"] == 1
    assert shown["exposure_seconds"] == results(state)[0]["exposure_seconds"] > 4


def test_results_are_in_the_order_of_the_account(rotation: Rotation) -> None:
    state = begin(rotation)
    assert [x["id"] for x in results(state)] == [x["id"] for x in rotation.client.list_tunnels()]


def test_a_dry_rotation_validates_and_writes_nothing(simulator: Simulator, escrow: MemoryEscrow) -> None:
    before = truth(simulator)
    state = begin(make(simulator, escrow, dry=True))
    assert {x["status"] for x in results(state)} == {"planned"}
    assert state["changed"] is True
    assert (truth(simulator), simulator.writes(), escrow.records) == (before, 0, {})


def test_what_the_api_would_refuse_stops_everything_before_the_first_write(
    rotation: Rotation, simulator: Simulator, escrow: MemoryEscrow
) -> None:
    simulator.arm({"route": "psk_set", "validate_only": True, "unapplied": 1, "count": 0})
    with pytest.raises(CloudflareError, match=r"the API would refuse: .*1 unapplied.*nothing was written"):
        begin(rotation)
    assert (simulator.writes(), escrow.records) == (0, {})


def test_bad_options_are_refused_before_anything_is_stored(rotation: Rotation, escrow: MemoryEscrow) -> None:
    with pytest.raises(InputError, match="psk_rotation_group_by"):
        begin(rotation, group_by="(")
    assert escrow.records == {}


def test_after_too_many_failures_no_wave_begins(rotation: Rotation, simulator: Simulator) -> None:
    simulator.arm({**SET, "unapplied": 1, "count": 1})
    state = begin(rotation, wave_size=2)
    assert sorted(x["status"] for x in results(state)) == ["promoted"] + ["stopped"] * 6 + ["unapplied"]
    assert simulator.writes() == 1


def test_a_run_that_has_ended_sends_nothing_that_it_prepared(simulator: Simulator, escrow: MemoryEscrow) -> None:
    def ended(rotation_id: str) -> Claim:
        if escrow.records:
            raise EscrowError("the run that asked for this has ended")
        return claim(rotation_id)

    with pytest.raises(EscrowError, match="has ended"):
        begin(make(simulator, escrow, claim=ended))
    assert simulator.writes() == 0
    assert states(escrow) == {"prepared"}


def test_a_run_that_has_ended_writes_down_what_it_has_sent(simulator: Simulator, escrow: MemoryEscrow) -> None:
    def ended(rotation_id: str) -> Claim:
        if simulator.writes():
            raise EscrowError("the run that asked for this has ended")
        return claim(rotation_id)

    begin(make(simulator, escrow, claim=ended), group_by="(?P<group>.*)")
    assert {i: x.record["current"]["psk"] for i, x in escrow.records.items()} == truth(simulator)


def test_a_lost_answer_leaves_the_tunnel_in_doubt_and_the_next_run_sends_the_same_psk(
    rotation: Rotation, simulator: Simulator, escrow: MemoryEscrow
) -> None:
    simulator.arm({**SET, "status": 503, "when": "before", "count": 0})
    begin(rotation)
    assert states(escrow) == {"in_doubt"}
    pending = {i: x.record["pending"]["psk"] for i, x in escrow.records.items()}
    simulator.clear_faults()
    begin(rotation, force=False, mode="reconcile")
    assert {i: truth(simulator)[i] for i in pending} == pending


def test_a_device_that_reports_back_has_its_psk_confirmed(rotation: Rotation, escrow: MemoryEscrow) -> None:
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    assert [x["status"] for x in state["in_flight"]] == ["applied"]
    state = rotation.settle(state, done(state, verified=True))
    assert sorted(x["status"] for x in results(state)) == ["confirmed", "due"]
    assert (state["in_flight"], state["turn_back"]) == ([], [])
    assert states(escrow) == {"idle"}


def test_a_device_that_was_not_reached_is_left_alone(rotation: Rotation, simulator: Simulator) -> None:
    state = rotation.wave(begin_with_device(rotation), 0, [])
    assert sorted(x["status"] for x in results(state)) == ["due", "unreached"]
    assert simulator.writes() == 0


def test_a_second_wave_waits_for_the_first_of_its_group(rotation: Rotation, simulator: Simulator) -> None:
    state = rotation.wave(begin_with_device(rotation, max_failures="100%"), 0, [])
    state = rotation.wave(state, 1, [DEVICE])
    assert sorted(x["status"] for x in results(state)) == ["skipped", "unreached"]
    assert simulator.writes() == 0


def test_a_failed_device_gets_its_earlier_psk_back(
    rotation: Rotation, simulator: Simulator, escrow: MemoryEscrow
) -> None:
    begin(rotation)
    before = truth(simulator)
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    state = rotation.settle(state, {})
    assert [x["status"] for x in state["turn_back"]] == ["failed"]
    state = rotation.turn_back(state)
    assert truth(simulator) == before
    assert [x["status"] for x in state["in_flight"]] == ["rolling_back"]
    state = rotation.settle(state, done(state))
    assert "rolled_back" in [x["status"] for x in results(state)]
    assert {x["id"]: x["psk"] for x in results(state)}.items() <= before.items()
    assert states(escrow) == {"idle"}


def test_after_a_device_that_could_not_be_turned_back_the_next_wave_goes_forward(
    rotation: Rotation, simulator: Simulator
) -> None:
    pairs = [x["name"] for x in rotation.client.list_tunnels()][:4]
    claims = {DEVICE: pairs[:2], "rome": pairs[2:]}
    wanted = options(hosts=frozenset(claims), max_failures="100%")
    state = rotation.begin(wanted, claims, has_devices=True, preflight=False)
    state = rotation.wave(state, 0, list(claims))
    state = rotation.turn_back(rotation.settle(state, done(state)))
    assert "no earlier PSK is known" in str(state["results"]["rome"])
    state = rotation.wave(state, 1, list(claims))
    assert [x["status"] for x in state["in_flight"]] == ["applied"]
    assert [x["host"] for x in state["in_flight"]] == [DEVICE]


def gated(simulator: Simulator, escrow: MemoryEscrow, said: list[str], **fields: Any) -> Rotation:
    """A rotation with a health gate that does not wait long."""
    plain = make(simulator, escrow, say=said.append, **fields)
    return replace(plain, gate=HealthGate(plain.client, Gate(deadline=0.1, interval=0.05), said.append))


def set_health(simulator: Simulator, health: str, *numbers: int) -> None:
    tunnels = simulator.state()["tunnels"]
    for number in numbers:
        simulator.patch_tunnel(tunnels[number]["id"], health=health)


def test_a_tunnel_is_left_alone_while_what_backs_it_up_is_down(
    simulator: Simulator, escrow: MemoryEscrow, said: list[str]
) -> None:
    set_health(simulator, "down", 1)
    rotation = gated(simulator, escrow, said)
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    first = results(state)[0]
    assert first["status"] == "unhealthy"
    assert "nothing backs it up now" in first["reason"]
    assert simulator.writes() == 0


def test_a_tunnel_that_does_not_get_healthy_in_time_has_failed(
    simulator: Simulator, escrow: MemoryEscrow, said: list[str]
) -> None:
    set_health(simulator, "healthy", 1)
    set_health(simulator, "down", 0)
    rotation = gated(simulator, escrow, said)
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    state = rotation.settle(state, done(state))
    (failed,) = state["turn_back"]
    assert "after 0.1 s" in failed["reason"]
    assert "is down" in failed["reason"]
    assert any(x.startswith("health of the wave: 1 down") for x in said)


def test_a_tunnel_that_is_healthy_passes(simulator: Simulator, escrow: MemoryEscrow, said: list[str]) -> None:
    set_health(simulator, "degraded", 0, 1)
    rotation = gated(simulator, escrow, said)
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    state = rotation.settle(state, done(state, verified=True))
    assert results(state)[0]["status"] == "confirmed"


def test_a_check_run_does_not_wait_for_health_and_says_so(
    simulator: Simulator, escrow: MemoryEscrow, said: list[str]
) -> None:
    set_health(simulator, "healthy", 1)
    set_health(simulator, "down", 0)
    rotation = gated(simulator, escrow, said, dry=True)
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    state = rotation.settle(state, done(state))
    assert results(state)[0]["status"] == "planned"
    assert said[0] == "health of the wave: not waited for in a check run"


def test_a_gate_without_device_tasks_is_refused(simulator: Simulator, escrow: MemoryEscrow, said: list[str]) -> None:
    with pytest.raises(InputError, match="psk_rotation_health needs device or verify tasks"):
        begin(gated(simulator, escrow, said))
    assert escrow.records == {}


def test_evidence_of_the_forward_way_does_not_count_for_the_way_back(rotation: Rotation) -> None:
    begin(rotation)
    state = rotation.wave(begin_with_device(rotation), 0, [DEVICE])
    old = done(state, done=False)
    state = rotation.turn_back(rotation.settle(state, old))
    state = rotation.settle(state, {DEVICE: {**old[DEVICE], "done": True}})
    assert "rolling_back" in [x["status"] for x in results(state)]


def test_a_psk_that_somebody_sets_while_devices_are_busy_is_not_overwritten(
    rotation: Rotation, simulator: Simulator, escrow: MemoryEscrow
) -> None:
    begin(rotation)
    state = begin_with_device(rotation, max_age=0, force=False)
    tunnel = state["waves"][0][0]["id"]
    simulator.patch_tunnel(tunnel, psk="somebody-else-has-set-this-key-in-the-dashboard")
    state = rotation.wave(state, 0, [DEVICE])
    assert escrow.records[tunnel].record["state"] == "stuck"
    assert "stuck" in [x["status"] for x in results(state)]
    assert truth(simulator)[tunnel].startswith("somebody")


def test_manual_confirmation_leaves_the_tunnels_to_a_later_run(rotation: Rotation, escrow: MemoryEscrow) -> None:
    state = begin(rotation, confirmation="manual", group_by="(?P<group>.*)")
    assert {x["status"] for x in results(state)} == {"waiting"}
    assert states(escrow) == {"applied"}
    found = rotation.begin(
        options(mode="confirm", force=False), {"localhost": ["all"]}, has_devices=False, preflight=False
    )
    assert len(found["in_flight"]) == TUNNELS
    evidence = {"localhost": {"wave": found["token"], "done": True, "failed": {}, "finished": str(time.time())}}
    state = rotation.settle(found, evidence)
    assert {x["status"] for x in results(state)} == {"promoted"}
    assert states(escrow) == {"idle"}
