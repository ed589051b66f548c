# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tunnels as the API may show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st


def options_without_nulls(draw: Callable[..., Any], fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    """Some of the fields."""
    return {key: draw(values) for key, values in fields.items() if draw(st.booleans())}


@st.composite
def api_tunnels(draw: Callable[..., Any]) -> dict[str, Any]:
    """A tunnel as the API may show it: with missing parts, empty parts, unusual spellings and both target formats."""
    address4 = st.ip_addresses(v=4).map(str)
    address = st.ip_addresses().map(lambda ip: ip.exploded)
    text = st.text(min_size=1, max_size=8)
    target = st.one_of(
        st.sampled_from(["", "192.0.2.1"]),
        st.fixed_dictionaries({"saved": st.sampled_from(["", "192.0.2.1"]), "effective": st.just("192.0.2.9")}),
    )
    health = options_without_nulls(
        draw,
        {
            "enabled": st.booleans(),
            "rate": st.sampled_from(["low", "mid", "high"]),
            "type": st.sampled_from(["reply", "request"]),
            "direction": st.sampled_from(["unidirectional", "bidirectional"]),
            "target": target,
        },
    )
    network = st.builds(lambda ip, bits: f"{ip}/{bits}", address4, st.integers(0, 32))
    bgp = {
        "customer_asn": draw(st.integers(0, 4294967295)),
        **options_without_nulls(
            draw, {"extra_prefixes": st.lists(network, max_size=3), "md5_key": st.sampled_from(["", "key one"])}
        ),
    }
    return {
        "id": draw(st.uuids()).hex,
        "name": draw(text),
        "cloudflare_endpoint": draw(address),
        "interface_address": f"{draw(address4)}/{draw(st.sampled_from([30, 31]))}",
        **options_without_nulls(
            draw,
            {
                "description": st.one_of(st.none(), st.just(""), text),
                "customer_endpoint": st.one_of(st.none(), st.just(""), address),
                "interface_address6": st.ip_addresses(v=6).map(lambda ip: f"{ip.exploded}/127"),
                "replay_protection": st.booleans(),
                "automatic_return_routing": st.booleans(),
                "bgp": st.one_of(st.none(), st.just({}), st.just(bgp)),
                "custom_remote_identities": st.sampled_from([None, {}, {"fqdn_id": ""}, {"fqdn_id": "a.example"}]),
                "health_check": st.one_of(st.none(), st.just(health)),
                "remote_identities": st.sampled_from([{}, {"fqdn_id": ""}, {"hex_id": "00"}]),
                "psk_metadata": st.sampled_from([{}, {"last_generated_on": "2026-06-14T05:20:00.123456789Z"}]),
                "created_on": st.just("2026-01-01T00:00:00Z"),
                "a_field_of_next_year": st.just("kept"),
            },
        ),
    }


SEEDED: dict[str, Any] = {
    "id": "c4a7362d577a6c3019a474fd6f485821",
    "name": "berlin-1",
    "cloudflare_endpoint": "203.0.113.1",
    "interface_address": "10.100.0.8/31",
    "description": "Berlin",
    "bgp": {"customer_asn": 64512, "extra_prefixes": ["10.1.0.0/24"], "md5_key": "a key"},
    "health_check": {
        "enabled": True,
        "rate": "mid",
        "type": "request",
        "direction": "unidirectional",
        "target": {"saved": "", "effective": "10.100.0.9"},
    },
    "psk_metadata": {"last_generated_on": "2026-06-14T05:20:00Z"},
}
