# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked, and whether it changed anything. No secret is ever written here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

from .clock import Clock


class Journal:
    """One entry a request when its outcome is settled, and one more, event `held`, when a fault holds it before."""

    def __init__(self, clock: Clock, file: TextIO | None = None) -> None:
        self._clock = clock
        self._file = file
        self._entries: list[dict[str, Any]] = []
        self._news = asyncio.Event()

    @property
    def last(self) -> int:
        return len(self._entries)

    def write(self, entry: Mapping[str, Any]) -> None:
        numbered = {"n": len(self._entries) + 1, "time": self._clock.stamp(), **entry}
        self._entries.append(numbered)
        if self._file is not None:
            self._file.write(json.dumps(numbered, separators=(",", ":")) + "\n")
            self._file.flush()
        self._news.set()
        self._news = asyncio.Event()

    def since(self, number: int) -> list[dict[str, Any]]:
        return self._entries[max(number, 0) :]

    async def wait(self, number: int, seconds: float) -> list[dict[str, Any]]:
        """Entries after `number`; waits for the first of them when there is none yet."""
        if number >= self.last:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while number >= self.last:
                        await self._news.wait()
        return self.since(number)
