# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which plans contradict each other or the account, and what replaces what."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel, _tunnel_conflicts, _tunnel_plan
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_conflicts import Item

PSK = "Zk3VtYq0sWn8RbX2mLd7uHc5"


def account(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Three tunnels, a to c, each with a network of four addresses for itself."""
    return [
        {
            "id": f"id-{name}",
            "name": name,
            "cloudflare_endpoint": f"203.0.113.{number}",
            "customer_endpoint": f"198.51.100.{number}",
            "interface_address": f"10.0.0.{4 * number}/31",
            "interface_address6": f"2001:db8::{4 * number:x}/127",
            **changes.get(name, {}),
        }
        for number, name in enumerate("abc")
    ]


def plan(tunnels: list[dict[str, Any]], *wanted: dict[str, Any], update_psk: str = "on_create") -> list[Item]:
    """The items of a list of options; each is named by its place in it."""
    found = []
    for number, options in enumerate(wanted):
        current = _tunnel.find(tunnels, tunnel_id=options.get("id"), name=options.get("name"))
        planned = _tunnel_plan.plan(current, {"state": "present", **options}, update_psk=update_psk, where=str(number))
        found.append(Item(f"[{number}]", planned, options.get("psk")))
    return found


def new(name: str, number: int = 9, **more: Any) -> dict[str, Any]:
    """A tunnel that is like none of the account."""
    endpoints = {"cloudflare_endpoint": "203.0.113.99", "interface_address": f"10.0.0.{4 * number}/31"}
    return {"name": name, **endpoints, **more}


def refused(tunnels: list[dict[str, Any]], *wanted: dict[str, Any], **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        _tunnel_conflicts.check(plan(tunnels, *wanted, **options), tunnels, psk_charset="safe")
    return str(caught.value)


def accepted(tunnels: list[dict[str, Any]], *wanted: dict[str, Any], **options: Any) -> None:
    _tunnel_conflicts.check(plan(tunnels, *wanted, **options), tunnels, psk_charset="safe")


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_name_that_another_tunnel_has_is_refused() -> None:
    assert refused(account(), {"id": "id-a", "name": "b"}) == (
        "[0]: the tunnel id-b is named 'b', and names are unique"
    )


def test_a_swap_of_names_is_refused_once_with_what_to_do() -> None:
    told = refused(account(), {"id": "id-a", "name": "b"}, {"id": "id-b", "name": "a"})
    assert told.startswith("[0] and [1] would swap their names")
    assert "rename one of them to a third name in a separate run" in told
    assert told.count("swap") == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_name_that_is_free_only_in_the_middle_of_the_run_is_refused_in_any_order(order: tuple[int, int]) -> None:
    wanted = [{"id": "id-a", "name": "x"}, {"id": "id-b", "name": "a"}]
    told = refused(account(), *(wanted[number] for number in order))
    assert "is named 'a' until" in told and "rename that one first, in a separate run" in told


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_names_that_go_round_are_refused_once_with_what_to_do(order: tuple[int, int, int]) -> None:
    wanted = [{"id": f"id-{one}", "name": other} for one, other in ("ab", "bc", "ca")]
    told = refused(account(), *(wanted[number] for number in order))
    assert all(f"[{number}]" in told for number in range(3))
    assert told.count("would swap their names") == 1 and "until" not in told
    assert "then each of the others when the name that it gets is free" in told


def test_who_waits_for_a_ring_of_names_is_told_apart_from_it() -> None:
    wanted = [{"id": f"id-{one}", "name": other} for one, other in ("ab", "ba", "ca")]
    told = refused(account(), *wanted).split("; ")
    assert told[0].startswith("[0] and [1] would swap their names")
    assert told[-2].startswith("[2]: the tunnel id-a is named 'a' until [0] renames it")


def test_the_name_of_a_tunnel_that_the_run_deletes_is_refused() -> None:
    told = refused(account(), {"id": "id-a", "state": "absent"}, {"id": "id-b", "name": "a"})
    assert "is named 'a' until the end of the run, which deletes it last" in told


def test_a_rename_to_a_free_name_is_accepted() -> None:
    accepted(account(), {"id": "id-a", "name": "x"}, {"id": "id-b", "name": "b"})


# -- inside addresses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10.0.0.40/31", "10.0.0.40/31"),
        ("10.0.0.40/31", "10.0.0.41/31"),
        ("10.0.0.41/30", "10.0.0.42/31"),
        ("10.0.0.42/31", "10.0.0.41/30"),
        ("10.0.0.0/24", "10.0.0.200/31"),
    ],
)
def test_two_new_tunnels_in_one_inside_network_are_refused(one: str, other: str) -> None:
    told = refused([], new("x", interface_address=one), new("y", interface_address=other))
    assert told.startswith("[1]: interface_address is in the inside network ")
    assert told.endswith("that [0] gets, too")


def test_two_new_tunnels_in_one_inside_network_of_ipv6_are_refused() -> None:
    tunnels = [new("x", 8, interface_address6="2001:db8::40/127"), new("y", 9, interface_address6="2001:DB8:0::41/127")]
    assert "interface_address6 is in the inside network 2001:db8::40/127" in refused([], *tunnels)


@pytest.mark.parametrize("address", ["10.0.0.4/31", "10.0.0.5/31", "10.0.0.6/30"])
def test_the_inside_network_of_another_tunnel_is_refused(address: str) -> None:
    told = refused(account(), {"name": "a", "interface_address": address})
    assert told == "[0]: the tunnel 'b' (id-b) has this interface_address, or one in the same inside network"


def test_an_inside_network_that_another_tunnel_leaves_in_this_run_is_refused() -> None:
    moves = [{"name": "b", "interface_address": "10.0.0.80/31"}, {"name": "a", "interface_address": "10.0.0.4/31"}]
    assert "has this interface_address until [0] changes it" in refused(account(), *moves)
    assert "has this interface_address until [1] changes it" in refused(account(), *moves[::-1])


@pytest.mark.parametrize(
    ("pairs", "rest"),
    [
        ("ab ba", "then the other, then the first"),
        ("ab bc ca", "then each of the others when the interface_address that it gets is free, then the first"),
    ],
)
def test_a_swap_of_inside_addresses_is_refused_once_with_what_to_do(pairs: str, rest: str) -> None:
    inside = {x["name"]: x["interface_address"] for x in account()}
    moves = [{"name": one, "interface_address": inside[other]} for one, other in pairs.split()]
    told = refused(account(), *moves)
    assert told.count("would swap their interface_address") == 1 and "until" not in told
    assert told.endswith(f"give one of them a third interface_address in a separate run, {rest}")


def test_tunnels_that_share_an_inside_network_already_may_be_changed() -> None:
    tunnels = account(b={"interface_address": "10.0.0.1/31"})
    accepted(tunnels, {"name": "a", "description": "x"}, {"name": "b", "description": "x"})
    accepted(tunnels, {"name": "a", "interface_address": "10.0.0.1/31"})


def test_the_other_side_of_its_own_inside_network_is_accepted() -> None:
    accepted(account(), {"name": "a", "interface_address": "10.0.0.1/31"})


def test_neighbouring_inside_networks_are_accepted() -> None:
    accepted([], new("x", interface_address="10.0.0.40/31"), new("y", interface_address="10.0.0.42/31"))


def test_many_tunnels_are_judged_without_comparing_each_with_each() -> None:
    """With each compared to each this would take minutes."""
    networks: _tunnel_conflicts._Networks[int] = _tunnel_conflicts._Networks()
    for number in range(20_000):
        network = _tunnel.network_of(f"10.{number // 16384}.{number // 64 % 256}.{number % 64 * 4}/31")
        assert networks.overlapping(network) == []
        networks.add(network, number)


# -- likely renames and replacements ----------------------------------------------------------------------------------

RENAMED = {"name": "x", "cloudflare_endpoint": "203.0.113.0", "interface_address": "10.0.0.1/31"}


@pytest.mark.parametrize("gone", [[], [{"name": "a", "state": "absent"}]], ids=["left", "deleted"])
def test_a_new_tunnel_with_the_endpoint_and_inside_address_of_an_old_one_is_a_likely_rename(
    gone: list[dict[str, Any]],
) -> None:
    told = refused(account(), RENAMED, *gone)
    assert told.startswith("[0]: the tunnel 'a' (id-a) has the same cloudflare_endpoint and interface_address")
    assert "give id: id-a to rename it, or delete it first, in a separate run" in told


def test_it_is_no_likely_rename_when_the_list_keeps_the_old_one() -> None:
    told = refused(account(), RENAMED, {"name": "a"})
    assert "rename" not in told and "has this interface_address" in told


@pytest.mark.parametrize(
    "same",
    [
        {"interface_address": "10.0.0.0/31"},
        {"interface_address": "10.0.0.2/30"},
        {"cloudflare_endpoint": "203.0.113.0", "customer_endpoint": "198.51.100.0"},
        {"interface_address6": "2001:db8::1/127"},
    ],
    ids=str,
)
def test_a_new_tunnel_in_the_place_of_a_deleted_one_replaces_it(same: dict[str, Any]) -> None:
    tunnels = account()
    items = plan(tunnels, new("x", **same), {"name": "a", "state": "absent"}, {"name": "b", "state": "absent"})
    _tunnel_conflicts.check(items, tunnels, psk_charset="safe")
    assert _tunnel_conflicts.replacements(items) == {"id-a": items[0]}


def test_a_new_tunnel_elsewhere_replaces_nothing() -> None:
    tunnels = account(a={"customer_endpoint": None})
    items = plan(tunnels, new("x", cloudflare_endpoint="203.0.113.0"), {"name": "a", "state": "absent"})
    assert _tunnel_conflicts.replacements(items) == {}


def test_a_new_tunnel_replaces_one_old_one_only() -> None:
    tunnels = account(b={"cloudflare_endpoint": "203.0.113.0", "customer_endpoint": "198.51.100.0"})
    same = {"cloudflare_endpoint": "203.0.113.0", "customer_endpoint": "198.51.100.0"}
    items = plan(tunnels, new("x", **same), {"name": "a", "state": "absent"}, {"name": "b", "state": "absent"})
    assert list(_tunnel_conflicts.replacements(items)) == ["id-a"]


# -- identities -------------------------------------------------------------------------------------------------------

IDENTITY = {"custom_remote_identities": {"fqdn_id": "x.example"}}


def test_one_custom_identity_with_one_endpoint_is_refused() -> None:
    told = refused([], new("x", 8, **IDENTITY), new("y", 9, **IDENTITY))
    assert told.startswith("[1]: [0] gets this custom_remote_identities.fqdn_id with the same cloudflare_endpoint, too")


def test_one_custom_identity_with_two_endpoints_is_accepted() -> None:
    accepted([], new("x", 8, **IDENTITY), new("y", 9, **IDENTITY, cloudflare_endpoint="203.0.113.98"))


@pytest.mark.parametrize("change", [{"cloudflare_endpoint": "203.0.113.1"}, {**IDENTITY, "name": "c"}], ids=str)
def test_a_custom_identity_of_another_tunnel_of_the_account_is_refused(change: dict[str, Any]) -> None:
    tunnels = account(a=IDENTITY, b=IDENTITY, c={"cloudflare_endpoint": "203.0.113.1"})
    assert "the tunnel 'b' (id-b) has this custom" in refused(tunnels, {"name": "a", **change})


@pytest.mark.parametrize(
    "gives_up",
    [
        {"custom_remote_identities": {}},
        {"custom_remote_identities": {"fqdn_id": "y.example"}},
        {"cloudflare_endpoint": "203.0.113.98"},
        {"state": "absent"},
    ],
    ids=str,
)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_custom_identity_that_is_free_only_later_in_the_run_is_refused_in_any_order(
    gives_up: dict[str, Any], order: tuple[int, int]
) -> None:
    tunnels = account(a=IDENTITY, b={"cloudflare_endpoint": "203.0.113.0"})
    wanted = [{"name": "a", **gives_up}, {"name": "b", **IDENTITY}]
    told = refused(tunnels, *(wanted[number] for number in order))
    assert told.startswith(f"[{order.index(1)}]: the tunnel 'a' (id-a) has this custom")
    assert told.endswith(f"until [{order.index(0)}] gives it up; remove it there first, in a separate run")


# -- PSKs -------------------------------------------------------------------------------------------------------------


def test_a_psk_that_would_not_be_sent_is_not_judged() -> None:
    accepted(account(), {"name": "a", "psk": "short"}, {"name": "b", "psk": "short"})


@pytest.mark.parametrize("wanted", [{"name": "a", "state": "absent"}, {"name": "never was", "state": "absent"}])
def test_the_psk_of_a_tunnel_that_shall_not_be_is_not_judged(wanted: dict[str, Any]) -> None:
    accepted(account(), {**wanted, "psk": "short"})


def test_a_psk_that_would_be_sent_is_judged() -> None:
    assert "[0]: the PSK has 5 characters" in refused([], new("x", psk="short"))
    assert "[0]: the PSK has 5 characters" in refused(account(), {"name": "a", "psk": "short"}, update_psk="always")


def test_one_psk_for_two_tunnels_is_refused_once() -> None:
    told = refused([], new("x", 8, psk=PSK), new("y", 9, psk=PSK))
    assert told == "[1]: [0] has the same PSK; each tunnel needs its own"


@pytest.mark.parametrize("first", [True, False])
def test_a_psk_that_would_be_sent_is_not_that_which_another_tunnel_is_said_to_have(first: bool) -> None:
    wanted = [new("x", psk=PSK), {"name": "a", "psk": PSK}]
    told = refused(account(), *(wanted if first else wanted[::-1]))
    assert "has the same PSK" in told and PSK not in told


def test_of_many_problems_the_first_five_are_told() -> None:
    told = refused([], *(new(f"x{number}", number, psk="short") for number in range(7)))
    assert "and 8 more" in told
