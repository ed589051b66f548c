# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time stamps as the API writes them: UTC, nine fractional digits, no two the same."""

from __future__ import annotations

import time
from datetime import UTC, datetime

NANOSECONDS = 1_000_000_000


def to_text(nanoseconds: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 text with nine fractional digits."""
    seconds, fraction = divmod(nanoseconds, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def to_nanoseconds(text: str) -> int:
    """The reverse of to_text; fewer fractional digits are fine."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * NANOSECONDS + int(fraction.ljust(9, "0")[:9])


class Clock:
    """Wall clock whose readings strictly increase."""

    def __init__(self) -> None:
        self._last = 0

    def nanoseconds(self) -> int:
        self._last = max(self._last + 1, time.time_ns())
        return self._last

    def stamp(self) -> str:
        return to_text(self.nanoseconds())
