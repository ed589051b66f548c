# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a device is left alone, before its PSK is changed at Cloudflare, is told in the device's own words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from tests.devices.device import State, Wanted
from tests.devices.model import Ike
from tests.devices.opnsense import OpnSense
from tests.integration.psk_rotation.stage import Run, Stage

pytestmark = pytest.mark.fleet(tunnels=2)
OLD = "Old1dP9sQ7xT1vB5nM8cW2eR6yU4iO0pLzHgFjDk"
# What a user's device tasks do that have the role configure the whole tunnel.
CONFIGURE_ALL = """
- name: Configure the whole tunnel
  ansible.builtin.include_role:
    name: magicwan.cloudflare.customer_device
  vars:
    customer_device_tunnels: "{{ psk_rotation_wave_results }}"
"""
REACHED = "- name: Reach it\n  ansible.builtin.ping:\n"
DEVICE = {"customer_device_platform": "strongswan", "customer_device_strongswan_command": "/nowhere/swanctl"}


@pytest.fixture
def firewall() -> Iterator[OpnSense]:
    with OpnSense(Ike({}), State()) as device:
        yield device


def rotate(stage: Stage, firewall: OpnSense, **variables: object) -> Run:
    """A rotation of the firewall's first tunnel."""
    first = stage.own("device0")[0]
    own = {"ansible_connection": "local", "psk_rotation_tunnels": [first], **firewall.variables(), **variables}
    return stage.rotate(inventory={"all": {"hosts": {"device0": own}}}, then=()).failed()


def reason(stage: Stage, run: Run) -> str:
    """Why the tunnel is not rotated; it was not touched."""
    first = stage.own("device0")[0]
    assert not run.rotated
    assert run.statuses("device0") == {first: "unreached"}
    assert run.reasons("device0")[first] in run.failures[-1]
    return run.reasons("device0")[first]


def test_a_missing_object_is_named(stage: Stage, firewall: OpnSense) -> None:
    said = reason(stage, rotate(stage, firewall))
    assert said.startswith("its device device0 is left alone: ")
    assert "the device has no connection with the description cf-" in said


def test_a_user_who_may_not_write_is_named(stage: Stage, firewall: OpnSense) -> None:
    first = next(iter(stage.tunnels().values()))
    identity = f"{first['id']}.1.ipsec.cloudflare.com"
    identity = first.get("remote_identities", {}).get("fqdn_id") or identity
    name = f"cf-{first['id'][:8]}"
    firewall.configure(Wanted(first["id"], name, name, first["cloudflare_endpoint"], identity, OLD))
    firewall.state.read_only = True
    assert "the configuration cannot be changed: User ansible denied for write access" in reason(
        stage, rotate(stage, firewall)
    )


def test_a_device_that_does_not_answer_is_named_with_its_reason(stage: Stage, firewall: OpnSense) -> None:
    firewall.stop()
    assert "its pre-shared keys cannot be read: " in reason(stage, rotate(stage, firewall))


def test_the_words_of_other_tasks_are_not_shown_but_their_name(stage: Stage) -> None:
    path = stage.write("hooks/reach.yml", "- name: Reach it\n  ansible.builtin.fail:\n    msg: a-secret-of-its-own\n")
    run = stage.rotate_devices({"psk_rotation_reach_tasks": path}, then=()).failed()
    first = stage.own("device0")[0]
    assert run.reasons("device0")[first] == "its device device0 is left alone: the task Reach it failed"


def test_a_reason_that_tasks_give_is_told_without_psks_and_in_a_line(stage: Stage) -> None:
    stage.rotate_devices(then=()).ok()
    tasks = (
        "- name: Say why\n  ansible.builtin.set_fact:\n"
        "    psk_rotation_hook_reason: \"not\\nnow {{ psk_rotation_results | map(attribute='psk') | join(' ') }}\"\n"
        "  no_log: true\n- name: Reach it\n  ansible.builtin.fail:\n    msg: no\n"
    )
    path = stage.write("hooks/reach.yml", tasks)
    variables = {"psk_rotation_reach_tasks": path, "psk_rotation_force": True}
    run = stage.rotate_devices(variables, then=(), args=["-v"]).failed()
    said = run.reasons("device0")[stage.own("device0")[0]]
    assert said == "its device device0 is left alone: not now ******** ********"
    assert not run.rotated


def test_a_device_whose_reason_was_told_is_rotated_once_it_can_be(stage: Stage) -> None:
    path = stage.write("hooks/reach.yml", "- name: Reach it\n  ansible.builtin.fail:\n    msg: no\n")
    stage.rotate_devices({"psk_rotation_reach_tasks": path}, then=()).failed()
    run = stage.rotate_devices(then=()).ok()
    assert run.rotated == set(stage.own("device0"))


@pytest.mark.parametrize("keyword", ["ignore_errors", "ignore_unreachable"])
def test_a_keyword_of_a_play_does_not_make_it_reached(stage: Stage, keyword: str) -> None:
    path = stage.write("hooks/reach.yml", "- name: Reach it\n  ansible.builtin.fail:\n    msg: no\n")
    include = {"name": "Rotate", "ansible.builtin.include_role": {"name": "magicwan.cloudflare.psk_rotation"}}
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"name": "Weaken", "block": [include], keyword: True}]}
    run = stage.rotate_devices({"psk_rotation_reach_tasks": path}, play=play, then=())
    assert not run.rotated


def rotate_with(stage: Stage, tasks: str, **options: Any) -> Run:
    """A rotation whose device tasks have the role customer_device configure devices that have no swanctl."""
    variables = {
        "psk_rotation_device_tasks": stage.write("hooks/device.yml", tasks),
        "psk_rotation_reach_tasks": stage.write("hooks/reach.yml", REACHED),
    }
    return stage.rotate(variables, inventory=stage.devices(**DEVICE), then=(), args=["-v"], **options).failed()


def test_what_customer_device_says_in_device_tasks_of_ones_own_is_the_reason(stage: Stage, core: str | None) -> None:
    run = rotate_with(stage, CONFIGURE_ALL, core=core)
    said = run.reasons("device0")[stage.own("device0")[0]]
    assert said.startswith("the daemon does not answer: ")
    assert "\n" not in said


def test_what_customer_device_has_said_before_is_no_reason_of_another_task(stage: Stage) -> None:
    rescued = textwrap.indent(CONFIGURE_ALL, "    ")
    tasks = (
        f"- name: Try it\n  block:{rescued}  rescue:\n    - name: Go on\n      ansible.builtin.ping:\n"
        "- name: Configure it otherwise\n  ansible.builtin.fail:\n    msg: a-secret-of-its-own\n"
    )
    run = rotate_with(stage, tasks)
    said = run.reasons("device0")[stage.own("device0")[0]]
    assert "the task Configure it otherwise failed" in said
    assert "a-secret-of-its-own" not in said and "the daemon" not in said
