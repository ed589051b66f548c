# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hooks of a rotation: which task files hosts have, and what their devices have reported."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._hooks import Verdict, check_hooks, verdicts
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Flying

FLYING = Flying("t1", "T1", "a", "r1", recorded_at=100.0)
DONE = {"wave": "w1", "done": True, "verified": True, "finished": "101.5", "failed": {}}


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
        ({**DONE, "failed": {"t1": "no light"}}, "no light"),
    ],
)
def test_without_positive_evidence_a_tunnel_has_failed(said: Any, reason: str) -> None:
    assert verdicts([FLYING], {"a": said} if said is not None else {}, "w1") == [Verdict(FLYING, reason)]


def test_what_another_device_says_does_not_count() -> None:
    assert verdicts([FLYING], {"b": DONE}, "w1")[0].reason == "its device a did not report back"


@pytest.mark.parametrize(
    ("verified", "seen"), [(True, True), (False, False), (None, False), ("true", False), (1, False)]
)
def test_with_positive_evidence_a_tunnel_is_done_and_seen_only_if_that_was_said(verified: Any, seen: bool) -> None:
    said = {**DONE, "verified": verified, "failed": {"t2": "another tunnel"}}
    assert verdicts([FLYING], {"a": said}, "w1") == [Verdict(FLYING, seen=seen, exposure=1.5)]


def test_without_the_time_of_cloudflares_answer_there_is_no_exposure() -> None:
    assert verdicts([Flying("t1", "T1", "a", "r1")], {"a": DONE}, "w1")[0].exposure is None


def hooks(**fields: str) -> dict[str, str]:
    return {"reach": "hooks/reach.yml", "device": "", "verify": "", "confirmation": "none", **fields}


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        ({"a": hooks()}, ("none", set())),
        ({"a": hooks(), "b": hooks(device="/d.yml")}, ("none", {"b"})),
        ({"a": hooks(verify="/v.yml", confirmation="verify")}, ("none", {"a"})),
        ({"a": hooks(confirmation="manual")}, ("manual", set())),
        ({}, ("none", set())),
    ],
)
def test_the_hooks_of_a_batch_say_how_it_confirms_and_which_hosts_have_devices(
    batch: dict[str, dict[str, str]], found: tuple[str, set[str]]
) -> None:
    assert check_hooks(batch, lambda path: True) == found


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (hooks(device="tasks/device.yml"), "psk_rotation_device_tasks of a.*'tasks/device.yml'"),
        (hooks(verify="/gone.yml"), "psk_rotation_verify_tasks of a.*'/gone.yml'"),
        (hooks(reach="/gone.yml"), "psk_rotation_reach_tasks of a.*'/gone.yml'"),
        (hooks(confirmation="verify"), "psk_rotation_confirmation of a.*psk_rotation_verify_tasks"),
    ],
)
def test_hooks_that_can_not_be_name_host_and_variable(own: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_hooks({"a": own}, lambda path: False)


def test_a_batch_can_not_confirm_by_hand_on_some_hosts_only() -> None:
    with pytest.raises(InputError, match="psk_rotation_confirmation"):
        check_hooks({"a": hooks(), "b": hooks(confirmation="manual")}, lambda path: True)
