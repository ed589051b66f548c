# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How OPNsense's answers are judged; they have the form of public ones, with other names and addresses in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _device_judgement as judgement
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_on_opnsense import uuids
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import (
    Tunnel,
    Unreadable,
    load,
    problem_of,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_proof import Evidence, read, verdict

Answer = Mapping[str, Any]
OPNSENSE = load("opnsense")
ENDPOINT = "203.0.113.1"
IDENTITY = "fedcba9876543210fedcba9876543210.33145236.ipsec.cloudflare.com"
CONNECTION, KEY = "7c1d2a9e-5b1f-4c63-9b0e-2f6a8f0f9c11", "0b1c2d3e-1111-4222-8333-444455556666"
TUNNEL = Tunnel(
    id="fedcba9876543210fedcba9876543210",
    name="site-a",
    status="applied",
    psk="the-psk",
    names={"object": "to Cloudflare (a)"},
    number=1234,
    ike_id_type="fqdn",
    ike_id=IDENTITY,
    endpoint=ENDPOINT,
)
FORBIDDEN = {"status": 403, "msg": "Status code was 403 and not [200]", "json": {"status": 403, "message": "Forbidden"}}


def rows(*found: Mapping[str, Any]) -> dict[str, Any]:
    body = {"total": len(found), "rowCount": len(found), "current": 1, "rows": list(found)}
    return {"status": 200, "changed": False, "msg": "OK (unknown bytes)", "json": body}


def session(**changes: Any) -> dict[str, Any]:
    return {
        "local-addrs": "192.0.2.10",
        "remote-addrs": ENDPOINT,
        "local-id": IDENTITY,
        "remote-id": ENDPOINT,
        "version": "IKEv2",
        "routed": True,
        "local-class": "pre-shared key",
        "remote-class": "pre-shared key",
        "ikeid": CONNECTION,
        "phase1desc": "to Cloudflare (a)",
        "name": CONNECTION,
        "connected": True,
        "install-time": "2711",
        "bytes-in": 51840,
        "bytes-out": 67200,
        "packets-in": 480,
        "packets-out": 640,
        **changes,
    }


OTHER = session(**{"phase1desc": "to Cloudflare (b)", "name": CONNECTION.replace("7c", "8d"), "install-time": "3"})
DOWN = session(connected=False, **{"install-time": None})


def key(**changes: Any) -> dict[str, Any]:
    return {
        "uuid": KEY,
        "ident": IDENTITY,
        "remote_ident": ENDPOINT,
        "keyType": "PSK",
        "Key": "the-psk",
        "description": "",
        **changes,
    }


def vip(status: str) -> dict[str, Any]:
    return {"interface": "WAN", "vhid": "3", "subnet": "192.0.2.10", "mode": "carp", "status": status}


def looked(entry: str = "psk", written: Sequence[Answer] | None = None, **changes: Any) -> dict[str, Any]:
    """What stands against it; `changes` replace the answers to single reads."""
    found = {
        "keys": rows(key()),
        "sessions": rows(session(), OTHER),
        "addresses": rows(),
        "interfaces": rows(),
        **changes,
    }
    results = [{**answer, "__customer_device_item": {"id": name}} for name, answer in found.items() if answer]
    answers: list[Answer] = [{"results": results}]
    if written is not None:
        answers.append({"results": written})
    return judgement.look(OPNSENSE, entry, [TUNNEL], answers)


def test_connection_and_key_are_found_by_what_the_device_calls_them() -> None:
    found = looked()
    assert found["problem"] == ""
    assert found["handles"] == {TUNNEL.id: {"connection": CONNECTION, "preSharedKey": KEY}}
    assert [x["comparison"] for x in found["keys"]] == ["match"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sessions": rows(OTHER)}, "no connection with the description to Cloudflare (a)"),
        ({"sessions": rows(session(), session())}, "2 connections"),
        ({"sessions": rows(session(name="con1"))}, "legacy tunnel settings"),
        ({"sessions": rows(session(**{"remote-addrs": "203.0.113.7"}))}, f"does not go to {ENDPOINT}"),
        ({"sessions": rows(session(version="IKEv1"))}, "is not IKEv2"),
        ({"sessions": rows(session(**{"local-class": "public key"}))}, "does not authenticate both ends"),
        ({"sessions": rows(session(**{"remote-class": "any"}))}, "does not authenticate both ends"),
        ({"sessions": rows(session(**{"local-id": "other.example"}))}, "does not present the identity"),
        ({"sessions": FORBIDDEN}, "its IPsec sessions cannot be read: Forbidden (HTTP 403)"),
        ({"keys": FORBIDDEN}, "its pre-shared keys cannot be read: Forbidden (HTTP 403)"),
        ({"keys": rows()}, "no pre-shared key for the identity"),
        ({"keys": rows(key(keyType="EAP"))}, "no pre-shared key for the identity"),
        ({"keys": rows(key(remote_ident="198.51.100.7"))}, "no pre-shared key for the identity"),
        ({"keys": rows(key(), key(uuid=CONNECTION, remote_ident=""))}, "2 pre-shared keys for the identity"),
        ({"keys": rows(key(), key(uuid=CONNECTION, ident=ENDPOINT, remote_ident=IDENTITY))}, "2 pre-shared keys"),
        ({"addresses": rows(vip("BACKUP"))}, "the passive member of its cluster: 192.0.2.10 is BACKUP"),
        (
            {"addresses": rows(vip("BACKUP"), {**vip("MASTER"), "subnet": "198.51.100.9"})},
            "the passive member of its cluster: 192.0.2.10 is BACKUP",
        ),
        ({"addresses": FORBIDDEN}, "whether this is the active member of a cluster"),
        ({"sessions": {"status": 200, "json": {"rows": None}}}, "do not have the expected form"),
        ({"sessions": {"status": 200, "json": "<html>"}}, "cannot be read: its answer is not a JSON object"),
    ],
)
def test_what_stands_against_it_is_said(changes: dict[str, Answer], words: str) -> None:
    assert words in looked(**changes)["problem"]


def test_the_active_member_is_changed() -> None:
    assert looked(addresses=rows(vip("MASTER")))["problem"] == ""


def test_a_comparison_asks_for_no_addresses() -> None:
    assert looked("compare", addresses=None)["problem"] == ""


@pytest.mark.parametrize(
    ("shown", "psk", "comparison"),
    [("the-psk", "the-psk", "match"), ("another", "the-psk", "mismatch"), ("", "the-psk", "not shown")],
)
def test_how_keys_compare(shown: str, psk: str, comparison: str) -> None:
    assert psk == TUNNEL.psk
    assert looked("compare", keys=rows(key(Key=shown)))["keys"][0]["comparison"] == comparison


def test_a_refused_write_is_seen_before_cloudflare_is_touched() -> None:
    words = "User ansible denied for write access (user-config-readonly set)"
    refused = {"status": 500, "msg": "Status code was 500", "json": {"errorMessage": words}}
    assert looked("reach", [refused])["problem"] == f"the configuration cannot be changed: {words} (HTTP 500)"


def test_a_refusal_with_status_200_is_one() -> None:
    answer = {
        "status": 200,
        "json": {"result": "failed", "validations": {"preSharedKey.Key": "Text does not validate."}},
    }
    assert problem_of(answer) == "preSharedKey.Key: Text does not validate."
    assert problem_of({"status": 200, "json": {"result": "failed"}}) == "the device gave no reason"
    assert problem_of({"status": 200, "json": {"result": "saved"}, "msg": "OK (18 bytes)"}) == ""


@pytest.mark.parametrize("body", [{}, {"json": None}, {"json": "<html>"}, {"json": {}}])
def test_a_page_in_place_of_an_answer_is_no_success(body: Answer) -> None:
    assert "not a JSON object" in problem_of({"status": 200, "msg": "OK (unknown bytes)", **body})


@pytest.mark.parametrize("suppressed", [{"failed": False}, {"failed": True}])
def test_a_device_that_does_not_answer_is_a_problem_on_every_core(suppressed: Answer) -> None:
    assert problem_of({"status": -1, "msg": "Request failed: refused", **suppressed}) == "Request failed: refused"


def test_parts_that_the_role_makes_have_uuids_of_version_4_that_differ() -> None:
    made = list(uuids(TUNNEL.id).values())
    assert len(set(made)) == 6
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", x) for x in made)


def test_two_tunnels_have_no_uuid_in_common() -> None:
    other = uuids("0123456789abcdef0123456789abcdef")
    assert not set(uuids(TUNNEL.id).values()) & set(other.values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "a connection to Cloudflare (a) exists that this role did not create"),
        ({"sessions": rows()}, "a pre-shared key for"),
        (
            {"sessions": rows(), "keys": rows(), "interfaces": rows({"uuid": KEY, "reqid": "1234"})},
            "ipsec1234 exists and does not belong to this tunnel",
        ),
    ],
)
def test_the_whole_tunnel_overwrites_nothing_of_others(changes: dict[str, Answer], words: str) -> None:
    assert words in looked("main", **changes)["problem"]


def test_the_whole_tunnel_is_written_again_over_the_roles_own_parts() -> None:
    own = uuids(TUNNEL.id)
    mine = {
        "sessions": rows(session(name=own["connection"])),
        "keys": rows(key(uuid=own["preSharedKey"])),
        "interfaces": rows({"uuid": own["vti"], "reqid": "1234"}),
    }
    found = looked("main", **mine)
    assert (found["problem"], found["handles"]) == ("", {TUNNEL.id: own})


def test_anti_replay_that_has_to_be_off_is_refused_with_what_to_do() -> None:
    assert "replay_window = 0" in OPNSENSE.limits({"anti_replay": False}, {})[0]
    assert not OPNSENSE.limits({"anti_replay": True}, {})


def test_the_table_shows_the_connections_own_sa() -> None:
    found = read(OPNSENSE, rows(OTHER, session()), TUNNEL)
    assert [(x.age, x.up, x.handle) for x in found] == [(2711, True, CONNECTION)]


def test_an_sa_without_child_is_not_up() -> None:
    assert [x.up for x in read(OPNSENSE, rows(session(**{"install-time": None})), TUNNEL)] == [False]


@pytest.mark.parametrize("answer", [rows(OTHER), rows(), rows(session(), session()), FORBIDDEN])
def test_a_connection_that_is_not_listed_is_not_taken_for_one_without_sa(answer: Answer) -> None:
    with pytest.raises(Unreadable):
        read(OPNSENSE, answer, TUNNEL)


def judged(before: Answer, between: Answer | None, after: Answer, **changes: Any) -> tuple[str, str]:
    """The verdict when the clear was accepted 5 s ago."""
    said = {"status": 200, "json": {"result": "ok"}, "changed": True}
    cleared = changes.pop("cleared", {TUNNEL.id: [said]})
    values = {"started": 1000.0, "read_before": 1000.0, "asked": 1003.0, "now": 1005.0, **changes}
    evidence = Evidence(before=before, cleared=cleared, between=between, after=after, **values)
    found = verdict(OPNSENSE, TUNNEL, evidence, 60)
    return found.status, found.reason


UP, NEW = rows(session(), OTHER), rows(session(**{"install-time": "2"}), OTHER)
GONE = rows(DOWN, OTHER)


def test_an_sa_after_a_look_without_one_is_a_proof() -> None:
    assert judged(UP, GONE, NEW) == ("confirmed", "")


def test_an_sa_is_a_proof_where_there_was_none_before() -> None:
    assert judged(GONE, None, NEW, cleared={}) == ("confirmed", "")


def test_a_half_open_attempt_before_does_not_stand_in_the_way() -> None:
    assert judged(rows(session(**{"install-time": None})), GONE, NEW) == ("confirmed", "")


def test_a_young_child_of_the_old_sa_is_none() -> None:
    """As a rekeyed one is."""
    assert judged(UP, UP, NEW) == ("failed", "the device did not clear its SA: it still has one")


@pytest.mark.parametrize("between", [None, {}, {"skipped": True}, FORBIDDEN, rows(), rows(OTHER)])
def test_without_a_look_in_between_there_is_no_proof(between: Answer | None) -> None:
    assert judged(UP, between, NEW)[1].startswith("the device did not clear its SA: its SAs could not")


@pytest.mark.parametrize("after", [GONE, rows(session(**{"install-time": None}), OTHER), UP])
def test_what_is_not_up_and_young_is_none(after: Answer) -> None:
    assert judged(UP, GONE, after)[0] == "failed"


@pytest.mark.parametrize("answer", [{"skipped": True}, {}, FORBIDDEN])
def test_a_refused_clear_is_no_proof(answer: Answer) -> None:
    status, reason = judged(UP, GONE, NEW, cleared={TUNNEL.id: [answer]})
    assert (status, reason.split(":")[0]) == ("failed", "the device did not clear its SA")


def test_an_sa_that_nobody_cleared_is_no_proof() -> None:
    assert judged(UP, GONE, NEW, cleared={}) == ("failed", "its SA was not cleared")


def test_a_device_that_can_not_be_read_before_gives_no_proof() -> None:
    assert judged(FORBIDDEN, GONE, NEW)[0] == "failed"


def test_no_sa_needs_to_grow_older() -> None:
    assert judgement.pause(OPNSENSE, [TUNNEL], NEW) == 0


def answered(**said: Any) -> dict[str, Any]:
    """The judgement's whole answer, one tunnel having been written."""
    planned = {
        "id": TUNNEL.id, "name": TUNNEL.name, "status": "applied", "psk": TUNNEL.psk, "names": TUNNEL.names,
        "number": 1234, "ike_id_type": "fqdn", "ike_id": IDENTITY, "cloudflare_endpoint": ENDPOINT,
        "wan_interface": "", "unproven": True,
    }  # fmt: skip
    saved = {"status": 200, "json": {"result": "saved"}, "changed": True, "__customer_device_tunnel": {"id": TUNNEL.id}}
    whole = {"written": [{"results": [saved]}], "reauthenticate": "auto", "started": 1000, "now": 1005, "timeout": 60}
    return judgement.answer([planned], "opnsense", "psk", {**whole, **said})


def test_it_is_looked_for_a_gap_until_there_is_one() -> None:
    assert [answered(before=UP, between=x)["gone"] for x in (UP, FORBIDDEN, GONE)] == [False, False, True]
    assert answered(before=UP, between=UP, now=1060)["gone"]


def test_only_what_is_gone_is_told_to_connect() -> None:
    assert [answered(before=UP, between=x)["left"] for x in (UP, GONE)] == [[TUNNEL.id], []]


def test_the_first_refused_part_of_a_tunnel_counts() -> None:
    """A later part that was taken does not hide it."""
    item = {"__customer_device_tunnel": {"id": TUNNEL.id}}
    refused = {
        "status": 200,
        "json": {"result": "failed", "validations": {"child.mode": "Option not in list."}},
        **item,
    }
    saved = {"status": 200, "json": {"result": "saved"}, "changed": True, **item}
    found = answered(written=[{"results": [refused, saved]}])
    assert found["targets"] == []
    assert found["failed"] == {TUNNEL.id: "the device refused the configuration: child.mode: Option not in list."}
