# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m tests.leaks: no PSK and no token in anything that a rotation leaves."""

from __future__ import annotations

import argparse
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.faults.scene import Bench
from tests.harness.playbook import CoreUnavailable, core_bin
from tests.leaks.search import FAILING, HIGHEST_VERBOSITY, PLANTED, QUICK, SUCCESS, TOKEN, WITH_RUNNER, Find, Search
from tests.leaks.watch import can_have_a_log

CORES = ("2.18", "2.19", "2.20", "2.21", "2.22")
TUNNELS = 4
HITS_SHOWN = 5

Job = tuple[str, Callable[[Search], Iterator[Find]]]


def jobs(quick: bool, plant: bool) -> list[Job]:
    """The runs on one core."""
    if plant:
        return [("planted -v0", partial(Search.plain, way=SUCCESS, verbosity=0, then=[PLANTED]))]
    found: list[Job] = []
    verbosities = (3,) if quick else range(HIGHEST_VERBOSITY + 1)
    for verbosity in verbosities:
        found.append((f"success -v{verbosity}", partial(Search.plain, way=SUCCESS, verbosity=verbosity)))
    for way in FAILING:
        if not quick or way.name in QUICK:
            found.append((f"{way.name} -v3", partial(Search.plain, way=way, verbosity=3)))
    for way in () if quick else (SUCCESS, *FAILING):
        if way.name in WITH_RUNNER:
            found.append((f"{way.name}, ansible-runner", partial(Search.runner, way=way)))
    return found


class Report:
    """Prints a line a run, and counts."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = self.size = self.stored = 0
        self.reasons: set[str] = set()
        self._lock = threading.Lock()

    def add(self, core: str, name: str, finds: Sequence[Find], seconds: float) -> None:
        """One run's finds."""
        with self._lock:
            bad = []
            for find in finds:
                if find.skipped:
                    self.skipped += 1
                    self.reasons.add(f"{find.place}: {find.skipped}")
                elif find.place == "stored by ansible-runner":
                    self.stored += len(find.hits)
                else:
                    self.size += find.size
                    self.passed += not find.hits
                    self.failed += bool(find.hits)
                    bad += [(find.place, hit) for hit in find.hits]
            size = sum(x.size for x in finds)
            verdict = f"{len(bad)} HITS" if bad else "no hits"
            print(
                f"core {core:5} {name:40} {len(finds):2} places {size:12,} bytes  {verdict:10} {seconds:5.1f} s",
                flush=True,
            )
            for place, hit in bad[:HITS_SHOWN]:
                what = "the token" if hit.secret == 0 else f"PSK number {hit.secret}"
                print(f"    {place}: {what}, {hit.form}, in {hit.where} at {hit.offset}", flush=True)

    def broken(self, core: str, name: str, reason: str) -> None:
        """A run that did not go as it should."""
        with self._lock:
            self.failed += 1
            print(f"core {core:5} {name:40} did not run as it should: {reason}", flush=True)

    def close(self, seconds: float) -> int:
        """The closing lines; returns the exit status."""
        print(
            f"\nstored by ansible-runner (artifacts/*/command holds the environment): {self.stored} hits, not counted"
        )
        for reason in sorted(self.reasons):
            print(f"skipped: {reason}")
        print(f"{self.size:,} bytes searched in {seconds:.0f} s")
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{skipped}")
        return 1 if self.failed else 0


def search(cores: Sequence[str | None], report: Report, *, quick: bool, plant: bool, workers: int = 2) -> None:
    """All runs on these cores, on a bench of its own for each worker."""
    for core in cores:
        shown = core or "own"
        try:
            core_bin(core)
        except CoreUnavailable as exc:
            report.skipped += 1
            report.reasons.add(f"core {shown}: {exc}")
            continue
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs(quick, plant):
            waiting.put(job)
        with tempfile.TemporaryDirectory(prefix="leaks-") as folder:
            no_log = can_have_a_log(Path(folder) / "log")
            threads = [
                threading.Thread(target=_work, args=(waiting, Path(folder) / f"worker-{n}", core, no_log, report))
                for n in range(min(workers, waiting.qsize()))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def _work(waiting: queue.SimpleQueue[Job], folder: Path, core: str | None, no_log: str, report: Report) -> None:
    shown, name = core or "own", "first rotation"
    try:
        with Bench(folder, TUNNELS, core=core, token=TOKEN) as bench:
            searcher = Search(bench, no_log)
            while True:
                name, job = waiting.get_nowait()
                begun = time.monotonic()
                try:
                    finds = list(job(searcher))
                except Exception as exc:
                    report.broken(shown, name, f"{type(exc).__name__}: {exc}"[:3000])
                else:
                    report.add(shown, name, finds, time.monotonic() - begun)
    except queue.Empty:
        return
    except Exception as exc:
        report.broken(shown, name, f"{type(exc).__name__}: {exc}"[:3000])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.leaks", description=__doc__)
    parser.add_argument("--core", nargs="+", default=[], help=f"ansible-core versions, of {', '.join(CORES)}")
    parser.add_argument("--quick", action="store_true", help="the test environment's own core, and three runs only")
    parser.add_argument("--plant", action="store_true", help="show a PSK on purpose: this must fail")
    options = parser.parse_args(arguments)
    cores: list[str | None] = list(options.core) or ([None] if options.quick or options.plant else list(CORES))
    begun = time.monotonic()
    report = Report()
    search([None if x == "2.21" else x for x in cores], report, quick=options.quick, plant=options.plant)
    return report.close(time.monotonic() - begun)


if __name__ == "__main__":
    sys.exit(main())
