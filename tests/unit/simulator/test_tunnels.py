# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create, read, update and delete."""

from __future__ import annotations

import asyncio

import pytest

from .conftest import TOKEN

NEW = {**TOKEN, "x-magic-new-hc-target": "true"}
BAD = [
    ({"name": 5}, "/name"),
    ({"name": ""}, "/name"),
    ({"name": None}, "/name"),
    ({"colour": "red"}, "/colour"),
    ({"cloudflare_endpoint": "here"}, "/cloudflare_endpoint"),
    ({"customer_endpoint": "300.1.1.1"}, "/customer_endpoint"),
    ({"interface_address": "10.0.0.1"}, "/interface_address"),
    ({"interface_address": "10.0.0.1/24"}, "/interface_address"),
    ({"interface_address": "8.8.8.8/31"}, "/interface_address"),
    ({"interface_address": "169.254.1.0/31"}, "/interface_address"),
    ({"interface_address": "10.0.0.0/30"}, "/interface_address"),
    ({"interface_address6": "2606:54c1:7::1/127"}, "/interface_address6"),
    ({"interface_address6": "2606:54c1:7::/64"}, "/interface_address6"),
    ({"description": None}, "/description"),
    ({"replay_protection": "true"}, "/replay_protection"),
    ({"automatic_return_routing": True}, "/automatic_return_routing"),
    ({"psk": ""}, "/psk"),
    ({"bgp": {}}, "/bgp/customer_asn"),
    ({"bgp": {"customer_asn": -1}}, "/bgp/customer_asn"),
    ({"bgp": {"customer_asn": 1, "md5_key": 'a"b'}}, "/bgp/md5_key"),
    ({"bgp": {"customer_asn": 1, "md5_key": "a?b"}}, "/bgp/md5_key"),
    ({"bgp": {"customer_asn": 1, "md5_key": ""}}, "/bgp/md5_key"),
    ({"bgp": {"customer_asn": 1, "extra_prefixes": ["10.0.0.1/24", "x"]}}, "/bgp/extra_prefixes/1"),
    ({"health_check": {"rate": "fast"}}, "/health_check/rate"),
    ({"health_check": {"target": {"saved": "10.0.0.1"}}}, "/health_check/target"),
    ({"health_check": {"target": "not an address"}}, "/health_check/target"),
    ({"custom_remote_identities": {"fqdn_id": "a.example"}}, "/custom_remote_identities/fqdn_id"),
]


@pytest.mark.parametrize(("change", "pointer"), BAD)
def test_a_bad_field_is_refused_and_pointed_at(sim, body, change, pointer):
    reply = sim("POST", "", {**body, **change})
    assert (reply.status, reply.codes, reply.pointers) == (400, [1022], [pointer])


@pytest.mark.parametrize("name", ["name", "cloudflare_endpoint", "interface_address"])
def test_a_required_field_must_be_there(sim, body, name):
    del body[name]
    assert sim("POST", "", body).pointers == [f"/{name}"]


@pytest.mark.parametrize("address", ["10.0.0.1/31", "172.31.0.1/30", "192.168.1.2/30", "169.254.255.0/31"])
def test_inside_addresses_of_every_allowed_range_are_accepted(sim, body, address):
    assert sim("POST", "", {**body, "interface_address": address}).result["interface_address"] == address


def test_a_body_that_is_not_json_is_refused(sim):
    assert sim("POST", "", data=b"{", headers={**TOKEN, "Content-Type": "application/json"}).codes == [1022]


def test_create_answers_the_tunnel_itself_and_get_shows_it(sim, body):
    made = sim("POST", "", {**body, "psk": "secret-of-mine"}).result
    shown = sim("GET", made["id"]).result["ipsec_tunnel"]
    assert made["remote_identities"] == {"hex_id": "", "fqdn_id": "", "user_id": ""}
    assert shown["remote_identities"]["fqdn_id"].startswith(made["id"])
    assert {**shown, "remote_identities": 0} == {**made, "remote_identities": 0}
    assert "psk" not in shown
    assert sim.truth[made["id"]]["psk"] == "secret-of-mine"


def test_a_tunnel_without_psk_has_empty_metadata(sim, body):
    assert sim("POST", "", body).result["psk_metadata"] == {}


def test_a_name_must_be_free(sim, body):
    taken = sim("GET").result["ipsec_tunnels"][0]["name"]
    assert sim("POST", "", {**body, "name": taken}).pointers == ["/name"]


def test_a_custom_identity_may_repeat_only_at_another_endpoint(sim, body):
    body["custom_remote_identities"] = {"fqdn_id": "x.023e105f4ecef8ad9ca31a8372d0c353.custom.ipsec.cloudflare.com"}
    assert sim("POST", "", body).status == 200
    assert sim("POST", "", {**body, "name": "b"}).pointers == ["/custom_remote_identities/fqdn_id"]
    assert sim("POST", "", {**body, "name": "b", "cloudflare_endpoint": "203.0.113.9"}).status == 200


def test_the_new_header_makes_the_target_an_object_both_ways(sim, body):
    body["health_check"] = {"direction": "unidirectional", "target": {"saved": "192.0.2.9", "effective": "ignored"}}
    made = sim("POST", "", body, headers=NEW).result
    assert made["health_check"]["target"] == {"saved": "192.0.2.9", "effective": "192.0.2.9"}
    assert sim("GET", made["id"]).result["ipsec_tunnel"]["health_check"]["target"] == "192.0.2.9"


def test_a_string_target_is_refused_with_the_new_header(sim, body):
    body["health_check"] = {"target": "192.0.2.9"}
    assert sim("POST", "", body, headers=NEW).pointers == ["/health_check/target"]


def test_the_computed_target_is_the_customer_endpoint_when_unidirectional(sim, body):
    body |= {"customer_endpoint": "198.51.100.7", "health_check": {"direction": "unidirectional"}}
    target = sim("POST", "", body, headers=NEW).result["health_check"]["target"]
    assert target == {"saved": "", "effective": "198.51.100.7"}


@pytest.mark.parametrize(
    ("address", "other"), [("10.0.0.0/31", "10.0.0.1"), ("10.0.0.1/31", "10.0.0.0"), ("10.0.0.2/30", "10.0.0.1")]
)
def test_the_computed_target_is_the_customers_inside_address_when_bidirectional(sim, body, address, other):
    body |= {"interface_address": address, "health_check": {"direction": "bidirectional"}}
    assert sim("POST", "", body, headers=NEW).result["health_check"]["target"] == {"saved": "", "effective": other}


def test_a_saved_target_is_ignored_when_bidirectional_unless_assumed_otherwise(start, body):
    body["health_check"] = {"direction": "bidirectional", "target": "192.0.2.9"}
    assert start()("POST", "", body).result["health_check"]["target"] == "10.0.0.1"
    other = start("bidirectional_target_ignored=false")
    assert other("POST", "", body).result["health_check"]["target"] == "192.0.2.9"


def test_a_whole_put_resets_what_it_leaves_out_but_keeps_the_psk(sim, body):
    made = sim("POST", "", {**body, "description": "x", "psk": "secret-of-mine"}).result
    result = sim("PUT", made["id"], {**body, "name": "renamed"}).result
    assert result["modified"] is True
    assert result["modified_ipsec_tunnel"]["name"] == "renamed"
    assert "description" not in result["modified_ipsec_tunnel"]
    assert sim.truth[made["id"]]["psk"] == "secret-of-mine"
    assert result["modified_ipsec_tunnel"]["psk_metadata"] == made["psk_metadata"]


def test_a_partial_put_is_refused_unless_assumed_possible(start, body):
    sim = start()
    assert sim("PUT", next(iter(sim.truth)), {"description": "x"}).status == 400
    sim = start("partial_put=true")
    old = sim("POST", "", {**body, "bgp": {"customer_asn": 7}}).result
    new = sim("PUT", old["id"], {"description": "x"}).result["modified_ipsec_tunnel"]
    assert new["bgp"] == old["bgp"]
    assert new["description"] == "x"


def test_put_with_psk_moves_last_generated_on(sim, body):
    made = sim("POST", "", {**body, "psk": "secret-of-mine"}).result
    new = sim("PUT", made["id"], {**body, "psk": "another-secret"}).result["modified_ipsec_tunnel"]
    assert new["psk_metadata"]["last_generated_on"] > made["psk_metadata"]["last_generated_on"]


def test_put_switches_change_what_happens_to_the_psk(start, body):
    sim = start("put_keeps_psk=false")
    made = sim("POST", "", {**body, "psk": "secret-of-mine"}).result
    assert sim("PUT", made["id"], body).result["modified_ipsec_tunnel"]["psk_metadata"] == {}
    assert sim.truth[made["id"]]["psk"] is None


def test_rename_and_bgp_change_can_be_assumed_impossible(start, body):
    sim = start("rename_allowed=false", "bgp_update_allowed=false")
    made = sim("POST", "", body).result
    reply = sim("PUT", made["id"], {**body, "name": "other", "bgp": {"customer_asn": 1}})
    assert reply.pointers == ["/name", "/bgp"]


def test_a_bulk_put_changes_all_or_nothing(sim, body):
    one, two = (sim("POST", "", {**body, "name": name}).result["id"] for name in "ab")
    good = [{"id": one, **body, "name": "a2"}, {"id": two, **body, "name": "b2"}]
    bad = [good[0], {**good[1], "name": "a2"}]
    assert sim("PUT", "", {"ipsec_tunnels": bad}).pointers == ["/ipsec_tunnels/1/name"]
    assert sim.truth[one]["name"] == "a"
    result = sim("PUT", "", {"ipsec_tunnels": good}).result
    assert [tunnel["name"] for tunnel in result["modified_ipsec_tunnels"]] == ["a2", "b2"]


def test_delete_answers_the_tunnel_and_frees_its_name(sim, body):
    made = sim("POST", "", body).result
    result = sim("DELETE", made["id"]).result
    assert (result["deleted"], result["deleted_ipsec_tunnel"]["id"]) == (True, made["id"])
    assert sim("GET", made["id"]).status == 404
    assert sim("POST", "", body).status == 200


def test_the_list_shape_of_create_can_be_assumed(start, body):
    assert len(start("create_response=list")("POST", "", body).result["ipsec_tunnels"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "extra"),
    [("POST", "", {}), ("PUT", "{id}", {}), ("DELETE", "{id}", None), ("POST", "{id}/psk_generate", None)],
)
def test_validate_only_changes_nothing_and_is_no_write(sim, ids, body, method, path, extra):
    before = sim.state
    reply = sim.dry(method, path.format(id=ids[0]), None if extra is None else body)
    after = sim.state
    assert reply.json["success"] is True
    assert after["tunnels"] == before["tunnels"]
    assert (after["requests"], after["writes"]) == (before["requests"] + 1, before["writes"])
    assert sim.journal[-1]["validate_only"] is True


def test_validate_only_of_a_bulk_put_changes_nothing(sim, ids, body):
    before = sim.truth
    assert sim.dry("PUT", "", {"ipsec_tunnels": [{"id": ids[0], **body}]}).status == 200
    assert sim.truth == before


def test_validate_only_still_validates(sim, ids):
    assert sim.dry("PUT", ids[0], {"name": 1}).status == 400


def test_of_many_creates_at_once_with_one_name_exactly_one_succeeds(sim, body):
    async def scenario():
        return await asyncio.gather(*(sim.ask("POST", "", body) for _ in range(20)))

    assert sorted(reply.status for reply in sim.run(scenario())) == [200] + [400] * 19
