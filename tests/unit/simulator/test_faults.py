# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of fault, and how faults are armed."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import ClientError, ClientPayloadError

from .conftest import TUNNELS

SECRET = "correct-horse-battery-staple"


def rotate(sim, ids, **options):
    return sim("POST", "psk", {"psks": [{"id": i, "psk": SECRET} for i in ids]}, **options)


def applied(sim, tunnel_id):
    return sim.truth[tunnel_id]["psk"] == SECRET


@pytest.mark.parametrize(("when", "expected"), [("before", False), ("after", True)])
class TestBeforeAndAfter:
    """Faults that hit on either side of the change."""

    def test_a_status(self, sim, ids, when, expected):
        sim.fault(route="psk_set", status=503, when=when)
        reply = rotate(sim, ids[:1])
        assert (reply.status, reply.json["success"]) == (503, False)
        assert applied(sim, ids[0]) is expected
        assert (sim.journal[-1]["changed"], sim.journal[-1]["fault"]) == (expected, "status")

    def test_an_html_page(self, sim, ids, when, expected):
        sim.fault(route="psk_set", html=True, status=520, when=when)
        reply = rotate(sim, ids[:1])
        assert (reply.status, reply.headers["Content-Type"]) == (520, "text/html")
        assert reply.text.startswith("<!DOCTYPE html>")
        assert applied(sim, ids[0]) is expected

    def test_success_false(self, sim, ids, when, expected):
        sim.fault(route="psk_set", success_false=True, when=when)
        reply = rotate(sim, ids[:1])
        assert (reply.status, reply.json["success"]) == (200, False)
        assert applied(sim, ids[0]) is expected

    def test_a_dropped_connection(self, sim, ids, when, expected):
        sim.fault(route="psk_set", drop=True, when=when)
        with pytest.raises(ClientError):
            rotate(sim, ids[:1])
        assert applied(sim, ids[0]) is expected
        assert sim.journal[-1]["status"] is None

    def test_a_delay(self, sim, ids, when, expected):
        sim.fault(route="psk_set", delay=0.01, when=when)
        assert rotate(sim, ids[:1]).status == 200
        assert applied(sim, ids[0])
        assert [e["event"] for e in sim.journal] == (["settled"] if expected else ["held", "settled"])

    def test_a_hang_until_released(self, sim, ids, when, expected):
        sim.fault(route="psk_set", hang=True, when=when)

        async def scenario():
            body = {"psks": [{"id": ids[0], "psk": SECRET}]}
            hanging = asyncio.create_task(sim.ask("POST", "psk", body))
            await sim.ask("GET", "/_sim/journal?since=0&wait=5")
            seen = sim.simulator.store.tunnels[ids[0]].psk == SECRET
            await sim.ask("POST", "/_sim/release")
            return seen, await hanging

        seen, reply = sim.run(scenario())
        assert seen is expected
        assert reply.status == 200
        assert applied(sim, ids[0])

    def test_a_hang_whose_client_goes_away(self, sim, ids, when, expected):
        sim.fault(route="psk_set", hang=True, when=when)

        async def scenario():
            body = {"psks": [{"id": ids[0], "psk": SECRET}]}
            hanging = asyncio.create_task(sim.ask("POST", "psk", body))
            seen = json.loads((await sim.ask("GET", "/_sim/journal?since=0&wait=5")).text)["last"]
            hanging.cancel()
            if not expected:
                await sim.ask("GET", f"/_sim/journal?since={seen}&wait=5")

        sim.run(scenario())
        assert applied(sim, ids[0]) is expected

    def test_omitted_ids(self, sim, ids, when, expected):
        sim.fault(route="psk_set", omit=[ids[0]], when=when)
        result = rotate(sim, ids[:2]).result
        assert list(result["successfully_applied_psks"]) == [ids[1]]
        assert result["unapplied_psks"] == {}
        assert applied(sim, ids[0]) is expected

    def test_modified_false(self, sim, ids, body, when, expected):
        sim.fault(route="update", modified_false=True, when=when)
        assert sim("PUT", ids[0], body).result["modified"] is False
        assert (sim.truth[ids[0]]["name"] == body["name"]) is expected


def test_a_late_request_is_carried_out_although_its_client_has_gone_away(sim, ids):
    sim.fault(route="psk_set", hang="late")

    async def scenario():
        hanging = asyncio.create_task(sim.ask("POST", "psk", {"psks": [{"id": ids[0], "psk": SECRET}]}))
        seen = json.loads((await sim.ask("GET", "/_sim/journal?since=0&wait=5")).text)["last"]
        hanging.cancel()
        await sim.ask("POST", "/_sim/release")
        await sim.ask("GET", f"/_sim/journal?since={seen}&wait=5")

    sim.run(scenario())
    assert applied(sim, ids[0])


def test_a_reset_in_the_middle_of_the_body_comes_after_the_change(sim, ids):
    sim.fault(route="psk_set", reset_mid_body=True)
    with pytest.raises(ClientError):
        rotate(sim, ids[:1])
    assert applied(sim, ids[0])


def test_a_body_shorter_than_announced(sim):
    sim.fault(route="list", truncate="announced")
    with pytest.raises(ClientPayloadError):
        sim("GET")


def test_half_of_the_json_in_a_complete_answer(sim):
    sim.fault(route="list", truncate="closed")
    with pytest.raises(json.JSONDecodeError):
        assert sim("GET").json


def test_a_429_has_retry_after_only_when_the_fault_says_so(sim):
    sim.fault(status=429)
    sim.fault(status=429, headers={"Retry-After": "7"})
    first, second = sim("GET"), sim("GET")
    assert (first.codes, "Retry-After" in first.headers) == ([971], False)
    assert second.headers["Retry-After"] == "7"


def test_code_and_message_can_be_chosen(sim):
    sim.fault(status=403, code=10001, message="no")
    assert sim("GET").json["errors"] == [{"code": 10001, "message": "no"}]


@pytest.mark.parametrize(("choice", "number"), [("all", 4), (1, 1), (0.5, 2)])
def test_a_part_of_the_psks_stays_unapplied(sim, ids, choice, number):
    sim.fault(route="psk_set", unapplied=choice)
    result = rotate(sim, ids[:4]).result
    assert len(result["unapplied_psks"]) == number
    assert len(result["successfully_applied_psks"]) == 4 - number
    assert {i for i in ids[:4] if applied(sim, i)} == set(result["successfully_applied_psks"])


def test_named_psks_stay_unapplied(sim, ids):
    sim.fault(route="psk_set", unapplied=[ids[1]])
    assert list(rotate(sim, ids[:3]).result["unapplied_psks"]) == [ids[1]]


def test_another_psk_is_echoed_than_the_one_applied(sim, ids):
    sim.fault(route="psk_set", echo_other_psk=True)
    assert rotate(sim, ids[:1]).result["successfully_applied_psks"][ids[0]]["psk"] != SECRET
    assert applied(sim, ids[0])


@pytest.mark.parametrize("metadata", ["missing", "unchanged", "backwards", "skew:-600"])
def test_last_generated_on_misleads(sim, metadata):
    tunnel_id, old = next((i, t["psk_metadata"]) for i, t in sim.truth.items() if t["psk"])
    sim.fault(route="psk_set", metadata=metadata)
    new = rotate(sim, [tunnel_id]).result["successfully_applied_psks"][tunnel_id]["psk_metadata"]
    assert sim("GET", tunnel_id).result["ipsec_tunnel"]["psk_metadata"] == new
    if metadata == "missing":
        assert new == {}
    elif metadata == "unchanged":
        assert new == old
    elif metadata == "backwards":
        assert new["last_generated_on"] < old["last_generated_on"]
    else:
        assert new["last_generated_on"] < sim.truth[tunnel_id]["modified_on"]


def test_a_read_leaves_psk_metadata_out(sim, ids):
    sim.fault(route="list", metadata="absent")
    assert not any("psk_metadata" in x for x in sim("GET").result["ipsec_tunnels"])
    assert all("psk_metadata" in x for x in sim("GET").result["ipsec_tunnels"])


def test_reads_are_stale_for_a_while_after_a_write(sim, ids):
    old = sim("GET", ids[0]).result
    sim.fault(route="psk_set", stale_reads=2)
    rotate(sim, ids[:1])
    assert sim("GET", ids[0]).result == old
    assert sim("GET").result["ipsec_tunnels"][0] == old["ipsec_tunnel"]
    assert sim("GET", ids[0]).result != old


def test_stale_reads_still_show_a_deleted_tunnel(sim, ids):
    sim.fault(route="delete", stale_reads=1)
    sim("DELETE", ids[0])
    assert [sim("GET", ids[0]).status for _ in range(2)] == [200, 404]


def test_the_list_is_empty(sim):
    sim.fault(empty_list=True)
    assert sim("GET").result == {"ipsec_tunnels": []}


def test_two_tunnels_have_one_name(sim):
    sim.fault(duplicate_names=True)
    shown = sim("GET").result["ipsec_tunnels"]
    assert shown[0]["name"] == shown[1]["name"]
    assert shown[0]["id"] != shown[1]["id"]


def test_one_id_is_listed_twice(sim):
    sim.fault(duplicate_ids=True)
    shown = [tunnel["id"] for tunnel in sim("GET").result["ipsec_tunnels"]]
    assert len(shown) == len(set(shown)) + 1


def test_a_redirect_changes_nothing(sim, ids):
    sim.fault(route="psk_set", redirect="http://elsewhere.example/")
    reply = rotate(sim, ids[:1])
    assert (reply.status, reply.headers["Location"]) == (307, "http://elsewhere.example/")
    assert not applied(sim, ids[0])


def test_skip_and_count_say_which_requests_are_hit(sim):
    sim.fault(route="list", status=500, skip=1, count=2)
    assert [sim("GET").status for _ in range(4)] == [200, 500, 500, 200]


@pytest.mark.parametrize("count", [0, None])
def test_a_count_of_nothing_means_for_ever(sim, count):
    sim.fault(route="list", status=500, count=count)
    assert {sim("GET").status for _ in range(5)} == {500}


def test_the_first_fault_in_order_wins(sim):
    sim("POST", "/_sim/faults", [{"status": 500}, {"status": 502}])
    assert [sim("GET").status for _ in range(3)] == [500, 502, 200]


def test_a_fault_may_mean_validation_only(sim, ids):
    sim.fault(route="psk_set", status=500, validate_only=True)
    assert rotate(sim, ids[:1]).status == 200
    assert rotate(sim, ids[:1], params={"validate_only": "true"}).status == 500


def test_a_fault_may_mean_one_tunnel(sim, ids):
    sim.fault(status=500, tunnel=ids[1])
    assert rotate(sim, ids[:1]).status == 200
    assert rotate(sim, ids[:2]).status == 500


def test_faults_can_be_shown_and_cleared(sim):
    sim.fault(route="list", status=500)
    shown = sim("GET", "/_sim/faults").json
    assert [(f["kind"], f["route"], f["hits"]) for f in shown] == [("status", "list", 0)]
    sim("DELETE", "/_sim/faults")
    assert sim("GET").status == 200


@pytest.mark.parametrize(
    "fault",
    [{}, {"status": 500, "drop": True}, {"status": 200}, {"colour": "red"}, {"route": "list", "unapplied": "all"}],
)
def test_a_fault_that_makes_no_sense_is_refused(sim, fault):
    assert sim("POST", "/_sim/faults", fault).status == 400


def test_requests_that_are_refused_before_the_route_use_up_no_fault(sim):
    sim.fault(status=500)
    assert sim("GET", TUNNELS, headers={"Authorization": "Bearer wrong"}).status == 401
    assert sim("GET").status == 500
