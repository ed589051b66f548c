# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role would configure on each platform, compared with golden files.

The guide to devices traces each parameter in them to the facts. `GOLDEN=write pytest ...` writes them anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import load, names

from tests.harness.playbook import ROOT, Result

from .conftest import play, result

ROLE = ROOT / "roles" / "customer_device"
PLATFORMS = names()
PARTS = {
    "strongswan": ("settings", "connection", "key"),
    "strongswan_stroke": ("settings", "tunnel", "key"),
    "panos": ("network", "vsys", "key"),
}
# Their files are written by Ansible's own modules.
ON_LINUX = ("strongswan", "strongswan_stroke", "libreswan")
SECOND = {
    "id": "0123456789abcdef0123456789abcdef",
    "name": "branch-1-b",
    "ike_ids": {"fqdn": "0123456789abcdef0123456789abcdef.33145236.ipsec.cloudflare.com"},
    "cloudflare_endpoint": "198.51.100.1",
    "interface_address": "10.64.0.4/30",
    "cloudflare_inside_address": "10.64.0.5",
    "customer_inside_address": "10.64.0.6",
    "inside_prefix_length": 30,
    "replay_protection": True,
}
Run = Callable[..., Result]


def rendering(platform: str, part: str, **variables: Any) -> list[dict[str, Any]]:
    """A play that renders the role's template as its tasks do, with the variables of its tasks."""
    tasks = [
        {"ansible.builtin.include_vars": str(ROLE / "vars" / "main.yml")},
        {"ansible.builtin.set_fact": {"__customer_device_parameters": "{{ __customer_device_planned.parameters }}"}},
    ]
    template = f"lookup('ansible.builtin.template', '{ROLE}/templates/{platform}.j2')"
    show = {
        "name": "Render",
        "ansible.builtin.debug": {"msg": "{{ " + template + " }}"},
        "loop": "{{ __customer_device_planned.tunnels }}",
        "loop_control": {"loop_var": "__customer_device_tunnel", "label": "{{ __customer_device_tunnel.name }}"},
        "vars": {"__customer_device_part": part},
    }
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    own = {
        "customer_device_platform": platform,
        "__customer_device_entry": "main",
        "customer_device_tunnels": [result(psk="the-psk"), result(psk="the-psk", **SECOND)],
        "customer_device_wan_interface": "wan0",
        **variables,
    }
    return [{"hosts": "localhost", "gather_facts": False, "vars": {**defaults, **own}, "tasks": [*tasks, show]}]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_rendered_configuration(run: Run, folder: Path, platform: str, core: str | None) -> None:
    texts = []
    for part in PARTS.get(platform, ("tunnel", "key")):
        outcome = run(rendering(platform, part), core=core).ok()
        for item in outcome.result("Render")["results"]:
            texts.append(f"== {part} of {item['__customer_device_tunnel']['name']}\n{item['msg']}")
            if part == "settings":
                break
    text = "\n".join(texts)
    golden = folder / f"{platform}.txt"
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_word_is_rendered(run: Run, platform: str) -> None:
    """Every choice that a platform's table offers makes a configuration."""
    for parameter, choices in load(platform).words.items():
        for choice in choices:
            part = {"strongswan": "connection", "panos": "network"}.get(platform, "tunnel")
            outcome = run(rendering(platform, part, **{f"customer_device_{parameter}": choice})).ok()
            said = " ".join(item["msg"] for item in outcome.result("Render")["results"])
            if parameter != "ike_prf":
                assert str(choices[choice]).split()[0] in said, f"{parameter} {choice}"


@pytest.mark.parametrize("form", ["fqdn", "user_fqdn", "key_id"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_identity(run: Run, platform: str, form: str) -> None:
    said = rendered_identity(run, platform, form)
    identity = str(result()["ike_ids"][form])
    # PAN-OS takes a key identifier in hexadecimal.
    assert (identity.encode().hex() if (platform, form) == ("panos", "key_id") else identity) in said


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        ("cisco_iosxe", "identity local key-id "),
        ("fortios", "localid_type: keyid"),
        ("junos", "local-identity key-id "),
        ("opnsense", '  id: "keyid:'),
        ("panos", "<local-id><type>keyid</type>"),
        ("strongswan", 'id = "keyid:'),
        ("strongswan_stroke", 'leftid="keyid:'),
        ("libreswan", 'leftid="@['),
        ("vyos", "authentication local-id 'keyid:"),
    ],
)
def test_a_key_identifier_is_called_one(run: Run, platform: str, words: str, core: str | None) -> None:
    assert words in rendered_identity(run, platform, "key_id", core)


def rendered_identity(run: Run, platform: str, form: str, core: str | None = None) -> str:
    """The part of the configuration in which the device's identity stands."""
    part = {"strongswan": "connection", "panos": "network"}.get(platform, "tunnel")
    variables = {"customer_device_ike_id": form, "customer_device_tunnels": [result(psk="the-psk")]}
    outcome = run(rendering(platform, part, **variables), core=core).ok()
    return str(outcome.result("Render")["results"][0]["msg"])


@pytest.mark.parametrize("platform", [x for x in PLATFORMS if load(x).collections])
def test_missing_collection(run: Run, platform: str, core: str | None) -> None:
    """A clear message, and only for the host that needs the collection."""
    hosts = {
        "needs": {"customer_device_platform": platform, "customer_device_wan_interface": "wan0"},
        "other": {"customer_device_platform": "strongswan", "customer_device_tunnels": []},
    }
    only_ours = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv" / "collections")}
    outcome = run(
        play(customer_device_tunnels=[result()]),
        inventory={"all": {"hosts": hosts, "vars": {"ansible_connection": "local"}}},
        env=only_ours,
        core=core,
        check=True,
    ).failed()
    failed = [task for task in outcome.tasks if task["host"] == "needs" and task["status"] == "failed"]
    assert "ansible-galaxy collection install" in failed[-1]["result"]["msg"]
    assert "couldn't resolve" not in outcome.output


@pytest.mark.parametrize("platform", [x for x in PLATFORMS if load(x).collections and x != "panos"])
def test_installed_collection_is_found(run: Run, platform: str) -> None:
    """The role gets as far as the vendor's first module, which has no device here."""
    variables = {"customer_device_platform": platform, "customer_device_tunnels": [result()]}
    outcome = run(play("reach", **variables), inventory="d ansible_connection=local").failed()
    assert "ansible-galaxy collection install" not in outcome.output
    last = [task["task"] for task in outcome.tasks if task["status"] == "failed"][-1]
    assert last.endswith("Report why the device refused")
