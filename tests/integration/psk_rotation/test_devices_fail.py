# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What devices may do to a rotation: they fail, or report tunnels; what is rolled back, and the run that heals it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.psk_rotation.stage import DEVICE_HOOK, Run, Stage

pytestmark = pytest.mark.fleet(tunnels=4)
BROKEN = {"broken_devices": ["device1"]}
FORCE = {"psk_rotation_force": True}


def assert_healed(stage: Stage, variables: dict[str, Any] | None = None) -> Run:
    """A plain run brings everything in order: Cloudflare, escrow and devices agree."""
    run = stage.rotate_devices(variables, then=()).ok()
    assert stage.current() == stage.psks()
    assert {x["state"] for x in stage.escrow().values()} == {"idle"}
    for device in ("device0", "device1"):
        assert stage.device_psks(device) == {i: run.after[i]["psk"] for i in stage.own(device)}
    return run


def test_a_first_psk_that_its_device_did_not_take_stays_applied_and_is_named(stage: Stage) -> None:
    run = stage.rotate_devices(BROKEN, then=()).failed()
    first, second = stage.own("device1")
    assert run.statuses("device1") == {first: "applied", second: "skipped"}
    assert run.before[first]["name"] in run.failures[-1]
    assert "no earlier PSK is known" in run.failures[-1]
    assert stage.escrow()[first]["pending"]["psk"] == run.after[first]["psk"]


def test_the_second_tunnel_of_a_broken_device_keeps_its_psk(stage: Stage) -> None:
    run = stage.rotate_devices(BROKEN, then=()).failed()
    assert stage.own("device1")[1] not in run.rotated


def test_the_other_devices_go_on(stage: Stage) -> None:
    run = stage.rotate_devices(BROKEN, then=()).failed()
    assert stage.device_psks("device0") == {i: run.after[i]["psk"] for i in stage.own("device0")}
    assert set(run.statuses("device0").values()) == {"delivered"}


def test_the_next_run_finishes_with_the_same_psk(stage: Stage) -> None:
    first, second = stage.own("device1")
    broken = stage.rotate_devices(BROKEN, then=()).failed()
    healed = assert_healed(stage)
    assert healed.after[first]["psk"] == broken.after[first]["psk"]
    assert healed.rotated == {second}


def test_a_device_that_fails_gets_its_earlier_psk_back(stage: Stage) -> None:
    stage.rotate_devices(then=()).ok()
    run = stage.rotate_devices({**FORCE, **BROKEN}, then=()).failed()
    first, second = stage.own("device1")
    assert not {first, second} & run.rotated
    assert run.statuses("device1") == {first: "rolled_back", second: "skipped"}
    last = stage.calls("device1")[-1]["wave"]
    assert [(x["id"], x["psk"], x["status"]) for x in last] == [(first, run.before[first]["psk"], "rolling_back")]


def test_the_psks_of_the_other_devices_are_not_rolled_back(stage: Stage) -> None:
    stage.rotate_devices(then=()).ok()
    run = stage.rotate_devices({**FORCE, **BROKEN}, then=()).failed()
    assert run.rotated == set(stage.own("device0"))
    assert stage.device_psks("device0") == {i: run.after[i]["psk"] for i in stage.own("device0")}


def test_after_a_rollback_a_plain_run_has_nothing_to_do(stage: Stage) -> None:
    stage.rotate_devices(then=()).ok()
    stage.rotate_devices({**FORCE, **BROKEN}, then=()).failed()
    assert assert_healed(stage).waves == []


def test_after_a_rollback_the_rotation_can_be_tried_again(stage: Stage) -> None:
    stage.rotate_devices(then=()).ok()
    stage.rotate_devices({**FORCE, **BROKEN}, then=()).failed()
    assert assert_healed(stage, FORCE).rotated == set(stage.psks())


def test_a_psk_that_was_not_proven_is_rolled_back(stage: Stage) -> None:
    verify = {"psk_rotation_verify_tasks": stage.verify_hook}
    stage.rotate_devices(verify, then=()).ok()
    run = stage.rotate_devices({**verify, **FORCE, "unproven_devices": ["device1"]}, then=()).failed()
    first, second = stage.own("device1")
    assert run.statuses("device1") == {first: "rolled_back", second: "skipped"}
    assert not {first, second} & run.rotated


def test_a_device_may_report_single_tunnels(stage: Stage) -> None:
    stage.rotate_devices(then=()).ok()
    first, second = stage.own("device1")
    run = stage.rotate_devices({**FORCE, "failing_tunnels": {second: "its interface is down"}}, then=()).failed()
    assert run.statuses("device1")[first] == "delivered"
    assert "its interface is down" in run.failures[-1]
    assert first in run.rotated
    assert second not in run.rotated


def test_a_task_without_a_name_that_fails_is_told_by_its_action(stage: Stage) -> None:
    hook = stage.write("hooks/unnamed.yml", "- ansible.builtin.fail:\n    msg: this device is broken\n")
    run = stage.rotate_devices({"psk_rotation_device_tasks": hook}, then=()).failed()
    first = stage.own("device1")[0]
    assert run.reasons("device1")[first].startswith("the task without a name (ansible.builtin.fail) failed")


@pytest.mark.parametrize("name", ["__psk_rotation_failed_before", "__psk_rotation_state", "psk_rotation_summary"])
def test_no_extra_variable_changes_how_many_have_failed(stage: Stage, name: str) -> None:
    variables = {"psk_rotation_serial": 1, "psk_rotation_max_failures": 0, "broken_devices": ["device0"]}
    run = stage.rotate_devices({**variables, name: {"failed": 0, "failed_before": 0}}, then=()).failed()
    assert f"{name} is" in run.failures[-1] and "can't be an extra variable" in run.failures[-1]
    assert not run.rotated


CACHEABLE = """
- name: Hook | Name a tunnel in a fact that outlives the play
  ansible.builtin.set_fact:
    psk_rotation_failed_tunnels: {}
    cacheable: true
"""


def test_failed_tunnels_in_a_host_fact_fail_all_tunnels_of_the_device(stage: Stage) -> None:
    stage.rotate_devices(then=()).ok()
    before = stage.psks()
    hook = stage.write("hooks/cacheable.yml", CACHEABLE)
    run = stage.rotate_devices({**FORCE, "psk_rotation_device_tasks": hook}, then=()).failed()
    assert "is a host fact" in " ".join(run.failures)
    assert stage.psks() == before


def test_too_many_failures_stop_the_next_batch(stage: Stage) -> None:
    variables = {"psk_rotation_serial": 1, "psk_rotation_max_failures": 0, "broken_devices": ["device0"]}
    run = stage.rotate_devices(variables, then=()).failed()
    assert not set(stage.own("device1")) & run.rotated
    assert stage.calls("device1") == []


def test_after_a_stop_the_next_run_finishes(stage: Stage) -> None:
    variables = {"psk_rotation_serial": 1, "psk_rotation_max_failures": 0, "broken_devices": ["device0"]}
    stage.rotate_devices(variables, then=()).failed()
    assert_healed(stage)


def test_a_batch_that_waits_for_a_later_one_fails_at_the_end_of_the_play(stage: Stage) -> None:
    """If it failed at once, Ansible would end the play before the later batch, in each run anew."""
    (one, other), (third, _fourth) = stage.sites()[:2]
    ids = [x["id"] for x in (one, other, third)]
    own = {f"device{n}": {"ansible_connection": "local", "psk_rotation_tunnels": [i]} for n, i in enumerate(ids)}
    inventory = {"all": {"hosts": own}}
    broken = {"broken_devices": ["device1"]}
    stage.rotate_devices(broken, inventory=inventory, args=["--limit", "device1"], then=()).failed()
    run = stage.rotate_devices({"psk_rotation_serial": 1}, inventory=inventory, then=()).failed()
    assert [run.statuses(x) for x in own] == [{ids[0]: "skipped"}, {ids[1]: "delivered"}, {ids[2]: "delivered"}]
    assert "which backs it up, is applied and must be finished first" in run.failures[-1]
    stage.rotate_devices({"psk_rotation_serial": 1}, inventory=inventory, then=()).ok()
    assert {i: x["state"] for i, x in stage.escrow().items()} == dict.fromkeys(ids, "idle")


@pytest.mark.fleet(tunnels=12)
def test_the_devices_that_all_earlier_batches_have_lost_count_in_any_order(stage: Stage) -> None:
    lose = "- name: Hook | Lose the device\n  ansible.legacy.lose:\n  when: inventory_hostname in lost\n"
    hook = stage.write("hooks/lose.yml", lose + DEVICE_HOOK)
    play = {
        "name": "Rotate",
        "hosts": "all",
        "gather_facts": False,
        "serial": 2,
        "order": "reverse_inventory",
        "roles": [{"role": "magicwan.cloudflare.psk_rotation"}],
    }
    variables = {"psk_rotation_device_tasks": hook, "psk_rotation_max_failures": 1, "lost": ["device5", "device3"]}
    run = stage.rotate_devices(variables, play=play, then=())
    assert run.result.rc != 0
    assert stage.own("device4")[0] in run.rotated
    assert not {i for x in ("device0", "device1") for i in stage.own(x)} & run.rotated


@pytest.mark.parametrize("path", ["no/such/file.yml", "/no/such/file.yml"])
def test_device_tasks_that_are_not_there_are_noticed_before_the_first_write(stage: Stage, path: str) -> None:
    run = stage.rotate_devices({"psk_rotation_device_tasks": path}, then=()).failed()
    assert path in run.result.output
    assert not run.rotated


def test_a_device_that_can_not_be_reached_keeps_its_psks(stage: Stage) -> None:
    reach = stage.write(
        "hooks/reach.yml",
        "- name: Reach it\n  ansible.builtin.fail:\n    msg: no route\n  when: inventory_hostname == 'device1'\n",
    )
    run = stage.rotate_devices({"psk_rotation_reach_tasks": reach}, then=()).failed()
    assert run.rotated == set(stage.own("device0"))
    assert set(run.statuses("device1").values()) <= {"unreached", "skipped"}
    assert_healed(stage)
