# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages for rotations: one a test, or one a file whose story several tests tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.playbook import Playbooks
from tests.harness.simulator import Simulator
from tests.integration.psk_rotation.stage import Stage


@pytest.fixture
def stage(simulator: Simulator, playbooks: Playbooks, tmp_path: Path) -> Stage:
    """A stage with a fresh account of 24 tunnels at 12 sites, or what the mark `fleet` says."""
    folder = tmp_path / "stage"
    folder.mkdir()
    return Stage(simulator, playbooks, folder)


@pytest.fixture(scope="module")
def make_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stage]]:
    """Make stages that outlive a test, each with a simulator of its own: make_stage(tunnels=300)."""
    made: list[tuple[Simulator, Playbooks]] = []

    def make(tunnels: int = 24, seed: int = 7) -> Stage:
        simulator = Simulator(tunnels, seed).start()
        folder = tmp_path_factory.mktemp("stage")
        playbooks = Playbooks(folder / "playbooks", simulator.env())
        made.append((simulator, playbooks))
        return Stage(simulator, playbooks, folder)

    yield make
    for simulator, playbooks in made:
        playbooks.close()
        simulator.stop()
