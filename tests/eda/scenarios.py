# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows: each a cause, and what must be launched for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.eda.lab import QUIET_LOOKS, ROLLBACK, ROTATION, Lab

UNAVAILABLE = "The health of the tunnels can't be read"


@dataclass(frozen=True)
class Scenario:
    """`run` returns how many jobs were launched, and raises AssertionError."""

    cause: str
    run: Callable[[Lab], int]


def after_a_rotation(lab: Lab) -> int:
    lab.set_psk(0)
    lab.health(0, "down")
    lab.until(lambda: lab.rolled_back(0) > 0, "nothing was rolled back")
    lab.looks(QUIET_LOOKS)
    assert lab.rolled_back(0) == len(lab.launched(ROLLBACK)) == 1, lab.launched(ROLLBACK)
    return 1


def long_after(lab: Lab) -> int:
    return _nothing(lab, 1, "down")


def degraded(lab: Lab) -> int:
    lab.set_psk(2)
    return _nothing(lab, 2, "degraded")


def _nothing(lab: Lab, number: int, state: str) -> int:
    before = len(lab.launched(ROLLBACK))
    told = lab.said(f"'state': '{state}'")
    lab.health(number, state)
    lab.until(lambda: lab.said(f"'state': '{state}'") > told, "the source has told nothing")
    lab.looks(QUIET_LOOKS)
    assert len(lab.launched(ROLLBACK)) == before, lab.launched(ROLLBACK)
    return 0


def flapping(lab: Lab) -> int:
    lab.set_psk(3)
    for _ in range(3):
        for state in ("down", "healthy"):
            told = lab.said(f"'state': '{state}'")
            lab.health(3, state)
            lab.until(lambda state=state, told=told: lab.said(f"'state': '{state}'") > told, "nothing was told")  # type: ignore[misc]
        lab.set_psk(3)
    lab.looks(QUIET_LOOKS)
    assert lab.rolled_back(3) == 1, lab.rolled_back(3)
    return lab.rolled_back(3)


def two_at_once(lab: Lab) -> int:
    lab.held.clear()
    for number in (4, 5):
        lab.set_psk(number)
        lab.health(number, "down")
    lab.until(lambda: len(lab.running) == 2, "the second job waited for the first")
    lab.held.set()
    assert (lab.rolled_back(4), lab.rolled_back(5)) == (1, 1)
    return 2


def rate_limited(lab: Lab) -> int:
    said = lab.said(UNAVAILABLE)
    lab.simulator.arm({"route": "list", "status": 429, "headers": {"Retry-After": "1"}})
    lab.looks(2)
    assert lab.said(UNAVAILABLE) == said, "a 429 that was waited for is no failure"
    return _still_watches(lab, 6)


def server_errors(lab: Lab) -> int:
    said = lab.said(UNAVAILABLE)
    lab.simulator.arm({"route": "any", "status": 502, "html": True, "count": 0})
    lab.until(lambda: lab.said(UNAVAILABLE) > said, "nobody was told")
    lab.looks(3)
    lab.simulator.clear_faults()
    lab.looks(2)
    assert lab.said(UNAVAILABLE) == said + 1, "it was told more than once"
    return _still_watches(lab, 7)


def lost_token(lab: Lab) -> int:
    said = lab.said(UNAVAILABLE)
    lab.simulator.arm({"route": "any", "status": 403, "code": 10000, "message": "Authentication error", "count": 0})
    lab.until(lambda: lab.said(UNAVAILABLE) > said, "nobody was told")
    lab.looks(2)
    lab.simulator.clear_faults()
    lab.looks(2)
    assert lab.said(UNAVAILABLE) == said + 1, "it was told more than once"
    return _still_watches(lab, 8)


def _still_watches(lab: Lab, number: int) -> int:
    lab.set_psk(number)
    lab.health(number, "down")
    lab.until(lambda: lab.rolled_back(number) == 1, "the source watches no more")
    return 1


def broken_policy(lab: Lab) -> int:
    assert lab.audit(overdue=3).ok
    lab.until(lambda: len(lab.launched(ROTATION)) == 1, "no rotation was launched")
    lab.until(lambda: bool(_waiting(lab)), "the rotation waits for no approval")
    return 1


def again(lab: Lab) -> int:
    assert lab.audit(overdue=3).ok
    return _no_rotation(lab, 1)


def what_no_rotation_fixes(lab: Lab) -> int:
    assert lab.audit(stuck=2, template="Magic WAN Branch - audit").ok
    return _no_rotation(lab, 1)


def no_audit(lab: Lab) -> int:
    assert lab.audit(status="successful", overdue=3, template="Magic WAN Branch - audit").ok
    return _no_rotation(lab, 1)


def somebody_else(lab: Lab) -> int:
    headers = lab.awx.store.named("notification_templates", "Magic WAN - events")["notification_configuration"][
        "headers"
    ]
    kept = dict(headers)
    headers["Authorization"] = "Bearer wrong"
    answer = lab.audit(overdue=3, template="Magic WAN Branch - audit")
    headers.update(kept)
    assert answer.status_code == 401, answer.status_code
    return _no_rotation(lab, 1)


def _no_rotation(lab: Lab, before: int) -> int:
    lab.looks(QUIET_LOOKS)
    assert len(lab.launched(ROTATION)) == before, lab.launched(ROTATION)
    return 0


def _waiting(lab: Lab) -> list[int]:
    return [x["id"] for x in lab.awx.jobs.all.values() if x["type"] == "workflow_approval" and x["status"] == "pending"]


SCENARIOS = [
    Scenario("a tunnel goes down soon after its PSK was set", after_a_rotation),
    Scenario("a tunnel goes down whose PSK is old", long_after),
    Scenario("a tunnel degrades soon after its PSK was set", degraded),
    Scenario("a tunnel flaps, and a rollback sets its PSK anew each time", flapping),
    Scenario("two tunnels go down at once: the jobs run beside each other", two_at_once),
    Scenario("429 with Retry-After, then a tunnel goes down", rate_limited),
    Scenario("502 for a while: told once, then a tunnel goes down", server_errors),
    Scenario("the token is refused for a while: told once, then a tunnel goes down", lost_token),
    Scenario("an audit finds PSKs that are too old: a rotation, which waits for its approval", broken_policy),
    Scenario("the next audit finds them again, while the rotation waits", again),
    Scenario("an audit finds only what no rotation fixes", what_no_rotation_fixes),
    Scenario("an audit that succeeded", no_audit),
    Scenario("somebody without the webhook's token says so", somebody_else),
]
