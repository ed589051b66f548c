# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that the collection and the official SDK say to the API, and what it answers, recorded once a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cloudflare import Cloudflare

from tests.contract.recorder import Exchange, Recorder
from tests.harness.playbook import Playbooks, Result
from tests.harness.simulator import Simulator

NEW = {
    "name": "contract-1",
    "cloudflare_endpoint": "203.0.113.1",
    "customer_endpoint": "198.51.100.77",
    "interface_address": "10.213.0.8/31",
    "interface_address6": "2001:db8::a2/127",
    "description": "made by the contract tests",
    "replay_protection": True,
    "bgp": {"customer_asn": 65001, "extra_prefixes": ["192.0.2.0/24"], "md5_key": "not a secret"},
    "health_check": {"enabled": True, "rate": "low", "type": "request", "direction": "unidirectional"},
}
PSK = "ContractPskContractPskContractPsk1"


@dataclass
class Recording:
    """What was said, by the collection and by the SDK."""

    collection: list[Exchange]
    sdk: list[Exchange]
    sdk_answers: dict[str, Any]
    playbooks: list[Result]


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    """Playbooks with every module, a rotation that fails and is finished, and each operation of the SDK."""
    with Simulator(6, 7) as simulator, Recorder(simulator.base_url) as recorder:
        folder = tmp_path_factory.mktemp("contract")
        playbooks = Playbooks(folder / "playbooks", {**simulator.env(), "CLOUDFLARE_BASE_URL": recorder.base_url})
        results = [
            playbooks.run(modules(simulator)).ok(),
            *rotations(playbooks, simulator, str(folder / "escrow" / "psks.yml")),
        ]
        playbooks.close()
        said = len(recorder.exchanges)
        answers = drive_sdk(simulator, recorder.base_url)
        yield Recording(recorder.exchanges[:said], recorder.exchanges[said:], answers, results)


def modules(simulator: Simulator) -> list[dict[str, Any]]:
    """One play with every module, its refusals too."""
    fqdn = f"contract.{simulator.account}.custom.ipsec.cloudflare.com"
    full = {**NEW, "psk": PSK, "custom_remote_identities": {"fqdn_id": fqdn}}
    first = simulator.state()["tunnels"][0]
    wrong = {"name": "contract-2", "cloudflare_endpoint": "203.0.113.1", "interface_address": "192.0.2.1/29"}

    def task(module: str, check: bool = False, fails: bool = False, **options: Any) -> dict[str, Any]:
        name = f"{module} {sorted(options)}"
        found: dict[str, Any] = {"name": name, f"magicwan.cloudflare.{module}": options, "check_mode": check}
        return {**found, "ignore_errors": True} if fails else found

    faults = {"url": f"{simulator.sim_url}/faults", "method": "POST", "body_format": "json"}
    limited = {"route": "list", "status": 429, "headers": {"Retry-After": "1"}}
    tasks = [
        task("ipsec_tunnel", True, **full),
        task("ipsec_tunnel", **full),
        task("ipsec_tunnel", **full),
        task("ipsec_tunnel", **{**full, "update_psk": "always"}),
        task("ipsec_tunnel", True, name=NEW["name"], description="changed"),
        task("ipsec_tunnel", name=NEW["name"], health_check={"direction": "bidirectional", "target": "10.213.0.9"}),
        task("ipsec_tunnel", fails=True, **wrong),
        task("ipsec_tunnel", fails=True, name="contract-3", api_token="wrong"),
        task("ipsec_tunnel", fails=True, name="contract-3", account_id="0" * 32),
        {"name": "Limit", "ansible.builtin.uri": {**faults, "body": limited, "status_code": [200, 201]}},
        task("ipsec_tunnel_info"),
        task("ipsec_tunnel_health_info"),
        task("ipsec_tunnel_health_info", fails=True, account_id="0" * 32),
        task("ipsec_psk", True, psks=[{"name": NEW["name"]}], state="rotated"),
        task("ipsec_psk", psks=[{"name": NEW["name"]}, {"id": first["id"]}], state="rotated"),
        task("ipsec_tunnel", True, name=NEW["name"], state="absent"),
        task("ipsec_tunnel", name=NEW["name"], state="absent"),
    ]
    return [{"name": "Every module", "hosts": "localhost", "gather_facts": False, "tasks": tasks}]


def rotations(playbooks: Playbooks, simulator: Simulator, escrow: str) -> list[Result]:
    """A check run, a rotation of which a part is refused, the run that finishes it, and one whose answer is lost."""
    variables = {"psk_rotation_escrow": {"backend": "file", "path": escrow}, "psk_rotation_hosts": "localhost"}
    variables |= {"psk_rotation_tunnels": ["all"], "psk_rotation_unknown_psk": "rotate"}
    more = {**variables, "psk_rotation_force": True, "psk_rotation_wave_size": 4}
    inventory = "localhost ansible_connection=local\n"

    def rotate(playbook: str, extra_vars: dict[str, Any], check: bool = False) -> Result:
        name = f"magicwan.cloudflare.{playbook}"
        return playbooks.run(name, inventory=inventory, extra_vars=extra_vars, check=check)

    found = [rotate("rotate_psks", more, check=True).ok()]
    simulator.arm({"route": "psk_set", "validate_only": False, "unapplied": 1})
    found.append(rotate("rotate_psks", more).failed())
    found.append(rotate("rotate_psks", variables).ok())
    simulator.arm({"route": "psk_set", "validate_only": False, "status": 502, "when": "after"})
    found.append(rotate("rotate_psks", more).ok())
    return found


def drive_sdk(simulator: Simulator, base_url: str) -> dict[str, Any]:
    """Every operation by Cloudflare's own SDK, whose models check the answers (`_strict_response_validation`)."""
    answers: dict[str, Any] = {}
    with Cloudflare(
        api_token=simulator.token, base_url=base_url, max_retries=0, _strict_response_validation=True
    ) as client:
        tunnels, account = client.magic_transit.ipsec_tunnels, {"account_id": simulator.account}
        for form in (True, False):
            new = {**account, "x_magic_new_hc_target": form}
            answers[f"list {form}"] = tunnels.list(**new)
            made = answers[f"create {form}"] = tunnels.create(**{**NEW, **new, "name": f"sdk-{form}"})
            change = {**NEW, "name": f"sdk-{form}", "description": "changed"}
            answers[f"get {form}"] = tunnels.get(made.id, **new)
            answers[f"update {form}"] = tunnels.update(made.id, **{**change, **new})
            body = {"ipsec_tunnels": [{"id": made.id, **change}]}
            answers[f"bulk_update {form}"] = tunnels.bulk_update(**new, body=body)
            answers[f"psk_generate {form}"] = tunnels.psk_generate(made.id, **account)
            keys = [{"id": made.id, "psk": PSK}, {"id": "0" * 32, "psk": PSK}]
            answers[f"psk_set dry {form}"] = tunnels.psk_set(**account, psks=keys, validate_only=True)
            answers[f"psk_set {form}"] = tunnels.psk_set(**account, psks=keys)
            answers[f"delete {form}"] = tunnels.delete(made.id, **new)
    return answers
