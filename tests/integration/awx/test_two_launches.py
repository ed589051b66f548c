# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody launches the rotation while another one is on its way."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.awx_stand_in.jobs import Launch, Outcome
from tests.integration.awx.world import set_up_awx

TUNNELS = 8


def test_two_rotations_at_once_rotate_each_tunnel_once(tmp_path: Path) -> None:
    with set_up_awx(tmp_path, TUNNELS) as awx:
        rotate = awx.awx.all("job_templates")["Magic WAN - rotate"]["id"]
        assert awx.call("PATCH", f"job_templates/{rotate}", {"allow_simultaneous": True}).status_code == 200
        both = threading.Barrier(2)

        def run(launch: Launch) -> Outcome:
            both.wait(60)
            return awx.run(launch)

        awx.awx.world.run = run
        before = awx.psks_set()
        first = awx.launch("Magic WAN - rotate").json()["job"]
        second = awx.launch("Magic WAN - rotate", extra_vars={"psk_rotation_max_failures": "1"}).json()["job"]
        ended = {x: awx.wait_for(x)["status"] for x in (first, second)}
        for number, status in ended.items():
            assert number in awx.results, awx.awx.jobs.all[number]["job_explanation"]
            assert status == "successful" or "another run works on it" in awx.results[number].stdout
        awx.awx.world.run = awx.run
        assert awx.job("Magic WAN - rotate")["status"] == "successful"
        assert awx.psks_set() == {name: count + 1 for name, count in before.items()}
