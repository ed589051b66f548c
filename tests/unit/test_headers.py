# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every file that can hold a comment says whose it is and under which licence."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Made by tools, without comments, or compared byte by byte.
WITHOUT = ("LICENSE", "CHANGELOG.md", "CHANGELOG.rst", "changelogs/changelog.yaml")
COPYRIGHT = "Copyright (c) 2026, The magicwan.cloudflare authors"
LICENCE = "SPDX-License-Identifier: GPL-3.0-or-later"


def lacks_header(name: str) -> bool:
    """Whether the first lines of this file lack the header."""
    path = ROOT / name
    if not path.is_file() or not path.stat().st_size or name in WITHOUT or "/golden/" in name or path.suffix == ".json":
        return False
    head = path.read_text(encoding="utf-8")[:600]
    return COPYRIGHT not in head or LICENCE not in head


def test_every_file_has_the_header() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [name for name in listed.splitlines() if lacks_header(name)] == []
