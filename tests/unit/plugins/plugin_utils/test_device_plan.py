# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each tunnel is on its device, and what is refused before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest
from ansible import constants as C
from ansible.errors import AnsibleFilterError
from ansible_collections.magicwan.cloudflare.plugins.filter.customer_device_judgement import customer_device_judgement
from ansible_collections.magicwan.cloudflare.plugins.filter.customer_device_plan import customer_device_plan
from ansible_collections.magicwan.cloudflare.plugins.filter.customer_device_platform import customer_device_platform
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_plan import number_of

ID, OTHER = "fedcba9876543210fedcba9876543210", "0123456789abcdef0123456789abcdef"
PSK = "aK3dP9sQ7xT1vB5nM8cW2eR6yU4iO0pL"
SETTINGS: dict[str, Any] = {
    "tunnel_options": {},
    "ike_id": "fqdn",
    "anti_replay": "tunnel",
    "ike_group": 20,
    "esp_group": 20,
    "dpd_interval": 10,
    "dpd_retries": 3,
    "wan_interface": "wan0",
}


def tunnel(**changes: Any) -> dict[str, Any]:
    ids = {"fqdn": f"{ID}.33145236.ipsec.cloudflare.com", "user_fqdn": f"ipsec@{ID}.33145236.ipsec.cloudflare.com"}
    return {
        "id": ID,
        "name": "site-a",
        "status": "applied",
        "psk": PSK,
        "ike_ids": ids,
        "cloudflare_endpoint": "203.0.113.1",
        **changes,
    }


def planned(platform: str, entry: str = "psk", others: tuple[str, ...] = (), **settings: Any) -> dict[str, Any]:
    return customer_device_plan([tunnel()], platform, entry, {**SETTINGS, **settings}, others=others)


@pytest.mark.parametrize(
    ("platform", "entry", "path", "left_out", "refused"),
    [
        ("junos", "reach", "/var/log/ansible.log", [], True),
        ("junos", "psk", "/var/log/ansible.log", ["paramiko"], True),
        ("junos", "psk", "/var/log/ansible.log", ["ncclient"], False),
        ("junos", "psk", None, [], False),
        ("junos", "compare", "/var/log/ansible.log", [], False),
        ("vyos", "psk", "/var/log/ansible.log", [], False),
    ],
)
def test_a_log_into_which_a_library_would_write_the_psk_is_refused(
    monkeypatch: pytest.MonkeyPatch, platform: str, entry: str, path: str | None, left_out: list[str], refused: bool
) -> None:
    monkeypatch.setattr(C, "DEFAULT_LOG_PATH", path)
    monkeypatch.setattr(C, "DEFAULT_LOG_FILTER", left_out)
    assert ("log_filter = ncclient" in planned(platform, entry)["problem"]) is refused


def test_names_follow_the_object_unless_the_user_names_them() -> None:
    options = {"site-a": {"object": "cloudflare", "peer": "CF_MAGIC_WAN_IPSEC01"}}
    (found,) = planned("cisco_iosxe", tunnel_options=options)["tunnels"]
    assert (found["keyring"], found["peer"]) == ("cloudflare", "CF_MAGIC_WAN_IPSEC01")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keyrings": "x"}, "keyrings is unknown to cisco_iosxe"),
        ({"keyring": ["x"]}, "keyring is a text"),
        ({"number": "seven"}, "number is a number"),
        ({"ike_id": "dn"}, "ike_id dn is none of"),
    ],
)
def test_a_bad_option_of_a_tunnel_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        planned("cisco_iosxe", tunnel_options={"site-a": options})


def test_the_number_depends_on_nothing_but_the_tunnel() -> None:
    (found,) = planned("cisco_iosxe", others=(OTHER,))["tunnels"]
    assert found["number"] == number_of(ID) == planned("junos")["tunnels"][0]["number"]
    assert 1000 <= found["number"] <= 9999


def test_a_number_that_another_tunnel_of_the_device_has_is_refused() -> None:
    options = {"site-a": {"number": number_of(OTHER)}}
    assert "interface number" in planned("cisco_iosxe", "main", (OTHER,), tunnel_options=options)["problem"]


def test_an_identity_that_localid_does_not_take_is_refused_for_the_whole_tunnel() -> None:
    problem = planned("fortios", "main", ike_id="user_fqdn")["problem"]
    assert problem.startswith("the identity user_fqdn has 68 characters, and localid takes 63")
    assert planned("fortios", "psk", ike_id="user_fqdn")["problem"] == ""


@pytest.mark.parametrize(("interval", "retries"), [(9, 3), (3601, 3), (10, 1), (10, 61)])
def test_what_dpd_of_ios_does_not_take_is_refused(interval: int, retries: int) -> None:
    assert "DPD" in planned("cisco_iosxe", "main", dpd_interval=interval, dpd_retries=retries)["problem"]


def test_a_name_that_vyos_does_not_take_is_refused() -> None:
    options = {"site-a": {"object": "to.cloudflare"}}
    assert (
        "the name to.cloudflare (object) of site-a does not fit" in planned("vyos", tunnel_options=options)["problem"]
    )


def test_reach_needs_no_psk() -> None:
    found = customer_device_plan([tunnel(psk=None)], "junos", "reach", SETTINGS)
    assert found["problem"] == ""


def test_a_lifetime_out_of_bounds_is_refused() -> None:
    assert "esp_lifetime 60 is not within" in planned("junos", "main", esp_lifetime="60")["problem"]


def test_a_platform_says_what_it_needs() -> None:
    assert customer_device_platform("junos")["collections"] == ["junipernetworks.junos", "ansible.netcommon"]


def test_the_judgement_keeps_the_psk_out_of_its_reasons() -> None:
    tunnels = planned("junos")["tunnels"]
    loop = {"results": [{"failed": True, "msg": f"bad line {PSK}", "__customer_device_tunnel": tunnels[0]}]}
    said = {"written": loop, "reauthenticate": "auto", "timeout": 60, "before": {}, "after": {}}
    found = customer_device_judgement(tunnels, "junos", "psk", said)
    assert found["reason"] == "site-a: the device refused the configuration: bad line ********"
    assert found["settled"]
