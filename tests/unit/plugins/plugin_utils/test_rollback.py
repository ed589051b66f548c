# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which finished rotations a rollback is about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _adoption, _plan, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import APPLIED, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rollback import check_id, judge

from tests.unit.plugins.plugin_utils.accounts import tunnel
from tests.unit.plugins.plugin_utils.records import LATER, LONG_AGO, ME, START, at, known, prepare, record_in, trace

HOUR = 3600
ROTATED = _transitions.confirm(record_in(APPLIED), "confirmed", ME).record
NOW = (START + HOUR) * NANO


def rolled_back(record: Record = ROTATED) -> Record:
    """The record after its finished rotation was rolled back."""
    record = _transitions.roll_back(record, "rolled back", LATER, trace(1)).record
    record = _transitions.applied(record, at(21), LATER).record
    return _transitions.confirm(record, "delivered", LATER).record


def last(record: Record, within: int = 24 * HOUR) -> str:
    return judge(record, "last", within, NOW)[0]


def test_last_is_the_latest_rotation_of_a_tunnel() -> None:
    assert last(ROTATED) == "due"


def test_last_reaches_no_further_than_it_is_told() -> None:
    assert last(ROTATED, 60) == "unchanged"
    assert judge(ROTATED, "last", 60, NOW)[1] == "its latest rotation is older than 1m (psk_rotation_rollback_within)"


def test_a_rotation_of_which_nobody_knows_the_time_is_not_the_last() -> None:
    assert ROTATED.current is not None
    assert last(replace(ROTATED, current=replace(ROTATED.current, applied_on=None, made_on=None))) == "unchanged"


def test_a_rollback_that_is_run_again_does_not_rotate_again() -> None:
    assert last(rolled_back()) == "unchanged"


def test_an_adopted_psk_is_no_rotation() -> None:
    adopted = _adoption.adopt(None, _adoption.Candidate("one", trace(LONG_AGO), "given"), ME).record
    assert last(adopted) == "unchanged"


def test_what_was_rolled_back_says_so_and_is_as_old_as_when_it_was_made() -> None:
    record = _transitions.roll_back(ROTATED, "rolled back", LATER, trace(1)).record
    record = _transitions.applied(record, at(21), LATER).record
    moved = _transitions.confirm(record, "delivered", LATER)
    assert moved.status == "rolled_back"
    current = moved.record.current
    assert current is not None
    assert (current.psk, current.applied_on, current.made_on, current.restored) == ("old", at(21), at(LONG_AGO), True)
    assert Record.from_dict(moved.record.to_dict()) == moved.record


def test_an_id_that_is_not_the_latest_one_is_not_rolled_back() -> None:
    assert judge(rolled_back(), "rotation of me", HOUR, NOW) == (
        "unchanged",
        "nothing to roll back: its latest rotation is rotation of later",
    )


@pytest.mark.parametrize("rollback_id", ["", "last", "rotation of me"])
def test_an_id_that_some_tunnel_knows_is_accepted_also_when_it_is_rolled_back_by_now(rollback_id: str) -> None:
    check_id(rollback_id, [known(), rolled_back()])


def test_an_unknown_id_is_refused_before_the_first_write() -> None:
    options = _plan.Options(
        hosts=frozenset(["localhost"]), mode="rollback", rollback_id="rotation of nobody", max_age=1, now=NOW
    )
    with pytest.raises(InputError, match="no tunnel of this play had the rotation 'rotation of nobody'"):
        _plan.plan([tunnel("t1", "one")], {"t1": ROTATED}, {"t1": "localhost"}, options)


def test_the_rotation_of_a_tunnel_outside_of_the_play_is_unknown() -> None:
    options = _plan.Options(hosts=frozenset(["localhost"]), mode="rollback", rollback_id="rotation of me", now=NOW)
    tunnels = [tunnel("t1", "one"), tunnel("t2", "two")]
    with pytest.raises(InputError, match="nothing was written: last takes"):
        _plan.plan(tunnels, {"t1": ROTATED}, {"t2": "localhost"}, options)


ADOPTED = _adoption.adopt(None, _adoption.Candidate("one", trace(LONG_AGO), "given"), ME).record
UNPROVEN = "the PSK before, which is set again, was never seen to work"


def rotated_from(record: Record) -> Record:
    """The record with a PSK that Cloudflare has, and the device not yet."""
    return _transitions.applied(prepare(record, LONG_AGO, "new").record, at(1), ME).record


def test_a_rollback_to_a_psk_that_was_never_proven_says_so() -> None:
    record = _transitions.roll_back(rotated_from(ADOPTED), "the device failed", ME).record
    assert record.reason == f"the device failed; {UNPROVEN}"
    assert _transitions.roll_back(rotated_from(known()), "the device failed", ME).record.reason == "the device failed"


def test_a_finished_rotation_that_is_rolled_back_to_such_a_psk_says_so_too() -> None:
    finished = _transitions.confirm(rotated_from(ADOPTED), "confirmed", ME).record
    assert rolled_back(finished).reason == UNPROVEN
    assert rolled_back().reason is None


def test_a_psk_that_was_proven_before_it_was_replaced_stays_proven() -> None:
    current = rolled_back().current
    assert current is not None and current.confirmed is True
