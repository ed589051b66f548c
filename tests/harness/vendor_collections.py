# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collections of vendors for the tests, out of the `ansible` package on PyPI: no Galaxy is needed.

`python -m tests.harness.vendor_collections` puts those in COLLECTIONS under .venv/vendor_collections, and prints the
folder. It does nothing when they are there. AWX's own collection is in an earlier `ansible` only.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv" / "vendor_collections"
# The last major version with junipernetworks.junos and awx.awx in it. None has paloaltonetworks.panos.
PACKAGE = "ansible==13.8.0"
COLLECTIONS = (
    "ansible/netcommon",
    "ansible/utils",
    "awx/awx",
    "cisco/ios",
    "fortinet/fortios",
    "junipernetworks/junos",
    "vyos/vyos",
)


def vendor_collections() -> Path:
    """The folder for ANSIBLE_COLLECTIONS_PATH, made when it is missing; one process makes it, others wait."""
    stamp = FOLDER / "stamp"
    wanted = " ".join((PACKAGE, *COLLECTIONS))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            _fetch()
            stamp.write_text(wanted, encoding="utf-8")
    return FOLDER


def _fetch() -> None:
    with tempfile.TemporaryDirectory(prefix="vendor-collections-") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run(pip, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        prefixes = tuple(f"ansible_collections/{name}/" for name in COLLECTIONS)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(FOLDER, [name for name in archive.namelist() if name.startswith(prefixes)])


if __name__ == "__main__":
    print(vendor_collections())
