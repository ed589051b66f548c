# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many scenarios on several processes, what they have met, and the shortest form of one that fails."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.model.planted import PLANTED, planted
from tests.model.scenario import Outcome, play

CHUNK = 250
SHOWN = 20


@dataclass
class Tally:
    """What many scenarios have come to."""

    scenarios: int = 0
    runs: int = 0
    struck: int = 0
    met: Counter[str] = field(default_factory=Counter)
    violated: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Counts a scenario."""
        self.scenarios += 1
        self.runs += outcome.runs
        self.struck += outcome.struck
        self.met.update(outcome.met)
        if outcome.violations:
            self.violated.append((outcome.seed, outcome.violations[0].invariant, outcome.violations[0].text))

    def merge(self, other: Tally) -> None:
        """Counts another tally."""
        self.scenarios += other.scenarios
        self.runs += other.runs
        self.struck += other.struck
        self.met.update(other.met)
        self.violated += other.violated

    def told(self, seconds: float) -> str:
        """The figures as lines."""
        met = ", ".join(f"{kind} {number}" for kind, number in sorted(self.met.items()))
        return (
            f"scenarios that met a fault: {met}\n"
            f"{self.scenarios} scenarios, {self.runs} runs, {self.struck} faults, {len(self.violated)} violations,"
            f" {seconds:.0f} s ({self.scenarios / max(seconds, 0.001):.0f} a second)"
        )


def _play_chunk(chunk: tuple[str | None, int, int]) -> Tally:
    fault, first, number = chunk
    tally = Tally()
    gc.disable()
    with planted(fault):
        for seed in range(first, first + number):
            tally.add(play(seed))
            if fault and tally.violated:
                break
    gc.enable()
    gc.collect()
    return tally


def _chunks(fault: str | None, first: int, number: int) -> Iterator[tuple[str | None, int, int]]:
    for start in range(first, first + number, CHUNK):
        yield fault, start, min(CHUNK, first + number - start)


def play_many(number: int, first: int, jobs: int, *, say: Callable[[str], None], fault: str | None = None) -> Tally:
    """Plays the scenarios of these seeds; with a planted ``fault``, until it is found."""
    total, tenth = Tally(), max(1, number // 10)
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for tally in pool.imap(_play_chunk, _chunks(fault, first, number)):
            before = total.scenarios // tenth
            for seed, invariant, text in tally.violated[: max(0, SHOWN - len(total.violated))]:
                say(f"seed {seed}: invariant {invariant}\n    {text}")
            total.merge(tally)
            if total.scenarios // tenth > before and not fault:
                say(f"{total.scenarios} scenarios, {len(total.violated)} violations")
            if fault and total.violated:
                pool.terminate()
                break
    return total


def show_planted(number: int, first: int, jobs: int) -> int:
    """Plants each fault, and shows how many scenarios it takes until an invariant breaks."""
    print(f"{'planted fault':<66} {'scenarios':>9}  {'seed':>6}  invariant")
    missed = 0
    for fault, what in PLANTED.items():
        tally = play_many(number, first, jobs, say=lambda line: None, fault=fault)
        if tally.violated:
            seed, invariant, _text = min(tally.violated)
            print(f"{what:<66} {seed - first + 1:>9}  {seed:>6}  {invariant}", flush=True)
        else:
            missed += 1
            print(f"{what:<66} {'not found':>9}", flush=True)
    return 1 if missed else 0


def minimise(seed: int, without: frozenset[int] = frozenset()) -> frozenset[int]:
    """The faults that the first violation of this scenario does not need."""
    outcome = play(seed, without=without)
    if not outcome.violations:
        return without
    wanted = outcome.violations[0].invariant
    shorter = True
    while shorter:
        shorter = False
        for number in itertools.chain(range(outcome.struck, 0, -1)):
            if number in without:
                continue
            trial = play(seed, without=without | {number})
            if trial.violations and trial.violations[0].invariant == wanted:
                without, outcome, shorter = without | {number}, trial, True
    return without
