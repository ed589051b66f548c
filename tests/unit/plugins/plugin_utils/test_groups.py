# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tunnels back each other up."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._groups import Groups, Hints, group, told
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.plugin_utils.accounts import tunnel


def named(*names: str) -> list[dict[str, Any]]:
    """Tunnels of these names, with ids t0, t1, ..."""
    return [tunnel(f"t{n}", name) for n, name in enumerate(names)]


def joined(groups: Groups) -> list[list[str]]:
    """The groups of more than one tunnel."""
    return sorted(sorted(own) for own in groups.members.values() if len(own) > 1)


def auto(tunnels: list[dict[str, Any]], **hints: dict[str, str]) -> Groups:
    return group(tunnels, "auto", Hints(**hints))


APART = named("oslo", "lima")


# -- auto -------------------------------------------------------------------------------------------------------------


def test_tunnels_that_have_nothing_in_common_are_apart() -> None:
    groups = auto(APART)
    assert joined(groups) == []
    assert (groups.of, groups.why) == ({"t0": "t0", "t1": "t1"}, dict.fromkeys(["t0", "t1"], "nothing backs it up"))


def test_tunnels_of_one_device_are_joined() -> None:
    groups = auto(APART, claimed={"t0": "router", "t1": "router"})
    assert (groups.of, groups.why) == ({"t0": "router", "t1": "router"}, {"router": "device router"})


def test_a_device_that_is_not_in_the_play_is_known_from_the_escrow() -> None:
    assert joined(auto(APART, claimed={"t0": "router"}, hosts={"t1": "router"})) == [["t0", "t1"]]


def test_the_device_that_claims_a_tunnel_counts_and_not_an_earlier_one() -> None:
    hints = {"claimed": {"t0": "new", "t1": "other"}, "hosts": {"t0": "router", "t1": "router"}}
    assert joined(auto(APART, **hints)) == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_the_controller_is_no_device(host: str) -> None:
    assert joined(auto(APART, claimed={"t0": host, "t1": host})) == []
    assert joined(auto(APART, hosts={"t0": host, "t1": host})) == []


def test_a_run_from_the_controller_knows_the_devices_of_earlier_runs() -> None:
    hints = {"claimed": {"t0": "localhost", "t1": "localhost"}, "hosts": {"t0": "router", "t1": "router"}}
    assert joined(auto(APART, **hints)) == [["t0", "t1"]]


def test_tunnels_of_one_customer_endpoint_are_joined() -> None:
    groups = auto([tunnel("t0", "oslo", "192.0.2.1"), tunnel("t1", "lima", "192.0.2.1")])
    assert groups.of == {"t0": "192.0.2.1", "t1": "192.0.2.1"}
    assert groups.why == {"192.0.2.1": "customer endpoint 192.0.2.1"}


def test_one_customer_endpoint_is_one_however_it_is_written() -> None:
    tunnels = [tunnel("t0", "oslo", "2001:DB8::1"), tunnel("t1", "lima", "2001:db8:0:0::1")]
    assert auto(tunnels).of == {"t0": "2001:db8::1", "t1": "2001:db8::1"}


def test_tunnels_of_two_devices_of_one_site_are_joined() -> None:
    groups = auto(APART, claimed={"t0": "r1", "t1": "r2"}, sites={"r1": "north", "r2": "north"})
    assert joined(groups) == [["t0", "t1"]]
    assert "site north" in groups.why[groups.of["t0"]]


def test_the_site_of_a_device_that_is_not_in_the_play_counts_too() -> None:
    hints = {"claimed": {"t0": "r1"}, "hosts": {"t1": "r2"}, "sites": {"r1": "north", "r2": "north"}}
    assert joined(auto(APART, **hints)) == [["t0", "t1"]]


def test_a_site_is_known_from_the_escrow_where_the_device_is_not_in_the_play() -> None:
    groups = auto(APART, claimed={"t0": "r1"}, sites={"r1": "north"}, hosts={"t1": "r2"}, earlier={"t1": "north"})
    assert joined(groups) == [["t0", "t1"]]


def test_a_group_is_named_after_its_site_so_that_a_later_run_knows_it() -> None:
    assert auto(APART, claimed={"t0": "r1"}, sites={"r1": "north"}).of["t0"] == "north"


@pytest.mark.parametrize(
    "names",
    [
        ("berlin-a", "berlin-b"),
        ("berlin-1", "berlin-2"),
        ("berlin_pri", "berlin_sec"),
        ("Berlin primary", "Berlin backup"),
        ("berlin.isp1", "berlin.isp2"),
        ("emea-berlin-aws", "emea-berlin-azure"),
        ("ber1", "ber2"),
        ("ber01", "ber02"),
        ("x1a", "x1b"),
        ("malm\u00f61", "malm\u00f62"),
        ("malm\u00f61", "malmo\u03082"),
        ("\u6771\u4eac1", "\u6771\u4eac2"),
        ("Berlin-a", "berlin-B"),
        ("berlin/a", "berlin/b"),
        ("berlin (1)", "berlin (2)"),
        ("berlin", "berlin-backup"),
        ("berlin", "Berlin2"),
        ("berlin-1", "berlin-1-backup"),
        ("berlin-a", "berlin-b", "berlin-c"),
        ("berlin-a", "berlin-b", "berlin-c", "berlin-d"),
    ],
)
def test_two_to_four_tunnels_whose_names_differ_only_in_their_last_part_are_joined(names: tuple[str, ...]) -> None:
    assert joined(auto(named(*names))) == [[f"t{n}" for n in range(len(names))]]


def test_five_tunnels_whose_names_differ_only_in_their_last_part_are_a_fleet_and_no_family() -> None:
    groups = auto(named(*(f"site-{n}" for n in range(5))))
    assert joined(groups) == []
    assert groups.of == {f"t{n}": f"t{n}" for n in range(5)}


def test_a_family_of_four_is_one_also_beside_a_tunnel_that_has_the_rest_as_its_name() -> None:
    assert joined(auto(named("site", *(f"site-{n}" for n in range(4))))) == [["t1", "t2", "t3", "t4"]]


@pytest.mark.parametrize("names", [("berlin-a", "rome-a"), ("berlin", "rome"), ("a", "b"), ("1", "2"), ("-a", "-b")])
def test_names_that_differ_elsewhere_join_nothing(names: tuple[str, ...]) -> None:
    assert joined(auto(named(*names))) == []


def test_why_names_a_family() -> None:
    assert auto(named("berlin-a", "berlin-b")).why == {"berlin-": "names berlin-*"}


def test_two_families_are_two_however_their_letters_are_composed() -> None:
    names = ["zu\u0308rich1", "zu\u0308rich2", "zu\u0308lpich1", "zu\u0308lpich2"]
    assert joined(auto(named(*names))) == [["t0", "t1"], ["t2", "t3"]]


def test_a_family_is_named_as_its_first_tunnel_is_written() -> None:
    assert set(auto(named("Berlin-a", "BERLIN-b")).members) == {"Berlin-"}


def test_what_one_rule_joins_another_joins_further() -> None:
    tunnels = [tunnel("t0", "berlin-a", "192.0.2.1"), tunnel("t1", "berlin-b"), tunnel("t2", "lima", "192.0.2.1")]
    groups = auto(tunnels)
    assert joined(groups) == [["t0", "t1", "t2"]]
    assert set(groups.why[groups.of["t0"]].split(", ")) == {"customer endpoint 192.0.2.1", "names berlin-*"}


def test_what_an_earlier_run_has_joined_counts_for_tunnels_that_are_not_in_the_play() -> None:
    groups = auto(APART, claimed={"t0": "r1"}, earlier={"t0": "north", "t1": "north"})
    assert joined(groups) == [["t0", "t1"]]
    assert groups.why[groups.of["t0"]] == "an earlier run"


def test_what_an_earlier_run_has_joined_is_left_to_the_play_that_has_all_of_it() -> None:
    assert joined(auto(APART, claimed={"t0": "r1", "t1": "r2"}, earlier={"t0": "north", "t1": "north"})) == []


def test_two_groups_never_have_one_name() -> None:
    tunnels = [tunnel("t0", "oslo", "router"), tunnel("t1", "lima")]
    groups = auto(tunnels, claimed={"t1": "router"})
    assert len(set(groups.of.values())) == 2


account = st.lists(
    st.tuples(st.sampled_from(["berlin-a", "berlin-b", "rome1", "rome2", "oslo"]), st.sampled_from([None, "e1", "e2"])),
    max_size=8,
).map(lambda drawn: [tunnel(f"t{n}", name, endpoint) for n, (name, endpoint) in enumerate(drawn)])
places = st.dictionaries(st.sampled_from([f"t{n}" for n in range(8)]), st.sampled_from(["r1", "r2", "localhost"]))


@given(account, places, places)
def test_every_tunnel_is_in_one_group_and_knows_its_siblings(
    tunnels: list[dict[str, Any]], claimed: dict[str, str], hosts: dict[str, str]
) -> None:
    groups = auto(tunnels, claimed=claimed, hosts=hosts)
    assert sorted(i for own in groups.members.values() for i in own) == sorted(x["id"] for x in tunnels)
    for x in tunnels:
        assert sorted([x["id"], *groups.siblings(x["id"])]) == sorted(groups.members[groups.of[x["id"]]])


@given(account, places)
def test_the_order_of_the_account_changes_no_group(tunnels: list[dict[str, Any]], claimed: dict[str, str]) -> None:
    assert joined(auto(tunnels, claimed=claimed)) == joined(auto(tunnels[::-1], claimed=claimed))


# -- none, expressions, mappings --------------------------------------------------------------------------------------


def test_none_joins_nothing() -> None:
    tunnels = [tunnel("t0", "berlin-a", "192.0.2.1"), tunnel("t1", "berlin-b", "192.0.2.1")]
    assert joined(group(tunnels, "none", Hints({"t0": "router", "t1": "router"}))) == []


def test_an_expression_joins_over_the_whole_account_whoever_is_in_the_play() -> None:
    groups = group(named("a-1", "a-2", "b-1"), "^(?P<group>a)-", Hints({"t0": "router"}))
    assert groups.of == {"t0": "a", "t1": "a", "t2": "t2"}
    assert groups.why["a"] == "matched by psk_rotation_group_by"


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ({"one": ["a-1", "t2"]}, {"t0": "one", "t1": "t1", "t2": "one"}),
        ({"one": ["*-1"]}, {"t0": "one", "t1": "t1", "t2": "one"}),
        ({"a-1": "one", "t2": "one"}, {"t0": "one", "t1": "t1", "t2": "one"}),
        ({"a-*": "one"}, {"t0": "one", "t1": "one", "t2": "t2"}),
        ({"a-1": "one", "one": ["b-1"]}, {"t0": "one", "t1": "t1", "t2": "one"}),
    ],
)
def test_a_mapping_names_tunnels_by_id_name_or_glob(group_by: dict[str, Any], expected: dict[str, str]) -> None:
    assert group(named("a-1", "a-2", "b-1"), group_by, Hints()).of == expected


@pytest.mark.parametrize(
    ("group_by", "words"),
    [
        ({"one": ["nowhere"]}, "'nowhere'"),
        ({"nowhere": "one"}, "'nowhere'"),
        ({"one": ["a-1", "a-?x"]}, "'a-\\?x'"),
        ({"one": [7]}, "'one'.*7 is no text: put .* into quotes"),
        ({7: "one"}, "7 is no text: put .* into quotes"),
        ({"one": 7}, "must be a list of tunnels, or name a group"),
        ({"one": None}, "must be a list of tunnels, or name a group"),
        ({"one": []}, r"\['one'\] is empty"),
        ({"one": {}}, r"\['one'\] is empty"),
        ({"a-1": ""}, r"\['a-1'\] is empty"),
        ({"one": ["a-1"], "two": ["a-*"]}, "tunnel 'a-1' is in both 'one' and 'two'"),
        ({}, "empty mapping.*none"),
        ("(", "regular expression"),
        ("a-", "a group named group"),
        ("", "a group named group"),
        (7, "auto, none, a regular expression"),
        (None, "auto, none, a regular expression"),
        (True, "auto, none, a regular expression"),
        ("^(?P<group>c)-", "matches the name of no tunnel of this play"),
        ("(?P<group>x?)", "matches the name of no tunnel of this play"),
    ],
)
def test_what_names_nothing_is_refused_and_named(group_by: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"psk_rotation_group_by.*{words}") as caught:
        group(named("a-1", "a-2", "b-1"), group_by, Hints({"t0": "router"}))
    assert "\n" not in str(caught.value)


def test_an_expression_that_matches_tunnels_of_others_only_is_refused() -> None:
    with pytest.raises(InputError, match="no tunnel of this play"):
        group(named("a-1", "a-2", "b-1"), "^(?P<group>a)-", Hints({"t2": "router"}))


# -- told -------------------------------------------------------------------------------------------------------------


def test_groups_are_told_with_their_tunnels_and_why() -> None:
    tunnels = named("berlin-a", "berlin-b", "oslo")
    assert told(auto(tunnels), tunnels, ["t0", "t2"]) == (
        "1 group of tunnels that back each other up: berlin-a, berlin-b (names berlin-*);"
        " 1 tunnel that nothing backs up: oslo"
    )


def test_of_many_groups_the_first_are_told() -> None:
    tunnels = named(*(f"{site}-{n}" for site in "abcdefghijklm" for n in (1, 2)))
    line = told(auto(tunnels), tunnels, [x["id"] for x in tunnels])
    assert line.startswith("13 groups of tunnels that back each other up: a-1, a-2 (names a-*); b-1, b-2")
    assert line.endswith("j-1, j-2 (names j-*); and 3 more")


def test_of_no_tunnels_nothing_is_told() -> None:
    assert told(auto(APART), APART, []) == ""
