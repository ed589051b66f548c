# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel as the user, the API and a diff see it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from hypothesis import given
from hypothesis import strategies as st

KEYS = set(_tunnel.WRITABLE) | _tunnel.READ_ONLY


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


def test_a_view_of_almost_nothing_has_all_keys() -> None:
    shown = _tunnel.view({"id": "a"})
    assert set(shown) == KEYS
    assert shown["replay_protection"] is False
    assert shown["psk_metadata"] == {"last_generated_on": None}


@given(api_tunnels())
def test_every_view_has_the_same_keys(tunnel: dict[str, Any]) -> None:
    shown = _tunnel.view(tunnel)
    assert set(shown) == KEYS
    assert set(shown["health_check"]) == {"enabled", "rate", "type", "direction", "target"}
    assert set(shown["health_check"]["target"]) == {"saved", "effective"}


@given(api_tunnels())
def test_a_view_of_a_view_is_the_view(tunnel: dict[str, Any]) -> None:
    shown = _tunnel.view(tunnel)
    assert _tunnel.view(shown) == shown


@given(api_tunnels())
def test_what_was_read_and_given_back_changes_nothing(tunnel: dict[str, Any]) -> None:
    assert _tunnel.plan_present(tunnel, _tunnel.options(tunnel)).action == "none"


@given(api_tunnels())
def test_what_was_read_passes_the_checks_of_the_options(tunnel: dict[str, Any]) -> None:
    options = _tunnel.options(tunnel)
    options["name"] = "a"  # blank names are the API's business
    _tunnel.check_options(options)


@given(api_tunnels(), api_tunnels())
def test_after_its_update_a_tunnel_is_as_wanted(tunnel: dict[str, Any], other: dict[str, Any]) -> None:
    wanted = _tunnel.options(other)
    plan = _tunnel.plan_present(tunnel, wanted)
    if plan.body is not None:
        assert _tunnel.plan_present({"id": tunnel["id"], **plan.body}, wanted).action == "none"


@given(api_tunnels())
def test_a_created_tunnel_is_as_wanted(tunnel: dict[str, Any]) -> None:
    wanted = _tunnel.options(tunnel)
    body = _tunnel.plan_present(None, wanted).body
    assert body is not None
    assert _tunnel.plan_present({"id": "new", **body}, wanted).action == "none"


@given(api_tunnels(), api_tunnels())
def test_a_request_holds_neither_null_nor_a_read_only_field(tunnel: dict[str, Any], other: dict[str, Any]) -> None:
    body = _tunnel.plan_present(tunnel, _tunnel.options(other), force=True).body
    assert body is not None
    assert not _tunnel.READ_ONLY & set(body)
    assert "null" not in json.dumps({key: value for key, value in body.items() if key not in ("name", "description")})


@given(api_tunnels(), api_tunnels())
def test_planning_changes_none_of_its_arguments(tunnel: dict[str, Any], other: dict[str, Any]) -> None:
    wanted = _tunnel.options(other)
    before = copy.deepcopy((tunnel, wanted))
    _tunnel.plan_present(tunnel, wanted, force=True)
    assert (tunnel, wanted) == before


@given(api_tunnels())
def test_fields_that_are_not_managed_stay_in_the_request(tunnel: dict[str, Any]) -> None:
    body = _tunnel.plan_present(tunnel, {"description": "another description"}).body
    assert body is not None
    for key, value in _tunnel.options(tunnel).items():
        if key not in ("description", "health_check", "bgp"):
            assert _tunnel.view(body)[key] == value
    assert body.get("a_field_of_next_year") == tunnel.get("a_field_of_next_year")


def test_parts_of_a_nested_field_that_are_not_managed_stay() -> None:
    body = _tunnel.plan_present(SEEDED, {"bgp": {"customer_asn": 65000}, "health_check": {"rate": "low"}}).body
    assert body is not None
    assert body["bgp"] == {"customer_asn": 65000, "extra_prefixes": ["10.1.0.0/24"], "md5_key": "a key"}
    assert body["health_check"] == {
        "enabled": True,
        "rate": "low",
        "type": "request",
        "direction": "unidirectional",
        "target": {"saved": ""},
    }


@pytest.mark.parametrize(
    "wanted",
    [
        {"interface_address": "10.100.0.8/31"},
        {"description": "Berlin"},
        {"replay_protection": False},
        {"automatic_return_routing": False},
        {"interface_address6": None},
        {"bgp": {"extra_prefixes": ["10.1.0.7/24"]}},
        {"bgp": {"customer_asn": 64512, "md5_key": None}},
        {"health_check": {"target": {"saved": ""}}},
        {"health_check": {"target": ""}},
        {"health_check": {"target": "10.100.0.9"}},
        {"health_check": {"target": {"saved": "", "effective": "192.0.2.77"}}},
    ],
    ids=str,
)
def test_another_way_to_write_the_same_is_no_change(wanted: dict[str, Any]) -> None:
    assert _tunnel.plan_present(SEEDED, wanted).action == "none"


@pytest.mark.parametrize(
    "wanted",
    [
        {"interface_address": "10.100.0.9/31"},
        {"interface_address": "10.100.0.8/30"},
        {"description": ""},
        {"replay_protection": True},
        {"bgp": {"extra_prefixes": []}},
        {"bgp": {"md5_key": "another"}},
        {"bgp": {"import_filter_id": "0" * 32}},
        {"bgp": {"export_filter_id": "1" * 32}},
        {"health_check": {"enabled": False}},
        {"health_check": {"target": "192.0.2.1"}},
        {"health_check": {"target": {"saved": "10.100.0.9"}}},
        {"name": "berlin-primary"},
    ],
    ids=str,
)
def test_a_real_difference_is_an_update(wanted: dict[str, Any]) -> None:
    assert _tunnel.plan_present(SEEDED, wanted).action == "update"


def test_ipv6_addresses_are_compared_as_addresses() -> None:
    tunnel = {**SEEDED, "interface_address6": "2606:54c1:0007::0001:0/127"}
    assert _tunnel.plan_present(tunnel, {"interface_address6": "2606:54C1:7:0:0:0:1:0/127"}).action == "none"


def test_prefixes_are_compared_as_a_set_of_networks() -> None:
    tunnel = {**SEEDED, "bgp": {"customer_asn": 1, "extra_prefixes": ["10.2.0.0/24", "10.1.0.0/24"]}}
    wanted = {"bgp": {"extra_prefixes": ["10.1.0.0/24", "10.2.0.0/24", "10.1.0.0/24"]}}
    assert _tunnel.plan_present(tunnel, wanted).action == "none"


def test_force_updates_a_tunnel_that_is_as_wanted() -> None:
    assert _tunnel.plan_present(SEEDED, {}, force=True).action == "update"


def test_creating_names_what_is_missing() -> None:
    with pytest.raises(InputError, match="'new' does not exist; to create it, set cloudflare_endpoint, interface_add"):
        _tunnel.plan_present(None, {"name": "new"})


def test_no_tunnel_is_already_absent() -> None:
    assert not _tunnel.plan_absent(None).changed


def test_a_tunnel_that_is_there_is_deleted() -> None:
    plan = _tunnel.plan_absent(SEEDED)
    assert (plan.action, plan.tunnel_id, plan.after) == ("delete", SEEDED["id"], None)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"name": " "}, "name must not be empty"),
        ({"cloudflare_endpoint": "203.0.113.256"}, "cloudflare_endpoint must be an IP address"),
        ({"customer_endpoint": "vpn.example.com"}, "customer_endpoint must be an IP address"),
        ({"interface_address": "10.0.0.300/31"}, "interface_address must be an IPv4 address with its prefix length"),
        ({"interface_address": "10.0.0.1"}, "interface_address must be an IPv4 address with its prefix length"),
        ({"interface_address": "10.0.0.1/33"}, "interface_address must be"),
        ({"interface_address": "2001:db8::/127"}, "interface_address must be an IPv4 address"),
        ({"interface_address6": "10.0.0.0/31"}, "interface_address6 must be an IPv6 address"),
        ({"bgp": {"extra_prefixes": ["10.0.0.0/24", "10/33"]}}, "bgp.extra_prefixes must hold networks.*'10/33'"),
        ({"bgp": {"md5_key": 'a"b'}}, "bgp.md5_key may hold"),
        ({"bgp": {"md5_key": "a?b"}}, "bgp.md5_key may hold"),
        ({"bgp": {"md5_key": "a\x7fb"}}, "bgp.md5_key may hold"),
        ({"bgp": {"md5_key": "a\nb"}}, "bgp.md5_key may hold"),
        ({"bgp": {"md5_key": ""}}, "bgp.md5_key must not be empty"),
        ({"health_check": {"target": "nowhere"}}, "health_check.target must be an IP address"),
        ({"health_check": {"target": {"saved": "nowhere"}}}, "health_check.target must be an IP address"),
        ({"health_check": {"target": ["192.0.2.1"]}}, "health_check.target must be an address, or a dictionary"),
        ({"health_check": {"target": {"effective": "192.0.2.1"}}}, "health_check.target must be an address, or a dict"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_right_is_refused_by_its_name(wanted: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        _tunnel.check_options({"name": "berlin-1", **wanted})
    assert "name" in wanted or str(caught.value).startswith("tunnel 'berlin-1': ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["a key", "#!'$\\%&", "~" * 80])
def test_any_other_printable_md5_key_is_accepted(key: str) -> None:
    _tunnel.check_options({"name": "a", "bgp": {"md5_key": key}})


TUNNELS: list[dict[str, Any]] = [
    {"id": "1" * 32, "name": "berlin-1"},
    {"id": "2" * 32, "name": "berlin-2"},
    {"id": "3" * 32, "name": "twin"},
    {"id": "4" * 32, "name": "twin"},
    {"id": "5" * 32, "name": "Paris [old] *"},
]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], ""),
        (["all"], "12345"),
        (["berlin-2", "berlin-1"], "12"),
        (["berlin-*"], "12"),
        (["berlin-[12]"], "12"),
        (["3" * 32], "3"),
        (["twi?"], "34"),
        (["Paris [old] *"], "5"),
        (["*", "berlin-1"], "12345"),
    ],
    ids=str,
)
def test_tunnels_are_selected_in_the_accounts_order(patterns: list[str], expected: str) -> None:
    assert "".join(tunnel["id"][0] for tunnel in _tunnel.select(TUNNELS, patterns)) == expected


@pytest.mark.parametrize("pattern", ["berlin", "madrid-*", "9" * 32, "BERLIN-1", ""])
def test_a_pattern_that_names_nothing_is_refused_by_its_text(pattern: str) -> None:
    with pytest.raises(InputError, match="no tunnel of the account has the id or name") as caught:
        _tunnel.select(TUNNELS, ["berlin-1", pattern])
    assert repr(pattern) in str(caught.value)


def test_a_name_that_two_tunnels_have_is_refused_with_their_ids() -> None:
    with pytest.raises(InputError, match=f"2 tunnels are named 'twin' .*{'3' * 32}.*{'4' * 32}"):
        _tunnel.select(TUNNELS, ["twin"])
    with pytest.raises(InputError, match=f"2 tunnels are named 'twin' .*{'3' * 32}.*{'4' * 32}"):
        _tunnel.find(TUNNELS, name="twin")


def test_an_id_is_found_before_a_name() -> None:
    assert _tunnel.find(TUNNELS, tunnel_id="3" * 32, name="berlin-1") is TUNNELS[2]


def test_a_diff_shows_the_writable_part_without_what_is_not_set() -> None:
    shown = _tunnel.diff(_tunnel.plan_present(SEEDED, {"description": "Berlin, new"}))
    assert (shown["before"]["description"], shown["after"]["description"]) == ("Berlin", "Berlin, new")
    assert set(shown["before"]) <= set(_tunnel.WRITABLE)
    assert "customer_endpoint" not in shown["before"]


def test_a_diff_of_a_creation_and_a_deletion_has_an_empty_side() -> None:
    wanted = {key: SEEDED[key] for key in ("name", "cloudflare_endpoint", "interface_address")}
    assert _tunnel.diff(_tunnel.plan_present(None, wanted))["before"] == {}
    assert _tunnel.diff(_tunnel.plan_absent(SEEDED))["after"] == {}


@pytest.mark.parametrize(
    ("interface", "expected"),
    [
        ("10.100.0.8/31", ("10.100.0.8", "10.100.0.9", 31)),
        ("10.100.0.9/31", ("10.100.0.9", "10.100.0.8", 31)),
        ("10.100.0.10/30", ("10.100.0.10", "10.100.0.9", 30)),
        ("2001:db8::/127", ("2001:db8::", "2001:db8::1", 127)),
        (None, (None, None, None)),
        ("nonsense", (None, None, None)),
    ],
)
def test_the_customers_inside_address_is_the_other_one(interface: str | None, expected: tuple[Any, ...]) -> None:
    assert _tunnel.inside_addresses(interface) == expected
