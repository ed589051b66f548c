# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person decides about a record, and what the look at the account does to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _repairs, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IN_DOUBT,
    PREPARED,
    STATES,
    STUCK,
    Record,
    Refused,
)

from tests.unit.plugins.plugin_utils.records import (
    LATER,
    ME,
    OTHER,
    at,
    keys,
    known,
    prepare,
    record_in,
    rolled_back_at_cloudflare,
)


def stuck(record: Record) -> Record:
    return _transitions.stick(replace(record, lease=None), at(30), ME).record


def test_the_current_psk_of_an_unstuck_record_is_set_again() -> None:
    after = _repairs.unstick(stuck(known()), LATER)
    assert (after.record.state, after.status, after.record.psk_to_send()) == (IN_DOUBT, "in_doubt", "old")
    assert (after.record.lease, after.record.reason, after.record.seen) == (None, None, None)


def test_the_psk_of_the_rotation_that_stuck_is_set_again() -> None:
    assert _repairs.unstick(record_in(STUCK), LATER).record.psk_to_send() == "new"


def test_a_rollback_that_stuck_goes_forward() -> None:
    after = _repairs.unstick(stuck(rolled_back_at_cloudflare()), LATER).record
    assert (after.psk_to_send(), after.rollback) == ("new", None)


def test_the_next_run_finishes_what_was_unstuck() -> None:
    record = _repairs.unstick(stuck(known()), LATER).record
    record = prepare(record, 30, "x", LATER, finish=True).record
    record = _transitions.applied(record, at(31), LATER).record
    record = _transitions.confirm(record, "delivered", LATER).record
    assert keys(record) == {"current": "old", "previous": None, "pending": None, "discarded": []}


def test_no_psk_is_lost_by_unsticking() -> None:
    record = record_in(STUCK)
    assert _repairs.unstick(record, LATER).record.keys() == record.keys()


@pytest.mark.parametrize("state", [x for x in STATES if x != STUCK])
def test_what_is_not_stuck_is_not_unstuck(state: str) -> None:
    with pytest.raises(Refused, match=f"the record is {state}, not stuck"):
        _repairs.unstick(record_in(state), LATER)


def test_a_record_without_any_psk_has_nothing_to_set_again() -> None:
    with pytest.raises(Refused, match="forget the record"):
        _repairs.unstick(stuck(Record()), LATER)


def test_a_record_that_another_run_holds_is_not_unstuck() -> None:
    record = replace(record_in(STUCK), lease=record_in(PREPARED).lease)
    with pytest.raises(Refused, match="another run"):
        _repairs.unstick(record, OTHER)


@pytest.mark.parametrize("state", STATES)
def test_a_tunnel_that_is_gone_keeps_its_state_and_its_psks(state: str) -> None:
    record = record_in(state)
    after = _repairs.mark_gone(record, True, OTHER).record
    assert after.gone
    assert (after.state, after.keys(), after.lease) == (record.state, record.keys(), record.lease)


def test_a_tunnel_that_is_there_again_is_not_gone() -> None:
    after = _repairs.mark_gone(replace(record_in(APPLIED), gone=True), False, OTHER).record
    assert (after.gone, after.history[-1]["event"]) == (False, "found again")
