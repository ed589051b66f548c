# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results and summary: what device tasks get, and what anybody may read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import view
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _plan, _results, _status, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Moves
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import Options, Planned
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IN_DOUBT,
    STUCK,
    Record,
    Refused,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import failures, in_check, summary
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Outcome, Result, State

from tests.unit.plugins.plugin_utils import accounts
from tests.unit.plugins.plugin_utils.records import LONG_AGO, ME, START, at, known, record_in, trace

ID = "e78fe28aa2ccbff743702b6cf2a1ac42"
NUMBER = "33145236"
FQDN = f"{ID}.{NUMBER}.ipsec.cloudflare.com"
ENTRY = Planned(ID, "Rome 1", "rome", "rome", trace(LONG_AGO), "due", "it is old")


def tunnel(**fields: Any) -> dict[str, Any]:
    """A tunnel as the API shows it."""
    given = {
        "id": ID,
        "name": "Rome 1",
        "cloudflare_endpoint": "203.0.113.1",
        "customer_endpoint": "198.18.0.1",
        "interface_address": "10.64.0.0/31",
        "remote_identities": {"fqdn_id": FQDN, "user_id": f"ipsec@{FQDN}"},
        "psk_metadata": {"last_generated_on": at(LONG_AGO)},
    }
    return {**given, **fields}


def first(record: Record | None = None, entry: Planned = ENTRY, **fields: Any) -> Result:
    """The result of a tunnel of which nothing is done."""
    return _results.first_result(view(tunnel(**fields)), entry, record)


def state(**fields: Any) -> State:
    """The state of a rotation of the one tunnel."""
    rome = frozenset(["rome"])
    options = Options(hosts=rome, devices=rome, now=START * NANO, force=True, unknown_psk="rotate", **fields)
    plan = _plan.plan([tunnel()], {}, {ID: "rome"}, options)
    return _results.first_state("r1", options, plan, [tunnel()], {})


def after(*outcomes: Outcome) -> Result:
    """The result of the tunnel once these outcomes are known."""
    (result,) = _results.after(state(), outcomes, changed=True).results["rome"]
    return result


def outcome(status: str, **fields: Any) -> Outcome:
    return Outcome(ID, "Rome 1", "rome", status, **fields)


def one(status: str, **fields: Any) -> Result:
    return replace(first(), status=status, **fields)


# -- before anything is done ------------------------------------------------------------------------------------------


def test_without_news_a_result_has_what_the_escrow_knows() -> None:
    found = first(known())
    assert (found.psk, found.applied_on, found.generation, found.changed) == ("old", at(LONG_AGO), 1, False)


def test_of_a_tunnel_that_the_escrow_does_not_know_nothing_is_told() -> None:
    found = first(None)
    assert (found.psk, found.applied_on, found.generation) == (None, None, None)


@pytest.mark.parametrize("record", [record_in(IN_DOUBT), record_in(STUCK)])
def test_while_nobody_knows_what_cloudflare_has_no_psk_is_published(record: Record) -> None:
    assert first(record).psk is None


def test_of_a_tunnel_that_somebody_else_has_changed_no_psk_is_published() -> None:
    assert first(known(), replace(ENTRY, status="stuck")).psk is None


def test_a_result_has_both_inside_addresses() -> None:
    found = first(interface_address="10.64.0.0/31", interface_address6="2001:db8::/127").to_dict()
    assert found["cloudflare_inside_address"] == "10.64.0.0"
    assert found["customer_inside_address"] == "10.64.0.1"
    assert found["inside_prefix_length"] == 31
    assert found["cloudflare_inside_address6"] == "2001:db8::"
    assert found["customer_inside_address6"] == "2001:db8::1"


def test_the_identities_of_a_device() -> None:
    assert first().ike_ids == {
        "fqdn": FQDN,
        "user_fqdn": f"ipsec@{FQDN}",
        "key_id": f"{NUMBER}_{ID}",
        "custom_fqdn": None,
    }


def test_the_identities_are_made_of_the_ipsec_id_that_the_escrow_has() -> None:
    found = first(replace(known(), ipsec_id=f"{NUMBER}_{ID}"), remote_identities={})
    assert (found.ike_ids["fqdn"], found.ike_ids["user_fqdn"]) == (FQDN, f"ipsec@{FQDN}")


def test_without_any_identity_there_is_none() -> None:
    found = first(remote_identities={})
    assert found.ike_ids == {"fqdn": None, "user_fqdn": None, "key_id": None, "custom_fqdn": None}


def test_an_own_fqdn_is_shown() -> None:
    assert first(custom_remote_identities={"fqdn_id": "rome.example"}).ike_ids["custom_fqdn"] == "rome.example"


def test_the_health_gate_gets_the_whole_group_whoever_is_in_the_play() -> None:
    tunnels = [accounts.tunnel("t1", "berlin-a"), accounts.tunnel("t2", "berlin-b", health_check={"enabled": False})]
    plan = _plan.plan(tunnels, {}, {"t1": "a"}, Options(hosts=frozenset(["a"]), unknown_psk="rotate"))
    (group,) = _results.members(plan, tunnels).values()
    assert [(x["name"], x["health_check"]) for x in group] == [("berlin-a", {}), ("berlin-b", {"enabled": False})]


# -- what has happened ------------------------------------------------------------------------------------------------


def test_a_result_has_what_happened() -> None:
    found = after(outcome("delivered", known=True, psk="new", applied_on=at(1), generation=2))
    assert (found.status, found.changed, found.psk, found.applied_on, found.generation) == (
        "delivered",
        True,
        "new",
        at(1),
        2,
    )


def test_what_an_outcome_does_not_say_stays() -> None:
    found = after(outcome("applied", known=True, psk="new", reason="r"), outcome("failed"))
    assert (found.status, found.changed, found.psk, found.reason) == ("failed", False, "new", "r")


def test_that_nobody_knows_the_psk_is_said_by_an_outcome_that_knows_the_record() -> None:
    found = after(outcome("applied", known=True, psk="new"), outcome("in_doubt", known=True, psk=None))
    assert (found.status, found.psk) == ("in_doubt", None)


def test_the_identities_are_made_of_the_ipsec_id_that_the_api_has_told() -> None:
    (found,) = _results.after(
        replace(state(), results={"rome": [first(remote_identities={})]}),
        [outcome("delivered", ipsec_id=f"{NUMBER}_{ID}")],
        changed=True,
    ).results["rome"]
    assert (found.ike_ids["fqdn"], found.ike_ids["key_id"]) == (FQDN, f"{NUMBER}_{ID}")


def test_the_last_status_of_a_tunnel_is_the_one_that_later_waves_see() -> None:
    found = _results.after(state(), [outcome("applied"), outcome("rolled_back")], changed=True)
    assert found.statuses == {ID: "rolled_back"}


def test_outcomes_are_made_of_what_became_of_the_records() -> None:
    moved = _transitions.confirm(record_in(APPLIED), "confirmed", ME).record
    moves = Moves(
        {"t1": _transitions.Moved(moved, "confirmed")},
        {"t2": Refused("another run works on it", excused=True)},
    )
    places = {"t1": ("one", "a"), "t2": ("two", "b")}
    done, refused = _results.outcomes(moves, places, {"t1": 2.5}, recorded_at=7.0)
    assert done == Outcome(
        "t1",
        "one",
        "a",
        "confirmed",
        known=True,
        psk="new",
        rotation_id="rotation of me",
        applied_on=at(1),
        confirmed_on=at(0),
        generation=2,
        exposure_seconds=2.5,
        recorded_at=7.0,
    )
    assert refused == Outcome("t2", "two", "b", "skipped", reason="another run works on it", excused=True)


def test_what_is_told_of_a_tunnel_that_another_run_has_rotated_is_its_psk_of_now() -> None:
    rotated = Refused("another run has rotated it meanwhile", status="unchanged")
    rotated.record = _transitions.confirm(record_in(APPLIED), "confirmed", ME).record
    (told,) = _results.outcomes(Moves({}, {"t1": rotated}), {"t1": ("one", "a")})
    assert (told.status, told.known, told.psk, told.applied_on, told.generation) == ("unchanged", True, "new", at(1), 2)


# -- check runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(_status.CHANGED))
def test_what_would_change_is_planned_in_a_check_run_without_psk_and_times(status: str) -> None:
    found = in_check(
        one(status, changed=True, psk="never sent", applied_on=at(0), confirmed_on=at(0), exposure_seconds=1.0)
    )
    assert (found.status, found.changed) == ("planned", True)
    assert (found.psk, found.applied_on, found.confirmed_on, found.exposure_seconds) == (None, None, None, None)


@pytest.mark.parametrize("status", ["unchanged", "waiting", "stuck", "skipped", "unknown"])
def test_what_would_stay_is_shown_as_in_a_real_run(status: str) -> None:
    result = one(status, psk="old")
    assert in_check(result) == result


def test_a_device_that_fails_in_a_check_run_has_failed_and_no_psk_is_shown() -> None:
    found = in_check(one("failed", psk="never sent"))
    assert (found.status, found.psk) == ("failed", None)


# -- summary ----------------------------------------------------------------------------------------------------------


def test_a_summary_counts() -> None:
    told = summary([one("delivered", changed=True, exposure_seconds=2.0), one("refused")], 2, "r1")
    assert (told["tunnels"], told["waves"], told["changed"], told["failed"]) == (2, 2, 1, 1)
    assert told["statuses"] == {"delivered": 1, "refused": 1}
    assert told["message"] == "1 delivered, 1 refused"
    assert told["rotation_id"] == "r1"
    assert told["by_tunnel"][ID] == {
        "name": "Rome 1",
        "host": "rome",
        "status": "refused",
        "reason": "it is old",
        "applied_on": None,
        "confirmed_on": None,
        "generation": None,
    }


def test_a_summary_has_no_psk() -> None:
    assert "TheSecretOfThisTest" not in str(summary([one("delivered", psk="TheSecretOfThisTest")], 1, ""))


def test_a_summary_of_nothing() -> None:
    told = summary([], 0, "")
    assert (told["tunnels"], told["failed"], told["message"], told["failures"]) == (0, 0, "no tunnels", "")
    assert told["exposure_p50_seconds"] is None


def test_the_exposure_of_the_slow_ones() -> None:
    told = summary([one("delivered", exposure_seconds=float(n)) for n in range(1, 101)], 1, "")
    assert (told["exposure_p50_seconds"], told["exposure_p95_seconds"]) == (51.0, 96.0)


@pytest.mark.parametrize("status", sorted(_status.harmless_in("rotate")))
def test_what_needs_nobody_is_no_failure(status: str) -> None:
    assert failures([one(status)]) == ""


def test_what_is_still_due_was_never_come_to_but_in_a_report() -> None:
    assert failures([one("due")]) != ""
    assert failures([one("due")], "report") == ""


@pytest.mark.parametrize("status", sorted(set(_status.TABLE) - _status.harmless_in("rotate")))
def test_what_needs_somebody_is_named_with_its_reason(status: str) -> None:
    line = failures([one(status, reason="so it is")])
    assert line == f"1 of 1 tunnels are not done: Rome 1 {status}: so it is"


def test_what_a_living_run_works_on_is_no_failure() -> None:
    assert failures([one("skipped", excused=True)]) == ""


def test_a_rolled_back_tunnel_is_what_a_rollback_wants() -> None:
    assert failures([one("rolled_back")], "rollback") == ""
    assert summary([one("rolled_back")], 1, "", "rollback")["failed"] == 0


def test_many_failures_stay_one_line() -> None:
    line = failures([one("refused", reason="no")] * 12)
    assert line.startswith("12 of 12")
    assert line.endswith("; and 2 more")
    assert "\n" not in line
