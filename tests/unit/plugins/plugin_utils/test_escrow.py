# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The escrow's transitions: what each does in each state, and what it refuses."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _escrow
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    PREPARED,
    ROLLING_BACK,
    STUCK,
    Claim,
    Record,
    Refused,
)

T0, T1, T2, T3 = (f"2026-09-01T0{hour}:00:00.123456Z" for hour in range(4))
NOW = 1_790_000_000.0
ME = Claim("rotation-1", "me", NOW, NOW + 900)
OTHER = Claim("rotation-2", "other", NOW + 10, NOW + 910)
LATER = Claim("rotation-3", "later", NOW + 2000, NOW + 2900)


def prepare(record: Record | None, reported: str | None, new: str, claim: Claim = ME, force: bool = False) -> Record:
    return _escrow.prepare(record, name="one", reported=reported, new_psk=new, claim=claim, force=force)


def known(psk: str = "old", on: str = T0) -> Record:
    """An idle record with a current PSK."""
    return _escrow.confirm(_escrow.applied(prepare(None, None, psk), on, ME), ME, seen=True)


def record_in(state: str) -> Record:
    """A record with the current PSK `old` and the pending one `new`, held by ME unless its transition let go of it."""
    record = known()
    if state == IDLE:
        return record
    record = prepare(record, T0, "new")
    if state == PREPARED:
        return record
    if state == IN_DOUBT:
        return _escrow.in_doubt(record, "no answer", ME)
    if state == STUCK:
        return _escrow.stick(record, "look", ME)
    record = _escrow.applied(record, T1, ME)
    return record if state == APPLIED else _escrow.roll_back(record, "the device failed", ME)


def keys(record: Record) -> dict[str, Any]:
    found = {name: (record[name] or {}).get("psk") for name in ("current", "previous", "pending")}
    return {**found, "discarded": [x["psk"] for x in record["discarded"]]}


MOVES = {
    "prepare": lambda r: prepare(r, T1 if r["state"] == APPLIED else T0, "newer", LATER),
    "force": lambda r: prepare(r, T1, "newer", LATER, force=True),
    "applied": lambda r: _escrow.applied(r, T2, ME),
    "unapplied": lambda r: _escrow.unapplied(r, "no", ME),
    "in_doubt": lambda r: _escrow.in_doubt(r, "no answer", ME),
    "confirm": lambda r: _escrow.confirm(r, ME, seen=True),
    "roll_back": lambda r: _escrow.roll_back(r, "failed", ME),
    "release": lambda r: _escrow.release(r, None, ME),
    "stick": lambda r: _escrow.stick(r, "look", ME),
}
# What follows from each state, in the order of STATES; None: refused.
STATES = (IDLE, PREPARED, IN_DOUBT, APPLIED, ROLLING_BACK, STUCK)
TABLE = {
    "prepare": (PREPARED, PREPARED, IN_DOUBT, APPLIED, IN_DOUBT, None),
    "force": (PREPARED, PREPARED, IN_DOUBT, APPLIED, IN_DOUBT, IN_DOUBT),
    "applied": (None, APPLIED, None, APPLIED, ROLLING_BACK, None),
    "unapplied": (None, IDLE, None, None, ROLLING_BACK, None),
    "in_doubt": (None, IN_DOUBT, None, None, ROLLING_BACK, None),
    "confirm": (None, None, None, IDLE, None, None),
    "roll_back": (None, ROLLING_BACK, ROLLING_BACK, ROLLING_BACK, ROLLING_BACK, None),
    "release": STATES,
    "stick": (STUCK,) * 6,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("move", MOVES)
def test_state_table(move: str, state: str) -> None:
    record = record_in(state)
    before = copy.deepcopy(record)
    expected = TABLE[move][STATES.index(state)]
    if expected is None:
        with pytest.raises(Refused):
            MOVES[move](record)
    else:
        after = MOVES[move](record)
        assert after["state"] == expected
        assert _escrow.complete(json.loads(json.dumps(after))) == after
        assert after["history"][-1]["rotation_id"].startswith("rotation-")
    assert record == before, "the given record was changed"


def test_a_rotation_from_nothing_to_confirmed() -> None:
    record = prepare(None, None, "first")
    assert record["state"] == PREPARED
    assert _escrow.psk_to_send(record) == "first"
    assert _escrow.psk_of_device(record) is None
    record = _escrow.applied(record, T1, ME, "12_one")
    assert _escrow.psk_to_send(record) is None
    assert _escrow.psk_of_device(record) == "first"
    record = _escrow.confirm(record, ME, seen=True)
    assert (record["state"], record["generation"], record["ipsec_id"], record["lease"]) == (IDLE, 1, "12_one", None)
    assert record["current"]["applied_on"] == T1
    assert record["current"]["confirmed"] is True


def test_previous_is_kept_after_a_confirmation() -> None:
    record = _escrow.confirm(record_in(APPLIED), ME, seen=False)
    assert keys(record) == {"current": "new", "previous": "old", "pending": None, "discarded": []}
    assert record["current"]["confirmed"] is False


@pytest.mark.parametrize("state", [PREPARED, IN_DOUBT, APPLIED, ROLLING_BACK])
def test_an_unresolved_rotation_is_resumed_with_its_own_psk(state: str) -> None:
    record = prepare(record_in(state), T1, "another", LATER)
    assert record["pending"]["psk"] == "new"
    assert record["lease"]["owner"] == "later"


def test_a_first_refusal_drops_the_psk_and_a_second_keeps_it() -> None:
    first = _escrow.unapplied(record_in(PREPARED), "no", ME)
    assert keys(first) == {"current": "old", "previous": None, "pending": None, "discarded": []}
    second = _escrow.unapplied(prepare(record_in(IN_DOUBT), T0, "x", LATER), "no", LATER)
    assert second["state"] == IDLE
    assert keys(second) == {"current": "old", "previous": None, "pending": None, "discarded": ["new"]}


def test_a_refusal_leaves_the_doubt_when_the_tunnels_time_has_moved() -> None:
    record = _escrow.unapplied(prepare(record_in(IN_DOUBT), T1, "x", LATER), "no", LATER)
    assert record["state"] == IN_DOUBT
    assert record["pending"]["psk"] == "new"


def test_discarded_psks_are_kept_to_a_limit() -> None:
    record = known()
    for number in range(_escrow.DISCARDED_LENGTH + 2):
        record = _escrow.in_doubt(prepare(record, T0, f"new {number}"), "no answer", ME)
        record = _escrow.unapplied(prepare(record, T0, "x"), "no", ME)
    assert keys(record)["discarded"] == [f"new {n}" for n in range(6, 1, -1)]


def test_a_rollback_ends_with_the_earlier_psk() -> None:
    record = record_in(ROLLING_BACK)
    assert _escrow.psk_to_send(record) == "old"
    record = _escrow.applied(record, T2, ME)
    assert _escrow.psk_to_send(record) is None
    assert _escrow.psk_of_device(record) == "old"
    record = _escrow.confirm(record, ME, seen=True)
    assert (record["state"], record["generation"]) == (IDLE, 1)
    assert keys(record) == {"current": "old", "previous": None, "pending": None, "discarded": ["new"]}
    assert not _escrow.is_foreign(_escrow.view(record), T2)


def test_a_rollback_whose_answer_was_lost_is_no_foreign_change() -> None:
    record = _escrow.in_doubt(record_in(ROLLING_BACK), "no answer", ME)
    resumed = prepare(record, T2, "x", LATER)
    assert resumed["state"] == IN_DOUBT
    assert _escrow.psk_to_send(resumed) == "new"


def test_turning_an_applied_rollback_forward_remembers_what_cloudflare_holds() -> None:
    record = prepare(_escrow.applied(record_in(ROLLING_BACK), T2, ME), T2, "x", LATER)
    record = _escrow.unapplied(record, "no", LATER)
    assert record["state"] == IDLE
    assert record["current"]["applied_on"] == T2
    assert not _escrow.is_foreign(_escrow.view(record), T2)


def test_the_first_psk_can_only_go_forward() -> None:
    record = _escrow.applied(prepare(None, T0, "first"), T1, ME)
    with pytest.raises(Refused, match="only go forward"):
        _escrow.roll_back(record, "failed", ME)


def test_a_confirmed_rotation_is_turned_back_by_a_rotation_to_the_psk_before() -> None:
    record = _escrow.confirm(record_in(APPLIED), ME, seen=True)
    with pytest.raises(Refused, match="somebody else"):
        _escrow.roll_back(record, "by hand", LATER, T2)
    with pytest.raises(Refused, match="another run has rotated it"):
        _escrow.roll_back(record, "by hand", LATER, T0)
    record = _escrow.roll_back(record, "by hand", LATER, T1)
    assert (record["state"], _escrow.psk_to_send(record)) == (PREPARED, "old")
    record = _escrow.confirm(_escrow.applied(record, T2, LATER), LATER, seen=True)
    assert keys(record) == {"current": "old", "previous": "new", "pending": None, "discarded": []}


# -- foreign changes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "reported"), [(IDLE, T1), (APPLIED, T2)])
def test_a_foreign_change_sticks_and_is_overwritten_by_force_only(state: str, reported: str) -> None:
    record = prepare(record_in(state), reported, "x", LATER)
    assert record["state"] == STUCK
    assert "somebody else" in record["reason"]
    with pytest.raises(Refused, match="stuck"):
        prepare(record, reported, "x", LATER)
    forced = prepare(record, reported, "x", LATER, force=True)
    assert _escrow.psk_to_send(forced) == ("x" if state == IDLE else "new")
    assert forced["current"]["superseded"] is True
    with pytest.raises(Refused, match="only go forward"):
        _escrow.roll_back(_escrow.applied(forced, T3, LATER), "failed", LATER)


def test_a_record_that_stuck_in_a_rollback_knows_which_psk_was_rolled_back_to() -> None:
    record = _escrow.applied(record_in(ROLLING_BACK), T2, ME)
    assert _escrow.stick(record, "look", ME)["current"]["applied_on"] == T2


def test_an_older_time_is_a_stale_read_and_no_foreign_change() -> None:
    assert not _escrow.is_foreign(_escrow.view(record_in(APPLIED)), T0)


def test_a_tunnel_that_another_run_has_just_rotated_is_not_rotated_again() -> None:
    record = known(on=T2)
    with pytest.raises(Refused, match="another run has rotated it"):
        prepare(record, T1, "x", OTHER)
    assert prepare(record, T1, "x", OTHER, force=True)["state"] == PREPARED


# -- leases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "move", [m for m in MOVES if m not in ("prepare", "force", "applied", "unapplied", "in_doubt")]
)
def test_a_live_lease_keeps_others_out(move: str) -> None:
    record = prepare(known(), T0, "new", Claim("r", "somebody", NOW, NOW + 900))
    with pytest.raises(Refused, match="another run"):
        MOVES[move](record)


def test_a_lease_ends_by_time_or_with_its_process() -> None:
    record = record_in(PREPARED)
    with pytest.raises(Refused, match=r"another run works on it \(me\)"):
        prepare(record, T0, "x", OTHER)
    dead = Claim("r", "other", NOW + 10, NOW + 910, is_dead=lambda owner: owner == "me")
    assert prepare(record, T0, "x", dead)["lease"]["owner"] == "other"
    assert prepare(record, T0, "x", LATER)["lease"]["owner"] == "later"


@pytest.mark.parametrize("claim", [LATER, Claim("r", "other", NOW + 5000, NOW + 6000)])
def test_only_the_run_that_took_the_tunnel_says_what_became_of_it(claim: Claim) -> None:
    record = record_in(PREPARED)
    for move in (_escrow.applied, _escrow.unapplied, _escrow.in_doubt):
        with pytest.raises(Refused, match="taken it over"):
            move(record, T1, claim)


def test_an_expired_lease_that_nobody_took_over_still_counts() -> None:
    late = Claim("rotation-1", "me", NOW + 5000, NOW + 5900)
    record = _escrow.applied(record_in(PREPARED), T1, late)
    assert record["state"] == APPLIED
    assert record["lease"]["until"] == NOW + 5900


# -- an answer that comes after another run took over ------------------------------------------------------------------


def test_late_the_same_psk_was_set_again() -> None:
    for state, part in ((IDLE, "current"), (APPLIED, "pending")):
        record = _escrow.confirm(record_in(APPLIED), ME, seen=True) if state == IDLE else record_in(state)
        after = _escrow.applied_late(record, "new", T3, OTHER)
        assert (after["state"], after[part]["applied_on"]) == (state, T3)
        assert _escrow.applied_late(after, "new", T2, OTHER)[part]["applied_on"] == T3


def test_late_the_psk_before_was_set_again() -> None:
    record = _escrow.applied_late(record_in(APPLIED), "old", T3, OTHER)
    assert record["state"] == IN_DOUBT
    assert _escrow.psk_to_send(record) == "new"


def test_late_during_a_rollback() -> None:
    turned = _escrow.applied(record_in(ROLLING_BACK), T2, ME)
    assert _escrow.psk_to_send(_escrow.applied_late(turned, "new", T3, OTHER)) == "old"
    assert _escrow.applied_late(turned, "old", T3, OTHER)["rollback"]["applied_on"] == T3


def test_late_a_discarded_psk_came_to_life() -> None:
    record = _escrow.confirm(_escrow.applied(record_in(ROLLING_BACK), T2, ME), ME, seen=True)
    record = _escrow.applied_late(record, "new", T3, OTHER)
    assert record["state"] == APPLIED
    assert keys(record) == {"current": "old", "previous": None, "pending": "new", "discarded": []}
    assert not _escrow.is_foreign(_escrow.view(record), T3)


@pytest.mark.parametrize("psk", [None, "unknown"])
def test_late_and_nothing_is_learnt(psk: str | None) -> None:
    for state in STATES:
        with pytest.raises(Refused, match="taken it over"):
            _escrow.applied_late(record_in(state), psk, T3, OTHER)


# -- stored records ----------------------------------------------------------------------------------------------------


def test_a_record_written_by_hand_needs_its_psk_only() -> None:
    record = _escrow.complete({"name": "one", "current": {"psk": "by hand"}})
    assert _escrow.psk_of_device(record) == "by hand"
    record = _escrow.applied(prepare(record, T0, "new"), T1, ME)
    assert keys(_escrow.confirm(record, ME, seen=True))["previous"] == "by hand"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("text", "not a mapping"),
        ({"state": "lost"}, "state must be one of"),
        ({"generation": "many"}, "generation is not an integer"),
        ({"history": {}}, "history is not a list"),
        ({"current": "s3cret-psk"}, "current must be a mapping with psk"),
        ({"current": {"psk": 12345678}}, "put it into quotes"),
        ({"state": "applied"}, "no pending PSK"),
        ({"pending": {"psk": "s3cret-psk"}}, "pending must be a mapping with"),
        ({"discarded": ["s3cret-psk"]}, "discarded must be a mapping"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused_without_showing_it(record: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        _escrow.complete(record)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("state", STATES)
def test_view_and_history_hold_no_psk(state: str) -> None:
    record = record_in(state)
    shown = json.dumps([_escrow.view(record), record["history"]])
    assert '"old"' not in shown
    assert '"new"' not in shown


def test_the_history_is_short() -> None:
    record = known()
    for _number in range(50):
        record = _escrow.release(record, None, ME)
    assert len(record["history"]) == _escrow.HISTORY_LENGTH
