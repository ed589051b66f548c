# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any order of transitions, by two runs: no key that was sent is lost, none is shown, and every state is reached.

What whole runs make of it, with crashes and races in the store, is tests/model's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import LATE_REQUEST, NANO, Trace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _repairs, _status, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._late import applied_late
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import STATES, Claim, Record, Refused
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._shown import shown
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved, Target
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.unit.plugins.plugin_utils.records import LONG_AGO, at, claim, known, prepare, record_in
from tests.unit.plugins.plugin_utils.strategies import MARK

RUNS = st.sampled_from(["one", "two"])
# How long after it was sent a request may be carried out, in minutes.
LATE = LATE_REQUEST / NANO / 60
ANSWERS = ("applied", "applied", "refused", "refused, and yet set", "lost, and set", "lost, on its way", "lost")


class Transitions(RuleBasedStateMachine):
    """One record, Cloudflare, and two runs that do what they like, as long as they hold the tunnel when they send."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.record: Record | None = None
        self.psk: str | None = "somebody's"
        self.set_on: float | None = LONG_AGO
        self.seen_before: float | None = LONG_AGO
        self.made = 0
        self.ours: set[str] = set()
        self.on_their_way: list[tuple[str, float]] = []
        self.late_answers: list[tuple[str, str, float]] = []

    # -- the world --------------------------------------------------------------------------------------------------

    def set_at_cloudflare(self, psk: str) -> None:
        self.now += 0.2
        self.seen_before, self.set_on, self.psk = self.set_on, self.now, psk

    def claim(self, run: str) -> Claim:
        return claim(run, self.now)

    def move(self, transition: Callable[[Record], Moved]) -> Moved | None:
        """Moves the record, unless it is refused."""
        if self.record is None:
            return None
        try:
            moved = transition(self.record)
        except Refused:
            return None
        self.record = moved.record
        return moved

    # -- runs -------------------------------------------------------------------------------------------------------

    @rule(run=RUNS, stale=st.booleans(), force=st.sampled_from([False, False, False, True]), finish=st.booleans())
    def take(self, run: str, stale: bool, force: bool, finish: bool) -> None:
        seen = self.seen_before if stale else self.set_on
        self.made += 1
        psk = f"{MARK}-{self.made}"
        target = Target("one", Trace(None if seen is None else at(seen)), finish=finish)
        before = self.record
        try:
            moved = _transitions.prepare(self.record, target, psk, self.claim(run), force=force)
        except Refused:
            return
        self.record = moved.record
        self.ours |= moved.record.keys()
        if before is not None and before.pending is not None and moved.record.pending is not None:
            assert moved.record.pending.psk == before.pending.psk, "a second candidate while one is unresolved"

    @rule(run=RUNS, answer=st.sampled_from(ANSWERS))
    def send(self, run: str, answer: str) -> None:
        record, by = self.record, self.claim(run)
        psk = record.psk_to_send() if record else None
        if record is None or psk is None or not record.is_held_by(by):
            return
        if answer in ("applied", "refused, and yet set", "lost, and set"):
            self.set_at_cloudflare(psk)
        if answer == "lost, on its way":
            self.on_their_way.append((psk, self.now))
        by = self.claim(run)
        if answer == "applied":
            self.move(lambda x: _transitions.applied(x, at(self.now), by))
        elif answer.startswith("refused"):
            self.move(lambda x: _transitions.refused(x, "no", by))
        else:
            self.move(lambda x: _transitions.in_doubt(x, "no answer", by))

    @rule(run=RUNS)
    def have_it_set_and_sleep_before_the_answer_is_written_down(self, run: str) -> None:
        record = self.record
        psk = record.psk_to_send() if record else None
        if record is not None and psk is not None and record.is_held_by(self.claim(run)):
            self.set_at_cloudflare(psk)
            self.late_answers.append((run, psk, self.now))

    @precondition(lambda self: self.late_answers)
    @rule()
    def an_answer_is_written_down_late(self) -> None:
        run, psk, on = self.late_answers.pop(0)
        by = self.claim(run)
        held = self.record is not None and self.record.is_held_by(by) and self.record.psk_to_send() == psk
        if held:
            self.move(lambda x: _transitions.applied(x, at(on), by))
        else:
            self.move(lambda x: applied_late(x, psk, at(on), by))

    @rule(run=RUNS, status=st.sampled_from([_status.CONFIRMED, _status.DELIVERED, _status.HANDED_OVER]))
    def confirm(self, run: str, status: str) -> None:
        self.move(lambda x: _transitions.confirm(x, status, self.claim(run)))

    @rule(run=RUNS, looks=st.booleans())
    def roll_back(self, run: str, looks: bool) -> None:
        seen = Trace(None if self.set_on is None else at(self.set_on)) if looks else None
        self.move(lambda x: _transitions.roll_back(x, "failed", self.claim(run), seen))

    @rule(run=RUNS, reason=st.sampled_from([None, "failed"]))
    def let_go(self, run: str, reason: str | None) -> None:
        self.move(lambda x: _transitions.release(x, reason, self.claim(run)))

    @rule(run=RUNS)
    def withdraw(self, run: str) -> None:
        self.move(lambda x: _transitions.withdraw(x, "a sibling is in flight", self.claim(run)))

    # -- the world goes on ------------------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([1, 20, 70, 9 * 1440]))
    def time_goes_by(self, minutes: int) -> None:
        self.now += minutes
        self.on_their_way = [(psk, sent) for psk, sent in self.on_their_way if self.now - sent <= LATE]

    @precondition(lambda self: self.on_their_way)
    @rule()
    def a_request_is_carried_out_late(self) -> None:
        self.set_at_cloudflare(self.on_their_way.pop(0)[0])

    @rule()
    def somebody_else_sets_a_psk(self) -> None:
        self.set_at_cloudflare(f"somebody's {self.now}")

    @rule(run=RUNS)
    def somebody_unsticks_it(self, run: str) -> None:
        self.move(lambda x: _repairs.unstick(x, self.claim(run)))

    # -- invariants -------------------------------------------------------------------------------------------------

    @invariant()
    def what_cloudflare_holds_of_ours_is_in_the_record(self) -> None:
        if self.psk in self.ours:
            assert self.record is not None
            assert self.psk in self.record.keys()  # noqa: SIM118

    @invariant()
    def what_may_still_be_set_is_in_the_record(self) -> None:
        for psk, _sent in self.on_their_way:
            assert self.record is not None
            assert psk in self.record.keys()  # noqa: SIM118

    @invariant()
    def no_psk_is_shown(self) -> None:
        if self.record is not None:
            assert MARK not in repr(self.record)
            assert MARK not in json.dumps([shown(self.record), list(self.record.history), self.record.reason])

    @invariant()
    def a_store_gives_the_record_back(self) -> None:
        if self.record is not None:
            assert Record.from_dict(json.loads(json.dumps(self.record.to_dict()))) == self.record


class TestTransitions(Transitions.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


# -- every state is reached -------------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Record, Claim], Moved]] = {
    "take": lambda x, by: prepare(x, LONG_AGO, f"psk {len(x.history)}", by),
    "applied": lambda x, by: _transitions.applied(x, at(1), by),
    "in_doubt": lambda x, by: _transitions.in_doubt(x, "no answer", by),
    "refused": lambda x, by: _transitions.refused(x, "no", by),
    "confirm": lambda x, by: _transitions.confirm(x, _status.CONFIRMED, by),
    "roll_back": lambda x, by: _transitions.roll_back(x, "failed", by),
    "stick": lambda x, by: _transitions.stick(x, at(30), by),
    "unstick": _repairs.unstick,
}


def reached(start: Record, steps: int) -> set[str]:
    """The states that so many transitions reach from a record."""
    found, records = {start.state}, [start]
    for dummy in range(steps):
        after: list[Record] = []
        for record in records:
            for step in STEPS.values():
                try:
                    after.append(step(record, claim()).record)
                except Refused:
                    continue
        records = list({(x.state, x.psk_to_send(), x.lease is None): x for x in after}.values())
        found |= {x.state for x in records}
    return found


def test_every_state_is_reached_from_a_tunnel_of_which_nothing_is_known() -> None:
    assert reached(Record(), 6) == set(STATES)


@pytest.mark.parametrize("state", STATES)
def test_every_state_leads_back_to_idle(state: str) -> None:
    start: Any = known() if state == "idle" else record_in(state)
    assert "idle" in reached(start, 4) - ({state} if state != "idle" else set())
