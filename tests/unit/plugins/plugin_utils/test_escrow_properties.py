# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any interleaving of steps, crashes and runs: no key is lost, no tunnel gets two candidates, a re-run converges."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, format_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _escrow
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Claim
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._operations import Escrow
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.plugins.plugin_utils.memory import Crash, MemoryEscrow

TUNNEL = "t1"
CRASHES = (None, None, None, None, "before", "after")
LEASE = 100
START = 1_790_000_000
OUTCOMES = ("applied", "applied", "applied", "lost after", "lost after", "refused", "lost before")
# What goes wrong beside crashes and lost answers. Each test picks some: together they would hide one another.
TROUBLES = ("foreign", "late", "stale", "stick", "force", "race", "dead unseen")


def keys_of(record: dict[str, Any]) -> set[str]:
    parts = [record["current"], record["previous"], record["pending"], *record["discarded"]]
    return {x["psk"] for x in parts if x}


@dataclass
class Run:
    """One run of the playbook, as far as it has come."""

    number: int
    on_this_machine: bool
    turns_back: bool = False
    phase: str = "new"
    alive: bool = True
    reported: str | None = None
    entry: dict[str, Any] = field(default_factory=dict)
    psk: str | None = None
    said: dict[str, Any] = field(default_factory=dict)
    outcome: dict[str, Any] = field(default_factory=dict)
    lease_until: float = 0

    @property
    def owner(self) -> str:
        return f"run-{self.number}"


class Rotations(RuleBasedStateMachine):
    """Cloudflare, one device and the escrow of one tunnel, and up to four runs at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = float(START)
        self.moment = 0
        self.backend = MemoryEscrow(self.on_write)
        self.runs: list[Run] = []
        self.started = 0
        self.ours: set[str] = set()
        self.cloudflare: str = "the key before"
        self.cloudflare_on: str | None = None
        self.cloudflare_before: str | None = None
        self.device = "the key before"
        self.foreign = False
        self.late = False
        self.troubles: set[str] = set()

    # -- the world --------------------------------------------------------------------------------------------------

    @initialize(has_key=st.booleans(), troubles=st.sets(st.sampled_from(TROUBLES), max_size=2))
    def begin(self, has_key: bool, troubles: set[str]) -> None:
        self.troubles = troubles
        if has_key:
            self.set_at_cloudflare("the key before")

    def set_at_cloudflare(self, psk: str) -> str:
        self.moment += 1
        self.cloudflare, self.cloudflare_before = psk, self.cloudflare_on
        self.cloudflare_on = format_time(int(self.now * NANO) + self.moment * 1_000_000)
        return self.cloudflare_on

    def on_write(self, dummy: str, before: dict[str, Any] | None, after: dict[str, Any]) -> None:
        self.ours |= keys_of(after)
        if not before or not before["pending"]:
            return
        psk = before["pending"]["psk"]
        if after["pending"]:
            assert after["pending"]["psk"] == psk, "a second candidate while one is unresolved"
        elif psk not in keys_of(after):
            sending = [r for r in self.runs if r.alive and r.psk == psk and r.phase == "prepared"]
            assert self.cloudflare != psk, "the key that Cloudflare holds was dropped"
            assert not sending, "a key that another run is about to send was dropped"

    def record(self) -> dict[str, Any] | None:
        stored = self.backend.records.get(TUNNEL)
        return stored.record if stored else None

    def escrow(self, run: Run) -> Escrow:
        dead = {r.owner for r in self.runs if not r.alive and r.on_this_machine}
        claim = Claim(f"rotation-{run.number}", run.owner, self.now, self.now + LEASE, lambda owner: owner in dead)
        return Escrow(self.backend, claim)

    def new_run(self, on_this_machine: bool = True) -> Run:
        self.started += 1
        run = Run(self.started, on_this_machine)
        self.runs.append(run)
        return run

    def may_send_late(self, run: Run) -> bool:
        """A run that was stopped for more than its lease may still send, unless its key is two rotations old by now."""
        record = self.record()
        assert record is not None
        return run.psk in keys_of(record)

    # -- a run's steps ----------------------------------------------------------------------------------------------

    def step(self, run: Run, choice: dict[str, Any]) -> None:
        getattr(self, "do_" + run.phase.replace(" ", "_"))(run, choice)

    def do_new(self, run: Run, choice: dict[str, Any]) -> None:
        stale = choice["stale"] and "stale" in self.troubles and self.cloudflare_before is not None
        self.late = self.late or stale
        run.reported = self.cloudflare_before if stale else self.cloudflare_on
        run.phase = "planned"

    def do_planned(self, run: Run, choice: dict[str, Any]) -> None:
        entry = {"id": TUNNEL, "name": "one", "reported": run.reported}
        force = choice["force"] and ("force" in self.troubles or choice.get("healing", False))
        if run.turns_back:
            found = self.escrow(run).roll_back([{**entry, "reason": "by hand"}])
        else:
            found = self.escrow(run).prepare([entry], force=force)
        if not found["tunnels"]:
            run.phase = "done"
            return
        run.entry = found["tunnels"][0]
        run.lease_until = self.now + LEASE
        run.psk = found["psks"][0]["psk"] if found["psks"] else None
        state = self.record_now()["state"]
        run.phase = "prepared" if run.psk else "sent"
        if state == _escrow.ROLLING_BACK:
            run.phase = "turned" if run.psk else "sent back"
        if force and not run.turns_back and run.reported == self.cloudflare_on:
            self.foreign = False

    def do_prepared(self, run: Run, choice: dict[str, Any]) -> None:
        self.send(run, choice)
        run.phase = "sent"

    def send(self, run: Run, choice: dict[str, Any]) -> None:
        assert run.psk is not None
        outcome, run.said = choice["outcome"], {}
        record = self.record()
        if record is None or record["lease"] is None or record["lease"]["owner"] != run.owner:
            if "late" not in self.troubles or not self.may_send_late(run):
                outcome = "lost before"
            self.late = self.late or outcome in ("applied", "lost after")
        if outcome in ("applied", "lost after"):
            on = self.set_at_cloudflare(run.psk)
            if outcome == "applied":
                run.said = {"id": TUNNEL, "status": "applied", "applied_on": on, "psk": run.psk, "reason": None}
        elif outcome == "refused":
            run.said = {"id": TUNNEL, "status": "unapplied", "reason": "no", "applied_on": None}

    def do_sent(self, run: Run, choice: dict[str, Any]) -> None:
        found = self.escrow(run).record(
            [run.entry], [run.said] if run.said else [], "no answer", promote=choice["promote"]
        )
        run.phase = "done"
        if found["tunnels"]:
            run.outcome = found["tunnels"][0]
            if run.outcome["status"] == "applied":
                run.phase = "applied"
                run.lease_until = self.now + LEASE if run.said else run.lease_until
                return
            if run.outcome["status"] == "promoted":
                assert self.record_now()["current"]["psk"] == run.outcome["psk"]
        run.lease_until = 0

    def do_applied(self, run: Run, choice: dict[str, Any]) -> None:
        if choice["device"]:
            self.device = run.outcome["psk"]
        run.phase = "configured" if choice["device"] else "failed"

    def do_configured(self, run: Run, choice: dict[str, Any]) -> None:
        entry = {**run.outcome, "seen": choice["seen"]}
        operation = "release" if choice["manual"] else "confirm"
        found = getattr(self.escrow(run), operation)([entry])
        run.phase, run.lease_until = "done", 0
        if found["tunnels"] and operation == "confirm":
            assert self.record_now()["current"]["psk"] == run.outcome["psk"], (
                "another key than the one seen was promoted"
            )

    def do_failed(self, run: Run, choice: dict[str, Any]) -> None:
        found = self.escrow(run).roll_back([{**run.outcome, "reason": "the device failed"}])
        run.phase, run.lease_until = "done", 0
        if found["psks"]:
            run.entry, run.psk = found["tunnels"][0], found["psks"][0]["psk"]
            run.phase, run.lease_until = "turned", self.now + LEASE

    def do_turned(self, run: Run, choice: dict[str, Any]) -> None:
        self.send(run, choice)
        run.phase = "sent back"

    def do_sent_back(self, run: Run, choice: dict[str, Any]) -> None:
        found = self.escrow(run).record([run.entry], [run.said] if run.said else [], "no answer")
        run.phase, run.lease_until = "done", 0
        if found["tunnels"] and found["tunnels"][0]["status"] == "rolling_back":
            run.outcome, run.phase, run.lease_until = found["tunnels"][0], "applied back", self.now + LEASE

    def do_applied_back(self, run: Run, choice: dict[str, Any]) -> None:
        if choice["device"]:
            self.device = run.outcome["psk"]
            self.escrow(run).confirm([{**run.outcome, "seen": choice["seen"]}])
        else:
            self.escrow(run).release([{**run.outcome, "reason": "the device failed again"}])
        run.phase, run.lease_until = "done", 0

    def record_now(self) -> dict[str, Any]:
        record = self.record()
        assert record is not None
        return record

    # -- rules ------------------------------------------------------------------------------------------------------

    choices = st.fixed_dictionaries(
        {
            "outcome": st.sampled_from(OUTCOMES),
            "device": st.booleans(),
            "seen": st.booleans(),
            "manual": st.booleans(),
            "promote": st.sampled_from([False, False, True]),
            "force": st.sampled_from([False, False, False, True]),
            "stale": st.sampled_from([False, False, False, True]),
        }
    )

    @precondition(lambda self: sum(r.alive and r.phase != "done" for r in self.runs) < 4)
    @rule(on_this_machine=st.booleans(), turns_back=st.sampled_from([False, False, False, True]))
    def a_run_starts(self, on_this_machine: bool, turns_back: bool) -> None:
        self.new_run(on_this_machine or "dead unseen" not in self.troubles).turns_back = turns_back

    @precondition(lambda self: any(r.alive and r.phase != "done" for r in self.runs))
    @rule(data=st.data(), steps=st.lists(choices, min_size=1, max_size=7), crash=st.sampled_from(CRASHES), race=choices)
    def a_run_goes_on(self, data: st.DataObject, steps: list[dict[str, Any]], crash: str | None, race: Any) -> None:
        run = data.draw(st.sampled_from([r for r in self.runs if r.alive and r.phase != "done"]))
        for choice in steps[:-1]:
            if run.phase != "done":
                self.step(run, choice)
                self.check_invariants_of_state()
        others = [r for r in self.runs if r.alive and r.phase != "done" and r is not run]
        other = data.draw(st.sampled_from(others)) if others and "race" in self.troubles else None
        self.backend.crash = crash
        if other is not None:
            self.backend.meanwhile = lambda: self.step(other, race)
        try:
            if run.phase != "done":
                self.step(run, steps[-1])
        except Crash:
            run.alive = False
        self.backend.crash = self.backend.meanwhile = None

    def check_invariants_of_state(self) -> None:
        self.no_key_is_lost()
        self.one_run_at_a_time_holds_the_tunnel()

    @precondition(lambda self: any(r.alive and r.phase != "done" for r in self.runs))
    @rule(data=st.data())
    def a_run_dies(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([r for r in self.runs if r.alive and r.phase != "done"])).alive = False

    @rule(seconds=st.sampled_from([1, LEASE // 2, LEASE + 1]))
    def time_goes_by(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: "foreign" in self.troubles)
    @rule()
    def somebody_else_rotates(self) -> None:
        self.set_at_cloudflare(f"foreign {self.moment}")
        self.foreign = True

    @precondition(lambda self: self.record() is not None)
    @rule(seen=st.booleans())
    def somebody_confirms(self, seen: bool) -> None:
        self.escrow(self.new_run()).confirm([{"id": TUNNEL, "name": "one", "seen": seen}])
        self.runs.pop()

    @precondition(lambda self: "stick" in self.troubles and self.record() is not None)
    @rule()
    def somebody_sticks_it(self) -> None:
        if not self.escrow(self.new_run()).stick([{"id": TUNNEL, "name": "one", "reason": "look"}])["refused"]:
            self.foreign = True
        self.runs.pop()

    @precondition(lambda self: self.foreign or self.late)
    @rule()
    def all_die_and_a_run_without_faults_heals(self) -> None:
        self.heal()

    def heal(self) -> None:
        for run in self.runs:
            run.alive = False
        self.runs.clear()
        self.now += LEASE + 1
        run = self.new_run()
        choice = {
            "outcome": "applied",
            "device": True,
            "seen": True,
            "manual": False,
            "promote": False,
            "force": False,
            "stale": False,
            "healing": True,
        }
        while run.phase != "done":
            self.step(run, choice)
        record = self.record_now()
        if record["state"] == _escrow.STUCK:
            assert self.foreign or self.late, f"stuck without a cause: {record['reason']}"
            run = self.new_run()
            while run.phase != "done":
                self.step(run, {**choice, "force": True})
            record = self.record_now()
        assert record["state"] == _escrow.IDLE
        assert record["lease"] is None
        assert record["current"]["psk"] == self.cloudflare == self.device
        assert record["current"]["applied_on"] == self.cloudflare_on
        self.foreign = self.late = False

    # -- invariants -------------------------------------------------------------------------------------------------

    @invariant()
    def no_key_is_lost(self) -> None:
        if self.cloudflare in self.ours:
            assert self.cloudflare in keys_of(self.record_now())

    @invariant()
    def one_run_at_a_time_holds_the_tunnel(self) -> None:
        holding = [r.owner for r in self.runs if r.alive and r.phase != "done" and r.lease_until > self.now]
        assert len(holding) <= 1, holding

    @invariant()
    def views_and_history_hold_no_secret(self) -> None:
        record = self.record()
        if record is not None:
            shown = json.dumps([_escrow.view(record), record["history"], record["reason"]])
            assert not any(psk in shown for psk in self.ours)

    @invariant()
    def the_record_is_complete(self) -> None:
        record = self.record()
        if record is not None:
            assert _escrow.complete(json.loads(json.dumps(record))) == record

    def teardown(self) -> None:
        self.heal()


class TestRotations(Rotations.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(
        max_examples=150,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
