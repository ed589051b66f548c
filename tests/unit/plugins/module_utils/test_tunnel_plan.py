# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done to a tunnel: what is compared, what is sent, and what an empty option removes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel, _tunnel_plan
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from hypothesis import given

from tests.unit.plugins.module_utils.tunnels import SEEDED, api_tunnels


@given(api_tunnels())
def test_what_was_read_and_given_back_changes_nothing(tunnel: dict[str, Any]) -> None:
    assert _tunnel_plan.plan_present(tunnel, _tunnel.options(tunnel)).action == "none"


@given(api_tunnels(), api_tunnels())
def test_after_its_update_a_tunnel_is_as_wanted(tunnel: dict[str, Any], other: dict[str, Any]) -> None:
    wanted = _tunnel.options(other)
    plan = _tunnel_plan.plan_present(tunnel, wanted)
    if plan.body is not None:
        assert _tunnel_plan.plan_present({"id": tunnel["id"], **plan.body}, wanted).action == "none"


@given(api_tunnels())
def test_a_created_tunnel_is_as_wanted(tunnel: dict[str, Any]) -> None:
    wanted = _tunnel.options(tunnel)
    body = _tunnel_plan.plan_present(None, wanted).body
    assert body is not None
    assert _tunnel_plan.plan_present({"id": "new", **body}, wanted).action == "none"


@given(api_tunnels(), api_tunnels())
def test_a_request_holds_neither_null_nor_a_read_only_field(tunnel: dict[str, Any], other: dict[str, Any]) -> None:
    body = _tunnel_plan.plan_present(tunnel, _tunnel.options(other), force=True).body
    assert body is not None
    assert not _tunnel.READ_ONLY & set(body)
    assert "null" not in json.dumps({key: value for key, value in body.items() if key not in ("name", "description")})


@given(api_tunnels(), api_tunnels())
def test_planning_changes_none_of_its_arguments(tunnel: dict[str, Any], other: dict[str, Any]) -> None:
    wanted = _tunnel.options(other)
    before = copy.deepcopy((tunnel, wanted))
    _tunnel_plan.plan_present(tunnel, wanted, force=True)
    assert (tunnel, wanted) == before


@given(api_tunnels())
def test_fields_that_are_not_managed_stay_in_the_request(tunnel: dict[str, Any]) -> None:
    body = _tunnel_plan.plan_present(tunnel, {"description": "another description"}).body
    assert body is not None
    for key, value in _tunnel.options(tunnel).items():
        if key not in ("description", "health_check", "bgp"):
            assert _tunnel.view(body)[key] == value
    assert body.get("a_field_of_next_year") == tunnel.get("a_field_of_next_year")


def test_parts_of_a_nested_field_that_are_not_managed_stay() -> None:
    body = _tunnel_plan.plan_present(SEEDED, {"bgp": {"customer_asn": 65000}, "health_check": {"rate": "low"}}).body
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
    assert _tunnel_plan.plan_present(SEEDED, wanted).action == "none"


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
    assert _tunnel_plan.plan_present(SEEDED, wanted).action == "update"


def test_ipv6_addresses_are_compared_as_addresses() -> None:
    tunnel = {**SEEDED, "interface_address6": "2606:54c1:0007::0001:0/127"}
    assert _tunnel_plan.plan_present(tunnel, {"interface_address6": "2606:54C1:7:0:0:0:1:0/127"}).action == "none"


def test_prefixes_are_compared_as_a_set_of_networks() -> None:
    tunnel = {**SEEDED, "bgp": {"customer_asn": 1, "extra_prefixes": ["10.2.0.0/24", "10.1.0.0/24"]}}
    wanted = {"bgp": {"extra_prefixes": ["10.1.0.0/24", "10.2.0.0/24", "10.1.0.0/24"]}}
    assert _tunnel_plan.plan_present(tunnel, wanted).action == "none"


def test_force_updates_a_tunnel_that_is_as_wanted() -> None:
    assert _tunnel_plan.plan_present(SEEDED, {}, force=True).action == "update"


def test_creating_names_what_is_missing() -> None:
    with pytest.raises(InputError, match="'new' does not exist; to create it, set cloudflare_endpoint, interface_add"):
        _tunnel_plan.plan_present(None, {"name": "new"})


def test_no_tunnel_is_already_absent() -> None:
    assert not _tunnel_plan.plan_absent(None).changed


def test_a_tunnel_that_is_there_is_deleted() -> None:
    plan = _tunnel_plan.plan_absent(SEEDED)
    assert (plan.action, plan.tunnel_id, plan.after) == ("delete", SEEDED["id"], None)


def test_a_diff_shows_the_writable_part_without_what_is_not_set() -> None:
    shown = _tunnel_plan.diff(_tunnel_plan.plan_present(SEEDED, {"description": "Berlin, new"}))
    assert (shown["before"]["description"], shown["after"]["description"]) == ("Berlin", "Berlin, new")
    assert set(shown["before"]) <= set(_tunnel.WRITABLE)
    assert "customer_endpoint" not in shown["before"]


def test_a_diff_of_a_creation_and_a_deletion_has_an_empty_side() -> None:
    wanted = {key: SEEDED[key] for key in ("name", "cloudflare_endpoint", "interface_address")}
    assert _tunnel_plan.diff(_tunnel_plan.plan_present(None, wanted))["before"] == {}
    assert _tunnel_plan.diff(_tunnel_plan.plan_absent(SEEDED))["after"] == {}


# -- removal ----------------------------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    **SEEDED,
    "customer_endpoint": "198.51.100.7",
    "interface_address6": "2001:db8::2/127",
    "bgp": {
        "customer_asn": 64512,
        "extra_prefixes": ["10.1.0.0/24"],
        "md5_key": "a key",
        "import_filter_id": "in",
        "export_filter_id": "out",
    },
    "custom_remote_identities": {"fqdn_id": "a.example"},
    "health_check": {**SEEDED["health_check"], "target": {"saved": "192.0.2.1", "effective": "192.0.2.1"}},
}
REMOVALS: list[tuple[str, dict[str, Any]]] = [
    ("description", {"description": ""}),
    ("customer_endpoint", {"customer_endpoint": ""}),
    ("interface_address6", {"interface_address6": ""}),
    ("bgp", {"bgp": {}}),
    ("bgp", {"bgp": {"customer_asn": None, "extra_prefixes": None, "md5_key": None}}),
    ("bgp.md5_key", {"bgp": {"md5_key": ""}}),
    ("bgp.extra_prefixes", {"bgp": {"extra_prefixes": []}}),
    ("bgp.import_filter_id", {"bgp": {"import_filter_id": ""}}),
    ("bgp.export_filter_id", {"bgp": {"export_filter_id": ""}}),
    ("custom_remote_identities", {"custom_remote_identities": {}}),
    ("custom_remote_identities", {"custom_remote_identities": {"fqdn_id": ""}}),
    ("health_check.target", {"health_check": {"target": ""}}),
    ("health_check.target", {"health_check": {"target": {}}}),
    ("health_check.target", {"health_check": {"target": {"saved": ""}}}),
    ("health_check.target", {"health_check": {"target": {"saved": None}}}),
]
BY_WANTED = pytest.mark.parametrize(("path", "wanted"), REMOVALS, ids=str)


def without(tunnel: dict[str, Any], path: str) -> dict[str, Any]:
    """The tunnel as the API shows it after the removal."""
    found = copy.deepcopy(tunnel)
    first, _dot, rest = path.partition(".")
    if path == "health_check.target":
        found[first]["target"] = {"saved": "", "effective": "10.100.0.9"}
    elif rest:
        found[first].pop(rest)
    else:
        found.pop(first)
    return found


def test_every_removable_field_is_in_these_tests() -> None:
    assert {path for path, _wanted in REMOVALS} == set(_tunnel_plan.REMOVABLE)


@BY_WANTED
def test_an_empty_option_removes_its_field_and_nothing_else(path: str, wanted: dict[str, Any]) -> None:
    plan = _tunnel_plan.plan_present(FULL, wanted)
    assert (plan.action, plan.removed) == ("update", (path,))
    assert plan.body is not None
    shown = _tunnel.view({**FULL, **plan.body, **{key: None for key in FULL if key not in plan.body}})
    expected = _tunnel.view(without(FULL, path))
    assert [key for key in _tunnel.WRITABLE if key != "health_check" and shown[key] != expected[key]] == []
    assert shown["health_check"]["target"]["saved"] == expected["health_check"]["target"]["saved"]


@BY_WANTED
def test_a_removal_is_done_once(path: str, wanted: dict[str, Any]) -> None:
    assert _tunnel_plan.plan_present(without(FULL, path), wanted).action == "none"


@BY_WANTED
def test_a_new_tunnel_is_made_without_what_is_empty(path: str, wanted: dict[str, Any]) -> None:
    required = {key: SEEDED[key] for key in _tunnel.REQUIRED}
    assert _tunnel_plan.plan_present(None, {**required, **wanted}).body == required


@BY_WANTED
def test_the_diff_of_a_removal_has_the_field_on_one_side(path: str, wanted: dict[str, Any]) -> None:
    shown = _tunnel_plan.diff(_tunnel_plan.plan_present(FULL, wanted))
    assert _tunnel_plan.is_set(shown["before"], path) and not _tunnel_plan.is_set(shown["after"], path)


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ({"description": ""}, {"description": ""}),
        ({"bgp": {"extra_prefixes": []}}, {"bgp": {**FULL["bgp"], "extra_prefixes": []}}),
        ({"health_check": {"target": ""}}, {"health_check": {**FULL["health_check"], "target": {"saved": ""}}}),
    ],
    ids=str,
)
def test_what_the_schema_takes_empty_is_sent_empty(wanted: dict[str, Any], sent: dict[str, Any]) -> None:
    body = _tunnel_plan.plan_present(FULL, wanted).body
    assert body is not None and {key: body[key] for key in sent} == sent


@pytest.mark.parametrize("key", ["customer_endpoint", "interface_address6", "bgp", "custom_remote_identities"])
def test_the_key_of_everything_else_is_left_out(key: str) -> None:
    body = _tunnel_plan.plan_present(FULL, {key: {} if isinstance(FULL[key], dict) else ""}).body
    assert body is not None and set(FULL) - set(body) >= {key}


def test_null_and_what_is_left_out_keep_a_field() -> None:
    assert _tunnel_plan.plan_present(FULL, dict.fromkeys(_tunnel.WRITABLE)).action == "none"


def test_bgp_is_not_set_up_by_the_removal_of_one_of_its_parts() -> None:
    bare = {key: value for key, value in FULL.items() if key != "bgp"}
    assert _tunnel_plan.plan_present(bare, {"bgp": {"md5_key": "", "extra_prefixes": []}}).action == "none"


def test_bgp_is_not_set_up_without_its_as_number() -> None:
    bare = {key: value for key, value in FULL.items() if key != "bgp"}
    with pytest.raises(InputError, match=r"^tunnel 'x': the tunnel has no BGP yet; to set it up, set bgp.customer_asn"):
        _tunnel_plan.plan_present(bare, {"name": "x", "bgp": {"md5_key": "key"}})


def test_one_part_may_be_removed_while_another_is_set() -> None:
    plan = _tunnel_plan.plan_present(FULL, {"bgp": {"md5_key": "", "customer_asn": 65000}, "description": ""})
    assert plan.removed == ("description", "bgp.md5_key")
    assert plan.body is not None and plan.body["bgp"]["customer_asn"] == 65000


# -- fields that the schema does not know -----------------------------------------------------------------------------

STRANGE: dict[str, Any] = {
    **FULL,
    "version": 7,
    "psk": "********",
    "colour": "",
    "tags": [],
    "nothing": None,
    "deep": {"a": None, "b": {}, "c": 1},
    "rows": [{"a": None, "b": 1}, None],
    "bgp": {**FULL["bgp"], "as_no": 64512, "hold_time": 30},
    "health_check": {**FULL["health_check"], "interval": 5, "target": {"saved": "", "effective": "x", "port": 7}},
}
UNKNOWN = [
    "/colour",
    "/tags",
    "/deep",
    "/rows",
    "/bgp/hold_time",
    "/health_check/interval",
    "/health_check/target/port",
]


@pytest.fixture
def strange() -> dict[str, Any]:
    """The request of an unrelated change."""
    body = _tunnel_plan.plan_present(STRANGE, {"description": "changed"}).body
    assert body is not None
    return body


def test_what_is_known_to_be_read_only_is_never_sent(strange: dict[str, Any]) -> None:
    assert not {"version", "psk", "id"} & set(strange)
    assert "as_no" not in strange["bgp"]
    assert "effective" not in strange["health_check"]["target"]


def test_what_nobody_knows_goes_back_as_it_was_read_but_for_null(strange: dict[str, Any]) -> None:
    assert (strange["colour"], strange["tags"], strange["deep"]) == ("", [], {"b": {}, "c": 1})
    assert strange["rows"] == [{"b": 1}]
    assert strange["bgp"]["hold_time"] == 30
    assert strange["health_check"]["interval"] == 5
    assert strange["health_check"]["target"] == {"port": 7, "saved": ""}
    assert "nothing" not in strange


def test_what_nobody_knows_stays_when_its_part_is_managed() -> None:
    wanted = {"bgp": {"md5_key": ""}, "health_check": {"rate": "low", "target": "192.0.2.2"}}
    body = _tunnel_plan.plan_present(STRANGE, wanted).body
    assert body is not None
    assert body["bgp"]["hold_time"] == 30
    assert body["health_check"]["interval"] == 5
    assert body["health_check"]["target"] == {"port": 7, "saved": "192.0.2.2"}


def test_unknown_fields_are_named_by_pointers_and_can_be_taken_out(strange: dict[str, Any]) -> None:
    assert _tunnel_plan.unknown_fields(strange) == UNKNOWN
    for pointer in UNKNOWN:
        assert _tunnel_plan.value_at(strange, pointer) is not None
        strange = _tunnel_plan.without_field(strange, pointer)
        assert _tunnel_plan.value_at(strange, pointer) is None
    assert _tunnel_plan.unknown_fields(strange) == []


def test_a_known_request_has_no_unknown_field() -> None:
    body = _tunnel_plan.plan_present(FULL, {}, force=True).body
    assert body is not None and _tunnel_plan.unknown_fields({**body, "psk": "x"}) == []


def test_changes_are_named_and_a_psk_is_one() -> None:
    wanted = {"state": "present", "description": "new", "bgp": {"md5_key": "another"}, "psk": "a psk"}
    plan = _tunnel_plan.plan(FULL, wanted, update_psk="always", where="here")
    assert _tunnel_plan.changes(plan) == ["description", "bgp", "psk"]
    assert _tunnel_plan.changes(_tunnel_plan.plan_absent(FULL)) == []
