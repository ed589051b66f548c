# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stage for rotations: an account in the simulator, an escrow, devices that are files, and what each run did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.harness.playbook import Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator

PASSWORD = "vault-password-of-the-tests"
LOCALHOST = "localhost psk_rotation_tunnels=all\n"

ACTIONS = Path(__file__).resolve().parent / "action_plugins"

# The device keeps what each call of its hook hands over. It fails, or reports tunnels, where the test says so.
DEVICE_HOOK = """
- name: Hook | Refuse as the test says
  ansible.builtin.fail:
    msg: this device is broken
  when:
    - inventory_hostname in (broken_devices | default([]))
    - psk_rotation_wave_results | rejectattr('status', 'equalto', 'rolling_back') | length > 0
- name: Hook | Report the tunnels that the test names
  ansible.builtin.set_fact:
    psk_rotation_failed_tunnels: >-
      {{ failing_tunnels | default({}) | dict2items
         | selectattr('key', 'in', psk_rotation_wave_results | map(attribute='id')) | items2dict }}
- name: Hook | Take the PSKs
  ansible.legacy.keep:
    path: "{{ devices_folder }}/{{ inventory_hostname }}.jsonl"
    value: {wave: "{{ psk_rotation_wave_results }}", all: "{{ psk_rotation_results }}"}
  no_log: true
"""
VERIFY_HOOK = """
- name: Hook | Say whether the device has authenticated
  ansible.builtin.assert:
    that: >-
      inventory_hostname not in (unproven_devices | default([]))
      or psk_rotation_wave_results | selectattr('status', 'equalto', 'rolling_back') | length > 0
    quiet: true
"""
PUBLISH = {
    "name": "Use the results later",
    "hosts": "all",
    "gather_facts": False,
    "tasks": [
        {
            "name": "Keep the results",
            "keep": {
                "path": "{{ results_folder }}/{{ inventory_hostname }}.json",
                "value": {"results": "{{ psk_rotation_results }}", "summary": "{{ psk_rotation_summary }}"},
            },
            "no_log": True,
            "check_mode": False,
            "changed_when": False,
        }
    ],
}


@dataclass
class Run:
    """One run: its result, the account before and after it by tunnel id, and its requests to the API."""

    result: Result
    before: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]]
    requests: list[dict[str, Any]]

    def ok(self) -> Run:
        """This run, when it ended well."""
        self.result.ok()
        return self

    def failed(self) -> Run:
        """This run, when it failed as a run should: a task said why, without a traceback."""
        self.result.failed()
        assert "Traceback" not in self.result.output, self.result.output
        return self

    @property
    def waves(self) -> list[list[str]]:
        """The ids of the tunnels of each request that changed something."""
        return [entry["tunnels"] for entry in self.requests if entry["changed"]]

    @property
    def validations(self) -> list[dict[str, Any]]:
        """The requests that only asked the API for its opinion."""
        return [entry for entry in self.requests if entry["validate_only"]]

    @property
    def rotated(self) -> set[str]:
        """The ids of the tunnels whose PSK is another one now."""
        return {i for i, tunnel in self.after.items() if tunnel.get("psk") != self.before[i].get("psk")}

    def summary(self, host: str = "localhost") -> dict[str, Any]:
        """The summary of this host, also when the run has failed."""
        found = [y for x in self.result.tasks if x["host"] == host for y in _summaries(x["result"])]
        assert found, f"no summary of {host}:\n{self.result.output}"
        return found[-1]

    def statuses(self, host: str = "localhost") -> dict[str, str]:
        """The status of each tunnel of this host."""
        return {i: x["status"] for i, x in self.summary(host)["by_tunnel"].items()}

    def reasons(self, host: str = "localhost") -> dict[str, str]:
        """The reason of each tunnel's status."""
        return {i: x["reason"] for i, x in self.summary(host)["by_tunnel"].items()}

    @property
    def failures(self) -> list[str]:
        """What the failed tasks said, one text a task."""
        return [x["result"].get("msg", "") for x in self.result.tasks if x["status"] == "failed"]


class Stage:
    """Runs rotations; every run's output is searched for every PSK that the account and the escrow ever had."""

    def __init__(self, simulator: Simulator, playbooks: Playbooks, folder: Path) -> None:
        self.simulator = simulator
        self.folder = folder
        self.escrow_path = folder / "escrow" / "psks.yml"
        self._playbooks = playbooks
        self._secrets = {simulator.token, PASSWORD}
        for name in ("devices", "results", "hooks"):
            (folder / name).mkdir(mode=0o700)
        self.device_hook = self.write("hooks/device.yml", DEVICE_HOOK)
        self.verify_hook = self.write("hooks/verify.yml", VERIFY_HOOK)

    def write(self, name: str, text: str) -> str:
        """Write a file; returns its path."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def tunnels(self) -> dict[str, dict[str, Any]]:
        """The account's tunnels by id, in their order, with their PSKs."""
        return {x["id"]: x for x in self.simulator.state()["tunnels"]}

    def psks(self) -> dict[str, str | None]:
        """The account's PSKs by tunnel id."""
        return {i: tunnel.get("psk") for i, tunnel in self.tunnels().items()}

    def rotate(
        self,
        variables: Mapping[str, Any] | None = None,
        *,
        playbook: str = "rotate_psks",
        play: Mapping[str, Any] | None = None,
        tasks_from: str | None = None,
        then: Sequence[Mapping[str, Any]] = (PUBLISH,),
        **options: Any,
    ) -> Run:
        """Run a playbook, an entry point of the role, or a play of the user's own, with the file escrow, and then plays
        that use its results.
        """
        extra_vars = {
            "psk_rotation_escrow": {"backend": "file", "path": str(self.escrow_path)},
            "devices_folder": str(self.folder / "devices"),
            "results_folder": str(self.folder / "results"),
            "psk_rotation_unknown_psk": "rotate",
            **(variables or {}),
        }
        extra_vars = {key: value for key, value in extra_vars.items() if value is not None}
        options.setdefault("inventory", LOCALHOST)
        before = self.tunnels()
        last = (self.simulator.journal() or [{"n": None}])[-1]["n"]
        for old in (self.folder / "results").glob("*.json"):
            old.unlink()
        first: dict[str, Any] = {"name": "Rotate", "import_playbook": f"magicwan.cloudflare.{playbook}"}
        if tasks_from:
            role = {"name": "magicwan.cloudflare.psk_rotation", "tasks_from": tasks_from}
            enter = {"name": "Enter the role", "ansible.builtin.include_role": role}
            first = {"hosts": "all", "gather_facts": False, "tasks": [enter]}
        plays = [play or first, *then]
        env = {"ANSIBLE_ACTION_PLUGINS": str(ACTIONS), **options.pop("env", {})}
        result = self._playbooks.run(plays, extra_vars=extra_vars, env=env, **options)
        run = Run(result, before, self.tunnels(), self.simulator.journal(since=last))
        self._secrets |= set(_secrets_in([*before.values(), *run.after.values()]))
        if self.escrow_path.exists():
            self._secrets |= set(_secrets_in(self.escrow()))
        hits = find_secrets([result.stdout, result.stderr], sorted(self._secrets))
        assert not hits, f"secrets in the output: {hits[:10]}"
        return run

    def rotate_devices(self, variables: Mapping[str, Any] | None = None, **options: Any) -> Run:
        """The same on devices, with the device hook."""
        options.setdefault("inventory", self.devices())
        return self.rotate({"psk_rotation_device_tasks": self.device_hook, **(variables or {})}, **options)

    def sites(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The tunnels of each site: two neighbours of the account's list."""
        tunnels = list(self.tunnels().values())
        return list(zip(tunnels[::2], tunnels[1::2], strict=True))

    def devices(self, **host_vars: Any) -> dict[str, Any]:
        """An inventory with a device a site, which names its two tunnels by names, by ids, or by a glob, in turns."""
        hosts = {}
        for number, (one, other) in enumerate(self.sites()):
            names = (
                [one["name"], other["name"]],
                [one["id"], other["id"]],
                [_glob(one["name"], other["name"])],
            )[number % 3]
            hosts[f"device{number}"] = {"ansible_connection": "local", "psk_rotation_tunnels": names, **host_vars}
        return {"all": {"hosts": hosts}}

    def own(self, device: str) -> list[str]:
        """The ids of the tunnels of a device."""
        return [tunnel["id"] for tunnel in self.sites()[int(device.removeprefix("device"))]]

    def calls(self, device: str) -> list[dict[str, Any]]:
        """What the calls of the device's hook handed over, oldest first."""
        path = self.folder / "devices" / f"{device}.jsonl"
        return [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def device_psks(self, device: str) -> dict[str, str]:
        """The PSKs that the device has now, by tunnel id."""
        return {x["id"]: x["psk"] for call in self.calls(device) for x in call["wave"]}

    def published(self, host: str = "localhost") -> dict[str, Any]:
        """What a later play saw on this host in the last run: `results` by tunnel id, and `summary`."""
        found = json.loads((self.folder / "results" / f"{host}.json").read_text(encoding="utf-8"))
        return {"results": {x["id"]: x for x in found["results"]}, "summary": found["summary"]}

    def escrow(self) -> dict[str, Any]:
        """The records of the escrow by tunnel id."""
        vault = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
        return dict(yaml.load(vault.decrypt(self.escrow_path.read_bytes()), yaml.CSafeLoader)["tunnels"])

    def current(self) -> dict[str, str]:
        """The PSKs that the escrow calls current, by tunnel id."""
        return {i: record["current"]["psk"] for i, record in self.escrow().items() if record["current"]}


def _summaries(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The host's own summary: a fact, or, where the task has failed, what it was told first."""
    facts, told = result.get("ansible_facts") or {}, (result.get("invocation") or {}).get("module_args") or {}
    if "psk_rotation_summary" in facts:
        yield dict(facts["psk_rotation_summary"])
    elif told.get("operation") == "report":
        yield dict(told["summaries"][0])


def _secrets_in(value: Any) -> Iterator[str]:
    """The values of all keys `psk`, however deep."""
    if isinstance(value, Mapping):
        if isinstance(value.get("psk"), str):
            yield value["psk"]
        for part in value.values():
            yield from _secrets_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from _secrets_in(part)


def _glob(one: str, other: str) -> str:
    start = _common(one, other)
    end = _common(one[len(start) :][::-1], other[len(start) :][::-1])[::-1]
    return f"{start}*{end}"


def _common(one: str, other: str) -> str:
    length = next((n for n, (x, y) in enumerate(zip(one, other, strict=False)) if x != y), min(len(one), len(other)))
    return one[:length]
