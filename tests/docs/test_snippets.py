# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command and playbook in README and guides does what it is there for: each document is run from top to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docs.snippets import ACTIONS, ROOT, Snippet, documents, snippets
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator

NAMES = ("berlin-1", "berlin-2", "hamburg-1", "hamburg-2")
RUNS = [x for x in documents() if any(s.action in ("run", "tasks", "syntax") for s in snippets(x))]
COMMANDS_THAT_SHOW = "ansible-vault view"


def name_of(path: Path) -> str:
    return path.name


@pytest.fixture
def account(simulator: Simulator) -> Simulator:
    """Two sites with two tunnels each, as the documents name them."""
    for tunnel, name in zip(simulator.state()["tunnels"], NAMES, strict=True):
        simulator.patch_tunnel(tunnel["id"], name=name)
    return simulator


@pytest.fixture
def env(account: Simulator, tmp_path: Path) -> dict[str, str]:
    """A user's shell, with the collection installed."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    (home / ".vault-password").write_text("vault-password-of-the-tests\n", encoding="utf-8")
    return {
        **account.env(),
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
            self._write(snippet.argument, snippet.text)
        elif snippet.action == "run":
            self._run(snippet.text, snippet)
        elif snippet.action == "tasks":
            play = [{"name": "Run the tasks", "hosts": "localhost", "tasks": yaml.safe_load(snippet.text)}]
            self._write("tasks.yml", yaml.safe_dump(play, sort_keys=False))
            self._run("ansible-playbook tasks.yml", snippet)
        elif snippet.action == "syntax":
            self._write(snippet.argument, snippet.text)
            self._run(f"ansible-playbook --syntax-check -i localhost, {snippet.argument}", snippet)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".yml", ".yaml"):
            assert yaml.safe_load(text), f"{name} is empty"
        path.write_text(text, encoding="utf-8")

    def _run(self, script: str, snippet: Snippet) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        output = done.stdout + done.stderr
        if COMMANDS_THAT_SHOW not in script:
            self.outputs.append(output)
        assert done.returncode == 0, f"line {snippet.line} ended with {done.returncode}:\n{script}\n{output}"


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_every_snippet_says_what_a_test_does_with_it(path: Path) -> None:
    unmarked = [f"line {x.line}" for x in snippets(path) if x.action not in ACTIONS]
    unreasoned = [f"line {x.line}" for x in snippets(path) if x.action == "shown" and len(x.argument) < 10]
    assert not unmarked and not unreasoned


@pytest.mark.fleet(tunnels=4, seed=7)
@pytest.mark.parametrize("path", RUNS, ids=name_of)
def test_every_snippet_works_and_shows_no_secret(
    path: Path, account: Simulator, env: dict[str, str], tmp_path: Path
) -> None:
    secrets = set(account.psks())
    reader = Reader(tmp_path / "work", env)
    for snippet in snippets(path):
        reader.take(snippet)
        secrets |= set(account.psks())
    assert reader.outputs
    assert not find_secrets(reader.outputs, sorted({*secrets, account.token}))


def test_a_snippet_without_a_mark_is_found() -> None:
    from tests.docs.snippets import _markdown, _rst

    assert [x.action for x in _markdown(["text", "```sh", "false", "```"])] == [None]
    assert [x.action for x in _rst(["text", "", ".. code-block:: shell", "", "    false"])] == [None]


@pytest.mark.fleet(tunnels=4, seed=7)
def test_a_snippet_that_fails_is_found(tmp_path: Path, env: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="line 3 ended with 1"):
        Reader(tmp_path / "work", env).take(Snippet(3, "shell", "run", "", "true\nfalse\ntrue\n"))
