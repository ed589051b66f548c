# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: which tunnels go, in which waves, and which are left alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import (
    Options,
    build_waves,
    check_hooks,
    judge,
    owners_of,
    parse_limit,
    plan,
    scope,
    verdicts,
    wave_of,
)
from hypothesis import given
from hypothesis import strategies as st

NANO = 10**9
DAY = 86400
NOW = 1_800_000_000 * NANO  # 2027-01-15
OLD, RECENT, LATER = "2026-01-01T00:00:00Z", "2027-01-10T00:00:00Z", "2027-01-12T00:00:00Z"


def options(**fields: Any) -> Options:
    """Options of a rotation from localhost, with a maximal age of 90 days."""
    given = {
        "hosts": frozenset(["localhost"]),
        "max_age": 90 * DAY,
        "force": False,
        "wave_size": 1000,
        "canary": 0,
        "group_by": "auto",
        "confirmation": "none",
        "max_failures": "10%",
        "summaries": {},
        "adopt": True,
        "mode": "rotate",
        "rollback_id": "",
        "now": NOW,
    }
    return Options(**{**given, **fields})


def record(state: str = "idle", **fields: Any) -> dict[str, Any]:
    """A view of a record whose PSK was set at RECENT."""
    given = {
        "id": "t1",
        "state": state,
        "has_current": True,
        "has_previous": False,
        "applied_on": RECENT,
        "made_on": RECENT,
        "pending_applied_on": RECENT if state == "applied" else None,
        "rollback_applied": False,
        "rollback_applied_on": None,
        "rotation_id": "r1",
        "reason": None,
    }
    return {**given, **fields}


def tunnel(
    tunnel_id: str, name: str | None = None, endpoint: str | None = None, made: str | None = OLD
) -> dict[str, Any]:
    """A tunnel as ipsec_tunnel_info returns it, as far as the plan looks."""
    return {
        "id": tunnel_id,
        "name": name or tunnel_id,
        "customer_endpoint": endpoint,
        "psk_metadata": {"last_generated_on": made} if made else None,
    }


def entry(tunnel_id: str, group: str | None = None, status: str = "due", host: str = "localhost") -> dict[str, Any]:
    """A planned tunnel."""
    return {"id": tunnel_id, "name": tunnel_id.upper(), "group": group or tunnel_id, "status": status, "host": host}


def ids(waves: list[list[dict[str, Any]]]) -> list[list[str]]:
    return [[x["id"] for x in wave] for wave in waves]


entries = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=60).map(
    lambda drawn: [
        entry(f"t{n}", f"g{group}", "resume" if resumes else "due") for n, (group, resumes) in enumerate(drawn)
    ]
)
sizes, canaries = st.integers(1, 20), st.integers(0, 25)


@given(entries, sizes, canaries)
def test_waves_hold_every_entry_exactly_once(drawn: list[dict[str, Any]], size: int, canary: int) -> None:
    found = [x["id"] for wave in build_waves(drawn, size, canary) for x in wave]
    assert Counter(found) == Counter(x["id"] for x in drawn)


@given(entries, sizes, canaries)
def test_no_wave_is_empty_or_larger_than_allowed(drawn: list[dict[str, Any]], size: int, canary: int) -> None:
    waves = build_waves(drawn, size, canary)
    assert all(1 <= len(wave) <= size for wave in waves)
    if canary and waves:
        assert len(waves[0]) <= canary


@given(entries, sizes, canaries)
def test_a_wave_never_has_two_of_a_group(drawn: list[dict[str, Any]], size: int, canary: int) -> None:
    for wave in build_waves(drawn, size, canary):
        groups = [x["group"] for x in wave]
        assert len(groups) == len(set(groups))


@given(entries, sizes, canaries)
def test_of_a_group_the_unresolved_go_first(drawn: list[dict[str, Any]], size: int, canary: int) -> None:
    order: dict[str, list[str]] = {}
    for wave in build_waves(drawn, size, canary):
        for x in wave:
            order.setdefault(x["group"], []).append(x["status"])
    assert all(statuses == sorted(statuses, key=lambda x: x != "resume") for statuses in order.values())


@given(entries)
def test_without_a_limit_there_are_as_many_waves_as_the_largest_group_has_members(drawn: list[dict[str, Any]]) -> None:
    largest = max(Counter(x["group"] for x in drawn).values(), default=0)
    assert len(build_waves(drawn, 1000)) == largest


def test_the_canary_is_the_first_wave_alone() -> None:
    assert [len(x) for x in build_waves([entry(f"t{n}") for n in range(10)], 4, 1)] == [1, 4, 4, 1]


@pytest.mark.parametrize(
    ("limit", "of", "allowed"),
    [
        ("0", 24, 0),
        (3, 24, 3),
        (" 3 ", 24, 3),
        ("10%", 24, 3),
        ("10%", 20, 2),
        ("0%", 24, 0),
        ("100%", 24, 24),
        ("1%", 1, 1),
    ],
)
def test_the_limit_of_failures(limit: Any, of: int, allowed: int) -> None:
    assert parse_limit(limit, of) == allowed


@pytest.mark.parametrize("limit", ["", "%", "-1", "1.5", "10 %", "101%", "lots", None, True])
def test_a_bad_limit_of_failures_names_its_variable(limit: Any) -> None:
    with pytest.raises(InputError, match="psk_rotation_max_failures"):
        parse_limit(limit, 24)


@pytest.mark.parametrize(
    ("found", "reported", "changes", "status"),
    [
        (None, OLD, {}, "due"),
        (None, RECENT, {}, "due"),
        (None, None, {}, "due"),
        (None, RECENT, {"adopt": False}, "unchanged"),
        (None, OLD, {"adopt": False}, "due"),
        (record(), RECENT, {}, "unchanged"),
        (record(), RECENT, {"max_age": DAY}, "due"),
        (record(), RECENT, {"max_age": None}, "unchanged"),
        (record(), RECENT, {"force": True}, "due"),
        (record(applied_on=OLD, made_on=OLD), OLD, {}, "due"),
        (record(applied_on=RECENT, made_on=OLD), RECENT, {}, "due"),
        (record(has_current=False, applied_on=None, made_on=None), RECENT, {}, "due"),
        (record(), LATER, {}, "stuck"),
        (record(), LATER, {"force": True}, "due"),
        (record(), OLD, {}, "unchanged"),
        (record("stuck", reason="why"), RECENT, {}, "stuck"),
        (record("stuck", reason="why"), RECENT, {"force": True}, "due"),
        (record("prepared"), RECENT, {}, "resume"),
        (record("in_doubt"), LATER, {}, "resume"),
        (record("applied"), RECENT, {}, "resume"),
        (record("applied"), RECENT, {"confirmation": "manual"}, "waiting"),
        (record("applied"), LATER, {"confirmation": "manual"}, "stuck"),
        (record("rolling_back"), RECENT, {}, "resume"),
        (None, OLD, {"mode": "reconcile"}, "unchanged"),
        (record("in_doubt"), OLD, {"mode": "reconcile"}, "resume"),
        (record("applied"), RECENT, {"mode": "confirm"}, "waiting"),
        (record(), OLD, {"mode": "confirm"}, "unchanged"),
        (record(has_previous=True), RECENT, {"mode": "rollback", "rollback_id": "r1"}, "due"),
        (record(has_previous=False), RECENT, {"mode": "rollback", "rollback_id": "r1"}, "unchanged"),
        (record(has_previous=True), RECENT, {"mode": "rollback", "rollback_id": "r2"}, "unchanged"),
        (record(has_previous=True), RECENT, {"mode": "rollback"}, "unchanged"),
    ],
)
def test_what_is_done_with_a_tunnel(
    found: dict[str, Any] | None, reported: str | None, changes: dict[str, Any], status: str
) -> None:
    judged, reason = judge(found, reported, options(**changes))
    assert judged == status
    assert reason


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


def test_a_plan_names_index_host_group_and_reason() -> None:
    planned = plan([tunnel("t0"), tunnel("t1", endpoint="192.0.2.1")], [], {"localhost": ["t1"]}, options())
    assert planned["waves"] == [
        [
            {
                "id": "t1",
                "name": "t1",
                "host": "localhost",
                "group": "192.0.2.1",
                "reported": OLD,
                "status": "due",
                "reason": "the escrow does not know its PSK",
            }
        ]
    ]
    assert planned["planned"] == 1


def test_tunnels_of_another_batch_are_not_planned() -> None:
    claims = {"a": ["t1"], "b": ["t2"]}
    planned = plan([tunnel("t1"), tunnel("t2")], [], claims, options(hosts=frozenset(["b"])))
    assert ids(planned["waves"]) == [["t2"]]


def test_tunnels_that_nobody_claims_are_not_planned() -> None:
    planned = plan([tunnel("t1"), tunnel("t2")], [], {"localhost": ["t2"]}, options())
    assert ids(planned["waves"]) == [["t2"]]


def test_a_tunnel_whose_sibling_is_stuck_is_left_alone() -> None:
    tunnels = [tunnel("t1", endpoint="192.0.2.1", made=RECENT), tunnel("t2", endpoint="192.0.2.1")]
    planned = plan(tunnels, [record("stuck", reason="why")], {"localhost": ["all"]}, options())
    assert planned["waves"] == []
    assert {x["id"]: x["status"] for x in planned["left"]} == {"t1": "stuck", "t2": "skipped"}


def test_force_takes_a_tunnel_whose_sibling_is_stuck() -> None:
    tunnels = [tunnel("t1", endpoint="192.0.2.1", made=RECENT), tunnel("t2", endpoint="192.0.2.1")]
    planned = plan(tunnels, [record("stuck", reason="why")], {"localhost": ["all"]}, options(force=True))
    assert ids(planned["waves"]) == [["t1"], ["t2"]]


def test_a_tunnel_whose_sibling_another_batch_must_finish_is_left_alone() -> None:
    claims = {"a": ["t1"], "b": ["t2"]}
    planned = plan(
        [tunnel("t1"), tunnel("t2")],
        [record("in_doubt")],
        claims,
        options(hosts=frozenset(["b"]), group_by={"site": ["t1", "t2"]}),
    )
    assert [(x["id"], x["status"]) for x in planned["left"]] == [("t2", "skipped")]


def test_a_foreign_change_is_listed_until_its_record_is_stuck() -> None:
    planned = plan([tunnel("t1", made=LATER)], [record()], {"localhost": ["all"]}, options())
    assert [x["id"] for x in planned["foreign"]] == ["t1"]
    planned = plan([tunnel("t1", made=LATER)], [record("stuck")], {"localhost": ["all"]}, options())
    assert planned["foreign"] == []


def test_failures_of_the_batches_before_count() -> None:
    claims = {"a": ["t1"], "b": ["t2"], "c": []}
    summaries = {"a": {"failed": 2}, "b": {"failed": 5}, "c": {"failed": 7}}
    planned = plan([tunnel("t1"), tunnel("t2")], [], claims, options(hosts=frozenset(["b"]), summaries=summaries))
    assert planned["failed_before"] == 2


@pytest.mark.parametrize("mode", ["confirm", "report"])
def test_a_mode_that_only_looks_plans_no_wave(mode: str) -> None:
    planned = plan([tunnel("t1")], [], {"localhost": ["all"]}, options(mode=mode))
    assert planned["waves"] == []
    assert planned["planned"] == 0


def test_owners_by_id_name_and_glob() -> None:
    tunnels = [tunnel("t1", "Rome 1"), tunnel("t2", "Rome 2"), tunnel("t3", "Oslo")]
    assert owners_of(tunnels, {"a": ["Rome *"], "b": "t3", "c": []}) == {"t1": "a", "t2": "a", "t3": "b"}


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"a": ["nowhere"]}, ["of a", "nowhere"]),
        ({"a": ["t1"], "b": ["all"]}, ["both a and b", "t1"]),
        ({"a": []}, ["empty on every host"]),
        ({}, ["empty on every host"]),
    ],
)
def test_bad_claims_name_host_and_tunnel(claims: dict[str, list[str]], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        owners_of([tunnel("t1")], claims)
    for word in ["psk_rotation_tunnels", *words]:
        assert word in caught.value.message


def test_the_scope_of_a_batch_has_the_siblings_of_other_hosts() -> None:
    tunnels = [tunnel("t1"), tunnel("t2"), tunnel("t3")]
    claims = {"a": ["t1"], "b": ["t2"], "c": ["t3"]}
    assert scope(tunnels, claims, ["a"], {"site": ["t1", "t3"]}) == ["t1", "t3"]


def groups(group_by: Any, claims: dict[str, list[str]] | None = None) -> dict[str, str]:
    """The group of each tunnel of a small account."""
    tunnels = [tunnel("t1", "a-1", "192.0.2.1"), tunnel("t2", "a-2", "192.0.2.1"), tunnel("t3", "b-1")]
    claims = claims or {"localhost": ["all"]}
    planned = plan(tunnels, [], claims, options(group_by=group_by, hosts=frozenset(claims)))
    return {x["id"]: x["group"] for wave in planned["waves"] for x in wave}


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ("auto", {"t1": "192.0.2.1", "t2": "192.0.2.1", "t3": "t3"}),
        ("^(?P<group>a)-", {"t1": "a", "t2": "a", "t3": "t3"}),
        ("(?P<group>x?)", {"t1": "t1", "t2": "t2", "t3": "t3"}),
        ({"one": ["a-1", "t3"]}, {"t1": "one", "t2": "t2", "t3": "one"}),
        ({"one": ["*-1"]}, {"t1": "one", "t2": "t2", "t3": "one"}),
        ({"a-1": "one", "t3": "one"}, {"t1": "one", "t2": "t2", "t3": "one"}),
        ({}, {"t1": "t1", "t2": "t2", "t3": "t3"}),
    ],
)
def test_groups(group_by: Any, expected: dict[str, str]) -> None:
    assert groups(group_by) == expected


def test_the_group_of_a_device_is_the_device() -> None:
    assert groups("auto", {"a": ["t1", "t3"], "b": ["t2"]}) == {"t1": "a", "t2": "b", "t3": "a"}


@pytest.mark.parametrize("group_by", ["(", "a-", 7, None, {"one": ["nowhere"]}, {"one": 7}])
def test_bad_groups_name_their_variable(group_by: Any) -> None:
    with pytest.raises(InputError, match="psk_rotation_group_by"):
        groups(group_by)


def planned_waves(*waves: list[dict[str, Any]], limit: int = 10, failed_before: int = 0) -> dict[str, Any]:
    return {"waves": list(waves), "limit": limit, "failed_before": failed_before}


PAIR = planned_waves([entry("t1", "g"), entry("t2")], [entry("t3", "g"), entry("t4", "t2")])


@pytest.mark.parametrize("status", ["confirmed", "promoted", "planned"])
def test_a_tunnel_goes_when_its_sibling_is_done(status: str) -> None:
    assert ids([wave_of(PAIR, 1, {"t1": status, "t2": status}, {"localhost"})["tunnels"]]) == [["t3", "t4"]]


@pytest.mark.parametrize(
    "status", ["unapplied", "in_doubt", "applied", "rolled_back", "stuck", "waiting", "skipped", "unreached"]
)
def test_a_tunnel_waits_when_its_sibling_is_not_done(status: str) -> None:
    wave = wave_of(PAIR, 1, {"t1": status, "t2": "promoted"}, {"localhost"})
    assert ids([wave["tunnels"]]) == [["t4"]]
    assert [(x["id"], x["status"]) for x in wave["skipped"]] == [("t3", "skipped")]
    assert "T1" in wave["skipped"][0]["reason"]


def test_a_sibling_of_which_nothing_is_known_is_not_done() -> None:
    assert wave_of(PAIR, 1, {}, {"localhost"})["tunnels"] == []


def test_a_tunnel_of_an_unreachable_host_does_not_go() -> None:
    wave = wave_of(planned_waves([entry("t1", host="a"), entry("t2", host="b")]), 0, {}, {"b"})
    assert ids([wave["tunnels"]]) == [["t2"]]
    assert [(x["id"], x["status"]) for x in wave["skipped"]] == [("t1", "unreached")]


@pytest.mark.parametrize(
    ("limit", "before", "statuses", "stops"),
    [
        (0, 0, [], False),
        (0, 0, ["unapplied"], True),
        (1, 0, ["unapplied"], False),
        (1, 0, ["unapplied", "in_doubt"], True),
        (1, 1, ["applied"], True),
        (0, 1, [], True),
        (0, 0, ["promoted", "confirmed", "waiting", "skipped", "unchanged"], False),
    ],
)
def test_more_failures_than_allowed_stop_a_wave(limit: int, before: int, statuses: list[str], stops: bool) -> None:
    planned = planned_waves([], [entry("t9")], limit=limit, failed_before=before)
    found = {f"t{n}": status for n, status in enumerate(statuses)}
    wave = wave_of(planned, 1, found, {"localhost"})
    assert [x["status"] for x in wave["skipped"]] == (["stopped"] if stops else [])
    assert len(wave["tunnels"]) == (0 if stops else 1)


KEPT = {"id": "t1", "name": "T1", "host": "a", "rotation_id": "r1"}
APPLIED = {**KEPT, "recorded_at": 100.0}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "its device a did not report back"),
        ({"wave": "w0", "done": True, "finished": "101.5", "failed": {}}, "its device a did not report back"),
        ({"wave": "w1", "done": False, "failed": {}, "reason": "no power"}, "no power"),
        ({"wave": "w1", "done": False, "failed": {}}, "its device tasks failed"),
        ({"wave": "w1", "done": True, "finished": "101.5", "failed": {"t1": "no light"}}, "no light"),
    ],
)
def test_without_positive_evidence_a_tunnel_has_failed(said: dict[str, Any], reason: str) -> None:
    found = verdicts([APPLIED], {"a": said} if said else {}, "w1")
    assert found == {"done": [], "failed": [{**KEPT, "status": "failed", "reason": reason}]}


@pytest.mark.parametrize("verified", [True, False])
def test_with_positive_evidence_a_tunnel_is_done(verified: bool) -> None:
    said = {"wave": "w1", "done": True, "verified": verified, "finished": "101.5", "failed": {"t2": "another tunnel"}}
    found = verdicts([APPLIED], {"a": said}, "w1")
    done = {**KEPT, "seen": verified, "exposure_seconds": 1.5}
    assert found == {"done": [done], "failed": []}


def hooks(**fields: str) -> dict[str, str]:
    return {"reach": "hooks/reach.yml", "device": "", "verify": "", "confirmation": "none", **fields}


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        ({"a": hooks()}, ("none", False)),
        ({"a": hooks(), "b": hooks(device="/d.yml")}, ("none", True)),
        ({"a": hooks(verify="/v.yml", confirmation="verify")}, ("none", True)),
        ({"a": hooks(confirmation="manual")}, ("manual", False)),
        ({}, ("none", False)),
    ],
)
def test_the_hooks_of_a_batch_say_how_it_confirms_and_whether_it_has_devices(
    batch: dict[str, dict[str, str]], found: tuple[str, bool]
) -> None:
    assert check_hooks(batch, lambda path: True) == found


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (hooks(device="tasks/device.yml"), "psk_rotation_device_tasks of a.*'tasks/device.yml'"),
        (hooks(verify="/gone.yml"), "psk_rotation_verify_tasks of a.*'/gone.yml'"),
        (hooks(confirmation="verify"), "psk_rotation_confirmation of a.*psk_rotation_verify_tasks"),
    ],
)
def test_hooks_that_can_not_be_name_host_and_variable(own: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_hooks({"a": own}, lambda path: False)


def test_a_batch_can_not_confirm_by_hand_on_some_hosts_only() -> None:
    with pytest.raises(InputError, match="psk_rotation_confirmation"):
        check_hooks({"a": hooks(), "b": hooks(confirmation="manual")}, lambda path: True)
