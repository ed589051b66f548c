# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""K15 many times: a rotation of 40 tunnels at 20 devices is killed at a random moment, and run again."""

from __future__ import annotations

import random
import time
import traceback

from tests.faults.matrix import Outcome, judge
from tests.faults.scene import POLL, Bench, Scene

TUNNELS = 40
LONGEST_DELAY = 0.4
SHARE_OF_GROUP_KILLS = 0.3


def kill_at_random(bench: Bench, seed: int) -> Outcome:
    """One kill: at a random task's start or result, and up to LONGEST_DELAY later, so at any step within a task."""
    chance = random.Random(seed)
    event = chance.randint(1, bench.events - 5)
    delay = chance.uniform(0, LONGEST_DELAY)
    group = chance.random() < SHARE_OF_GROUP_KILLS
    what = f"{'process group' if group else 'everything'} {delay:.3f} s after event {event} of {bench.events}"
    outcome = Outcome(f"K15/{seed}", what)
    begun = time.monotonic()
    with bench.scene() as scene:
        try:
            _act(scene, event, delay, group)
        except Exception as exc:
            scene.problems.append(f"{type(exc).__name__}: {exc}"[:3000])
            outcome.output += traceback.format_exc()
        judge(scene, outcome)
    outcome.seconds = time.monotonic() - begun
    return outcome


def _act(scene: Scene, event: int, delay: float, group: bool) -> None:
    since = scene.last_entry()
    running = scene.start(env=scene.kill_at("", "any", event, "signal"))
    while not scene.fired.exists() and running.process.poll() is None:
        time.sleep(POLL)
    time.sleep(delay)  # the fault itself: any moment will do
    if group:
        running.kill_group()
    else:
        running.kill_all()
    scene.crashed(scene.finish(running, since), "any")
    scene.rerun()
