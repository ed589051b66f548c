# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The steps of a rotation, each one task of the role psk_rotation: begin, set a wave, settle it, roll it back.

A step takes the state that the one before has returned, and returns the next. Without device tasks there is nothing to
wait for between waves, so that the first step does them all. A check run takes the same way over a store that writes
nothing, and has the API validate only.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk, _psk_batch
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import (
    mark_as_secret,
    redact,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import (
    _plan,
    _results,
    _status,
    _transitions,
    _upkeep,
    _waves,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._claims import owners_of
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Escrow, Taken
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._evidence import (
    Verdict,
    not_done,
    rotations,
    verdicts,
    verified,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._gate import HealthGate
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Moves
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Claim, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import after
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._run import Memory
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import (
    CONFIRM,
    OPERATIONS,
    PREPARE,
    ROLL_BACK,
    Flying,
    Outcome,
    Progress,
    State,
    new_token,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._targets import (
    not_to_confirm,
    still_to_roll_back,
    still_to_take,
    target_of,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import Planned


@dataclass(frozen=True)
class Rotation:
    """The steps, over one account and one store of records.

    ``claim`` makes the claim of a rotation id, as of now; it raises EscrowError when the run has ended, so that a step
    that was left behind begins nothing more. ``say`` shows a line of progress. ``gate`` judges the health of tunnels
    before and after their devices act; ``planned`` is told of the plan before it begins. With ``validate_only`` the API
    changes nothing.
    """

    client: Client
    store: Store
    claim: Callable[[str], Claim]
    say: Callable[[str], None]
    gate: HealthGate | None = None
    planned: Callable[[_plan.Plan, _plan.Account], None] | None = None
    force: bool = False
    validate_only: bool = False

    # -- steps ------------------------------------------------------------------------------------------------------

    def begin(
        self,
        rotation_id: str,
        options: _plan.Options,
        memory: Memory,
        *,
        preflight: bool,
    ) -> State:
        """Plans the rotation of this batch of hosts, and carries it out where no device has tasks of its own.

        Nothing is written before the whole plan stands and, with ``preflight``, the API has validated it. ``memory``
        holds what the hosts of the play claim, and learns where other tunnels are.
        """
        tunnels = self.client.list_tunnels()
        owners = owners_of(tunnels, memory.claims)
        memory.unclaimed = [str(x["name"]) for x in tunnels if x["id"] not in owners]
        names = {x["id"]: x["name"] for x in tunnels}
        escrow = self._escrow(rotation_id, names)
        records = escrow.open(_plan.scope(tunnels, owners, memory.places, options))
        plan = _plan.plan(tunnels, records, owners, options, memory.places)
        if memory.places is None:
            memory.places = {i: [x.host, x.group] for i, x in records.items()}
        for line in plan.notices:
            self.say(line)
        if self.planned:
            self.planned(plan, _plan.Account(tunnels, records, owners))
        state = _results.first_state(rotation_id, options, plan, tunnels, records)
        if self.gate is not None:
            state = replace(state, members=_results.members(plan, tunnels))
            self.gate.check_members(state.members, acts=bool(state.devices) or not state.waves)
        if options.mode != "report":
            noticed = _upkeep.notice(escrow, names)
            for line in _upkeep.told(noticed):
                self.say(line)
            stuck = escrow.stick({x.id: x.trace for x in plan.foreign})
            state = replace(state, changed=noticed.changed or stuck.changed)
        if preflight and options.mode != "rollback" and not self.validate_only:
            _psk_batch.validate(self.client, {x.id: x.name for wave in state.waves for x in wave})
        if not state.devices:
            for index in range(len(state.waves)):
                done = self._wave(state, index, options.hosts, escrow, {})
                state = replace(done, changed=done.changed or state.changed)
        return state

    def wave(self, state: State, index: int, hosts: Collection[str], asked: _waves.Asked) -> State:
        """Sets the PSKs of wave ``index``, as far as it may go now and its devices can be managed.

        ``hosts`` are still in the play. One that was done in the wave before, and one that is the controller itself,
        need not be among ``asked``.
        """
        sure = [x for x in hosts if asked.get(x) == "" or x in state.proven or x not in state.reach]
        return self._wave(state, index, sure, self._escrow_of(state), asked)

    def roll_back(self, state: State) -> State:
        """Sets the previous PSKs of what the last wave could not finish."""
        going = state.to_roll_back
        progress = Progress(f"{state.progress.what}, rolling back", time.time(), [x.id for x in going])
        state = replace(state, operation=ROLL_BACK, to_roll_back=(), progress=progress, token=new_token())
        escrow = self._escrow_of(state)
        rotations = {x.id: x.rotation_id for x in going}
        taken = escrow.roll_back({x.id: x.reason for x in going}, rotations, {}, {})
        marked = escrow.mark_disturbed(_given(state, taken.moves.refused))
        state = self._fly(state, escrow, taken, {x.id: (x.name, x.host) for x in going}, [])
        return replace(state, changed=state.changed or marked.changed)

    def settle(self, state: State, evidence: Mapping[str, t.Any]) -> State:
        """Judges the wave in flight by what its devices have reported, and writes it down."""
        escrow = self._escrow_of(state)
        keys = {psk for record in escrow.read([x.id for x in state.in_flight]).values() for psk in record.keys()}  # noqa: SIM118
        found = [
            replace(x, reason=x.reason and redact(x.reason, keys))
            for x in verdicts(state.in_flight, evidence, state.token, state.verifying)
        ]
        if self.gate is not None and state.operation != ROLL_BACK:
            found = self._through(self.gate, state, found)
        done, failed = [x for x in found if x.reason is None], [x for x in found if x.reason is not None]
        places = {x.tunnel.id: (x.tunnel.name, x.tunnel.host) for x in found}
        if state.confirmation == "manual" and state.operation != CONFIRM:
            moves = escrow.release(dict.fromkeys((x.tunnel.id for x in done), None), rotations(done))
        else:
            moves = escrow.confirm({x.tunnel.id: verified(x, state.devices) for x in done})
        outcomes = _results.outcomes(moves, places, {x.tunnel.id: x.exposure for x in done})
        to_roll_back: list[Flying] = []
        if state.operation == PREPARE and not self.validate_only:
            to_roll_back = [replace(x.tunnel, reason=x.reason) for x in failed]
        changed = moves.changed
        if state.operation == PREPARE:
            outcomes += [not_done(x) for x in failed]
        else:
            left = escrow.release({x.tunnel.id: x.reason for x in failed}, rotations(failed))
            outcomes += _results.outcomes(left, places)
            changed = changed or left.changed
        if state.operation != CONFIRM:
            marked = escrow.mark_disturbed(_given(state, {*moves.refused, *(x.tunnel.id for x in failed)}))
            changed = changed or marked.changed
        state = after(state, outcomes, changed=changed)
        self._tell(state)
        proven = frozenset(x.tunnel.host for x in done) - {x.tunnel.host for x in failed}
        if state.operation == ROLL_BACK and state.mode != "rollback":  # of a wave: the others have been done in it
            proven |= state.proven
        return self._carried(replace(state, in_flight=(), to_roll_back=to_roll_back, proven=proven))

    # -- parts ------------------------------------------------------------------------------------------------------

    def _escrow(self, rotation_id: str, names: Mapping[str, str]) -> Escrow:
        return Escrow(self.store, lambda: self.claim(rotation_id), names)

    def _escrow_of(self, state: State) -> Escrow:
        return self._escrow(state.rotation_id, {x.id: x.name for x in state.all_results()})

    def _carried(self, state: State) -> State:
        """With what the store keeps for the next step, because it writes nothing."""
        dump = getattr(self.store, "dump", None)
        return replace(state, overlay=dump()) if dump and state.devices else state

    def _through(self, gate: HealthGate, state: State, found: Sequence[Verdict]) -> list[Verdict]:
        """The verdicts, with those tunnels as failed that do not get healthy."""
        if self.validate_only:
            self.say("health of the wave: not checked in a check run")
            return list(found)
        members = {m["id"]: m for own in state.members.values() for m in own}
        done = [members[x.tunnel.id] for x in found if x.reason is None]
        unhealthy = gate.failing(done)
        return [replace(x, reason=unhealthy.get(x.tunnel.id, x.reason)) for x in found]

    def _wave(self, state: State, index: int, hosts: Collection[str], escrow: Escrow, why: _waves.Asked) -> State:
        entries = state.waves[index]
        failed, limit = _failed_so_far(state), state.limit
        ready, others = _waves.going(state.waves, index, state.statuses, hosts, failed, limit, state.mode, why)
        if self.gate is not None and state.mode != "rollback":
            ready, unhealthy = self.gate.split(ready, state.members)
            others += unhealthy
        if state.devices:
            ready, others = self._as_reported_now(state, ready, others, escrow)
        number, last = state.first_wave + index + 1, state.first_wave + len(state.waves)
        progress = Progress(f"wave {number} of {last}", time.time(), [x.id for x in entries])
        operation = OPERATIONS.get(state.mode, PREPARE)
        state = replace(
            state, operation=operation, to_roll_back=(), progress=progress, token=new_token(), turn=index + 1
        )
        escrow.wave = number
        skipped = [Outcome(x.id, x.name, x.host, x.status, reason=x.reason, excused=x.excused) for x in others]
        if operation == CONFIRM:
            return self._confirm(after(state, skipped, changed=False), ready, escrow)
        siblings = {x.id: state.siblings.get(x.id, ()) for x in ready}
        if operation == ROLL_BACK:
            traces = {x.id: x.trace for x in ready}
            taken = escrow.roll_back({x.id: x.reason for x in ready}, {}, traces, siblings, still_to_roll_back(ready))
        else:
            targets = {x.id: target_of(x, state.devices) for x in ready}
            taken = escrow.take(targets, siblings, still_to_take(ready), force=self.force)
        return self._fly(state, escrow, taken, {x.id: (x.name, x.host) for x in ready}, skipped)

    def _confirm(self, state: State, ready: Sequence[Planned], escrow: Escrow) -> State:
        """Has the devices prove what waits for it; where there is none, the user's word counts."""
        known = escrow.read([x.id for x in ready])
        stuck = escrow.stick({x.id: x.trace for x in ready if x.id in known and _is_foreign(known[x.id], x.trace)})
        places = {x.id: (x.name, x.host) for x in ready}
        kept = {x.id: why for x in ready if (why := not_to_confirm(known.get(x.id), x.trace))}
        left = [Outcome(i, *places[i], _status.SKIPPED, reason=why) for i, why in kept.items()]
        state = after(state, [*left, *_results.outcomes(stuck, places)], changed=state.changed or stuck.changed)
        others = {*kept, *stuck.moved, *stuck.refused}
        waiting = [Flying(x.id, x.name, x.host, known[x.id].rotation_id or "") for x in ready if x.id not in others]
        state = replace(state, in_flight=waiting)
        if not state.devices:
            said = {x.host: {"wave": state.token, "done": True, "finished": time.time()} for x in waiting}
            return self.settle(state, said)
        return state

    def _fly(
        self,
        state: State,
        escrow: Escrow,
        taken: Taken,
        places: Mapping[str, tuple[str, str]],
        outcomes: Sequence[Outcome],
    ) -> State:
        """Sends PSKs that are safe, and writes down what the API said."""
        to_send = {i: psk for i, psk in taken.psks.items() if psk is not None}
        answers: _psk_batch.Answers = {}
        failure: CloudflareError | None = None
        if to_send:
            mark_as_secret(to_send.values())
            answers, failure = _psk_batch.send_batch(
                self.client, to_send, validate_only=self.validate_only, guard=lambda: escrow.guard(to_send)
            )
        alone = not state.devices
        go_on = None
        if alone:
            go_on = _leave_waiting if state.confirmation == "manual" else _hand_over
        recorded = escrow.record(taken.psks, answers, failure.message if failure else None, go_on)
        now = time.time()
        kept = Moves({i: x for i, x in taken.moves.moved.items() if i not in taken.psks}, taken.moves.refused)
        found = [*outcomes, *_results.outcomes(kept, places), *_results.outcomes(recorded, places, recorded_at=now)]
        in_flight = [
            Flying(x.id, x.name, x.host, x.rotation_id or state.rotation_id, x.recorded_at)
            for x in found
            if x.status in _status.ACTING and x.id in recorded.moved
        ]
        sent = any(x.status not in (_psk.UNAPPLIED, _psk.UNSENT) for x in answers.values())
        changed = taken.moves.changed or recorded.changed or sent
        state = replace(after(state, found, changed=changed), in_flight=in_flight if state.devices else ())
        if not state.in_flight:
            self._tell(state)
        return self._carried(state)

    def _tell(self, state: State) -> None:
        """Shows how the wave has ended, in a line."""
        ids = set(state.progress.ids)
        found = [x for x in state.all_results() if x.id in ids]
        ended = _results.told_counts([_results.in_check(x) for x in found] if self.validate_only else found)
        count = f"{len(ids)} tunnel{'' if len(ids) == 1 else 's'}"
        self.say(f"{state.progress.what}: {count}, {ended}, {time.time() - state.progress.since:.1f} s")
        unproven = _results.unproven_again(found)
        if unproven and state.mode == "rollback":  # in any other it is the reason of a failure
            self.say(f"{state.progress.what}: {unproven}")

    def _as_reported_now(
        self, state: State, entries: Sequence[Planned], others: Sequence[Planned], escrow: Escrow
    ) -> tuple[list[Planned], list[Planned]]:
        """Which may go, and which may not, as the account is now: devices take their time, and people their keys."""
        if not entries:
            return [], list(others)
        now = {x["id"]: x for x in self.client.list_tunnels()}
        moved = [x.id for x in entries if x.id in now and _psk.generated_on(now[x.id]) != x.trace.on]
        records = escrow.read(moved) if moved else {}
        learned = _psk.skew_of((record.expected(), _psk.trace_of(now[i])) for i, record in records.items() if i in now)
        ready, left = _waves.as_reported(entries, now, learned, state.siblings)
        return ready, [*_waves.no_longer_excused(others, now), *left]


def _failed_so_far(state: State) -> int:
    """How many tunnels have failed in this run, this batch and those before."""
    counted = _status.counted_in(state.mode)
    return state.failed_before + sum(1 for x in state.statuses.values() if x in counted)


def _given(state: State, ids: Collection[str]) -> dict[str, str]:
    """The PSKs that the devices of these tunnels may have got in this wave."""
    return {x.id: x.psk for x in state.all_results() if x.id in ids and x.psk and x.host in state.devices}


def _is_foreign(record: Record, trace: _psk.Trace) -> bool:
    return _psk.compare(record.expected(), trace) == _psk.NEWER


def _leave_waiting(record: Record, claim: Claim) -> Moved:
    return _transitions.release(record, None, claim)


def _hand_over(record: Record, claim: Claim) -> Moved:
    return _transitions.confirm(record, _status.HANDED_OVER, claim)
