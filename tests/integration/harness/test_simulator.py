# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator as the tests use it: a process of its own, reset for each test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from tests.harness.simulator import Simulator


def listed(simulator: Simulator) -> requests.Response:
    """What the API lists."""
    return requests.get(
        f"{simulator.base_url}/accounts/{simulator.account}/magic/ipsec_tunnels",
        headers={"Authorization": f"Bearer {simulator.token}"},
        timeout=10,
    )


def test_serves_the_default_fleet(simulator: Simulator) -> None:
    assert len(listed(simulator).json()["result"]["ipsec_tunnels"]) == 24
    assert simulator.writes() == 0
    assert len(simulator.tunnels_by_name()) == 24
    assert len(simulator.journal()) == 1
    simulator.reset()
    assert simulator.journal() == []
    listed(simulator)
    assert len(simulator.journal()) == 1


@pytest.mark.fleet(tunnels=6, seed=3)
def test_mark_chooses_the_fleet(simulator: Simulator) -> None:
    assert len(simulator.state()["tunnels"]) == 6


def test_tunnels_change_behind_the_api(simulator: Simulator) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.patch_tunnel(tunnel["id"], psk="changed-by-somebody-else")
    assert "changed-by-somebody-else" in simulator.psks()


def test_faults_are_armed_and_cleared(simulator: Simulator) -> None:
    simulator.arm({"status": 502, "count": 1})
    assert simulator.faults()
    simulator.clear_faults()
    assert listed(simulator).status_code == 200


def test_own_simulator(make_simulator: Callable[..., Simulator], simulator: Simulator) -> None:
    own = make_simulator(tunnels=2, token="another-token")
    assert len(listed(own).json()["result"]["ipsec_tunnels"]) == 2
    assert simulator.base_url != own.base_url


def test_a_failed_start_says_why(make_simulator: Callable[..., Simulator]) -> None:
    with pytest.raises(RuntimeError, match="--no-such-option"):
        make_simulator(args=["--no-such-option"])
