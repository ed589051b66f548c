# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check run shows of its plan, and how the last rotation is rolled back."""

from __future__ import annotations

import json

import pytest

from tests.integration.psk_rotation.stage import Stage

pytestmark = pytest.mark.fleet(tunnels=4)
LAST = {"psk_rotation_rollback_id": "last"}


def test_a_check_run_shows_its_plan_and_writes_it_for_a_reviewer(stage: Stage) -> None:
    path = stage.folder / "plan.json"
    variables = {"psk_rotation_plan_path": str(path), "psk_rotation_serial": 1}
    run = stage.rotate_devices(variables, check=True, then=()).ok()
    plan = json.loads(path.read_text(encoding="utf-8"))
    names = {x["name"] for x in stage.tunnels().values()}
    assert {x["tunnel"] for x in plan["tunnels"]} == names
    assert sorted(x["wave"] for x in plan["tunnels"]) == [1, 2, 3, 4]
    assert {x["device"] for x in plan["tunnels"]} == {"device0", "device1"}
    assert set(plan["no_way_back"]) == names and plan["unverified"] == ["device0", "device1"]
    lines = run.result.stdout.splitlines()
    for row in plan["tunnels"]:
        (line,) = [x for x in lines if x.startswith(f"{row['tunnel']} ")]
        assert row["device"] in line and f"  {row['wave']}  " in line and "due: " in line
    assert not run.rotated and not stage.escrow_path.exists()


def test_the_last_rotation_is_rolled_back_once(stage: Stage) -> None:
    stage.rotate(then=()).ok()
    before = stage.psks()
    stage.rotate({"psk_rotation_force": True}, then=()).ok()
    late = stage.rotate({**LAST, "psk_rotation_rollback_within": "0s"}, tasks_from="rollback", then=()).ok()
    assert not late.rotated
    run = stage.rotate(LAST, tasks_from="rollback", then=()).ok()
    assert stage.psks() == before == stage.current()
    assert set(run.statuses().values()) == {"rolled_back"}
    assert not stage.rotate(LAST, tasks_from="rollback", then=()).ok().rotated


def test_an_unknown_rotation_is_not_rolled_back(stage: Stage) -> None:
    stage.rotate(then=()).ok()
    run = stage.rotate(
        {"psk_rotation_rollback_id": "20200101T000000Z-0000000"}, tasks_from="rollback", then=()
    ).failed()
    assert "no tunnel of this play had the rotation '20200101T000000Z-0000000'" in run.failures[0]
    assert not run.rotated
