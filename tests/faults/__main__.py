# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m tests.faults: the fault matrix, and random kills."""

from __future__ import annotations

import argparse
import queue
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults import (
    kills,
    planted,
    rows_api,  # noqa: F401
    rows_core,  # noqa: F401
    rows_device,  # noqa: F401
    rows_kill,  # noqa: F401
    rows_runs,  # noqa: F401
    rows_store,  # noqa: F401
    rows_weak,  # noqa: F401
)
from tests.faults.matrix import Outcome, Row, chosen, play_row, save_output
from tests.faults.scene import Bench

ROOT = Path(__file__).resolve().parents[2]
SAVED = ROOT / "tests" / "output" / "faults"
MATRIX_TUNNELS = 8
WIDTHS = (32, 76, 40, 30)

Job = Callable[[Bench], Outcome]


def work(
    jobs: Sequence[Job],
    tunnels: int,
    workers: int,
    core: str | None,
    show: Callable[[Outcome], None],
    plant: str | None = None,
) -> None:
    """Do the jobs on benches of their own, one a worker; ``plant`` names a weakness of the collection."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    broken: list[BaseException] = []
    lock = threading.Lock()

    def run(number: int, folder: Path) -> None:
        try:
            collections = planted.plant(plant, folder / f"collections-{number}") if plant else None
            with Bench(folder / f"worker-{number}", tunnels, core=core, collections=collections) as bench:
                while not broken:
                    outcome = waiting.get_nowait()(bench)
                    with lock:
                        show(outcome)
        except queue.Empty:
            return
        except BaseException as exc:
            broken.append(exc)

    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        threads = [threading.Thread(target=run, args=(n, Path(folder))) for n in range(min(workers, len(jobs)))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt as exc:
            broken.append(exc)  # each worker ends its row, and cleans up
            for thread in threads:
                thread.join()
    if broken:
        raise broken[0]


class Table:
    """Prints rows, and counts."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def head(self) -> None:
        """The names of the columns."""
        cells = ("fault", "injected", "after the crash", "after the re-run")
        print(_line(cells, "lost dark differ", "verdict"), flush=True)

    def show(self, outcome: Outcome) -> None:
        """One row."""
        self.outcomes.append(outcome)
        cells = (outcome.code, outcome.injected, outcome.skipped or outcome.after_crash, outcome.after_rerun)
        dark = "-" if outcome.dark is None else outcome.dark
        counts = "" if outcome.skipped else f"{outcome.lost:4} {dark:>4} {outcome.mismatched:>6}"
        print(_line(cells, counts, f"{outcome.verdict:7} {outcome.seconds:5.1f} s"), flush=True)
        if outcome.verdict == "FAIL":
            for problem in outcome.problems[:8]:
                print(f"    {problem}")
            print(f"    output: {save_output(outcome, SAVED)}", flush=True)

    def close(self, seconds: float) -> int:
        """The closing line; returns the exit status."""
        count = {x: sum(1 for o in self.outcomes if o.verdict == x) for x in ("ok", "FAIL", "skipped")}
        lost = sum(x.lost for x in self.outcomes)
        dark = sum(x.dark or 0 for x in self.outcomes)
        differ = sum(x.mismatched for x in self.outcomes)
        print(
            f"\n{lost} keys lost, {dark} sites dark, {differ} tunnels with different keys after rc 0, {seconds:.0f} s"
        )
        skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
        print(f"{count['ok']} passed, {count['FAIL']} failed{skipped}")
        return 1 if count["FAIL"] else 0


def _line(cells: Sequence[str], counts: str, verdict: str) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)]
    return f"{'  '.join(padded)}  {counts:16}  {verdict}".rstrip()


def _row_job(row: Row) -> Job:
    return lambda bench: play_row(row, bench)


def _kill_job(seed: int) -> Job:
    return lambda bench: kills.kill_at_random(bench, seed)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="codes or letters, with commas: K5,A2,S")
    parser.add_argument("--no-matrix", action="store_true", help="only random kills")
    parser.add_argument("--kills", type=int, default=0, help="how many random kills of a 40-tunnel rotation")
    parser.add_argument("--seed", type=int, default=1, help="of the random kills")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plant", choices=planted.WEAKNESSES, help="weaken a copy of the collection in this place")
    parser.add_argument("--core", help="an ansible-core under .venv/cores, such as 2.19")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    table = Table()
    table.head()
    if not options.no_matrix:
        default = planted.WEAKNESSES[options.plant].row if options.plant else ""
        jobs = [_row_job(row) for row in chosen((options.only or default).split(","))]
        if not jobs:
            parser.error(f"no row is named {options.only}")
        work(jobs, MATRIX_TUNNELS, options.workers, options.core, table.show, options.plant)
    if options.kills:
        chance = random.Random(options.seed)
        seeds = [chance.randrange(1_000_000) for _kill in range(options.kills)]
        work([_kill_job(x) for x in seeds], kills.TUNNELS, options.workers, options.core, table.show)
    return table.close(time.monotonic() - begun)


if __name__ == "__main__":
    sys.exit(main())
