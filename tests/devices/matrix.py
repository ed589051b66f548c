# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix: every platform in every scenario, with the role and the vendors' collections against the stand-ins."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.playbook import VENV, Playbooks, Result
from tests.harness.vendor_collections import vendor_collections

from .device import Device, Wanted
from .leaks import TEMPORARY, UNPIPED, Search, planted
from .model import Ike
from .panos import doubles
from .scenarios import CONFIRMED, FAILED, NEW, OLD, SCENARIOS, WRONG, Scenario

# The platforms with the path by which the role speaks to the stand-in.
PLATFORMS: dict[str, tuple[str, str]] = {
    "cisco_iosxe": ("tests.devices.iosxe:IosXe", "SSH, cisco.ios"),
    "junos": ("tests.devices.junos:Junos", "NETCONF over SSH, junipernetworks.junos"),
    "fortios": ("tests.devices.fortios:FortiOs", "REST, fortinet.fortios"),
    "opnsense": ("tests.devices.opnsense:OpnSense", "REST, ansible.builtin.uri"),
    "panos": ("tests.devices.panos:PanOs", "XML API, doubles of three modules over pan-os-python"),
    "vyos": ("tests.devices.vyos:VyOs", "SSH, vyos.vyos"),
    "strongswan_stroke": ("tests.devices.ipsec:StrongSwan", "the command ipsec, by ansible.builtin"),
    "libreswan": ("tests.devices.ipsec:Libreswan", "the command ipsec, by ansible.builtin"),
}
TUNNEL_ID = "fedcba9876543210fedcba9876543210"
OTHER_ID = "0123456789abcdef0123456789abcdef"
ENDPOINT = "203.0.113.1"


@dataclass
class Cell:
    """One platform in one scenario."""

    platform: str
    scenario: str
    verdict: str = ""
    reason: str = ""
    truth: bool = False
    faults: list[str] = field(default_factory=list)
    not_run: str = ""
    leaks: list[str] = field(default_factory=list)

    @property
    def shown(self) -> list[str]:
        """Where a key was that need not have been there."""
        return [x for x in self.leaks if x != TEMPORARY or self.platform not in UNPIPED]

    @property
    def good(self) -> bool:
        """Whether the role said what the model knows, and what it must."""
        return not self.faults and not self.not_run


def fqdn(tunnel_id: str) -> str:
    """The identity of a tunnel."""
    return f"{tunnel_id}.33145236.ipsec.cloudflare.com"


def published(tunnel_id: str, name: str, psk: str, status: str) -> dict[str, Any]:
    """An entry of psk_rotation_results."""
    return {
        "id": tunnel_id,
        "name": name,
        "status": status,
        "psk": psk,
        "ike_ids": {
            "fqdn": fqdn(tunnel_id),
            "user_fqdn": f"ipsec@{fqdn(tunnel_id)}",
            "key_id": f"33145236_{tunnel_id}",
            "custom_fqdn": None,
        },
        "cloudflare_endpoint": ENDPOINT,
        "customer_endpoint": "192.0.2.10",
        "cloudflare_inside_address": "10.64.0.0",
        "customer_inside_address": "10.64.0.1",
        "inside_prefix_length": 31,
        "customer_inside_address6": None,
        "inside_prefix_length6": None,
        "replay_protection": False,
    }


class Bench:
    """Runs a platform's scenarios, all devices at once."""

    def __init__(self, platform: str, collections: Path | None = None, *, leaks: bool = False) -> None:
        self.platform, self._leaks = platform, leaks
        module, _colon, name = PLATFORMS[platform][0].partition(":")
        self._device: type[Device] = getattr(importlib.import_module(module), name)
        self._collections = collections or VENV / "collections"

    def run(self, chosen: list[str]) -> list[Cell]:
        """The cells of these scenarios."""
        cells = [Cell(self.platform, x) for x in chosen]
        for cell in cells:
            cell.not_run = SCENARIOS[cell.scenario].impossible.get(self.platform, "")
        waiting = [x for x in cells if not x.not_run]
        for entry in ("reach", "psk", "main"):
            group = [x for x in waiting if self._entry(SCENARIOS[x.scenario]) == entry]
            if group:
                self._run_group(group, entry)
        return cells

    def _entry(self, scenario: Scenario) -> str:
        return scenario.entries.get(self.platform, scenario.entry)

    def _run_group(self, cells: list[Cell], entry: str) -> None:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dv-", ignore_cleanup_errors=True)))
            devices = {x.scenario: stack.enter_context(self._made(SCENARIOS[x.scenario])) for x in cells}
            search = Search(folder, [OLD, NEW, WRONG])
            playbooks = Playbooks(folder, {**self._environment(stack), **search.environment()})
            stack.callback(playbooks.close)
            stack.enter_context(search.watch())
            began = time.time()
            first = self._play(playbooks, devices, entry, "applied")
            for cell in cells:
                self._judge(cell, devices[cell.scenario], first, began)
            again = {k: v for k, v in devices.items() if SCENARIOS[k].twice}
            if again:
                before = {k: v.running() for k, v in again.items()}
                second = self._play(playbooks, again, entry, "confirmed")
                for cell in (x for x in cells if x.scenario in again):
                    self._judge_again(cell, again[cell.scenario], second, before[cell.scenario])
            places = search.places(playbooks)
            for cell in cells:
                cell.leaks = places
                cell.faults += [f"a key was shown: {', '.join(cell.shown)}"] if cell.shown else []

    def _environment(self, stack: contextlib.ExitStack) -> dict[str, str]:
        # The name of a socket has to be short.
        sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="cd-", ignore_cleanup_errors=True))
        made = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="panos-")))
        own = os.environ.get("VENDOR_COLLECTIONS", "")
        folders = [str(self._collections), own, str(doubles(made)), str(vendor_collections())]
        return {
            "ANSIBLE_COLLECTIONS_PATH": ":".join(filter(None, folders)),
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_PERSISTENT_CONTROL_PATH_DIR": sockets,
            "ANSIBLE_FORKS": "10",
            # On a busy machine a connection waits long for its next task.
            "ANSIBLE_PERSISTENT_CONNECT_TIMEOUT": "600",
            "ANSIBLE_PERSISTENT_COMMAND_TIMEOUT": "120",
        }

    def _made(self, scenario: Scenario) -> Device:
        ours, other = self._tunnels(scenario)
        ike = Ike({ours.local_id: scenario.peer_key, other.local_id: OLD})
        device = self._device(ike, dataclasses.replace(scenario.state))
        if scenario.there:
            device.configure(ours)
        device.know(ours, 7200 if scenario.there else None)
        if scenario.other:
            device.configure(other)
            device.know(other, 3)
        scenario.prepare(ike)
        return device

    def _tunnels(self, scenario: Scenario) -> tuple[Wanted, Wanted]:
        gateway = "gateway-a" if scenario.names_differ else "cf-fedcba98"
        return (
            Wanted(TUNNEL_ID, "cf-fedcba98", gateway, ENDPOINT, fqdn(TUNNEL_ID), OLD),
            Wanted(OTHER_ID, "cf-01234567", "cf-01234567", ENDPOINT, fqdn(OTHER_ID), OLD),
        )

    def _play(self, playbooks: Playbooks, devices: dict[str, Device], entry: str, status: str) -> Result:
        hosts = {}
        for name, device in devices.items():
            scenario = SCENARIOS[name]
            hosts[name.replace("_", "-")] = {
                **device.variables(),
                "customer_device_timeout": scenario.timeout,
                "customer_device_tunnel_options": (
                    {"site-a": device.names("gateway-a")} if scenario.names_differ else {}
                ),
            }
        tunnels = [published(TUNNEL_ID, "site-a", NEW, status)]
        role = {"name": "magicwan.cloudflare.customer_device", "tasks_from": entry}
        play = [
            {
                "name": "Bring PSKs into devices",
                "hosts": "all",
                "gather_facts": False,
                "vars": {"customer_device_tunnels": tunnels},
                "tasks": [
                    *(planted(NEW) if self._leaks else []),
                    {"name": "Run the role", "ansible.builtin.include_role": role},
                    {"name": "Show", "ansible.builtin.debug": {"msg": "{{ customer_device_results }}"}},
                ],
            }
        ]
        return playbooks.run(play, inventory={"all": {"hosts": hosts}}, verbosity=3, timeout=1200)

    def _judge(self, cell: Cell, device: Device, outcome: Result, began: float) -> None:
        scenario = SCENARIOS[cell.scenario]
        expected, reason = scenario.elsewhere.get(self.platform, (scenario.expected, scenario.reason))
        ours, other = self._tunnels(scenario)
        cell.verdict, cell.reason = self._said(cell, outcome)
        cell.truth = device.ike.proven(ours.gateway, NEW, began)
        if (cell.verdict == CONFIRMED) != cell.truth:
            cell.faults.append(
                f"the role says {cell.verdict}, and an IKE_AUTH was {'seen' if cell.truth else 'not seen'}"
            )
        if cell.verdict != expected:
            cell.faults.append(f"{expected} was expected, {cell.verdict or 'nothing'} came: {cell.reason}")
        if not re.search(reason, cell.reason):
            cell.faults.append(f"the reason is not as expected: {cell.reason}")
        if other.gateway in device.ike.cleared:
            cell.faults.append("the other tunnel was taken down")
        if device.others_change_committed():
            cell.faults.append("another admin's change was committed")
        if expected == CONFIRMED and device.key_of(ours) != NEW:
            cell.faults.append("the device has not the new key")
        refused_by_schema = [x for x in device.refused if expected == CONFIRMED]
        if refused_by_schema:
            cell.faults.append(f"the device refused {refused_by_schema[0]}")

    def _judge_again(self, cell: Cell, device: Device, outcome: Result, before: str) -> None:
        verdict, reason = self._said(cell, outcome)
        if verdict not in (CONFIRMED, "unchanged"):
            cell.faults.append(f"the second run says {verdict}: {reason}")
        if device.running() != before:
            cell.faults.append("the second run changed the configuration")

    def _said(self, cell: Cell, outcome: Result) -> tuple[str, str]:
        host = cell.scenario.replace("_", "-")
        shown = outcome.results("Show", host)
        if shown and shown[0]["msg"]:
            entry = shown[0]["msg"][0]
            return entry["status"], entry["reason"]
        failed = [x for x in outcome.tasks if x["host"] == host and x["status"] in ("failed", "unreachable")]
        return (FAILED, str(failed[-1]["result"].get("msg", ""))) if failed else ("", outcome.output[-2000:])
