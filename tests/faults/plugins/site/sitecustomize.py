# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loaded by every Python of a run of tests.faults: does what FAULT_POINT says at the n-th call of a function.

FAULT_POINT is JSON: {call, match, nth, when: before|after, do, fired, go}. ``call`` is os.replace, os.fsync, os.open,
fcntl.flock or http; ``match`` a regular expression on the path, or on ``METHOD /path``. ``do`` is kill (every process
of the run), hold (touch ``fired`` and wait for the file ``go``), errno:N (raise OSError), or show (raise an error
that shows what was sent). ``nth`` 0 means always.
FAULT_HOSTNAME replaces the machine's name.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _kill_run() -> None:
    """SIGKILL to every process of this run, this one last."""
    mark = f"HARNESS_RUN_ID={os.environ['HARNESS_RUN_ID']}".encode()
    for _round in range(2):
        for environ in Path("/proc").glob("[0-9]*/environ"):
            pid = int(environ.parent.name)
            try:
                if pid != os.getpid() and mark in environ.read_bytes().split(b"\0"):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
    os.kill(os.getpid(), signal.SIGKILL)


class _Point:
    def __init__(self, spec: dict[str, Any]) -> None:
        self.call = spec["call"]
        self.when = spec["when"]
        self._match = re.compile(spec["match"])
        self._nth = spec["nth"]
        self._do = spec["do"]
        self._fired = Path(spec["fired"])
        self._go = Path(spec["go"])

    def meets(self, what: str) -> bool:
        """Whether this is the call that is meant; counted over all processes of the run."""
        if not self._match.search(what):
            return False
        with self._fired.with_name("fired.count").open("ab") as file:
            file.write(b".")
            file.flush()
            return self._nth in (0, file.tell())

    def strike(self, sent: object = None) -> None:
        self._fired.touch()
        if self._do == "show":
            raise RuntimeError(f"this went wrong: {sent!r}")
        if self._do == "kill":
            _kill_run()
        elif self._do == "hold":
            while not self._go.exists():
                time.sleep(0.01)
        else:
            number = int(self._do.partition(":")[2])
            raise OSError(number, os.strerror(number))

    def wrap(self, function: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        """The function with the fault around it."""

        def faulty(*args: Any, **kwargs: Any) -> Any:
            hit = self.meets(name_of(*args))
            if hit and self.when == "before":
                self.strike()
            answer = function(*args, **kwargs)
            if hit and self.when == "after":
                self.strike()
            return answer

        return faulty


def _path_of(descriptor: Any, *_args: Any) -> str:
    number = descriptor.fileno() if hasattr(descriptor, "fileno") else int(descriptor)
    try:
        return str(Path("/proc/self/fd", str(number)).readlink())
    except OSError:
        return ""


def _patch_http(point: _Point) -> None:
    import http.client

    connection: Any = http.client.HTTPConnection
    putrequest, getresponse, send = connection.putrequest, connection.getresponse, connection.send

    def faulty_putrequest(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        self.fault_hit = point.meets(f"{method} {url}")
        if self.fault_hit and point.when == "before":
            point.strike()
        return putrequest(self, method, url, *args, **kwargs)

    def faulty_send(self: Any, data: Any) -> Any:
        self.fault_sent = data
        return send(self, data)

    def faulty_getresponse(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = getresponse(self, *args, **kwargs)
        if self.fault_hit and point.when == "after":
            point.strike(self.fault_sent)
        return answer

    connection.putrequest, connection.getresponse = faulty_putrequest, faulty_getresponse
    connection.send = faulty_send


def _patch(point: _Point) -> None:
    if point.call == "http":
        _patch_http(point)
    elif point.call == "os.replace":
        os.replace = point.wrap(os.replace, lambda source, target, *_rest: str(target))
    elif point.call == "os.open":
        os.open = point.wrap(os.open, lambda path, *_rest: str(path))
    elif point.call == "os.fsync":
        os.fsync = point.wrap(os.fsync, _path_of)
    elif point.call == "fcntl.flock":
        import fcntl

        fcntl.flock = point.wrap(fcntl.flock, _path_of)


if "FAULT_POINT" in os.environ:
    _patch(_Point(json.loads(os.environ["FAULT_POINT"])))
if "FAULT_HOSTNAME" in os.environ:
    import platform

    platform.node = lambda: os.environ["FAULT_HOSTNAME"]
