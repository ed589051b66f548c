# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases of the core on which 1.0.0 failed, each by its number, as steps against the simulator.

What the answers of the API prove (C1 to C8), leases and other runs (C9 to C15), groups (C16 to C19), names (C20 to
C22). C23 to C28 are about the stores, and are tested there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, Trace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _escrow, _status, _transitions, _upkeep
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Escrow
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Claim, Lease, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import failures, in_check
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._run import Memory
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import State
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Stored, Written, find
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_overlay import OverlayStore
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Target

from tests.harness.simulator import Simulator
from tests.unit.plugins.plugin_utils.memory import MemoryStore
from tests.unit.plugins.plugin_utils.stage import (
    DEVICE,
    LOST,
    SET,
    TUNNELS,
    begin,
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


def again(rotation: Rotation, **fields: Any) -> State:
    """A plain run of all on localhost, which begins only what is old."""
    return begin(rotation, force=False, chosen=frozenset(["localhost"]), max_failures="100%", **fields)


def told(state: State) -> str:
    """Why the run ends with an error; empty if it does not."""
    return failures(state.all_results(), state.mode)


def zulu(seconds: float) -> str:
    """A time of the API so long after now."""
    return _psk.format_time(int((time.time() + seconds) * NANO))


def by_hand(tunnel_id: str, seconds: float, simulator: Simulator, psk: str | None = None) -> None:
    """Has Cloudflare set a PSK, or the same one again, so long after now."""
    fields = {"psk": psk} if psk else {}
    simulator.patch_tunnel(tunnel_id, last_generated_on=zulu(seconds), **fields)


def all_keys(store: MemoryStore) -> set[str]:
    return {psk for record in store.records.values() for psk in record.keys()}  # noqa: SIM118


# -- answers that prove less than was believed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 403, "html": True},
        {"status": 451, "html": True},
        {"redirect": "https://login.example/"},
        {"truncate": "closed"},
    ],
    ids=["403", "451", "redirect", "truncated"],
)
def test_an_answer_that_is_not_cloudflares_own_leaves_the_tunnel_in_doubt_and_every_key_in_its_record(
    rotation: Rotation, simulator: Simulator, store: MemoryStore, answer: dict[str, Any]
) -> None:
    """C1: a filter in between answers after the change, with an error page or a redirect."""
    simulator.arm({**SET, **answer, "when": "after", "count": 0})
    state = begin(rotation, group_by="none")
    assert set(statuses(state)) == {"in_doubt"}
    assert set(truth(simulator).values()) <= all_keys(store)
    simulator.clear_faults()
    assert told(again(rotation)) == ""
    assert current(store) == truth(simulator)


def test_a_refused_key_stays_in_its_record_until_another_one_has_replaced_it(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    """C1: a refusal that lies, since the key was set all the same."""
    simulator.arm({**SET, "status": 400, "code": 1000, "message": "no", "when": "after"})
    begin(rotation, group_by="none")
    assert set(truth(simulator).values()) <= all_keys(store)


def test_a_request_that_is_carried_out_late_is_no_foreign_change(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    """C2: the first request is carried out a minute after its repetition was answered."""
    simulator.arm({**SET, "status": 503, "when": "after"})
    assert told(begin(rotation, group_by="none")) == ""
    for tunnel_id in store.records:
        by_hand(tunnel_id, 60, simulator)
    state = again(rotation)
    assert (set(statuses(state)), told(state)) == ({"handed_over"}, "")
    assert (current(store), set(store.states.values())) == (truth(simulator), {"idle"})


def test_what_was_carried_out_late_is_settled_after_one_run(rotation: Rotation, simulator: Simulator) -> None:
    """C2: and not every run sets it again."""
    simulator.arm({**SET, "status": 503, "when": "after"})
    begin(rotation, group_by="none")
    again(rotation)
    writes = simulator.writes()
    assert (set(statuses(again(rotation))), simulator.writes()) == ({"unchanged"}, writes)


@pytest.mark.parametrize("seconds", [-4, -1, 1, 4])
def test_a_list_whose_times_are_seconds_off_is_no_foreign_change_and_keeps_nobody_from_rotating(
    rotation: Rotation, simulator: Simulator, store: MemoryStore, seconds: int
) -> None:
    """C3: the list shows other times than the answers, by less than the tolerance."""
    begin(rotation)
    simulator.arm({"route": "list", "metadata": f"skew:{seconds}", "count": 0})
    assert set(statuses(again(rotation))) == {"unchanged"}
    assert set(statuses(begin(rotation))) == {"handed_over"}
    assert current(store) == truth(simulator)


@pytest.mark.parametrize("times", [2, 0], ids=["the first run", "every run"])
def test_a_moved_time_proves_that_some_key_was_set_and_never_that_ours_was(
    rotation: Rotation, simulator: Simulator, store: MemoryStore, times: int
) -> None:
    """C4: somebody sets a PSK while our request, which is never carried out, has no answer."""
    begin(rotation)
    simulator.arm({**LOST, "count": times})
    state = begin(rotation, group_by="none")
    first = state.all_results()[0].id
    set_by_somebody(simulator, first)
    assert set(statuses(state)) == {"in_doubt"}
    state = again(rotation)
    if times:
        assert told(state) == ""
        assert current(store) == truth(simulator)
    else:
        assert set(statuses(state)) == {"in_doubt"}
        assert store[first].state == "in_doubt"


def test_of_a_first_rotation_no_key_is_promoted_that_was_never_set(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    """C5: the list was stale when the rotation began, and the requests are lost."""
    simulator.arm(LOST)
    tunnels = rotation.client.list_tunnels()
    before = truth(simulator)
    state = begin(rotation, group_by="none")
    for tunnel in tunnels:
        by_hand(tunnel["id"], 60, simulator)
    assert set(statuses(state)) == {"in_doubt"}
    assert set(statuses(again(rotation))) == {"in_doubt"}
    assert (current(store), truth(simulator)) == ({}, before)


def test_a_rollback_that_is_not_proven_stays_one_and_the_run_fails(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    """C6: the device refuses, and the rollback's request is lost before the change, twice."""
    begin(rotation)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    (flying,) = state.in_flight
    state = rotation.settle(state, done(state, done=False))
    simulator.arm({**LOST, "count": 2})
    state = rotation.roll_back(state)
    assert (store[flying.id].state, "rollback_failed" in statuses(state)) == ("rolling_back", True)
    assert told(state) != ""
    simulator.clear_faults()
    assert told(again(rotation)) == ""
    assert current(store)[flying.id] == truth(simulator)[flying.id]


class WithoutTimes(Client):
    """The API of an account whose list has no psk_metadata. The simulator always shows it."""

    def list_tunnels(self) -> list[dict[str, Any]]:
        return [{key: x for key, x in tunnel.items() if key != "psk_metadata"} for tunnel in super().list_tunnels()]


def test_a_list_without_psk_metadata_does_not_rotate_everything_again(
    rotation: Rotation, store: MemoryStore, said: list[str], simulator: Simulator
) -> None:
    """C7: the key is absent, so that nothing is known, and the escrow's own time serves."""
    begin(rotation)
    connection = rotation.client._connection
    rotation = replace(rotation, client=WithoutTimes(connection))
    said.clear()
    state = again(rotation, max_age=3600)
    assert set(statuses(state)) == {"unchanged"}
    assert [line for line in said if "does not show when" in line] == [
        f"Cloudflare does not show when the PSKs of {TUNNELS} tunnels were set: the escrow's times are used"
    ]
    assert set(statuses(again(rotation, max_age=0, now=time.time_ns() + NANO))) == {"handed_over"}
    assert current(store) == truth(simulator)


@pytest.mark.parametrize("shown", [{}, None])
def test_a_tunnel_of_which_cloudflare_says_that_it_has_no_psk_has_none(shown: Any) -> None:
    """C7: empty or null metadata."""
    assert _psk.trace_of({"psk_metadata": shown}).missing
    assert not _psk.trace_of({}).missing


def test_a_late_answer_for_the_current_key_is_adopted(store: MemoryStore) -> None:
    """C8: a lease ends while its run waits, another run sends the same key, and both are applied."""
    slow, quick = runs(store, "slow", "quick", minutes=60)
    wanted = {"t1": Target("one", Trace(None))}
    taken = slow.take(wanted, {}, lambda i, record: None)
    resumed = quick.take(wanted, {}, lambda i, record: None)
    assert resumed.psks == taken.psks
    finish = lambda record, by: _transitions.confirm(record, _status.HANDED_OVER, by)  # noqa: E731
    quick.record(resumed.psks, {"t1": _psk.Answer(_psk.APPLIED, applied_on=zulu(0))}, None, finish)
    moves = slow.record(taken.psks, {"t1": _psk.Answer(_psk.APPLIED, applied_on=zulu(1800))}, None, finish)
    assert moves.moved["t1"].status == "in_doubt"
    assert "the device may hold either" in (moves.moved["t1"].record.reason or "")
    record = store["t1"]
    assert record.state == "idle"
    assert _psk.compare(record.expected(), Trace(zulu(1800))) == "same"


def runs(store: MemoryStore, *owners: str, minutes: float) -> list[Escrow]:
    """Escrows of runs, each so long after the one before."""
    now = time.time()
    return [
        Escrow(store, lambda n=n, owner=owner: claim_of(owner, now + n * minutes * 60))  # type: ignore[misc]
        for n, owner in enumerate(owners)
    ]


def claim_of(owner: str, now: float, lives: Callable[[str], bool | None] = lambda owner: None) -> Claim:
    return Claim(f"rotation of {owner}", owner, now, now + 900, lives)


# -- leases and other runs --------------------------------------------------------------------------------------------


def killed(rotation: Rotation, **fields: Any) -> str:
    """A run that dies when Cloudflare has the key of its first tunnel, and the device not yet; returns the tunnel."""
    state = wave(rotation, begin_with_device(rotation, **fields), 0, DEVICE)
    return state.in_flight[0].id


def elsewhere(rotation: Rotation, lives: bool | None, after: float = 0) -> Rotation:
    """The same as another run, which sees of the first one's process what ``lives`` says, so long after it."""

    def claim_elsewhere(rotation_id: str) -> Claim:
        now = time.time() + after
        return Claim(rotation_id, "another run", now, now + 900, lambda owner: lives)

    return replace(rotation, claim=claim_elsewhere)


def test_a_run_that_leaves_an_unresolved_tunnel_to_a_lease_fails_and_says_until_when(
    rotation: Rotation, store: MemoryStore
) -> None:
    """C9: killed after the API, run again at once from another PID namespace."""
    tunnel_id = killed(rotation)
    state = again(elsewhere(rotation, None))
    until = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(store[tunnel_id].lease.until))  # type: ignore[union-attr]
    assert "it was left applied" in told(state)
    assert f"another run works on it until {until}" in told(state)


def test_a_lease_of_a_wrong_clock_is_not_believed(rotation: Rotation, store: MemoryStore, simulator: Simulator) -> None:
    """C10: the same with a lease that ends in a year."""
    tunnel_id = killed(rotation)
    store.put(tunnel_id, replace(store[tunnel_id], lease=Lease("this run", time.time() + 365 * 86400)))
    assert told(again(elsewhere(rotation, None))) == ""
    assert current(store)[tunnel_id] == truth(simulator)[tunnel_id]


def test_a_run_that_has_slept_past_its_lease_sends_nothing_over_the_key_that_another_has_confirmed(
    rotation: Rotation, store: MemoryStore, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C11: a laptop lid is closed just before the request."""
    monkeypatch.setattr(_escrow, "FRESH", 0.0)
    begin(rotation)

    others: list[State] = []

    def wake() -> None:
        store.after_write = None
        others.append(begin(elsewhere(rotation, None, after=3600), force=False))

    store.after_write = wake
    writes = simulator.writes()
    state = begin(rotation, group_by="none")
    assert set(statuses(state)) == {"unchanged"}
    assert all("another run has taken over" in (x.reason or "") for x in state.all_results())
    assert simulator.writes() == writes + len(others[0].waves)
    assert current(store) == truth(simulator) == {x.id: x.psk for x in state.all_results()}


def test_a_run_that_has_slept_past_its_lease_fails_while_another_has_not_ended_what_it_took(
    rotation: Rotation, store: MemoryStore, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C11: the other run has the key set, and its device does not have it yet."""
    monkeypatch.setattr(_escrow, "FRESH", 0.0)
    begin(rotation)
    taken: dict[str, Record] = {}

    def wake() -> None:
        store.after_write = None
        tunnel_id = killed(elsewhere(rotation, None, after=3600), force=False)
        taken[tunnel_id] = store[tunnel_id]

    store.after_write = wake
    state = begin(rotation, group_by="none")
    ((tunnel_id, record),) = taken.items()
    assert {x.id: x.status for x in state.all_results()}[tunnel_id] == "skipped"
    assert "nothing was sent" in told(state)
    assert store[tunnel_id] == record


def test_an_owner_that_is_seen_alive_keeps_its_lease(rotation: Rotation, store: MemoryStore) -> None:
    """C12: a wave takes longer than the lease, and a second run begins on the same machine."""
    tunnel_id = killed(rotation)
    before = store[tunnel_id]
    state = again(elsewhere(rotation, True, after=7200))
    assert "which is still alive" in told(state)
    assert store[tunnel_id] == before


def test_each_step_renews_the_lease(rotation: Rotation, store: MemoryStore) -> None:
    """C12: the lease that counts is the one of the last step."""
    begin(rotation)
    state = wave(rotation, begin_with_device(rotation), 0, DEVICE)
    (flying,) = state.in_flight
    taken = store[flying.id].lease
    later = replace(rotation, claim=lambda rotation_id: claim_of("this run", time.time() + 600))
    later.roll_back(later.settle(state, {}))
    renewed = store[flying.id].lease
    assert taken is not None and renewed is not None and renewed.until > taken.until + 500


def test_an_answer_is_written_down_on_a_record_that_somebody_has_touched(
    rotation: Rotation, store: MemoryStore, simulator: Simulator
) -> None:
    """C13: between the load and the write of the API's answer."""

    def touch() -> None:
        for tunnel_id, record in store.records.items():
            store.put(tunnel_id, replace(record, other={"note": "by hand"}))

    def at_the_next_write() -> None:
        store.after_write, store.meanwhile = None, touch

    store.after_write = at_the_next_write
    assert told(begin(rotation, group_by="none")) == ""
    assert current(store) == truth(simulator)
    assert all(x.other == {"note": "by hand"} for x in store.records.values())


def test_an_answer_that_can_not_be_written_down_fails_the_run(simulator: Simulator) -> None:
    """C13: somebody touches the records all the time."""

    class Busy(MemoryStore):
        """Records that are never the same twice, once they are there."""

        def store(self, changes: Mapping[str, Stored]) -> Written:
            for tunnel_id, record in self.records.items():
                self.put(tunnel_id, replace(record, other={"note": str(self.writes)}))
            return super().store(changes)

    state = begin(make(simulator, Busy()), group_by="none")
    assert set(statuses(state)) == {"in_doubt"}
    assert "nothing could be recorded" in told(state)


def test_a_tunnel_that_another_run_has_rotated_since_the_plan_is_not_rotated_again(
    rotation: Rotation, store: MemoryStore, simulator: Simulator
) -> None:
    """C14: two launches of one job at once."""
    begin(rotation)
    state = begin_with_device(rotation)
    begin(elsewhere(rotation, None))
    newest = truth(simulator)
    state = wave(rotation, state, 0, DEVICE)
    assert (statuses(state), truth(simulator)) == (["due", "unchanged"], newest)
    state = wave(rotation, state, 1, DEVICE)
    assert (statuses(state), told(state)) == (["unchanged", "unchanged"], "")
    assert {x.id: x.psk for x in state.all_results()}.items() <= newest.items()


def test_finishing_never_waits_for_a_sibling_that_is_stuck(
    rotation: Rotation, store: MemoryStore, simulator: Simulator
) -> None:
    """C15: one tunnel of a site is stuck, and the other was left half-way."""
    begin(rotation)
    left = killed(rotation)
    pair = [x["id"] for x in rotation.client.list_tunnels()][:2]
    (sibling,) = set(pair) - {left}
    set_by_somebody(simulator, sibling)
    state = again(rotation)
    assert (store[left].state, store[sibling].state) == ("idle", "stuck")
    assert current(store)[left] == truth(simulator)[left]
    assert "somebody else" in told(state)


# -- which tunnels back each other up ---------------------------------------------------------------------------------


def pair_of(rotation: Rotation) -> tuple[str, str]:
    """The names of two tunnels that back each other up."""
    first, second = [x["name"] for x in rotation.client.list_tunnels()][:2]
    return first, second


def run_of(rotation: Rotation, host: str, tunnel: str, **fields: Any) -> State:
    """A play of one host, as ``--limit`` leaves it, up to its wave."""
    wanted = with_devices(host, max_failures="100%", **fields)
    state = rotation.begin(f"rotation of {host}", wanted, Memory(claims={host: [tunnel]}), preflight=False)
    for index in range(len(state.waves)):
        state = wave(rotation, state, index, host)
    return state


@pytest.mark.parametrize("group_by", ["auto", "expression", "mapping"])
def test_a_sibling_outside_the_play_counts(
    rotation: Rotation, store: MemoryStore, simulator: Simulator, group_by: str
) -> None:
    """C16: the device of one tunnel refuses; then the play is limited to the other device."""
    first, second = pair_of(rotation)
    groups: Any = {"expression": f"(?P<group>{first[:3]})", "mapping": {"site": [first, second]}}.get(group_by, "auto")
    before = truth(simulator)
    state = run_of(rotation, "a", first, group_by=groups)
    rotation.settle(state, {})
    state = run_of(rotation, "b", second, group_by=groups)
    assert (statuses(state), state.in_flight) == (["skipped"], ())
    assert f"'{first}', which backs it up, is applied and must be finished first" in told(state)
    changed = [i for i, psk in truth(simulator).items() if psk != before[i]]
    assert len(changed) == 1


def test_two_slices_that_begin_at_the_same_moment_do_not_take_both_tunnels_of_a_site(
    rotation: Rotation, store: MemoryStore, simulator: Simulator
) -> None:
    """C16: neither sees the other's hosts; the records are read again once `prepared` is written."""
    first, second = pair_of(rotation)

    def other_slice() -> None:
        store.meanwhile = None
        run_of(elsewhere(rotation, None), "b", second)

    store.meanwhile = other_slice
    state = run_of(rotation, "a", first)
    assert statuses(state) == ["skipped"]
    assert sorted(store.states.values()) == ["applied", "idle"]
    assert simulator.writes() == 1


def test_a_record_keeps_host_and_group_of_its_tunnel(rotation: Rotation, store: MemoryStore) -> None:
    """C16: so that a later play of other hosts knows them."""
    first, _second = pair_of(rotation)
    run_of(rotation, "a", first)
    (record,) = store.records.values()
    assert record.host == "a"
    assert record.group


def test_on_localhost_a_tunnel_waits_for_the_confirmation_of_its_sibling(
    rotation: Rotation, store: MemoryStore
) -> None:
    """C17: manual confirmation, one tunnel of a customer endpoint, then the other."""
    first, second = pair_of(rotation)
    for name, expected in ((first, "waiting"), (second, "skipped")):
        wanted = options(confirmation="manual")
        state = rotation.begin("r1", wanted, Memory(claims={"localhost": [name]}), preflight=False)
        assert statuses(state) == [expected]
    assert list(store.states.values()) == ["applied"]


@pytest.mark.parametrize("kind", ["two customer endpoints", "two routers of a site", "no customer endpoint"])
def test_by_default_both_tunnels_of_a_site_are_never_in_one_request(
    rotation: Rotation, simulator: Simulator, said: list[str], kind: str
) -> None:
    """C18: whatever joins them, they are kept apart, and the plan says why, in a check run, too."""
    tunnels = rotation.client.list_tunnels()[:2]
    names = ("oslo", "lima") if kind == "two routers of a site" else ("berlin-pri", "berlin-sec")
    for number, (tunnel, name) in enumerate(zip(tunnels, names, strict=True)):
        endpoint = None if kind == "no customer endpoint" else f"198.51.100.{number}"
        simulator.patch_tunnel(tunnel["id"], name=name, customer_endpoint=endpoint)
    claims = {"r1": [names[0]], "r2": [names[1]]} if kind == "two routers of a site" else {"localhost": list(names)}
    wanted = options(hosts=frozenset(claims), sites=dict.fromkeys(claims, "north") if len(claims) > 1 else {})
    check = replace(rotation, store=OverlayStore(rotation.store), validate_only=True)
    state = check.begin("r1", wanted, Memory(claims=claims), preflight=False)
    assert [len(x) for x in state.waves] == [1, 1]
    assert [x.status for x in map(in_check, state.all_results())] == ["planned", "planned"]
    why = "site north" if kind == "two routers of a site" else "names berlin-*"
    assert [line for line in said if "back each other up" in line and why in line]


def test_five_tunnels_of_a_numbered_fleet_are_no_family(rotation: Rotation, simulator: Simulator) -> None:
    """C18: joining too much costs a wave, but a whole fleet is not one group."""
    for number, tunnel in enumerate(rotation.client.list_tunnels()):
        simulator.patch_tunnel(tunnel["id"], name=f"site-{number}", customer_endpoint=f"198.51.100.{number}")
    assert len(begin(rotation).waves) == 1


def test_none_says_that_nothing_backs_anything_up(rotation: Rotation) -> None:
    """C18: and is the only way to say so."""
    assert len(begin(rotation, group_by="none").waves) == 1
    with pytest.raises(InputError, match="set none"):
        begin(rotation, group_by={})


@pytest.mark.parametrize(
    ("group_by", "named"),
    [
        ({"north": ["Berlin-1", "nowhere"]}, "nowhere"),
        ({"nowhere": "north"}, "nowhere"),
        (r"^(?P<group>nowhere)-\d$", "nowhere"),
    ],
    ids=["mapping", "mapping by tunnel", "expression"],
)
def test_groups_that_match_nothing_are_refused_by_name_before_the_first_write(
    rotation: Rotation, simulator: Simulator, store: MemoryStore, group_by: Any, named: str
) -> None:
    """C19: a misspelt name, or an expression without a match."""
    simulator.patch_tunnel(rotation.client.list_tunnels()[0]["id"], name="Berlin-1")
    with pytest.raises(InputError, match=f"psk_rotation_group_by.*{named}"):
        begin(rotation, group_by=group_by)
    assert (simulator.writes(), store.records) == (0, {})


# -- names and ids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["all", "*"])
def test_the_word_for_all_is_taken_as_such_and_a_tunnel_of_that_name_is_told(
    rotation: Rotation, simulator: Simulator, said: list[str], word: str
) -> None:
    """C20: a tunnel is named `all` (or `*`) in the dashboard."""
    simulator.patch_tunnel(rotation.client.list_tunnels()[0]["id"], name=word)
    state = rotation.begin("r1", options(), Memory(claims={"localhost": [word]}), preflight=False)
    assert len(state.all_results()) == TUNNELS
    assert f"{word!r} is the name of a tunnel, too: it is reached by its id only" in said


def test_after_a_run_the_escrow_knows_two_tunnels_that_have_swapped_their_names(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    """C21: a lookup by name then gives the key of the tunnel that has it now."""
    begin(rotation)
    first, second = rotation.client.list_tunnels()[:2]
    simulator.patch_tunnel(first["id"], name="between")
    simulator.patch_tunnel(second["id"], name=first["name"])
    simulator.patch_tunnel(first["id"], name=second["name"])
    assert set(statuses(again(rotation))) == {"unchanged"}
    assert list(find(store, [first["name"]])) == [second["id"]]


def test_a_tunnel_that_was_deleted_and_made_again_is_found_by_its_name_and_no_key_is_lost(
    rotation: Rotation, simulator: Simulator, store: MemoryStore
) -> None:
    """C22: its old record is marked gone by the next run, kept, and out of the way."""
    begin(rotation)
    old = rotation.client.list_tunnels()[0]
    key = current(store)[old["id"]]
    rotation.client.delete_tunnel(old["id"])
    body = {k: old[k] for k in ("name", "cloudflare_endpoint", "interface_address") if old.get(k)}
    new = rotation.client.create_tunnel(body)
    again(rotation)
    assert list(find(store, [old["name"]])) == [new["id"]]
    assert (store[old["id"]].gone, current(store)[old["id"]]) == (True, key)


def test_the_record_of_a_tunnel_that_is_gone_is_forgotten_only_when_somebody_says_so(
    rotation: Rotation, store: MemoryStore
) -> None:
    """C22: an explicit way to forget."""
    begin(rotation)
    old = rotation.client.list_tunnels()[0]["id"]
    rotation.client.delete_tunnel(old)
    again(rotation)
    assert old in store.records
    assert _upkeep.forget(Mover(store, lambda: claim("r1")), [old]) == {}
    assert old not in store.records


def test_a_record_that_is_not_gone_is_not_forgotten(rotation: Rotation, store: MemoryStore) -> None:
    """C22: whatever somebody says."""
    begin(rotation)
    ids = list(store.records)
    kept = _upkeep.forget(Mover(store, lambda: claim("r1")), ids)
    assert kept == dict.fromkeys(ids, "it is not marked as gone")
    assert isinstance(store[ids[0]], Record)
