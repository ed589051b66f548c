# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the matrix, and how one is judged."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.scene import Bench, Scene

Act = Callable[[Scene], None]


@dataclass(frozen=True)
class Row:
    """One fault: `code` as in the practice page (K5), `act` injects it into a scene and runs again."""

    code: str
    injected: str
    act: Act
    devices: bool = True
    adopt: bool = False
    bao: bool = False
    skipped: str = ""


@dataclass
class Outcome:
    """What came of a row."""

    code: str
    injected: str
    after_crash: str = ""
    after_rerun: str = ""
    lost: int = 0
    dark: int | None = 0
    mismatched: int = 0
    problems: list[str] = field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0
    output: str = ""

    @property
    def ok(self) -> bool:
        """Whether the promise held."""
        return not (self.problems or self.lost or self.dark or self.mismatched)

    @property
    def verdict(self) -> str:
        """One word."""
        return "skipped" if self.skipped else "ok" if self.ok else "FAIL"


ROWS: list[Row] = []


def row(
    code: str, injected: str, *, devices: bool = True, adopt: bool = False, bao: bool = False
) -> Callable[[Act], Act]:
    """Enter a function into the matrix."""

    def enter(act: Act) -> Act:
        ROWS.append(Row(code, injected, act, devices, adopt, bao))
        return act

    return enter


def skip(code: str, injected: str, reason: str) -> None:
    """Enter a fault that can't be had here."""
    ROWS.append(Row(code, injected, lambda scene: None, skipped=reason))


def play_row(row: Row, bench: Bench) -> Outcome:
    """Act it, and judge."""
    outcome = Outcome(row.code, row.injected, skipped=row.skipped)
    if row.skipped:
        return outcome
    begun = time.monotonic()
    with bench.scene(devices=row.devices, adopt=row.adopt, bao=row.bao) as scene:
        try:
            row.act(scene)
        except Exception as exc:
            scene.problems.append(f"{type(exc).__name__}: {exc}"[:3000])
            outcome.output += traceback.format_exc()
        judge(scene, outcome)
    outcome.seconds = time.monotonic() - begun
    return outcome


def judge(scene: Scene, outcome: Outcome) -> None:
    """Fill in what the scene shows."""
    outcome.after_crash, outcome.after_rerun = scene.after_crash, scene.after_rerun
    outcome.lost = len(scene.lost)
    outcome.dark = len(scene.dark()) if scene.has_devices else None
    outcome.mismatched = len(scene.mismatched)
    outcome.problems = [
        *(f"{x}: its key is lost" for x in scene.lost.values()),
        *(f"{x}: a run ended well, and its keys differ" for x in scene.mismatched.values()),
        *scene.problems,
    ]
    if not outcome.ok:
        outcome.output += "\n\n".join(f"--- {x}" for x in scene.books.outputs())


def chosen(codes: Sequence[str]) -> list[Row]:
    """The rows of these codes, or of letters, in this order; all of them by default."""
    wanted = [x.strip().upper() for x in codes if x.strip()]
    found = [x for code in wanted for x in ROWS if _meets(x.code.upper(), code)]
    return list({x.code: x for x in found or (ROWS if not wanted else ())}.values())


def _meets(code: str, wanted: str) -> bool:
    return code == wanted or code.split()[0] == wanted or (len(wanted) == 1 and code.startswith(wanted))


def save_output(outcome: Outcome, folder: Path) -> Path:
    """Keep what the runs of a failed row have printed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{outcome.code.replace(' ', '-').replace('/', '-')}.txt"
    path.write_text("\n".join(outcome.problems) + "\n\n" + outcome.output, encoding="utf-8")
    return path
