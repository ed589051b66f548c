# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command and playbook in README and guides does what it is there for: each document is run from top to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.reader import Reader, shell_of
from tests.docs.snippets import ACTIONS, Snippet, documents, snippets
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator

NAMES = ("berlin-1", "berlin-2", "hamburg-1", "hamburg-2")
RUNS = [x for x in documents() if any(s.action in ("run", "tasks", "syntax") for s in snippets(x))]


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
    return shell_of(account, tmp_path / "home")


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
