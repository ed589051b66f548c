# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run remembers from batch to batch."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _owner
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._run import Memory, recall, remember, rotation_id
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Result


def result(tunnel_id: str, host: str, status: str) -> Result:
    return Result(tunnel_id, f"name of {tunnel_id}", host, "g", status, "why", psk="S3cret-of-this-test")


def test_a_run_remembers_at_its_next_step(tmp_path: Path) -> None:
    memory = Memory(claims={"a": ["t1"]}, waves=3, places={"t1": ["a", "g"]})
    memory.keep({"a": [result("t1", "a", "refused")]})
    remember(str(tmp_path), "r1", memory)
    assert recall(str(tmp_path), "r1") == memory


def test_a_clock_that_is_set_while_a_run_goes_on_does_not_change_its_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = _owner._owner(os.getpid())
    first = rotation_id(str(tmp_path), owner)
    monkeypatch.setattr(_owner, "_boot_time", lambda: 3.0)
    assert rotation_id(str(tmp_path), owner) == first != _owner.run_id(owner)


def test_two_runs_have_two_rotations(tmp_path: Path) -> None:
    owner = _owner._owner(os.getpid())
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    found = {rotation_id(str(tmp_path / folder), f"{owner}{folder}") for folder in ("one", "two")}
    assert len(found) == 2


def test_another_run_remembers_nothing_of_it(tmp_path: Path) -> None:
    remember(str(tmp_path), "r1", Memory(waves=3))
    assert recall(str(tmp_path), "r2") == Memory()


def test_what_is_remembered_holds_no_psk_and_is_for_nobody_else(tmp_path: Path) -> None:
    memory = Memory()
    memory.keep({"a": [result("t1", "a", "confirmed")]})
    remember(str(tmp_path), "r1", memory)
    (path,) = tmp_path.iterdir()
    assert "S3cret" not in path.read_text(encoding="utf-8")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("status", "mode", "number"),
    [
        ("refused", "rotate", 1),
        ("in_doubt", "rotate", 1),
        ("delivered", "rotate", 0),
        ("skipped", "rotate", 0),
        ("rolled_back", "rotate", 1),
        ("rolled_back", "rollback", 0),
    ],
)
def test_what_failed_on_other_hosts_counts_for_the_limit_of_failures(status: str, mode: str, number: int) -> None:
    memory = Memory()
    memory.keep({"a": [result("t1", "a", status)], "b": [result("t2", "b", "refused")]})
    assert memory.failed(["b"], mode) == number


def test_the_last_that_became_of_a_tunnel_counts() -> None:
    memory = Memory()
    memory.keep({"a": [result("t1", "a", "applied")]})
    memory.keep({"a": [result("t1", "a", "confirmed")]})
    assert memory.failed([], "rotate") == 0
