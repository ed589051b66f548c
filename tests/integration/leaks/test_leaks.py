# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quick search for leaks, and the proof that it finds one; `make leaks` does it all on every core."""

from __future__ import annotations

import pytest

from tests.leaks.__main__ import main

pytestmark = pytest.mark.shows_secrets


def test_a_quick_search_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--quick"])
    output = capsys.readouterr().out
    assert status == 0, output
    assert " 0 failed" in output
    assert "HITS" not in output


def test_a_planted_leak_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--plant"])
    output = capsys.readouterr().out
    assert status == 1, output
    assert "stdout and stderr: PSK number" in output
    assert "did not run as it should" not in output
