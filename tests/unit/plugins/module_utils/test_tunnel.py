# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel as the user and the API see it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from hypothesis import given

from tests.unit.plugins.module_utils.tunnels import api_tunnels

KEYS = set(_tunnel.WRITABLE) | _tunnel.READ_ONLY


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
def test_what_was_read_passes_the_checks_of_the_options(tunnel: dict[str, Any]) -> None:
    options = _tunnel.options(tunnel)
    options["name"] = "a"  # blank names are the API's business
    _tunnel.check_options(options)


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
        ({"bgp": {"extra_prefixes": [""]}}, "bgp.extra_prefixes must hold networks.*''"),
        ({"bgp": {"customer_asn": -1}}, "bgp.customer_asn must be 0 to 4294967295"),
        ({"bgp": {"customer_asn": 2**32}}, "bgp.customer_asn must be 0 to 4294967295"),
        ({"bgp": {"customer_asn": True}}, "bgp.customer_asn must be 0 to 4294967295, not True"),
        ({"description": "[]"}, 'description must be a text, not \\[\\]; an empty one is written ""'),
        ({"name": "{}"}, "name must be a text, not {}"),
        ({"bgp": {"md5_key": "[]"}}, "bgp.md5_key must be a text"),
        ({"bgp": {"export_filter_id": "{}"}}, "bgp.export_filter_id must be a text"),
        ({"custom_remote_identities": {"fqdn_id": "{}"}}, "custom_remote_identities.fqdn_id must be a text"),
        ({"name": ""}, "name must not be empty"),
        ({"cloudflare_endpoint": ""}, "cloudflare_endpoint can't be removed; leave it out to keep it"),
        ({"interface_address": ""}, "interface_address can't be removed; leave it out to keep it"),
        ({"health_check": {}}, "health_check can't be removed; leave it out to keep it"),
        ({"health_check": {"rate": None, "target": None}}, "health_check can't be removed; leave it out to keep it"),
        ({"health_check": {"target": "nowhere"}}, "health_check.target must be an IP address"),
        ({"health_check": {"target": {"saved": "nowhere"}}}, "health_check.target must be an IP address"),
        ({"health_check": {"target": ["192.0.2.1"]}}, "health_check.target must be an address, or a dictionary"),
        ({"health_check": {"target": {"effective": "192.0.2.1"}}}, "health_check.target must be an address, or a dict"),
        (
            {"health_check": {"target": {"saved": None, "effective": "192.0.2.1"}}},
            "health_check.target must be an addr",
        ),
        ({"health_check": {"target": 7}}, "health_check.target must be an address, or a dictionary"),
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


@pytest.mark.parametrize(
    "wanted",
    [
        {"description": "", "customer_endpoint": "", "interface_address6": ""},
        {"bgp": {}},
        {"bgp": {"customer_asn": None, "md5_key": None}},
        {"bgp": {"md5_key": "", "extra_prefixes": [], "import_filter_id": "", "export_filter_id": ""}},
        {"bgp": {"customer_asn": 4294967295}},
        {"custom_remote_identities": {}},
        {"custom_remote_identities": {"fqdn_id": ""}},
        {"health_check": {"target": ""}},
        {"health_check": {"target": {}}},
        {"health_check": {"target": {"saved": ""}}},
        {"health_check": {"target": {"saved": None}}},
    ],
    ids=str,
)
def test_what_may_be_removed_passes_the_checks(wanted: dict[str, Any]) -> None:
    _tunnel.check_options({"name": "a", **wanted})


@given(api_tunnels())
def test_an_export_holds_neither_null_nor_anything_empty(tunnel: dict[str, Any]) -> None:
    def parts(value: Any) -> list[Any]:
        return [value, *(y for x in value.values() for y in parts(x))] if isinstance(value, dict) else [value]

    assert not [x for x in parts(_tunnel.options(tunnel))[1:] if x in (None, "", [], {})]


def test_an_export_says_of_the_health_check_only_what_the_tunnel_says() -> None:
    bare = {"id": "a", "name": "a", "health_check": {"rate": "low", "target": {"saved": "", "effective": "10.0.0.1"}}}
    assert _tunnel.options(bare)["health_check"] == {"rate": "low"}
    assert "health_check" not in _tunnel.options({"id": "a", "name": "a"})


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


@pytest.mark.parametrize("word", ["all", "*"])
@pytest.mark.parametrize("name", ["all", "*"])
def test_a_word_for_all_tunnels_wins_over_a_tunnel_of_that_name(word: str, name: str) -> None:
    tunnels = [*TUNNELS, {"id": "6" * 32, "name": name}]
    assert _tunnel.select(tunnels, [word]) == tunnels
    assert _tunnel.select(tunnels, ["6" * 32]) == tunnels[-1:]


def test_an_id_wins_over_a_tunnel_of_that_name() -> None:
    tunnels = [*TUNNELS, {"id": "6" * 32, "name": "1" * 32}]
    assert _tunnel.select(tunnels, ["1" * 32]) == tunnels[:1]


def test_tunnels_that_only_their_id_can_select_are_told() -> None:
    tunnels = [*TUNNELS, {"id": "6" * 32, "name": "all"}, {"id": "7" * 32, "name": "*"}, {"id": "8", "name": "1" * 32}]
    assert _tunnel.only_by_id(tunnels) == [("all", "6" * 32), ("*", "7" * 32), ("1" * 32, "8")]
    assert _tunnel.only_by_id(TUNNELS) == []


def test_what_was_taken_for_something_else_than_a_name_is_said_with_the_id() -> None:
    tunnels = [*TUNNELS, {"id": "6" * 32, "name": "all"}]
    told = _tunnel.hidden_names(tunnels, ["all", "berlin-1"])
    assert told is not None and f"'all' ({'6' * 32}); select that tunnel by its id" in told
    assert _tunnel.hidden_names(tunnels, ["berlin-1"]) is None
    assert _tunnel.hidden_names(TUNNELS, ["all"]) is None


def test_a_name_that_is_a_glob_over_other_names_too_is_refused() -> None:
    tunnels = [*TUNNELS, {"id": "6" * 32, "name": "berlin-*"}]
    with pytest.raises(InputError, match=f"'berlin-\\*' is the name of the tunnel {'6' * 32}, and .* matches 2 others"):
        _tunnel.select(tunnels, ["berlin-*"])
    assert _tunnel.select(tunnels, ["berlin-**"]) == [*tunnels[:2], tunnels[-1]]


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
