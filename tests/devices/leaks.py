# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for keys in what the controller prints, logs, passes to processes and leaves in files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness.playbook import Playbooks
from tests.harness.secrets_scan import find_secrets
from tests.leaks.watch import Arguments

LOG = "ansible.log"
TEMPORARY = "temporary files"
PLACES = ("output", "log", "arguments", "files", TEMPORARY)
# Their connections can't pipe a module, so that it is a file of the controller while it runs. The guide says so.
UNPIPED = ("cisco_iosxe", "fortios", "junos", "vyos")
# What the test itself wrote: the play with the keys to bring in.
_INPUTS = ("play.yml",)


class Search:
    """Where keys are looked for while playbooks run in `folder`, and after it."""

    def __init__(self, folder: Path, keys: list[str]) -> None:
        self._folder, self._keys = folder, keys
        self._arguments = Arguments()
        (folder / "tmp").mkdir()
        (folder / "put").mkdir()

    def environment(self) -> dict[str, str]:
        """What makes the runs leave everything in the folder."""
        # Without the filter the role refuses Junos, whose library writes what it sends into the log.
        log = {"ANSIBLE_LOG_PATH": str(self._folder / LOG), "ANSIBLE_LOG_FILTER": "ncclient"}
        return {"TMPDIR": str(self._folder / "tmp"), "HARNESS_FILES": str(self._folder / "put"), **log}

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Look at the arguments of all processes."""
        with self._arguments:
            yield

    def places(self, playbooks: Playbooks) -> list[str]:
        """Where a key is."""
        log = self._folder / LOG
        if not log.exists():
            return ["log (there is none to search)"]
        files = [
            x for x in self._folder.rglob("*") if x.is_file() and x.name not in (*_INPUTS, LOG, "stdout", "stderr")
        ]
        put = [x for x in files if x.parent.name == "put"]
        left = [x for x in files if x not in put]
        searched: dict[str, list[Any]] = {
            "output": list(playbooks.outputs()),
            "log": [log],
            "arguments": [self._arguments.text()],
            "files": [*left, "\n".join(str(x) for x in left)],
            TEMPORARY: list(put),
        }
        return [place for place, found in searched.items() if find_secrets(found, self._keys)]


def planted(key: str) -> list[dict[str, Any]]:
    """Tasks that leave the key in each place."""
    script = "import os, sys, time; open(os.environ['TMPDIR'] + '/left', 'w').write(sys.argv[1]); time.sleep(0.5)"
    return [
        {
            "name": "Pass the key to a process that keeps it",
            "ansible.builtin.command": {"argv": [sys.executable, "-c", script, key]},
            "delegate_to": "localhost",
            "no_log": True,
        },
        {
            "name": "Hand the key over in a temporary file",
            "ansible.builtin.copy": {"content": key, "dest": "/dev/null", "force": False},
            "delegate_to": "localhost",
            "vars": {"ansible_connection": "local"},
            "no_log": True,
        },
        {"name": "Print the key", "ansible.builtin.debug": {"msg": "{{ '" + key + "' | b64encode }}"}},
    ]
