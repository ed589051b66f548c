# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How tunnels are judged by the reports of data centres."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _health


def tunnel(name: str = "a", enabled: bool | None = True) -> dict[str, Any]:
    check = {} if enabled is None else {"health_check": {"enabled": enabled}}
    return {"id": f"id-{name}", "name": name, **check}


def group(name: str, colo: str, mean: float, count: int = 30) -> dict[str, Any]:
    dimensions = {"tunnelName": name, "edgeColoName": colo, "edgeColoCity": colo.title(), "edgeColoCountry": "XX"}
    return {"count": count, "avg": {"tunnelState": mean}, "dimensions": dimensions}


@pytest.mark.parametrize(
    ("mean", "state"),
    [
        (1, "healthy"),
        (0.81, "healthy"),
        (0.8, "degraded"),
        (0.5, "degraded"),
        (0.4, "degraded"),
        (0.39, "down"),
        (0, "down"),
    ],
)
def test_the_mean_of_the_reports_gives_the_state(mean: float, state: str) -> None:
    assert _health.state_of(mean) == state


@pytest.mark.parametrize("states", list(permutations(_health.STATES)))
def test_down_is_worse_than_unknown_than_degraded_than_healthy(states: tuple[str, ...]) -> None:
    assert _health.worst(states) == "down"
    assert _health.worst(x for x in states if x != "down") == "unknown"
    assert _health.worst(x for x in states if x in ("healthy", "degraded")) == "degraded"


def test_of_no_states_the_worst_is_not_known() -> None:
    assert _health.worst([]) == "unknown"


def test_a_tunnel_is_as_healthy_as_its_worst_data_centre() -> None:
    (found,) = _health.judge([tunnel()], [group("a", "FRA", 1), group("a", "AMS", 0.5), group("a", "IAD", 1)])
    assert (found["state"], found["reason"]) == ("degraded", "degraded in 1 of 3 data centres")
    assert [x["name"] for x in found["colos"]] == ["AMS", "FRA", "IAD"]


def test_the_mean_weighs_each_data_centre_by_its_checks() -> None:
    (found,) = _health.judge([tunnel()], [group("a", "FRA", 1, 30), group("a", "AMS", 0, 10)])
    assert (found["mean"], found["checks"]) == (0.75, 40)


def test_tunnels_keep_their_order_and_get_their_own_reports() -> None:
    found = _health.judge([tunnel("b"), tunnel("a")], [group("a", "FRA", 0), group("b", "FRA", 1)])
    assert [(x["id"], x["state"]) for x in found] == [("id-b", "healthy"), ("id-a", "down")]


def test_without_a_report_nothing_is_known() -> None:
    (found,) = _health.judge([tunnel()], [])
    assert (found["state"], found["mean"], found["checks"], found["colos"]) == ("unknown", None, 0, [])
    assert found["reason"] == "no data centre has reported in the window"


def test_a_disabled_check_which_cloudflare_shows_as_down_tells_nothing() -> None:
    (found,) = _health.judge([tunnel(enabled=False)], [group("a", "FRA", 0)])
    assert (found["state"], found["reason"]) == ("unknown", "its health check is disabled")


def test_a_tunnel_that_does_not_say_whether_it_is_checked_is_checked() -> None:
    (found,) = _health.judge([tunnel(enabled=None)], [group("a", "FRA", 1)])
    assert found["state"] == "healthy"


def test_a_gate_accepts_what_it_was_told_to() -> None:
    found = {"state": "degraded"}
    assert _health.accepted(found, ["healthy", "degraded"])
    assert not _health.accepted(found, ["healthy"])


def test_the_line_counts_all_and_names_the_bad_ones_worst_first() -> None:
    found = [{"name": n, "state": s} for n, s in (("a", "healthy"), ("b", "degraded"), ("c", "down"))]
    assert _health.told(found) == "1 healthy, 1 degraded, 1 down: c down, b degraded"


def test_the_line_names_no_more_than_it_should() -> None:
    found = [{"name": f"t{n}", "state": "down"} for n in range(4)]
    assert _health.told(found, shown=2) == "4 down: t0 down, t1 down and 2 more"


def test_the_line_of_healthy_tunnels_and_of_none_is_short() -> None:
    assert _health.told([{"name": "a", "state": "healthy"}]) == "1 healthy"
    assert _health.told([]) == "no tunnels"
