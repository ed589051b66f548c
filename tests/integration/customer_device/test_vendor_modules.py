# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role says to the vendors' modules is what these modules know: their own documentation is asked.

No package registry offers paloaltonetworks.panos. Its options are written down here, as its documentation of version
3.2 names them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import load

from tests.harness.playbook import ROOT
from tests.harness.vendor_collections import vendor_collections

from .test_platforms import ON_LINUX

TASKS = ROOT / "roles" / "customer_device" / "tasks" / "platforms"
GOLDEN = Path(__file__).parent / "golden"
JUNOS = "{{ __customer_device_collection }}"
VENDORS = (
    "ansible.builtin.uri",
    "cisco.ios.",
    "fortinet.fortios.",
    "junipernetworks.junos.",
    "paloaltonetworks.panos.",
    "vyos.vyos.",
)
PLATFORMS = sorted(path.stem for path in TASKS.glob("*.yml") if path.stem not in ON_LINUX)
# A platform that needs more than one request for a tunnel registers the loop, and builds what was written from it.
WRITES = ("__customer_device_written", "__customer_device_sent")
PANOS: dict[str, dict[str, dict[str, Any]]] = {
    "paloaltonetworks.panos.panos_op": {
        "provider": {"type": "dict"},
        "cmd": {"type": "str", "required": True},
        "cmd_is_xml": {"type": "bool"},
        "ignore_disconnect": {"type": "bool"},
        "vsys": {"type": "str"},
    },
    "paloaltonetworks.panos.panos_config_element": {
        "provider": {"type": "dict"},
        "xpath": {"type": "str", "required": True},
        "element": {"type": "str"},
        "edit": {"type": "bool"},
        "state": {"type": "str", "choices": ["present", "absent"]},
    },
    "paloaltonetworks.panos.panos_commit_firewall": {
        "provider": {"type": "dict"},
        "description": {"type": "str"},
        "admins": {"type": "list"},
        "exclude_device_and_network": {"type": "bool"},
        "exclude_shared_objects": {"type": "bool"},
        "exclude_policy_and_objects": {"type": "bool"},
        "force": {"type": "bool"},
        "sync": {"type": "bool"},
    },
}


def walk(tasks: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks of a file that run a vendor's module, with the module's name."""
    for task in tasks:
        yield from walk(task.get("block", []))
        for name in task:
            if name.startswith(VENDORS):
                yield name, task
        if task.get("action", "").startswith(JUNOS):
            name = task["action"].replace(JUNOS, "junipernetworks.junos")
            yield name, {**task, name: task["args"]}


def vendor_tasks(platform: str) -> list[tuple[str, dict[str, Any]]]:
    return list(walk(yaml.safe_load((TASKS / f"{platform}.yml").read_text(encoding="utf-8"))))


@cache
def documented() -> dict[str, dict[str, dict[str, Any]]]:
    """The options of every module that the role uses, by its name, out of the installed collections."""
    names = sorted({name for platform in PLATFORMS if platform != "panos" for name, _task in vendor_tasks(platform)})
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(vendor_collections())}
    command = [str(Path(sys.executable).parent / "ansible-doc"), "--json", "--type", "module", *names]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {name: entry["doc"]["options"] for name, entry in json.loads(answer.stdout).items()} | PANOS


def complaints(options: dict[str, Any], given: dict[str, Any], where: str) -> Iterator[str]:
    """What speaks against giving these values; a value with a template in it is only looked up by its name."""
    for name, option in options.items():
        if option.get("required") and name not in given:
            yield f"{where}.{name} is missing"
    for name, value in given.items():
        option = options.get(name)
        if option is None:
            yield f"{where} has no option {name}"
            continue
        if isinstance(value, dict) and "suboptions" in option:
            yield from complaints(option["suboptions"], value, f"{where}.{name}")
            continue
        for single in value if isinstance(value, list) else [value]:
            if "{{" in str(single):
                continue
            if isinstance(single, dict):
                if option["type"] != "raw":
                    yield from complaints(option.get("suboptions", {}), single, f"{where}.{name}")
            elif option.get("choices") and str(single) not in map(str, option["choices"]):
                yield f"{where}.{name} can't be {single}"
            elif option["type"] == "int" and not str(single).isdigit():
                yield f"{where}.{name} is no number: {single}"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_modules_know_the_options_of_the_tasks(platform: str) -> None:
    found = vendor_tasks(platform)
    assert len(found) >= 3
    for name, task in found:
        assert not list(complaints(documented()[name], task[name] or {}, name))


def test_fortios_modules_know_what_is_rendered() -> None:
    options = {
        "phase1": documented()["fortinet.fortios.fortios_vpn_ipsec_phase1_interface"]["vpn_ipsec_phase1_interface"],
        "phase2": documented()["fortinet.fortios.fortios_vpn_ipsec_phase2_interface"]["vpn_ipsec_phase2_interface"],
        "interface": documented()["fortinet.fortios.fortios_system_interface"]["system_interface"],
        "settings": documented()["fortinet.fortios.fortios_system_settings"]["system_settings"],
    }
    parts = (GOLDEN / "fortios.txt").read_text(encoding="utf-8").split("== ")[1:]
    for part in parts:
        title, _, text = part.partition("\n")
        for section, values in yaml.safe_load(text).items():
            assert not list(complaints(options[section]["suboptions"], values, f"{title}: {section}"))


@pytest.mark.parametrize("parameter", ["ike_cipher", "esp_cipher"])
def test_fortios_knows_each_cipher_of_the_table(parameter: str) -> None:
    words = load("fortios").words
    phase = {"ike_cipher": 1, "esp_cipher": 2}[parameter]
    module = documented()[f"fortinet.fortios.fortios_vpn_ipsec_phase{phase}_interface"]
    known = module[f"vpn_ipsec_phase{phase}_interface"]["suboptions"]["proposal"]["choices"]
    for word in words[parameter].values():
        for hashed in words["ike_prf"].values():
            proposal = word if phase == 2 else f"{word}{'' if 'gcm' in word else '-'}{hashed}"
            assert proposal in known


def test_fortios_selectors_take_the_parameters_given() -> None:
    """A selector's parameters stand in the module's source only."""
    for name, task in vendor_tasks("fortios"):
        arguments = task[name]
        if "selector" in arguments:
            source = vendor_collections() / "ansible_collections/fortinet/fortios/plugins/modules"
            text = (source / f"{name.rpartition('.')[2]}.py").read_text(encoding="utf-8")
            entry = text.split(f'"{arguments["selector"]}": {{', 1)[1].split("\n    },", 1)[0]
            assert set(arguments.get("params", {})) <= {word for word in entry.split('"') if word.isidentifier()}


def test_panos_elements_fit_their_xpath() -> None:
    """The module wraps what it is given in an element named like the last step of the XPath, and parses it."""
    texts = (GOLDEN / "panos.txt").read_text(encoding="utf-8").split("== ")[1:]
    paths = [task[name]["xpath"] for name, task in vendor_tasks("panos") if "xpath" in task[name]]
    assert len(paths) == 3
    for path in paths:
        step = path.rpartition("/")[2].strip()
        assert step.isidentifier()
        part = {"network": "network", "vsys": "vsys", "authentication": "key"}[step]
        for text in texts:
            title, _, element = text.partition("\n")
            if title.startswith(f"{part} of "):
                wrapped = ElementTree.fromstring(f"<{step}>{element}</{step}>")  # noqa: S314 (it is our own)
                assert len(wrapped)


def test_no_task_with_a_psk_shows_it() -> None:
    """Each task that carries a PSK has no_log and no diff, and can't fail with the module's own words."""
    for platform in PLATFORMS:
        carriers = [task for _name, task in vendor_tasks(platform) if task.get("register") in WRITES]
        assert len(carriers) == 1
        for task in carriers:
            assert task["no_log"] == "{{ customer_device_secure_logging }}"
            assert task["diff"] is False
            assert task["failed_when"] is False
