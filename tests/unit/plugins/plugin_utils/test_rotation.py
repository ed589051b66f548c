# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a rotation, against the simulator and a store in memory."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError, InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._gate import Gate, HealthGate
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Claim
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import in_check, summary
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._run import Memory
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._shown import shown
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Result, State, load
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_overlay import OverlayStore

from tests.harness.simulator import Simulator
from tests.unit.plugins.plugin_utils.memory import MemoryStore
from tests.unit.plugins.plugin_utils.stage import (
    DEVICE,
    LOST,
    SET,
    TUNNELS,
    begin,
    begin_again,
    begin_with_device,
    claim,
    current,
    done,
    make,
    options,
    set_by_somebody,
    statuses,
    truth,
    wave,
    with_devices,
)

pytestmark = pytest.mark.fleet(tunnels=TUNNELS)


# -- without devices --------------------------------------------------------------------------------------------------


def test_without_devices_the_first_step_does_everything(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    state = begin(rotation)
    assert set(statuses(state)) == {"handed_over"}
    assert {x.id: x.psk for x in state.all_results()} == truth(simulator) == current(store)
    assert state.changed


def test_a_second_run_changes_nothing(rotation: Rotation, simulator: Simulator) -> None:
    begin(rotation)
    before = simulator.writes()
    state = begin(rotation, force=False)
    assert (set(statuses(state)), state.changed, simulator.writes()) == ({"unchanged"}, False, before)


def test_a_wave_is_one_request_beside_the_list_and_the_validation(rotation: Rotation, simulator: Simulator) -> None:
    state = begin(rotation, wave_size=2)
    operations = [(x["operation"], x["validate_only"]) for x in simulator.journal() if x["event"] == "settled"]
    assert operations == [("list", False), ("psk_set", True)] + [("psk_set", False)] * len(state.waves)


def test_each_wave_is_told(rotation: Rotation, said: list[str]) -> None:
    begin(rotation, wave_size=4, group_by="none")
    assert re.fullmatch(r"wave 1 of 2: 4 tunnels, 4 handed_over, \d\.\d s", said[1])
    assert len(said) == 3


def test_results_are_in_the_order_of_the_account(rotation: Rotation) -> None:
    state = begin(rotation)
    assert [x.id for x in state.all_results()] == [x["id"] for x in rotation.client.list_tunnels()]


def test_the_escrow_knows_the_names_of_tunnels_that_were_renamed(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    begin(rotation)
    first = next(iter(store.records))
    simulator.patch_tunnel(first, name="renamed")
    begin(rotation, force=False)
    assert store[first].name == "renamed"


def test_what_the_api_would_refuse_stops_everything_before_the_first_write(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    simulator.arm({"route": "psk_set", "validate_only": True, "unapplied": 1, "count": 0})
    with pytest.raises(CloudflareError, match=r"the API would refuse 1 of 8 PSKs \(.*\); nothing was written"):
        begin(rotation)
    assert (simulator.writes(), store.records) == (0, {})


def test_bad_options_are_refused_before_anything_is_stored(rotation: Rotation, store: MemoryStore) -> None:
    with pytest.raises(InputError, match="psk_rotation_group_by"):
        begin(rotation, group_by="(")
    assert (store.records, store.checked) == ({}, 0)


def test_after_too_many_failures_no_wave_begins(rotation: Rotation, simulator: Simulator) -> None:
    simulator.arm({**SET, "unapplied": 1, "count": 1})
    state = begin(rotation, wave_size=2, group_by="none")
    assert statuses(state) == ["handed_over", "refused"] + ["stopped"] * 6
    assert simulator.writes() == 1


def test_manual_confirmation_leaves_the_tunnels_to_a_later_run(rotation: Rotation, store: MemoryStore) -> None:
    state = begin(rotation, confirmation="manual", group_by="none")
    assert set(statuses(state)) == {"waiting"}
    assert set(store.states.values()) == {"applied"}
    state = begin(rotation, mode="confirm", force=False)
    assert set(statuses(state)) == {"handed_over"}
    assert set(store.states.values()) == {"idle"}


def test_a_run_that_confirms_has_the_devices_prove_what_waits(rotation: Rotation, store: MemoryStore) -> None:
    state = wave(rotation, begin_with_device(rotation, confirmation="manual", max_failures="100%"), 0, DEVICE)
    state = rotation.settle(state, done(state))
    assert statuses(state) == ["due", "waiting"]
    verifying = frozenset([DEVICE])
    state = begin_with_device(rotation, mode="confirm", force=False, verifying=verifying)
    state = wave(rotation, state, 0, DEVICE)
    assert [x.host for x in state.in_flight] == [DEVICE]
    assert "confirmed" in statuses(rotation.settle(state, done(state)))
    assert "idle" in store.states.values()


def test_what_its_device_can_not_prove_goes_on_waiting_and_the_run_fails(
    rotation: Rotation, store: MemoryStore
) -> None:
    state = wave(rotation, begin_with_device(rotation, confirmation="manual", max_failures="100%"), 0, DEVICE)
    state = rotation.settle(state, done(state))
    state = wave(rotation, begin_with_device(rotation, mode="confirm", force=False), 0, DEVICE)
    state = rotation.settle(state, {})
    assert ("applied" in statuses(state), state.to_roll_back) == (True, [])
    assert "applied" in store.states.values()


# -- a run that has ended ---------------------------------------------------------------------------------------------


def test_a_run_that_has_ended_sends_nothing_that_it_prepared(simulator: Simulator, store: MemoryStore) -> None:
    def ended(rotation_id: str) -> Claim:
        if store.records:
            raise EscrowError("the run that asked for this has ended")
        return claim(rotation_id)

    with pytest.raises(EscrowError, match="has ended"):
        begin(make(simulator, store, claim=ended))
    assert simulator.writes() == 0
    assert set(store.states.values()) == {"prepared"}


def test_a_run_that_has_ended_writes_down_what_it_has_sent(simulator: Simulator, store: MemoryStore) -> None:
    def ended(rotation_id: str) -> Claim:
        if simulator.writes():
            raise EscrowError("the run that asked for this has ended")
        return claim(rotation_id)

    begin(make(simulator, store, claim=ended), group_by="none")
    assert current(store) == truth(simulator)


# -- lost answers -----------------------------------------------------------------------------------------------------


def test_a_lost_answer_leaves_the_tunnel_in_doubt_and_the_next_run_sends_the_same_psk(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    simulator.arm(LOST)
    assert set(statuses(begin(rotation, group_by="none"))) == {"in_doubt"}
    pending = {i: x.pending.psk for i, x in store.records.items() if x.pending}
    simulator.clear_faults()
    assert set(statuses(begin(rotation, force=False, mode="reconcile"))) == {"handed_over"}
    assert truth(simulator) == pending == current(store)


# -- with devices -----------------------------------------------------------------------------------------------------


def test_a_device_that_reports_back_has_its_psk_confirmed(rotation: Rotation, store: MemoryStore) -> None:
    state = wave(rotation, begin_with_device(rotation, verifying=frozenset([DEVICE])), 0, DEVICE)
    assert [(x.host, x.rotation_id) for x in state.in_flight] == [(DEVICE, "r2")]
    state = rotation.settle(state, done(state))
    assert statuses(state) == ["confirmed", "due"]
    assert (state.in_flight, state.to_roll_back) == ((), [])
    assert set(store.states.values()) == {"idle"}


def test_without_proof_a_device_that_reports_back_has_its_psk_delivered(rotation: Rotation) -> None:
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    assert "delivered" in statuses(rotation.settle(state, done(state)))


def test_a_state_that_was_carried_as_a_text_goes_on_as_it_was(rotation: Rotation, simulator: Simulator) -> None:
    state = load(wave(rotation, load(begin_with_device(rotation).dump()), 0, DEVICE).dump())
    state = load(rotation.settle(state, done(state)).dump())
    state = wave(rotation, state, 1, DEVICE)
    state = rotation.settle(state, done(state))
    assert set(statuses(state)) == {"delivered"}
    assert {x.id: x.psk for x in state.all_results()}.items() <= truth(simulator).items()


def test_a_wave_with_devices_is_told_when_they_have_reported(rotation: Rotation, said: list[str]) -> None:
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    assert not [line for line in said if line.startswith("wave")]
    rotation.settle(state, done(state))
    assert re.fullmatch(r"wave 1 of 2: 1 tunnel, 1 delivered, \d\.\d s", said[-1])


def test_the_escrow_keeps_device_group_wave_and_how_long_the_device_took(
    rotation: Rotation, store: MemoryStore
) -> None:
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    state = rotation.settle(state, done(state, finished=str(time.time() + 5)))
    (record,) = store.records.values()
    found = shown(record)
    assert (found["wave"], found["host"], found["group"]) == (1, DEVICE, DEVICE)
    assert found["exposure_seconds"] == state.all_results()[0].exposure_seconds > 4


def test_a_device_that_was_not_reached_is_left_alone(rotation: Rotation, simulator: Simulator) -> None:
    state = wave(rotation, begin_with_device(rotation), 0)
    assert statuses(state) == ["due", "unreached"]
    assert simulator.writes() == 0


def test_a_device_that_was_done_in_the_wave_before_need_not_be_asked(rotation: Rotation) -> None:
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    state = rotation.settle(state, done(state))
    state = rotation.wave(state, 1, [DEVICE], {})
    assert [x.host for x in state.in_flight] == [DEVICE]


def test_only_devices_of_the_next_wave_are_to_be_reached_and_only_those_that_were_not_done_before(
    rotation: Rotation,
) -> None:
    state = begin_with_device(rotation)
    assert (state.to_reach(), state.reach_token(0)) == ({DEVICE: "reach.yml"}, f"{state.run_token}/0")
    state = wave(rotation, state, 0, DEVICE)
    assert state.to_reach() == {DEVICE: "reach.yml"}
    state = rotation.settle(state, done(state))
    assert state.to_reach() == {}
    assert wave(rotation, state, 1, DEVICE).to_reach() == {}


def test_a_device_that_has_failed_is_to_be_reached_again(rotation: Rotation) -> None:
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    assert rotation.settle(state, {}).to_reach() == {DEVICE: "reach.yml"}


def test_a_rollback_of_others_takes_nothing_from_a_device_that_was_done_in_the_wave(rotation: Rotation) -> None:
    names = [x["name"] for x in rotation.client.list_tunnels()]
    claims = {"one": names[:2], "other": names[2:4]}
    options = with_devices(*claims, max_failures="100%")
    for number in (0, 1):  # the first rotation can't be rolled back, the second can
        state = rotation.begin(f"r{number}", options, Memory(claims=claims), preflight=False)
        state = wave(rotation, state, 0, *claims)
        said = {"wave": state.token, "done": True, "finished": str(time.time())}
        state = rotation.settle(state, {"one": said, "other": said} if number == 0 else {"one": said})
        if number == 0:
            state = wave(rotation, state, 1, *claims)
            said = {**said, "wave": state.token}
            rotation.settle(state, {"one": said, "other": said})
    assert state.proven == {"one"}
    state = rotation.roll_back(state)
    assert {x.host for x in state.in_flight} == {"other"}
    state = rotation.settle(state, {"other": {"wave": state.token, "done": False, "reason": "still dead"}})
    assert state.to_reach() == {"other": "reach.yml"}


def test_a_device_that_has_left_the_play_is_not_reached_whatever_it_has_said(rotation: Rotation) -> None:
    state = rotation.wave(begin_with_device(rotation), 0, [], {DEVICE: ""})
    assert statuses(state) == ["due", "unreached"]


def test_a_reason_that_shows_a_psk_is_shown_without_it(rotation: Rotation, store: MemoryStore) -> None:
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    (psk,) = store.records[state.in_flight[0].id].keys()
    state = rotation.settle(state, done(state, done=False, reason=f"bad key {psk}"))
    (failed,) = state.to_roll_back
    assert "bad key" in (failed.reason or "")
    assert psk not in (failed.reason or "")


def test_a_second_wave_waits_for_the_first_of_its_group(rotation: Rotation, simulator: Simulator) -> None:
    state = wave(rotation, begin_with_device(rotation, max_failures="100%"), 0)
    state = wave(rotation, state, 1, DEVICE)
    assert statuses(state) == ["skipped", "unreached"]
    assert simulator.writes() == 0


def test_a_failed_device_gets_its_previous_psk_back(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    begin(rotation)
    before = truth(simulator)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    state = rotation.settle(state, {})
    assert [x.reason for x in state.to_roll_back] == [f"its device {DEVICE} did not report back"]
    state = rotation.roll_back(state)
    assert truth(simulator) == before
    assert state.all_results()[0].status == "rolling_back"
    state = rotation.settle(state, done(state))
    assert "rolled_back" in statuses(state)
    assert {x.id: x.psk for x in state.all_results()}.items() <= before.items()
    assert set(store.states.values()) == {"idle"}


def test_rolling_back_is_told_beside_its_wave(rotation: Rotation, said: list[str]) -> None:
    begin(rotation)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    said.clear()
    state = rotation.roll_back(rotation.settle(state, done(state, done=False, reason="no")))
    rotation.settle(state, done(state))
    assert [line.rpartition(", ")[0] for line in said] == [
        "wave 1 of 2: 1 tunnel, 1 failed",
        "wave 1 of 2, rolling back: 1 tunnel, 1 rolled_back",
    ]


@pytest.mark.parametrize(
    "fault", [{**LOST, "count": 2}, {**SET, "status": 400, "code": 1000, "message": "no"}], ids=["lost", "refused"]
)
def test_a_device_is_told_nothing_of_a_rollback_that_cloudflare_has_not_done(
    rotation: Rotation, simulator: Simulator, store: MemoryStore, fault: dict[str, Any]
) -> None:
    begin(rotation)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    tunnel_id = state.in_flight[0].id
    state = rotation.settle(state, {})
    simulator.arm(fault)
    state = rotation.roll_back(state)
    assert (state.in_flight, statuses(state)) == ([], ["due", "rollback_failed"])
    assert store[tunnel_id].state == "rolling_back"


def test_after_a_device_that_could_not_be_rolled_back_the_next_wave_goes_forward(rotation: Rotation) -> None:
    pairs = [x["name"] for x in rotation.client.list_tunnels()][:4]
    claims: dict[str, Any] = {DEVICE: pairs[:2], "rome": pairs[2:]}
    mapping = {DEVICE: pairs[:2], "rome": pairs[2:]}
    wanted = with_devices(*claims, max_failures="100%", group_by=mapping)
    state = rotation.begin("r1", wanted, Memory(claims=claims), preflight=False)
    state = wave(rotation, state, 0, *claims)
    state = rotation.roll_back(rotation.settle(state, done(state)))
    assert "no earlier PSK is known" in str(state.results["rome"])
    state = wave(rotation, state, 1, *claims)
    assert [x.host for x in state.in_flight] == [DEVICE]


def test_evidence_of_the_forward_way_does_not_count_for_the_way_back(rotation: Rotation) -> None:
    begin(rotation)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    old = done(state, done=False)
    state = rotation.roll_back(rotation.settle(state, old))
    state = rotation.settle(state, {DEVICE: {**old[DEVICE], "done": True}})
    assert "rolling_back" in statuses(state)


def test_a_psk_that_somebody_sets_while_devices_are_busy_is_not_overwritten(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    begin(rotation)
    state = begin_with_device(rotation, max_age=0, force=False)
    tunnel = state.waves[0][0]
    set_by_somebody(simulator, tunnel.id)
    state = wave(rotation, state, 0, DEVICE)
    assert store[tunnel.id].state == "stuck"
    assert "stuck" in statuses(state)
    assert truth(simulator)[tunnel.id].startswith("somebody")


def test_what_waits_and_was_changed_by_somebody_is_not_confirmed(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    state = wave(rotation, begin_with_device(rotation, confirmation="manual", max_failures="100%"), 0, DEVICE)
    rotation.settle(state, done(state))
    state = begin_with_device(rotation, mode="confirm", force=False)
    tunnel = state.waves[0][0]
    set_by_somebody(simulator, tunnel.id)
    state = wave(rotation, state, 0, DEVICE)
    assert (store[tunnel.id].state, state.in_flight) == ("stuck", [])
    assert "stuck" in statuses(state)


def test_a_tunnel_that_is_stuck_since_the_plan_is_not_called_unchanged(rotation: Rotation, store: MemoryStore) -> None:
    state = begin_with_device(rotation, max_age=0, force=False)
    tunnel = state.waves[0][0]
    begin_again(rotation, "another")
    store.put(tunnel.id, replace(store[tunnel.id], state="stuck", reason="its PSK was changed by somebody else"))
    state = wave(rotation, state, 0, DEVICE)
    assert [x.status for x in state.all_results() if x.id == tunnel.id] == ["stuck"]


# -- a run that was late ----------------------------------------------------------------------------------------------


def two_other_runs(rotation: Rotation) -> None:
    """One finishes what the late run has begun, once its lease has ended, and one rotates again."""

    def by_another(rotation_id: str) -> Claim:
        return Claim(rotation_id, "another run", time.time() + 1000, time.time() + 1900)

    wanted = options(chosen=frozenset(["localhost"]))
    for rotation_id in ("r3", "r4"):
        other = replace(rotation, claim=by_another, force=True)
        other.begin(rotation_id, wanted, Memory(claims={"localhost": ["all"]}), preflight=False)


def test_a_device_that_a_late_run_has_configured_is_set_again_by_the_next(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    begin(rotation)
    late = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    tunnel = late.in_flight[0]
    two_other_runs(rotation)
    newest = truth(simulator)[tunnel.id]
    late = rotation.settle(late, done(late))
    assert ("skipped" in statuses(late), late.changed) == (True, True)
    assert (store[tunnel.id].state, store[tunnel.id].psk_to_send()) == ("in_doubt", newest)


def test_a_late_run_whose_device_has_failed_marks_the_tunnel_before_it_rolls_back(
    rotation: Rotation, store: MemoryStore
) -> None:
    begin(rotation)
    late = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    tunnel = late.in_flight[0]
    two_other_runs(rotation)
    rotation.settle(late, {})
    assert store[tunnel.id].state == "in_doubt"


def test_a_late_run_that_comes_too_late_to_roll_back_marks_the_tunnel(rotation: Rotation, store: MemoryStore) -> None:
    """A device that did not report back may still be at work."""
    begin(rotation)
    late = rotation.settle(wave(rotation, begin_with_device(rotation), 0, DEVICE), {})
    tunnel = late.to_roll_back[0]
    two_other_runs(rotation)
    state = rotation.roll_back(late)
    assert (store[tunnel.id].state, state.changed) == ("in_doubt", True)


# -- rollbacks of earlier rotations -----------------------------------------------------------------------------------


def roll_back_all(rotation: Rotation, **fields: Any) -> State:
    return begin(rotation, force=False, mode="rollback", chosen=frozenset(["localhost"]), **fields)


def test_a_confirmed_rotation_is_rolled_back_whole(rotation: Rotation, simulator: Simulator) -> None:
    begin(rotation)
    before = truth(simulator)
    second = begin_again(rotation, "r2")
    assert truth(simulator) != before
    state = roll_back_all(rotation, rollback_id=second.rotation_id)
    assert (set(statuses(state)), truth(simulator)) == ({"rolled_back"}, before)


def test_what_a_killed_run_has_left_is_rolled_back_in_all_its_groups(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    begin(rotation)
    before = truth(simulator)
    for tunnel in rotation.client.list_tunnels():
        killed = with_devices(DEVICE, group_by="none")
        state = rotation.begin("r3", killed, Memory(claims={DEVICE: [tunnel["id"]]}), preflight=False)
        wave(rotation, state, 0, DEVICE)
    assert set(store.states.values()) == {"applied"}
    state = roll_back_all(rotation)
    assert (set(statuses(state)), truth(simulator)) == ({"rolled_back"}, before)
    assert summary(state.all_results(), 1, "r1", "rollback")["failed"] == 0


def test_a_rotation_that_another_run_has_done_since_the_plan_is_not_rolled_back(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    begin(rotation)
    second = begin_again(rotation, "r2")
    wanted = with_devices(DEVICE, mode="rollback", rollback_id=second.rotation_id, force=False)
    first = second.all_results()[0]
    state = rotation.begin("r3", wanted, Memory(claims={DEVICE: [first.id]}), preflight=False)
    begin_again(rotation, "r4")
    newest = truth(simulator)
    state = wave(rotation, state, 0, DEVICE)
    assert (statuses(state), truth(simulator)) == (["skipped"], newest)
    assert "another run has gone on with it" in (state.all_results()[0].reason or "")


# -- check runs and no escrow -----------------------------------------------------------------------------------------


def as_told(results: list[Result]) -> list[dict[str, Any]]:
    """What results say, but for PSKs, times and the words for what has happened."""
    hidden = ("psk", "applied_on", "confirmed_on", "exposure_seconds", "status", "generation", "ipsec_id", "ike_ids")
    return [{key: value for key, value in x.to_dict().items() if key not in hidden} for x in results]


@pytest.mark.parametrize("prepared", ["nothing", "known", "in doubt", "waiting"])
def test_a_check_run_tells_what_a_real_run_does_but_for_psks_and_times(
    simulator: Simulator, store: MemoryStore, prepared: str
) -> None:
    real = make(simulator, store)
    if prepared == "known":
        begin(real)
    elif prepared == "in doubt":
        simulator.arm(LOST)
        begin(real, group_by="none")
        simulator.clear_faults()
    elif prepared == "waiting":
        begin(real, group_by="none", confirmation="manual")
    fields: dict[str, Any] = {"force": prepared == "known"}
    fields |= {"confirmation": "manual"} if prepared == "waiting" else {}
    before, written = truth(simulator), store.writes
    checked = begin(make(simulator, OverlayStore(store), validate_only=True), **fields)
    assert (truth(simulator), store.writes, store.checked) == (before, written, store.checked)
    done = begin(real, **fields)
    assert as_told([in_check(x) for x in checked.all_results()]) == as_told([in_check(x) for x in done.all_results()])
    assert [in_check(x).status for x in checked.all_results()] == [in_check(x).status for x in done.all_results()]
    assert checked.changed == done.changed


def test_a_check_run_with_devices_goes_through_all_steps_and_writes_nothing(
    simulator: Simulator, store: MemoryStore
) -> None:
    rotation = make(simulator, OverlayStore(store), validate_only=True)
    state = begin_with_device(rotation)
    for index in range(2):
        overlay = OverlayStore(store, load(state.dump()).overlay)
        rotation = make(simulator, overlay, validate_only=True)
        state = wave(rotation, state, index, DEVICE)
        assert [x.host for x in state.in_flight] == [DEVICE]
        state = rotation.settle(state, done(state))
    assert [in_check(x).status for x in state.all_results()] == ["planned", "planned"]
    assert (simulator.writes(), store.records, store.writes) == (0, {}, 0)


def test_a_device_that_fails_in_a_check_run_is_not_rolled_back(simulator: Simulator, store: MemoryStore) -> None:
    rotation = make(simulator, OverlayStore(store), validate_only=True)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    state = rotation.settle(state, {})
    assert (statuses(state), state.to_roll_back) == (["due", "failed"], [])


def test_without_an_escrow_the_way_is_the_same(simulator: Simulator) -> None:
    state = begin(make(simulator, OverlayStore(None)), unknown_psk="")
    assert set(statuses(state)) == {"handed_over"}
    assert {x.id: x.psk for x in state.all_results()} == truth(simulator)


def test_without_an_escrow_failures_are_no_successes(simulator: Simulator) -> None:
    overlay = OverlayStore(None)
    state = begin_with_device(make(simulator, overlay), unknown_psk="")
    state = wave(make(simulator, overlay), state, 0, DEVICE)
    rotation = make(simulator, OverlayStore(None, state.overlay))
    state = rotation.roll_back(rotation.settle(state, {}))
    assert statuses(state) == ["applied", "due"]
    assert "no earlier PSK is known" in str(state.all_results()[0].reason)


# -- health -----------------------------------------------------------------------------------------------------------


def gated(simulator: Simulator, store: Store, said: list[str], **fields: Any) -> Rotation:
    """A rotation with a health gate that does not wait long."""
    plain = make(simulator, store, say=said.append, **fields)
    return replace(plain, gate=HealthGate(plain.client, Gate(deadline=0.1, interval=0.05), said.append))


def set_health(simulator: Simulator, health: str, *numbers: int) -> None:
    tunnels = simulator.state()["tunnels"]
    for number in numbers:
        simulator.patch_tunnel(tunnels[number]["id"], health=health)


def test_a_tunnel_is_left_alone_while_what_backs_it_up_is_down(
    simulator: Simulator, store: MemoryStore, said: list[str]
) -> None:
    set_health(simulator, "down", 1)
    rotation = gated(simulator, store, said)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    first = state.all_results()[0]
    assert first.status == "unhealthy"
    assert "nothing backs it up now" in (first.reason or "")
    assert simulator.writes() == 0


def test_a_tunnel_that_does_not_get_healthy_in_time_has_failed(
    simulator: Simulator, store: MemoryStore, said: list[str]
) -> None:
    set_health(simulator, "healthy", 1)
    set_health(simulator, "down", 0)
    rotation = gated(simulator, store, said)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    state = rotation.settle(state, done(state))
    (failed,) = state.to_roll_back
    assert "after 0.1 s" in (failed.reason or "")
    assert "is down" in (failed.reason or "")
    assert any(x.startswith("health of the wave: 1 down") for x in said)


def test_a_tunnel_that_is_healthy_passes(simulator: Simulator, store: MemoryStore, said: list[str]) -> None:
    set_health(simulator, "degraded", 0, 1)
    rotation = gated(simulator, store, said)
    state = wave(rotation, begin_with_device(rotation, verifying=frozenset([DEVICE])), 0, DEVICE)
    state = rotation.settle(state, done(state))
    assert state.all_results()[0].status == "confirmed"


def test_a_check_run_does_not_wait_for_health_and_says_so(
    simulator: Simulator, store: MemoryStore, said: list[str]
) -> None:
    set_health(simulator, "healthy", 1)
    set_health(simulator, "down", 0)
    rotation = gated(simulator, OverlayStore(store), said, validate_only=True)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    state = rotation.settle(state, done(state))
    assert in_check(state.all_results()[0]).status == "planned"
    assert "health of the wave: not checked in a check run" in said


def test_a_gate_without_device_tasks_is_refused(simulator: Simulator, store: MemoryStore, said: list[str]) -> None:
    with pytest.raises(InputError, match="psk_rotation_health needs device or verify tasks"):
        begin(gated(simulator, store, said))
    assert store.records == {}


def test_no_limit_of_failures_counts_who_only_waits(rotation: Rotation, simulator: Simulator) -> None:
    simulator.arm({**SET, "unapplied": 1, "count": 1})
    state = begin(rotation, max_failures=1)
    assert "skipped" in statuses(state)
    assert "stopped" not in statuses(state)
