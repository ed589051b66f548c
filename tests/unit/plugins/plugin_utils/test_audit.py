# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the audit says of tunnels, by policy."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import parse_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _audit
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Key, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._shown import shown

NOW = parse_time("2026-06-01T00:00:00Z") or 0
POLICY = _audit.policy("90d", "14d", None)


def tunnel(name: str = "a", set_on: str | None = "2026-05-01T00:00:00Z") -> dict[str, Any]:
    return {
        "id": f"id-{name}",
        "name": name,
        "customer_endpoint": "198.51.100.1",
        "psk_metadata": {"last_generated_on": set_on} if set_on else {},
    }


def record(name: str = "a", set_on: str | None = "2026-05-01T00:00:00Z", **changes: Any) -> dict[str, Any]:
    """A view of the escrow: a rotation that ended well, unless the changes say otherwise."""
    current = Key(
        "never shown",
        applied_on=set_on,
        made_on=set_on,
        rotation_id="r1",
        confirmed=True,
        confirmed_on="2026-05-01T00:00:10Z",
    )
    return {"id": f"id-{name}", **shown(Record(name=name, current=current)), "generation": 3, **changes}


def one(tunnels: dict[str, Any], records: list[dict[str, Any]], policy: _audit.Policy = POLICY) -> dict[str, Any]:
    """What is said of a single tunnel."""
    (line,) = _audit.audit([tunnels], records, policy, NOW)["tunnels"]
    return line


def test_a_young_confirmed_psk_of_ours_is_fine() -> None:
    line = one(tunnel(), [record()])
    assert (line["status"], line["findings"], line["changed_by"], line["confirmed"]) == ("ok", [], "rotation", True)
    assert (line["age_days"], line["due_on"]) == (31.0, "2026-07-30T00:00:00Z")
    assert (line["rotation_id"], line["last_rotation_on"], line["generation"]) == ("r1", "2026-05-01T00:00:00Z", 3)


@pytest.mark.parametrize(
    ("set_on", "status"),
    [
        ("2026-03-03T00:00:00Z", "due soon"),
        ("2026-03-17T00:00:00Z", "due soon"),
        ("2026-03-18T00:00:01Z", "ok"),
        ("2026-03-02T23:59:59Z", "broken"),
    ],
)
def test_age_decides_between_ok_due_soon_and_overdue(set_on: str, status: str) -> None:
    assert one(tunnel(set_on=set_on), [record(set_on=set_on)])["status"] == status


def test_a_psk_set_by_somebody_else_is_foreign_and_its_confirmation_counts_no_more() -> None:
    line = one(tunnel(set_on="2026-05-20T00:00:00Z"), [record()])
    assert (line["findings"], line["changed_by"], line["confirmed"]) == (["foreign"], "somebody else", None)
    assert line["set_on"] == "2026-05-20T00:00:00Z"


def test_a_psk_that_was_rolled_back_to_is_as_old_as_when_it_was_made() -> None:
    rolled_back = record(expected_on="2026-05-20T00:00:00Z", made_on="2026-01-01T00:00:00Z")
    line = one(tunnel(set_on="2026-05-20T00:00:00Z"), [rolled_back])
    assert (line["set_on"], line["findings"]) == ("2026-01-01T00:00:00Z", ["overdue"])


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"state": "stuck", "expected_on": None}, "stuck"),
        ({"state": "prepared", "expected_on": None}, "unfinished"),
        ({"state": "in_doubt", "expected_on": None}, "unfinished"),
        ({"state": "applied", "pending_applied_on": "2026-05-01T00:00:00Z"}, "unfinished"),
        ({"expected_on": "2026-04-30T23:30:00Z", "expected_at_least": True}, "unfinished"),
        ({"has_current": False}, "unknown"),
    ],
)
def test_what_the_escrow_tells_is_found(changes: dict[str, Any], finding: str) -> None:
    assert one(tunnel(), [record(**changes)])["findings"] == [finding]


def test_a_tunnel_that_the_escrow_does_not_know_is_found() -> None:
    line = one(tunnel(), [])
    assert (line["findings"], line["changed_by"], line["state"]) == (["unknown"], None, None)


def test_a_tunnel_without_a_psk_is_found_and_has_no_age() -> None:
    line = one(tunnel(set_on=None), [])
    assert (line["findings"], line["age_days"], line["due_on"]) == (["no_psk"], None, None)


def test_what_the_api_shows_no_time_of_is_as_old_as_the_escrow_says() -> None:
    unseen = {**tunnel(), "psk_metadata": None}
    del unseen["psk_metadata"]
    line = one(unseen, [record(set_on="2026-01-01T00:00:00Z")])
    assert (line["findings"], line["set_on"]) == (["overdue"], "2026-01-01T00:00:00Z")


def test_what_neither_shows_a_time_of_is_unknown_and_not_without_a_psk() -> None:
    unseen = tunnel()
    del unseen["psk_metadata"]
    assert one(unseen, [])["findings"] == ["unknown"]


def test_a_record_that_was_never_confirmed_is_found_as_a_store_gives_it_back() -> None:
    current = Key("never shown", applied_on="2026-05-01T00:00:00Z", confirmed=False)
    kept = Record.from_dict(Record(name="a", current=current).to_dict())
    strict = _audit.policy("90d", "14d", ["unconfirmed"])
    assert one(tunnel(), [{"id": "id-a", **shown(kept)}], strict)["breaks"] == ["unconfirmed"]


def test_unconfirmed_breaks_the_policy_only_if_it_says_so() -> None:
    unconfirmed = [record(confirmed=False, confirmed_on=None)]
    assert one(tunnel(), unconfirmed)["status"] == "ok"
    strict = _audit.policy("90d", "14d", ["unconfirmed"])
    assert one(tunnel(), unconfirmed, strict)["breaks"] == ["unconfirmed"]


def test_the_report_counts_and_its_message_names_what_is_broken() -> None:
    report = _audit.audit([tunnel("a"), tunnel("b", None), tunnel("c")], [record("a")], POLICY, NOW)
    assert report["broken"]
    assert report["message"] == ("2 of 3 tunnels break the policy: b: has no PSK; c: the escrow does not know its PSK")
    assert (report["counts"]["tunnels"], report["counts"]["broken"], report["counts"]["confirmed"]) == (3, 2, 1)
    assert report["counts"]["findings"]["no_psk"] == 1


def test_the_message_names_ten_tunnels_at_most() -> None:
    report = _audit.audit([tunnel(f"t{n}", None) for n in range(12)], [], POLICY, NOW)
    assert report["message"].endswith("t9: has no PSK; and 2 more")


def test_a_kept_policy_says_so() -> None:
    report = _audit.audit([tunnel()], [record()], POLICY, NOW)
    assert (report["broken"], report["message"]) == (False, "all 1 tunnels keep the policy")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("", "14d", None), "max_age must be set"),
        (("soon", "14d", None), "max_age must be"),
        (("90d", "soon", None), "due_soon must be"),
        (("90d", "14d", ["late"]), "fail_on holds 'late'"),
    ],
)
def test_a_policy_that_is_none_is_refused(arguments: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        _audit.policy(*arguments)


def test_every_aged_tunnel_is_in_one_bin_and_the_axis_reaches_past_the_limit() -> None:
    days = ["2026-05-31T00:00:00Z", "2026-03-10T00:00:00Z", "2025-06-01T00:00:00Z"]
    tunnels = [*(tunnel(f"t{n}", day) for n, day in enumerate(days)), tunnel("none", None)]
    ages = _audit.audit(tunnels, [record(f"t{n}", day) for n, day in enumerate(days)], POLICY, NOW)["ages"]
    sums = [sum(x[kind] for x in ages["bins"]) for kind in ("ok", "soon", "broken")]
    assert sums == [1, 1, 1]
    assert (ages["days"], ages["top"]) == (365.0, 1)
    assert ages["limit_percent"] == pytest.approx(90 / 365 * 100, abs=0.01)


def test_an_account_without_tunnels_has_an_empty_report() -> None:
    report = _audit.audit([], [], POLICY, NOW)
    assert (report["broken"], report["rotation"], report["ages"]["top"]) == (False, None, 0)


def test_the_timeline_shows_the_tunnels_of_the_last_rotation_in_time() -> None:
    records = [
        record("a", "2026-05-01T00:00:05Z"),
        record("b", "2026-05-01T00:00:00Z"),
        record("old", "2026-04-01T00:00:00Z", rotation_id="r0"),
    ]
    found = _audit.audit([tunnel("a"), tunnel("b"), tunnel("old")], records, POLICY, NOW)["rotation"]
    assert (found["rotation_id"], found["began"], found["seconds"]) == ("r1", "2026-05-01T00:00:00Z", 10.0)
    assert [(x["name"], x["offset"], x["exposure"]) for x in found["tunnels"]] == [("b", 0.0, 10.0), ("a", 5.0, 5.0)]


def test_what_the_role_has_measured_comes_before_the_time_of_confirmation() -> None:
    found = _audit.audit([tunnel()], [record(exposure_seconds=1.25, wave=2)], POLICY, NOW)["rotation"]
    assert (found["tunnels"][0]["exposure"], found["tunnels"][0]["wave"], found["waves"]) == (1.25, 2, 1)


def test_a_tunnel_that_waits_for_its_device_has_no_end() -> None:
    waiting = record(state="applied", pending_applied_on="2026-05-02T00:00:00Z", rotation_id="r2")
    found = _audit.audit([tunnel()], [waiting], POLICY, NOW)["rotation"]
    assert (found["rotation_id"], found["tunnels"][0]["exposure"], found["tunnels"][0]["state"]) == (
        "r2",
        None,
        "applied",
    )


def test_no_part_of_the_report_holds_a_psk() -> None:
    assert "never shown" not in repr(_audit.audit([tunnel()], [record()], POLICY, NOW))


def test_the_csv_has_a_line_a_tunnel_and_reads_back() -> None:
    report = _audit.audit([tunnel('a,"b"'), tunnel("c", None)], [record('a,"b"')], POLICY, NOW)
    lines = list(csv.DictReader(_audit.to_csv(report).splitlines()))
    assert [x["name"] for x in lines] == ['a,"b"', "c"]
    assert (lines[0]["confirmed"], lines[0]["age_days"], lines[1]["findings"]) == ("true", "31.0", "no_psk")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@cmd", "\tx"])
def test_a_name_that_a_spreadsheet_would_run_is_quoted(name: str) -> None:
    report = _audit.audit([tunnel(name)], [], POLICY, NOW)
    (line,) = csv.DictReader(_audit.to_csv(report).splitlines())
    assert line["name"] == f"'{name}"


def test_a_time_of_the_future_is_no_age_below_zero() -> None:
    ahead = "2026-06-01T00:00:09Z"
    assert one(tunnel(set_on=ahead), [record(set_on=ahead)])["age_days"] == 0


def test_a_tunnel_is_at_the_site_of_its_device_or_else_with_what_backs_it_up() -> None:
    records = [record("a", host="router1", group="group1"), record("b", host="router2", group="group2")]
    report = _audit.audit([tunnel("a"), tunnel("b"), tunnel("c")], records, POLICY, NOW, sites={"router1": "Lyon"})
    assert [(x["device"], x["site"]) for x in report["tunnels"]] == [
        ("router1", "Lyon"),
        ("router2", "group2"),
        (None, None),
    ]


def test_the_report_names_the_account() -> None:
    report = _audit.audit([tunnel()], [record()], POLICY, NOW, "abc")
    assert report["account"] == "abc"
    assert [x["account"] for x in csv.DictReader(_audit.to_csv(report).splitlines())] == ["abc"]


def test_next_due_is_what_keeps_the_policy_the_soonest_first() -> None:
    days = {"a": "2026-05-03", "b": "2026-05-01", "c": "2026-01-01", "d": "2026-05-02"}
    tunnels = [tunnel(x, f"{on}T00:00:00Z") for x, on in days.items()]
    records = [record(x, f"{on}T00:00:00Z") for x, on in days.items()]
    found = _audit.audit(tunnels, records, POLICY, NOW)["next_due"]
    assert [(x["name"], x["due_on"][:10]) for x in found] == [
        ("b", "2026-07-30"),
        ("d", "2026-07-31"),
        ("a", "2026-08-01"),
    ]


def test_next_due_has_ten_tunnels_at_most() -> None:
    names = [f"t{n}" for n in range(12)]
    assert len(_audit.audit([tunnel(x) for x in names], [record(x) for x in names], POLICY, NOW)["next_due"]) == 10
