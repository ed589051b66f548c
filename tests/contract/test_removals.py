# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a removal goes over the wire: empty where the schema takes that, otherwise as a key that is not there.

Under both answers to the question whether a PUT replaces the tunnel or merges: the requests are the same, and where
Cloudflare keeps the field, the module fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.conftest import NEW
from tests.contract.description import faults_of_answer, faults_of_request, operation_of
from tests.contract.recorder import Exchange, Recorder
from tests.harness.module import run_module
from tests.harness.simulator import Simulator

Tunnel = dict[str, Any]

FULL: Tunnel = {
    **NEW,
    "bgp": {**NEW["bgp"], "import_filter_id": "a" * 32, "export_filter_id": "b" * 32},
    "custom_remote_identities": {"fqdn_id": "contract.33145236.custom.ipsec.cloudflare.com"},
    "health_check": {**NEW["health_check"], "target": "192.0.2.77"},
}
ABSENT = object()
# The option that removes a field, where the request has it, and what it has there.
REMOVALS: dict[str, tuple[Tunnel, str, Any]] = {
    "description": ({"description": ""}, "description", ""),
    "customer_endpoint": ({"customer_endpoint": ""}, "customer_endpoint", ABSENT),
    "interface_address6": ({"interface_address6": ""}, "interface_address6", ABSENT),
    "bgp": ({"bgp": {}}, "bgp", ABSENT),
    "bgp of nulls": ({"bgp": {"customer_asn": None, "md5_key": None}}, "bgp", ABSENT),
    "bgp.md5_key": ({"bgp": {"md5_key": ""}}, "bgp.md5_key", ABSENT),
    "bgp.extra_prefixes": ({"bgp": {"extra_prefixes": []}}, "bgp.extra_prefixes", []),
    "bgp.import_filter_id": ({"bgp": {"import_filter_id": ""}}, "bgp.import_filter_id", ABSENT),
    "bgp.export_filter_id": ({"bgp": {"export_filter_id": ""}}, "bgp.export_filter_id", ABSENT),
    "custom_remote_identities": ({"custom_remote_identities": {}}, "custom_remote_identities", ABSENT),
    "fqdn_id": ({"custom_remote_identities": {"fqdn_id": ""}}, "custom_remote_identities", ABSENT),
    "target": ({"health_check": {"target": ""}}, "health_check.target.saved", ""),
    "target as an object": ({"health_check": {"target": {"saved": ""}}}, "health_check.target.saved", ""),
    "target of nulls": ({"health_check": {"target": {"saved": None}}}, "health_check.target.saved", ""),
}
# What is left out says nothing to a PUT that merges.
KEPT_BY_MERGING = {"customer_endpoint", "interface_address6", "bgp", "custom_remote_identities"}


class Account:
    """A simulated account behind a recorder."""

    def __init__(self, simulator: Simulator, recorder: Recorder, merges: bool) -> None:
        self.merges = merges
        self._simulator = simulator
        self._recorder = recorder
        self._env = {**simulator.env(), "CLOUDFLARE_BASE_URL": recorder.base_url}

    def with_full_tunnel(self) -> Account:
        self._simulator.reset(tunnels=1)
        assert "failed" not in self.run("ipsec_tunnel", FULL)
        self._recorder.exchanges.clear()
        return self

    def run(self, module: str, tunnel: Tunnel, *, check: bool = False) -> dict[str, Any]:
        options = tunnel if module == "ipsec_tunnel" else {"tunnels": [tunnel]}
        return run_module(module, options, self._env, check=check)

    @property
    def exchanges(self) -> list[Exchange]:
        return list(self._recorder.exchanges)

    @property
    def updates(self) -> list[Tunnel]:
        """The bodies of the updates, those that were only validated first."""
        return [json.loads(x.body) for x in self.exchanges if operation_of(x) == "update"]


@pytest.fixture(scope="module", params=[False, True], ids=["a PUT replaces", "a PUT merges"])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    assumed = f"partial_put={str(request.param).lower()}"
    with Simulator(1, 7, args=["--assume", assumed]) as simulator, Recorder(simulator.base_url) as recorder:
        yield Account(simulator, recorder, request.param)


def value_at(body: Tunnel, path: str) -> Any:
    found: Any = body
    for part in path.split("."):
        found = found.get(part, ABSENT) if isinstance(found, dict) else ABSENT
    return found


@pytest.mark.parametrize("module", ["ipsec_tunnel", "ipsec_tunnels"])
@pytest.mark.parametrize("removal", REMOVALS)
def test_a_removal_is_sent_as_the_schema_takes_it_and_is_gone_or_fails(
    account: Account, module: str, removal: str
) -> None:
    option, path, sent = REMOVALS[removal]
    account.with_full_tunnel()
    checked = account.run(module, {"name": NEW["name"], **option}, check=True)
    done = account.run(module, {"name": NEW["name"], **option})
    dry, real = account.updates
    assert dry == real and value_at(real, path) == sent
    assert set(FULL) - {path} <= set(real)
    assert not [x for x in map(faults_of_request, account.exchanges) if x]
    assert not [x for x in map(faults_of_answer, account.exchanges) if x]
    assert checked["changed"] is True and "failed" not in checked
    if account.merges and path in KEPT_BY_MERGING:
        assert done["failed"] is True and f"Cloudflare kept {path}, which should have been removed" in done["msg"]
        assert done["changed"] is False
    else:
        assert done["changed"] is True and "failed" not in done
        assert account.run(module, {"name": NEW["name"], **option})["changed"] is False


@pytest.mark.parametrize("module", ["ipsec_tunnel", "ipsec_tunnels"])
def test_a_new_tunnel_is_sent_without_anything_that_is_empty(account: Account, module: str) -> None:
    account.with_full_tunnel()
    empty = {
        "description": "",
        "customer_endpoint": "",
        "interface_address6": "",
        "bgp": {},
        "custom_remote_identities": {"fqdn_id": ""},
        "health_check": {"rate": "low", "target": ""},
    }
    needed = {"name": "bare", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.213.0.16/31"}
    assert account.run(module, {**needed, **empty})["changed"] is True
    (body,) = [json.loads(x.body) for x in account.exchanges if operation_of(x) == "create"]
    assert body == {**needed, "health_check": {"rate": "low"}}
    assert account.run(module, {**needed, **empty})["changed"] is False


@pytest.mark.parametrize("module", ["ipsec_tunnel", "ipsec_tunnels"])
@pytest.mark.parametrize("nothing", ["null", "left out"])
def test_what_is_null_or_left_out_sends_no_update(account: Account, module: str, nothing: str) -> None:
    account.with_full_tunnel()
    nulls = {key: None for key in FULL if key != "name"} if nothing == "null" else {}
    assert account.run(module, {"name": NEW["name"], **nulls})["changed"] is False
    assert account.updates == []
