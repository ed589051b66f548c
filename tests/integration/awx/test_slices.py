# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sliced jobs, side by side. AWX can't keep a job from being sliced, and a slice can't see that it is one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.harness.runner import LOCAL, sliced
from tests.integration.awx.conftest import Site

SLICES = 4


def rotate_in_slices(site: Site, inventory: dict[str, dict[str, Any]], extra_vars: dict[str, Any]) -> None:
    """Run all slices at once, and then a plain job; then each tunnel has exactly one new PSK, known to the escrow.

    A slice that comes upon a tunnel which another one has begun does not know how that ends, and says so.
    """
    before = site.tunnels()
    jobs = [
        site.controller.start("rotate.yml", inventory=hosts, extra_vars=extra_vars)
        for hosts in sliced(inventory, SLICES)
    ]
    results = [job.wait() for job in jobs]
    shown = "\n".join(x.stdout[-2000:] for x in results)
    assert all("another run works on it" in x.stdout for x in results if x.status != "successful"), shown
    results.append(site.controller.run("rotate.yml", inventory=inventory, extra_vars=extra_vars).succeeded())
    assert Counter(len(x) for x in site.new_psks(before).values()) == {1: len(before)}
    records = site.records()
    assert {i: x["current"]["psk"] for i, x in records.items()} == {i: x["psk"] for i, x in site.tunnels().items()}
    assert {x["state"] for x in records.values()} == {"idle"}
    site.shows_no_secret(*results)


@pytest.mark.fleet(tunnels=1000)
def test_four_slices_that_each_rotate_a_thousand_tunnels_from_their_implicit_localhost(site: Site) -> None:
    inventory: dict[str, dict[str, Any]] = {f"device{n:02}": {} for n in range(20)}
    rotate_in_slices(site, inventory, site.on_localhost())


@pytest.mark.fleet(tunnels=16)
def test_four_slices_of_devices_rotate_each_tunnel_once(site: Site) -> None:
    ids = list(site.tunnels())
    inventory = {f"device{n}": {**LOCAL, "psk_rotation_tunnels": ids[2 * n : 2 * n + 2]} for n in range(8)}
    known = {"psk_rotation_unknown_psk": "rotate", "psk_rotation_confirmation": "none"}
    rotate_in_slices(site, inventory, {"psk_rotation_escrow": site.escrow, **known})
