# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a PSK counts as done: psk_rotation_confirmation, with and without devices, and without an escrow."""

from __future__ import annotations

import pytest

from tests.integration.psk_rotation.stage import Stage

pytestmark = pytest.mark.fleet(tunnels=4)
DEVICES = ("device0", "device1")
MANUAL = {"psk_rotation_confirmation": "manual"}


def test_without_verify_tasks_a_psk_is_promoted_and_marked_unconfirmed(stage: Stage) -> None:
    run = stage.rotate_devices(then=()).ok()
    assert [run.summary(x)["statuses"] for x in DEVICES] == [{"delivered": 2}] * 2
    assert {x["current"]["confirmed"] for x in stage.escrow().values()} == {False}


def test_with_verify_tasks_a_psk_is_confirmed(stage: Stage) -> None:
    run = stage.rotate_devices({"psk_rotation_verify_tasks": stage.verify_hook}, then=()).ok()
    assert [run.summary(x)["statuses"] for x in DEVICES] == [{"confirmed": 2}] * 2
    assert {x["current"]["confirmed"] for x in stage.escrow().values()} == {True}


def test_confirmation_none_does_not_run_the_verify_tasks(stage: Stage) -> None:
    variables = {"psk_rotation_verify_tasks": stage.verify_hook, "psk_rotation_confirmation": "none"}
    run = stage.rotate_devices({**variables, "unproven_devices": list(DEVICES)}, then=()).ok()
    assert [run.summary(x)["statuses"] for x in DEVICES] == [{"delivered": 2}] * 2


def test_a_psk_that_waits_for_confirmation_is_pending_and_its_sibling_untouched(stage: Stage) -> None:
    run = stage.rotate_devices(MANUAL, then=()).ok()
    for device in DEVICES:
        first, second = stage.own(device)
        assert run.statuses(device) == {first: "waiting", second: "skipped"}
        assert stage.escrow()[first]["state"] == "applied"
        assert stage.device_psks(device) == {first: run.after[first]["psk"]}
        assert second not in run.rotated


def test_a_psk_that_waits_is_not_touched_by_the_next_run(stage: Stage) -> None:
    stage.rotate_devices(MANUAL, then=()).ok()
    run = stage.rotate_devices(MANUAL, then=()).ok()
    assert run.waves == []
    assert run.result.changed == 0


def test_confirm_psks_ends_the_wait_and_the_sibling_may_follow(stage: Stage) -> None:
    first = stage.rotate_devices(MANUAL, then=()).ok()
    confirmed = stage.rotate_devices(MANUAL, playbook="confirm_psks", then=()).ok()
    assert confirmed.waves == []
    assert stage.current() == {i: first.after[i]["psk"] for i in first.rotated}
    second = stage.rotate_devices(MANUAL, then=()).ok()
    assert second.rotated == set(second.before) - first.rotated


def test_without_devices_psks_wait_for_confirmation_too(stage: Stage) -> None:
    run = stage.rotate(MANUAL).ok()
    results = stage.published()["results"]
    waiting = {i: x["psk"] for i, x in results.items() if x["status"] == "waiting"}
    assert waiting == {i: run.after[i]["psk"] for i in run.rotated}
    assert waiting
    confirmed = stage.rotate(MANUAL, playbook="confirm_psks", then=()).ok()
    assert confirmed.waves == []
    assert stage.current() == waiting


def test_without_an_escrow_the_results_hold_the_psks(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_escrow": {"backend": "none"}, "psk_rotation_force": True}).ok()
    results = stage.published()["results"]
    assert {i: x["psk"] for i, x in results.items()} == {i: x["psk"] for i, x in run.after.items()}
    assert {x["status"] for x in results.values()} == {"handed_over"}
    assert not stage.escrow_path.parent.exists()


def test_without_an_escrow_devices_get_their_psks(stage: Stage) -> None:
    run = stage.rotate_devices({"psk_rotation_escrow": {"backend": "none"}, "psk_rotation_force": True}, then=()).ok()
    for device in DEVICES:
        assert stage.device_psks(device) == {i: run.after[i]["psk"] for i in stage.own(device)}


def test_without_an_escrow_only_old_psks_are_rotated(stage: Stage) -> None:
    stage.rotate({"psk_rotation_escrow": {"backend": "none"}, "psk_rotation_force": True}, then=()).ok()
    run = stage.rotate({"psk_rotation_escrow": {"backend": "none"}}, then=()).ok()
    assert run.waves == []
