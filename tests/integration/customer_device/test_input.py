# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role refuses before it touches a device, and that its interface is described."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import names

from tests.harness.playbook import ROOT, Result

from .conftest import play, result

ROLE = ROOT / "roles" / "customer_device"
Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"psk": None}, "branch-1-a (applied) has no PSK"),
        ({"psk": '0x"strange"strange"strange'}, "the PSK of branch-1-a cannot be given to strongswan"),
        ({"psk": "x" * 300}, "the PSK of branch-1-a has 300 characters, strongswan takes 255"),
        ({"ike_ids": {"fqdn": None}}, "branch-1-a has no identity of the type fqdn"),
    ],
)
def test_bad_results(run: Run, changes: dict[str, Any], words: str) -> None:
    options = {"customer_device_platform": "strongswan", "customer_device_strongswan_command": "/nonexistent"}
    psk = changes.get("psk")
    outcome = run(
        play(customer_device_tunnels=[result(**changes)], **options),
        inventory="d ansible_connection=local",
        secret=psk,
    ).failed()
    assert words in outcome.output
    assert "d is left alone" in outcome.output


def test_unknown_platform(run: Run, core: str | None) -> None:
    variables = {"customer_device_platform": "routeros", "customer_device_tunnels": [result()]}
    outcome = run(play(**variables), inventory="d ansible_connection=local", core=core).failed()
    known = ", ".join(names())
    assert f"customer_device_platform routeros is unknown; known are {known}" in outcome.output


def test_reaching_a_device_of_an_unknown_platform(run: Run) -> None:
    role = {"name": "magicwan.cloudflare.customer_device", "tasks_from": "reach"}
    tasks = [{"name": "Reach it", "ansible.builtin.include_role": role}]
    plays = [{"hosts": "all", "gather_facts": False, "vars": {"customer_device_platform": "routeros"}, "tasks": tasks}]
    outcome = run(plays, inventory="d ansible_connection=local").failed()
    assert "customer_device_platform routeros is unknown" in outcome.output


@pytest.mark.parametrize(
    ("platform", "options"),
    [
        (
            "strongswan_stroke",
            {
                "customer_device_strongswan_stroke_command": "/nonexistent/ipsec",
                "customer_device_strongswan_stroke_directory": "/nonexistent",
                "customer_device_strongswan_stroke_interface": "none",
            },
        ),
        (
            "libreswan",
            {
                "customer_device_libreswan_command": "/nonexistent/ipsec",
                "customer_device_libreswan_directory": "/nonexistent",
                "customer_device_libreswan_interface": "none",
            },
        ),
        (
            "opnsense",
            {"customer_device_opnsense_provider": {"url": "http://127.0.0.1:9/", "key": "key", "secret": "secret"}},
        ),
    ],
)
def test_a_device_that_is_not_where_the_options_say_is_left_alone(
    run: Run, platform: str, options: dict[str, Any]
) -> None:
    variables = {"customer_device_platform": platform, "customer_device_tunnels": [result()], **options}
    outcome = run(play(**variables), inventory="d ansible_connection=local").failed()
    assert "d is left alone" in outcome.output


def test_unknown_cipher(run: Run) -> None:
    variables = {"customer_device_platform": "strongswan", "customer_device_ike_cipher": "3des"}
    outcome = run(
        play("main", customer_device_tunnels=[result()], **variables), inventory="d ansible_connection=local"
    ).failed()
    assert "customer_device_ike_cipher 3des is unknown to strongswan" in outcome.output


def test_every_entry_point_describes_an_option_as_main_does() -> None:
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    for entry in ("psk", "reach"):
        for name, option in specs[entry]["options"].items():
            assert option == specs["main"]["options"][name]
