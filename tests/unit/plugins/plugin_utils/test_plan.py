# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: which tunnels go, in which waves, and which are left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, Trace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _plan, _status, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._claims import owners_of
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import Options, Plan, judge, scope
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    PREPARED,
    ROLLING_BACK,
    STUCK,
    Key,
    Record,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import (
    Planned,
    as_reported,
    build_waves,
    going,
    no_longer_excused,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.plugin_utils.accounts import tunnel, without_times
from tests.unit.plugins.plugin_utils.records import (
    LONG_AGO,
    ME,
    START,
    at,
    known,
    record_in,
    rolled_back_at_cloudflare,
    trace,
)

DAY = 86400
# How old the PSK of LONG_AGO is at START, in seconds, and a policy on each side of it.
OLD, TIGHT, LOOSE = -LONG_AGO * 60, 3600, 90 * DAY
NOT_SHOWN = Trace(None, shown=False)


def options(**fields: Any) -> Options:
    """Options of a rotation from localhost at START, with a maximal age of 90 days."""
    given = {"hosts": frozenset(["localhost"]), "max_age": LOOSE, "now": START * NANO, "unknown_psk": "rotate"}
    return Options(**{**given, **fields})


def entry(tunnel_id: str, group: str | None = None, status: str = "due", host: str = "localhost") -> Planned:
    """A planned tunnel."""
    return Planned(tunnel_id, tunnel_id.upper(), host, group or tunnel_id, trace(LONG_AGO), status, "why")


# A PSK that waits for its confirmation, as a run leaves it whose device has it, or that had none.
YEARS_AHEAD = 10 * 365 * 24 * 60


def known_on(applied: float = LONG_AGO, made: float = LONG_AGO) -> Record:
    """An idle record whose PSK was set and made then."""
    return replace(known(), current=Key("old", applied_on=at(applied), made_on=at(made)))


WAITING = _transitions.release(record_in(APPLIED), None, ME).record


def ids(waves: Sequence[Sequence[Planned]]) -> list[list[str]]:
    return [[x.id for x in wave] for wave in waves]


def at_least(record: Record) -> Record:
    """The same, but its PSK may be set once more by an earlier request."""
    if record.pending:
        return replace(record, pending=replace(record.pending, at_least=True))
    assert record.current is not None
    return replace(record, current=replace(record.current, at_least=True))


# -- waves ------------------------------------------------------------------------------------------------------------

entries = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=60).map(
    lambda drawn: [
        entry(f"t{n}", f"g{group}", "resume" if resumes else "due") for n, (group, resumes) in enumerate(drawn)
    ]
)
sizes, canaries = st.integers(1, 20), st.integers(0, 25)


@given(entries, sizes, canaries)
def test_waves_hold_every_entry_exactly_once(drawn: list[Planned], size: int, canary: int) -> None:
    found = [x.id for wave in build_waves(drawn, size, canary) for x in wave]
    assert Counter(found) == Counter(x.id for x in drawn)


@given(entries, sizes, canaries)
def test_no_wave_is_empty_or_larger_than_allowed(drawn: list[Planned], size: int, canary: int) -> None:
    waves = build_waves(drawn, size, canary)
    assert all(1 <= len(wave) <= size for wave in waves)
    if canary and waves:
        assert len(waves[0]) <= canary


@given(entries, sizes, canaries)
def test_a_wave_never_has_two_of_a_group(drawn: list[Planned], size: int, canary: int) -> None:
    for wave in build_waves(drawn, size, canary):
        groups = [x.group for x in wave]
        assert len(groups) == len(set(groups))


@given(entries, sizes, canaries)
def test_of_a_group_the_unresolved_go_first(drawn: list[Planned], size: int, canary: int) -> None:
    order: dict[str, list[str]] = {}
    for wave in build_waves(drawn, size, canary):
        for x in wave:
            order.setdefault(x.group, []).append(x.status)
    assert all(statuses == sorted(statuses, key=lambda x: x != "resume") for statuses in order.values())


@given(entries)
def test_without_a_limit_there_are_as_many_waves_as_the_largest_group_has_members(drawn: list[Planned]) -> None:
    largest = max(Counter(x.group for x in drawn).values(), default=0)
    assert len(build_waves(drawn, 1000)) == largest


def test_the_canary_is_the_first_wave_alone() -> None:
    assert [len(x) for x in build_waves([entry(f"t{n}") for n in range(10)], 4, 1)] == [1, 4, 4, 1]


# -- one tunnel -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "shown", "changes", "status"),
    [
        # The escrow does not know the PSK.
        (None, trace(LONG_AGO), {}, "due"),
        (None, trace(None), {}, "due"),
        (Record(), trace(LONG_AGO), {}, "due"),
        (None, trace(LONG_AGO), {"unknown_psk": ""}, "unchanged"),
        (None, trace(LONG_AGO), {"unknown_psk": "", "max_age": TIGHT}, "due"),
        # It does, and the age counts.
        (known(), trace(LONG_AGO), {}, "unchanged"),
        (known(), trace(LONG_AGO), {"max_age": TIGHT}, "due"),
        (known(), trace(LONG_AGO), {"max_age": OLD}, "unchanged"),
        (known(), trace(LONG_AGO), {"max_age": OLD - 1}, "due"),
        (known(), trace(LONG_AGO), {"max_age": None}, "unchanged"),
        (known(), trace(LONG_AGO), {"force": True}, "due"),
        (known(), trace(None), {}, "due"),
        # A PSK that was rolled back to, or set again, is as old as when it was made.
        (
            replace(known(), current=Key("old", applied_on=at(-10), made_on=at(LONG_AGO))),
            trace(-10),
            {"max_age": TIGHT},
            "due",
        ),
        # A time that lies years ahead makes nothing young.
        (known_on(made=YEARS_AHEAD), trace(LONG_AGO), {"max_age": TIGHT}, "due"),
        (known_on(made=YEARS_AHEAD), trace(LONG_AGO), {"max_age": OLD}, "unchanged"),
        (known_on(YEARS_AHEAD, YEARS_AHEAD), trace(YEARS_AHEAD), {"max_age": OLD}, "due"),
        (known_on(YEARS_AHEAD, YEARS_AHEAD), trace(YEARS_AHEAD), {"max_age": None}, "unchanged"),
        (known_on(20, 20), trace(20), {"max_age": TIGHT}, "unchanged"),
        # Nor can it hide what somebody else has set since.
        (known_on(YEARS_AHEAD), trace(0), {}, "stuck"),
        (known_on(YEARS_AHEAD), trace(0), {"mode": "rollback"}, "stuck"),
        (known_on(YEARS_AHEAD), trace(0), {"force": True}, "due"),
        (known_on(20), trace(LONG_AGO), {}, "unchanged"),
        # Somebody else's.
        (known(), trace(0), {}, "stuck"),
        (known(), trace(0), {"force": True}, "due"),
        (record_in(STUCK), trace(0), {}, "stuck"),
        (record_in(STUCK), trace(0), {"force": True}, "due"),
        # A stale list.
        (known(), trace(LONG_AGO - 60), {}, "unchanged"),
        # What an earlier run has left.
        (record_in(PREPARED), trace(LONG_AGO), {}, "resume"),
        (record_in(IN_DOUBT), trace(80), {}, "resume"),
        (record_in(APPLIED), trace(1), {}, "resume"),
        (record_in(APPLIED), trace(80), {}, "stuck"),
        (record_in(ROLLING_BACK), trace(1), {}, "resume"),
        (record_in(APPLIED), trace(1), {"mode": "rollback"}, "resume"),
        # What waits for its confirmation.
        (WAITING, trace(1), {"confirmation": "manual"}, "waiting"),
        (WAITING, trace(80), {"confirmation": "manual"}, "stuck"),
        (WAITING, trace(1), {"confirmation": "manual", "mode": "rollback"}, "resume"),
        (WAITING, trace(1), {"mode": "confirm"}, "waiting"),
        (record_in(APPLIED), trace(1), {"mode": "confirm"}, "resume"),
        (_transitions.release(rolled_back_at_cloudflare(2), None, ME).record, trace(2), {"mode": "confirm"}, "waiting"),
        (record_in(ROLLING_BACK), trace(2), {"mode": "confirm"}, "resume"),
        (record_in(IN_DOUBT), trace(2), {"mode": "confirm"}, "resume"),
        # Modes that begin nothing.
        (None, trace(LONG_AGO), {"mode": "reconcile"}, "unchanged"),
        (record_in(IN_DOUBT), trace(LONG_AGO), {"mode": "reconcile"}, "resume"),
        (known(), trace(LONG_AGO), {"mode": "confirm", "max_age": TIGHT}, "unchanged"),
        (known(), trace(LONG_AGO), {"mode": "report", "max_age": TIGHT}, "due"),
        (record_in(IN_DOUBT), trace(LONG_AGO), {"mode": "report"}, "resume"),
        (known(), trace(LONG_AGO), {"mode": "rollback"}, "unchanged"),
    ],
)
def test_what_is_done_with_a_tunnel(found: Record | None, shown: Trace, changes: dict[str, Any], status: str) -> None:
    judged, reason = judge(found, shown, options(**changes))
    assert judged == status
    assert reason and "\n" not in reason


ROTATED = _transitions.confirm(record_in(APPLIED), "confirmed", ME).record


@pytest.mark.parametrize(
    ("record", "rollback_id", "status"),
    [
        (ROTATED, "rotation of me", "due"),
        (ROTATED, "rotation of somebody", "unchanged"),
        (ROTATED, "", "unchanged"),
        (replace(ROTATED, previous=None), "rotation of me", "unchanged"),
    ],
)
def test_a_rollback_takes_the_rotation_that_is_named_and_what_is_unresolved(
    record: Record, rollback_id: str, status: str
) -> None:
    assert judge(record, trace(1), options(mode="rollback", rollback_id=rollback_id))[0] == status


@pytest.mark.parametrize(
    ("mode", "status"),
    [
        ("rotate", "resume"),
        ("reconcile", "resume"),
        ("report", "resume"),
        ("confirm", "skipped"),
        ("rollback", "skipped"),
    ],
)
def test_a_psk_that_may_have_been_replaced_by_an_earlier_request_of_ours_is_to_be_set_again(
    mode: str, status: str
) -> None:
    record = at_least(known("old", 0))
    assert judge(record, trace(0), options(mode=mode))[0] == "unchanged"
    assert judge(record, trace(30), options(mode=mode))[0] == status
    assert judge(record, trace(90), options(mode=mode))[0] == "stuck"


def test_with_force_such_a_psk_is_replaced() -> None:
    assert judge(at_least(known("old", 0)), trace(30), options(force=True))[0] == "due"
    assert judge(at_least(known("old", 0)), trace(30), options(force=True, mode="reconcile"))[0] == "resume"


@pytest.mark.parametrize("changes", [{"mode": "confirm"}, {"confirmation": "manual"}])
@pytest.mark.parametrize("shown", [trace(30), trace(None)])
def test_a_waiting_psk_that_cloudflare_may_not_hold_any_more_is_not_confirmed(
    shown: Trace, changes: dict[str, str]
) -> None:
    assert judge(at_least(WAITING), shown, options(**changes))[0] == "resume"


def test_where_cloudflare_shows_no_time_the_escrows_counts() -> None:
    assert judge(known(), NOT_SHOWN, options())[0] == "unchanged"
    assert judge(known(), NOT_SHOWN, options(max_age=TIGHT))[0] == "due"


def test_where_neither_shows_a_time_a_psk_is_due_only_to_be_known() -> None:
    assert judge(None, NOT_SHOWN, options(unknown_psk=""))[0] == "unchanged"
    assert judge(None, NOT_SHOWN, options(unknown_psk="rotate"))[0] == "due"


@pytest.mark.parametrize(
    ("fields", "variable"),
    [
        ({"wave_size": 0}, "psk_rotation_wave_size"),
        ({"wave_size": 1001}, "psk_rotation_wave_size"),
        ({"canary": -1}, "psk_rotation_canary"),
    ],
)
def test_options_that_can_not_be_name_their_variable(fields: dict[str, Any], variable: str) -> None:
    with pytest.raises(InputError, match=variable):
        options(**fields)


# -- the whole account ------------------------------------------------------------------------------------------------

PAIR = [tunnel("t1", "oslo", "192.0.2.1"), tunnel("t2", "lima", "192.0.2.1")]


def plan(
    tunnels: Sequence[Mapping[str, Any]],
    records: Mapping[str, Record] | None = None,
    claims: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Plan:
    """The plan of an account, of localhost unless said otherwise."""
    claims = claims or {"localhost": ["all"]}
    places = fields.pop("places", None)
    wanted = options(**{"hosts": frozenset(claims), "chosen": frozenset(claims), **fields})
    return _plan.plan(tunnels, records or {}, owners_of(tunnels, claims), wanted, places)


def left(found: Plan) -> dict[str, str]:
    return {x.id: x.status for x in found.left}


def test_a_planned_tunnel_has_its_host_its_group_and_why() -> None:
    found = plan([tunnel("t0", "oslo"), tunnel("t1", "lima", "192.0.2.1")], claims={"localhost": ["t1"]})
    why = "the escrow does not know its PSK, so the rotation cannot be rolled back"
    assert found.waves == [[Planned("t1", "lima", "localhost", "192.0.2.1", trace(LONG_AGO), "due", why)]]


def test_a_planned_tunnel_knows_of_which_generation_its_record_was() -> None:
    (wave,) = plan([tunnel("t1")], {"t1": replace(known(), generation=7)}, force=True).waves
    assert wave[0].generation == 7


def test_tunnels_of_another_batch_are_not_planned() -> None:
    found = plan([tunnel("t1"), tunnel("t2")], claims={"a": ["t1"], "b": ["t2"]}, hosts=frozenset(["b"]))
    assert ids(found.waves) == [["t2"]]


def test_tunnels_that_nobody_claims_are_not_planned() -> None:
    assert ids(plan([tunnel("t1"), tunnel("t2")], claims={"localhost": ["t2"]}).waves) == [["t2"]]


def test_tunnels_of_a_group_are_in_different_waves() -> None:
    assert ids(plan(PAIR).waves) == [["t1"], ["t2"]]


def test_a_tunnel_whose_sibling_is_stuck_is_left_alone() -> None:
    assert left(plan(PAIR, {"t1": record_in(STUCK)})) == {"t1": "stuck", "t2": "skipped"}


def test_force_takes_a_tunnel_whose_sibling_is_stuck() -> None:
    assert ids(plan(PAIR, {"t1": record_in(STUCK)}, force=True).waves) == [["t1"], ["t2"]]


def test_a_tunnel_that_an_earlier_run_left_goes_whatever_its_sibling_is() -> None:
    found = plan(PAIR, {"t1": record_in(STUCK), "t2": record_in(IN_DOUBT)})
    assert (ids(found.waves), left(found)) == ([["t2"]], {"t1": "stuck"})


def test_a_tunnel_waits_for_a_sibling_that_waits_for_its_confirmation() -> None:
    records = {"t1": WAITING, "t2": known()}
    tunnels = [tunnel("t1", "oslo", "e", 1), tunnel("t2", "lima", "e")]
    found = plan(tunnels, records, confirmation="manual", max_age=TIGHT)
    assert left(found) == {"t1": "waiting", "t2": "skipped"}
    assert [(x.reason, x.excused) for x in found.left if x.id == "t2"] == [
        ("'oslo', which backs it up, waits for confirmation", True)
    ]


@pytest.mark.parametrize("state", [PREPARED, IN_DOUBT, ROLLING_BACK])
def test_a_tunnel_waits_for_a_sibling_that_another_play_must_finish_and_says_so(state: str) -> None:
    found = plan(PAIR, {"t1": record_in(state)}, {"b": ["t2"]})
    assert [(x.id, x.status, x.reason, x.excused) for x in found.left] == [
        ("t2", "skipped", f"'oslo', which backs it up, is {state} and must be finished first", False)
    ]


@pytest.mark.parametrize(("later", "postponed"), [(["a"], True), ([], False)])
def test_what_waits_for_a_later_batch_is_no_failure_of_this_one(later: list[str], postponed: bool) -> None:
    owners = {"a": ["t1"], "b": ["t2"]}
    found = plan(PAIR, {"t1": record_in(IN_DOUBT)}, owners, hosts=frozenset(["b"]), later=frozenset(later))
    assert [(x.id, x.status, x.excused, x.postponed) for x in found.left] == [("t2", "skipped", False, postponed)]


def test_a_tunnel_waits_for_a_sibling_that_another_batch_must_finish() -> None:
    found = plan(PAIR, {"t1": record_in(IN_DOUBT)}, {"a": ["t1"], "b": ["t2"]}, hosts=frozenset(["b"]))
    assert left(found) == {"t2": "skipped"}


def test_a_sibling_of_the_same_batch_is_finished_first() -> None:
    assert ids(plan(PAIR, {"t2": record_in(IN_DOUBT)}).waves) == [["t2"], ["t1"]]


def test_of_two_that_were_left_prepared_the_one_that_cloudflare_has_set_is_finished_first() -> None:
    tunnels = [tunnel("t1", "oslo", "192.0.2.1"), tunnel("t2", "lima", "192.0.2.1", 1)]
    assert ids(plan(tunnels, {"t1": record_in(PREPARED), "t2": record_in(PREPARED)}).waves) == [["t2"], ["t1"]]


@pytest.mark.parametrize(("set_on", "goes"), [(1, False), (LONG_AGO, True)])
def test_one_that_was_left_prepared_waits_for_what_cloudflare_has_set_in_another_batch(
    set_on: float, goes: bool
) -> None:
    tunnels = [tunnel("t1", "oslo", "192.0.2.1"), tunnel("t2", "lima", "192.0.2.1", set_on)]
    records = {"t1": record_in(PREPARED), "t2": record_in(PREPARED)}
    found = plan(tunnels, records, {"a": ["t1"], "b": ["t2"]}, hosts=frozenset(["a"]))
    assert (ids(found.waves), left(found)) == (([["t1"]], {}) if goes else ([], {"t1": "skipped"}))


def test_a_foreign_change_is_listed_until_its_record_is_stuck() -> None:
    found = plan([tunnel("t1", minutes=0)], {"t1": known()})
    assert [x.id for x in found.foreign] == ["t1"]
    assert plan([tunnel("t1", minutes=0)], {"t1": record_in(STUCK)}).foreign == []


def test_failures_of_the_batches_before_count() -> None:
    assert plan(PAIR, failed_before=2).failed_before == 2


# -- what the escrow does not know ------------------------------------------------------------------------------------


def test_tunnels_whose_psk_the_escrow_does_not_know_are_refused_by_name_before_anything_is_written() -> None:
    with pytest.raises(InputError, match=r"does not know the PSKs of 1 of 2 tunnels \(lima\), and nothing was written"):
        plan(PAIR, {"t1": known()}, unknown_psk="refuse")


def test_of_many_unknown_psks_the_first_are_named() -> None:
    tunnels = [tunnel(f"t{n}", f"name{n}x") for n in range(12)]
    with pytest.raises(InputError, match=r"name9x and 2 more\)"):
        plan(tunnels, unknown_psk="refuse")


def test_a_tunnel_without_a_psk_has_none_that_could_be_unknown() -> None:
    assert ids(plan([tunnel("t1", minutes=None)], unknown_psk="refuse").waves) == [["t1"]]


def test_where_cloudflare_shows_no_time_a_psk_is_taken_to_be_there() -> None:
    with pytest.raises(InputError, match="does not know the PSKs of 1 of 1"):
        plan([without_times("t1")], unknown_psk="refuse")


def test_unknown_psks_are_skipped_where_the_user_says_so() -> None:
    found = plan(PAIR, {"t1": known()}, unknown_psk="skip")
    assert (left(found), ids(found.waves)) == ({"t2": "unknown"}, [])


def test_unknown_psks_are_rotated_where_the_user_says_so() -> None:
    assert ids(plan(PAIR, {"t1": known()}, unknown_psk="rotate").waves) == [["t2"]]


@pytest.mark.parametrize("mode", ["reconcile", "confirm", "rollback", "report"])
def test_only_a_rotation_needs_to_know(mode: str) -> None:
    assert plan(PAIR, mode=mode, unknown_psk="refuse").waves == []


def test_a_psk_that_was_prepared_or_discarded_is_known() -> None:
    refused = _transitions.refused(record_in(PREPARED), "no", ME).record
    records = {"t1": record_in(IN_DOUBT), "t2": replace(refused, current=None)}
    assert plan(PAIR, records, unknown_psk="refuse").waves


def test_an_unknown_psk_of_another_batch_is_refused_at_the_first_one() -> None:
    claims = {"a": ["t1"], "b": ["t2"]}
    with pytest.raises(InputError, match="lima"):
        plan(PAIR, {"t1": known()}, claims, hosts=frozenset(["a"]), unknown_psk="refuse")
    assert plan(PAIR, {"t1": known()}, claims, hosts=frozenset(["a"]), unknown_psk="refuse", places={}).waves == []


# -- what a device was involved in ------------------------------------------------------------------------------------


def test_what_had_a_device_is_not_finished_without_one() -> None:
    found = plan([tunnel("t1")], {"t1": replace(record_in(IN_DOUBT), device=True)}, chosen=frozenset())
    assert left(found) == {"t1": "skipped"}
    assert "its last step had a device" in found.left[0].reason


@pytest.mark.parametrize("fields", [{"devices": frozenset(["localhost"])}, {"chosen": frozenset(["localhost"])}])
def test_it_is_finished_with_a_device_or_where_the_user_has_said_how(fields: dict[str, Any]) -> None:
    found = plan([tunnel("t1")], {"t1": record_in(IN_DOUBT)}, **{"chosen": frozenset(), **fields})
    assert ids(found.waves) == [["t1"]]


def test_what_had_no_device_is_finished_without_one() -> None:
    found = plan([tunnel("t1")], {"t1": replace(record_in(IN_DOUBT), device=False)}, chosen=frozenset())
    assert ids(found.waves) == [["t1"]]


def test_only_what_its_device_has_waits_for_a_confirmation() -> None:
    for delivered, status in ((True, "waiting"), (False, "resume")):
        record = replace(record_in(APPLIED), device=True)
        assert record.pending is not None
        record = replace(record, pending=replace(record.pending, delivered=delivered))
        assert judge(record, trace(1), options(mode="confirm"))[0] == status


# -- all of it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["confirm", "report"])
def test_a_mode_that_only_looks_plans_no_wave(mode: str) -> None:
    assert plan([tunnel("t1")], mode=mode).waves == []


def test_what_waits_for_its_confirmation_is_confirmed_one_of_a_group_after_the_other() -> None:
    tunnels = [tunnel("t1", "oslo", "e", 1), tunnel("t2", "lima", "e", 1), tunnel("t3", "rome")]
    found = plan(tunnels, {"t1": WAITING, "t2": WAITING}, mode="confirm")
    assert (ids(found.waves), left(found)) == ([["t1"], ["t2"]], {"t3": "unchanged"})


def test_each_tunnel_of_the_batch_is_in_one_part_of_the_plan() -> None:
    tunnels = [*PAIR, tunnel("t3"), tunnel("t4", minutes=0), tunnel("t5")]
    found = plan(tunnels, {"t1": record_in(STUCK), "t3": known(), "t4": known()})
    assert sorted(x.id for x in found.entries()) == ["t1", "t2", "t3", "t4", "t5"]


# -- what the user is told --------------------------------------------------------------------------------------------


def test_the_groups_of_what_goes_are_told_with_their_reason() -> None:
    (line,) = plan(PAIR).notices
    assert line == "1 group of tunnels that back each other up: oslo, lima (customer endpoint 192.0.2.1)"


def test_where_nothing_goes_no_groups_are_told() -> None:
    assert plan(PAIR, {"t1": known(), "t2": known()}).notices == []


def test_a_tunnel_that_is_named_as_the_word_for_all_is_told() -> None:
    claims = {"localhost": ["t1", "t2"]}
    found = plan([tunnel("t1", "all"), tunnel("t2", "*")], {"t1": known(), "t2": known()}, claims)
    assert found.notices == [
        "'all' is the name of a tunnel, too: it is reached by its id only",
        "'*' is the name of a tunnel, too: it is reached by its id only",
    ]


def test_tunnels_that_no_host_of_the_play_claims_are_told_by_the_first_batch() -> None:
    records = {"t1": known(), "t2": known()}
    told = ["no host of this play claims 1 of 2 tunnels: lima"]
    assert plan(PAIR, records, {"localhost": ["t1"]}).notices == told
    assert plan(PAIR, records, {"localhost": ["t1"]}, places={}).notices == []


def test_tunnels_without_a_time_are_told_once() -> None:
    found = plan([without_times("t1"), without_times("t2")], {"t1": known(), "t2": known()})
    assert found.notices == [
        "Cloudflare does not show when the PSKs of 2 tunnels were set: the escrow's times are used"
    ]


# -- scope ------------------------------------------------------------------------------------------------------------


def test_the_scope_of_a_batch_has_the_siblings_of_other_hosts_and_of_nobody() -> None:
    tunnels = [tunnel("t1"), tunnel("t2"), tunnel("t3"), tunnel("t4"), tunnel("t5")]
    owners = {"t1": "a", "t2": "b", "t3": "c"}
    wanted = options(hosts=frozenset(["a"]), group_by={"site": ["t1", "t3", "t4"]})
    assert scope(tunnels, owners, {}, wanted) == ["t1", "t3", "t4"]


def test_the_first_batch_looks_at_all_that_the_play_claims() -> None:
    tunnels = [tunnel("t1"), tunnel("t2"), tunnel("t3")]
    wanted = options(hosts=frozenset(["a"]), group_by="none")
    assert scope(tunnels, {"t1": "a", "t2": "b"}, None, wanted) == ["t1", "t2"]


def test_automatic_groups_rest_on_what_the_escrow_knows_of_every_tunnel() -> None:
    assert scope(PAIR, {"t1": "localhost"}, None, options()) == ["t1", "t2"]


def test_a_later_batch_knows_from_the_first_where_the_others_are() -> None:
    tunnels = [tunnel("t1", "oslo"), tunnel("t2", "lima"), tunnel("t3", "rome")]
    places = {"t1": ["r1", None], "t2": ["r1", None], "t3": ["r3", None]}
    assert scope(tunnels, {"t1": "r1", "t3": "r3"}, places, options(hosts=frozenset(["r1"]))) == ["t1", "t2"]
    claims = {"r1": ["t1"], "r3": ["t3"]}
    found = plan(tunnels, {"t1": known()}, claims, hosts=frozenset(["r1"]), places=places)
    assert found.groups.siblings("t1") == ["t2"]


# -- a wave as it can go now ------------------------------------------------------------------------------------------


def waves(*found: list[Planned]) -> list[list[Planned]]:
    return list(found)


TWO_GROUPS = waves([entry("t1", "g"), entry("t2")], [entry("t3", "g"), entry("t4", "t2")])


def second(statuses: dict[str, str], mode: str = "rotate") -> tuple[list[str], dict[str, str]]:
    """Of the second wave of two groups: the tunnels that go, and the statuses of the others."""
    ready, others = going(TWO_GROUPS, 1, statuses, {"localhost"}, 0, 10, mode)
    return [x.id for x in ready], {x.id: x.status for x in others}


@pytest.mark.parametrize("status", sorted(_status.DONE))
def test_a_tunnel_goes_when_its_sibling_is_done(status: str) -> None:
    assert second({"t1": status, "t2": status}) == (["t3", "t4"], {})


@pytest.mark.parametrize("status", sorted(set(_status.TABLE) - _status.DONE))
def test_a_tunnel_waits_when_its_sibling_is_not_done(status: str) -> None:
    assert second({"t1": status, "t2": "delivered"}) == (["t4"], {"t3": "skipped"})


def test_a_sibling_of_which_nothing_is_known_is_not_done() -> None:
    assert second({}) == ([], {"t3": "skipped", "t4": "skipped"})


def test_in_a_rollback_a_tunnel_that_was_rolled_back_is_done() -> None:
    assert second({"t1": "rolled_back", "t2": "rolled_back"}, "rollback") == (["t3", "t4"], {})


@pytest.mark.parametrize(
    ("status", "excused", "why"), [("waiting", True, "waits for confirmation"), ("in_doubt", False, "is not done")]
)
def test_who_waits_says_for_whom_and_why(status: str, excused: bool, why: str) -> None:
    _ready, others = going(TWO_GROUPS, 1, {"t1": status, "t2": "delivered"}, {"localhost"}, 0, 10)
    assert [(x.reason, x.excused) for x in others] == [(f"'T1', which backs it up, {why}", excused)]


def test_the_third_of_a_group_waits_for_the_first_as_the_second_does() -> None:
    three = waves([entry("t1", "g")], [entry("t2", "g")], [entry("t3", "g")])
    _ready, others = going(three, 2, {"t1": "waiting", "t2": "skipped"}, {"localhost"}, 0, 10)
    assert [(x.reason, x.excused) for x in others] == [("'T1', which backs it up, waits for confirmation", True)]


def test_what_is_resumed_waits_for_no_sibling() -> None:
    resumed = waves([entry("t1", "g")], [entry("t3", "g", "resume")])
    ready, _others = going(resumed, 1, {"t1": "in_doubt"}, {"localhost"}, 0, 10)
    assert [x.id for x in ready] == ["t3"]


def test_a_tunnel_of_an_unreachable_host_does_not_go() -> None:
    ready, others = going(waves([entry("t1", host="a"), entry("t2", host="b")]), 0, {}, {"b"}, 0, 10)
    assert [x.id for x in ready] == ["t2"]
    assert [(x.id, x.status, x.reason) for x in others] == [("t1", "unreached", "its device a is not reachable")]


def test_a_device_that_answers_and_is_left_alone_is_told_with_its_reason() -> None:
    asked = {"a": "the user may only read", "b": ""}
    _ready, others = going(waves([entry("t1", host="a"), entry("t2", host="b")]), 0, {}, {"b"}, 0, 10, asked=asked)
    assert [x.reason for x in others] == ["its device a is left alone: the user may only read"]


@pytest.mark.parametrize(("failed", "limit", "stops"), [(0, 0, False), (1, 0, True), (1, 1, False), (2, 1, True)])
def test_more_failures_than_allowed_stop_a_wave(failed: int, limit: int, stops: bool) -> None:
    ready, others = going(waves([entry("t1")]), 0, {}, {"localhost"}, failed, limit)
    assert [x.status for x in others] == (["stopped"] if stops else [])
    assert len(ready) == (0 if stops else 1)


def test_idle_is_where_a_record_needs_nothing() -> None:
    assert judge(record_in(IDLE), trace(LONG_AGO), options())[0] == "unchanged"


# -- the account right before a wave ----------------------------------------------------------------------------------


def account(*ids: str, minutes: float = LONG_AGO) -> dict[str, Any]:
    return {x: tunnel(x, minutes=minutes) for x in ids}


def test_a_tunnel_does_not_begin_once_what_backs_it_up_was_deleted_or_made_again() -> None:
    ready, others = as_reported([entry("a")], account("a", "made-again"), None, {"a": ["b"]})
    assert not ready
    assert [(x.id, x.status, x.excused) for x in others] == [("a", _status.SKIPPED, False)]
    assert "deleted or recreated" in others[0].reason


def test_a_tunnel_that_was_sent_is_finished_whatever_became_of_what_backs_it_up() -> None:
    ready, others = as_reported([replace(entry("a"), sent=True)], account("a"), None, {"a": ["b"]})
    assert ([x.id for x in ready], others) == (["a"], [])


def test_a_tunnel_goes_with_the_name_and_the_time_that_the_account_shows_now() -> None:
    ready, _others = as_reported([entry("a")], {"a": tunnel("a", "renamed", minutes=5)}, 7, {"a": []})
    assert [(x.name, x.trace) for x in ready] == [("renamed", replace(trace(5), skew=ready[0].trace.skew))]


def test_a_tunnel_that_is_gone_is_left_to_the_api() -> None:
    assert as_reported([entry("a")], {}, None, {}) == ([entry("a")], [])


@pytest.mark.parametrize(("minutes", "excused"), [(LONG_AGO, True), (5, False)])
def test_who_waits_is_excused_as_long_as_its_psk_is_that_of_the_plan(minutes: float, excused: bool) -> None:
    waits = replace(entry("a", status="skipped"), excused=True)
    (found,) = no_longer_excused([waits], account("a", minutes=minutes))
    assert found.excused is excused
    assert ("has changed since the plan" in found.reason) is not excused
