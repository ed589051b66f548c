# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Some cells of the matrix of `make devices`, and the options that only a device shows: the real collections, over SSH,
NETCONF and HTTP, against the stand-ins."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.devices.device import PASSWORD, USER, Device, State, Wanted
from tests.devices.iosxe import IosXe
from tests.devices.junos import Junos
from tests.devices.matrix import ENDPOINT, OTHER_ID, PLATFORMS, TUNNEL_ID, Bench, fqdn, published
from tests.devices.model import Ike
from tests.devices.opnsense import SECRET, OpnSense
from tests.devices.panos import PanOs, doubles
from tests.devices.scenarios import NEW, OLD
from tests.devices.vyos import VyOs
from tests.harness.playbook import VENV, Result
from tests.harness.vendor_collections import vendor_collections

Run = Callable[..., Result]
CELLS = ["right", "ignored", "missing"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_platforms_cells(platform: str) -> None:
    cells = Bench(platform).run(CELLS)
    assert [(x.scenario, x.faults) for x in cells] == [(x, []) for x in CELLS]


def made(kind: type[Device], peer_key: str = NEW, **state: bool) -> tuple[Device, Wanted]:
    """A device that has the tunnel, and its peer's key."""
    tunnel = Wanted(TUNNEL_ID, "cf-fedcba98", "cf-fedcba98", ENDPOINT, fqdn(TUNNEL_ID), OLD)
    device = kind(Ike({tunnel.local_id: peer_key, fqdn(OTHER_ID): OLD}), State(**state))
    device.configure(tunnel)
    device.know(tunnel, 7200)
    return device, tunnel


def play(entry: str, **variables: Any) -> list[dict[str, Any]]:
    """A play that runs an entry point, and shows what it publishes."""
    role = {"name": "magicwan.cloudflare.customer_device", "tasks_from": entry}
    show = "{{ customer_device_comparisons if customer_device_comparisons else customer_device_results }}"
    return [
        {
            "hosts": "all",
            "gather_facts": False,
            "vars": {"customer_device_tunnels": [published(TUNNEL_ID, "site-a", NEW, "applied")], **variables},
            "tasks": [
                {"name": "Run the role", "ansible.builtin.include_role": role},
                {"name": "Show", "ansible.builtin.debug": {"msg": show}},
            ],
        }
    ]


@pytest.fixture
def bring(run: Run, tmp_path: Any) -> Callable[..., Result]:
    """Run an entry point on a device that listens."""

    def runner(device: Device, entry: str, check: bool = False, **variables: Any) -> Result:
        folders = f"{VENV / 'collections'}:{doubles(tmp_path / 'panos')}:{vendor_collections()}"
        hosts = {"all": {"hosts": {"d": {**device.variables(), "customer_device_timeout": 8}}}}
        return run(
            play(entry, **variables),
            inventory=hosts,
            env={"ANSIBLE_COLLECTIONS_PATH": folders},
            check=check,
            secret=NEW,
        )

    return runner


@contextlib.contextmanager
def listening(kind: type[Device], **state: bool) -> Any:
    device, tunnel = made(kind, **state)
    with device:
        yield device, tunnel


@pytest.mark.parametrize("kind", [IosXe, OpnSense])
def test_compare_says_whether_the_device_has_the_key(bring: Callable[..., Result], kind: type[Device]) -> None:
    with listening(kind) as (device, _tunnel):
        before = device.running()
        outcome = bring(device, "compare").ok()
        assert device.running() == before
    assert [x["comparison"] for x in outcome.result("Show")["msg"]] == ["mismatch"]


def test_compare_does_not_say_what_the_device_does_not_show(bring: Callable[..., Result]) -> None:
    with listening(Junos) as (device, _tunnel):
        outcome = bring(device, "compare").ok()
    assert [x["comparison"] for x in outcome.result("Show")["msg"]] == ["not shown"]


def test_reach_finds_the_object_and_changes_nothing(bring: Callable[..., Result]) -> None:
    with listening(VyOs) as (device, tunnel):
        before = device.running()
        bring(device, "reach").ok()
        assert (device.running(), device.ike.cleared) == (before, [])
        device.config = [x for x in device.config if tunnel.object not in x] + ["system host-name vyos"]
        outcome = bring(device, "reach").failed()
    assert "is left alone: site-a: the device has no peer cf-fedcba98" in outcome.output


@pytest.mark.parametrize("kind", [IosXe, OpnSense])
def test_check_mode_changes_nothing_and_says_what_would(bring: Callable[..., Result], kind: type[Device]) -> None:
    with listening(kind) as (device, _tunnel):
        before = device.running()
        outcome = bring(device, "psk", check=True).ok()
        assert (device.running(), device.ike.cleared) == (before, [])
    assert "d: 1 of 1 tunnels would get their PSK" in outcome.result("Report the planned changes")["msg"]


def test_opnsense_makes_a_whole_tunnel_only_with_the_anti_replay_that_its_api_has(bring: Callable[..., Result]) -> None:
    device = OpnSense(Ike({fqdn(TUNNEL_ID): NEW}))
    with device:
        before = device.running()
        outcome = bring(device, "main", customer_device_anti_replay="tunnel").failed()
        assert (device.running(), device.received) == (before, [])
    assert "turn on the replay_protection of site-a" in outcome.output


def test_opnsense_does_not_show_the_secret_of_its_api(bring: Callable[..., Result]) -> None:
    with listening(OpnSense, read_only=True) as (device, _tunnel):
        outcome = bring(device, "psk").failed()
    assert "denied for write access" in outcome.output
    assert SECRET not in outcome.output


@pytest.mark.parametrize("save", [True, False])
def test_ios_saves_as_the_user_says(bring: Callable[..., Result], save: bool) -> None:
    with listening(IosXe) as (device, _tunnel):
        bring(device, "psk", customer_device_cisco_iosxe_save=save, customer_device_reauthenticate="never").ok()
        assert bool(device.startup) is save


@pytest.mark.parametrize("save", [True, False])
def test_vyos_saves_as_the_user_says(bring: Callable[..., Result], save: bool) -> None:
    with listening(VyOs) as (device, _tunnel):
        bring(device, "psk", customer_device_vyos_save=save, customer_device_reauthenticate="never").ok()
        assert bool(device.saved) is save


def test_never_writes_the_psk_and_leaves_the_sas_as_they_are(bring: Callable[..., Result]) -> None:
    with listening(IosXe) as (device, tunnel):
        outcome = bring(device, "psk", customer_device_reauthenticate="never").ok()
        assert (device.key_of(tunnel), device.ike.cleared) == (NEW, [])
    assert outcome.result("Show")["msg"][0]["status"] == "unchanged"


def test_always_has_an_unchanged_psk_authenticate_anew(bring: Callable[..., Result]) -> None:
    with listening(IosXe) as (device, tunnel):
        bring(device, "psk").ok()
        tunnels = [published(TUNNEL_ID, "site-a", NEW, "confirmed")]
        began = time.time()
        bring(device, "psk", customer_device_tunnels=tunnels, customer_device_reauthenticate="always").ok()
        assert device.ike.proven(tunnel.gateway, NEW, began)


def test_panos_without_an_administrator_is_refused(bring: Callable[..., Result]) -> None:
    with listening(PanOs) as (device, _tunnel):
        provider = {"ip_address": "127.0.0.1", "port": device.port, "api_key": "api-key"}
        outcome = bring(device, "psk", customer_device_panos_provider=provider).failed()
        assert not [x for x in device.received if x.startswith("set ")]
    assert "customer_device_panos_admin and the provider's username are unset" in outcome.output


def test_secure_logging_hides_the_firewalls_password(bring: Callable[..., Result]) -> None:
    with listening(PanOs) as (device, _tunnel):
        assert PASSWORD not in bring(device, "psk", customer_device_secure_logging=True).ok().output


def test_an_unknown_option_of_a_tunnel_is_refused(bring: Callable[..., Result]) -> None:
    with listening(IosXe) as (device, _tunnel):
        options = {"site-a": {"keyrings": "x"}}
        outcome = bring(device, "psk", customer_device_tunnel_options=options).failed()
        assert device.received == []
    assert "keyrings is unknown to cisco_iosxe, which takes object, number" in outcome.output


def test_panos_commits_for_the_administrator_that_the_user_names(bring: Callable[..., Result]) -> None:
    with listening(PanOs) as (device, tunnel):
        provider = {"ip_address": "127.0.0.1", "port": device.port, "api_key": "api-key"}
        variables = {"customer_device_panos_provider": provider, "customer_device_panos_admin": USER}
        bring(device, "psk", customer_device_reauthenticate="never", **variables).ok()
        assert device.key_of(tunnel) == NEW


@pytest.mark.parametrize("partial", [True, False])
def test_one_bad_tunnel_of_two_fails_the_host_unless_the_user_says_otherwise(
    bring: Callable[..., Result], partial: bool
) -> None:
    other = Wanted(OTHER_ID, "cf-01234567", "cf-01234567", ENDPOINT, fqdn(OTHER_ID), OLD)
    tunnels = [published(TUNNEL_ID, "site-a", NEW, "applied"), published(OTHER_ID, "site-b", NEW, "applied")]
    tunnels[1]["ike_ids"] = {**tunnels[1]["ike_ids"], "fqdn": fqdn(OTHER_ID)}
    with listening(IosXe) as (device, _tunnel):
        device.configure(other)
        device.know(other, 7200)
        variables = {"customer_device_tunnels": tunnels, "customer_device_partial_failure": partial}
        outcome = bring(device, "psk", **variables)
    if partial:
        assert [x["status"] for x in outcome.ok().result("Show")["msg"]] == ["confirmed", "failed"]
    else:
        assert "d: site-b: timeout: no new IKE_AUTH within 8 s" in outcome.failed().output
