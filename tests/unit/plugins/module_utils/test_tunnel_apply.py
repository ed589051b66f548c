# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was planned for a tunnel is carried out once, and what an answer leaves open is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel_apply, _tunnel_plan
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    ApiError,
    CloudflareError,
    NotFoundError,
    ServerError,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_apply import (
    KeptError,
    UnknownFields,
    Written,
    apply_plan,
    warnings_of,
    write,
)

from tests.harness.simulator import Simulator
from tests.unit.plugins.module_utils.conftest import Heard, Say, Wire, envelope
from tests.unit.plugins.module_utils.tunnels import SEEDED

ClientOf = Callable[..., Client]
Make = Callable[..., Simulator]
NEW = {"name": "a new one", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.200.0.0/31"}
PSK = "Zk3VtYq0sWn8RbX2mLd7uHc5"
LOST: list[dict[str, Any]] = [{"status": 502}, {"status": 520, "html": True}, {"drop": True}]
LOST_AFTER: list[dict[str, Any]] = [*LOST, {"truncate": "closed"}, {"truncate": "announced"}, {"reset_mid_body": True}]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two reads."""
    monkeypatch.setattr(_tunnel_apply, "BETWEEN_READS", 0)


def change(client: Client, wanted: dict[str, Any], *, check: bool = False, psk: str | None = None) -> Written:
    """An update of the tunnel whose id is in ``wanted``, or a creation."""
    current = next((x for x in client.list_tunnels() if x["id"] == wanted.get("id")), None)
    options = {"state": "present", "psk": psk, **wanted}
    plan = _tunnel_plan.plan(current, options, update_psk="always", where="here")
    return apply_plan(client, plan, validate_only=check)


def asked(simulator: Simulator) -> list[str]:
    """Every request, with `?` behind a validation."""
    return [entry["operation"] + "?" * entry["validate_only"] for entry in simulator.journal()]


# -- lost answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [{"status": 502}, {"drop": True}, {"truncate": "closed"}, {"reset_mid_body": True}], ids=str
)
def test_a_created_tunnel_whose_answer_was_lost_is_found_by_its_name(
    simulator: Simulator, client: Client, fault: dict[str, Any]
) -> None:
    simulator.arm({"route": "create", "when": "after", **fault})
    made = apply_plan(client, _tunnel_plan.plan_present(None, NEW), validate_only=False).tunnel
    assert made is not None
    assert made["id"] == simulator.tunnels_by_name()["a new one"]["id"]
    assert simulator.writes() == 1


def test_a_tunnel_that_was_not_created_is_an_error_with_an_unknown_outcome(
    simulator: Simulator, client: Client
) -> None:
    simulator.arm({"route": "create", "status": 502})
    with pytest.raises(ServerError, match="it is not known whether it was carried out"):
        apply_plan(client, _tunnel_plan.plan_present(None, NEW), validate_only=False)
    assert simulator.writes() == 0


def test_a_refused_creation_is_not_looked_for(simulator: Simulator, client: Client) -> None:
    name = simulator.state()["tunnels"][0]["name"]
    with pytest.raises(CloudflareError, match="the name is that of another tunnel at /name"):
        apply_plan(client, _tunnel_plan.plan_present(None, {**NEW, "name": name}), validate_only=False)
    assert asked(simulator) == ["create"]


def test_the_first_error_is_told_when_looking_fails_too(simulator: Simulator, client_of: ClientOf) -> None:
    simulator.arm({"route": "create", "status": 502}, {"route": "list", "status": 404})
    with pytest.raises(CloudflareError, match="creating tunnel 'a new one'") as caught:
        apply_plan(client_of(simulator), _tunnel_plan.plan_present(None, NEW), validate_only=False)
    assert not isinstance(caught.value, NotFoundError)


def test_another_tunnel_of_the_name_is_not_taken_for_the_one_that_was_sent(
    simulator: Simulator, client_of: ClientOf
) -> None:
    """Somebody made it after the account was read, and our own request got lost."""
    client = client_of(simulator, retries=0)
    plan = _tunnel_plan.plan_present(None, NEW)
    client.create_tunnel({**NEW, "interface_address": "10.200.0.8/31"})
    simulator.arm({"route": "create", "drop": True})
    with pytest.raises(CloudflareError) as caught:
        apply_plan(client, plan, validate_only=False)
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("fault", LOST_AFTER, ids=str)
def test_an_update_whose_answer_was_lost_is_settled_by_a_read(
    simulator: Simulator, client_of: ClientOf, fault: dict[str, Any]
) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "update", "when": "after", **fault})
    done = change(client_of(simulator, retries=0), {"id": tunnel["id"], "description": "changed"}).tunnel
    assert done is not None and done["description"] == "changed"
    assert asked(simulator) == ["list", "update", "get"]


@pytest.mark.parametrize("fault", LOST, ids=str)
def test_an_update_that_was_lost_itself_is_an_error_with_an_unknown_outcome(
    simulator: Simulator, client_of: ClientOf, fault: dict[str, Any]
) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "update", **fault})
    with pytest.raises(CloudflareError) as caught:
        change(client_of(simulator, retries=0), {"id": tunnel["id"], "description": "changed"})
    assert caught.value.outcome_unknown


def test_a_refused_update_is_not_looked_for(simulator: Simulator, client: Client) -> None:
    tunnel = simulator.state()["tunnels"][0]
    with pytest.raises(ApiError, match="/interface_address"):
        change(client, {"id": tunnel["id"], "interface_address": "192.0.2.8/31"})
    assert asked(simulator) == ["list", "update"]


def test_a_lost_validation_is_not_looked_for(simulator: Simulator, client_of: ClientOf) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "update", "drop": True})
    with pytest.raises(CloudflareError):
        change(client_of(simulator, retries=0), {"id": tunnel["id"], "description": "changed"}, check=True)
    assert asked(simulator) == ["list", "update?"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_psk_whose_answer_was_lost_is_sent_again(simulator: Simulator, client_of: ClientOf, when: str) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "update", "when": when, "drop": True})
    assert change(client_of(simulator, retries=0), {"id": tunnel["id"]}, psk=PSK).tunnel
    assert simulator.tunnels_by_name()[tunnel["name"]]["psk"] == PSK
    assert asked(simulator) == ["list", "update", "update"]


def test_a_new_time_does_not_prove_that_a_psk_is_ours(simulator: Simulator, client_of: ClientOf) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "update", "when": "after", "drop": True, "count": 0})
    with pytest.raises(CloudflareError) as caught:
        change(client_of(simulator, retries=0), {"id": tunnel["id"]}, psk=PSK)
    assert caught.value.outcome_unknown


def test_a_refusal_of_the_second_attempt_says_nothing_of_the_first(simulator: Simulator, client_of: ClientOf) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "update", "drop": True}, {"route": "update", "status": 400, "message": "no"})
    with pytest.raises(CloudflareError) as caught:
        change(client_of(simulator, retries=0), {"id": tunnel["id"]}, psk=PSK)
    assert caught.value.outcome_unknown


def test_the_psk_of_a_new_tunnel_whose_answer_was_lost_is_sent_again(simulator: Simulator, client_of: ClientOf) -> None:
    simulator.arm({"route": "create", "when": "after", "drop": True})
    change(client_of(simulator, retries=0), NEW, psk=PSK)
    assert simulator.tunnels_by_name()["a new one"]["psk"] == PSK
    assert asked(simulator) == ["list", "create", "list", "update", "get"]


@pytest.mark.parametrize(("when", "gone"), [("after", True), ("before", False)])
def test_a_deletion_whose_answer_was_lost_is_settled_by_a_read(
    simulator: Simulator, client_of: ClientOf, when: str, gone: bool
) -> None:
    client = client_of(simulator, retries=0)
    plan = _tunnel_plan.plan_absent(client.list_tunnels()[0])
    simulator.arm({"route": "delete", "when": when, "drop": True})
    if gone:
        assert apply_plan(client, plan, validate_only=False).tunnel is None
    else:
        with pytest.raises(CloudflareError) as caught:
            apply_plan(client, plan, validate_only=False)
        assert caught.value.outcome_unknown


def test_an_update_that_is_answered_without_the_tunnel_is_read_once(make_simulator: Make, client_of: ClientOf) -> None:
    simulator = make_simulator(args=["--assume", "put_answer=modified"])
    tunnel = simulator.state()["tunnels"][0]
    done = change(client_of(simulator, retries=0), {"id": tunnel["id"], "description": "changed"}).tunnel
    assert done is not None and done["description"] == "changed"
    assert done["remote_identities"]["fqdn_id"]
    assert asked(simulator) == ["list", "update", "get"]


def test_a_psk_that_is_answered_without_the_tunnel_is_in_place(make_simulator: Make, client_of: ClientOf) -> None:
    simulator = make_simulator(
        args=["--assume", "put_answer=modified", "--assume", "psk_put_moves_last_generated_on=false"]
    )
    tunnel = simulator.state()["tunnels"][0]
    assert change(client_of(simulator, retries=0), {"id": tunnel["id"]}, psk=PSK).tunnel
    assert simulator.tunnels_by_name()[tunnel["name"]]["psk"] == PSK


def test_an_update_that_is_answered_without_the_tunnel_and_cannot_be_read_may_have_changed_it(
    make_simulator: Make, client_of: ClientOf
) -> None:
    simulator = make_simulator(args=["--assume", "put_answer=modified"])
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "get", "status": 403, "count": 0})
    with pytest.raises(CloudflareError, match="carried out, but then reading tunnel") as caught:
        change(client_of(simulator, retries=0), {"id": tunnel["id"], "description": "changed"})
    assert caught.value.outcome_unknown


# -- what the answer to a write leaves empty --------------------------------------------------------------------------


def test_an_update_keeps_the_identities_that_its_answer_leaves_empty(simulator: Simulator, client: Client) -> None:
    tunnel = simulator.state()["tunnels"][0]
    done = change(client, {"id": tunnel["id"], "description": "changed"}).tunnel
    assert done is not None and done["remote_identities"] == tunnel["remote_identities"]
    assert asked(simulator) == ["list", "update"]


def test_a_new_tunnel_is_read_once_more_for_its_identities(simulator: Simulator, client: Client) -> None:
    done = change(client, NEW).tunnel
    assert done is not None
    assert done["remote_identities"] == simulator.tunnels_by_name()["a new one"]["remote_identities"]
    assert asked(simulator) == ["list", "create", "get"]


def test_a_new_tunnel_that_cannot_be_read_is_made_all_the_same_and_a_warning_says_so(
    simulator: Simulator, client_of: ClientOf
) -> None:
    simulator.arm({"route": "get", "status": 403, "count": 0})
    done = change(client_of(simulator), NEW)
    assert done.tunnel is not None and done.tunnel["remote_identities"]["fqdn_id"] is None
    (warning,) = warnings_of([done])
    assert "tunnel 'a new one' was created, but could not be read again (reading tunnel" in warning


def test_a_read_that_lags_behind_a_creation_is_repeated(simulator: Simulator, client: Client) -> None:
    simulator.arm({"route": "create", "stale_reads": 2})
    done = change(client, NEW)
    assert done.tunnel is not None and done.tunnel["remote_identities"]["fqdn_id"]
    assert asked(simulator) == ["list", "create", "get", "get", "get"]


@pytest.mark.parametrize("missing", ["created_on", "psk_metadata", "allow_null_cipher"])
def test_what_an_answer_to_an_update_leaves_out_is_as_before(missing: str) -> None:
    current = {**SEEDED, "created_on": "2026-01-01T00:00:00Z", "allow_null_cipher": True}
    plan = _tunnel_plan.plan_present(current, {"description": "changed"})
    answer = {key: value for key, value in current.items() if key != missing}
    assert plan.before is not None
    assert _tunnel_apply.after_update(plan, answer)[missing] == plan.before[missing]


def test_an_answer_that_says_that_there_is_no_psk_any_more_is_believed() -> None:
    plan = _tunnel_plan.plan_present(SEEDED, {"description": "changed"})
    shown = _tunnel_apply.after_update(plan, {**SEEDED, "psk_metadata": {}})
    assert shown["psk_metadata"]["last_generated_on"] is None


# -- removal ----------------------------------------------------------------------------------------------------------

SETTABLE: dict[str, dict[str, Any]] = {
    "description": {"description": "a text"},
    "customer_endpoint": {"customer_endpoint": "198.51.100.77"},
    "interface_address6": {"interface_address6": "2606:54c1:7:0:a9fe:12d2:f:0/127"},
    "bgp": {"bgp": {"customer_asn": 65001}},
    "bgp.md5_key": {"bgp": {"customer_asn": 65001, "md5_key": "a key"}},
    "bgp.extra_prefixes": {"bgp": {"customer_asn": 65001, "extra_prefixes": ["10.1.0.0/24"]}},
    "bgp.import_filter_id": {"bgp": {"customer_asn": 65001, "import_filter_id": "in"}},
    "bgp.export_filter_id": {"bgp": {"customer_asn": 65001, "export_filter_id": "out"}},
    "custom_remote_identities": {"custom_remote_identities": {"fqdn_id": "x.33145236.custom.ipsec.cloudflare.com"}},
    "health_check.target": {"health_check": {"target": "192.0.2.1"}},
}
EMPTY: dict[str, dict[str, Any]] = {
    "description": {"description": ""},
    "customer_endpoint": {"customer_endpoint": ""},
    "interface_address6": {"interface_address6": ""},
    "bgp": {"bgp": {}},
    "bgp.md5_key": {"bgp": {"md5_key": ""}},
    "bgp.extra_prefixes": {"bgp": {"extra_prefixes": []}},
    "bgp.import_filter_id": {"bgp": {"import_filter_id": ""}},
    "bgp.export_filter_id": {"bgp": {"export_filter_id": ""}},
    "custom_remote_identities": {"custom_remote_identities": {"fqdn_id": ""}},
    "health_check.target": {"health_check": {"target": ""}},
}
# With partial_put a key that is left out says nothing; what is inside bgp goes with the whole of it.
KEPT_BY_MERGING = {"customer_endpoint", "interface_address6", "bgp", "custom_remote_identities"}


@pytest.fixture(scope="module", params=["false", "true"], ids=lambda x: f"partial_put={x}")
def partial(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """Both answers to the question whether a PUT replaces the tunnel, or merges."""
    with Simulator(args=["--assume", f"partial_put={request.param}"]) as simulator:
        yield simulator


def test_the_two_tables_name_every_removable_field() -> None:
    assert set(SETTABLE) == set(EMPTY) == set(_tunnel_plan.REMOVABLE)


@pytest.mark.parametrize("path", EMPTY)
def test_a_removal_is_gone_or_said_to_be_kept_whatever_a_put_does(
    partial: Simulator, client_of: ClientOf, path: str
) -> None:
    partial.reset()
    client = client_of(partial)
    made = client.create_tunnel({**NEW, **SETTABLE[path], "health_check": sent_target(SETTABLE[path])})
    merges = "partial_put=true" in partial._args
    if merges and path in KEPT_BY_MERGING:
        with pytest.raises(KeptError, match=f"^tunnel 'a new one': Cloudflare kept {path}, which") as caught:
            change(client, {"id": made["id"], **EMPTY[path]})
        assert caught.value.changed is False
        assert _tunnel_plan.is_set(caught.value.tunnel, path)
        return
    done = change(client, {"id": made["id"], **EMPTY[path]})
    assert done.tunnel is not None and not _tunnel_plan.is_set(done.tunnel, path)
    assert asked(partial)[-2:] == ["update", "get"]
    again = change(client, {"id": made["id"], **EMPTY[path]})
    assert again.plan.action == "none"


def sent_target(wanted: dict[str, Any]) -> dict[str, Any]:
    target = (wanted.get("health_check") or {}).get("target", "")
    return {"direction": "unidirectional", "target": {"saved": target}}


def test_what_else_was_changed_with_a_removal_that_failed_counts(make_simulator: Make, client_of: ClientOf) -> None:
    simulator = make_simulator(args=["--assume", "partial_put=true"])
    client = client_of(simulator)
    made = client.create_tunnel({**NEW, "customer_endpoint": "198.51.100.77"})
    with pytest.raises(KeptError) as caught:
        change(client, {"id": made["id"], "customer_endpoint": "", "description": "changed"})
    assert caught.value.changed is True
    assert caught.value.tunnel["description"] == "changed"


def test_a_check_run_of_a_removal_reads_nothing_again(simulator: Simulator, client: Client) -> None:
    made = client.create_tunnel({**NEW, "customer_endpoint": "198.51.100.77"})
    done = change(client, {"id": made["id"], "customer_endpoint": ""}, check=True)
    assert done.tunnel is not None and done.tunnel["customer_endpoint"] is None
    assert asked(simulator) == ["create", "list", "update?"]


def test_a_read_that_lags_behind_a_removal_is_repeated(simulator: Simulator, client: Client) -> None:
    made = client.create_tunnel({**NEW, "customer_endpoint": "198.51.100.77"})
    simulator.arm({"route": "update", "stale_reads": 2})
    done = change(client, {"id": made["id"], "customer_endpoint": ""})
    assert done.tunnel is not None and done.tunnel["customer_endpoint"] is None
    assert asked(simulator)[-3:] == ["get", "get", "get"]


def test_a_removal_that_cannot_be_read_again_is_not_known_to_be_done(simulator: Simulator, client: Client) -> None:
    made = client.create_tunnel({**NEW, "customer_endpoint": "198.51.100.77"})
    simulator.arm({"route": "get", "status": 403, "count": 0})
    with pytest.raises(
        CloudflareError, match=r"could not be read again .* whether customer_endpoint took effect"
    ) as caught:
        change(client, {"id": made["id"], "customer_endpoint": ""})
    assert caught.value.outcome_unknown


# -- fields that the schema does not know -----------------------------------------------------------------------------

POINTERS = ("/traffic_class", "/health_check/probe_interval")


@pytest.fixture
def odd(make_simulator: Make) -> Callable[[str], Simulator]:
    """A simulator with fields of tomorrow."""
    return lambda what: make_simulator(args=["--assume", f"unknown_fields={what}", "--assume", "read_only_extras=true"])


def test_a_writable_field_that_nobody_knows_survives_an_update(
    odd: Callable[[str], Simulator], client_of: ClientOf
) -> None:
    simulator = odd("writable")
    tunnel = next(x for x in simulator.state()["tunnels"] if x.get("bgp"))
    done = change(client_of(simulator), {"id": tunnel["id"], "description": "changed"})
    after = simulator.tunnels_by_name()[tunnel["name"]]
    assert (after["description"], after["traffic_class"]) == ("changed", "gold")
    assert after["health_check"]["probe_interval"] == 3
    assert done.left_out == () and warnings_of([done]) == []
    assert asked(simulator) == ["list", "update?", "update"]


def test_a_field_that_updates_refuse_is_left_out_with_a_warning(
    odd: Callable[[str], Simulator], client_of: ClientOf
) -> None:
    simulator = odd("refused")
    tunnel = simulator.state()["tunnels"][0]
    done = change(client_of(simulator), {"id": tunnel["id"], "description": "changed"})
    after = simulator.tunnels_by_name()[tunnel["name"]]
    assert (after["description"], after["traffic_class"]) == ("changed", "gold")
    assert done.left_out == POINTERS
    assert [x.split(" of ")[0] for x in warnings_of([done])] == [f"Cloudflare shows {x}" for x in POINTERS]
    assert asked(simulator) == ["list", "update?", "update?", "update", "get"]


def test_a_field_that_could_not_be_sent_and_has_changed_fails(
    odd: Callable[[str], Simulator], client_of: ClientOf
) -> None:
    simulator = odd("refused_and_reset")
    tunnel = simulator.state()["tunnels"][0]
    with pytest.raises(
        KeptError, match="/traffic_class, /health_check/probe_interval in an update, and has changed it"
    ) as caught:
        change(client_of(simulator), {"id": tunnel["id"], "description": "changed"})
    assert caught.value.changed is True


def test_a_check_run_finds_out_what_is_refused_and_writes_nothing(
    odd: Callable[[str], Simulator], client_of: ClientOf
) -> None:
    simulator = odd("refused")
    done = change(client_of(simulator), {"id": simulator.state()["tunnels"][0]["id"], "description": "x"}, check=True)
    assert done.left_out == POINTERS
    assert simulator.writes() == 0


def test_what_one_update_has_learned_the_next_one_knows(odd: Callable[[str], Simulator], client_of: ClientOf) -> None:
    simulator = odd("refused")
    client, unknown = client_of(simulator), UnknownFields()
    for tunnel in client.list_tunnels()[:3]:
        plan = _tunnel_plan.plan_present(tunnel, {"description": "changed"})
        write(client, plan, validate_only=False, unknown=unknown)
    assert asked(simulator) == ["list", "update?", "update?", "update", "update", "update"]


def test_a_refusal_of_anything_else_leaves_nothing_out(odd: Callable[[str], Simulator], client_of: ClientOf) -> None:
    simulator = odd("writable")
    tunnel = simulator.state()["tunnels"][0]
    with pytest.raises(ApiError, match="/interface_address"):
        change(client_of(simulator), {"id": tunnel["id"], "interface_address": "192.0.2.8/31"})
    assert asked(simulator) == ["list", "update?"]
    assert simulator.writes() == 0


@pytest.mark.parametrize(
    ("error", "left_out"),
    [
        ({"code": 1022, "message": 'json: unknown field "colour"'}, ("/colour",)),
        ({"code": 1022, "message": "Unknown field: colour."}, ()),
        ({"code": 1022, "message": "unknown field 'colour'"}, ("/colour",)),
        ({"code": 1022, "message": 'json: unknown field "name"'}, ()),
        ({"code": 1022, "message": "colour is not allowed"}, ()),
        ({"code": 1022, "message": "no", "source": {"pointer": "/colour"}}, ("/colour",)),
        ({"code": 1022, "message": "no", "source": {"pointer": "/colour/0"}}, ("/colour",)),
        ({"code": 1022, "message": "no", "source": {"pointer": "#/colour"}}, ("/colour",)),
        ({"code": 1022, "message": "no", "source": {"pointer": "colour"}}, ("/colour",)),
        ({"code": 1022, "message": "no", "source": {"pointer": "/colours"}}, ()),
        ({"code": 1022, "message": "no", "source": {"pointer": "/name"}}, ()),
    ],
    ids=str,
)
def test_only_a_refusal_of_exactly_the_field_counts(
    wire: Wire, client_of: ClientOf, error: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    """A server says what the simulator does not: Go's words, and pointers below and beside the field."""
    current = {**SEEDED, "colour": "red"}
    seen: list[Any] = []

    def say(heard: Heard) -> Say:
        seen.append(heard.body)
        if heard.method == "GET":
            return Say(envelope({"ipsec_tunnel": current}))
        if "colour" in heard.body:
            return Say({"success": False, "errors": [error], "messages": [], "result": None}, 400)
        return Say(envelope({"modified": True, "modified_ipsec_tunnel": current}))

    wire.answers.clear()
    wire.answers.append(say)
    plan = _tunnel_plan.plan_present(current, {"description": "changed"})
    if left_out:
        assert apply_plan(client_of(wire), plan, validate_only=False).left_out == left_out
    else:
        with pytest.raises(ApiError):
            apply_plan(client_of(wire), plan, validate_only=False)
        assert len(seen) == 1
