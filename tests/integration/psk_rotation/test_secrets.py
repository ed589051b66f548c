# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts hold the true PSKs, and no display shows one, on every core; each run of a stage is searched for them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _secrets

from tests.harness.secrets_scan import find_secrets
from tests.integration.psk_rotation.stage import PUBLISH, Stage

pytestmark = pytest.mark.fleet(tunnels=4)

# From 2.22 on.
CORE_CENSORS = _secrets._register_secret is not None

SHOW: dict[str, Any] = {
    "name": "Show the summary",
    "hosts": "all",
    "gather_facts": False,
    "tasks": [
        {"name": "Show it", "ansible.builtin.debug": {"var": "psk_rotation_summary"}},
        {
            "name": "Publish it",
            "ansible.builtin.set_stats": {"data": {"psk_rotation": "{{ psk_rotation_summary }}"}},
        },
    ],
}


def test_facts_hold_the_psks_and_the_display_does_not(stage: Stage, core: str | None) -> None:
    run = stage.rotate_devices(verbosity=3, diff=True, core=core).ok()
    for device in ("device0", "device1"):
        results = stage.published(device)["results"]
        assert {i: x["psk"] for i, x in results.items()} == {i: run.after[i]["psk"] for i in stage.own(device)}


def test_a_failing_device_shows_no_psk(stage: Stage, core: str | None) -> None:
    stage.rotate_devices(core=core, then=()).ok()
    run = stage.rotate_devices(
        {"psk_rotation_force": True, "broken_devices": ["device1"]}, verbosity=3, diff=True, core=core, then=()
    ).failed()
    assert "this device is broken" in run.result.stdout


def test_a_refusal_of_the_api_shows_no_psk(stage: Stage, core: str | None) -> None:
    stage.simulator.arm({"route": "psk_set", "validate_only": False, "unapplied": 1})
    run = stage.rotate(verbosity=3, diff=True, core=core, then=()).failed()
    assert "failed to persist PSK" in run.result.stdout


def test_the_summary_is_fit_for_everybody(stage: Stage, core: str | None) -> None:
    run = stage.rotate(then=[PUBLISH, SHOW], core=core).ok()
    shown = run.result.result("Show it")["psk_rotation_summary"]
    assert shown == stage.published()["summary"] == run.result.custom["_run"]["psk_rotation"]
    assert shown["tunnels"] == 4
    psks = sorted({x["psk"] for x in [*run.before.values(), *run.after.values()] if x.get("psk")})
    assert not find_secrets(str(shown), psks)


@pytest.mark.shows_secrets
@pytest.mark.skipif(CORE_CENSORS, reason="this ansible-core censors PSKs wherever it shows them")
def test_only_a_laboratory_that_asks_for_it_sees_psks(stage: Stage) -> None:
    """The switch psk_rotation_secure_logging is what hides them: this is what the other tests would find."""
    with pytest.raises(AssertionError, match="secrets in the output"):
        stage.rotate({"psk_rotation_secure_logging": False}, verbosity=3, then=())


@pytest.mark.skipif(not CORE_CENSORS, reason="this ansible-core does not censor what it is told to be a secret")
def test_where_ansible_core_censors_psks_no_switch_shows_them(stage: Stage) -> None:
    stage.rotate({"psk_rotation_secure_logging": False}, verbosity=3, then=())
