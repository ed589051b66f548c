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


def test_a_play_is_over_when_all_hosts_that_are_left_have_had_their_batch() -> None:
    memory = Memory()
    memory.begin_batch("play", ["a", "b"], 1.0)
    assert not memory.is_over(["a", "b", "c"])
    memory.begin_batch("play", ["c"], 2.0)
    assert memory.is_over(["b", "c"])


def test_hosts_of_later_batches_are_those_that_are_left_and_have_not_begun() -> None:
    memory = Memory()
    memory.begin_batch("play", ["a", "b"], 1.0)
    assert memory.later(["b", "c", "d"]) == {"c", "d"}


def test_hosts_that_begin_again_are_no_further_batch() -> None:
    memory = Memory()
    for now in (1.0, 2.0):
        memory.begin_batch("play", ["a", "b"], now)
    assert memory.batches == [(["a", "b"], 2.0)] and memory.began == 1.0


def test_the_batches_of_another_play_do_not_count() -> None:
    memory = Memory()
    memory.begin_batch("one", ["a"], 1.0)
    memory.begin_batch("other", ["b"], 2.0)
    assert not memory.is_over(["a", "b"])


def test_batches_are_remembered_as_they_are(tmp_path: Path) -> None:
    memory = Memory()
    memory.begin_batch("play", ["a"], 1.0)
    remember(str(tmp_path), "r1", memory)
    found = recall(str(tmp_path), "r1")
    assert found.batches[-1][0] == ["a"] and found.is_over(["a"])
