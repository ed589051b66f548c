# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""End a run with SIGKILL at a named task. For the tests only."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kill_at
type: aggregate
short_description: SIGKILL at a named task, for the tests
description:
  - E(KILL_AT) is JSON with C(task) (a part of its name), C(when) (start, end), C(nth), C(how) (group, all, signal)
    and C(fired), a file that is made first. With C(how=signal) nothing is killed.
  - E(COUNT_EVENTS) is a file that gets the number of events of the whole run.
requirements:
  - Enable it with E(ANSIBLE_CALLBACKS_ENABLED).
options: {}
"""


class CallbackModule(CallbackBase):
    """Counts starts, or results, of tasks; kills at the n-th."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_at"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._spec = json.loads(os.environ.get("KILL_AT", "null"))
        self._counter = os.environ.get("COUNT_EVENTS")
        self._count = 0

    def _event(self, when: str, name: str) -> None:
        spec = self._spec
        if self._counter or (spec and spec["when"] in (when, "any") and spec["task"] in name):
            self._count += 1
        if not spec or self._count != spec["nth"]:
            return
        self._count += 1
        Path(spec["fired"]).touch()
        if spec["how"] == "all":
            _kill_others()
        if spec["how"] in ("all", "group"):
            os.killpg(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._event("start", task.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        self._event("end", _task_of(result))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._event("end", _task_of(result))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self._counter:
            Path(self._counter).write_text(str(self._count), encoding="ascii")


def _task_of(result: Any) -> str:
    task = result.task if hasattr(result, "task") else result._task
    return str(task.get_name())


def _kill_others() -> None:
    """SIGKILL to every other process of this run."""
    mark = f"HARNESS_RUN_ID={os.environ['HARNESS_RUN_ID']}".encode()
    for _round in range(2):
        for environ in Path("/proc").glob("[0-9]*/environ"):
            pid = int(environ.parent.name)
            try:
                if pid != os.getpid() and mark in environ.read_bytes().split(b"\0"):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
