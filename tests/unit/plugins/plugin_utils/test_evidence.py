# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcome of tunnels on their devices, as reported by these."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._evidence import (
    Verdict,
    not_done,
    rotations,
    verdicts,
    verified,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Flying

FLYING = Flying("t1", "T1", "a", "r1", recorded_at=100.0)
OTHER = Flying("t2", "T2", "a", "r1", recorded_at=100.0)
DONE = {"wave": "w1", "done": True, "finished": "101.5", "failed": {}}


def judged(said: Any, *, flying: Any = (FLYING,), verifying: Any = ()) -> list[Verdict]:
    """The verdicts on tunnels of the host a, which says this; None: nothing."""
    return verdicts(flying, {} if said is None else {"a": said}, "w1", verifying)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (None, "its device a did not report back"),
        ("done", "its device a did not report back"),
        ({}, "its device a did not report back"),
        ({**DONE, "wave": "w0"}, "its device a did not report back"),
        ({**DONE, "done": False, "reason": "no power"}, "no power"),
        ({**DONE, "done": False}, "its device tasks failed"),
        ({**DONE, "done": "false"}, "its device tasks failed"),
        ({**DONE, "done": "True"}, "its device tasks failed"),
        ({**DONE, "done": None}, "its device tasks failed"),
    ],
)
def test_without_positive_evidence_a_tunnel_has_failed(said: Any, reason: str) -> None:
    assert judged(said) == [Verdict(FLYING, reason)]


def test_what_another_device_says_does_not_count() -> None:
    assert verdicts([FLYING], {"b": DONE}, "w1", ())[0].reason == "its device a did not report back"


@pytest.mark.parametrize("verifying", [True, False])
def test_with_positive_evidence_a_tunnel_is_done_and_seen_only_if_its_tasks_prove_it(verifying: bool) -> None:
    assert judged(DONE, verifying=["a"] if verifying else ["b"]) == [Verdict(FLYING, seen=verifying, exposure=1.5)]


def test_a_device_can_not_say_by_itself_that_its_psk_was_seen() -> None:
    assert not judged({**DONE, "verified": True})[0].seen


@pytest.mark.parametrize("key", ["t1", "T1"])
def test_a_device_fails_a_single_tunnel_by_id_or_name(key: str) -> None:
    first, second = judged({**DONE, "failed": {key: "no light"}}, flying=[FLYING, OTHER])
    assert (first.reason, second.reason) == ("no light", None)


def test_a_tunnel_that_fails_without_a_reason_has_failed() -> None:
    assert judged({**DONE, "failed": {"t1": None}})[0].reason == "its device reports it as failed"


@pytest.mark.parametrize("nothing", [None, "", {}])
def test_a_device_that_fails_no_tunnel_has_failed_none(nothing: Any) -> None:
    assert judged({**DONE, "failed": nothing})[0].reason is None


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (["t1"], "must map ids or names to reasons, not be a list"),
        ("t1", "must map ids or names to reasons, not be text"),
        (7, "must map ids or names to reasons, not be a number"),
        ({"t9": "no light"}, "holds 't9', which is no tunnel of this wave"),
    ],
)
def test_what_a_device_can_not_have_meant_fails_all_its_tunnels(failed: Any, words: str) -> None:
    for verdict in judged({**DONE, "failed": failed}, flying=[FLYING, OTHER]):
        assert verdict.reason == f"psk_rotation_failed_tunnels of a {words}"


def test_failed_tunnels_that_ansible_may_not_have_let_through_fail_all_of_their_device() -> None:
    for verdict in judged({**DONE, "returned": True}, flying=[FLYING, OTHER]):
        assert verdict.reason is not None
        assert "is a host fact" in verdict.reason


def test_the_verdicts_come_in_the_order_of_the_tunnels() -> None:
    elsewhere = Flying("t3", "T3", "b", "r1")
    found = verdicts([OTHER, elsewhere, FLYING], {"a": DONE, "b": DONE}, "w1", ())
    assert [x.tunnel.id for x in found] == ["t2", "t3", "t1"]


def test_without_the_time_of_cloudflares_answer_there_is_no_exposure() -> None:
    assert judged(DONE, flying=[Flying("t1", "T1", "a", "r1")])[0].exposure is None


@pytest.mark.parametrize(
    ("seen", "devices", "status"),
    [(True, ["a"], "confirmed"), (False, ["a"], "delivered"), (False, [], "handed_over")],
)
def test_how_it_is_known_that_a_tunnel_is_done(seen: bool, devices: list[str], status: str) -> None:
    found = verified(Verdict(FLYING, seen=seen, exposure=1.5), devices)
    assert (found.status, found.rotation_id, found.exposure) == (status, "r1", 1.5)


def test_a_tunnel_that_its_device_has_failed_says_why_and_nothing_of_its_psk() -> None:
    found = not_done(Verdict(FLYING, "no light"))
    assert (found.id, found.host, found.status, found.reason, found.known) == ("t1", "a", "failed", "no light", False)


def test_a_verdict_is_about_the_rotation_of_its_tunnel() -> None:
    assert rotations([Verdict(FLYING)]) == {"t1": "r1"}
