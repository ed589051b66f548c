# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job: 300 tunnels, rotated from localhost with the playbook and the file escrow."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.harness.playbook import core_bin
from tests.integration.psk_rotation.stage import PASSWORD, Run, Stage


@dataclass
class Story:
    """A check run, a rotation, and the same again, with the files that the check run left."""

    stage: Stage
    check: Run
    files_after_check: list[str]
    first: Run
    summary: dict[str, Any]
    results: dict[str, dict[str, Any]]
    again: Run
    results_again: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def story(make_stage: Callable[..., Stage]) -> Story:
    stage = make_stage(tunnels=300)
    check = stage.rotate(check=True, then=()).ok()
    files = [str(x) for x in stage.escrow_path.parent.rglob("*")] + [
        str(x) for x in [stage.escrow_path.parent] if x.exists()
    ]
    first = stage.rotate().ok()
    published = stage.published()
    again = stage.rotate().ok()
    return Story(
        stage, check, files, first, published["summary"], published["results"], again, stage.published()["results"]
    )


def test_check_mode_changes_nothing_at_cloudflare(story: Story) -> None:
    assert story.check.waves == []
    assert story.check.rotated == set()


def test_check_mode_writes_no_file_and_makes_no_folder(story: Story) -> None:
    assert story.files_after_check == []


def test_check_mode_says_that_it_would_change_something(story: Story) -> None:
    assert story.check.result.changed > 0


def test_check_mode_has_the_api_validate_each_wave(story: Story) -> None:
    assert [(x["operation"], x["status"]) for x in story.check.validations] == [("psk_set", 200)] * 2


def test_every_psk_at_cloudflare_is_the_current_one_of_the_escrow(story: Story) -> None:
    view = subprocess.run(
        [core_bin(None) / "ansible-vault", "view", str(story.stage.escrow_path)],
        env={
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(story.stage.folder),
            "ANSIBLE_VAULT_PASSWORD_FILE": story.stage.write("password", PASSWORD),
        },
        capture_output=True,
        check=True,
        text=True,
    )
    escrow = yaml.safe_load(view.stdout)
    current = {i: record["current"]["psk"] for i, record in escrow["tunnels"].items()}
    assert current == {i: x["psk"] for i, x in story.first.after.items()}
    assert len(set(current.values())) == 300


def test_every_psk_is_a_new_one(story: Story) -> None:
    assert story.first.rotated == set(story.first.before)


def test_the_api_is_written_once_a_wave(story: Story) -> None:
    assert len(story.first.waves) == story.summary["waves"] == 2


def test_the_rotation_says_that_it_changed_something(story: Story) -> None:
    assert story.first.result.changed > 0
    assert story.summary["changed"] == 300


def test_the_results_hold_the_true_psks(story: Story) -> None:
    assert {i: x["psk"] for i, x in story.results.items()} == {i: x["psk"] for i, x in story.first.after.items()}


def test_the_results_hold_the_time_that_cloudflare_shows(story: Story) -> None:
    assert {i: x["applied_on"] for i, x in story.results.items()} == {
        i: x["psk_metadata"]["last_generated_on"] for i, x in story.first.after.items()
    }


def test_a_second_run_changes_nothing(story: Story) -> None:
    assert story.again.waves == []
    assert story.again.result.changed == 0
    assert story.again.rotated == set()


def test_a_second_run_hands_out_the_psks_of_the_escrow(story: Story) -> None:
    assert {x["status"] for x in story.results_again.values()} == {"unchanged"}
    assert {i: x["psk"] for i, x in story.results_again.items()} == story.stage.current()


def test_only_the_owner_may_read_the_escrow(story: Story) -> None:
    assert story.stage.escrow_path.stat().st_mode & 0o777 == 0o600
    assert story.stage.escrow_path.parent.stat().st_mode & 0o777 == 0o700
