# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collections of vendors for the tests, out of the `ansible` package on PyPI: no Galaxy is needed.

`python -m tests.harness.vendor_collections` puts those in COLLECTIONS under .venv/vendor_collections, and prints the
folder. It does nothing when they are there. AWX's own collection is in an earlier `ansible` only.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv" / "vendor_collections"
PACKAGE = "ansible==14.5.0"
COLLECTIONS = ("ansible/netcommon", "ansible/utils", "cisco/ios", "fortinet/fortios", "vyos/vyos")
AWX_FOLDER = ROOT / ".venv" / "awx_collections"
AWX_PACKAGE = "ansible==13.8.0"
AWX_COLLECTIONS = ("awx/awx",)


def vendor_collections() -> Path:
    """The folder for ANSIBLE_COLLECTIONS_PATH, made when it is missing."""
    return _fetch(FOLDER, PACKAGE, COLLECTIONS)


def awx_collections() -> Path:
    """The same with awx.awx 24.6.1."""
    return _fetch(AWX_FOLDER, AWX_PACKAGE, AWX_COLLECTIONS)


def _fetch(target: Path, package: str, collections: Sequence[str]) -> Path:
    stamp = target / "stamp"
    wanted = " ".join((package, *collections))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return target
    with tempfile.TemporaryDirectory(prefix="vendor-collections-") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
        subprocess.run(pip, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        prefixes = tuple(f"ansible_collections/{name}/" for name in collections)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target, [name for name in archive.namelist() if name.startswith(prefixes)])
    stamp.write_text(wanted, encoding="utf-8")
    return target


if __name__ == "__main__":
    print(vendor_collections())
