# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the role speaks to Cisco IOS XE: cisco.ios over SSH to a router that answers like one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.harness.playbook import Result

from .conftest import PSK, play, result
from .ios_router import PASSWORD, USER, Router

ENDPOINT = "203.0.113.1"
Run = Callable[..., Result]


def inventory(router: Router) -> dict[str, Any]:
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
        assert f"enable|clear crypto ikev2 sa remote {ENDPOINT}" in router.commands
    assert results(outcome)[0]["confirmed"] is True


def test_a_key_that_the_peer_does_not_have(run: Run) -> None:
    with Router(peer_psks={ENDPOINT: "another"}) as router:
        outcome = run(play(customer_device_tunnels=[result()]), inventory=inventory(router)).failed()
    assert "timeout: no new IKE_AUTH within 6 s; the device shows no established SA" in outcome.output


def test_a_rejected_line(run: Run, core: str | None) -> None:
    with Router(peer_psks={ENDPOINT: PSK}, rejects="pre-shared-key") as router:
        outcome = run(play(customer_device_tunnels=[result()]), inventory=inventory(router), core=core).failed()
        assert f"enable|clear crypto ikev2 sa remote {ENDPOINT}" not in router.commands
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
