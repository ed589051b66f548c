# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the collection that are weaker in one place. The matrix must find each of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("galaxy.yml", "meta", "playbooks", "plugins", "roles")


@dataclass(frozen=True)
class Weakness:
    """What a copy lacks: each text of ``changes`` in ``file`` becomes the other one. ``row`` must fail then."""

    file: str
    changes: Mapping[str, str]
    row: str


RUN = "roles/psk_rotation/tasks/psk_rotation/run.yml"
WEAKNESSES = {
    "ignore_errors": Weakness(RUN, {"  ignore_errors: false\n": ""}, "W1 ignore_errors-block"),
    "ignore_unreachable": Weakness(RUN, {"  ignore_unreachable: false\n": ""}, "W3 ignore_unreachable-unproven"),
    "old_fact": Weakness(
        "plugins/plugin_utils/_evidence.py", {'if said.get("wave") != token:': "if not said:"}, "W4 plain"
    ),
    # A handler has the play's keywords, so that one guard stands in for the other.
    "play_keywords": Weakness(
        "plugins/plugin_utils/_guards.py",
        {
            "    for keyword in play.ignoring:\n": "    for keyword in ():\n",
            "    if play.ignoring_handlers:\n": "    if ():\n",
        },
        "W1 ignore_errors-handlers",
    ),
}


def plant(name: str, folder: Path) -> Path:
    """Make such a copy; returns the path for ANSIBLE_COLLECTIONS_PATH."""
    weakness = WEAKNESSES[name]
    copy = folder / "ansible_collections" / "magicwan" / "cloudflare"
    copy.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / part)
    path = copy / weakness.file
    text = path.read_text(encoding="utf-8")
    for old, new in weakness.changes.items():
        if text.count(old) != 1:
            raise RuntimeError(f"{weakness.file} does not hold {old!r} once: correct the weakness {name}")
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return folder
