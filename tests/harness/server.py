# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that a test starts as a process of its own and ends with all that it holds."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import requests


class Server(ABC):
    """A context manager, or start() and stop()."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._files = contextlib.ExitStack()
        self._session = requests.Session()
        self._session.trust_env = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> Self:
        """Start it and wait until it is ready; an exception shows what it said when it does not start."""

    def stop(self) -> None:
        """End the process, a paused one too; calling it again does no harm."""
        self._session.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._files.close()
