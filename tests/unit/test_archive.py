# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user gets from Galaxy: the collection, and nothing that only its developers need."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
IGNORED = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["build_ignore"]
FOLDERS = sorted(
    x.name for x in (ROOT / "tests").iterdir() if x.is_dir() and x.name not in ("__pycache__", "output", "sanity")
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_of_tests_is_not_in_the_archive(folder: str) -> None:
    assert f"tests/{folder}" in IGNORED


def test_what_the_archive_leaves_out_of_the_tests_exists() -> None:
    named = [x.removeprefix("tests/") for x in IGNORED if x.startswith("tests/") and not x.endswith((".py", "/output"))]
    assert sorted(named) == FOLDERS
