# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which PSKs are due, and what an answer of POST /psk means."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from hypothesis import given
from hypothesis import strategies as st

GOOD = "Zk3VtYq0sWn8RbX2mLd7"
NOW = 1_800_000_000 * _psk.NANO
OLD, OLD_IN_ANOTHER_ZONE = "2026-06-14T05:20:00.123456789Z", "2026-06-14T07:20:00.123456789+02:00"


def days_ago(days: float) -> str:
    return _psk.format_time(NOW - int(days * 86400) * _psk.NANO)


def moved(seconds: float) -> str:
    """A time so long after NOW."""
    return _psk.format_time(NOW + int(seconds * _psk.NANO))


# -- times ----------------------------------------------------------------------------------------------------------


@given(st.datetimes(min_value=datetime.datetime(1970, 1, 1), max_value=datetime.datetime(2200, 1, 1)))
def test_a_time_that_was_written_is_read_as_it_was(moment: datetime.datetime) -> None:
    since = moment - datetime.datetime(1970, 1, 1)
    nanoseconds = (since.days * 86400 + since.seconds) * _psk.NANO + since.microseconds * 1000
    assert _psk.parse_time(_psk.format_time(nanoseconds)) == nanoseconds
    assert _psk.parse_time(moment.isoformat() + "Z") == nanoseconds


@given(st.text(alphabet="0123456789-:.TZ+ ", max_size=40))
def test_no_text_breaks_the_reading_of_times(text: str) -> None:
    assert isinstance(_psk.parse_time(text), int | None)


@given(
    st.tuples(*[st.integers(0, 99)] * 5),
    st.integers(0, 9999),
)
def test_no_number_breaks_the_reading_of_times(parts: tuple[int, ...], year: int) -> None:
    month, day, hour, minute, second = parts
    text = f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}Z"
    assert isinstance(_psk.parse_time(text), int | None)


def test_nine_decimals_are_kept_and_further_ones_cut() -> None:
    start = _psk.parse_time("2026-06-14T05:20:00Z")
    assert start is not None
    assert _psk.parse_time("2026-06-14T05:20:00.000000001Z") == start + 1
    assert _psk.parse_time("2026-06-14T05:20:00.0000000019Z") == start + 1
    assert _psk.parse_time("2026-06-14T05:20:00.5Z") == start + 500_000_000


@pytest.mark.parametrize(
    "text", [None, "", "yesterday", "2026-06-14", "2026-06-14T05:20:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z"]
)
def test_what_is_no_time_is_none(text: str | None) -> None:
    assert _psk.parse_time(text) is None


def test_zones_are_taken_into_account() -> None:
    assert _psk.same_time(OLD, OLD_IN_ANOTHER_ZONE)
    assert _psk.same_time("2026-06-14T00:00:00-03:30", "2026-06-14T03:30:00z")


@pytest.mark.parametrize(("one", "other"), [(None, OLD), (OLD, None), ("a", "b"), (OLD, "2026-06-14T05:20:01Z")])
def test_other_times_are_not_the_same(one: str | None, other: str | None) -> None:
    assert not _psk.same_time(one, other)


@pytest.mark.parametrize(("seconds", "same"), [(0, True), (0.6, True), (-0.6, True), (0.601, False), (-0.601, False)])
def test_times_that_are_less_than_a_second_apart_are_one(seconds: float, same: bool) -> None:
    assert _psk.same_time(moved(0), moved(seconds)) is same


@pytest.mark.parametrize(
    ("one", "other", "later"),
    [(None, None, None), (OLD, None, OLD), (None, OLD, OLD), ("no time", OLD, OLD), (OLD, "no time", OLD)],
)
def test_any_time_is_later_than_none(one: str | None, other: str | None, later: str | None) -> None:
    assert _psk.later_time(one, other) == later


@given(st.integers(-9999, 9999), st.integers(-9999, 9999))
def test_the_later_of_two_times_is_the_same_in_either_order(one: int, other: int) -> None:
    assert (
        _psk.later_time(moved(one), moved(other)) == _psk.later_time(moved(other), moved(one)) == moved(max(one, other))
    )


def test_texts_that_are_no_times_are_the_same_when_they_are_equal() -> None:
    assert _psk.same_time("a time of next year's format", "a time of next year's format")


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        (90, 90),
        ("90s", 90),
        ("5m", 300),
        ("12h", 43200),
        ("90d", 7776000),
        ("2w", 1209600),
    ],
)
def test_ages_are_read(age: Any, seconds: int | None) -> None:
    assert _psk.parse_age(age) == seconds


@pytest.mark.parametrize("age", ["-1", "1.5h", "90 days", "d", "1y", "90D"])
def test_an_age_that_is_none_is_refused_by_its_option(age: str) -> None:
    with pytest.raises(InputError, match=r"^max_age must be a number of seconds"):
        _psk.parse_age(age)


# -- due ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "applied_on", "max_age", "rotate", "expected"),
    [
        # With applied_on, it alone decides.
        (OLD, OLD, None, False, False),
        (OLD, OLD_IN_ANOTHER_ZONE, 1, True, False),
        (OLD, days_ago(1), None, False, True),
        (None, OLD, None, False, True),
        # No PSK is always due.
        (None, None, None, False, True),
        (None, None, 3600, False, True),
        (None, "", None, False, True),
        # Then the age decides.
        (days_ago(10), None, 11 * 86400, False, False),
        (days_ago(10), None, 11 * 86400, True, False),
        (days_ago(10), None, 9 * 86400, False, True),
        (days_ago(10), None, 10 * 86400, False, False),
        (days_ago(-1), None, 0, False, False),
        ("a time of next year's format", None, 9 * 86400, False, True),
        (days_ago(-2), None, 9 * 86400, False, True),
        # And without either, the state.
        (days_ago(10), None, None, False, False),
        (days_ago(10), None, None, True, True),
    ],
)
def test_which_psk_is_due(
    reported: str | None, applied_on: str | None, max_age: int | None, rotate: bool, expected: bool
) -> None:
    is_due, reason = _psk.due(reported, applied_on=applied_on, max_age=max_age, rotate=rotate, now=NOW)
    assert is_due is expected
    assert reason


# -- what a time proves -----------------------------------------------------------------------------------------------

HOUR = _psk.LATE_REQUEST // _psk.NANO


@pytest.mark.parametrize(
    ("tunnel", "on", "shown", "missing"),
    [
        ({"psk_metadata": {"last_generated_on": OLD}}, OLD, True, False),
        ({"psk_metadata": {"last_generated_on": None}}, None, True, True),
        ({"psk_metadata": {}}, None, True, True),
        ({"psk_metadata": None}, None, True, True),
        ({}, None, False, False),
        ({"psk_metadata": OLD}, None, False, False),
        ({"psk_metadata": [OLD]}, None, False, False),
        ({"psk_metadata": {"last_generated_on": 1790000000}}, "1790000000", True, False),
    ],
)
def test_a_tunnel_without_metadata_is_not_known_to_have_no_psk(
    tunnel: dict[str, Any], on: str | None, shown: bool, missing: bool
) -> None:
    trace = _psk.trace_of(tunnel)
    assert (trace.on, trace.shown, trace.missing) == (on, shown, missing)


@pytest.mark.parametrize(
    ("seconds", "at_least", "found"),
    [
        (0, False, "same"),
        (-0.6, False, "same"),
        (0.6, False, "same"),
        (-1, False, "older"),
        (1, False, "newer"),
        (-6, False, "older"),
        (-6, True, "older"),
        (6, False, "newer"),
        (6, True, "late"),
        (HOUR, True, "late"),
        (HOUR + 1, True, "newer"),
        (0.6, True, "same"),
    ],
)
def test_how_the_time_that_cloudflare_shows_stands_to_ours(seconds: float, at_least: bool, found: str) -> None:
    assert _psk.compare(_psk.Known(moved(0), at_least), _psk.Trace(moved(seconds), skew=0)) == found


@pytest.mark.parametrize(("seconds", "found"), [(-5.6, "same"), (5.6, "same"), (-5.7, "older"), (5.7, "newer")])
def test_where_nobody_knows_how_far_the_list_runs_ahead_what_it_may_is_allowed_for(seconds: float, found: str) -> None:
    assert _psk.compare(_psk.Known(moved(0)), _psk.Trace(moved(seconds))) == found


@pytest.mark.parametrize("skew", [-5, -1, 1, 5])
def test_a_list_that_runs_ahead_or_behind_for_all_tunnels_shows_no_foreign_change(skew: int) -> None:
    pairs = [(_psk.Known(moved(n)), _psk.Trace(moved(n + skew))) for n in range(8)]
    found = _psk.skew_of(pairs)
    assert {_psk.compare(known, replace(trace, skew=found)) for known, trace in pairs} == {"same"}


def test_one_tunnel_that_is_later_than_the_others_is_changed_by_somebody_else() -> None:
    pairs = [(_psk.Known(moved(0)), _psk.Trace(moved(2 if n == 0 else 0))) for n in range(2)]
    found = _psk.skew_of(pairs)
    assert [_psk.compare(known, replace(trace, skew=found)) for known, trace in pairs] == ["newer", "same"]


@pytest.mark.parametrize(("seconds", "found"), [(3, "same"), (0, "older"), (6, "newer")])
def test_a_list_that_runs_ahead_is_compared_as_if_it_did_not(seconds: float, found: str) -> None:
    assert _psk.compare(_psk.Known(moved(0)), _psk.Trace(moved(seconds), skew=3 * _psk.NANO)) == found


def skew(*seconds: float) -> float | None:
    """By how much a list runs ahead that shows these differences, in seconds."""
    found = _psk.skew_of((_psk.Known(moved(0)), _psk.Trace(moved(x))) for x in seconds)
    return None if found is None else found / _psk.NANO


def test_how_far_a_list_runs_ahead_is_learnt_from_most_of_its_tunnels() -> None:
    assert skew(-3, -3, -3, 0) == -3
    assert skew(0, 0, 4) == 0


def test_what_is_further_apart_than_the_tolerance_has_another_cause() -> None:
    assert skew(60, 3600, 1) == 1
    assert skew(60, 6) is None


def test_a_list_never_runs_ahead_by_more_than_the_tolerance() -> None:
    assert skew(5.5) == 5
    assert skew(-5.5) == -5


def test_where_no_times_can_be_compared_nobody_knows_how_far_a_list_runs_ahead() -> None:
    assert _psk.skew_of([(None, _psk.Trace(OLD)), (_psk.Known(OLD), _psk.Trace(None))]) is None


@pytest.mark.parametrize("known", [None, _psk.Known(OLD)])
@pytest.mark.parametrize("trace", [_psk.Trace(None), _psk.Trace(None, shown=False)])
def test_where_there_is_no_time_nothing_can_be_compared(known: _psk.Known | None, trace: _psk.Trace) -> None:
    assert _psk.compare(known, trace) == "unknown"


def test_a_time_that_can_not_be_read_is_taken_for_somebody_elses() -> None:
    assert _psk.compare(_psk.Known(OLD), _psk.Trace("a time of next year's format")) == "newer"
    assert _psk.compare(_psk.Known("a time of next year's format"), _psk.Trace(OLD)) == "newer"


def test_a_time_that_can_not_be_read_is_ours_if_it_is_the_same_text() -> None:
    text = "a time of next year's format"
    assert _psk.compare(_psk.Known(text), _psk.Trace(text)) == "same"


# -- resolve --------------------------------------------------------------------------------------------------------

TUNNELS: list[dict[str, Any]] = [
    {"id": "1" * 32, "name": "berlin-1", "psk_metadata": {"last_generated_on": OLD}},
    {"id": "2" * 32, "name": "berlin-2", "psk_metadata": {}},
    {"id": "3" * 32, "name": "twin"},
    {"id": "4" * 32, "name": "twin"},
]


def test_entries_are_resolved_in_their_order() -> None:
    found = _psk.resolve([{"name": "berlin-2", "psk": GOOD}, {"id": "1" * 32, "applied_on": OLD}], TUNNELS, "safe")
    assert found == [
        {"id": "2" * 32, "name": "berlin-2", "baseline": None, "psk": GOOD, "applied_on": None},
        {"id": "1" * 32, "name": "berlin-1", "baseline": OLD, "psk": None, "applied_on": OLD},
    ]


def test_an_id_tells_twins_apart() -> None:
    assert [
        x["id"][0] for x in _psk.resolve([{"id": "4" * 32, "name": "twin"}, {"id": "3" * 32}], TUNNELS, "safe")
    ] == [
        "4",
        "3",
    ]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ([{"name": "madrid"}], r"psks\[0\] \(madrid\): no tunnel of the account has this name"),
        ([{"id": "9" * 32}], rf"psks\[0\] \({'9' * 32}\): no tunnel of the account has this id"),
        ([{}], r"psks\[0\]: id or name is missing"),
        ([{"name": ""}], r"psks\[0\]: id or name is missing"),
        ([{"name": "twin"}], "2 tunnels are named 'twin'"),
        (
            [{"id": "1" * 32, "name": "berlin-2"}],
            r"psks\[0\] \(berlin-2\): .* is named 'berlin-1'",
        ),
        ([{"name": "berlin-1"}, {"id": "1" * 32}], r"psks\[1\] .*: this tunnel was given as psks\[0\] already"),
        ([{"name": "berlin-1", "psk": GOOD[:10]}], r"psks\[0\] \(berlin-1\): the PSK has 10 characters"),
        (
            [{"name": "berlin-1", "psk": GOOD}, {"name": "berlin-2", "psk": GOOD}],
            r"psks\[1\] \(berlin-2\): the same PSK was given for berlin-1",
        ),
    ],
    ids=str,
)
def test_an_entry_that_cannot_be_right_is_named(wanted: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        _psk.resolve(wanted, TUNNELS, "safe")
    assert GOOD[:10] not in str(caught.value)
    assert "\n" not in str(caught.value)


# -- classify -------------------------------------------------------------------------------------------------------

ID = "1" * 32
DONE = {"ipsec_id": "12345_1", "psk": GOOD, "psk_metadata": {"last_generated_on": OLD}}


def classified(
    applied: dict[str, Any] | None = None, refused: str | None = "-", *, repeated: bool = False
) -> _psk.Answer:
    """What an answer says of the PSK: with ``applied`` that it is set, or with ``refused`` why not."""
    unapplied = {} if refused == "-" else {ID: refused}
    return _psk.classify(ID, GOOD, {ID: applied} if applied else {}, unapplied, repeated=repeated)


def test_an_applied_psk_has_its_time_and_identity() -> None:
    assert classified(DONE) == _psk.Answer("applied", applied_on=OLD, ipsec_id="12345_1")


def test_after_a_repeated_request_that_is_remembered() -> None:
    assert classified(DONE, repeated=True).repeated


def test_an_applied_psk_without_a_time_is_applied() -> None:
    found = classified({"psk": GOOD})
    assert (found.status, found.applied_on, found.reason) == ("applied", None, "the API does not say when")


@pytest.mark.parametrize("metadata", ["2026-01-01T00:00:00Z", ["2026-01-01T00:00:00Z"], 5, None, {}])
def test_an_applied_psk_whose_metadata_can_t_be_read_is_applied_without_a_time(metadata: Any) -> None:
    found = classified({**DONE, "psk_metadata": metadata})
    assert (found.status, found.applied_on) == ("applied", None)


@pytest.mark.parametrize("ipsec_id", [5, ["12345_1"], {}, None])
def test_an_identity_that_is_no_text_is_none(ipsec_id: Any) -> None:
    assert classified({**DONE, "ipsec_id": ipsec_id}).ipsec_id is None


def test_a_psk_that_is_said_to_be_applied_and_refused_is_in_doubt() -> None:
    found = classified(DONE, "no")
    assert (found.status, GOOD in repr(found)) == ("in_doubt", False)


def test_an_answer_that_does_not_repeat_the_psk_is_believed() -> None:
    assert classified({key: value for key, value in DONE.items() if key != "psk"}).status == "applied"


def test_an_answer_that_repeats_another_psk_is_in_doubt_and_shows_neither() -> None:
    found = classified({**DONE, "psk": "another-key-entirely"})
    assert found.status == "in_doubt"
    assert GOOD not in repr(found) and "another-key-entirely" not in repr(found)


@pytest.mark.parametrize(("reason", "told"), [("not found", "not found"), (None, "no reason"), ("", "no")])
def test_a_refused_psk_is_unapplied(reason: str | None, told: str) -> None:
    found = classified(refused=reason)
    assert found.status == "unapplied"
    assert told in (found.reason or "")


def test_a_refusal_after_a_lost_answer_is_in_doubt() -> None:
    assert classified(refused="no", repeated=True).status == "in_doubt"


def test_a_reason_that_repeats_the_psk_does_not_show_it() -> None:
    assert GOOD not in repr(classified(refused=f"{GOOD} is bad"))


@pytest.mark.parametrize("repeated", [False, True])
def test_a_tunnel_that_the_answer_does_not_mention_is_in_doubt(repeated: bool) -> None:
    assert classified(repeated=repeated).status == "in_doubt"


def test_a_module_says_of_a_psk_that_was_not_sent_that_it_is_not_applied() -> None:
    assert _psk.Answer(_psk.UNSENT, "nothing was sent").outcome() == {
        "status": "unapplied",
        "reason": "nothing was sent",
        "applied_on": None,
        "ipsec_id": None,
    }


# -- batches and summary --------------------------------------------------------------------------------------------


@given(st.integers(0, 50), st.integers(1, 60))
def test_batches_hold_everything_once_in_order_and_are_never_empty(count: int, size: int) -> None:
    entries: list[dict[str, Any]] = [{"id": number} for number in range(count)]
    cut = _psk.batches(entries, size)
    assert [entry for batch in cut for entry in batch] == entries
    assert all(1 <= len(batch) <= size for batch in cut)
    assert len(cut) == -(-count // size)


def test_a_summary_counts_and_names_the_first_that_need_a_look() -> None:
    bad = [{"status": "in_doubt", "name": f"t{number}", "id": "x", "reason": "lost"} for number in range(7)]
    line = _psk.summary([{"status": "applied", "name": "a", "id": "y", "reason": None}, *bad])
    assert line.startswith("1 applied, 7 in_doubt (t0 in_doubt: lost; ")
    assert line.endswith("t4 in_doubt: lost; and 2 more)")


def test_a_summary_of_nothing() -> None:
    assert _psk.summary([]) == "nothing to do"
