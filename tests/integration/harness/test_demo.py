# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make demo` shows."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.harness.playbook import ROOT


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "demo")], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return (done.stdout + done.stderr).splitlines()


def test_the_demo_takes_less_than_150_lines(lines: list[str]) -> None:
    assert len(lines) < 150


def test_the_demo_shows_the_plan_the_rotation_and_the_end(lines: list[str]) -> None:
    plan = next(n for n, x in enumerate(lines) if x.startswith("tunnel "))
    assert {x.split("device-0")[1][0] for x in lines[plan + 1 : plan + 7]} == {"1", "2", "3"}
    waves = [x.partition(":")[0] for x in lines if x.startswith("wave ")]
    assert waves == ["wave 1 of 2", "wave 2 of 2"] * 2
    ends = [
        x.partition(": ")[2].rpartition(" s")[0].split(", ")[:2]
        for x in lines
        if " tunnels, " in x and x[:4] in ("chec", "rota")
    ]
    assert ends == [["6 tunnels", "6 planned"], ["6 tunnels", "6 delivered"], ["6 tunnels", "6 unchanged"]]
    assert lines[-1] == "demo: ok"
