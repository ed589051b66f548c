# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry points beside main: confirm, rollback, reconcile and report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.psk_rotation.stage import Stage

pytestmark = pytest.mark.fleet(tunnels=4)
MANUAL = {"psk_rotation_confirmation": "manual"}
AGAIN = {"psk_rotation_force": True}
LOST = {"route": "psk_set", "omit": 4, "when": "after", "validate_only": False, "count": 0}


def test_confirm_ends_the_wait(stage: Stage) -> None:
    waiting = stage.rotate(MANUAL, then=()).ok()
    run = stage.rotate(MANUAL, tasks_from="confirm", then=()).ok()
    assert run.waves == []
    assert stage.current() == {i: waiting.after[i]["psk"] for i in waiting.rotated}


def test_confirm_changes_nothing_in_a_check_run(stage: Stage) -> None:
    stage.rotate(MANUAL, then=()).ok()
    before = stage.escrow()
    stage.rotate(MANUAL, tasks_from="confirm", then=(), check=True).ok()
    assert stage.escrow() == before


def test_rollback_puts_the_psks_before_a_confirmed_rotation_back(stage: Stage) -> None:
    stage.rotate(then=()).ok()
    second = stage.rotate(AGAIN, then=()).ok()
    undo = {"psk_rotation_rollback_id": second.summary()["rotation_id"]}
    run = stage.rotate(undo, tasks_from="rollback", then=()).ok()
    assert {i: x["psk"] for i, x in run.after.items()} == {i: x["psk"] for i, x in second.before.items()}
    assert stage.current() == stage.psks()


def test_rollback_without_a_rotation_leaves_what_is_confirmed(stage: Stage) -> None:
    stage.rotate(then=()).ok()
    stage.rotate(AGAIN, then=()).ok()
    run = stage.rotate(tasks_from="rollback", then=()).ok()
    assert run.waves == []


def test_rollback_turns_back_what_waits_for_confirmation(stage: Stage) -> None:
    stage.rotate(then=()).ok()
    waiting = stage.rotate({**AGAIN, **MANUAL}, then=()).ok()
    assert waiting.rotated
    run = stage.rotate(tasks_from="rollback", then=()).ok()
    assert {i: x["psk"] for i, x in run.after.items()} == {i: x["psk"] for i, x in waiting.before.items()}
    assert {x["state"] for x in stage.escrow().values()} == {"idle"}


def test_rollback_names_a_tunnel_whose_earlier_psk_nobody_knows(stage: Stage) -> None:
    waiting = stage.rotate(MANUAL, then=()).ok()
    run = stage.rotate(tasks_from="rollback", then=()).failed()
    assert run.waves == []
    assert "no earlier PSK is known" in run.failures[-1]
    assert stage.psks() == {i: x["psk"] for i, x in waiting.after.items()}


def test_reconcile_finishes_with_the_same_psks_and_begins_nothing(stage: Stage) -> None:
    stage.simulator.arm(LOST)
    lost = stage.rotate(then=()).failed()
    stage.simulator.clear_faults()
    assert lost.rotated
    run = stage.rotate(tasks_from="reconcile", then=()).ok()
    assert run.rotated == set()
    assert stage.current() == {i: lost.after[i]["psk"] for i in lost.rotated}


def test_report_publishes_and_changes_nothing(stage: Stage) -> None:
    rotated = stage.rotate(then=()).ok()
    before = stage.escrow()
    run = stage.rotate(tasks_from="report").ok()
    assert run.waves == []
    assert stage.escrow() == before
    assert {i: x["psk"] for i, x in stage.published()["results"].items()} == {
        i: x["psk"] for i, x in rotated.after.items()
    }


def test_report_fails_when_somebody_else_has_set_a_psk(stage: Stage) -> None:
    stage.rotate(then=()).ok()
    tunnel = next(iter(stage.tunnels().values()))
    later = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    stage.simulator.patch_tunnel(tunnel["id"], psk="SetByHandInTheDashboard1", last_generated_on=later)
    run = stage.rotate(tasks_from="report", then=()).failed()
    assert tunnel["name"] in run.failures[-1]
    assert run.waves == []
