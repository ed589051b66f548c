# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory updates as AWX makes them: ansible-inventory with AWX's environment, and how its output is kept.

After RunInventoryUpdate in awx/main/tasks/jobs.py and awx/main/management/commands/inventory_import.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Fields = dict[str, Any]
INHERITED = ("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


class UpdateFailed(Exception):
    """ansible-inventory has failed, or read nothing; the text is what it printed."""


@dataclass
class Content:
    """What an inventory holds: its own variables (those of the group all), and each group's and each host's."""

    variables: Fields = field(default_factory=dict)
    groups: dict[str, Fields] = field(default_factory=dict)
    hosts: dict[str, Fields] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)

    def as_listed(self) -> Fields:
        """The inventory script's output that a job gets."""
        groups = {
            name: {"hosts": self.members.get(name, []), "vars": variables} for name, variables in self.groups.items()
        }
        return {
            "all": {"hosts": list(self.hosts), "vars": self.variables, "children": list(self.groups)},
            "_meta": {"hostvars": self.hosts},
            **groups,
        }


def read(
    project: Path,
    source: str,
    env: Mapping[str, str],
    command: Path,
    ee_collections: Path | None = None,
    project_collections: Path | None = None,
) -> Fields:
    """Run ansible-inventory on a file of the project; raises UpdateFailed.

    ee_collections: the collections in the execution environment, at their usual place; None for none.
    project_collections: those that the project's update has installed. AWX names their folder by
    ANSIBLE_COLLECTIONS_PATHS alone, which ansible-core 2.19 and newer does not read.
    """
    with tempfile.TemporaryDirectory(prefix="awx-inventory-") as folder:
        home = Path(folder) / "home"
        (home / ".ansible").mkdir(parents=True)
        if ee_collections is not None:
            (home / ".ansible" / "collections").symlink_to(ee_collections)
        own = Path(folder) / "requirements_collections"
        if project_collections is not None:
            own.symlink_to(project_collections)
        base = {name: os.environ[name] for name in INHERITED if name in os.environ}
        full = {
            **base,
            "LC_ALL": "C.UTF-8",
            "NO_PROXY": "127.0.0.1,localhost",
            "HOME": str(home),
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
            "ANSIBLE_COLLECTIONS_PATHS": f"{own}:~/.ansible/collections:/usr/share/ansible/collections",
            **env,
        }
        path = project / source
        output = Path(folder) / "output.json"
        arguments = ["--list", "--export", "-i", str(path), "--output", str(output), "--playbook-dir", str(path.parent)]
        done = subprocess.run(
            [command, *arguments], env=full, cwd=project, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode != 0 or not output.exists():
            raise UpdateFailed(done.stdout + done.stderr)
        found: Fields = json.loads(output.read_text(encoding="utf-8"))
        return found


def merge(kept: Content, found: Mapping[str, Any], *, overwrite: bool, overwrite_vars: bool) -> Content:
    """What the inventory holds after an update.

    The variables of the group all are merged into those that are there, whatever `overwrite_vars` says: one that is
    gone from the source stays for ever. Those of other groups and of hosts are replaced with it, typed ones too.
    """
    hostvars = found.get("_meta", {}).get("hostvars", {})
    entries = {name: x for name, x in found.items() if name not in ("_meta", "all", "ungrouped")}
    hosts = dict.fromkeys(x for entry in found.values() for x in entry.get("hosts", ()))
    merged = Content(
        variables={**kept.variables, **found.get("all", {}).get("vars", {})},
        groups={} if overwrite else dict(kept.groups),
        hosts={} if overwrite else dict(kept.hosts),
        members={name: list(x.get("hosts", ())) for name, x in entries.items()},
    )
    for name, entry in entries.items():
        before = {} if overwrite_vars else kept.groups.get(name, {})
        merged.groups[name] = {**before, **entry.get("vars", {})}
    for name in hosts:
        before = {} if overwrite_vars else kept.hosts.get(name, {})
        merged.hosts[name] = {**before, **hostvars.get(name, {})}
    return merged
