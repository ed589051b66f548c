# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A play that several tests read: run once a file, and searched for secrets whatever they look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness.playbook import Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import ACCOUNT, Simulator

Task = dict[str, Any]
READS = ("list", "get")


@dataclass
class Told:
    """What a play left behind: its results, what the API was asked, and the truth before and afterwards."""

    result: Result
    journal: list[dict[str, Any]]
    before: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]]

    def of(self, task: str) -> dict[str, Any]:
        """The result of a task."""
        return next(dict(x["result"], _status=x["status"]) for x in self.result.tasks if x["task"] == task)

    @property
    def asked(self) -> list[str]:
        """Every request but reads, with `?` behind a validation."""
        entries = [entry for entry in self.journal if entry["operation"] not in (*READS, None)]
        return [entry["operation"] + "?" * entry["validate_only"] for entry in entries]

    @property
    def writes(self) -> int:
        return sum(entry["changed"] for entry in self.journal)


Tell = Callable[..., Told]


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory, simulator_process: Simulator) -> Iterator[Tell]:
    """Runs tasks on localhost against a fresh fleet; `secrets` are searched for in what is printed, too."""
    made: list[Playbooks] = []

    def run(
        tasks: list[Task] | Callable[[list[dict[str, Any]]], list[Task]],
        *,
        secrets: Iterable[str] = (),
        fleet: dict[str, int] | None = None,
        faults: Iterable[dict[str, Any]] = (),
        play: dict[str, Any] | None = None,
        **options: Any,
    ) -> Told:
        simulator = simulator_process
        simulator.reset(**(fleet or {}))
        tunnels = simulator.state()["tunnels"]
        for fault in faults:
            simulator.arm(fault)
        playbooks = Playbooks(tmp_path_factory.mktemp("story"), simulator.env())
        made.append(playbooks)
        told = tasks if isinstance(tasks, list) else tasks(tunnels)
        whole = [{"name": "A story", "hosts": "localhost", "gather_facts": False, **(play or {}), "tasks": told}]
        result = playbooks.run(whole, **options)
        state = simulator.state()
        known = {x["psk"] for x in [*tunnels, *state["tunnels"]] if x["psk"]} | {simulator.token, *secrets}
        hits = find_secrets(playbooks.outputs(), sorted(known))
        assert not hits, f"secrets in the output: {hits[:10]}\n"
        assert "Traceback (most recent call last)" not in result.output
        return Told(
            result,
            simulator.journal(),
            {x["id"]: x for x in tunnels},
            {x["id"]: x for x in state["tunnels"]},
        )

    yield run
    for playbooks in made:
        playbooks.close()


def whole_tunnel(name: str, label: str) -> dict[str, Any]:
    """Options that set every field of a new tunnel; `label` begins its own IKE identity."""
    return {
        "name": name,
        "description": "made by a test",
        "cloudflare_endpoint": "203.0.113.1",
        "customer_endpoint": "198.51.100.7",
        "interface_address": "10.200.0.8/31",
        "interface_address6": "2606:54c1:7:0:a9fe:12d2:f:0/127",
        "replay_protection": True,
        "bgp": {
            "customer_asn": 64999,
            "extra_prefixes": ["10.9.0.0/24"],
            "md5_key": "no secret",
            "import_filter_id": "filter-of-what-comes-in",
            "export_filter_id": "filter-of-what-goes-out",
        },
        "custom_remote_identities": {"fqdn_id": f"{label}.{ACCOUNT}.custom.ipsec.cloudflare.com"},
        "health_check": {"enabled": True, "rate": "low", "type": "request", "direction": "unidirectional"},
    }


def task(name: str, module: str, check: bool = False, /, **options: Any) -> Task:
    """A task of this collection."""
    found: Task = {"name": name, f"magicwan.cloudflare.{module}": options}
    if check:
        found["check_mode"] = True
    return found


def may_fail(found: Task, **keywords: Any) -> Task:
    """The task, after whose failure the play goes on."""
    return {**found, "ignore_errors": True, **keywords}


def arm(simulator: Simulator, *faults: dict[str, Any]) -> Task:
    """A task that replaces the simulator's faults."""
    return {
        "name": "Arm faults",
        "ansible.builtin.uri": {
            "url": f"{simulator.sim_url}/faults",
            "method": "{{ item.method }}",
            "body": "{{ item.body }}",
            "body_format": "json",
        },
        "loop": [{"method": "DELETE", "body": []}, {"method": "POST", "body": list(faults)}],
    }
