# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transitions of a record: what each does in each state, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import compare
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _kept, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    PREPARED,
    ROLLING_BACK,
    STATES,
    STUCK,
    UNRESOLVED,
    Claim,
    Key,
    Record,
    Refused,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved, Target

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
    target,
    trace,
)

ENDED = Claim("rotation of me", "me", ME.now + 5000, ME.until + 5000)


def shown_by(record: Record) -> float:
    """When the account says that the PSK of this record was set, if nobody else has set one."""
    return 1 if record.state == APPLIED else LONG_AGO


MOVES: dict[str, Callable[[Record], Moved]] = {
    "prepare": lambda r: prepare(r, shown_by(r), "newer", LATER),
    "finish": lambda r: prepare(r, shown_by(r), "newer", LATER, finish=True),
    "force": lambda r: prepare(r, 40, "newer", LATER, force=True),
    "withdraw": lambda r: _transitions.withdraw(r, "a sibling is in flight", ME),
    "renew": lambda r: _transitions.renew(r, ME),
    "applied": lambda r: _transitions.applied(r, at(2), ME),
    "refused": lambda r: _transitions.refused(r, "no", ME),
    "in_doubt": lambda r: _transitions.in_doubt(r, "no answer", ME),
    "confirm": lambda r: _transitions.confirm(r, "confirmed", ME),
    "roll_back": lambda r: _transitions.roll_back(r, "failed", ME),
    "release": lambda r: _transitions.release(r, None, ME),
    "stick": lambda r: _transitions.stick(r, at(40), ME),
}
NO = None
# What follows from each state, in the order of STATES, with the tunnel's status; NO: refused. IN_DOUBT and STUCK hold
# no lease any more, so that what only the run may do that has taken the tunnel is refused there.
TABLE: dict[str, tuple[tuple[str, str] | None, ...]] = {
    "prepare": (
        (PREPARED, "prepared"),
        (PREPARED, "prepared"),
        (IN_DOUBT, "prepared"),
        (APPLIED, "applied"),
        (IN_DOUBT, "prepared"),
        NO,
    ),
    "finish": (
        NO,
        (PREPARED, "prepared"),
        (IN_DOUBT, "prepared"),
        (APPLIED, "applied"),
        (IN_DOUBT, "prepared"),
        NO,
    ),
    "force": (
        (PREPARED, "prepared"),
        (PREPARED, "prepared"),
        (IN_DOUBT, "prepared"),
        (IN_DOUBT, "prepared"),
        (IN_DOUBT, "prepared"),
        (IN_DOUBT, "prepared"),
    ),
    "withdraw": (NO, (IDLE, "skipped"), NO, NO, NO, NO),
    "renew": (NO, (PREPARED, "prepared"), NO, (APPLIED, "applied"), (ROLLING_BACK, "rollback_failed"), NO),
    "applied": (NO, (APPLIED, "applied"), NO, (APPLIED, "applied"), (ROLLING_BACK, "rolling_back"), NO),
    "refused": (NO, (IDLE, "refused"), NO, NO, (ROLLING_BACK, "rollback_failed"), NO),
    "in_doubt": (NO, (IN_DOUBT, "in_doubt"), NO, NO, (ROLLING_BACK, "rollback_failed"), NO),
    "confirm": (NO, NO, NO, (IDLE, "confirmed"), NO, NO),
    "roll_back": (
        NO,
        (ROLLING_BACK, "prepared"),
        (ROLLING_BACK, "prepared"),
        (ROLLING_BACK, "prepared"),
        (ROLLING_BACK, "prepared"),
        NO,
    ),
    "release": (
        (IDLE, "unchanged"),
        (PREPARED, "prepared"),
        (IN_DOUBT, "in_doubt"),
        (APPLIED, "waiting"),
        (ROLLING_BACK, "rollback_failed"),
        (STUCK, "stuck"),
    ),
    "stick": ((STUCK, "stuck"),) * 6,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("move", MOVES)
def test_what_follows_from_each_state(move: str, state: str) -> None:
    record = record_in(state)
    expected = TABLE[move][STATES.index(state)]
    if expected is None:
        with pytest.raises(Refused):
            MOVES[move](record)
    else:
        after = MOVES[move](record)
        assert (after.record.state, after.status) == expected
        assert Record.from_dict(json.loads(json.dumps(after.record.to_dict()))) == after.record


@pytest.mark.parametrize("move", [x for x in MOVES if x != "renew"])
def test_each_transition_leaves_a_line_in_the_history(move: str) -> None:
    for state in [s for s, expected in zip(STATES, TABLE[move], strict=True) if expected]:
        record = record_in(state)
        after = MOVES[move](record).record
        assert len(after.history) == len(record.history) + 1
        assert after.history[-1]["rotation_id"] in ("rotation of me", "rotation of later")


@pytest.mark.parametrize("move", MOVES)
def test_no_history_and_no_reason_holds_a_psk(move: str) -> None:
    for state in [s for s, expected in zip(STATES, TABLE[move], strict=True) if expected]:
        after = MOVES[move](record_in(state)).record
        assert not {"old", "new", "newer"} & set(json.dumps([list(after.history), after.reason]).split('"'))


def test_the_history_is_short() -> None:
    record = known()
    for dummy in range(50):
        record = _transitions.release(record, None, ME).record
    assert len(record.history) == _transitions.HISTORY_LENGTH


# -- forward ----------------------------------------------------------------------------------------------------------


def test_a_rotation_from_nothing_to_confirmed() -> None:
    record = prepare(None, None, "first").record
    assert (record.state, record.psk_to_send(), record.psk_of_device()) == (PREPARED, "first", None)
    record = _transitions.applied(record, at(1), ME, ipsec_id="12_one").record
    assert (record.psk_to_send(), record.psk_of_device()) == (None, "first")
    record = _transitions.confirm(record, "confirmed", ME, exposure=2.5).record
    assert (record.state, record.generation, record.ipsec_id, record.lease) == (IDLE, 1, "12_one", None)
    assert record.current == Key(
        "first",
        applied_on=at(1),
        made_on=at(1),
        rotation_id="rotation of me",
        exposure_seconds=2.5,
        confirmed=True,
        confirmed_on=at(0),
    )


@pytest.mark.parametrize("status", ["confirmed", "delivered", "handed_over"])
def test_only_what_was_seen_counts_as_confirmed(status: str) -> None:
    after = _transitions.confirm(record_in(APPLIED), status, ME)
    assert after.status == status
    assert after.record.current is not None
    assert after.record.current.confirmed is (status == "confirmed")
    assert bool(after.record.current.confirmed_on) is (status == "confirmed")


def test_the_psk_before_is_kept_after_a_confirmation() -> None:
    record = _transitions.confirm(record_in(APPLIED), "delivered", ME).record
    assert keys(record) == {"current": "new", "previous": "old", "pending": None, "discarded": []}


def test_a_rotation_keeps_the_wave_of_its_claim() -> None:
    record = prepare(known(), LONG_AGO, "new", claim(wave=3)).record
    record = _transitions.confirm(_transitions.applied(record, at(1), ME).record, "delivered", ME).record
    assert record.current is not None and record.current.wave == 3


def test_taking_a_tunnel_keeps_its_name_host_and_group() -> None:
    wanted = Target("berlin-a", trace(LONG_AGO), host="router", group="berlin", device=True)
    record = _transitions.prepare(known(), wanted, "new", ME).record
    assert (record.name, record.host, record.group, record.device) == ("berlin-a", "router", "berlin", True)


def test_a_tunnel_whose_device_is_not_known_keeps_the_one_that_was() -> None:
    record = replace(known(), host="router")
    assert _transitions.prepare(record, target(host=None), "new", ME).record.host == "router"


def test_a_tunnel_that_is_taken_is_not_gone() -> None:
    assert not prepare(replace(known(), gone=True), LONG_AGO, "new").record.gone


@pytest.mark.parametrize("state", UNRESOLVED)
def test_an_unresolved_rotation_is_resumed_with_its_own_psk_and_never_another(state: str) -> None:
    record = prepare(record_in(state), shown_by(record_in(state)), "another", LATER).record
    assert record.pending is not None and record.pending.psk == "new"
    assert record.lease is not None and record.lease.owner == "later"
    assert record.keys() == {"old", "new"}


@pytest.mark.parametrize("state", [PREPARED, IN_DOUBT, ROLLING_BACK])
def test_a_resumed_psk_counts_as_sent_before(state: str) -> None:
    record = prepare(record_in(state), LONG_AGO, "x", LATER).record
    assert record.pending is not None and record.pending.attempt == 2


def test_an_applied_psk_of_a_tunnel_that_has_none_any_more_is_sent_again() -> None:
    after = prepare(record_in(APPLIED), None, "x", LATER)
    assert (after.record.state, after.record.psk_to_send()) == (IN_DOUBT, "new")


def test_to_finish_is_not_to_begin() -> None:
    with pytest.raises(Refused, match="nothing left to finish") as caught:
        prepare(known(), LONG_AGO, "x", finish=True)
    assert caught.value.status == "unchanged"


def test_how_old_a_psk_is_does_not_change_when_it_is_set_again() -> None:
    record = replace(known(), current=Key("old", applied_on=at(0), made_on=at(LONG_AGO), at_least=True))
    record = prepare(record, 20, "x", LATER, finish=True).record
    record = _transitions.applied(record, at(21), LATER).record
    record = _transitions.confirm(record, "handed_over", LATER).record
    assert record.current is not None
    assert (record.current.psk, record.current.made_on, record.generation) == ("old", at(LONG_AGO), 1)
    assert keys(record) == {"current": "old", "previous": None, "pending": None, "discarded": []}


def test_the_age_of_a_psk_whose_time_did_not_move_counts_from_our_own_clock() -> None:
    record = _transitions.applied(prepare(known(), LONG_AGO, "new").record, at(LONG_AGO), ME).record
    record = _transitions.confirm(record, "delivered", ME).record
    assert record.made_on == at(0)


# -- refused ----------------------------------------------------------------------------------------------------------


def test_a_refused_psk_is_kept_and_the_one_before_counts() -> None:
    record = _transitions.refused(record_in(PREPARED), "no", ME).record
    assert keys(record) == {"current": "old", "previous": None, "pending": None, "discarded": ["new"]}
    assert record.reason == "refused: no"
    assert record.lease is None


def test_the_refusal_of_a_second_attempt_ends_no_doubt_since_its_list_may_be_older_than_the_first() -> None:
    after = _transitions.refused(prepare(record_in(IN_DOUBT), LONG_AGO, "x", LATER).record, "no", LATER)
    assert (after.record.state, after.status) == (IN_DOUBT, "in_doubt")


def test_the_refusal_of_a_third_attempt_ends_the_doubt_while_the_tunnel_reports_the_time_of_before() -> None:
    second = _transitions.refused(prepare(record_in(IN_DOUBT), LONG_AGO, "x", LATER).record, "no", LATER).record
    record = _transitions.refused(prepare(second, LONG_AGO, "x", LATER).record, "no", LATER).record
    assert record.state == IDLE
    assert keys(record)["discarded"] == ["new"]


def test_a_refusal_leaves_the_doubt_when_the_tunnels_time_has_moved() -> None:
    after = _transitions.refused(prepare(record_in(IN_DOUBT), 10, "x", LATER).record, "no", LATER)
    assert (after.record.state, after.status) == (IN_DOUBT, "in_doubt")
    assert keys(after.record)["pending"] == "new"


def refuse_often(minutes_between: float, times: int) -> Record:
    """A record whose next PSK was refused so often."""
    record = known()
    for number in range(times):
        by = claim(minutes=number * minutes_between)
        record = _transitions.refused(prepare(record, LONG_AGO, f"new {number}", by).record, "no", by).record
    return record


def test_refused_psks_are_kept_to_a_limit_once_no_request_can_be_under_way() -> None:
    times = _kept.DISCARDED_LENGTH + 3
    assert keys(refuse_often(61, times))["discarded"] == [f"new {n}" for n in range(times - 1, 2, -1)]


def test_no_psk_is_dropped_while_its_request_may_still_be_under_way() -> None:
    times = _kept.DISCARDED_LENGTH + 3
    assert keys(refuse_often(1, times))["discarded"] == [f"new {n}" for n in range(times - 1, -1, -1)]


def test_what_was_given_up_goes_when_another_psk_has_replaced_it_for_a_week() -> None:
    record = _transitions.refused(record_in(PREPARED), "no", ME).record
    for days, kept in ((6, ["new"]), (8, [])):
        by = claim(minutes=days * 1440)
        later = _transitions.applied(prepare(record, LONG_AGO, "newest", by).record, at(days * 1440), by).record
        assert keys(_transitions.confirm(later, "delivered", by).record)["discarded"] == kept


# -- back -------------------------------------------------------------------------------------------------------------


def test_a_rollback_ends_with_the_previous_psk() -> None:
    record = rolled_back_at_cloudflare(2)
    assert (record.psk_to_send(), record.psk_of_device()) == (None, "old")
    after = _transitions.confirm(record, "delivered", ME)
    assert after.status == "rolled_back"
    assert (after.record.state, after.record.generation, after.record.lease) == (IDLE, 1, None)
    assert keys(after.record) == {"current": "old", "previous": None, "pending": None, "discarded": ["new"]}


def test_after_a_rollback_the_time_that_cloudflare_gave_for_it_is_ours() -> None:
    record = _transitions.confirm(rolled_back_at_cloudflare(2), "delivered", ME).record
    assert compare(record.expected(), trace(2)) == "same"


def test_a_psk_that_was_rolled_back_to_is_as_old_as_when_it_was_made() -> None:
    assert _transitions.confirm(rolled_back_at_cloudflare(2), "delivered", ME).record.made_on == at(LONG_AGO)


@pytest.mark.parametrize("move", ["refused", "in_doubt"])
def test_a_rollback_that_is_not_proven_stays_one(move: str) -> None:
    after = MOVES[move](record_in(ROLLING_BACK))
    assert (after.record.state, after.status, after.record.psk_to_send()) == (ROLLING_BACK, "rollback_failed", "old")
    assert keys(after.record) == {"current": "old", "previous": None, "pending": "new", "discarded": []}


def test_an_unfinished_rollback_goes_forward_again() -> None:
    resumed = prepare(_transitions.in_doubt(record_in(ROLLING_BACK), "no answer", ME).record, 2, "x", LATER).record
    assert (resumed.state, resumed.psk_to_send(), resumed.rollback) == (IN_DOUBT, "new", None)


def test_going_forward_from_an_applied_rollback_remembers_what_cloudflare_holds() -> None:
    record = prepare(rolled_back_at_cloudflare(2), 2, "x", LATER).record
    record = _transitions.refused(record, "no", LATER).record
    record = _transitions.refused(prepare(record, 2, "x", LATER).record, "no", LATER).record
    assert record.state == IDLE
    assert compare(record.expected(), trace(2)) == "same"


def test_a_rollback_is_resumed_where_it_stands() -> None:
    after = _transitions.roll_back(rolled_back_at_cloudflare(2), "again", LATER, trace(2))
    assert (after.status, after.record.psk_to_send()) == ("rolling_back", None)


@pytest.mark.parametrize("minutes", [30, None])
def test_a_rollback_that_cloudflare_may_have_undone_is_sent_again(minutes: float | None) -> None:
    record = record_in(ROLLING_BACK)
    record = _transitions.applied(record, at(2), ME, repeated=True).record
    after = _transitions.roll_back(record, "again", LATER, trace(minutes))
    assert (after.status, after.record.psk_to_send()) == ("prepared", "old")


def test_the_first_psk_can_only_go_forward() -> None:
    record = _transitions.applied(prepare(None, LONG_AGO, "first").record, at(1), ME).record
    with pytest.raises(Refused, match="only go forward"):
        _transitions.roll_back(record, "failed", ME)


def test_a_psk_that_is_set_again_can_only_go_forward() -> None:
    record = replace(known(), current=Key("old", applied_on=at(0), at_least=True))
    record = _transitions.applied(prepare(record, 20, "x", finish=True).record, at(21), ME).record
    with pytest.raises(Refused, match="only go forward"):
        _transitions.roll_back(record, "failed", ME)


def test_a_confirmed_rotation_is_rolled_back_by_a_rotation_to_the_psk_before() -> None:
    record = _transitions.confirm(record_in(APPLIED), "confirmed", ME).record
    record = _transitions.roll_back(record, "by hand", LATER, trace(1)).record
    assert (record.state, record.psk_to_send()) == (PREPARED, "old")
    record = _transitions.applied(record, at(20), LATER).record
    record = _transitions.confirm(record, "confirmed", LATER).record
    assert keys(record) == {"current": "old", "previous": "new", "pending": None, "discarded": []}


def test_a_psk_that_somebody_else_has_set_is_not_rolled_back() -> None:
    record = _transitions.confirm(record_in(APPLIED), "confirmed", ME).record
    with pytest.raises(Refused, match="somebody else"):
        _transitions.roll_back(record, "by hand", LATER, trace(30))


def test_without_a_previous_psk_nothing_can_be_rolled_back() -> None:
    with pytest.raises(Refused, match="nothing to roll back"):
        _transitions.roll_back(known(), "by hand", LATER, trace(LONG_AGO))


# -- foreign changes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [IDLE, APPLIED])
def test_a_foreign_change_sticks(state: str) -> None:
    after = prepare(record_in(state), 80, "x", LATER)
    assert (after.record.state, after.status, after.record.seen) == (STUCK, "stuck", at(80))
    assert "somebody else" in (after.record.reason or "")
    with pytest.raises(Refused, match="stuck") as caught:
        prepare(after.record, 80, "x", LATER)
    assert caught.value.status == "stuck"


@pytest.mark.parametrize(("state", "sends"), [(IDLE, "x"), (APPLIED, "new")])
def test_a_foreign_change_is_overwritten_by_force_only(state: str, sends: str) -> None:
    forced = prepare(prepare(record_in(state), 80, "x", LATER).record, 80, "x", LATER, force=True).record
    assert forced.psk_to_send() == sends
    assert forced.current is not None and forced.current.superseded


def test_to_a_psk_that_somebody_else_has_replaced_nothing_is_rolled_back() -> None:
    forced = prepare(record_in(APPLIED), 80, "x", LATER, force=True).record
    with pytest.raises(Refused, match="only go forward"):
        _transitions.roll_back(_transitions.applied(forced, at(81), LATER).record, "failed", LATER)


def test_a_record_that_stuck_in_a_rollback_knows_which_psk_was_rolled_back_to() -> None:
    record = _transitions.stick(rolled_back_at_cloudflare(2), at(40), ME).record
    assert record.current is not None and record.current.applied_on == at(2)


def test_a_stuck_record_whose_refused_psk_may_have_come_alive_says_so() -> None:
    record = _transitions.refused(record_in(PREPARED), "no", ME).record
    assert "earlier request of ours" in (_transitions.stick(record, at(40), ME).record.reason or "")


def test_an_older_time_is_a_stale_list_and_no_foreign_change() -> None:
    assert compare(record_in(APPLIED).expected(), trace(LONG_AGO)) == "older"
    assert prepare(record_in(APPLIED), LONG_AGO, "x", LATER).status == "applied"


# -- what a time proves -----------------------------------------------------------------------------------------------


def test_the_first_answer_to_a_first_request_gives_the_exact_time() -> None:
    record = record_in(APPLIED)
    assert record.pending is not None and not record.pending.at_least


def test_after_a_repeated_request_the_answers_time_is_the_earliest_possible() -> None:
    record = _transitions.applied(record_in(PREPARED), at(1), ME, repeated=True).record
    assert record.pending is not None and record.pending.at_least


def test_a_psk_that_was_sent_in_an_earlier_run_is_set_at_the_answers_time_at_the_earliest() -> None:
    record = _transitions.applied(prepare(record_in(IN_DOUBT), LONG_AGO, "x", LATER).record, at(21), LATER).record
    assert record.pending is not None and record.pending.at_least


def test_while_the_request_of_a_refused_psk_may_be_under_way_no_time_is_exact() -> None:
    record = _transitions.refused(record_in(PREPARED), "no", ME).record
    for minutes, at_least in ((30, True), (90, False)):
        by = claim(minutes=minutes)
        after = _transitions.applied(prepare(record, LONG_AGO, "newest", by).record, at(minutes), by).record
        assert after.pending is not None and after.pending.at_least is at_least


def test_a_rollback_of_a_psk_that_was_sent_twice_has_no_exact_time() -> None:
    record = _transitions.applied(record_in(PREPARED), at(1), ME, repeated=True).record
    record = _transitions.roll_back(record, "failed", ME).record
    record = _transitions.applied(record, at(2), ME).record
    assert record.rollback is not None and record.rollback.at_least


def test_while_another_request_may_be_under_way_a_rollback_has_no_exact_time() -> None:
    record = _transitions.refused(record_in(PREPARED), "no", ME).record
    record = prepare(record, LONG_AGO, "newest", claim(minutes=2)).record
    record = _transitions.roll_back(record, "failed", claim(minutes=3)).record
    record = _transitions.applied(record, at(4), claim(minutes=4)).record
    assert record.rollback is not None and record.rollback.at_least


def test_a_key_whose_time_may_move_is_sent_again_when_it_has_moved() -> None:
    record = replace(known(), current=Key("old", applied_on=at(0), at_least=True))
    after = prepare(record, 20, "x", LATER, finish=True)
    assert (after.record.state, after.record.psk_to_send(), after.status) == (IN_DOUBT, "old", "prepared")


def test_an_applied_key_whose_time_may_move_is_sent_again_when_it_has_moved() -> None:
    record = _transitions.applied(record_in(PREPARED), at(1), ME, repeated=True).record
    after = prepare(record, 30, "x", LATER)
    assert (after.record.state, after.record.psk_to_send()) == (IN_DOUBT, "new")


# -- leases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", ["confirm", "roll_back", "release", "stick"])
def test_a_live_lease_keeps_others_out(move: str) -> None:
    record = replace(record_in(APPLIED), lease=prepare(known(), LONG_AGO, "x", OTHER).record.lease)
    with pytest.raises(Refused, match=r"another run has taken it over until .* \(other\); it was left applied"):
        MOVES[move](record)


def test_who_is_kept_out_is_told_by_whom_and_until_when() -> None:
    with pytest.raises(
        Refused, match=r"another run works on it until 2026-09-21T14:28:20Z \(me\); it was left prepared"
    ):
        prepare(record_in(PREPARED), LONG_AGO, "x", OTHER)


def test_who_is_kept_out_is_told_that_the_owner_lives() -> None:
    with pytest.raises(Refused, match=r"\(me, which is still alive\)"):
        prepare(record_in(PREPARED), LONG_AGO, "x", replace(LATER, lives=lambda owner: True))


@pytest.mark.parametrize(
    ("state", "lives", "excused"),
    [(IDLE, True, True), (IDLE, None, False), (PREPARED, True, False), (PREPARED, None, False)],
)
def test_a_tunnel_that_is_held_needs_nobody_only_if_the_owner_lives_and_nothing_is_unresolved(
    state: str, lives: bool | None, excused: bool
) -> None:
    record = replace(record_in(state), lease=record_in(PREPARED).lease)
    with pytest.raises(Refused) as caught:
        prepare(record, LONG_AGO, "x", replace(OTHER, lives=lambda owner: lives))
    assert (caught.value.status, caught.value.excused) == ("skipped", excused)


@pytest.mark.parametrize("by", [LATER, claim("other", 1000)])
@pytest.mark.parametrize("move", [_transitions.applied, _transitions.refused, _transitions.in_doubt])
def test_only_the_run_that_took_the_tunnel_says_what_became_of_it(
    move: Callable[[Record, str, Claim], Moved], by: Claim
) -> None:
    with pytest.raises(Refused, match="taken it over"):
        move(record_in(PREPARED), at(1), by)


def test_an_expired_lease_that_nobody_took_over_still_counts() -> None:
    record = _transitions.applied(record_in(PREPARED), at(1), ENDED).record
    assert record.state == APPLIED
    assert record.lease is not None and record.lease.until == ENDED.until


def test_renewing_a_lease_moves_its_end_and_nothing_else() -> None:
    record = _transitions.renew(record_in(PREPARED), ENDED).record
    assert record.lease is not None and record.lease.until == ENDED.until
    assert replace(record, lease=None) == replace(record_in(PREPARED), lease=None)


# -- letting go -------------------------------------------------------------------------------------------------------


def test_what_waits_for_its_confirmation_is_told_from_what_failed() -> None:
    assert _transitions.release(record_in(APPLIED), None, ME).status == "waiting"
    assert _transitions.release(record_in(APPLIED), "the device failed", ME).status == "applied"
    assert _transitions.release(rolled_back_at_cloudflare(), None, ME).status == "waiting"
    assert _transitions.release(rolled_back_at_cloudflare(), "failed again", ME).status == "rolling_back"


def test_a_rollback_that_was_not_sent_is_no_work_for_the_device() -> None:
    assert _transitions.release(record_in(ROLLING_BACK), "nothing was sent", ME).status == "rollback_failed"


def test_a_psk_that_was_never_sent_is_withdrawn_without_a_trace_of_it() -> None:
    record = _transitions.withdraw(record_in(PREPARED), "a sibling is in flight", ME).record
    assert keys(record) == {"current": "old", "previous": None, "pending": None, "discarded": []}
    assert record.lease is None


def test_a_psk_that_an_earlier_run_has_left_is_not_withdrawn() -> None:
    resumed = prepare(record_in(PREPARED), LONG_AGO, "x", LATER).record
    with pytest.raises(Refused, match="may have been sent"):
        _transitions.withdraw(resumed, "a sibling is in flight", LATER)


@pytest.mark.parametrize("state", [IN_DOUBT, APPLIED, ROLLING_BACK])
def test_a_psk_that_may_have_been_sent_is_not_withdrawn(state: str) -> None:
    record = replace(record_in(state), lease=record_in(PREPARED).lease)
    with pytest.raises(Refused, match="may have been sent"):
        _transitions.withdraw(record, "why", ME)


def test_only_who_holds_a_tunnel_withdraws() -> None:
    with pytest.raises(Refused, match="may have been sent"):
        _transitions.withdraw(record_in(PREPARED), "why", OTHER)


def test_what_waits_has_reached_its_device_and_what_failed_has_not() -> None:
    for reason, delivered in ((None, True), ("the device failed", False)):
        pending = _transitions.release(record_in(APPLIED), reason, ME).record.pending
        assert pending is not None and pending.delivered is delivered
        rollback = _transitions.release(rolled_back_at_cloudflare(), reason, ME).record.rollback
        assert rollback is not None and rollback.delivered is delivered


def test_a_psk_that_is_set_again_has_to_reach_its_device_again() -> None:
    waiting = _transitions.release(record_in(APPLIED), None, ME).record
    again = prepare(waiting, None, "x", LATER).record
    pending = _transitions.applied(again, at(21), LATER).record.pending
    assert pending is not None and not pending.delivered


def test_a_psk_that_its_device_could_not_prove_is_set_again() -> None:
    failed = _transitions.release(record_in(APPLIED), "no IKE_AUTH was seen", ME).record
    after = prepare(failed, 1, "x", LATER)
    assert (after.record.state, after.record.psk_to_send()) == (IN_DOUBT, "new")
