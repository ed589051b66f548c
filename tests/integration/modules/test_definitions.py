# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as people write them: what they make, that it stays, and that a change of one field changes one field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.magicwan.cloudflare.plugins.filter.ipsec_tunnel_options import ipsec_tunnel_options
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_plan import REMOVABLE

from tests.harness.module import run_module
from tests.harness.simulator import Simulator
from tests.integration.modules.conftest import Tell, Told, task

FOLDER = Path(__file__).parent / "definitions"
FILES = ["aws_bgp.yml", "azure_gateways.yml", "strongswan_multi_isp.yml", "terraform.json", "vyos_legacy.yml"]
# What the API computes out of other fields.
COMPUTED = ("modified_on", "bgp_status", "health_check.target.effective")

Tunnel = dict[str, Any]


def definitions(name: str) -> list[Tunnel]:
    """The tunnels of a file; those of terraform by the filter."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    if name.endswith(".json"):
        resources = json.loads(text)["values"]["root_module"]["resources"]
        found = [x["values"] for x in resources if x["type"] == "cloudflare_magic_wan_ipsec_tunnel"]
        return list(ipsec_tunnel_options(found))
    return list(yaml.safe_load(text)["fleet"])


# -- whole files, in playbooks ----------------------------------------------------------------------------------------

AS_CODE = "{{ fleet }}"
OF_TERRAFORM = (
    "{{ state['values'].root_module.resources | selectattr('type', 'eq', 'cloudflare_magic_wan_ipsec_tunnel')"
    " | map(attribute='values') | magicwan.cloudflare.ipsec_tunnel_options }}"
)


@pytest.fixture(scope="module", params=FILES)
def made(tell: Tell, request: pytest.FixtureRequest) -> Told:
    """The whole file by ipsec_tunnels, checked before and afterwards."""
    path = FOLDER / request.param
    if path.suffix == ".json":
        play: dict[str, Any] = {"vars": {"state": "{{ lookup('ansible.builtin.file', path) | from_json }}"}}
        tunnels = OF_TERRAFORM
    else:
        play, tunnels = {"vars_files": [str(path)]}, AS_CODE
    return tell(
        [
            task("check before", "ipsec_tunnels", True, tunnels=tunnels),
            task("create", "ipsec_tunnels", tunnels=tunnels),
            task("create again", "ipsec_tunnels", tunnels=tunnels),
            task("check afterwards", "ipsec_tunnels", True, tunnels=tunnels),
        ],
        secrets=["LyonKeyOfTheTerraformState0123456", "LyonKeyTwoOfTheTerraformState0123"],
        play=play,
        extra_vars={"path": str(path)},
        diff=True,
    )


def test_a_file_is_made_once_as_the_check_run_foretells(made: Told) -> None:
    made.result.ok()
    before, done = made.of("check before"), made.of("create")
    assert before["changed"] is done["changed"] is True
    assert {x["action"] for x in done["ipsec_tunnels"]} == {"create"}
    assert before["msg"] == done["msg"]
    assert before["diff"] == done["diff"]


@pytest.mark.parametrize("name", ["create again", "check afterwards"])
def test_a_file_that_was_made_needs_nothing_more(made: Told, name: str) -> None:
    assert made.of(name)["changed"] is False
    assert made.of(name)["diff"] == []


def test_a_file_costs_one_request_a_tunnel_and_a_read_before_and_afterwards(made: Told) -> None:
    count = len(made.of("create")["ipsec_tunnels"])
    assert made.asked == [*["create?"] * count, *["create"] * count]
    assert sum(entry["operation"] == "list" for entry in made.journal) == 5


def test_what_has_changed_is_named_at_normal_verbosity(made: Told) -> None:
    (line,) = [x for x in made.result.stderr.splitlines() if x.startswith("ipsec_tunnels: ")]
    assert all(x["name"] in line for x in made.of("create")["ipsec_tunnels"])
    (line,) = [x for x in made.result.stderr.splitlines() if x.startswith("ipsec_tunnels (check mode): ")]
    assert all(x["name"] in line for x in made.of("create")["ipsec_tunnels"])


# -- one field at a time ----------------------------------------------------------------------------------------------

CHANGES: dict[str, list[tuple[int, str, Tunnel]]] = {
    "aws_bgp.yml": [
        (0, "name", {"name": "AWS BGP eu-central-1 first"}),
        (0, "description", {"description": "vpn-0a1b2c3d4e5f60718, tunnel 1 of 2"}),
        (0, "bgp.customer_asn", {"bgp": {"customer_asn": 64513}}),
        (0, "bgp.md5_key", {"bgp": {"md5_key": "aws eu-central-1"}}),
        (1, "bgp.extra_prefixes", {"bgp": {"extra_prefixes": ["10.20.0.0/16", "10.22.0.0/16"]}}),
        (1, "bgp.import_filter_id", {"bgp": {"import_filter_id": "a" * 32}}),
        (1, "bgp.export_filter_id", {"bgp": {"export_filter_id": "b" * 32}}),
        (1, "replay_protection", {"replay_protection": False}),
    ],
    "azure_gateways.yml": [
        (0, "customer_endpoint", {"customer_endpoint": "20.61.99.12"}),
        (0, "health_check.type", {"health_check": {"type": "reply"}}),
        (1, "cloudflare_endpoint", {"cloudflare_endpoint": "203.0.113.1"}),
        (1, "health_check.enabled", {"health_check": {"enabled": False}}),
        (2, "description", {"description": "north, first instance"}),
        (2, "health_check.target.saved", {"health_check": {"target": {"saved": "10.240.0.5"}}}),
        (2, "bgp", {"bgp": {"customer_asn": 65515}}),
    ],
    "strongswan_multi_isp.yml": [
        (0, "interface_address", {"interface_address": "10.100.7.8/31"}),
        (1, "health_check.rate", {"health_check": {"rate": "mid"}}),
        (1, "health_check.direction", {"health_check": {"direction": "bidirectional"}}),
        (2, "customer_endpoint", {"customer_endpoint": "192.0.2.67"}),
        (3, "custom_remote_identities.fqdn_id", {
            "custom_remote_identities": {"fqdn_id": "hamburg-5g.33145236.custom.ipsec.cloudflare.com"},
        }),
    ],
    "terraform.json": [
        (0, "description", {"description": "managed by Ansible"}),
        (0, "interface_address6", {"interface_address6": "2606:54c1:7:0:a9fe:12d2:1:402/127"}),
        (0, "bgp.extra_prefixes", {"bgp": {"extra_prefixes": ["10.70.0.0/16"]}}),
        (1, "customer_endpoint", {"customer_endpoint": "192.0.2.140"}),
        (1, "health_check.rate", {"health_check": {"rate": "low"}}),
    ],
    "vyos_legacy.yml": [
        (0, "name", {"name": "OSLO.vyos.1"}),
        (0, "health_check.target.saved", {"health_check": {"target": "172.64.240.253"}}),
        (0, "bgp.customer_asn", {"bgp": {"customer_asn": 4200000108}}),
        (0, "interface_address6", {"interface_address6": "2606:54C1:0007:0:A9FE:12D2:0001:0202/127"}),
        (0, "health_check.enabled", {"health_check": {"enabled": False}}),
    ],
}  # fmt: skip
EMPTY: dict[str, Tunnel] = {
    "description": {"description": ""},
    "customer_endpoint": {"customer_endpoint": ""},
    "interface_address6": {"interface_address6": ""},
    "bgp": {"bgp": {}},
    "bgp.md5_key": {"bgp": {"md5_key": ""}},
    "bgp.extra_prefixes": {"bgp": {"extra_prefixes": []}},
    "bgp.import_filter_id": {"bgp": {"import_filter_id": ""}},
    "bgp.export_filter_id": {"bgp": {"export_filter_id": ""}},
    "custom_remote_identities": {"custom_remote_identities": {}},
    "health_check.target": {"health_check": {"target": ""}},
}


def parts(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries by their dotted paths; what is not set is not there."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= parts(inner, f"{path}.{key}".lstrip("."))
        return found
    return {} if value in (None, "", [], {}) else {path: value}


def overlaid(tunnel: Tunnel, change: Tunnel) -> Tunnel:
    """A definition with a change in it, as somebody edits the file."""
    found = dict(tunnel)
    for key, value in change.items():
        both = isinstance(value, dict) and value and isinstance(found.get(key), dict)
        found[key] = {**found[key], **value} if both else value
    return found


class Account:
    """A simulated account that holds exactly the tunnels of a file."""

    def __init__(self, simulator: Simulator, tunnels: list[Tunnel]) -> None:
        self.simulator = simulator
        self.tunnels = tunnels
        simulator.reset(tunnels=0)
        assert "failed" not in self.run(tunnels)

    def run(self, tunnels: list[Tunnel], *, check: bool = False) -> dict[str, Any]:
        options = {"tunnels": tunnels, "purge": True, "purge_max": 0}
        return run_module("ipsec_tunnels", options, self.simulator.env(), check=check)

    def run_one(self, tunnel: Tunnel, *, check: bool = False) -> dict[str, Any]:
        return run_module("ipsec_tunnel", tunnel, self.simulator.env(), check=check)

    def state(self) -> dict[str, dict[str, Any]]:
        """What the account holds, by id and dotted path."""
        found = {x["id"]: parts(x) for x in self.simulator.state()["tunnels"]}
        return {
            tunnel_id: {k: v for k, v in tunnel.items() if not any(k == x or k.startswith(f"{x}.") for x in COMPUTED)}
            for tunnel_id, tunnel in found.items()
        }

    def id_of(self, number: int) -> str:
        return str(self.simulator.tunnels_by_name()[self.tunnels[number]["name"]]["id"])

    def changed_since(self, before: dict[str, dict[str, Any]]) -> set[tuple[str, str]]:
        """The tunnels and paths in which the account differs now."""
        after = self.state()
        assert set(after) == set(before)
        return {(i, k) for i in after for k in {*after[i], *before[i]} if after[i].get(k) != before[i].get(k)}


@pytest.fixture
def account(simulator: Simulator, request: pytest.FixtureRequest) -> Account:
    return Account(simulator, definitions(request.param))


def test_there_are_thirty_changes() -> None:
    assert sorted(CHANGES) == FILES
    assert sum(map(len, CHANGES.values())) == 30


@pytest.mark.parametrize(
    ("account", "number", "path", "change"),
    [pytest.param(file, *x, id=f"{file} {x[0]} {x[1]}") for file, changes in CHANGES.items() for x in changes],
    indirect=["account"],
)
def test_a_change_of_one_field_changes_that_field_and_once(
    account: Account, number: int, path: str, change: Tunnel
) -> None:
    before = account.state()
    tunnel_id = account.id_of(number)
    tunnels = [dict(x) for x in account.tunnels]
    if "name" in change:
        tunnels[number]["id"] = tunnel_id
    tunnels[number] = overlaid(tunnels[number], change)
    checked = account.run(tunnels, check=True)
    assert checked["changed"] is True and account.changed_since(before) == set()
    done = account.run(tunnels)
    assert done["changed"] is True and "failed" not in done
    assert {(i, k if path != "bgp" else k.partition(".")[0]) for i, k in account.changed_since(before)} == {
        (tunnel_id, path)
    }
    assert checked["msg"] == done["msg"]
    assert account.run(tunnels)["changed"] is False


def removable(file: str) -> list[tuple[int, str]]:
    """The tunnels of a file, by number, with each optional field that they have."""
    found = []
    for number, tunnel in enumerate(definitions(file)):
        have = parts(tunnel)
        for path in REMOVABLE:
            if any(k == path or k.startswith(f"{path}.") for k in have):
                found.append((number, path))
    return found


def test_every_removable_field_is_in_some_file() -> None:
    assert {path for file in FILES for _number, path in removable(file)} == set(REMOVABLE) == set(EMPTY)


@pytest.mark.parametrize("module", ["ipsec_tunnel", "ipsec_tunnels"])
@pytest.mark.parametrize(
    ("account", "number", "path"),
    [pytest.param(file, *x, id=f"{file} {x[0]} {x[1]}") for file in FILES for x in removable(file)],
    indirect=["account"],
)
def test_an_optional_field_is_removed_alone_and_once(account: Account, number: int, path: str, module: str) -> None:
    before = account.state()
    tunnel_id = account.id_of(number)
    wanted = overlaid(account.tunnels[number], EMPTY[path])

    def run(check: bool = False) -> dict[str, Any]:
        if module == "ipsec_tunnel":
            return account.run_one(wanted, check=check)
        return account.run([*account.tunnels[:number], wanted, *account.tunnels[number + 1 :]], check=check)

    checked = run(check=True)
    assert checked["changed"] is True and account.changed_since(before) == set()
    done = run()
    assert done["changed"] is True and "failed" not in done
    gone = account.changed_since(before)
    assert {i for i, _path in gone} == {tunnel_id}
    assert all(k == path or k.startswith(f"{path}.") for _id, k in gone)
    assert not any(k == path or k.startswith(f"{path}.") for k in account.state()[tunnel_id])
    assert checked["msg"] == done["msg"]
    assert run()["changed"] is False


@pytest.mark.parametrize("account", FILES, indirect=True)
def test_what_was_made_and_exported_and_given_back_is_the_same(account: Account) -> None:
    read = run_module("ipsec_tunnel_info", {}, account.simulator.env())["ipsec_tunnels"]
    assert account.run(ipsec_tunnel_options(read))["changed"] is False
