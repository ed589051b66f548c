# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of all tests.

The simulator is started once a pytest worker and reset for each test. A test that wants another fleet says
`@pytest.mark.fleet(tunnels=300, seed=1)`, and one that wants other options takes `make_simulator`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT / ".venv" / "collections", ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from tests.harness.playbook import CoreUnavailable, Playbooks, core_bin  # noqa: E402
from tests.harness.simulator import Simulator  # noqa: E402


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[Simulator]:
    """The worker's simulator, not reset; take `simulator` instead."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(request: pytest.FixtureRequest, simulator_process: Simulator) -> Simulator:
    """A simulator with a fresh fleet: 24 tunnels, or what the mark `fleet` says."""
    mark = request.node.get_closest_marker("fleet")
    simulator_process.reset(**(mark.kwargs if mark else {}))
    return simulator_process


@pytest.fixture
def make_simulator() -> Iterator[Callable[..., Simulator]]:
    """Start simulators with options of their own; the arguments are those of Simulator."""
    started: list[Simulator] = []

    def make(*args: object, **kwargs: object) -> Simulator:
        simulator = Simulator(*args, **kwargs)  # type: ignore[arg-type]
        started.append(simulator)
        return simulator.start()

    yield make
    for simulator in started:
        simulator.stop()


@pytest.fixture
def make_playbooks(tmp_path: Path) -> Iterator[Callable[..., Playbooks]]:
    """Make runners for simulators other than the default one: make_playbooks(simulator.env())."""
    made: list[Playbooks] = []

    def make(env: dict[str, str] | None = None) -> Playbooks:
        made.append(Playbooks(tmp_path / f"playbooks-{len(made)}", env))
        return made[-1]

    yield make
    for playbooks in made:
        playbooks.close()


@pytest.fixture
def playbooks(make_playbooks: Callable[..., Playbooks], simulator: Simulator) -> Playbooks:
    """A runner of playbooks whose environment points at `simulator`."""
    return make_playbooks(simulator.env())


@pytest.fixture(params=[None, "2.19"], ids=["core", "core-2.19"])
def core(request: pytest.FixtureRequest) -> str | None:
    """Runs a test once on each ansible-core of `make test`: playbooks.run(..., core=core)."""
    try:
        core_bin(request.param)
    except CoreUnavailable as exc:
        pytest.skip(str(exc))
    version: str | None = request.param
    return version
