# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan as people read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, format_age
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _adoption, _plan
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._report import (
    PlanReport,
    merged,
    plan_lines,
    report_of,
    short,
)

from tests.unit.plugins.plugin_utils.accounts import tunnel
from tests.unit.plugins.plugin_utils.records import LONG_AGO, ME, START, known, trace

TUNNELS = [tunnel(f"t{n}", name) for n, name in enumerate(("berlin-1", "berlin-2", "lyon-1", "oslo-1"), 1)]
OWNERS = {"t1": "router", "t2": "router", "t3": "firewall"}
ADOPTED = _adoption.adopt(None, _adoption.Candidate("lyon-1", trace(LONG_AGO), "given"), ME).record
RECORDS = {"t1": known(), "t3": ADOPTED}


def report(records: dict[str, Record] | None = None, **fields: Any) -> PlanReport:
    given: dict[str, Any] = {
        "hosts": frozenset(["router", "firewall"]),
        "devices": frozenset(["router"]),
        "max_age": 3600,
        "now": START * NANO,
        "unknown_psk": "rotate",
        "first_wave": 2,
    }
    options = _plan.Options(**{**given, **fields})
    account = _plan.Account(TUNNELS, RECORDS if records is None else records, OWNERS)
    return report_of(_plan.plan(*account, options, {}), account, options)


def test_each_tunnel_of_the_play_has_a_row() -> None:
    rows = {x.tunnel: (x.device, x.age, x.wave, x.status) for x in report().tunnels}
    assert rows == {
        "berlin-1": ("router", -LONG_AGO * 60, 3, "due"),
        "berlin-2": ("router", -LONG_AGO * 60, 4, "due"),
        "lyon-1": ("firewall", -LONG_AGO * 60, 3, "due"),
    }


def test_what_a_plan_cannot_promise_is_told() -> None:
    found = report()
    assert found.unclaimed == ["oslo-1"]
    assert found.no_way_back == ["berlin-2"]
    assert found.unproven_way_back == ["lyon-1"]
    assert found.unverified == ["router"]
    assert len(found.without_device) == 1


def test_with_verify_tasks_everything_is_proven() -> None:
    assert report(verifying=frozenset(["router"])).unverified == []


def test_what_is_not_due_can_be_rolled_back_no_less() -> None:
    found = report(max_age=10**9, unknown_psk="")
    assert (found.no_way_back, found.unproven_way_back, found.unverified, found.without_device) == ([], [], [], [])


def test_the_lines_have_a_table_sums_by_reason_and_the_rest() -> None:
    lines = plan_lines(report())
    assert lines[0].split() == ["tunnel", "device", "group", "age", "wave", "reason"]
    assert [x.split()[0] for x in lines[1:4]] == ["berlin-1", "lyon-1", "berlin-2"]
    assert lines[1].endswith("due: the PSK is older than 1h") and " 16h " in lines[1]
    assert "2 due: the PSK is older than 1h" in lines
    assert "note: 1 tunnels are no host's in this play, and are not looked at: oslo-1" in lines


def test_a_plan_of_nothing_has_no_lines() -> None:
    assert plan_lines(PlanReport([])) == []


def test_no_psk_is_in_a_report() -> None:
    text = json.dumps(report().to_dict())
    assert "given" not in text and '"old"' not in text


def test_the_plans_of_the_batches_of_a_run_are_one() -> None:
    both = merged([report().to_dict(), report(first_wave=9).to_dict()])
    assert len(both["tunnels"]) == 6
    assert both["unclaimed"] == ["oslo-1"]
    assert both["sums"]["due: the PSK is older than 1h"] == 4


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("the PSK of 2026-06-14T05:20:00.123Z is older than 90d", "the PSK is older than 90d"),
        (
            "'berlin-1', which backs it up, is stuck and must be finished first",
            "a tunnel that backs it up is stuck and must be finished first",
        ),
        ("rotation is forced", "rotation is forced"),
    ],
)
def test_reasons_that_differ_only_in_times_and_names_are_one(reason: str, told: str) -> None:
    assert short(reason) == told


@pytest.mark.parametrize(
    ("seconds", "text", "rough"), [(7776000, "90d", "90d"), (5400, "90m", "1h"), (61, "61s", "1m"), (0, "0s", "0s")]
)
def test_an_age_is_told_as_it_would_be_written(seconds: int, text: str, rough: str) -> None:
    assert (format_age(seconds), format_age(seconds, rough=True)) == (text, rough)
