# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure one process with all its children, and keep what was measured."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

FIELDS = ("seconds", "cpu_seconds", "peak_mib", "requests", "writes", "bytes")


@dataclass(frozen=True)
class Usage:
    """What a process and all its children took. `peak_mib` is the resident memory of the largest one of them."""

    code: int
    seconds: float
    cpu_seconds: float
    peak_mib: float


def measured(start: Callable[[], subprocess.Popen[bytes]], limit: float) -> Usage:
    """Start a process and wait for its end; after `limit` seconds its group is killed.

    The kernel counts the children that were waited for, which ansible-core does with its workers and their modules.
    A process starts with the memory of the one that starts it, so this one has to stay smaller than what it measures.
    """
    began = time.monotonic()
    process = start()
    watchdog = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.daemon = True
    watchdog.start()
    _pid, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    watchdog.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(process.returncode, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


@dataclass(frozen=True)
class Run:
    """One repetition: the process, and what the simulator counted; bytes are those of the bodies, both ways."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    requests: int
    writes: int
    bytes: int
    rate_limited: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Row:
    """One case at one size and one latency: its repetitions, or what a smaller size says about it."""

    group: str
    case: str
    size: int
    latency_ms: int
    runs: list[Run] = field(default_factory=list)
    extrapolated: dict[str, float] | None = None

    def median(self, name: str) -> float | None:
        """The median of a field of Run over the repetitions; of an extrapolation None where nothing can be said."""
        if self.extrapolated is not None:
            return self.extrapolated.get(name)
        return statistics.median(getattr(run, name) for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """For results.json."""
        return {
            "group": self.group,
            "case": self.case,
            "size": self.size,
            "latency_ms": self.latency_ms,
            "extrapolated": self.extrapolated is not None,
            "median": {name: _rounded(self.median(name)) for name in FIELDS},
            "runs": [{key: _rounded(value) for key, value in asdict(run).items()} for run in self.runs],
        }


class Table:
    """All rows of a run of the benchmark."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def find(self, case: str, size: int, latency_ms: int) -> Row | None:
        """The row of a case, if it was measured or extrapolated."""
        wanted = (case, size, latency_ms)
        return next((x for x in self.rows if (x.case, x.size, x.latency_ms) == wanted), None)

    def seconds(self, case: str, size: int, latency_ms: int) -> float | None:
        """Median wall time."""
        row = self.find(case, size, latency_ms)
        return None if row is None else row.median("seconds")

    def extrapolate(self, case: str, size: int, latency_ms: int, base: str | None) -> Row | None:
        """Add a row on the line through what was measured at smaller sizes; `base` is a case without any tunnel."""
        known = [x for x in self.rows if (x.case, x.latency_ms) == (case, latency_ms) and x.extrapolated is None]
        known = sorted(known, key=lambda x: x.size)[-2:]
        if not known or self.find(case, size, latency_ms):
            return None
        zero = self.find(base, 0, latency_ms) if base else None
        low = known[0] if len(known) == 2 else zero
        high = known[-1]
        values = {}
        for name in ("seconds", "cpu_seconds", "requests", "writes", "bytes"):
            at_high = high.median(name) or 0.0
            at_low, from_size = ((low.median(name) or 0.0), low.size) if low else (0.0, 0)
            values[name] = at_high + (at_high - at_low) / (high.size - from_size) * (size - high.size)
        row = Row(high.group, case, size, latency_ms, extrapolated=values)
        self.rows.append(row)
        return row


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
