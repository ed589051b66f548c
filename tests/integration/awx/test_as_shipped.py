# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample project, with nobody having said who configures the devices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.awx.story import WORKFLOW
from tests.integration.awx.world import Awx, set_up_awx


@pytest.fixture(scope="module")
def awx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Awx]:
    with set_up_awx(tmp_path_factory.mktemp("as_shipped"), 8, as_shipped=True) as found:
        yield found


def test_the_workflow_ends_at_the_check_and_waits_for_no_approval(awx: Awx) -> None:
    workflow = awx.launch(WORKFLOW, "workflow_job_templates").json()["workflow_job"]
    assert awx.wait_for(workflow)["status"] == "failed"
    assert awx.launched() == ["check.yml"]
    assert "psk_rotation_device_tasks" in awx.last_output() and "psk_rotation_confirmation" in awx.last_output()
    assert awx.simulator.writes() == 0


def test_a_rotation_is_refused_before_the_first_write(awx: Awx) -> None:
    assert awx.job("Magic WAN - rotate")["status"] == "failed"
    assert "psk_rotation_device_tasks" in awx.last_output() and "psk_rotation_confirmation" in awx.last_output()
    assert awx.simulator.writes() == 0


def test_with_a_device_for_each_tunnel_there_is_none_to_rotate_without_devices(awx: Awx) -> None:
    job = awx.job("Magic WAN - rotate without devices")
    assert job["status"] == "successful", awx.last_output()
    assert "every tunnel has a customer endpoint or a host of the inventory" in awx.last_output()
    assert awx.simulator.writes() == 0
