# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adoption: which PSK becomes the current one of a record, and which is refused as what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Trace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _adoption, _plan, _transitions, _upkeep
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adopt import Given
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adoption import Candidate, adopt, report
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    IDLE,
    STUCK,
    UNRESOLVED,
    Record,
    Refused,
)

from tests.unit.plugins.plugin_utils.accounts import tunnel
from tests.unit.plugins.plugin_utils.memory import MemoryStore
from tests.unit.plugins.plugin_utils.records import (
    LATER,
    LONG_AGO,
    ME,
    OTHER,
    START,
    at,
    keys,
    known,
    prepare,
    record_in,
    trace,
)


def candidate(psk: str = "given", minutes: float | None = LONG_AGO, set_on: str | None = None) -> Candidate:
    """A PSK for a tunnel whose PSK was set then."""
    return Candidate("one", trace(minutes), psk, set_on)


def refusal(record: Record | None, given: Candidate, *, overwrite: bool = False) -> str:
    with pytest.raises(Refused) as caught:
        adopt(record, given, LATER, overwrite=overwrite)
    return caught.value.status


def test_an_adopted_psk_has_the_time_of_cloudflare_and_was_not_proven() -> None:
    moved = adopt(None, candidate(), ME)
    current = moved.record.current
    assert current is not None
    assert (current.psk, current.applied_on, current.made_on) == ("given", at(LONG_AGO), at(LONG_AGO))
    assert (current.confirmed, moved.record.previous, moved.record.state) == (False, None, IDLE)
    assert (moved.status, moved.record.name, moved.record.history[-1]["event"]) == ("adopted", "one", "adopted")


def test_where_cloudflare_shows_no_time_the_record_has_none() -> None:
    record = adopt(None, Candidate("one", Trace(None, shown=False), "given"), ME).record
    assert record.current is not None and record.current.applied_on is None


def test_an_adopted_psk_is_no_unknown_one_for_the_plan() -> None:
    record = adopt(None, candidate(), ME).record
    options = _plan.Options(hosts=frozenset(["localhost"]), max_age=90 * 86400, now=START * 10**9)
    plan = _plan.plan([tunnel("t1", "one")], {"t1": record}, {"t1": "localhost"}, options)
    assert [x.status for x in plan.unchanged] == ["unchanged"]


def test_the_first_rotation_after_an_adoption_can_be_rolled_back() -> None:
    record = adopt(None, candidate(), ME).record
    record = prepare(record, LONG_AGO, "new").record
    record = _transitions.applied(record, at(1), ME).record
    assert _transitions.roll_back(record, "the device failed", ME).record.psk_to_send() == "given"
    done = _transitions.confirm(record, "delivered", ME).record
    assert keys(done) == {"current": "new", "previous": "given", "pending": None, "discarded": []}


@pytest.mark.parametrize("state", [IDLE, *UNRESOLVED, STUCK])
def test_a_current_psk_that_is_given_again_changes_nothing(state: str) -> None:
    record = record_in(state)
    assert adopt(record, candidate("old"), OTHER) == (record, "known")


def test_another_psk_than_the_escrows_is_refused_unless_told() -> None:
    assert refusal(known(), candidate()) == "differs"
    after = adopt(known(), candidate(), LATER, overwrite=True).record
    assert keys(after) == {"current": "given", "previous": None, "pending": None, "discarded": ["old"]}


def test_a_psk_that_the_escrow_has_replaced_is_told_as_such() -> None:
    record = replace(known("new"), previous=known().current)
    with pytest.raises(Refused, match="which has replaced this one"):
        adopt(record, candidate("old"), ME)


@pytest.mark.parametrize("state", UNRESOLVED)
def test_a_rotation_that_is_not_finished_is_never_disturbed(state: str) -> None:
    assert refusal(record_in(state), candidate(), overwrite=True) == "busy"


def test_a_tunnel_that_another_run_holds_is_left_alone() -> None:
    record = replace(known(), lease=prepare(None, None, "x").record.lease)
    with pytest.raises(Refused) as caught:
        adopt(record, candidate(), OTHER, overwrite=True)
    assert caught.value.status == "busy"


def test_a_stuck_tunnel_is_free_again_with_the_psk_that_is_right() -> None:
    record = record_in(STUCK)
    after = adopt(record, candidate(minutes=30), LATER, overwrite=True).record
    assert (after.state, after.reason, after.seen) == (IDLE, None, None)
    assert after.keys() == {*record.keys(), "given"}


def test_a_psk_that_its_device_contradicts_is_not_adopted_whatever_else_is_said() -> None:
    given = replace(candidate("old"), contradicted="its device has another PSK")
    assert refusal(None, given) == refusal(known(), given, overwrite=True) == "unverified"


def test_a_psk_that_its_device_was_seen_to_have_is_confirmed() -> None:
    current = adopt(None, replace(candidate(), proven=True), ME).record.current
    assert current is not None and (current.confirmed, current.confirmed_on is not None) == (True, True)


def test_a_psk_that_is_known_already_is_confirmed_once() -> None:
    given = replace(candidate(), proven=True)
    record = adopt(None, candidate(), ME).record
    proven = adopt(record, given, LATER)
    assert proven.record.current is not None and proven.record.current.confirmed
    assert (proven.status, proven.record.history[-1]["event"]) == ("known", "proven by its device")
    assert adopt(proven.record, given, LATER) == (proven.record, "known")


def test_a_psk_of_a_tunnel_that_is_being_rotated_is_not_confirmed_by_an_adoption() -> None:
    record = prepare(adopt(None, candidate(), ME).record, LONG_AGO, "new").record
    assert adopt(record, replace(candidate(), proven=True), OTHER) == (record, "known")


def test_a_source_that_is_older_than_cloudflare_is_stale() -> None:
    given = candidate(set_on=at(LONG_AGO - 60))
    assert refusal(None, given) == "stale"
    assert refusal(known(), given, overwrite=True) == "outdated"


def test_a_source_of_the_same_time_within_tolerance_is_not_stale() -> None:
    assert adopt(None, candidate(set_on=at(LONG_AGO - 0.05)), ME).status == "adopted"


def test_a_tunnel_without_a_psk_can_have_none_adopted() -> None:
    assert refusal(None, candidate(minutes=None)) == "without_psk"


def told(records: dict[str, Record], given: dict[str, Candidate]) -> _adoption.Report:
    mover = Mover(MemoryStore(records), lambda: LATER)
    moves = _upkeep.adopt(mover, given)
    return report(moves, {i: i for i in given}, [Given("line 3", "x", "lyon-9")], ["berlin-9"])


def test_a_report_names_all_that_was_not_adopted() -> None:
    found = told({"b": known("x"), "c": known()}, {"a": candidate(), "b": candidate("x"), "c": candidate("y")})
    assert found.message() == (
        "1 adopted, 1 known already, 1 not overwritten (c: the escrow has another PSK, and nothing says which one is"
        " right), 1 without a tunnel ('lyon-9' (line 3)), 1 without a key (berlin-9)"
    )
    assert found.failed


def test_keys_without_a_tunnel_and_tunnels_without_a_key_are_no_failure() -> None:
    assert not told({}, {"a": candidate(), "b": candidate(minutes=None)}).failed


def test_a_report_names_what_could_not_be_proven_where_that_was_asked_for() -> None:
    mover = Mover(MemoryStore({}), lambda: LATER)
    given = {
        "a": replace(candidate(), proven=True),
        "b": candidate(),
        "c": replace(candidate(), contradicted="its device has another PSK"),
    }
    found = report(_upkeep.adopt(mover, given), {i: i for i in given}, [], [], {"a": True, "b": False, "c": False})
    assert found.message() == (
        "2 adopted, 0 known already, 1 not adopted (c: its device has another PSK), 1 was seen in the device,"
        " 1 can't be proven (b)"
    )
    assert found.failed


def test_a_stale_key_fails_unless_the_escrow_knows_better() -> None:
    given = {"a": candidate(set_on=at(LONG_AGO - 60))}
    assert told({}, given).failed
    assert not told({"a": known()}, given).failed
