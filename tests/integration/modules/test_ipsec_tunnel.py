# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ipsec_tunnel in playbooks: a tunnel's whole life, and what it must leave alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.modules.conftest import Task, Tell, Told, may_fail, task, whole_tunnel

FIRST, SECOND = "FirstKeyOfTheUser0123456789", "SecondKeyOfTheUser0123456789"
STRANGE = 'A "key" that some device mangles'
WANTED = whole_tunnel("A new tunnel", "new")
UPDATE = {"name": WANTED["name"], "description": "changed", "health_check": {"rate": "high", "target": "192.0.2.9"}}


def tunnel(name: str, check: bool = False, /, **options: Any) -> Task:
    return task(name, "ipsec_tunnel", check, **options)


@pytest.fixture(scope="module")
def life(tell: Tell) -> Told:
    """Create, update, rename, delete, each checked first and repeated afterwards, in diff mode."""
    by_id = {"id": "{{ made.ipsec_tunnel.id }}"}
    return tell(
        [
            tunnel("check create", True, **WANTED, psk=FIRST),
            {**tunnel("create", **WANTED, psk=FIRST), "register": "made"},
            tunnel("create again", **WANTED, psk=SECOND),
            tunnel("check update", True, **UPDATE),
            tunnel("update", **UPDATE),
            tunnel("update again", **UPDATE),
            tunnel("check rename", True, **by_id, name="Another name"),
            tunnel("rename", **by_id, name="Another name"),
            tunnel("rename again", **by_id, name="Another name"),
            tunnel("check new psk", True, **by_id, psk=SECOND, update_psk="always"),
            tunnel("new psk", **by_id, psk=SECOND, update_psk="always"),
            {**task("read", "ipsec_tunnel_info", tunnels=["Another name"])},
            tunnel("check delete", True, name="Another name", state="absent"),
            tunnel("delete", name="Another name", state="absent"),
            tunnel("delete again", name="Another name", state="absent"),
        ],
        secrets=[FIRST, SECOND],
        diff=True,
        verbosity=3,
    )


def test_the_whole_life_succeeds(life: Told) -> None:
    life.result.ok()


def test_each_change_is_validated_by_the_check_run_and_written_once(life: Told) -> None:
    assert life.asked == [
        *("create?", "create"),
        *("update?", "update"),
        *("update?", "update"),
        *("update?", "update"),
        *("delete?", "delete"),
    ]
    assert life.writes == 5


@pytest.mark.parametrize("action", ["create", "update", "rename", "delete"])
def test_the_check_run_foretells_the_change(life: Told, action: str) -> None:
    assert life.of(f"check {action}")["changed"] is life.of(action)["changed"] is True
    assert life.of(f"check {action}")["action"] == life.of(action)["action"]


@pytest.mark.parametrize("action", ["create", "update", "rename", "delete"])
def test_a_second_run_changes_nothing(life: Told, action: str) -> None:
    again = life.of(f"{action} again")
    assert (again["changed"], again["action"]) == (False, "none")


@pytest.mark.parametrize("action", ["create", "update", "rename", "new psk", "delete"])
def test_a_check_run_has_the_keys_of_a_real_one(life: Told, action: str) -> None:
    checked, done = life.of(f"check {action}"), life.of(action)
    assert set(checked) == set(done)
    assert set(checked["ipsec_tunnel"] or ()) == set(done["ipsec_tunnel"] or ())


def test_the_second_run_has_the_keys_of_the_first(life: Told) -> None:
    assert set(life.of("create again")) == set(life.of("create"))
    assert set(life.of("create again")["ipsec_tunnel"]) == set(life.of("create")["ipsec_tunnel"])


def test_the_id_of_a_tunnel_that_would_be_created_is_null(life: Told) -> None:
    assert life.of("check create")["ipsec_tunnel"]["id"] is None
    assert life.of("create")["ipsec_tunnel"]["id"]


def test_the_created_tunnel_is_as_wanted(life: Told) -> None:
    made = life.of("create")["ipsec_tunnel"]
    for key, value in WANTED.items():
        if isinstance(value, dict):
            assert {k: made[key][k] for k in value} == value
        else:
            assert made[key] == value


def test_the_check_run_foretells_the_writable_part(life: Told) -> None:
    for action in ("create", "update", "rename"):
        checked, done = (life.of(name)["diff"]["after"] for name in (f"check {action}", action))
        assert checked == done


def test_an_update_keeps_what_it_does_not_manage(life: Told) -> None:
    before, after = life.of("create")["ipsec_tunnel"], life.of("update")["ipsec_tunnel"]
    assert (after["description"], after["health_check"]["rate"]) == ("changed", "high")
    assert after["health_check"]["target"]["saved"] == "192.0.2.9"
    for key in ("bgp", "customer_endpoint", "interface_address6", "replay_protection", "custom_remote_identities"):
        assert after[key] == before[key]


def test_a_rename_keeps_the_id_and_everything_else(life: Told) -> None:
    before, after = life.of("update")["ipsec_tunnel"], life.of("rename")["ipsec_tunnel"]
    assert after["name"] == "Another name"
    assert {k: v for k, v in after.items() if k not in ("name", "modified_on")} == {
        k: v for k, v in before.items() if k not in ("name", "modified_on")
    }


def test_a_psk_is_sent_again_only_when_it_is_asked_for(life: Told) -> None:
    times = [
        life.of(name)["ipsec_tunnel"]["psk_metadata"]["last_generated_on"]
        for name in ("create", "create again", "update", "rename", "new psk")
    ]
    assert times[0] == times[1] == times[2] == times[3] != times[4]
    assert life.of("new psk")["changed"] is True


def test_the_diff_of_an_update_shows_what_changes_and_no_psk(life: Told) -> None:
    shown = life.of("update")["diff"]
    changed = {key for key in shown["after"] if shown["before"].get(key) != shown["after"][key]}
    assert changed == {"description", "health_check"}
    assert "psk" not in shown["after"]


def test_the_diff_of_a_creation_and_a_deletion_has_an_empty_side(life: Told) -> None:
    assert life.of("create")["diff"]["before"] == {}
    assert life.of("delete")["diff"]["after"] == {}


def test_a_deleted_tunnel_is_null_in_the_result_and_gone_from_the_account(life: Told) -> None:
    assert life.of("delete")["ipsec_tunnel"] is None
    assert life.before == life.after


def test_the_action_group_covers_the_module(tell: Tell) -> None:
    told = tell(
        [task("read", "ipsec_tunnel_info")],
        play={"module_defaults": {"group/magicwan.cloudflare.all": {"account_id": "0123456789abcdef"}}},
    )
    assert told.of("read")["failure"]["code"] == 7003


@pytest.fixture(scope="module")
def merged(tell: Tell) -> Told:
    """Another description for a tunnel with everything."""
    return tell(
        lambda tunnels: [
            tunnel("update", id=x["id"], description="changed") for x in tunnels if x.get("bgp") and x["psk"]
        ][:1]
    )


def test_an_unmanaged_part_is_the_same_at_the_api_after_an_update(merged: Told) -> None:
    (changed,) = [key for key in merged.after if merged.after[key] != merged.before[key]]
    before, after = merged.before[changed], merged.after[changed]
    assert {key for key in after if after[key] != before[key]} == {"description", "modified_on"}


def test_the_psk_is_the_same_after_an_update(merged: Told) -> None:
    assert {k: x["psk"] for k, x in merged.after.items()} == {k: x["psk"] for k, x in merged.before.items()}


@pytest.fixture(scope="module")
def given_back(tell: Tell) -> Told:
    """Every seeded tunnel as its own input, by a host each, with the health target in both formats."""
    health = "{{ wanted.health_check | combine({'target': target.saved or target.effective or ''}) }}"
    return tell(
        [
            {**task("read", "ipsec_tunnel_info"), "register": "all_tunnels", "run_once": True},
            {"name": "give back an object", "magicwan.cloudflare.ipsec_tunnel": "{{ wanted }}"},
            {
                "name": "give back a string",
                "magicwan.cloudflare.ipsec_tunnel": "{{ wanted | combine({'health_check': health}) }}",
            },
        ],
        play={
            "hosts": "all",
            "connection": "local",
            "vars": {
                "wanted": "{{ all_tunnels.ipsec_tunnels[number] | magicwan.cloudflare.ipsec_tunnel_options }}",
                "target": "{{ all_tunnels.ipsec_tunnels[number].health_check.target }}",
                "health": health,
            },
        },
        inventory={"all": {"hosts": {f"t{number}": {"number": number} for number in range(24)}}},
        args=["-f", "4"],
    )


@pytest.mark.parametrize("form", ["an object", "a string"])
def test_every_tunnel_that_was_read_and_given_back_is_unchanged(given_back: Told, form: str) -> None:
    given_back.result.ok()
    results = given_back.result.results(f"give back {form}")
    assert [(x["changed"], x["action"]) for x in results] == [(False, "none")] * 24
    assert {x["ipsec_tunnel"]["id"] for x in results} == set(given_back.after)


def test_giving_tunnels_back_writes_nothing(given_back: Told) -> None:
    assert given_back.asked == []
    assert given_back.before == given_back.after


@pytest.fixture(scope="module")
def refused(tell: Tell) -> Told:
    """What the API refuses."""
    clash = {**WANTED, "interface_address": "192.0.2.8/31"}
    return tell(
        lambda tunnels: [
            may_fail(tunnel("check create", True, **clash)),
            may_fail(tunnel("create", **clash)),
            may_fail(tunnel("check move", True, id=tunnels[0]["id"], interface_address="192.0.2.8/31")),
            may_fail(tunnel("return routing", True, **WANTED, automatic_return_routing=True)),
        ],
    )


def test_return_routing_is_asked_for_and_refused_to_an_account_without_it(refused: Told) -> None:
    assert refused.of("return routing")["failure"]["pointer"] == "/automatic_return_routing"


@pytest.fixture(scope="module")
def strange(tell: Tell) -> Told:
    """A PSK that some device mangles, with either set of characters."""
    return tell(
        [
            may_fail(tunnel("safe", **WANTED, psk=STRANGE, psk_charset="safe")),
            tunnel("any", **WANTED, psk=STRANGE, psk_charset="any"),
        ],
        secrets=[STRANGE],
    )


def test_a_psk_that_some_device_mangles_is_refused(strange: Told) -> None:
    assert "the PSK holds characters that some devices mangle" in strange.of("safe")["msg"]


def test_any_psk_is_accepted_when_the_user_says_so(strange: Told) -> None:
    assert [x["psk"] for i, x in strange.after.items() if i not in strange.before] == [STRANGE]


@pytest.mark.parametrize("name", ["check create", "create"])
def test_a_refusal_has_the_apis_own_code_message_and_pointer(refused: Told, name: str) -> None:
    failure = refused.of(name)["failure"]
    assert (failure["status"], failure["code"], failure["pointer"]) == (400, 1022, "/interface_address")
    assert failure["message"] == "Invalid Request: must be private (RFC 1918) or in 169.254.240.0/20"
    assert refused.of(name)["_status"] == "ignored"


def test_a_refusal_of_the_check_run_names_the_field_of_an_update(refused: Told) -> None:
    assert refused.of("check move")["failure"]["pointer"] == "/interface_address"


def test_a_refusal_changes_nothing(refused: Told) -> None:
    assert refused.asked == ["create?", "create", "update?", "create?"]
    assert refused.writes == 0
