# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ipsec_tunnel_info in playbooks."""

from __future__ import annotations

import pytest

from tests.integration.modules.conftest import Tell, Told, may_fail, task


@pytest.fixture(scope="module")
def read(tell: Tell) -> Told:
    """Every way to choose tunnels."""
    return tell(
        lambda tunnels: [
            task("all", "ipsec_tunnel_info"),
            task("all in check mode", "ipsec_tunnel_info", True),
            task("by name", "ipsec_tunnel_info", tunnels=[tunnels[3]["name"], tunnels[0]["name"]]),
            task("by id", "ipsec_tunnel_info", tunnels=[tunnels[5]["id"]]),
            task("by glob", "ipsec_tunnel_info", tunnels=["BR0*"]),
            task("none", "ipsec_tunnel_info", tunnels=[]),
            may_fail(task("unknown", "ipsec_tunnel_info", tunnels=[tunnels[0]["name"], "no such tunnel"])),
        ],
        verbosity=3,
    )


def test_all_tunnels_come_in_the_accounts_order_with_one_request_each_task(read: Told) -> None:
    read.result.ok()
    assert [x["id"] for x in read.of("all")["ipsec_tunnels"]] == list(read.after)
    assert [entry["operation"] for entry in read.journal] == ["list"] * 7


def test_check_mode_reads_the_same(read: Told) -> None:
    assert read.of("all in check mode")["ipsec_tunnels"] == read.of("all")["ipsec_tunnels"]


def test_every_tunnel_has_the_same_keys_and_no_psk(read: Told) -> None:
    (keys,) = {frozenset(x) for x in read.of("all")["ipsec_tunnels"]}
    assert "psk_metadata" in keys and "psk" not in keys


@pytest.mark.parametrize(("task_name", "numbers"), [("by name", [0, 3]), ("by id", [5]), ("none", [])])
def test_names_and_ids_choose(read: Told, task_name: str, numbers: list[int]) -> None:
    ids = list(read.after)
    assert [x["id"] for x in read.of(task_name)["ipsec_tunnels"]] == [ids[number] for number in numbers]


def test_globs_choose(read: Told) -> None:
    names = {x["name"] for x in read.after.values() if x["name"].startswith("BR0")}
    assert names
    assert {x["name"] for x in read.of("by glob")["ipsec_tunnels"]} == names


def test_an_unknown_tunnel_fails_by_its_name(read: Told) -> None:
    assert read.of("unknown")["_status"] == "ignored"
    assert "'no such tunnel'" in read.of("unknown")["msg"]


def test_reading_changes_nothing(read: Told) -> None:
    assert read.result.changed == 0
    assert read.before == read.after


@pytest.fixture(scope="module")
def named_all(tell: Tell) -> Told:
    """Somebody has named a tunnel like the word for all of them."""
    return tell(
        lambda tunnels: [
            task("rename", "ipsec_tunnel", id=tunnels[2]["id"], name="all"),
            task("word", "ipsec_tunnel_info", tunnels=["all"]),
            task("id", "ipsec_tunnel_info", tunnels=[tunnels[2]["id"]]),
            task("health", "ipsec_tunnel_health_info", tunnels=["all"], data_centers=False),
        ]
    )


def test_the_word_for_all_tunnels_takes_all_though_one_is_named_so(named_all: Told) -> None:
    named_all.result.ok()
    assert len(named_all.of("word")["ipsec_tunnels"]) == len(named_all.of("health")["tunnel_health"]) == 24
    assert [x["name"] for x in named_all.of("id")["ipsec_tunnels"]] == ["all"]


@pytest.mark.parametrize("name", ["word", "health"])
def test_that_the_name_was_not_taken_is_said(named_all: Told, name: str) -> None:
    (warning,) = named_all.of(name)["warnings"]
    assert "select that tunnel by its id" in str(warning)
