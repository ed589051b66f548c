# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a record learns from an answer that comes when another run has taken the tunnel over."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import compare
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._late import DISTURBED, applied_late, disturbed
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    PREPARED,
    ROLLING_BACK,
    STATES,
    STUCK,
    Record,
    Refused,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.plugin_utils.records import (
    LONG_AGO,
    ME,
    OTHER,
    at,
    keys,
    prepare,
    record_in,
    rolled_back_at_cloudflare,
    trace,
)
from tests.unit.plugins.plugin_utils.strategies import minutes, psks, records

CONFIRMED = _transitions.confirm(record_in(APPLIED), "confirmed", ME).record


def stuck(record: Record, seen: float) -> Record:
    """The record once a PSK of then was taken for somebody else's."""
    return _transitions.stick(replace(record, lease=None), at(seen), ME).record


@pytest.mark.parametrize("state", [PREPARED, IN_DOUBT, APPLIED])
def test_the_pending_psk_is_applied_in_every_state(state: str) -> None:
    after = applied_late(record_in(state), "new", at(30), OTHER)
    assert (after.record.state, after.status) == (APPLIED, "applied")
    assert after.record.pending is not None
    assert (after.record.pending.applied_on, after.record.pending.at_least) == (at(30), True)


@pytest.mark.parametrize("seen", [30, 20])
def test_a_record_that_stuck_for_our_own_psk_gets_free(seen: float) -> None:
    after = applied_late(stuck(record_in(APPLIED), seen), "new", at(30), OTHER).record
    assert (after.state, after.reason, after.seen) == (APPLIED, None, None)


def test_a_record_that_stuck_in_a_rollback_is_as_applied_as_any_when_it_gets_free() -> None:
    after = applied_late(stuck(rolled_back_at_cloudflare(2), 30), "new", at(30), OTHER).record
    assert (after.state, after.rollback) == (APPLIED, None)


def test_a_record_that_stuck_for_a_later_psk_stays_stuck() -> None:
    with pytest.raises(Refused, match="taken it over"):
        applied_late(stuck(record_in(APPLIED), 60), "new", at(30), OTHER)


def test_of_two_answers_for_the_pending_psk_the_later_counts() -> None:
    record = applied_late(record_in(APPLIED), "new", at(30), OTHER).record
    record = applied_late(record, "new", at(20), OTHER).record
    assert record.pending is not None and record.pending.applied_on == at(30)


def test_the_current_psk_was_set_again() -> None:
    record = applied_late(CONFIRMED, "new", at(30), OTHER).record
    assert (record.state, compare(record.expected(), trace(30))) == (IDLE, "same")
    assert applied_late(record, "new", at(20), OTHER).record.current == record.current


def test_a_record_that_stuck_for_its_own_current_psk_gets_free() -> None:
    after = applied_late(stuck(CONFIRMED, 30), "new", at(30), OTHER)
    assert (after.record.state, after.status, after.record.psk_of_device()) == (IDLE, "unchanged", "new")


def test_the_psk_before_was_set_over_the_applied_one() -> None:
    record = applied_late(record_in(APPLIED), "old", at(30), OTHER).record
    assert (record.state, record.psk_to_send()) == (IN_DOUBT, "new")
    assert record.current is not None and record.current.applied_on == at(30)


def test_the_psk_before_was_set_before_the_applied_one() -> None:
    with pytest.raises(Refused, match="taken it over"):
        applied_late(record_in(APPLIED), "old", at(0), OTHER)


def test_the_new_psk_was_set_over_a_rollback() -> None:
    record = applied_late(rolled_back_at_cloudflare(2), "new", at(30), OTHER).record
    assert (record.state, record.psk_to_send()) == (ROLLING_BACK, "old")


def test_after_that_the_rollbacks_time_is_not_exact() -> None:
    record = applied_late(rolled_back_at_cloudflare(2), "new", at(30), OTHER).record
    record = _transitions.applied(record, at(31), ME).record
    assert record.rollback is not None and record.rollback.at_least


def test_the_new_psk_was_set_before_the_rollback() -> None:
    with pytest.raises(Refused, match="taken it over"):
        applied_late(rolled_back_at_cloudflare(2), "new", at(1), OTHER)


def test_a_rollback_was_carried_out_twice() -> None:
    record = applied_late(rolled_back_at_cloudflare(2), "old", at(30), OTHER).record
    assert record.rollback is not None
    assert (record.rollback.applied, record.rollback.applied_on, record.rollback.at_least) == (True, at(30), True)


def test_a_discarded_psk_came_to_life_so_the_current_one_is_sent_again() -> None:
    record = _transitions.confirm(rolled_back_at_cloudflare(2), "delivered", ME).record
    after = applied_late(record, "new", at(30), OTHER).record
    assert (after.state, after.psk_to_send(), after.psk_of_device()) == (IN_DOUBT, "old", "old")
    assert keys(after)["discarded"] == ["new"]


def test_the_previous_psk_came_to_life_so_the_current_one_is_sent_again() -> None:
    assert applied_late(CONFIRMED, "old", at(30), OTHER).record.psk_to_send() == "new"


def test_a_discarded_psk_that_the_current_one_has_replaced_tells_nothing() -> None:
    record = _transitions.confirm(rolled_back_at_cloudflare(2), "delivered", ME).record
    with pytest.raises(Refused, match="taken it over"):
        applied_late(record, "new", at(1), OTHER)


def test_a_discarded_first_psk_is_what_cloudflare_has() -> None:
    record = _transitions.refused(prepare(None, LONG_AGO, "first").record, "no", ME).record
    after = applied_late(record, "first", at(30), OTHER).record
    assert (after.state, after.psk_of_device()) == (APPLIED, "first")
    assert keys(after) == {"current": None, "previous": None, "pending": "first", "discarded": []}


@pytest.mark.parametrize("state", STATES)
def test_of_a_psk_that_it_does_not_have_a_record_learns_nothing(state: str) -> None:
    with pytest.raises(Refused, match="taken it over"):
        applied_late(record_in(state), "unknown", at(30), OTHER)


def test_a_stuck_record_does_not_learn_from_what_came_before() -> None:
    with pytest.raises(Refused, match="taken it over"):
        applied_late(record_in(STUCK), "old", at(LONG_AGO), OTHER)


@given(records(), psks, minutes, st.booleans())
def test_whatever_is_learnt_every_psk_stays_and_the_lease_too(
    record: Record, psk: str, when: float, exact: bool
) -> None:
    try:
        after = applied_late(record, psk, at(when) if exact else None, OTHER).record
    except Refused:
        return
    assert after.keys() == record.keys()
    assert after.lease == record.lease
    assert Record.from_dict(json.loads(json.dumps(after.to_dict()))) == after


# -- a device that a late run has configured ---------------------------------------------------------------------------


def test_a_finished_rotation_whose_device_may_hold_another_psk_is_set_again() -> None:
    after = disturbed(CONFIRMED, "old", OTHER)
    assert (after.status, after.record.state, after.record.psk_to_send()) == ("in_doubt", IN_DOUBT, "new")
    assert after.record.reason == DISTURBED


@pytest.mark.parametrize("state", [PREPARED, IN_DOUBT, APPLIED])
def test_an_unfinished_rotation_whose_device_may_hold_another_psk_is_not_confirmed(state: str) -> None:
    record = disturbed(record_in(state), "another", OTHER).record
    assert (record.state, record.psk_to_send()) == (IN_DOUBT, "new")
    with pytest.raises(Refused, match="a run that was late"):
        _transitions.confirm(replace(record, lease=None), "delivered", ME)


def test_a_rollback_whose_device_may_hold_the_new_psk_is_not_confirmed() -> None:
    record = disturbed(rolled_back_at_cloudflare(2), "new", OTHER).record
    assert (record.state, record.rollback is not None and record.rollback.applied) == (ROLLING_BACK, False)


@pytest.mark.parametrize(
    ("record", "given"),
    [(CONFIRMED, "new"), (record_in(APPLIED), "new"), (rolled_back_at_cloudflare(2), "old"), (record_in(STUCK), "new")],
)
def test_a_device_that_holds_what_its_record_wants_is_not_disturbed(record: Record, given: str) -> None:
    with pytest.raises(Refused, match="taken it over"):
        disturbed(record, given, OTHER)


def test_a_psk_that_is_set_again_stays_in_doubt_however_often_it_is_refused() -> None:
    record = disturbed(CONFIRMED, "old", OTHER).record
    for number in range(3):
        by = replace(OTHER, owner=f"run {number}")
        record = _transitions.refused(prepare(record, 1, "x", by).record, "no", by).record
        assert (record.state, record.psk_to_send()) == (IN_DOUBT, "new")


def test_a_rotation_whose_device_may_hold_another_psk_stays_in_doubt_when_cloudflare_refuses_it() -> None:
    """The record would be about its current PSK again, and the device would hold that of the late run."""
    by, record = ME, disturbed(record_in(PREPARED), "another", OTHER).record
    for number in range(3):
        record = _transitions.refused(record, "no", by).record
        assert (record.state, record.psk_to_send()) == (IN_DOUBT, "new")
        by = replace(OTHER, owner=f"run {number}")
        record = prepare(record, LONG_AGO, "x", by).record


def test_a_psk_that_was_set_after_all_is_one_as_any_other() -> None:
    record = disturbed(record_in(PREPARED), "another", OTHER).record
    after = _transitions.applied(record, at(1), ME).record
    assert after == replace(_transitions.applied(record_in(PREPARED), at(1), ME).record, history=after.history)
