# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that version 1.0.0 has written, in each of their states: read, finished, rotated and rolled back.

The fixture was made with the transitions of 1.0.0, and is what `ansible-vault view` showed of its escrow file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client, Connection
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, Trace, compare, parse_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _repairs, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import Options, judge
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import STATES, Claim, Record, Refused
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._run import Memory
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._shown import shown
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Target

from tests.harness.simulator import Simulator
from tests.unit.plugins.plugin_utils.memory import MemoryStore

FILE = Path(__file__).with_name("fixtures") / "escrow_1_0_0.json"
STORED: dict[str, dict[str, Any]] = {
    x["name"]: x for x in json.loads(FILE.read_text(encoding="utf-8"))["tunnels"].values()
}
RECORDS = {name: Record.from_dict(data) for name, data in STORED.items()}
# When Cloudflare set the current PSK, the pending one, and the previous one again, and a time long after the leases.
T0, T1, T2 = (f"2026-09-01T0{hour}:00:00.123456Z" for hour in range(3))
NOW = (parse_time("2026-09-02T00:00:00Z") or 0) / NANO
ME = Claim("rotation of 1.1", "me", NOW, NOW + 900)
# What the account shows of each, if nobody else has set a PSK.
SHOWN = {"applied": T1, "rolling_back": T1, "rolled_back_at_cloudflare": T2, "stuck": T2, "rolled_back": T2}
UNRESOLVED = ["prepared", "in_doubt", "applied", "rolling_back", "rolled_back_at_cloudflare"]


def psks_in(data: Any) -> set[str]:
    """Every PSK in a record as it was stored."""
    if isinstance(data, dict):
        return {x for key, part in data.items() for x in ({part} if key == "psk" else psks_in(part))}
    return {x for part in data for x in psks_in(part)} if isinstance(data, list) else set()


def prepare(name: str, **fields: Any) -> _transitions.Moved:
    target = Target(name, Trace(SHOWN.get(name, T0)))
    return _transitions.prepare(RECORDS[name], target, "a-new-psk", ME, **fields)


def test_the_fixture_has_every_state() -> None:
    assert {x["state"] for x in STORED.values()} == set(STATES)


@pytest.mark.parametrize("name", STORED)
def test_every_psk_is_read(name: str) -> None:
    assert RECORDS[name].keys() == psks_in(STORED[name])


@pytest.mark.parametrize("name", STORED)
def test_every_field_keeps_name_and_meaning_when_it_is_stored_again(name: str) -> None:
    def told(data: Any) -> Any:
        """Without what says nothing, and without what a discarded PSK needs no more."""
        if isinstance(data, dict):
            return {key: told(part) for key, part in data.items() if part not in (None, False, [])}
        return [told(part) for part in data] if isinstance(data, list) else data

    before, after = told(STORED[name]), told(RECORDS[name].to_dict())
    for key in before.get("discarded", []):
        for gone in ("attempt", "baseline", "reported"):
            key.pop(gone, None)
    assert after == before


@pytest.mark.parametrize("name", STORED)
def test_what_is_shown_of_them_has_no_psk(name: str) -> None:
    assert not [psk for psk in psks_in(STORED[name]) if psk in json.dumps(shown(RECORDS[name])) + repr(RECORDS[name])]


@pytest.mark.parametrize("name", STORED)
def test_what_the_account_shows_is_no_foreign_change(name: str) -> None:
    if name != "stuck":
        assert compare(RECORDS[name].expected(), Trace(SHOWN.get(name, T0))) in ("same", "unknown")


def test_what_was_promoted_unconfirmed_is_known_not_to_be_confirmed() -> None:
    previous = RECORDS["idle"].previous
    assert previous is not None and previous.confirmed is False


@pytest.mark.parametrize("name", ["prepared", "rolling_back", "rolled_back_at_cloudflare"])
def test_a_lease_of_1_0_0_holds_until_it_ends(name: str) -> None:
    lease = RECORDS[name].lease
    assert lease is not None
    assert RECORDS[name].holder(Claim("r", "me", lease.until - 1, lease.until + 900)) == lease.owner
    assert RECORDS[name].holder(ME) is None


@pytest.mark.parametrize(
    ("name", "state", "sends"),
    [
        ("idle", "prepared", "a-new-psk"),
        ("rolled_back", "prepared", "a-new-psk"),
        ("prepared", "prepared", "1-0-0-pending-prepared"),
        ("in_doubt", "in_doubt", "1-0-0-pending-in_doubt"),
        ("applied", "applied", None),
        ("rolling_back", "in_doubt", "1-0-0-pending-rolling_back"),
        ("rolled_back_at_cloudflare", "in_doubt", "1-0-0-pending-rolled_back_at_cloudflare"),
    ],
)
def test_each_is_taken_where_1_0_0_has_left_it(name: str, state: str, sends: str | None) -> None:
    record = prepare(name).record
    assert (record.state, record.psk_to_send()) == (state, sends)


@pytest.mark.parametrize("name", UNRESOLVED)
def test_what_was_unresolved_is_rolled_back_to_the_current_psk(name: str) -> None:
    record = _transitions.roll_back(RECORDS[name], "by hand", ME, Trace(SHOWN.get(name, T0))).record
    assert record.psk_to_send() == (None if name == "rolled_back_at_cloudflare" else f"1-0-0-current-{name}")
    if record.psk_to_send():
        record = _transitions.applied(record, T2, ME).record
    record = _transitions.confirm(record, "delivered", ME).record
    assert record.current is not None and record.current.psk == f"1-0-0-current-{name}"


def test_what_stuck_is_unstuck() -> None:
    with pytest.raises(Refused, match="stuck"):
        prepare("stuck")
    assert _repairs.unstick(RECORDS["stuck"], ME).record.psk_to_send() == "1-0-0-current-stuck"


@pytest.mark.parametrize(
    ("name", "status"), [("applied", "waiting"), ("rolling_back", "resume"), ("idle", "unchanged")]
)
def test_what_1_0_0_left_to_be_confirmed_is_confirmed(name: str, status: str) -> None:
    assert judge(RECORDS[name], Trace(SHOWN.get(name, T0)), Options(hosts=frozenset(), mode="confirm"))[0] == status


# -- a whole escrow against the simulator -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator(tunnels=len(STORED)) as simulator:
        yield simulator


@pytest.fixture
def store(running: Simulator) -> MemoryStore:
    """The escrow of 1.0.0, of the simulator's tunnels, which hold what it says."""
    running.reset()
    store = MemoryStore()
    for tunnel, (name, record) in zip(running.state()["tunnels"], RECORDS.items(), strict=True):
        part = "pending" if name in ("applied", "rolling_back") else "current"
        psk = f"1-0-0-{part}-{name}"
        assert psk in record.keys()  # noqa: SIM118
        running.patch_tunnel(tunnel["id"], psk=psk, last_generated_on=SHOWN.get(name, T0))
        store.put(tunnel["id"], record)
    return store


def run(simulator: Simulator, store: MemoryStore, rotation_id: str = "r1", **fields: Any) -> set[str]:
    """A run on localhost; returns its statuses."""
    connection = Connection(simulator.account, simulator.token, base_url=simulator.base_url, retries=0)
    rotation = Rotation(
        client=Client(connection),
        store=store,
        claim=lambda rotation_id: Claim(rotation_id, "me", time.time(), time.time() + 900),
        say=str,
        force=bool(fields.get("force")),
    )
    localhost = frozenset(["localhost"])
    wanted = Options(hosts=localhost, chosen=localhost, now=time.time_ns(), max_failures="100%", **fields)
    state = rotation.begin(rotation_id, wanted, Memory(claims={"localhost": ["all"]}), preflight=True)
    return {x.status for x in state.all_results()}


def held(simulator: Simulator) -> dict[str, str]:
    return {x["id"]: x["psk"] for x in simulator.state()["tunnels"]}


def current(store: MemoryStore) -> dict[str, str]:
    return {i: x.current.psk for i, x in store.records.items() if x.current}


def test_an_escrow_of_1_0_0_is_finished(running: Simulator, store: MemoryStore) -> None:
    assert run(running, store, mode="reconcile") == {"unchanged", "handed_over", "stuck"}
    assert {x.state for x in store.records.values()} == {"idle", "stuck"}
    stuck = {i for i, x in store.records.items() if x.state == "stuck"}
    assert {i: psk for i, psk in current(store).items() if i not in stuck}.items() <= held(running).items()


def test_an_escrow_of_1_0_0_is_rotated_and_no_psk_of_it_is_lost(running: Simulator, store: MemoryStore) -> None:
    before = {psk for record in store.records.values() for psk in record.keys()}  # noqa: SIM118
    run(running, store, mode="reconcile")
    run(running, store, force=True)
    assert held(running) == current(store)
    assert before <= {psk for record in store.records.values() for psk in record.keys()}  # noqa: SIM118


def test_a_rotation_of_an_escrow_of_1_0_0_is_rolled_back(running: Simulator, store: MemoryStore) -> None:
    run(running, store, mode="reconcile")
    before = held(running)
    stuck = {i for i, x in store.records.items() if x.state == "stuck"}
    run(running, store, "r2", force=True)
    assert not before.items() & held(running).items()
    run(running, store, "r3", mode="rollback", rollback_id="r2")
    assert {i: x for i, x in held(running).items() if i not in stuck}.items() <= before.items()
    assert held(running) == current(store)


def test_a_rotation_that_1_0_0_has_done_is_rolled_back(running: Simulator, store: MemoryStore) -> None:
    (idle,) = [i for i, x in store.records.items() if x.name == "idle"]
    run(running, store, mode="rollback", rollback_id="20260902T000000Z-00000002")
    assert held(running)[idle] == current(store)[idle] == "1-0-0-first-idle"
