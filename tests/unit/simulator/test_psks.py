# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""POST /psk and psk_generate."""

from __future__ import annotations

import pytest

SECRET = "correct-horse-battery-staple"


def entries(ids, secret=SECRET):
    return {"psks": [{"id": tunnel_id, "psk": secret} for tunnel_id in ids]}


def test_applied_psks_are_echoed_with_their_time_by_tunnel_id(sim, ids):
    old = sim.truth[ids[0]]["psk_metadata"].get("last_generated_on", "")
    result = sim("POST", "psk", entries(ids[:2])).result
    assert list(result["successfully_applied_psks"]) == ids[:2]
    applied = result["successfully_applied_psks"][ids[0]]
    assert (applied["psk"], applied["ipsec_tunnel_id"]) == (SECRET, ids[0])
    assert applied["ipsec_id"].endswith(f"_{ids[0]}")
    assert applied["psk_metadata"]["last_generated_on"] > old
    assert sim.truth[ids[0]]["psk"] == SECRET


def test_an_unknown_id_is_unapplied_and_the_others_are_applied(sim, ids):
    result = sim("POST", "psk", entries([ids[0], "f" * 32])).result
    assert list(result["successfully_applied_psks"]) == ids[:1]
    assert result["unapplied_psks"] == {"f" * 32: "tunnel not found"}


@pytest.mark.parametrize("bad", [{"id": "x"}, {"id": 1, "psk": "a"}, {"id": "x", "psk": "a", "y": 1}, {"id": "x" * 33}])
def test_one_malformed_entry_refuses_the_whole_request(sim, ids, bad):
    reply = sim("POST", "psk", {"psks": [*entries(ids[:1])["psks"], bad]})
    assert reply.status == 400
    assert all(pointer.startswith("/psks/1") for pointer in reply.pointers)
    assert sim.truth[ids[0]]["psk"] != SECRET


def test_a_null_psk_is_refused_and_pointed_at(sim, ids):
    assert sim("POST", "psk", entries(ids[:1], None)).pointers == ["/psks/0/psk"]


def test_a_tunnel_named_twice_is_refused_unless_assumed_otherwise(start):
    sim = start()
    first = next(iter(sim.truth))
    assert sim("POST", "psk", entries([first, first])).pointers == ["/psks/1/id"]
    assert start("duplicate_psk_ids=last")("POST", "psk", entries([first, first])).status == 200


def test_limits_of_psks_can_be_assumed(start):
    sim = start("max_psks=1", "psk_min_length=8", "psk_max_length=64", "psk_charset=alphanumeric")
    one, two = list(sim.truth)[:2]
    assert sim("POST", "psk", entries([one, two])).pointers == ["/psks"]
    for secret in ("short", "x" * 65, "not-alphanumeric"):
        assert sim("POST", "psk", entries([one], secret)).pointers == ["/psks/0/psk"]
    assert sim("POST", "psk", entries([one], "longenough1")).status == 200


def test_no_refusal_and_no_journal_entry_holds_the_psk(start):
    sim = start("psk_max_length=8")
    one = next(iter(sim.truth))
    refusals = [
        sim("POST", "psk", entries([one])),
        sim("POST", "psk", {"psks": SECRET}),
        sim("POST", "psk", {"psks": [SECRET]}),
        sim("PUT", one, {"psk": [SECRET]}),
        sim("PUT", one, SECRET),
    ]
    assert [reply.status for reply in refusals] == [400] * 5
    assert SECRET not in "".join(reply.text for reply in refusals) + str(sim.journal)


def test_validate_only_sets_no_psk(sim, ids):
    before = sim.truth
    result = sim.dry("POST", "psk", entries([*ids[:2], "nope"])).result
    assert list(result["successfully_applied_psks"]) == ids[:2]
    assert list(result["unapplied_psks"]) == ["nope"]
    assert sim.truth == before


def test_psk_generate_answers_the_new_key_once(sim, ids):
    result = sim("POST", f"{ids[0]}/psk_generate").result
    assert sim.truth[ids[0]]["psk"] == result["psk"]
    assert result["ipsec_tunnel_id"] == ids[0]
    assert result["psk_metadata"] == sim.truth[ids[0]]["psk_metadata"]


def test_the_journal_counts_generations_instead_of_naming_keys(sim, ids):
    generation = sim.truth[ids[0]]["psk_generation"]
    sim("POST", "psk", entries(ids[:1]))
    entry = sim.journal[-1]
    assert entry["psk_generation"] == {ids[0]: generation + 1}
    assert (entry["operation"], entry["changed"], entry["tunnels"]) == ("psk_set", True, ids[:1])


def test_times_strictly_increase(sim, ids):
    sim("POST", "psk", entries(ids))
    times = [tunnel["psk_metadata"]["last_generated_on"] for tunnel in sim.truth.values()]
    assert times == sorted(set(times))
    assert all(len(time) == len("2026-11-22T00:00:00.123456789Z") for time in times)
