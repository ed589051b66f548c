# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine of ipsec_tunnels: what is refused before the first write, and what is left when something fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _ipsec_tunnels, _module
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import options

from tests.harness.simulator import Simulator

ClientOf = Callable[..., Client]
Ensure = Callable[..., dict[str, Any]]
PSK = "Zk3VtYq0sWn8RbX2mLd7uHc5"
KEYS = {
    "id",
    "name",
    "action",
    "changed",
    "failed",
    "purged",
    "replaces",
    "replaced_by",
    "reason",
    "failure",
    "ipsec_tunnel",
}
DEFAULTS = {"purge": False, "purge_max": 5, "update_psk": "on_create", "psk_charset": "safe", "concurrency": 1}


def new(name: str, **fields: Any) -> dict[str, Any]:
    """An item that can be created."""
    return {
        "name": name,
        "state": "present",
        "cloudflare_endpoint": "203.0.113.1",
        "interface_address": "10.200.0.0/31",
        **fields,
    }


def present(**fields: Any) -> dict[str, Any]:
    return {"state": "present", **fields}


def absent(**fields: Any) -> dict[str, Any]:
    return {"state": "absent", **fields}


@pytest.fixture
def warnings() -> list[str]:
    """What the module has warned of."""
    return []


def runner(simulator: Simulator, client_of: ClientOf, warnings: list[str]) -> Ensure:
    """The module ipsec_tunnels without Ansible; a failure gives its result, with `failure` in it."""

    def it(tunnels: list[dict[str, Any]], check: bool = False, diff: bool = False, **params: Any) -> dict[str, Any]:
        connection = {"account_id": simulator.account, "api_token": simulator.token, "base_url": simulator.base_url}
        limits = {"timeout": 5.0, "retries": 0, "validate_certs": True}
        module: Any = SimpleNamespace(
            params={**connection, **limits, **DEFAULTS, **params, "tunnels": tunnels},
            check_mode=check,
            _diff=diff,
            warn=warnings.append,
            no_log_values={simulator.token, *(x["psk"] for x in tunnels if x.get("psk"))},
        )
        try:
            return _ipsec_tunnels.ensure_tunnels(module, client_of(simulator, retries=0))
        except _module.PartialFailure as exc:
            return {**exc.result, "failure": exc.failure, "msg": exc.message}

    return it


@pytest.fixture
def ensure(simulator: Simulator, client_of: ClientOf, warnings: list[str]) -> Ensure:
    """On the simulator as it is."""
    return runner(simulator, client_of, warnings)


@pytest.fixture
def seeded(simulator: Simulator) -> list[dict[str, Any]]:
    """The account's tunnels."""
    return list(simulator.state()["tunnels"])


def actions(result: dict[str, Any]) -> list[str]:
    return [x["action"] for x in result["ipsec_tunnels"]]


def failed(result: dict[str, Any]) -> list[bool]:
    return [x["failed"] for x in result["ipsec_tunnels"]]


def asked(simulator: Simulator) -> list[str]:
    """Every request, with `?` behind a validation."""
    return [entry["operation"] + "?" * entry["validate_only"] for entry in simulator.journal()]


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tunnels", "params", "message"),
    [
        ([present()], {}, r"tunnels\[0\]: id or name is missing"),
        ([new("a", interface_address="10.0.0.1")], {}, r"tunnels\[0\] 'a': interface_address must be an IPv4 address"),
        ([present(name=" ", description="x")], {}, r"tunnels\[0\] ' ': name must not be empty"),
        ([new("a"), new("b"), new("a")], {}, r"tunnels\[2\] 'a': tunnels\[0\] 'a' has this name, too"),
        ([present(id="1"), absent(id="1")], {}, r"tunnels\[1\] '1': tunnels\[0\] '1' has this id, too"),
        ([new("a")], {"concurrency": 0}, "concurrency must be 1 to 16"),
        ([new("a")], {"concurrency": 17}, "concurrency must be 1 to 16"),
        ([new("a")], {"purge_max": -1}, "purge_max must not be negative"),
        ([], {"purge": True}, "tunnels is empty, so purge would delete every tunnel"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_is_wrong_whatever_the_account_holds_is_refused_before_it_is_asked(
    simulator: Simulator, ensure: Ensure, tunnels: list[dict[str, Any]], params: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ensure(tunnels, **params)
    assert PSK not in str(caught.value)
    assert asked(simulator) == []


def test_what_the_account_contradicts_is_refused_before_the_first_write(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [
        new("a new one"),
        present(name="half a tunnel"),
        present(id="0123", description="x"),
        present(id=seeded[0]["id"], description="x"),
        present(name=seeded[0]["name"], description="y"),
    ]
    with pytest.raises(InputError) as caught:
        ensure(tunnels)
    assert str(caught.value).split("; ") == [
        "tunnels[1] 'half a tunnel' does not exist",
        "to create it, set cloudflare_endpoint, interface_address",
        "tunnels[2] '0123': no tunnel of the account has the id '0123'",
        "leave id out to create a tunnel",
        f"tunnels[4] {seeded[0]['name']!r}: tunnels[3] {seeded[0]['id']!r} is the same tunnel ({seeded[0]['id']})",
    ]
    assert asked(simulator) == ["list"]


def test_a_name_that_two_tunnels_have_is_refused_with_the_item(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    simulator.arm({"route": "list", "duplicate_names": True})
    with pytest.raises(InputError, match=rf"tunnels\[0\] '{seeded[0]['name']}': 2 tunnels are named"):
        ensure([present(name=seeded[0]["name"], description="x")])


def test_of_many_mistakes_the_first_five_are_named(ensure: Ensure) -> None:
    with pytest.raises(InputError) as caught:
        ensure([present() for _number in range(7)])
    assert str(caught.value).startswith("tunnels[0]: ")
    assert str(caught.value).endswith("tunnels[4]: id or name is missing; and 2 more")


def test_a_short_or_shared_psk_of_tunnels_that_have_theirs_is_left_alone(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [present(id=x["id"], psk="short") for x in seeded[:3]]
    assert ensure([dict(x) for x in tunnels])["changed"] is False
    with pytest.raises(InputError, match=r"tunnels\[0\] .*: the PSK has 5 characters"):
        ensure(tunnels, update_psk="always")
    assert simulator.writes() == 0


@pytest.mark.parametrize(
    ("tunnels", "message"),
    [
        ([new("a", psk="short")], r"tunnels\[0\] 'a': the PSK has 5 characters; 20 to 64"),
        (
            [new("a", psk=PSK), new("b", psk=PSK, interface_address="10.200.0.8/31")],
            r"tunnels\[1\] 'b': tunnels\[0\] 'a' has the same PSK",
        ),
        ([new("a"), new("b", interface_address="10.200.0.1/31")], r"tunnels\[1\] 'b': interface_address is in the ins"),
    ],
    ids=["short", "shared", "one /31"],
)
def test_what_the_list_contradicts_is_refused_before_the_first_write(
    simulator: Simulator, ensure: Ensure, tunnels: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ensure(tunnels)
    assert PSK not in str(caught.value)
    assert asked(simulator) == ["list"]


def test_a_swap_of_names_is_refused_before_the_first_write(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    one, other = seeded[:2]
    with pytest.raises(InputError, match=r"would swap their names.*rename one of them to a third name"):
        ensure([present(id=one["id"], name=other["name"]), present(id=other["id"], name=one["name"])])
    assert asked(simulator) == ["list"]


def options_of(tunnel: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return present(**{**options(tunnel), **changes})


@pytest.mark.parametrize("purge", [True, False])
def test_a_tunnel_that_was_renamed_in_the_file_is_refused_with_its_id(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]], purge: bool
) -> None:
    tunnels = [options_of(seeded[0], name="another name"), *(present(id=x["id"]) for x in seeded[1:])]
    with pytest.raises(InputError, match=rf"looks like a new name for it; give id: {seeded[0]['id']} to rename it"):
        ensure(tunnels, purge=purge)
    assert asked(simulator) == ["list"]


# -- what is done ---------------------------------------------------------------------------------------------------


def test_results_are_in_the_order_of_the_list_and_of_one_shape(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [
        present(name=seeded[3]["name"], description="changed"),
        new("a new one"),
        absent(name="never was"),
        absent(id=seeded[1]["id"]),
        present(id=seeded[0]["id"], name=seeded[0]["name"]),
    ]
    result = ensure(tunnels)
    assert actions(result) == ["update", "create", "none", "delete", "none"]
    assert [x["changed"] for x in result["ipsec_tunnels"]] == [True, True, False, True, False]
    assert [x["name"] for x in result["ipsec_tunnels"]] == [
        seeded[3]["name"],
        "a new one",
        "never was",
        seeded[1]["name"],
        seeded[0]["name"],
    ]
    assert {frozenset(x) for x in result["ipsec_tunnels"]} == {frozenset(KEYS)}
    assert asked(simulator) == ["list", "update", "create", "list", "delete"]
    assert result["msg"] == (
        f"5 tunnels: 1 create (a new one), 1 update ({seeded[3]['name']}: description),"
        f" 1 delete ({seeded[1]['name']}), 2 none"
    )


def test_a_fleet_that_is_as_wanted_costs_one_request(simulator: Simulator, ensure: Ensure, client_of: ClientOf) -> None:
    tunnels = [present(**options(x)) for x in client_of(simulator).list_tunnels()]
    simulator.reset()
    assert ensure(tunnels)["changed"] is False
    assert asked(simulator) == ["list"]


def test_every_change_is_validated_in_check_mode(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [new("a new one"), present(id=seeded[0]["id"], description="changed"), absent(id=seeded[1]["id"])]
    checked = ensure(tunnels, check=True, purge=True, purge_max=100)
    assert asked(simulator) == ["list", "create?", "update?", "delete?", *["delete?"] * 22]
    assert simulator.writes() == 0
    done = ensure(tunnels, purge=True, purge_max=100)
    assert actions(checked) == actions(done)
    assert checked["msg"] == done["msg"]
    assert checked["ipsec_tunnels"][0]["id"] is None and done["ipsec_tunnels"][0]["id"]


def test_a_psk_is_sent_on_creation_and_later_only_when_asked_for(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    def tunnels() -> list[dict[str, Any]]:
        return [new("a new one", psk=PSK), present(id=seeded[0]["id"], psk=PSK + "2")]

    assert actions(ensure(tunnels())) == ["create", "none"]
    assert simulator.tunnels_by_name()["a new one"]["psk"] == PSK
    assert actions(ensure(tunnels(), update_psk="always")) == ["update", "update"]
    assert simulator.tunnels_by_name()[seeded[0]["name"]]["psk"] == PSK + "2"


def test_a_psk_that_the_user_wrote_into_a_description_is_not_shown(ensure: Ensure) -> None:
    result = ensure([new("a new one", psk=PSK, description=f"its key is {PSK}")], diff=True)
    assert result["ipsec_tunnels"][0]["ipsec_tunnel"]["description"] == "its key is ********"
    assert PSK not in str(result)


def test_a_diff_has_an_entry_for_each_change_with_its_tunnel_as_header(
    ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [present(id=x["id"], description="changed") for x in seeded[:2]]
    result = ensure([*tunnels, present(id=seeded[2]["id"])], diff=True)
    assert [x["before_header"] for x in result["diff"]] == [f"ipsec_tunnel {x['name']}" for x in seeded[:2]]
    assert [x["after"]["description"] for x in result["diff"]] == ["changed", "changed"]


# -- purge ----------------------------------------------------------------------------------------------------------


def test_what_the_list_does_not_name_is_purged_last(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [present(id=x["id"]) for x in seeded[4:]]
    result = ensure([*tunnels, new("a new one")], purge=True)
    assert asked(simulator) == ["list", "create", "list", *["delete"] * 4]
    assert [x["id"] for x in result["ipsec_tunnels"] if x["purged"]] == [x["id"] for x in seeded[:4]]
    assert {x["name"] for x in simulator.state()["tunnels"]} == {*(x["name"] for x in seeded[4:]), "a new one"}


def test_more_than_purge_max_is_refused_before_the_first_write(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [new("a new one"), *(present(id=x["id"]) for x in seeded[6:])]
    with pytest.raises(InputError, match=r"purge would delete 6 tunnels \(.*, and 1 more\), but purge_max is 5"):
        ensure(tunnels, purge=True)
    assert asked(simulator) == ["list"]


def test_what_is_absent_by_name_does_not_count_as_purged(ensure: Ensure, seeded: list[dict[str, Any]]) -> None:
    tunnels = [absent(id=x["id"]) for x in seeded[:6]] + [present(id=x["id"]) for x in seeded[6:]]
    result = ensure(tunnels, purge=True, purge_max=0)
    assert not any(x["purged"] for x in result["ipsec_tunnels"])
    assert actions(result)[:6] == ["delete"] * 6


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    "moved", [{"interface_address": "10.200.0.0/31"}, {"cloudflare_endpoint": "203.0.113.77"}], ids=str
)
def test_a_replacement_is_called_so_in_diff_result_and_message(
    ensure: Ensure, seeded: list[dict[str, Any]], moved: dict[str, str], check: bool
) -> None:
    old = next(x for x in seeded if x.get("customer_endpoint") and not x.get("custom_remote_identities"))
    rest = [present(id=x["id"]) for x in seeded if x is not old]
    tunnels = [options_of(old, name="another name", **moved, interface_address6=None), *rest]
    result = ensure(tunnels, check=check, diff=True, purge=True)
    made, gone = result["ipsec_tunnels"][0], result["ipsec_tunnels"][-1]
    assert (made["action"], made["replaces"], made["replaced_by"]) == ("create", old["name"], None)
    assert (gone["action"], gone["replaces"], gone["replaced_by"]) == ("delete", None, "another name")
    assert [x["after_header"] for x in result["diff"]] == [
        f"ipsec_tunnel another name, which replaces {old['name']} as a new tunnel with another id and without a PSK",
        f"ipsec_tunnel {old['name']}, which is replaced by another name",
    ]
    assert f"1 create (another name, which replaces {old['name']} as a new tunnel" in result["msg"]
    assert f"1 delete ({old['name']}, which is replaced by another name)" in result["msg"]


def test_the_message_names_the_first_ten_of_each_action(ensure: Ensure, seeded: list[dict[str, Any]]) -> None:
    told = ensure([present(id=x["id"], description="changed") for x in seeded[:12]])["msg"]
    assert told.startswith(f"12 tunnels: 12 update ({seeded[0]['name']}: description; ")
    assert told.endswith(f"{seeded[9]['name']}: description; and 2 more)")


# -- what fails -----------------------------------------------------------------------------------------------------


def test_a_failed_item_does_not_stop_the_others(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [present(id=x["id"], description="changed") for x in seeded[:4]]
    simulator.arm({"route": "update", "tunnel": seeded[1]["id"], "status": 400, "code": 1022, "message": "no"})
    result = ensure(tunnels)
    assert failed(result) == [False, True, False, False]
    assert result["changed"] is True
    bad = result["ipsec_tunnels"][1]
    assert (bad["action"], bad["changed"], bad["failure"]["code"]) == ("update", False, 1022)
    assert bad["ipsec_tunnel"]["description"] == seeded[1].get("description")
    assert result["failure"]["code"] == 1022
    assert result["msg"].startswith("4 tunnels: 3 update (")
    assert f", 1 failed (tunnels[1] {seeded[1]['id']!r}: updating tunnel" in result["msg"]


@pytest.mark.parametrize("status", [401, 403, 429])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_when_all_that_follows_would_be_refused_it_is_not_tried(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]], status: int, concurrency: int
) -> None:
    simulator.arm({"route": "update", "status": status, "message": "Forbidden", "count": 0})
    result = ensure([present(id=x["id"], description="changed") for x in seeded], concurrency=concurrency)
    assert all(failed(result))
    tried = [x for x in result["ipsec_tunnels"] if x["failure"] is not None]
    assert 1 <= len(tried) <= concurrency
    assert asked(simulator) == ["list", *["update"] * len(tried)]
    left = [x for x in result["ipsec_tunnels"] if x["failure"] is None]
    assert {x["reason"] for x in left} == {"not tried: Forbidden"}
    assert f"24 failed, {len(left)} of them not tried" in result["msg"]


def test_after_three_lost_answers_in_a_row_the_rest_is_not_tried(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    simulator.arm({"route": "update", "skip": 1, "drop": True, "count": 0})
    result = ensure([present(id=x["id"], description="changed") for x in seeded[:6]])
    assert failed(result) == [False, *[True] * 5]
    assert [x["failure"] is not None for x in result["ipsec_tunnels"]] == [False, True, True, True, False, False]
    assert result["ipsec_tunnels"][5]["reason"] == "not tried: 3 tunnels in a row had no usable answer"


def test_lost_answers_with_others_between_do_not_stop_the_run(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    simulator.arm(*({"route": "update", "tunnel": x["id"], "drop": True} for x in seeded[:8:2]))
    result = ensure([present(id=x["id"], description="changed") for x in seeded[:8]])
    assert failed(result) == [True, False] * 4


def test_a_write_whose_outcome_is_not_known_counts_as_a_change(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    simulator.arm({"route": "update", "when": "after", "drop": True}, {"route": "get", "status": 403})
    result = ensure([present(id=seeded[0]["id"], description="changed")])
    assert result["changed"] is True
    assert result["failure"]["outcome_unknown"] is True


def test_a_validation_that_fails_is_no_change(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    simulator.arm({"route": "update", "drop": True})
    result = ensure([present(id=seeded[0]["id"], description="changed")], check=True)
    assert (result["changed"], failed(result)) == (False, [True])


def test_an_unforeseen_exception_is_the_failure_of_its_item_and_hides_its_text(
    ensure: Ensure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"the key is {PSK}")

    monkeypatch.setattr(Client, "create_tunnel", broken)
    result = ensure([new("a new one", psk=PSK), absent(name="never was")])
    assert failed(result) == [True, False]
    assert "internal error: RuntimeError" in result["msg"]
    assert PSK not in str(result)


# -- concurrency ----------------------------------------------------------------------------------------------------


def test_requests_are_on_their_way_side_by_side_when_asked_for(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    """Four hang until all four are there, which one at a time would never be."""
    simulator.arm({"route": "update", "hang": True, "count": 4})
    result: dict[str, Any] = {}
    tunnels = [present(id=x["id"], description="changed") for x in seeded[:8]]
    thread = threading.Thread(target=lambda: result.update(ensure(tunnels, concurrency=4)))
    thread.start()
    held: list[dict[str, Any]] = []
    while len(held) < 4 and thread.is_alive():
        last = held[-1]["n"] if held else None
        held += [entry for entry in simulator.journal(last, wait=5) if entry["event"] == "held"]
    requests.post(f"{simulator.sim_url}/release", timeout=5)
    thread.join()
    assert failed(result) == [False] * 8
    assert [x["id"] for x in result["ipsec_tunnels"]] == [x["id"] for x in seeded[:8]]


def test_side_by_side_the_purge_waits_for_the_others(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [present(id=x["id"], description="changed") for x in seeded[4:]]
    ensure(tunnels, purge=True, concurrency=4)
    assert asked(simulator) == ["list", *["update"] * 20, *["delete"] * 4]


# -- the order of the writes, and what is left when one fails ----------------------------------------------------------


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_nothing_is_purged_when_anything_has_failed(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]], concurrency: int, check: bool
) -> None:
    tunnels = [new("a new one", interface_address="192.0.2.8/31"), *(present(id=x["id"]) for x in seeded[1:])]
    result = ensure(tunnels, check=check, purge=True, concurrency=concurrency)
    purged = result["ipsec_tunnels"][-1]
    assert (purged["purged"], purged["failed"], purged["changed"]) == (True, True, False)
    assert purged["reason"] == "not tried: nothing is purged when anything has failed"
    assert asked(simulator) == ["list", "create" + "?" * check]


def test_a_failed_deletion_keeps_the_purge_from_beginning(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    simulator.arm({"route": "delete", "status": 400, "message": "no"})
    result = ensure([absent(id=seeded[0]["id"]), *(present(id=x["id"]) for x in seeded[2:])], purge=True)
    assert failed(result)[0] and failed(result)[-1]
    assert asked(simulator) == ["list", "delete"]


def test_a_tunnel_stays_when_its_replacement_could_not_be_made(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    old = next(x for x in seeded if x.get("customer_endpoint"))
    other = next(x for x in seeded if x is not old)
    moved = {"interface_address": "10.200.0.0/31", "interface_address6": None, "custom_remote_identities": None}
    simulator.arm({"route": "create", "status": 400, "message": "no"})
    result = ensure([absent(id=old["id"]), absent(id=other["id"]), options_of(old, name="another name", **moved)])
    assert failed(result) == [True, False, True]
    assert result["ipsec_tunnels"][0]["reason"] == "not tried: tunnels[2] 'another name', which replaces it, has failed"
    assert old["id"] in {x["id"] for x in simulator.state()["tunnels"]}


def test_what_is_absent_goes_after_what_is_made_and_changed(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    tunnels = [absent(id=seeded[0]["id"]), new("a new one"), present(id=seeded[1]["id"], description="changed")]
    assert actions(ensure(tunnels)) == ["delete", "create", "update"]
    assert asked(simulator) == ["list", "create", "update", "list", "delete"]


# -- what is read after the writes ------------------------------------------------------------------------------------


def test_new_tunnels_are_read_once_more_all_together(simulator: Simulator, ensure: Ensure) -> None:
    tunnels = [new(f"new {number}", interface_address=f"10.200.0.{2 * number}/31") for number in range(3)]
    result = ensure(tunnels)
    truth = simulator.tunnels_by_name()
    for entry in result["ipsec_tunnels"]:
        assert entry["ipsec_tunnel"]["remote_identities"] == truth[entry["name"]]["remote_identities"]
    assert asked(simulator) == ["list", *["create"] * 3, "list"]


def test_new_tunnels_that_cannot_be_read_are_made_all_the_same(
    simulator: Simulator, ensure: Ensure, warnings: list[str]
) -> None:
    simulator.arm({"route": "list", "skip": 1, "status": 403})
    assert failed(ensure([new("a new one")])) == [False]
    assert "tunnel 'a new one' was created, but could not be read again" in warnings[0]


def test_a_removal_is_read_again_and_fails_when_cloudflare_kept_it(
    make_simulator: Callable[..., Simulator], client_of: ClientOf, warnings: list[str]
) -> None:
    simulator = make_simulator(args=["--assume", "partial_put=true"])
    ensure = runner(simulator, client_of, warnings)
    first, second, *rest = [x for x in simulator.state()["tunnels"] if x.get("customer_endpoint")]
    tunnels = [present(id=first["id"], customer_endpoint="", description="changed")]
    tunnels += [present(id=second["id"], customer_endpoint="")]
    tunnels += [present(id=x["id"]) for x in simulator.state()["tunnels"] if x not in (first, second, rest[0])]
    result = ensure(tunnels, purge=True)
    assert failed(result)[:2] == [True, True]
    assert [x["changed"] for x in result["ipsec_tunnels"][:2]] == [True, False]
    assert result["ipsec_tunnels"][0]["ipsec_tunnel"]["description"] == "changed"
    assert "Cloudflare kept customer_endpoint" in result["msg"]
    assert asked(simulator) == ["list", "update", "update", "list"]


def test_removals_are_read_once_all_together(
    simulator: Simulator, ensure: Ensure, seeded: list[dict[str, Any]]
) -> None:
    chosen = [x for x in seeded if x.get("customer_endpoint")][:3]
    result = ensure([present(id=x["id"], customer_endpoint="") for x in chosen])
    assert failed(result) == [False] * 3
    assert asked(simulator) == ["list", *["update"] * 3, "list"]
    assert ensure([present(id=x["id"], customer_endpoint="") for x in chosen])["changed"] is False


def test_a_field_that_updates_refuse_is_told_once_for_all_tunnels(
    make_simulator: Callable[..., Simulator], client_of: ClientOf, warnings: list[str]
) -> None:
    simulator = make_simulator(args=["--assume", "unknown_fields=refused"])
    ensure = runner(simulator, client_of, warnings)
    ensure([present(id=x["id"], description="changed") for x in simulator.state()["tunnels"][:7]])
    assert len(warnings) == 2
    assert warnings[0].startswith("Cloudflare shows /traffic_class of 'Cape_Town_1_primary', ")
    assert ", and 2 more, but refuses it in an update, so it was left out" in warnings[0]
    assert asked(simulator) == ["list", "update?", "update?", *["update"] * 7, "list"]
