# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user says of the tunnel's parameters is what the device gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import VENV, Playbooks

from .conftest import result
from .test_platforms import rendering

VARIABLES: dict[str, Any] = {
    "customer_device_ike_group": 14,
    "customer_device_ike_lifetime": "7201",
    "customer_device_ike_prf": "sha384",
    "customer_device_esp_cipher": "aes128-cbc",
    "customer_device_esp_group": 14,
    "customer_device_esp_lifetime": "3601",
    "customer_device_anti_replay": "on",
    "customer_device_dpd_interval": 17,
    "customer_device_dpd_retries": 7,
    "customer_device_mtu": 1401,
    "customer_device_mss": 1301,
    "customer_device_zone": "cloudflare",
    "customer_device_fortios_vdom": "wan",
    "customer_device_panos_virtual_router": "transit",
    "customer_device_tunnel_options": {
        "branch-1-a": {
            "object": "to-cloudflare",
            "number": 70,
            "wan_interface": "wan9",
            "local_address": "192.0.2.9",
        }
    },
}
WANTED = [
    ("cisco_iosxe", "tunnel", " group 14\n"),
    ("cisco_iosxe", "tunnel", " lifetime 7201\n"),
    ("cisco_iosxe", "tunnel", " integrity sha384\n"),
    ("cisco_iosxe", "tunnel", "transform-set magicwan esp-aes esp-sha256-hmac\n"),
    ("junos", "tunnel", "encryption-algorithm aes-128-cbc\n"),
    ("cisco_iosxe", "tunnel", " set security-association lifetime seconds 3601\n"),
    ("cisco_iosxe", "tunnel", " set pfs group14\n"),
    ("cisco_iosxe", "tunnel", " set security-association replay window-size 512\n"),
    ("cisco_iosxe", "tunnel", " dpd 17 7 periodic\n"),
    ("cisco_iosxe", "tunnel", " ip mtu 1401\n ip tcp adjust-mss 1301\n"),
    ("cisco_iosxe", "tunnel", "interface Tunnel70\n"),
    ("cisco_iosxe", "tunnel", "crypto ikev2 keyring to-cloudflare\n"),
    ("cisco_iosxe", "tunnel", " tunnel source wan9\n"),
    ("junos", "tunnel", "proposal magicwan dh-group group14\n"),
    ("junos", "tunnel", "set security zones security-zone cloudflare interfaces st0.70 "),
    ("junos", "tunnel", "dead-peer-detection threshold 7\n"),
    ("junos", "tunnel", "delete security ipsec vpn to-cloudflare ike no-anti-replay\n"),
    ("junos", "tunnel", "set security flow tcp-mss ipsec-vpn mss 1301\n"),
    ("fortios", "tunnel", "  vdom: wan\n"),
    ("fortios", "tunnel", "  replay: enable\n"),
    ("fortios", "tunnel", "  keylifeseconds: 3601\n"),
    ("fortios", "tunnel", '  dpd_retrycount: 7\n  dpd_retryinterval: "17"\n'),
    ("opnsense", "tunnel", '  dpd_delay: "17"\n'),
    ("opnsense", "tunnel", '  reqid: "70"\n'),
    ("opnsense", "tunnel", "  esp_proposals: aes128-sha256-modp2048\n"),
    ("panos", "network", '<entry name="transit">'),
    ("panos", "network", "<anti-replay>yes</anti-replay>"),
    ("panos", "vsys", '<entry name="cloudflare">'),
    ("vyos", "tunnel", "dead-peer-detection timeout '119'\n"),
    ("vyos", "tunnel", "set interfaces vti vti70 mtu '1401'\n"),
    ("strongswan", "connection", "    rekey_time = 7201s\n"),
    ("strongswan", "connection", "        replay_window = 32\n"),
    ("strongswan", "connection", "-modp2048\n"),
    ("strongswan", "connection", "    dpd_delay = 17s\n"),
    ("strongswan_stroke", "tunnel", "conn to-cloudflare\n"),
    ("strongswan_stroke", "tunnel", "    ike=aes256-sha256-prfsha384-modp2048!\n"),
    ("strongswan_stroke", "tunnel", "    esp=aes128-sha256-modp2048!\n"),
    ("strongswan_stroke", "tunnel", "    ikelifetime=7201s\n    lifetime=3601s\n"),
    ("strongswan_stroke", "tunnel", "    dpddelay=17s\n"),
    ("strongswan_stroke", "tunnel", "    replay_window=32\n    mark=70\n"),
    ("strongswan_stroke", "tunnel", "/magicwan-updown vti to-cloudflare 70 1401 "),
    ("libreswan", "tunnel", "conn to-cloudflare\n"),
    # Without a next hop of its own, it refuses the second tunnel of an address.
    ("libreswan", "tunnel", "    left=192.0.2.9\n    leftnexthop=%defaultroute\n"),
    ("libreswan", "tunnel", "    ike=aes256-sha2_384;dh14\n"),
    ("libreswan", "tunnel", "    esp=aes128-sha2_256;dh14\n"),
    ("libreswan", "tunnel", "    ikelifetime=7201s\n    salifetime=3601s\n"),
    ("libreswan", "tunnel", "    dpddelay=17s\n    dpdtimeout=119s\n"),
    ("libreswan", "tunnel", "    replay-window=32\n    ipsec-interface=70\n"),
    ("libreswan", "tunnel", "/magicwan-updown ipsec ipsec70 70 1401 "),
]


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], str]]:
    """The configuration of the first tunnel with all variables, made once a platform and part."""
    folder: Path = tmp_path_factory.mktemp("parameters")
    playbooks = Playbooks(folder, {"ANSIBLE_COLLECTIONS_PATH": str(VENV / "collections")})
    made: dict[tuple[str, str], str] = {}

    def text(platform: str, part: str) -> str:
        if (platform, part) not in made:
            tunnels = [result(psk="the-psk")]
            play = rendering(platform, part, **{**VARIABLES, "customer_device_tunnels": tunnels})
            made[platform, part] = playbooks.run(play).ok().result("Render")["results"][0]["msg"] + "\n"
        return made[platform, part]

    yield text
    playbooks.close()


@pytest.mark.parametrize(("platform", "part", "wanted"), WANTED)
def test_a_parameter_reaches_the_device(
    render: Callable[[str, str], str], platform: str, part: str, wanted: str
) -> None:
    assert wanted in render(platform, part)
