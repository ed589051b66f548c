# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record: how it is stored, what it says, and that it says no PSK."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Known
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    PREPARED,
    ROLLING_BACK,
    STATES,
    STUCK,
    Key,
    Lease,
    Record,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._shown import shown
from hypothesis import given

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
    seconds,
)
from tests.unit.plugins.plugin_utils.strategies import MARK, records

# -- as stored --------------------------------------------------------------------------------------------------------


def stored(record: Record) -> Record:
    """The record as it comes back from a store."""
    return Record.from_dict(json.loads(json.dumps(record.to_dict())))


@given(records())
def test_a_record_comes_back_as_it_was_stored(record: Record) -> None:
    assert stored(record) == record


@pytest.mark.parametrize("seen", [True, False])
def test_a_store_keeps_whether_a_psk_was_confirmed(seen: bool) -> None:
    record = replace(known(), current=Key("old", confirmed=seen))
    current = stored(record).current
    assert current is not None and current.confirmed is seen


def test_what_this_version_does_not_know_stays() -> None:
    record = Record.from_dict({"name": "one", "of_a_later_version": {"a": 1}})
    assert record.to_dict()["of_a_later_version"] == {"a": 1}
    assert _transitions.stick(record, at(0), ME).record.to_dict()["of_a_later_version"] == {"a": 1}


def test_fields_that_say_nothing_are_not_stored() -> None:
    assert set(known().to_dict()) <= {
        "name",
        "ipsec_id",
        "state",
        "generation",
        "revision",
        "current",
        "previous",
        "pending",
        "discarded",
        "rollback",
        "lease",
        "reason",
        "history",
    }


def test_a_record_written_by_hand_needs_its_psk_only() -> None:
    record = Record.from_dict({"name": "one", "current": {"psk": "by hand"}})
    assert record.psk_of_device() == "by hand"
    record = _transitions.applied(prepare(record, LONG_AGO, "new").record, at(1), ME).record
    assert keys(_transitions.confirm(record, "confirmed", ME).record)["previous"] == "by hand"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("text", "not a mapping"),
        (None, "not a mapping"),
        ({"state": "lost"}, "state must be one of"),
        ({"generation": "many"}, "generation is not an integer"),
        ({"history": {}}, "history is not a list"),
        ({"discarded": {}}, "discarded is not a list"),
        ({"current": "s3cret-psk"}, "current must be a mapping with psk"),
        ({"current": {"psk": 12345678}}, "put it into quotes"),
        ({"current": {"psk": None}}, "put it into quotes"),
        ({"previous": {"key": "s3cret-psk"}}, "previous must be a mapping with psk"),
        ({"state": "applied"}, "no pending PSK"),
        ({"state": "idle", "pending": {"psk": "s3cret-psk", "rotation_id": "r"}}, "is idle and has a pending PSK"),
        ({"pending": {"psk": "s3cret-psk"}}, "pending must be a mapping with"),
        ({"discarded": ["s3cret-psk"]}, "discarded must be a mapping"),
        ({"lease": {"owner": "me"}}, "lease must be a mapping with owner, until"),
        ({"lease": {"owner": "me", "until": "s3cret"}}, "until of its lease is not a number"),
        ({"lease": {"owner": "me", "until": float("nan")}}, "until of its lease is not a number"),
        ({"lease": {"owner": "me", "until": float("inf")}}, "until of its lease is not a number"),
        ({"lease": {"owner": None, "until": 5.0}}, "owner of its lease is not text"),
        ({"lease": {"owner": 5, "until": 5.0}}, "owner of its lease is not text"),
        ({"name": 7}, "its name is not text: put it into quotes"),
        ({"ipsec_id": 7}, "its ipsec_id is not text"),
        ({"host": ["s3cret"]}, "its host is not text"),
        ({"group": {"s3cret": 1}}, "its group is not text"),
        ({"gone": "s3cret"}, "its gone is not true or false"),
        ({"current": {"psk": ""}}, "the PSK of its current is empty"),
        ({"current": {"psk": "s3cret-psk", "applied_on": 5}}, "applied_on of its current is not text"),
        ({"current": {"psk": "s3cret-psk", "confirmed": "s3cret"}}, "confirmed of its current is not true or false"),
        (
            {"state": "prepared", "pending": {"psk": "s3cret-psk", "rotation_id": "r", "attempt": "s3cret"}},
            "attempt of its pending is not an integer",
        ),
        (
            {"state": "rolling_back", "pending": {"psk": "s3cret-psk", "rotation_id": "r"}},
            "nothing to roll back to",
        ),
    ],
)
def test_a_record_that_makes_no_sense_is_refused_without_showing_it(record: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Record.from_dict(record)
    assert "s3cret" not in str(caught.value)


# -- secrets ----------------------------------------------------------------------------------------------------------


@given(records())
def test_no_repr_of_a_record_holds_a_psk(record: Record) -> None:
    assert MARK not in repr(record)
    assert MARK not in repr([record.current, record.previous, record.pending, record.discarded])


def test_the_search_for_psks_in_a_repr_would_find_one() -> None:
    assert MARK in repr(replace(known(), reason=f"{MARK}01"))


@given(records())
def test_what_is_shown_of_a_record_holds_no_psk(record: Record) -> None:
    assert MARK not in json.dumps([shown(record), list(record.history)])


def test_what_a_later_version_stores_is_not_in_a_repr() -> None:
    assert "next-psk" not in repr(Record.from_dict({"of_a_later_version": {"psk": "next-psk"}}))


def test_what_is_shown_names_every_field_that_a_user_may_ask_for() -> None:
    found = shown(record_in(APPLIED))
    assert {key: found[key] for key in ("state", "generation", "has_current", "has_previous", "confirmed")} == {
        "state": "applied",
        "generation": 1,
        "has_current": True,
        "has_previous": False,
        "confirmed": True,
    }
    assert (found["applied_on"], found["pending_applied_on"], found["expected_on"]) == (at(LONG_AGO), at(1), at(1))
    assert (found["rotation_id"], found["lease_owner"], found["gone"]) == ("rotation of me", "me", False)


def test_of_a_pending_rotation_no_exposure_of_the_one_before_is_shown() -> None:
    record = replace(record_in(APPLIED), current=Key("old", exposure_seconds=3.0, wave=7))
    assert (shown(record)["exposure_seconds"], shown(record)["wave"]) == (None, None)


# -- what a record says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "sends"),
    [(IDLE, None), (PREPARED, "new"), (IN_DOUBT, "new"), (APPLIED, None), (ROLLING_BACK, "old"), (STUCK, None)],
)
def test_what_must_be_sent_next(state: str, sends: str | None) -> None:
    assert record_in(state).psk_to_send() == sends


def test_after_a_rollback_was_carried_out_nothing_is_left_to_send() -> None:
    assert rolled_back_at_cloudflare().psk_to_send() is None


@pytest.mark.parametrize(
    ("state", "psk"),
    [(IDLE, "old"), (PREPARED, "old"), (IN_DOUBT, None), (APPLIED, "new"), (ROLLING_BACK, "new"), (STUCK, None)],
)
def test_what_the_device_should_hold(state: str, psk: str | None) -> None:
    assert record_in(state).psk_of_device() == psk


def test_when_cloudflare_has_the_previous_psk_again_the_device_should_hold_it() -> None:
    assert rolled_back_at_cloudflare().psk_of_device() == "old"


def test_while_a_rollback_is_in_doubt_nobody_knows_what_the_device_should_hold() -> None:
    record = _transitions.in_doubt(record_in(ROLLING_BACK), "no answer", ME).record
    assert record.psk_of_device() is None


def test_a_psk_that_is_sent_again_is_the_devices_whatever_becomes_of_the_request() -> None:
    record = replace(known(), current=Key("old", applied_on=at(0), at_least=True))
    again = prepare(record, 20, "x", LATER, finish=True).record
    assert again.state == IN_DOUBT
    assert again.psk_of_device() == "old"


def test_a_psk_that_somebody_else_has_replaced_is_not_the_devices() -> None:
    assert replace(known(), current=Key("old", superseded=True)).psk_of_device() is None


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (record_in(IDLE), Known(at(LONG_AGO))),
        (record_in(PREPARED), None),
        (record_in(IN_DOUBT), None),
        (record_in(APPLIED), Known(at(1))),
        (record_in(ROLLING_BACK), None),
        (rolled_back_at_cloudflare(2), Known(at(2))),
        (record_in(STUCK), None),
        (Record(), None),
    ],
    ids=lambda x: getattr(x, "state", "expected"),
)
def test_the_time_that_the_tunnel_must_report_is_known_only_while_no_psk_is_on_its_way(
    record: Record, expected: Known | None
) -> None:
    assert record.expected() == expected


@pytest.mark.parametrize("state", STATES)
def test_a_record_knows_each_of_its_psks(state: str) -> None:
    assert record_in(state).keys() == ({"old"} if state == IDLE else {"old", "new"})


def test_a_psk_begins_only_until_it_may_have_been_sent() -> None:
    assert record_in(PREPARED).begins
    assert not prepare(record_in(PREPARED), LONG_AGO, "x", LATER).record.begins
    assert not record_in(IN_DOUBT).begins


# -- leases -----------------------------------------------------------------------------------------------------------


def leased(owner: str = "me", minutes: float = 15) -> Record:
    return Record(lease=Lease(owner, seconds(minutes)))


def test_a_lease_holds_until_it_ends() -> None:
    assert leased().holder(OTHER) == "me"
    assert leased().holder(LATER) is None


def test_ones_own_lease_holds_nobody_off() -> None:
    assert leased().holder(ME) is None


def test_a_record_without_a_lease_is_free() -> None:
    assert Record().holder(OTHER) is None


@pytest.mark.parametrize("minutes", [1, 20, 100_000])
def test_an_owner_that_is_seen_alive_keeps_its_lease_whatever_the_clock_says(minutes: float) -> None:
    assert leased().holder(claim("other", minutes, lives=lambda owner: True)) == "me"


@pytest.mark.parametrize("minutes", [-1000, 1, 20])
def test_an_owner_that_is_seen_to_have_ended_holds_nothing(minutes: float) -> None:
    assert leased().holder(claim("other", minutes, lives=lambda owner: False)) is None


@pytest.mark.parametrize(("ahead", "holds"), [(0, True), (20, True), (24 * 60, False)])
def test_the_longest_lease_of_a_machine_whose_clock_is_somewhat_ahead_holds(ahead: float, holds: bool) -> None:
    record = leased(minutes=24 * 60 + ahead)
    assert (record.holder(claim("other", 0)) is not None) is holds


@pytest.mark.parametrize(("until", "believed"), [(-1000, 0), (15, 15), (1e9, 25 * 60)])
def test_an_end_is_believed_from_now_to_the_longest_lease(until: float, believed: float) -> None:
    assert leased(minutes=until).believed_until(claim("other", 0)) == seconds(believed)


def test_a_lease_is_this_runs_until_another_has_taken_it() -> None:
    assert leased().is_held_by(claim("me", 1000))
    assert not leased("other").is_held_by(ME)
    assert not Record().is_held_by(ME)


def test_two_records_say_the_same_whatever_revision_a_store_gave_them() -> None:
    assert known().same_content(replace(known(), revision=7))
    assert not known().same_content(known("another"))
