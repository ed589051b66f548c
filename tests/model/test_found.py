# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the adversary has found in the rotation, each as the shortest story that shows it."""

from __future__ import annotations

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import APPLIED, PREPARED

from tests.model.runs import Hooks
from tests.model.stage import stage


def test_what_was_left_prepared_gives_way_to_a_sibling_in_flight() -> None:
    """Seed 439: a run dies before it withdraws a tunnel for its sibling's sake; the next one must not send it."""
    with stage(confirmation="manual") as it:
        slow = it.go(it.start(hosts=("a",)), until="write")
        it.run(machine="m2", hosts=("b",))
        it.go(slow, until="read")
        it.kill(slow)
        assert it.record(it.a).state == PREPARED
        after = it.run(machine="m1")
        assert it.record(it.a).state == PREPARED
        assert it.status(after, it.a) == _status.SKIPPED
        assert after.rc != 0
        assert it.record(it.b).state == APPLIED


def test_what_was_left_prepared_gives_way_to_a_sibling_that_a_living_run_is_about_to_send() -> None:
    """Seed 24468: s-b was left prepared, and resumed while a run that had prepared s-a slept; both were sent."""
    with stage() as it:
        slow = it.go(it.start(hosts=("b",)), until="write")
        sleeper = it.go(it.start(hosts=("a",)), until="request")
        it.go(slow, until="read")
        it.kill(slow)
        resumed = it.run(hosts=("b",))
        assert it.status(resumed, it.b) == _status.SKIPPED
        it.go(sleeper)
        assert it.agree(it.a)


def test_a_run_that_has_slept_looks_once_more_at_what_backs_its_tunnels_up() -> None:
    """Seed 24468, on two machines: the sleeper's lease has ended, and a run has resumed the sibling meanwhile."""
    with stage(confirmation="manual") as it:
        slow = it.go(it.start(hosts=("b",)), until="write")
        sleeper = it.go(it.start(machine="m2", hosts=("a",)), until="request")
        it.go(slow, until="read")
        it.kill(slow)
        it.world.advance(1000)
        it.run(hosts=("b",))
        assert it.record(it.b).state == APPLIED
        it.go(sleeper)
        assert it.record(it.a).state == PREPARED
        assert sleeper.rc != 0


def test_a_foreign_change_is_not_excused_by_a_sibling_that_waits() -> None:
    """Seed 105: a forced run takes a foreign change for due, and leaves it, since its sibling waits; rc was 0."""
    with stage(confirmation="manual", force=True) as it:
        it.run(hosts=("a",))
        it.world.advance(60)
        it.world.foreign_change(it.b)
        after = it.run(hosts=("a", "b"))
        assert it.status(after, it.b) == _status.SKIPPED
        assert after.rc != 0


def test_a_foreign_change_is_seen_although_another_run_has_rotated_the_tunnel_meanwhile() -> None:
    """Seed 549: a tunnel was planned, then rotated by another run, then changed by somebody: "unchanged", rc 0."""
    with stage() as it:
        slow = it.go(it.start(machine="m2", hosts=("b",)), until="validation")
        it.run(hosts=("b",))
        it.world.advance(60)
        it.world.foreign_change(it.b)
        it.go(slow)
        assert it.status(slow, it.b) == _status.STUCK
        assert slow.rc != 0


def test_what_waits_for_confirmation_is_set_again_when_an_older_request_comes_late() -> None:
    """Seed 1343: the doubled request of a rollback replaces the PSK that waits; "waiting", rc 0."""
    with stage(confirmation="manual", hooks=Hooks()) as it:
        it.run(hosts=("a",))
        it.run("request doubled", hosts=("a",), mode="rollback")
        it.run(hosts=("a",), force=True)
        it.world.advance(3600)
        assert it.a.psk == "K1"
        it.run()
        assert it.a.psk == "K3"
        assert it.record(it.a).state == APPLIED


def test_what_waits_for_confirmation_has_been_brought_to_its_device() -> None:
    """Seed 436: a run dies between Cloudflare and the device; the next one only said "waiting", rc 0."""
    with stage(confirmation="manual") as it:
        it.kill(it.go(it.start(hosts=("a",)), until="device"))
        it.run(hosts=("a",))
        assert it.a.psk == it.a.device == "K3"
        assert it.record(it.a).state == APPLIED


def test_nothing_is_confirmed_that_was_not_brought_to_its_device() -> None:
    """Seed 465: the same, but the next run confirms: the device had the previous PSK, rc 0."""
    with stage(confirmation="manual") as it:
        it.kill(it.go(it.start(hosts=("a",)), until="device"))
        after = it.run(hosts=("a",), mode="confirm")
        assert it.record(it.a).state == APPLIED
        assert after.rc != 0


def test_a_psk_that_its_device_could_not_prove_is_set_again() -> None:
    """Seed 3586: somebody sets another PSK so soon after ours that no list shows it; every re-run failed."""
    with stage(hooks=Hooks(device=True, verify=True), unknown=("a",)) as it:
        it.script.delay = 0.5
        first = it.run("stranger just after", hosts=("a",))
        assert it.status(first, it.a) == _status.APPLIED
        it.world.advance(60)
        it.run(hosts=("a",))
        assert it.agree(it.a)


@pytest.mark.parametrize("mode", ["rollback", "confirm", "reconcile"])
def test_a_late_request_is_seen_in_every_mode(mode: str) -> None:
    """Seed 2456: an older PSK comes late; a run that only rolls back called the tunnel unchanged, rc 0."""
    with stage() as it:
        it.run("request late", hosts=("a",))
        it.run(hosts=("a",), max_age=0)
        it.world.advance(3600)
        assert it.a.psk == "K3"
        after = it.run(hosts=("a",), mode=mode)
        assert (after.rc == 0) == (mode == "reconcile")
        assert it.agree(it.a) == (mode == "reconcile")


def test_nothing_is_confirmed_that_an_older_request_has_replaced_since_the_plan() -> None:
    """The doubled request of a rotation that was rolled back comes while a run confirms: "delivered", rc 0."""
    with stage(confirmation="manual") as it:
        it.script.delay = 1200
        it.run("request doubled", hosts=("a",))
        it.run(hosts=("a",), mode="rollback")
        it.run(hosts=("a",), mode="confirm")
        it.run(hosts=("a",), force=True)
        slow = it.go(it.start(hosts=("a",), mode="confirm"), until="list answered")
        it.go(slow, until="step")
        it.world.advance(1200)
        assert it.a.psk == "K3"
        it.go(slow)
        assert it.status(slow, it.a) == _status.SKIPPED
        assert it.record(it.a).state == APPLIED
        assert slow.rc != 0
        it.run(hosts=("a",), mode="reconcile")
        it.run(hosts=("a",), mode="confirm")
        assert it.agree(it.a)


@pytest.mark.parametrize("force", [True, False])
def test_a_run_in_batches_finishes_what_another_has_left_in_a_later_one(force: bool) -> None:
    """The first batch waits for the second, and failed before it: no plain re-run ended the trouble."""
    with stage(force=force) as it:
        it.kill(it.go(it.start(hosts=("b",)), until="device"))
        it.world.advance(1000)
        after = it.run(serial=1)
        assert after.rc != 0
        assert it.status(after, it.a) == _status.SKIPPED
        assert it.agree(it.b)
        assert it.run(serial=1).rc == 0
