# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a lease, told from real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._owner import is_dead, this_run

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


def test_a_run_that_has_ended_is_dead() -> None:
    assert is_dead(worker()[0])


def test_this_run_is_not_dead() -> None:
    owner = this_run()
    assert owner is None or not is_dead(owner)


def test_a_later_process_of_the_same_number_is_another_run() -> None:
    parts = worker()[0].split("/")
    assert is_dead("/".join([*parts[:3], str(os.getpid()), parts[4]]))


def test_of_another_machine_or_a_broken_owner_nothing_is_known() -> None:
    machine = worker()[0].split("/")
    assert not is_dead("/".join(["elsewhere", *machine[1:]]))
    assert not is_dead("elsewhere")
    assert not is_dead("/".join([*machine[:3], "no number", str(time.time())]))
