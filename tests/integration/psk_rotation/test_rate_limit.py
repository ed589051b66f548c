# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloudflare's block after too many requests, without a word on how long: a rotation waits it out, and says so.

Time is scaled: a long pause of the run takes a hundredth of its seconds, and so does the block.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.harness.between import Between, Reply
from tests.harness.playbook import Playbooks
from tests.integration.psk_rotation.stage import Stage

SCALE = 100
BLOCK = 300 / SCALE
SCALED = f"""
import time

_sleep = time.sleep
time.sleep = lambda seconds: _sleep(seconds / {SCALE} if seconds >= 60 else seconds)
"""
REFUSAL = {"success": False, "errors": [{"code": 971, "message": "Please wait"}], "messages": [], "result": None}
REFUSED = Reply(429, json.dumps(REFUSAL).encode(), {"Content-Type": "application/json"})
PAGE = Reply(429, b"<html>error code: 1015</html>", {"Content-Type": "text/html"})


class Block:
    """Refuses everything for the length of a block, from the n-th request of a kind on."""

    def __init__(self, playbooks: Playbooks, reply: Reply, kind: str, nth: int) -> None:
        self.refused = 0
        self.said_meanwhile = ""
        self._playbooks = playbooks
        self._reply = reply
        self._kind = kind
        self._left = nth
        self._until = 0.0
        self._over = False

    def __call__(self, method: str, path: str) -> Reply | None:
        if self._left and f"{method} {path}".endswith(self._kind):
            self._left -= 1
            if not self._left:
                self._until = time.monotonic() + BLOCK
        if time.monotonic() < self._until:
            self.refused += 1
            return self._reply
        if self.refused and not self._over:
            self._over = True
            self.said_meanwhile = self._playbooks.outputs()[-1]
        return None


@pytest.mark.fleet(tunnels=1000, seed=1)
@pytest.mark.parametrize(
    ("reply", "kind", "nth"),
    [
        pytest.param(REFUSED, "/ipsec_tunnels/psk", 1, id="first wave"),
        pytest.param(PAGE, "/ipsec_tunnels/psk", 2, id="second wave, by a page"),
        pytest.param(REFUSED, "/ipsec_tunnels", 1, id="list"),
    ],
)
def test_a_rotation_of_a_thousand_tunnels_waits_the_block_out_and_says_so_while_it_waits(
    stage: Stage, playbooks: Playbooks, tmp_path: Path, reply: Reply, kind: str, nth: int
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SCALED, encoding="utf-8")
    block = Block(playbooks, reply, kind, nth)
    with Between(stage.simulator, block) as between:
        env = {"CLOUDFLARE_BASE_URL": between.base_url, "PYTHONPATH": str(tmp_path / "site")}
        run = stage.rotate(then=(), env=env).ok()
    assert block.refused == 1
    line = f"Cloudflare's API ({between.address}): HTTP 429, too many requests; waiting 300 s before the next try"
    assert block.said_meanwhile.count(line) == run.result.output.count(line) == 1
    assert len(run.rotated) == 1000
    assert stage.current() == stage.psks()
