# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m tests.bench: measure, write the results, and say what holds."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import report
from tests.bench.cases import RATE_CHANGES, SIZES, Failed, Place, measure, rate_limit
from tests.bench.checks import checks
from tests.bench.measure import Row, Table

ROOT = Path(__file__).resolve().parents[2]
GROUPS = "abcdefg"
LATENCIES = (0, 30)
REPEAT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 1 when a check does not hold, 2 when something that was measured failed."""
    options = _parser().parse_args(arguments)
    whole = (
        set(options.only) == set(GROUPS)
        and set(options.sizes) >= set(SIZES)
        and set(options.latency) >= set(LATENCIES)
        and options.repeat >= REPEAT
    )
    folder = options.output or (ROOT / "tests" / "bench" if whole else ROOT / "tests" / "output" / "bench")
    page = ROOT / "docs" / "bench.md" if whole and not options.output else folder / "bench.md"
    chosen = {name: getattr(options, name) for name in ("only", "sizes", "repeat", "latency")}
    where = report.surroundings(chosen)
    table = Table()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            for latency in options.latency:
                with Place(Path(scratch), latency) as place:
                    measure(table, place, options.only, options.sizes, options.repeat, _show)
            if "g" in options.only:
                changes = min(RATE_CHANGES, max(options.sizes))
                table.rows += rate_limit(Path(scratch), max(options.sizes), changes, _show)
    except Failed as exc:
        print(exc, file=sys.stderr)
        return 2
    where["seconds"] = round(time.monotonic() - began)
    found = checks(table, options.latency)
    report.write(folder, page, where, table, found)
    print()
    for check in found:
        print(f"{check.verdict:14} {check.what}{': ' if check.figures else ''}{check.figures}")
    print(f"\n{where['seconds']} s; results in {folder / 'results.json'} and {page}")
    return 1 if any(check.holds is False for check in found) else 0


def _show(row: Row) -> None:
    seconds = row.median("seconds") or 0
    line = f"{row.latency_ms:3} ms  {row.case:38} {row.size:6}  "
    if row.extrapolated is not None:
        print(f"{line}~{seconds:7.2f} s (extrapolated)", flush=True)
        return
    spread = f"{min(x.seconds for x in row.runs):.2f}-{max(x.seconds for x in row.runs):.2f}"
    print(
        f"{line}{seconds:8.2f} s ({spread})  CPU {row.median('cpu_seconds'):.2f} s  {row.median('peak_mib'):.0f} MiB  "
        f"{row.median('requests'):.0f} requests  {(row.median('bytes') or 0) / 1e6:.2f} MB",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    numbers = {"type": lambda text: [int(x) for x in text.split(",")], "metavar": "N,N"}
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(GROUPS),
        metavar="a,b",
        help="a role, b floor script, c uri loop, d SDK, e ipsec_tunnels, f devices as hosts, g rate limit",
    )
    parser.add_argument("--sizes", default=list(SIZES), help="numbers of tunnels", **numbers)
    parser.add_argument("--latency", default=list(LATENCIES), help="milliseconds a request", **numbers)
    parser.add_argument(
        "--repeat", type=int, default=REPEAT, metavar="N", help="repetitions, of which the median counts"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where the results go; a whole run goes to tests/bench and docs, a part to tests/output/bench",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
