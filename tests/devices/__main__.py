# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make devices`: the matrix of platforms and scenarios, and the faults that turn a platform's row red."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.harness.playbook import ROOT

from .leaks import PLACES, TEMPORARY, UNPIPED
from .matrix import PLATFORMS, Bench, Cell
from .scenarios import SCENARIOS

# Appended to a platform's module: every SA that is there is taken for a new one, all that a script prints for a proof,
# and nobody has to see the old one gone.
FAULT = """

import dataclasses as _dataclasses
import uuid as _uuid

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import Sa as _Sa

_honest = PLATFORM.sas


def _lies(answer, tunnel):
    return [_Sa(_uuid.uuid4().hex, 0, True, x.handle) for x in _honest(answer, tunnel)]


PLATFORM = _dataclasses.replace(
    PLATFORM, sas=_lies, needs_gap=False, watch=PLATFORM.watch and (lambda *_what: "")
)
"""
# Scenarios in which an SA is there that proves nothing.
LIES = ["ignored", "rekeyed", "half_open"]


def main() -> int:
    """Print the table; 0 when every cell that ran is as it must be, and every planted fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.devices")
    parser.add_argument("--platforms", default=",".join(PLATFORMS))
    parser.add_argument("--scenarios", default=",".join(SCENARIOS))
    parser.add_argument("--no-faults", action="store_true", help="leave the planted faults out")
    arguments = parser.parse_args()
    platforms, scenarios = arguments.platforms.split(","), arguments.scenarios.split(",")
    cells: list[Cell] = []
    for platform in platforms:
        row = Bench(platform).run(scenarios)
        cells += row
        report(platform, row)
    blind = [] if arguments.no_faults else [x for x in platforms if not fault_is_seen(x)]
    ran = [x for x in cells if not x.not_run]
    bad = [x for x in ran if not x.good]
    print(f"\n{len(ran)} cells ran, {len(bad)} are bad, {len(cells) - len(ran)} can't happen and are not counted.")
    differ = [x for x in ran if (x.verdict == "confirmed") != x.truth]
    print(f"{len(differ)} cells where the verdict differs from the model's truth.")
    shown = [x for x in ran if x.shown]
    print(f"{len(shown)} cells with a key in {', '.join(PLACES[:-1])} or {PLACES[-1]} of the controller.")
    unpiped = [x for x in platforms if x in UNPIPED]
    if unpiped:
        print(f"Not counted: the {TEMPORARY} of {', '.join(unpiped)}, whose connections can't pipe a module.")
    if not arguments.no_faults:
        print(f"planted faults: {len(platforms) - len(blind)} of {len(platforms)} turn their row red")
        unseen = planted_leaks_unseen(platforms[0])
        print(f"planted leak: {'not seen in ' + ', '.join(unseen) if unseen else 'seen in ' + ', '.join(PLACES)}")
        blind += unseen
    return 1 if bad or blind else 0


def report(platform: str, row: list[Cell]) -> None:
    """A row of the table."""
    print(f"\n{platform} ({PLATFORMS[platform][1]})")
    for cell in row:
        title = SCENARIOS[cell.scenario].title
        state = f"-  {cell.not_run}" if cell.not_run else "ok" if cell.good else "BAD"
        said = "" if cell.not_run else f"{cell.verdict}{': ' + cell.reason if cell.reason else ''}"
        print(f"  {title:40} {state:4} {said[:110]}")
        for fault in cell.faults:
            print(f"      {fault}")
    sys.stdout.flush()


def planted_leaks_unseen(platform: str) -> list[str]:
    """Where the search does not find a key that was left there."""
    (cell,) = Bench(platform, leaks=True).run(["missing"])
    return [x for x in PLACES if x not in cell.leaks]


def fault_is_seen(platform: str) -> bool:
    """Whether the row turns red when the platform's judgement lies."""
    with tempfile.TemporaryDirectory(prefix="devices-fault-") as made:
        target = Path(made) / "ansible_collections" / "magicwan" / "cloudflare"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "plugins", "roles", "meta",
             "galaxy.yml"],
            cwd=ROOT, capture_output=True, check=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).exists():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target / name)
        with (target / "plugins" / "plugin_utils" / f"_device_on_{platform}.py").open("a", encoding="utf-8") as file:
            file.write(FAULT)
        row = Bench(platform, Path(made)).run(LIES)
    red = any(not x.good and x.verdict == "confirmed" and not x.truth for x in row)
    print(f"planted fault in {platform}: {'seen' if red else 'NOT SEEN'}")
    return red


if __name__ == "__main__":
    sys.exit(main())
