# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Play many scenarios, or show one.

python -m tests.model [--scenarios 100000] [--first 0] [--jobs 2]
python -m tests.model --seed 439 [--trace] [--without 1,2] [--minimise]
python -m tests.model --planted [--scenarios 20000]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".venv" / "collections"), str(ROOT)]

from tests.model.many import minimise, play_many, show_planted  # noqa: E402
from tests.model.scenario import play  # noqa: E402


def main() -> int:
    """Returns 0 if every invariant held, or every planted fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", type=int, help="how many (default: 100000, or 20000 with --planted)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a CPU)")
    parser.add_argument("--seed", type=int, help="play this one only")
    parser.add_argument("--trace", action="store_true", help="show all that happens")
    parser.add_argument("--without", default="", help="numbers of faults in the trace that do not strike: 1,2")
    parser.add_argument("--minimise", action="store_true", help="leave out the faults that a violation does not need")
    parser.add_argument("--planted", action="store_true", help="plant known faults, and see each found")
    options = parser.parse_args()
    if options.planted:
        return show_planted(options.scenarios or 20_000, options.first, options.jobs)
    if options.seed is not None:
        without = frozenset(int(x) for x in options.without.split(",") if x)
        if options.minimise:
            without = minimise(options.seed, without)
        outcome = play(options.seed, traced=True, without=without)
        if options.trace or options.minimise:
            print("\n".join(outcome.lines))
        if options.minimise:
            print(f"\n--seed {options.seed} --without {','.join(map(str, sorted(without))) or 'nothing'} --trace")
        print("\n".join(f"{x.invariant}\n    {x.text}" for x in outcome.violations) or "every invariant holds")
        return 1 if outcome.violations else 0
    begun = time.monotonic()
    tally = play_many(options.scenarios or 100_000, options.first, options.jobs, say=print)
    print(tally.told(time.monotonic() - begun))
    return 1 if tally.violated else 0


if __name__ == "__main__":
    sys.exit(main())
