# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every integration test: no run shows a secret."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.playbook import Playbooks
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test with the fixture `playbooks`, look for the simulator's PSKs and token in all that was printed.

    A test that prints secrets on purpose says so with `@pytest.mark.shows_secrets`.
    """
    if "playbooks" not in request.fixturenames or request.node.get_closest_marker("shows_secrets"):
        yield
        return
    simulator: Simulator = request.getfixturevalue("simulator")
    playbooks: Playbooks = request.getfixturevalue("playbooks")
    secrets = set(simulator.psks())
    yield
    secrets |= {simulator.token, *simulator.psks()}
    hits = find_secrets(playbooks.outputs(), sorted(secrets))
    assert not hits, f"secrets in the output of {request.node.name}: {hits[:10]}"
