# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample project, with nobody having said who configures the devices."""

from __future__ import annotations

from pathlib import Path

from tests.integration.awx.story import WORKFLOW
from tests.integration.awx.world import set_up_awx


def test_a_rotation_is_refused_and_the_workflow_waits_for_no_approval(tmp_path: Path) -> None:
    with set_up_awx(tmp_path, 8, as_shipped=True) as awx:
        before = awx.psks_set()
        workflow = awx.launch(WORKFLOW, "workflow_job_templates").json()["workflow_job"]
        assert awx.wait_for(workflow)["status"] == "failed"
        assert awx.launched() == ["check.yml"]
        refused = awx.last_output()
        rotation = awx.job("Magic WAN - rotate")
        assert rotation["status"] == "failed"
        for output in (refused, awx.last_output()):
            assert "psk_rotation_device_tasks" in output and "psk_rotation_confirmation" in output
        assert awx.simulator.writes() == 0
        assert awx.psks_set() == before
