# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a lease, told from real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _owner as _owner_module
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._owner import (
    _owner,
    lives,
    run_id,
)

# A worker, which is a fork of the run. With an argument, the run ends before it looks.
WORKER = """
import os, sys, time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._owner import this_run
run = os.getpid()
if os.fork():
    if sys.argv[1:]:
        os._exit(0)
    os.wait()
else:
    while sys.argv[1:] and os.getppid() == run:
        time.sleep(0.01)
    print(this_run(), flush=True)
"""


def worker(*arguments: str) -> tuple[str, int]:
    """What a worker takes for its run, and the run's process id."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )
    said = process.communicate(timeout=30)[0]
    return said.strip(), process.pid


def test_a_worker_works_for_the_process_that_it_is_a_fork_of() -> None:
    owner, pid = worker()
    assert owner.split("/")[3] == str(pid)


def test_a_worker_that_was_left_behind_works_for_nobody() -> None:
    assert worker("left behind")[0] == "None"


def test_a_run_that_has_ended_does_not_live() -> None:
    assert lives(worker()[0]) is False


def test_this_process_lives() -> None:
    assert lives(_owner(os.getpid())) is True


def test_a_later_process_of_the_same_number_is_another_run() -> None:
    parts = worker()[0].split("/")
    assert lives("/".join([*parts[:3], str(os.getpid()), parts[4]])) is False


def test_a_process_that_proc_hides_may_live(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = _owner(os.getpid())
    monkeypatch.setattr(_owner_module, "_start_time", lambda pid: None)
    assert lives(owner) is None


@pytest.mark.parametrize("part", [0, 1, 2])
def test_of_another_machine_boot_or_pid_namespace_nothing_is_known(part: int) -> None:
    parts = worker()[0].split("/")
    parts[part] = "elsewhere"
    assert lives("/".join(parts)) is None


@pytest.mark.parametrize("owner", ["", "elsewhere", "a/b/c/d/e", "////"])
def test_of_a_broken_owner_nothing_is_known(owner: str) -> None:
    assert lives(owner) is None


@pytest.mark.parametrize("number", ["no number", "\u00b2", "\u0661", "9" * 30, "-1"])
def test_of_an_owner_without_a_process_number_nothing_is_known(number: str) -> None:
    assert lives("/".join([*_owner(os.getpid()).split("/")[:3], number, str(time.time())])) is None


def test_of_an_owner_whose_start_nobody_has_seen_nothing_is_known() -> None:
    assert lives("/".join([*_owner(os.getpid()).split("/")[:4], ""])) is None


def test_all_tasks_of_a_run_have_one_rotation_id() -> None:
    assert run_id(_owner(os.getpid())) == run_id(_owner(os.getpid()))


def test_a_rotation_id_begins_with_when_its_run_has_begun() -> None:
    before = time.gmtime(time.time() - 2)
    owner, _pid = worker()
    when, _rest = run_id(owner).split("-")
    assert time.strftime("%Y%m%dT%H%M%SZ", before) <= when <= time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def test_two_runs_have_two_rotation_ids() -> None:
    assert run_id(worker()[0]) != run_id(worker()[0])


def test_without_proc_a_run_has_a_rotation_id_too() -> None:
    assert run_id("host///17/").startswith("pid17-")
