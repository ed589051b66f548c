# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""psk_rotation_step used by itself, without the role."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.simulator import Simulator
from tests.integration.modules.conftest import Tell, Told, may_fail, task

ALL = {"psk_rotation_tunnels": ["all"]}


def step(name: str, folder: Path, /, **options: Any) -> dict[str, Any]:
    escrow = {"backend": "file", "path": str(folder / "psks.yml")}
    made = task(name, "psk_rotation_step", escrow=escrow, **{"operation": "begin", "unknown_psk": "rotate", **options})
    # As variables of the task, since the step looks into those of its hosts.
    return {**made, "vars": {**ALL, "psk_rotation_escrow": escrow}}


@pytest.fixture(scope="module")
def told(tell: Tell, tmp_path_factory: pytest.TempPathFactory, simulator_process: Simulator) -> Told:
    """A check run, the rotation, and the same again."""
    folder = tmp_path_factory.mktemp("escrow")
    shown = {"msg": "{{ done.results.localhost | from_json | map(attribute='status') | unique }}"}
    return tell(
        [
            {**step("would", folder), "check_mode": True, "register": "planned"},
            {**step("does", folder), "register": "done"},
            {"name": "statuses", "ansible.builtin.debug": shown},
            step("again", folder, max_age="1h"),
            may_fail(step("nonsense", folder, max_age="old")),
            may_fail(step("no state", folder, operation="wave")),
            {
                **step("by environment", folder, api_token="{{ omit }}"),
                "environment": {"CLOUDFLARE_API_TOKEN": "not-the-token"},
                "ignore_errors": True,
            },
        ],
        fleet={"tunnels": 6},
        vault_password="a-password-of-the-test",
    )


def test_a_check_run_says_that_it_would_change_and_writes_nothing(told: Told) -> None:
    assert told.of("would")["changed"] is True
    validations = [x for x in told.asked if x == "psk_set?"]
    assert told.asked[0] == "psk_set?"
    assert len(validations) > 1


def test_the_first_step_does_everything_without_devices(told: Told) -> None:
    assert told.of("statuses")["msg"] == ["handed_over"]
    assert all(told.after[i]["psk"] != told.before[i]["psk"] for i in told.after)


def test_young_psks_are_left_alone(told: Told) -> None:
    assert told.of("again")["changed"] is False


def test_bad_input_is_named(told: Told) -> None:
    assert told.of("nonsense")["msg"].startswith("psk_rotation_max_age must be a number of seconds")
    assert "state" in told.of("no state")["msg"]


def test_the_environment_of_a_task_counts(told: Told) -> None:
    failed = told.of("by environment")
    assert failed["_status"] == "ignored"
    assert failed["failure"]["status"] == 401
