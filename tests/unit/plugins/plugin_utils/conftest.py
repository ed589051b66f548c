# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation in this process, and how hypothesis looks for examples: the same ones each time."""

from __future__ import annotations

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation
from hypothesis import HealthCheck, settings

from tests.harness.simulator import Simulator
from tests.unit.plugins.plugin_utils.memory import MemoryStore
from tests.unit.plugins.plugin_utils.stage import make

settings.register_profile(
    "plugin_utils",
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("plugin_utils")


@pytest.fixture
def store() -> MemoryStore:
    """An empty escrow."""
    return MemoryStore()


@pytest.fixture
def said() -> list[str]:
    """What `rotation` shows."""
    return []


@pytest.fixture
def rotation(simulator: Simulator, store: MemoryStore, said: list[str]) -> Rotation:
    """A rotation of the simulator's tunnels into `store`."""
    return make(simulator, store, say=said.append)
