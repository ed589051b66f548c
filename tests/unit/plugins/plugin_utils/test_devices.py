# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices out of tunnels."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, format_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._devices import (
    Device,
    age_groups,
    devices,
    parse_ages,
    parse_pattern,
    without_secrets,
)

DAY = 86400
NOW = 2_000_000_000 * NANO
AGES = parse_ages(["30d", "90d"])
NAMES = r"^(?P<device>(?P<site>[a-z]+)\d)-[ab]$"


def tunnel(name: str, endpoint: str | None = "192.0.2.1", age_days: float | None = 10) -> dict[str, Any]:
    made = None if age_days is None else format_time(NOW - int(age_days * DAY) * NANO)
    return {"id": f"id-{name}", "name": name, "customer_endpoint": endpoint, "psk_last_generated_on": made}


def found(*tunnels: dict[str, Any], pattern: str | None = None, alone: bool = False) -> tuple[list[Device], list[str]]:
    return devices(tunnels, pattern=parse_pattern(pattern), ages=AGES, alone=alone, now=NOW)


def test_tunnels_with_one_endpoint_end_at_one_device() -> None:
    hosts, left = found(tunnel("a"), tunnel("b", "192.0.2.2"), tunnel("c"))
    assert {x.name: [y["name"] for y in x.tunnels] for x in hosts} == {"192.0.2.1": ["a", "c"], "192.0.2.2": ["b"]}
    assert left == []


def test_a_tunnel_without_an_endpoint_is_left_and_named() -> None:
    assert found(tunnel("a", None)) == ([], ["a"])


def test_alone_makes_it_a_device_of_its_own() -> None:
    hosts, left = found(tunnel("a", None), tunnel("b", None), alone=True)
    assert [x.name for x in hosts] == ["a", "b"]
    assert left == []


def test_the_group_device_names_the_host_and_the_group_site_its_site() -> None:
    hosts, left = found(tunnel("ber1-a", None), tunnel("ber1-b"), tunnel("rome"), pattern=NAMES)
    assert [(x.name, x.site, len(x.tunnels)) for x in hosts] == [("ber1", "ber", 2)]
    assert left == ["rome"]


def test_a_pattern_with_a_site_only_leaves_the_host_to_the_endpoint() -> None:
    hosts, _left = found(tunnel("ber-a"), tunnel("x", "192.0.2.2"), pattern="^(?P<site>[a-z]+)-")
    assert [(x.name, x.site) for x in hosts] == [("192.0.2.1", "ber"), ("192.0.2.2", None)]


def test_a_device_at_two_sites_is_refused() -> None:
    with pytest.raises(InputError, match=r"'rom-a' is of site 'rom', but its device '192\.0\.2\.1' of site 'ber'"):
        found(tunnel("ber-a"), tunnel("rom-a"), pattern="^(?P<site>[a-z]+)-")


@pytest.mark.parametrize("name", ["Cape Town", "a,b", "a[1]", "{{x}}", "a&b", "!a"])
def test_a_name_that_ansible_reads_otherwise_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=re.escape(repr(name))):
        found(tunnel(name, None), alone=True)


@pytest.mark.parametrize(
    ("ages", "group", "days"),
    [
        ((10, 20), "psk_age_up_to_30d", 20),
        ((10, 30), "psk_age_up_to_30d", 30),
        ((10, 30.1), "psk_age_up_to_90d", 30),
        ((91, 10), "psk_age_over_90d", 91),
        ((-1, -2), "psk_age_up_to_30d", 0),
        ((10, None), "psk_age_none", None),
    ],
)
def test_the_oldest_psk_of_a_device_decides_its_age_group(
    ages: tuple[float | None, ...], group: str, days: int | None
) -> None:
    hosts, _left = found(*(tunnel(f"t{n}", age_days=age) for n, age in enumerate(ages)))
    assert [(x.age_group, x.psk_age_days) for x in hosts] == [(group, days)]


def test_without_ages_there_is_one_group_for_all_that_have_a_psk() -> None:
    assert age_groups([]) == ["psk_age_any", "psk_age_none"]


@pytest.mark.parametrize("ages", [["90d", "30d"], ["30d", "30d"], ["soon"], [""]])
def test_ages_that_do_not_rise_are_refused(ages: list[str]) -> None:
    with pytest.raises(InputError, match="psk_ages"):
        parse_ages(ages)


@pytest.mark.parametrize("pattern", ["a", "(?P<devise>a)", "(?P<device>a)(?P<town>b)", "(?P<device>a"])
def test_a_pattern_without_the_known_groups_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="name_pattern"):
        parse_pattern(pattern)


def test_nothing_secret_is_kept_of_a_tunnel() -> None:
    kept = without_secrets(
        {
            "id": "x",
            "name": "a",
            "psk": "the-psk-itself",
            "psk_metadata": {"last_generated_on": "2026-01-01T00:00:00Z"},
            "bgp": {"customer_asn": 1, "md5_key": "the-md5-key"},
        }
    )
    assert kept["psk_last_generated_on"] == "2026-01-01T00:00:00Z"
    assert "the-" not in repr(kept)
