# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both sides of the open questions about tunnels."""

from __future__ import annotations

import pytest

from .conftest import ACCOUNT, TOKEN

NEW = {**TOKEN, "x-magic-new-hc-target": "true"}
FORMS = {"id": ACCOUNT, "number": "33145236"}
INT32 = 2**31 - 1


def full(sim, tunnel_id):
    """What a PUT that changes nothing would send, but for what is read only."""
    shown = sim("GET", tunnel_id, headers=NEW).result["ipsec_tunnel"]
    names = ("name", "cloudflare_endpoint", "interface_address", "customer_endpoint", "description", "bgp")
    body = {name: shown[name] for name in names if name in shown}
    body.get("bgp", {}).pop("as_no", None)
    return body


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("assumed", ["either", "id", "number"])
def test_a_custom_identity_holds_the_account_in_the_forms_that_are_assumed(start, body, assumed, form):
    body["custom_remote_identities"] = {"fqdn_id": f"x.{FORMS[form]}.custom.ipsec.cloudflare.com"}
    reply = start(f"custom_fqdn_account={assumed}")("POST", "", body)
    assert reply.status == (200 if assumed in ("either", form) else 400)


@pytest.mark.parametrize(
    ("assumed", "asn", "status"),
    [("uint32", INT32 + 1, 200), ("uint32", 2**32 - 1, 200), ("int32", INT32, 200), ("int32", INT32 + 1, 400)],
)
def test_an_as_number_is_as_large_as_assumed(start, body, assumed, asn, status):
    assert start(f"customer_asn={assumed}")("POST", "", {**body, "bgp": {"customer_asn": asn}}).status == status


def test_no_seeded_as_number_leaves_the_schema(start):
    tunnels = start(tunnels=120).truth.values()
    numbers = {tunnel["bgp"]["customer_asn"] for tunnel in tunnels if tunnel.get("bgp")}
    assert max(numbers) > 65535
    assert max(numbers) <= INT32


def test_a_put_answers_the_tunnel_or_only_that_it_was_modified(start, ids, body):
    answered = start("put_answer=modified")("PUT", ids[0], body)
    assert answered.result == {"modified": True}


def test_the_answer_to_a_write_holds_the_identities_when_assumed(start, body):
    made = start("write_shows_identities=true")("POST", "", body).result
    assert made["remote_identities"]["fqdn_id"].startswith(made["id"])


@pytest.mark.parametrize(("assumed", "status"), [("true", 200), ("false", 400)])
def test_inside_networks_may_overlap_as_assumed(start, body, assumed, status):
    sim = start(f"inside_addresses_overlap={assumed}")
    sim("POST", "", {**body, "interface_address": "10.0.0.1/30"})
    assert sim("POST", "", {**body, "name": "other", "interface_address": "10.0.0.2/31"}).status == status


def test_a_tunnel_keeps_its_own_inside_network_when_none_may_overlap(start):
    sim = start("inside_addresses_overlap=false")
    tunnel_id = next(iter(sim.truth))
    assert sim("PUT", tunnel_id, full(sim, tunnel_id)).status == 200


@pytest.mark.parametrize("where", ["version", "as_no"])
def test_read_only_extras_are_shown_and_refused(start, where):
    sim = start("read_only_extras=true")
    tunnel_id = next(i for i, tunnel in sim.truth.items() if tunnel.get("bgp"))
    shown = sim("GET", tunnel_id, headers=NEW).result["ipsec_tunnel"]
    assert shown["bgp"]["as_no"] == shown["bgp"]["customer_asn"]
    body = full(sim, tunnel_id)
    if where == "version":
        body["version"] = shown["version"]
    else:
        body["bgp"]["as_no"] = shown["bgp"]["as_no"]
    assert sim("PUT", tunnel_id, body).pointers == ["/version" if where == "version" else "/bgp/as_no"]


def test_a_version_grows_with_each_update(start):
    sim = start("read_only_extras=true")
    tunnel_id, tunnel = next(iter(sim.truth.items()))
    sim("PUT", tunnel_id, full(sim, tunnel_id))
    assert sim.truth[tunnel_id]["version"] == tunnel["version"] + 1


@pytest.mark.parametrize(("assumed", "kept"), [("writable", False), ("refused", True), ("refused_and_reset", False)])
def test_a_put_without_the_unknown_fields_keeps_or_resets_them(start, assumed, kept):
    sim = start(f"unknown_fields={assumed}")
    tunnel_id, before = next(iter(sim.truth.items()))
    assert sim("PUT", tunnel_id, full(sim, tunnel_id)).status == 200
    after = sim.truth[tunnel_id]
    assert (after["traffic_class"] == before["traffic_class"] == "gold") is kept
    assert (after["health_check"]["probe_interval"] == before["health_check"]["probe_interval"] == 3) is kept


@pytest.mark.parametrize(("assumed", "taken"), [("writable", True), ("refused", False), ("refused_and_reset", False)])
@pytest.mark.parametrize("pointer", ["/traffic_class", "/health_check/probe_interval"])
def test_a_put_takes_or_refuses_an_unknown_field(start, assumed, taken, pointer):
    sim = start(f"unknown_fields={assumed}")
    tunnel_id = next(iter(sim.truth))
    more = {"traffic_class": "silver"} if pointer == "/traffic_class" else {"health_check": {"probe_interval": 4}}
    reply = sim("PUT", tunnel_id, {**full(sim, tunnel_id), **more})
    assert reply.status == (200 if taken else 400)
    if not taken:
        assert reply.pointers == [pointer]


def test_without_assumptions_no_tunnel_has_a_field_that_the_schema_does_not_know(sim):
    for tunnel in sim.truth.values():
        assert not {"version", "traffic_class"} & set(tunnel)
        assert "probe_interval" not in tunnel["health_check"]
