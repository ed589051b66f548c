# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ipsec_tunnels in playbooks: a fleet's whole life, and what it must leave alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import Playbooks
from tests.harness.simulator import Simulator
from tests.integration.modules.conftest import Task, Tell, Told, may_fail, task, whole_tunnel

FIRST, SECOND = "FirstKeyOfTheUser0123456789", "SecondKeyOfTheUser0123456789"
ONE = whole_tunnel("Madrid 1", "madrid")
OTHER: dict[str, Any] = {
    "name": "Madrid 2",
    "cloudflare_endpoint": "203.0.113.2",
    "interface_address": "10.200.0.10/31",
}
CREATE = [{**ONE, "psk": FIRST}, {**OTHER, "psk": SECOND}]
UPDATE = [{"name": "Madrid 1", "description": "changed", "psk": SECOND}, {"name": "Madrid 2", "psk": FIRST}]
DELETE = [{"name": "Madrid 1", "state": "absent"}, {"name": "Madrid 2", "state": "absent"}]
ACTIONS = ("create", "update", "delete")


def fleet(name: str, tunnels: Any, check: bool = False, **options: Any) -> Task:
    return task(name, "ipsec_tunnels", check, tunnels=tunnels, **options)


@pytest.fixture(scope="module")
def life(tell: Tell) -> Told:
    """Create, update and delete two tunnels, each checked first and repeated afterwards, in diff mode."""
    tasks = [may_fail({"name": "missing", "magicwan.cloudflare.ipsec_tunnels": {}})]
    for action, tunnels in zip(ACTIONS, (CREATE, UPDATE, DELETE), strict=True):
        tasks += [
            fleet(f"check {action}", tunnels, True),
            fleet(action, tunnels),
            fleet(f"{action} again", tunnels),
        ]
    return tell(tasks, secrets=[FIRST, SECOND], diff=True, verbosity=3)


def test_the_list_is_required(life: Told) -> None:
    assert "missing required arguments: tunnels" in life.of("missing")["msg"]


def test_the_whole_life_succeeds(life: Told) -> None:
    life.result.ok()


def test_each_change_is_validated_by_the_check_run_and_written_once(life: Told) -> None:
    assert life.asked == [
        *("create?", "create?", "create", "create"),
        *("update?", "update"),
        *("delete?", "delete?", "delete", "delete"),
    ]
    assert life.writes == 5


def test_each_task_reads_the_account_once_and_again_after_a_creation(life: Told) -> None:
    assert sum(entry["operation"] == "list" for entry in life.journal) == 3 * len(ACTIONS) + 1


@pytest.mark.parametrize("action", ACTIONS)
def test_the_check_run_foretells_the_change(life: Told, action: str) -> None:
    checked, done = life.of(f"check {action}"), life.of(action)
    assert checked["changed"] is done["changed"] is True
    assert checked["msg"] == done["msg"]
    for key in ("name", "action", "changed", "failed", "purged"):
        assert [x[key] for x in checked["ipsec_tunnels"]] == [x[key] for x in done["ipsec_tunnels"]]
    assert checked["diff"] == done["diff"]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_second_run_changes_nothing(life: Told, action: str) -> None:
    again = life.of(f"{action} again")
    assert again["changed"] is False
    assert [x["action"] for x in again["ipsec_tunnels"]] == ["none", "none"]
    assert again["diff"] == []


@pytest.mark.parametrize("action", ACTIONS)
def test_a_check_run_and_a_second_run_have_the_keys_of_a_real_one(life: Told, action: str) -> None:
    done = life.of(action)
    for other in (life.of(f"check {action}"), life.of(f"{action} again")):
        assert set(other) == set(done)
        assert [set(x) for x in other["ipsec_tunnels"]] == [set(x) for x in done["ipsec_tunnels"]]


def test_the_created_tunnels_are_as_wanted(life: Told) -> None:
    made = life.of("create")["ipsec_tunnels"][0]["ipsec_tunnel"]
    for key, value in ONE.items():
        if isinstance(value, dict):
            assert {k: made[key][k] for k in value} == value
        else:
            assert made[key] == value


def test_return_routing_is_asked_for_and_refused_to_an_account_without_it(tell: Tell) -> None:
    told = tell([may_fail(fleet("return routing", [{**OTHER, "automatic_return_routing": True}]))])
    assert told.of("return routing")["ipsec_tunnels"][0]["failure"]["pointer"] == "/automatic_return_routing"


def test_only_the_tunnel_that_differs_is_updated(life: Told) -> None:
    assert [x["action"] for x in life.of("update")["ipsec_tunnels"]] == ["update", "none"]
    before, after = (life.of(name)["ipsec_tunnels"][0]["ipsec_tunnel"] for name in ("create", "update"))
    kept = set(after) - {"description", "modified_on", "remote_identities"}
    assert {k: after[k] for k in kept} == {k: before[k] for k in kept}


def test_each_change_has_a_diff_under_its_tunnels_name(life: Told) -> None:
    shown = life.of("create")["diff"]
    assert [x["before_header"] for x in shown] == ["ipsec_tunnel Madrid 1", "ipsec_tunnel Madrid 2"]
    assert all(x["before"] == {} and "psk" not in x["after"] for x in shown)
    (changed,) = life.of("update")["diff"]
    assert (changed["before"]["description"], changed["after"]["description"]) == ("made by a test", "changed")


def test_the_diff_is_printed(life: Told) -> None:
    assert "--- before: ipsec_tunnel Madrid 1" in life.result.stdout


def test_no_result_is_taken_for_that_of_a_loop(life: Told) -> None:
    assert not any("results" in x["result"] for x in life.result.tasks)


def test_tunnels_that_the_list_does_not_name_are_left_alone(life: Told) -> None:
    assert life.after == life.before


@pytest.fixture(scope="module")
def troubled(tell: Tell) -> Told:
    """The API refuses one of three changes; a purge of too many, then of few enough."""

    def tasks(tunnels: list[dict[str, Any]]) -> list[Task]:
        changes = [{"id": x["id"], "description": "changed"} for x in tunnels[:3]]
        clash = [*changes[:1], {"id": tunnels[1]["id"], "interface_address": "192.0.2.8/31"}, changes[2]]
        rest = [{"id": x["id"]} for x in tunnels[3:]]
        return [
            may_fail(fleet("partial", clash)),
            may_fail(fleet("check partial", [{**x, "description": "again"} for x in clash], True)),
            may_fail(fleet("purge too many", rest, purge=True, purge_max=2)),
            fleet("check purge", rest, True, purge=True, purge_max=3),
            fleet("purge", rest, purge=True, purge_max=3),
            fleet("purge again", rest, purge=True, purge_max=3),
        ]

    return tell(tasks, verbosity=3)


@pytest.mark.parametrize("name", ["partial", "check partial"])
def test_a_partial_failure_has_all_results(troubled: Told, name: str) -> None:
    found = troubled.of(name)
    assert found["_status"] == "ignored"
    assert [x["failed"] for x in found["ipsec_tunnels"]] == [False, True, False]
    assert found["changed"] is True
    assert found["ipsec_tunnels"][1]["failure"]["pointer"] == found["failure"]["pointer"] == "/interface_address"
    assert re.fullmatch(
        r"3 tunnels: 2 update \(.*: description; .*: description\), 1 failed \(tunnels\[1\] .*HTTP 400, code 1022.*\)",
        found["msg"],
    )


def test_a_purge_of_too_many_changes_nothing_and_names_them(troubled: Told) -> None:
    found = troubled.of("purge too many")
    assert "purge would delete 3 tunnels" in found["msg"]
    assert "ipsec_tunnels" not in found
    assert troubled.asked == [*["update"] * 3, *["update?"] * 3, *["delete?"] * 3, *["delete"] * 3]


def test_a_purge_deletes_what_the_list_does_not_name(troubled: Told) -> None:
    purged = [x["id"] for x in troubled.of("purge")["ipsec_tunnels"] if x["purged"]]
    assert purged == list(troubled.before)[:3]
    assert set(troubled.after) == set(troubled.before) - set(purged)
    assert troubled.of("purge again")["changed"] is False


@pytest.mark.fleet(tunnels=300, seed=7)
def test_300_tunnels_with_nothing_to_change_cost_one_request(
    simulator: Simulator, playbooks: Playbooks, core: str | None
) -> None:
    given = "{{ read.ipsec_tunnels | map('magicwan.cloudflare.ipsec_tunnel_options') }}"
    tasks = [
        {**task("read", "ipsec_tunnel_info"), "register": "read"},
        fleet("keep", given, purge=True, purge_max=0),
    ]
    play = [{"name": "Keep a fleet", "hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    kept = playbooks.run(play, core=core).ok().result("keep")
    assert [entry["operation"] for entry in simulator.journal()] == ["list", "list"]
    assert (kept["changed"], len(kept["ipsec_tunnels"])) == (False, 300)


@pytest.mark.parametrize("module", ["ipsec_tunnel", "ipsec_tunnels"])
def test_a_psk_is_in_no_file_when_the_run_is_killed_while_the_module_works(
    simulator: Simulator, make_playbooks: Callable[..., Playbooks], tmp_path: Path, module: str
) -> None:
    simulator.arm({"route": "create", "hang": True})
    item = {**ONE, "psk": "{{ lookup('ansible.builtin.env', 'PSK') }}"}
    tasks = [task("create", module, **(item if module == "ipsec_tunnel" else {"tunnels": [item]}))]
    play = [{"name": "Create", "hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    running = make_playbooks({**simulator.env(), "PSK": FIRST}).start(play)
    seen: list[dict[str, Any]] = []
    while not any(entry["event"] == "held" for entry in seen):
        seen += simulator.journal(seen[-1]["n"] if seen else None, wait=60)
    running.kill_all()
    files = [x for x in tmp_path.rglob("*") if x.is_file()]
    assert files
    assert [x for x in files if FIRST.encode() in x.read_bytes()] == []
