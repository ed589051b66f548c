# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of a rotation on a store: take, guard, write down, confirm, roll back, let go."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import StoppedError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _escrow, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Escrow, Taken, Verified
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Moves
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    PREPARED,
    ROLLING_BACK,
    Claim,
    Lease,
    Record,
    Refused,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Stored, Written
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Target

from tests.unit.plugins.plugin_utils.memory import MemoryStore
from tests.unit.plugins.plugin_utils.records import (
    LATER,
    LONG_AGO,
    ME,
    OTHER,
    at,
    claim,
    keys,
    known,
    prepare,
    record_in,
    rolled_back_at_cloudflare,
    trace,
)

TARGETS = {f"t{n}": Target(f"tunnel {n}", trace(LONG_AGO)) for n in range(3)}
NAMES = {i: x.name for i, x in TARGETS.items()}


def escrow(store: MemoryStore, by: Claim | Callable[[], Claim] = ME) -> Escrow:
    return Escrow(store, by if callable(by) else lambda: by, NAMES)


def take(store: MemoryStore, *ids: str, by: Claim = ME, **fields: Any) -> Taken:
    """Takes tunnels that nothing backs up."""
    return escrow(store, by).take({i: TARGETS[i] for i in ids or TARGETS}, {}, willing, **fields)


def willing(tunnel_id: str, record: Record | None) -> None:
    """Takes any tunnel."""


def applied(psks: Mapping[str, str | None], minutes: float = 1, *, repeated: bool = False) -> dict[str, _psk.Answer]:
    return {i: _psk.Answer(_psk.APPLIED, applied_on=at(minutes), repeated=repeated) for i in psks}


def reasons(moves: Moves) -> dict[str, str]:
    return {i: str(x) for i, x in moves.refused.items()}


def statuses(moves: Moves) -> dict[str, str]:
    return {i: x.status for i, x in moves.moved.items()}


# -- taking -----------------------------------------------------------------------------------------------------------


def test_what_is_to_be_sent_is_in_the_store_before() -> None:
    store = MemoryStore()
    taken = take(store)
    assert {i: keys(x)["pending"] for i, x in store.records.items()} == taken.psks
    assert (len(set(taken.psks.values())), set(store.states.values())) == (3, {PREPARED})


def test_any_number_of_tunnels_is_one_write() -> None:
    store = MemoryStore()
    take(store)
    assert store.writes == 1


def test_of_a_tunnel_that_cloudflare_has_set_nothing_is_sent() -> None:
    store = MemoryStore({"t0": replace(record_in(APPLIED), lease=None)})
    taken = escrow(store).take({"t0": Target("tunnel 0", trace(1))}, {}, willing)
    assert (taken.psks, statuses(taken.moves)) == ({"t0": None}, {"t0": "applied"})


def test_what_is_resumed_is_sent_as_it_was() -> None:
    assert take(MemoryStore({"t0": record_in(IN_DOUBT)}), "t0").psks == {"t0": "new"}


def test_another_run_gets_no_tunnel_that_is_held() -> None:
    store = MemoryStore()
    take(store, "t0")
    taken = take(store, by=OTHER)
    assert set(taken.psks) == {"t1", "t2"}
    assert "another run works on it until" in reasons(taken.moves)["t0"]


def test_of_two_runs_that_take_a_tunnel_at_once_one_gets_it() -> None:
    store, winner = MemoryStore(), []
    store.meanwhile = lambda: winner.append(take(store, "t0", by=OTHER))
    loser = take(store, "t0")
    assert (list(winner[0].psks), loser.psks) == (["t0"], {})
    assert "another run works on it until" in reasons(loser.moves)["t0"]


def test_a_tunnel_that_is_not_to_be_taken_any_more_is_left_alone() -> None:
    def judge(tunnel_id: str, record: Record | None) -> None:
        if record is not None and record.generation > 1:
            raise Refused("another run has rotated it meanwhile", status="unchanged")

    store = MemoryStore({"t0": known()})
    store.meanwhile = lambda: store.put("t0", replace(known(), generation=2))
    taken = escrow(store).take({"t0": TARGETS["t0"]}, {}, judge)
    assert (taken.psks, taken.moves.refused["t0"].status, store["t0"].state) == ({}, "unchanged", IDLE)


def test_a_tunnel_that_sticks_is_not_sent() -> None:
    store = MemoryStore({"t0": known()})
    taken = escrow(store).take({"t0": Target("tunnel 0", trace(0))}, {}, willing)
    assert (taken.psks, statuses(taken.moves)) == ({}, {"t0": "stuck"})


class Broken(MemoryStore):
    """A store that does not return what was written."""

    fault = ""

    def store(self, changes: Mapping[str, Stored]) -> Written:
        written = super().store(changes)
        if self.fault == "drops":
            self._texts.clear()
        elif self.fault == "alters":
            self._texts["t0"] = (self._texts["t0"][0].replace(keys(self["t0"])["pending"], "x" * 48), 1)
        elif self.fault == "rewinds":
            self._texts = {i: (text, 0) for i, (text, _version) in self._texts.items()}
        return written


@pytest.mark.parametrize("fault", ["drops", "alters", "rewinds"])
def test_what_is_not_read_back_as_it_was_written_is_not_sent(fault: str) -> None:
    store = Broken()
    store.fault = fault
    with pytest.raises(EscrowError, match="gives back another record of tunnel 0 than was stored") as caught:
        take(store, "t0")
    assert "x" * 48 not in str(caught.value)


def test_another_run_may_write_before_ours_has_read_back() -> None:
    store = MemoryStore({"t0": known()})
    store.after_write = lambda: store.put("t0", replace(store["t0"], name="renamed"))
    assert set(take(store, "t0").psks) == {"t0"}


# -- siblings ---------------------------------------------------------------------------------------------------------


def take_with_sibling(store: MemoryStore, by: Claim = ME) -> Taken:
    """Takes t0, which t1 backs up."""
    return escrow(store, by).take({"t0": TARGETS["t0"]}, {"t0": ["t1"]}, willing)


@pytest.mark.parametrize("state", [PREPARED, IN_DOUBT, APPLIED, ROLLING_BACK])
def test_a_tunnel_whose_sibling_is_in_flight_is_given_up_again(state: str) -> None:
    store = MemoryStore({"t0": known(), "t1": replace(record_in(state), lease=None)})
    taken = take_with_sibling(store)
    assert (taken.psks, store["t0"].state, store["t0"].lease) == ({}, IDLE, None)
    assert reasons(taken.moves) == {"t0": f"'one', which backs it up, is {state}"}


def test_a_sibling_that_another_run_takes_at_the_same_moment_is_seen() -> None:
    store = MemoryStore({"t0": known(), "t1": known()})
    store.meanwhile = lambda: store.put("t1", record_in(PREPARED))
    assert take_with_sibling(store).psks == {}


def test_a_sibling_that_is_done_is_no_hindrance() -> None:
    store = MemoryStore({"t0": known(), "t1": known()})
    assert set(take_with_sibling(store).psks) == {"t0"}


def test_finishing_does_not_wait_for_a_sibling() -> None:
    store = MemoryStore({"t0": record_in(IN_DOUBT), "t1": replace(record_in(APPLIED), lease=None)})
    assert take_with_sibling(store).psks == {"t0": "new"}


@pytest.mark.parametrize(("state", "goes"), [(PREPARED, True), (IN_DOUBT, False), (APPLIED, False)])
def test_what_was_left_prepared_gives_way_to_a_sibling_that_is_further_on(state: str, goes: bool) -> None:
    store = MemoryStore({"t0": record_in(PREPARED), "t1": replace(record_in(state), lease=None)})
    assert bool(take_with_sibling(store, LATER).psks) is goes


@pytest.mark.parametrize(("lives", "excused"), [(True, True), (None, False), (False, False)])
def test_waiting_for_a_sibling_needs_nobody_only_while_its_run_is_seen_to_live(
    lives: bool | None, excused: bool
) -> None:
    store = MemoryStore({"t0": known(), "t1": record_in(PREPARED)})
    taken = take_with_sibling(store, replace(OTHER, lives=lambda owner: lives))
    assert taken.moves.refused["t0"].excused is excused


# -- right before the request -----------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have gone by, on both clocks of the guard."""
    gone_by = [0.0]
    monkeypatch.setattr(_escrow, "_now", lambda: (1000 + gone_by[0], 2000 + gone_by[0]))
    return gone_by


def taken_and_looked(store: MemoryStore, by: Claim = ME) -> tuple[Escrow, dict[str, str]]:
    """An escrow that has just taken t0, and what it is to send."""
    working = escrow(store, by)
    taken = working.take({"t0": TARGETS["t0"]}, {}, willing)
    return working, {i: x for i, x in taken.psks.items() if x is not None}


def test_the_guard_lets_pass_what_the_run_still_holds(clock: list[float]) -> None:
    working, psks = taken_and_looked(MemoryStore())
    clock[0] = 10
    working.guard(psks)


def test_the_guard_looks_at_the_records_once_more(clock: list[float]) -> None:
    store = MemoryStore()
    working, psks = taken_and_looked(store)
    store.loads.clear()
    clock[0] = _escrow.FRESH + 1
    working.guard(psks)
    assert store.loads == [["t0"]]


def test_a_look_that_is_younger_than_two_seconds_is_not_repeated(clock: list[float]) -> None:
    store = MemoryStore()
    working, psks = taken_and_looked(store)
    store.loads.clear()
    working.guard(psks)
    assert store.loads == []


def test_a_machine_that_slept_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = [2000.0]
    monkeypatch.setattr(_escrow, "_now", lambda: (1000.0, wall[0]))
    store = MemoryStore()
    working, psks = taken_and_looked(store)
    store.loads.clear()
    wall[0] += 3600
    working.guard(psks)
    assert store.loads == [["t0"]]


def test_the_guard_stops_what_another_run_has_taken(clock: list[float]) -> None:
    store = MemoryStore()
    working, psks = taken_and_looked(store)
    take(store, "t0", by=LATER)
    clock[0] = 10
    with pytest.raises(StoppedError, match="another run has taken over tunnel 0; nothing was sent"):
        working.guard(psks)


def test_the_guard_stops_what_is_no_longer_to_be_sent(clock: list[float]) -> None:
    store = MemoryStore()
    working, psks = taken_and_looked(store)
    store.put("t0", _transitions.applied(store["t0"], at(1), ME).record)
    clock[0] = 10
    with pytest.raises(StoppedError, match="tunnel 0; nothing was sent"):
        working.guard(psks)


def test_the_guard_stops_a_run_that_has_ended(clock: list[float]) -> None:
    claims: list[Any] = [ME, ME]

    def claim_or_end() -> Claim:
        if not claims:
            raise EscrowError("the run that asked for this has ended")
        return claims.pop()

    working, psks = taken_and_looked(MemoryStore(), claim_or_end)  # type: ignore[arg-type]
    claims.clear()
    with pytest.raises(StoppedError, match="nothing was sent: the run that asked for this has ended"):
        working.guard(psks)


def test_the_guard_stops_when_the_escrow_can_not_be_read(clock: list[float]) -> None:
    store = MemoryStore()
    working, psks = taken_and_looked(store)

    def down(*dummy: object) -> None:
        raise EscrowError("the escrow is down")

    store.load = down  # type: ignore[method-assign,assignment]
    clock[0] = 10
    with pytest.raises(StoppedError, match="nothing was sent: the escrow is down"):
        working.guard(psks)


def test_a_look_that_has_failed_is_repeated_before_the_next_request(clock: list[float]) -> None:
    store = MemoryStore()
    working, psks = taken_and_looked(store)
    take(store, "t0", by=LATER)
    load = store.load

    def down(*dummy: object) -> None:
        store.load = load  # type: ignore[method-assign]
        raise EscrowError("the escrow is down")

    store.load = down  # type: ignore[method-assign,assignment]
    clock[0] = 10
    with pytest.raises(StoppedError, match="the escrow is down"):
        working.guard(psks)
    with pytest.raises(StoppedError, match="another run has taken over tunnel 0"):
        working.guard(psks)


def test_a_sibling_in_flight_stops_the_next_request_too(clock: list[float]) -> None:
    store = MemoryStore({"t0": known(), "t1": known()})
    working = escrow(store)
    taken = working.take({"t0": TARGETS["t0"]}, {"t0": ["t1"]}, willing)
    psks = {i: x for i, x in taken.psks.items() if x is not None}
    store.put("t1", record_in(APPLIED))
    clock[0] = 10
    for _request in range(2):
        with pytest.raises(StoppedError, match="what backs up tunnel 0 is in flight"):
            working.guard(psks)


@pytest.mark.parametrize(("minutes", "renewed"), [(10, False), (14.9, True), (20, True)])
def test_a_lease_that_would_not_outlast_the_request_is_renewed(
    clock: list[float], minutes: float, renewed: bool
) -> None:
    now = [0.0]
    store = MemoryStore()
    working, psks = taken_and_looked(store, lambda: claim("me", now[0]))  # type: ignore[arg-type]
    now[0] = minutes
    working.guard(psks)
    lease = store["t0"].lease
    assert lease is not None
    assert lease.until == claim("me", minutes if renewed else 0).until


def test_a_lease_that_ends_while_it_is_renewed_is_looked_at_again(clock: list[float]) -> None:
    now, store = [0.0], MemoryStore()
    working, psks = taken_and_looked(store, lambda: claim("me", now[0]))  # type: ignore[arg-type]
    now[0] = 14.9

    def sleep() -> None:
        store.after_write = None
        now[0], clock[0] = 40, 2400
        store.put("t0", replace(store["t0"], lease=Lease("other", claim("other", 40).until)))

    store.after_write = sleep
    with pytest.raises(StoppedError, match="another run has taken over tunnel 0"):
        working.guard(psks)


def test_a_lease_that_never_lasts_stops_the_run(clock: list[float]) -> None:
    now, store = [14.9], MemoryStore()
    working, psks = taken_and_looked(store, lambda: claim("me", now[0]))  # type: ignore[arg-type]

    def sleep() -> None:
        now[0] += 20

    store.after_write = sleep
    now[0] = 29.8
    with pytest.raises(StoppedError, match="psk_rotation_lease"):
        working.guard(psks)


# -- writing down what the API said -----------------------------------------------------------------------------------


def test_every_outcome_of_a_wave_is_written_down() -> None:
    store = MemoryStore()
    working = escrow(store)
    taken = working.take(TARGETS, {}, willing)
    answers = {**applied(["t0"]), "t1": _psk.Answer(_psk.UNAPPLIED, "no")}
    moves = working.record(taken.psks, answers, "cut off")
    assert statuses(moves) == {"t0": "applied", "t1": "refused", "t2": "in_doubt"}
    assert store.states == {"t0": APPLIED, "t1": IDLE, "t2": IN_DOUBT}
    assert [store[i].reason for i in store.records] == [None, "refused: no", "cut off"]


def test_what_was_not_sent_stays_as_it_was_for_the_next_run() -> None:
    store = MemoryStore()
    working = escrow(store)
    taken = working.take({"t0": TARGETS["t0"]}, {}, willing)
    moves = working.record(taken.psks, {"t0": _psk.Answer(_psk.UNSENT, "nothing was sent")}, None)
    assert statuses(moves) == {"t0": "prepared"}
    assert (store["t0"].lease, store["t0"].reason, keys(store["t0"])["pending"]) == (
        None,
        "nothing was sent",
        taken.psks["t0"],
    )


def test_what_the_api_would_do_is_what_a_check_run_goes_on_with() -> None:
    store = MemoryStore()
    working = escrow(store)
    taken = working.take({"t0": TARGETS["t0"]}, {}, willing)
    assert statuses(working.record(taken.psks, {"t0": _psk.Answer(_psk.PLANNED)}, None)) == {"t0": "applied"}


def test_what_follows_at_once_is_the_same_write() -> None:
    store = MemoryStore()
    working = escrow(store)
    taken = working.take({"t0": TARGETS["t0"]}, {}, willing)
    writes = store.writes
    moves = working.record(
        taken.psks, applied(["t0"]), None, lambda record, by: _transitions.confirm(record, "handed_over", by)
    )
    assert (statuses(moves), store["t0"].state, store.writes) == ({"t0": "handed_over"}, IDLE, writes + 1)


def test_after_a_repeated_request_the_answers_time_is_the_earliest_possible() -> None:
    store = MemoryStore()
    working = escrow(store)
    taken = working.take({"t0": TARGETS["t0"]}, {}, willing)
    working.record(taken.psks, applied(["t0"], repeated=True), None)
    pending = store["t0"].pending
    assert pending is not None and pending.at_least


def test_the_identity_that_the_api_gives_is_kept() -> None:
    store = MemoryStore()
    working = escrow(store)
    taken = working.take({"t0": TARGETS["t0"]}, {}, willing)
    working.record(taken.psks, {"t0": _psk.Answer(_psk.APPLIED, applied_on=at(1), ipsec_id="12_t0")}, None)
    assert store["t0"].ipsec_id == "12_t0"


def taken_over(go_on: bool) -> tuple[MemoryStore, Taken, Escrow]:
    """A run takes a tunnel and stops; another takes it over, and has it set: with ``go_on`` to the end."""
    store = MemoryStore({"t0": known()})
    slow, quick = escrow(store), escrow(store, LATER)
    taken = slow.take({"t0": TARGETS["t0"]}, {}, willing)
    resumed = quick.take({"t0": TARGETS["t0"]}, {}, willing)
    assert resumed.psks == taken.psks
    quick.record(
        resumed.psks,
        applied(["t0"], 21),
        None,
        (lambda record, by: _transitions.confirm(record, "handed_over", by)) if go_on else None,
    )
    return store, taken, slow


@pytest.mark.parametrize("go_on", [True, False])
def test_an_answer_that_comes_too_late_is_learnt_from_and_is_a_doubt_of_the_late_run(go_on: bool) -> None:
    store, taken, slow = taken_over(go_on)
    before = store["t0"]
    moves = slow.record(taken.psks, applied(["t0"], 30), None)
    after = store["t0"]
    assert statuses(moves) == {"t0": "in_doubt"}
    assert (after.state, after.lease) == (before.state, before.lease)
    part = after.current if go_on else after.pending
    assert part is not None and (part.applied_on, part.at_least) == (at(30), True)


def test_who_was_taken_over_says_which_psk_the_device_may_hold() -> None:
    _store, taken, slow = taken_over(True)
    (moved,) = slow.record(taken.psks, applied(["t0"], 30), None).moved.values()
    assert "while Cloudflare set its current PSK; the device may hold either" in (moved.record.reason or "")
    assert taken.psks["t0"] not in (moved.record.reason or "")


@pytest.mark.parametrize("answer", [_psk.Answer(_psk.UNAPPLIED, "no"), _psk.Answer(_psk.IN_DOUBT, "no answer")])
def test_of_a_tunnel_that_was_taken_over_no_other_answer_says_anything(answer: _psk.Answer) -> None:
    store, taken, slow = taken_over(False)
    before = store["t0"]
    moves = slow.record(taken.psks, {"t0": answer}, None)
    assert (reasons(moves), moves.refused["t0"].excused) == ({"t0": "another run has taken it over"}, False)
    assert store["t0"] == before


def test_a_record_that_somebody_touched_gets_the_answer_all_the_same() -> None:
    store = MemoryStore({"t0": known()})
    working = escrow(store)
    taken = working.take({"t0": TARGETS["t0"]}, {}, willing)
    store.meanwhile = lambda: store.put("t0", replace(store["t0"], other={"note": "by hand"}))
    assert statuses(working.record(taken.psks, applied(["t0"]), None)) == {"t0": "applied"}
    assert (store["t0"].state, store["t0"].other) == (APPLIED, {"note": "by hand"})


# -- after the device -------------------------------------------------------------------------------------------------


def test_what_the_device_has_shown_is_written_down() -> None:
    store = MemoryStore({"t0": record_in(APPLIED)})
    moves = escrow(store).confirm({"t0": Verified("delivered", "rotation of me", 2.5)})
    current = store["t0"].current
    assert statuses(moves) == {"t0": "delivered"}
    assert current is not None and (current.psk, current.exposure_seconds, current.confirmed) == ("new", 2.5, False)


@pytest.mark.parametrize("operation", ["confirm", "roll_back", "release"])
def test_a_step_of_a_rotation_that_another_run_has_ended_is_refused(operation: str) -> None:
    store, _taken, _slow = taken_over(True)
    take(store, "t0", by=claim("third", 60))
    slow = escrow(store)
    before = store["t0"]
    steps: dict[str, Callable[[], Moves]] = {
        "confirm": lambda: slow.confirm({"t0": Verified("confirmed", "rotation of me")}),
        "roll_back": lambda: slow.roll_back({"t0": "failed"}, {"t0": "rotation of me"}, {}, {}).moves,
        "release": lambda: slow.release({"t0": "failed"}, {"t0": "rotation of me"}),
    }
    assert reasons(steps[operation]()) == {"t0": "another run has ended its rotation meanwhile"}
    assert store["t0"] == before


def test_what_waits_for_a_later_step_is_let_go() -> None:
    store = MemoryStore({"t0": record_in(APPLIED)})
    assert statuses(escrow(store).release({"t0": None}, {"t0": "rotation of me"})) == {"t0": "waiting"}
    assert store["t0"].lease is None


# -- back -------------------------------------------------------------------------------------------------------------


def test_a_failed_tunnel_gets_its_previous_psk_back() -> None:
    store = MemoryStore({"t0": record_in(APPLIED)})
    taken = escrow(store).roll_back({"t0": "the device failed"}, {"t0": "rotation of me"}, {}, {})
    assert (taken.psks, store["t0"].state, store["t0"].reason) == ({"t0": "old"}, ROLLING_BACK, "the device failed")


def test_a_rollback_that_cloudflare_has_done_is_the_devices_turn() -> None:
    store = MemoryStore({"t0": replace(rolled_back_at_cloudflare(), lease=None)})
    assert escrow(store).roll_back({"t0": None}, {}, {}, {}).psks == {"t0": None}


def test_a_tunnel_without_a_previous_psk_stays_and_says_so() -> None:
    first = _transitions.applied(prepare(None, LONG_AGO, "first").record, at(1), ME).record
    store = MemoryStore({"t0": first})
    taken = escrow(store).roll_back({"t0": "the device failed"}, {}, {}, {})
    assert (taken.psks, statuses(taken.moves), store["t0"].state) == ({}, {"t0": "applied"}, APPLIED)
    assert store["t0"].reason == ("the device failed; no earlier PSK is known, so the rotation can only go forward")


def test_a_tunnel_that_another_run_holds_is_not_rolled_back() -> None:
    store = MemoryStore({"t0": record_in(APPLIED)})
    taken = escrow(store, OTHER).roll_back({"t0": "by hand"}, {}, {}, {})
    assert (taken.psks, list(taken.moves.refused), store["t0"].state) == ({}, ["t0"], APPLIED)


def test_a_rollback_of_a_confirmed_rotation_begins_and_so_waits_for_a_sibling() -> None:
    done = _transitions.confirm(record_in(APPLIED), "confirmed", ME).record
    store = MemoryStore({"t0": done, "t1": replace(record_in(APPLIED), lease=None)})
    taken = escrow(store).roll_back({"t0": "by hand"}, {}, {"t0": trace(1)}, {"t0": ["t1"]})
    assert (taken.psks, store["t0"].state) == ({}, IDLE)


def test_a_rollback_that_can_be_done_at_the_second_look_is_done() -> None:
    first = _transitions.applied(prepare(None, LONG_AGO, "first").record, at(1), ME).record
    store = MemoryStore({"t0": first})
    store.meanwhile = lambda: store.put("t0", record_in(APPLIED))
    assert escrow(store).roll_back({"t0": "failed"}, {}, {}, {}).psks == {"t0": "old"}


# -- foreign changes --------------------------------------------------------------------------------------------------


def test_a_foreign_change_is_written_down() -> None:
    store = MemoryStore({"t0": known()})
    escrow(store).stick({"t0": _psk.Trace(at(0))})
    assert (store["t0"].state, store["t0"].seen) == ("stuck", at(0))


def test_what_a_record_explains_by_now_is_no_foreign_change() -> None:
    store = MemoryStore({"t0": known()})
    store.meanwhile = lambda: store.put("t0", known("newest", 0))
    moves = escrow(store).stick({"t0": _psk.Trace(at(0))})
    assert (list(moves.refused), store["t0"].state) == (["t0"], IDLE)


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_no_repr_of_what_was_taken_holds_a_psk() -> None:
    store = MemoryStore({"t0": known("S3cret-old")})
    taken = take(store)
    psks = {x for x in itertools.chain(taken.psks.values(), ["S3cret-old"]) if x}
    assert not [psk for psk in psks if psk in repr(taken) + repr(taken.moves) + repr(store.load())]
