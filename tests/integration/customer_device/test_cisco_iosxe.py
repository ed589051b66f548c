# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the role speaks to Cisco IOS XE: cisco.ios over SSH to a router that answers like one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.playbook import Result

from .conftest import PSK, play, result
from .ios_router import PASSWORD, USER, Router

ENDPOINT, OTHER_ENDPOINT = "203.0.113.1", "198.51.100.1"
SAVES = "enable|copy running-config startup-config"
CLEARS = f"enable|clear crypto ikev2 sa remote {ENDPOINT}"
OTHER = result(id="0123456789abcdef0123456789abcdef", name="branch-1-b", cloudflare_endpoint=OTHER_ENDPOINT)
Run = Callable[..., Result]


def inventory(router: Router, **variables: Any) -> dict[str, Any]:
    host = {
        "ansible_connection": "ansible.netcommon.network_cli",
        "ansible_network_cli_ssh_type": "libssh",
        "ansible_network_os": "cisco.ios.ios",
        "ansible_host": "127.0.0.1",
        "ansible_port": router.port,
        "ansible_user": USER,
        "ansible_password": PASSWORD,
        "customer_device_platform": "cisco_iosxe",
        "customer_device_wan_interface": "GigabitEthernet1",
        "customer_device_timeout": 6,
        **variables,
    }
    return {"all": {"hosts": {"r1": host}}}


def results(outcome: Result) -> list[dict[str, Any]]:
    return list(outcome.result("Show")["msg"])


def test_whole_tunnel_and_again(run: Run, core: str | None) -> None:
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        options = {"inventory": inventory(router), "core": core}
        first = run(play("main", customer_device_tunnels=[result()]), **options).ok()
        running = router.running()
        commands = len(router.configured())
        second = run(play("main", customer_device_tunnels=[result(status="confirmed")]), **options).ok()
        assert results(first)[0]["confirmed"] is True
        assert results(second)[0]["status"] == "unchanged"
        assert second.changed == 0
        assert router.running() == running
        assert len(router.configured()) == commands
    assert router.psk_of(ENDPOINT) == PSK
    assert "interface Tunnel1" in running
    assert " tunnel protection ipsec profile cf-fedcba98" in running


def test_only_the_key_then_a_new_sa(run: Run) -> None:
    new = "N" + PSK[1:]
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        options = {"inventory": inventory(router)}
        run(play("main", customer_device_tunnels=[result()]), **options).ok()
        before = router.running()
        router.peer_psks[ENDPOINT] = new
        router.commands.clear()
        outcome = run(play(customer_device_tunnels=[result(psk=new)]), secret=new, **options).ok()
        assert router.running() == before.replace(PSK, new)
        given = [line for line in router.configured() if line not in ("", "end", "exit")]
        assert given == [
            "crypto ikev2 keyring cf-fedcba98",
            "peer cf-fedcba98",
            f"pre-shared-key {new}",
        ]
        assert CLEARS in router.commands
    assert results(outcome)[0]["confirmed"] is True


def test_a_key_that_the_peer_does_not_have(run: Run) -> None:
    with Router(peer_psks={ENDPOINT: "another"}) as router:
        outcome = run(play(customer_device_tunnels=[result()]), inventory=inventory(router)).failed()
    assert "timeout: no new IKE_AUTH within 6 s; the device shows no established SA" in outcome.output


def test_a_rejected_line(run: Run, core: str | None) -> None:
    with Router(peer_psks={ENDPOINT: PSK}, rejects="pre-shared-key") as router:
        outcome = run(play(customer_device_tunnels=[result()]), inventory=inventory(router), core=core).failed()
        assert CLEARS not in router.commands
    assert "branch-1-a: the device refused the configuration" in outcome.output


def test_check_mode(run: Run) -> None:
    with Router() as router:
        outcome = run(
            play("main", customer_device_tunnels=[result(psk=None, status="planned")]),
            inventory=inventory(router),
            check=True,
        ).ok()
        assert router.config == {}
        assert not [line for line in router.commands if "clear" in line]
    assert "r1: 1 of 1 tunnels would get their PSK" in outcome.result("Say what would change")["msg"]


def test_reach(run: Run) -> None:
    with Router() as router:
        options = {"inventory": inventory(router)}
        run(play("reach"), **options).ok()
    gone = run(play("reach"), **options)
    assert gone.rc != 0
    assert gone.failures == 1


def test_a_changed_configuration_is_saved_when_the_user_says_so(run: Run) -> None:
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        hosts = inventory(router, customer_device_cisco_iosxe_save=True)
        run(play("main", customer_device_tunnels=[result()]), inventory=hosts).ok()
        assert SAVES in router.commands


@pytest.mark.parametrize("save", [False, "false"])
def test_a_changed_configuration_is_not_saved_when_the_user_says_so(run: Run, save: bool | str) -> None:
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        hosts = inventory(router, customer_device_cisco_iosxe_save=save)
        run(play("main", customer_device_tunnels=[result()]), inventory=hosts).ok()
        assert router.psk_of(ENDPOINT) == PSK
        assert SAVES not in router.commands


def test_always_takes_the_sas_of_an_unchanged_psk_down(run: Run) -> None:
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        run(play("main", customer_device_tunnels=[result()]), inventory=inventory(router)).ok()
        router.commands.clear()
        hosts = inventory(router, customer_device_reauthenticate="always")
        outcome = run(play("main", customer_device_tunnels=[result(status="confirmed")]), inventory=hosts).ok()
        assert CLEARS in router.commands
    assert results(outcome)[0]["status"] == "confirmed"


def test_never_writes_the_psk_and_leaves_the_sas_as_they_are(run: Run) -> None:
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        hosts = inventory(router, customer_device_reauthenticate="never")
        outcome = run(play("main", customer_device_tunnels=[result()]), inventory=hosts).ok()
        assert router.psk_of(ENDPOINT) == PSK
        assert CLEARS not in router.commands
    assert results(outcome)[0]["status"] == "unchanged"


def test_with_partial_failure_one_good_tunnel_is_enough(run: Run) -> None:
    with Router(peer_psks={ENDPOINT: PSK, OTHER_ENDPOINT: "another"}) as router:
        hosts = inventory(router, customer_device_partial_failure=True)
        outcome = run(play("main", customer_device_tunnels=[result(), OTHER]), inventory=hosts).ok()
    assert [entry["status"] for entry in results(outcome)] == ["confirmed", "failed"]


def test_with_partial_failure_no_good_tunnel_fails_the_host(run: Run) -> None:
    with Router(peer_psks={ENDPOINT: "another", OTHER_ENDPOINT: "another"}) as router:
        hosts = inventory(router, customer_device_partial_failure=True)
        run(play("main", customer_device_tunnels=[result(), OTHER]), inventory=hosts).failed()


@pytest.mark.parametrize("partial", [False, "false"])
def test_without_partial_failure_one_bad_tunnel_fails_the_host(run: Run, partial: bool | str) -> None:
    with Router(peer_psks={ENDPOINT: PSK, OTHER_ENDPOINT: "another"}) as router:
        hosts = inventory(router, customer_device_partial_failure=partial)
        outcome = run(play("main", customer_device_tunnels=[result(), OTHER]), inventory=hosts).failed()
    assert "r1: branch-1-b: timeout: no new IKE_AUTH within 6 s" in outcome.output
