# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a run's statistics and results to the JSON file named in HARNESS_RESULT_FILE. For the tests only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: harness_json
type: aggregate
short_description: Statistics and results of a run as JSON, for the tests
description:
  - Writes one JSON file with the statistics of each host, what set_stats published and the result of every task.
  - Results of tasks with no_log are censored before a callback sees them.
requirements:
  - Enable it with E(ANSIBLE_CALLBACKS_ENABLED).
options: {}
"""


class CallbackModule(CallbackBase):
    """Collects while the playbook runs, writes at its end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "harness_json"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._path = os.environ["HARNESS_RESULT_FILE"]
        self._play = ""
        self._tasks: list[dict[str, Any]] = []

    def _add(self, status: str, answer: Any) -> None:
        def part(name: str) -> Any:
            return getattr(answer, name) if hasattr(answer, name) else getattr(answer, f"_{name}")

        task, result = part("task"), part("result")
        self._tasks.append(
            {
                "play": self._play,
                "task": task.get_name(),
                "action": task.action,
                "host": part("host").get_name(),
                "status": status,
                "changed": bool(result.get("changed", False)),
                "result": result,
            }
        )

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._play = play.get_name()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._add("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._add("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._add("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._add("unreachable", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        report = {
            "stats": {host: stats.summarize(host) for host in sorted(stats.processed)},
            "custom": stats.custom,
            "tasks": self._tasks,
        }
        # A run that is killed here has written all of it or none.
        descriptor = os.open(f"{self._path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(report, file, default=to_text)
        Path(f"{self._path}.new").replace(self._path)
