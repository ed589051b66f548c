# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong: nothing, or what a seed decides."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

# Every fault, by the place where it strikes. A scenario has a few of them.
OF_THE_LIST = ("list lost", "list stale")
OF_THE_REQUEST = (
    "validation lost",
    "request unsent",
    "request lost",
    "request late",
    "request doubled",
    "answer lost",
    "answer refuses",
    "answer refuses some",
    "answer omits some",
    "answer lies",
    "answer names another key",
    "answer without its time",
    "stranger just before",
    "stranger just after",
)
OF_THE_STORE = ("read lost", "write lost", "write's answer lost", "record touched")
OF_THE_RUN = ("killed", "left behind", "stopped", "machine asleep")
OF_THE_DEVICE = ("device not reached", "device refuses", "device fails half-way", "device lost", "device lost half-way")
OF_PEOPLE = ("stranger", "renamed", "made again", "record touched by hand", "unstuck")
KINDS = (*OF_THE_LIST, *OF_THE_REQUEST, *OF_THE_STORE, *OF_THE_RUN, *OF_THE_DEVICE, *OF_PEOPLE)


class Faults:
    """None at all, and nothing takes long."""

    def hit(self, kind: str, who: str, where: str) -> bool:
        """Whether this fault strikes now."""
        return False

    def switches(self, who: str, where: str) -> bool:
        """Whether another run goes on now."""
        return False

    def takes(self, where: str) -> float:
        """How long it takes, in seconds."""
        return 0.05

    def between(self, low: float, high: float) -> float:
        """Some number of seconds."""
        return (low + high) / 2

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[0]


class RandomFaults(Faults):
    """What a generator of random numbers decides. ``without`` are the numbers of faults that do not strike."""

    def __init__(
        self,
        chance: random.Random,
        rates: dict[str, float],
        *,
        pace: float,
        switching: float,
        without: frozenset[int] = frozenset(),
        say: Callable[[str, str], None] | None = None,
    ) -> None:
        self._random = chance.random
        self._rates = rates
        self._pace = pace
        self._switching = switching
        self._without = without
        self._say = say
        self.struck = 0
        self.met: set[str] = set()

    def hit(self, kind: str, who: str, where: str) -> bool:
        """Whether this fault strikes now."""
        rate = self._rates.get(kind)
        if rate is None or self._random() >= rate:
            return False
        self.struck += 1
        if self.struck in self._without:
            return False
        self.met.add(kind)
        if self._say is not None:
            self._say(who, f"[{self.struck}] {kind}, at {where}")
        return True

    def switches(self, who: str, where: str) -> bool:
        """Whether another run goes on now."""
        return self._random() < self._switching

    def takes(self, where: str) -> float:
        """Mostly little, sometimes long; a request gets to Cloudflare soon, or is late."""
        part = self._random()
        pace = min(self._pace, 3.0) if where == "request on its way" else self._pace
        return pace * part * part * part

    def between(self, low: float, high: float) -> float:
        """Some number of seconds."""
        return low + self._random() * (high - low)

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return choices[int(self._random() * len(choices))]
