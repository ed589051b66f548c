# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ipsec_tunnel_health_info in playbooks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.harness.simulator import Simulator
from tests.integration.modules.conftest import Tell, Told, arm, may_fail, task

MODULE = "ipsec_tunnel_health_info"


def chosen(tunnels: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The healthy, the degraded, the down and the unchecked tunnel."""
    return [x for x in tunnels if x["health_check"]["enabled"]][:4]


@pytest.fixture(scope="module")
def four(read: Told) -> list[dict[str, Any]]:
    """What is said of them."""
    names = [x["name"] for x in chosen(read.before.values())]
    return [x for x in read.of("all")["tunnel_health"] if x["name"] in names]


@pytest.fixture(scope="module")
def read(tell: Tell, simulator_process: Simulator) -> Told:
    """A fleet with one tunnel degraded in one data centre, one down in all, and one that is not checked."""

    def tasks(tunnels: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for tunnel in tunnels:
            simulator_process.patch_tunnel(tunnel["id"], health="healthy")
        simulator_process.patch_tunnel(chosen(tunnels)[1]["id"], health={"FRA": "degraded"})
        simulator_process.patch_tunnel(chosen(tunnels)[2]["id"], health="down")
        unchecked = {key: chosen(tunnels)[3][key] for key in ("name", "cloudflare_endpoint", "interface_address")}
        return [
            task("disable", "ipsec_tunnel", **unchecked, health_check={"enabled": False}),
            task("all", MODULE),
            task("all in check mode", MODULE, True),
            task("overall", MODULE, data_centers=False, window="1h"),
            task("one", MODULE, tunnels=[chosen(tunnels)[0]["name"]]),
            task("none", MODULE, tunnels=[]),
            may_fail(task("unknown", MODULE, tunnels=["no such tunnel"])),
            may_fail(task("too short", MODULE, window="59s")),
            may_fail(task("too long", MODULE, window="8d")),
            may_fail(task("no age", MODULE, window="soon")),
            arm(simulator_process, {"route": "graphql", "success_false": True, "message": "not authorized"}),
            may_fail(task("refused", MODULE)),
            arm(simulator_process, {"route": "graphql", "status": 502, "html": True}),
            task("repeated", MODULE, retries=2),
        ]

    return tell(tasks, verbosity=3)


def test_every_tunnel_has_the_state_of_its_worst_data_centre(read: Told, four: list[dict[str, Any]]) -> None:
    read.result.ok()
    found = read.of("all")
    assert [x["name"] for x in found["tunnel_health"]] == [x["name"] for x in read.after.values()]
    assert [x["state"] for x in four] == ["healthy", "degraded", "down", "unknown"]
    assert found["worst"] == "down"


def test_the_states_are_counted_and_an_unchecked_tunnel_is_not_taken_for_down(read: Told) -> None:
    unchecked = sum(not x["health_check"]["enabled"] for x in read.after.values())
    states = {"healthy": len(read.after) - 2 - unchecked, "degraded": 1, "unknown": unchecked, "down": 1}
    assert read.of("all")["states"] == states


def test_the_data_centres_are_told_worst_first(four: list[dict[str, Any]]) -> None:
    colos = four[1]["colos"]
    assert (colos[0]["name"], colos[0]["state"], colos[0]["city"]) == ("FRA", "degraded", "Frankfurt")
    assert {x["state"] for x in colos[1:]} == {"healthy"}


def test_the_message_names_what_is_not_healthy(read: Told) -> None:
    _healthy, degraded, down, unchecked = (x["name"] for x in chosen(read.before.values()))
    dummy, names = read.of("all")["msg"].split(": ")
    assert names.startswith(f"{down} down, ") and names.endswith(f", {degraded} degraded")
    assert f"{unchecked} unknown" in names


def test_check_mode_reads_the_same(read: Told) -> None:
    assert read.of("all in check mode")["states"] == read.of("all")["states"]


def test_without_data_centers_only_the_sum_is_returned(read: Told) -> None:
    found = read.of("overall")
    assert found["states"] == read.of("all")["states"]
    assert not any("colos" in x for x in found["tunnel_health"])
    assert found["since"] < read.of("all")["since"]


def test_tunnels_choose(read: Told) -> None:
    assert [x["name"] for x in read.of("one")["tunnel_health"]] == [chosen(read.before.values())[0]["name"]]
    assert (read.of("none")["tunnel_health"], read.of("none")["worst"]) == ([], "unknown")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("unknown", "'no such tunnel'"),
        ("too short", "window must be between 60 seconds and 7 days"),
        ("too long", "window must be between 60 seconds and 7 days"),
        ("no age", "window must be a number of seconds"),
        ("refused", "the permission Account Analytics Read"),
    ],
)
def test_a_failure_says_what_is_wrong(read: Told, name: str, says: str) -> None:
    assert read.of(name)["_status"] == "ignored"
    assert says in read.of(name)["msg"]


def test_a_query_that_failed_at_the_server_is_repeated(read: Told) -> None:
    assert read.of("repeated")["states"] == read.of("all")["states"]


def test_reading_changes_nothing(read: Told) -> None:
    assert read.result.changed == 1
    assert read.writes == 1
