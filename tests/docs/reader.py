# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody who reads a document, and does what stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.docs.snippets import ROOT, Snippet
from tests.harness.simulator import Simulator

COMMANDS_THAT_SHOW = "ansible-vault view"


def shell_of(simulator: Simulator, home: Path) -> dict[str, str]:
    """A user's shell, with the collection installed, on an account in the simulator."""
    home.mkdir(mode=0o700)
    (home / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    (home / ".vault-password").write_text("vault-password-of-the-tests\n", encoding="utf-8")
    return {
        **simulator.env(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(home / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv" / "collections"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "NO_PROXY": "127.0.0.1",
    }


class Reader:
    """Somebody who does what the document says, in a folder of their own."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.env = env
        self.outputs: list[str] = []
        folder.mkdir(mode=0o700)

    def take(self, snippet: Snippet) -> None:
        """Do one snippet; the test fails when it does."""
        if snippet.action == "file":
            self.write(snippet.argument, snippet.text)
        elif snippet.action == "run":
            self._run(snippet.text, snippet)
        elif snippet.action == "tasks":
            play = [{"name": "Run the tasks", "hosts": "localhost", "tasks": yaml.safe_load(snippet.text)}]
            self.write("tasks.yml", yaml.safe_dump(play, sort_keys=False))
            self._run("ansible-playbook tasks.yml", snippet)
        elif snippet.action == "syntax":
            self.write(snippet.argument, snippet.text)
            self._run(f"ansible-playbook --syntax-check -i localhost, {snippet.argument}", snippet)

    def write(self, name: str, text: str) -> None:
        """Write a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".yml", ".yaml"):
            assert yaml.safe_load(text), f"{name} is empty"
        path.write_text(text, encoding="utf-8")

    def run(self, script: str, rc: int = 0) -> str:
        """Run commands by bash; the test fails unless they end with this code. Returns what they have printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        output = done.stdout + done.stderr
        if COMMANDS_THAT_SHOW not in script:
            self.outputs.append(output)
        assert done.returncode == rc, f"ended with {done.returncode}:\n{script}\n{output}"
        return output

    def _run(self, script: str, snippet: Snippet) -> None:
        try:
            self.run(script)
        except AssertionError as exc:
            raise AssertionError(f"line {snippet.line} {exc}") from None
