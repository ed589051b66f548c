# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulebooks in the real ansible-rulebook: `python -m tests.eda`.

Tunnels are those of the simulator, AWX is the stand-in with the objects of the setup playbook. Each row is a cause, and
what was launched for it. Jobs end at once: what a rollback does is shown elsewhere.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.eda.lab import VENV, Lab
from tests.eda.scenarios import SCENARIOS


def main() -> int:
    """Run every scenario, in one pair of rulebooks; returns the process's exit code."""
    if subprocess.run([Path(__file__).parent / "install"], check=False).returncode:
        return 1
    if not (VENV / "bin" / "ansible-rulebook").exists():
        print("eda: run tools/tool-venv eda first", file=sys.stderr)
        return 1
    # What ends this process ends the rulebooks too.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    failures = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="eda-") as folder, Lab(Path(folder)) as lab:
        print(f"{'cause':<78} {'launched':>8}  {'s':>5}")
        for scenario in SCENARIOS:
            started = time.monotonic()
            try:
                launched, problem = str(scenario.run(lab)), ""
            except AssertionError as exc:
                launched, problem, failures = "-", f"  FAILED: {exc}", failures + 1
            print(f"{scenario.cause:<78} {launched:>8}  {time.monotonic() - started:5.1f}{problem}", flush=True)
        found = lab.secrets_shown()
        print(f"secrets in {lab.printed()} bytes of output: {found}")
        if failures:
            print(lab.tail(), file=sys.stderr)
    print(f"eda: {len(SCENARIOS)} rows, {failures} failed, {time.monotonic() - began:.0f} s")
    return 1 if failures or found else 0


if __name__ == "__main__":
    sys.exit(main())
