# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The operations of a rotation on the escrow: take tunnels, guard them while they are sent, write down what came of it.

One load and one store an operation, whatever the number of tunnels.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import StoppedError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import generate_psk
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _late, _status, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover, Moves, present
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import PREPARED, Claim, Record, Refused
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved, Target

# A look at the records that is younger than this, in seconds, need not be repeated before a request.
FRESH = 2.0
# A request may take so long; a lease that ends earlier, in seconds, does not cover it.
MARGIN = 30.0
# How often a lease is renewed until it lasts.
ATTEMPTS = 3


Judge = Callable[[str, t.Optional[Record]], None]


@dataclass(frozen=True)
class Taken:
    """The tunnels that the run holds now: with the PSK to send, or None where Cloudflare has it already."""

    psks: Mapping[str, str | None] = field(repr=False)
    moves: Moves = field(repr=False)


@dataclass(frozen=True)
class Verified:
    """A tunnel that is done, as its device has shown. ``exposure`` in seconds."""

    status: str
    rotation_id: str
    exposure: float | None = None


class Escrow(Mover):
    """The operations of one run over one store."""

    _looked = (0.0, 0.0)
    _siblings: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    # -- a rotation -------------------------------------------------------------------------------------------------

    def take(
        self,
        targets: Mapping[str, Target],
        siblings: Mapping[str, Iterable[str]],
        judge: Judge,
        *,
        force: bool = False,
    ) -> Taken:
        """Takes the tunnels and makes their next PSKs durable, read back, before anybody may send them.

        ``judge`` raises Refused if, on the record as it is now, the tunnel is no longer to be taken. A tunnel that
        begins is given up again if one of its ``siblings`` is seen in flight afterwards; one that an earlier run has
        left prepared is left again.
        """
        claim = self.claim()
        new_psks = {i: generate_psk() for i in targets}

        def move(tunnel_id: str, record: Record | None) -> Moved:
            judge(tunnel_id, record)
            return _transitions.prepare(record, targets[tunnel_id], new_psks[tunnel_id], claim, force=force)

        return self._safe(self.move(targets, move), siblings)

    def roll_back(
        self,
        reasons: Mapping[str, str | None],
        rotations: Mapping[str, str],
        traces: Mapping[str, _psk.Trace],
        siblings: Mapping[str, Iterable[str]],
        judge: Judge | None = None,
    ) -> Taken:
        """Takes the tunnels back to their previous PSKs, as ``take``. One without stays as it is, and says so."""
        claim = self.claim()
        without: set[str] = set()

        def move(tunnel_id: str, record: Record | None) -> Moved:
            record = _of_rotation(record, rotations.get(tunnel_id))
            if judge:
                judge(tunnel_id, record)
            without.discard(tunnel_id)
            try:
                return _transitions.roll_back(record, reasons[tunnel_id], claim, traces.get(tunnel_id))
            except Refused as exc:
                if record.holder(claim) or not record.unresolved:
                    raise
                without.add(tunnel_id)
                reason = f"{reasons[tunnel_id]}; {exc}" if reasons[tunnel_id] else str(exc)
                return _transitions.release(record, reason, claim)

        return self._safe(self.move(reasons, move), siblings, without)

    def guard(self, psks: Mapping[str, str]) -> None:
        """To be called right before PSKs are sent: raises StoppedError unless the run still holds all the tunnels.

        Nor may what backs them up be in flight meanwhile. A lease that would not outlast the request is renewed, and
        looked at once more: a machine may sleep while it writes.
        """
        try:
            for _attempt in range(ATTEMPTS):
                short = self._short(psks)
                if not short:
                    return
                self._refuse_lost(self._renew(short))
        except EscrowError as exc:
            raise StoppedError(f"nothing was sent: {exc}") from None
        raise StoppedError(f"the escrow takes longer than psk_rotation_lease for {self.named(psks)}; nothing was sent")

    def _renew(self, ids: Collection[str]) -> Collection[str]:
        """Holds tunnels for longer; returns those that are lost."""
        claim = self.claim()
        return self.move(ids, lambda i, record: _transitions.renew(present(record), claim)).refused

    def _short(self, psks: Mapping[str, str]) -> list[str]:
        """The tunnels whose lease would not outlast a request. Raises StoppedError if one must not be sent at all."""
        if not self._is_fresh():
            began = _now()
            self.read([*psks, *self._others()])
            blocked = self._in_the_way(self.claim())
            if blocked:
                why = ", ".join(f"{x.name!r} is {x.state}" for x in blocked.values())
                raise StoppedError(f"what backs up {self.named(blocked)} is in flight ({why}); nothing was sent")
            self._looked = began
        claim = self.claim()
        lost, short = [], []
        for tunnel_id, psk in psks.items():
            record = self.record_of(tunnel_id) or Record()
            if not record.is_held_by(claim) or record.psk_to_send() != psk:
                lost.append(tunnel_id)
            elif record.lease and record.lease.until - claim.now < min(MARGIN, (claim.until - claim.now) / 2):
                short.append(tunnel_id)
        self._refuse_lost(lost)
        return short

    def _refuse_lost(self, lost: Collection[str]) -> None:
        if lost:
            raise StoppedError(f"another run has taken over {self.named(lost)}; nothing was sent")

    def record(
        self,
        taken: Mapping[str, str | None],
        answers: Mapping[str, _psk.Answer],
        failure: str | None,
        go_on: Callable[[Record, Claim], Moved] | None = None,
    ) -> Moves:
        """Writes down what the API said of taken tunnels. One that the answer does not mention is in doubt.

        ``go_on`` is what follows at once for a tunnel that Cloudflare has. A tunnel that another run has taken over
        meanwhile is in doubt for this one, whatever its record has learned from the answer.
        """
        claim = self.claim_anyway(time.time())

        def move(tunnel_id: str, record: Record | None) -> Moved:
            record, psk = present(record), taken[tunnel_id]
            answer = answers.get(tunnel_id) or _psk.Answer(_psk.IN_DOUBT, failure or "no result")
            if psk is None:
                moved = Moved(record, _transitions.status_of(record))
            elif answer.status == _psk.UNSENT:
                return _not_sent(record, answer, claim)
            elif answer.status == _psk.UNAPPLIED:
                return _transitions.refused(record, answer.reason, claim)
            elif answer.status not in (_psk.APPLIED, _psk.PLANNED):
                return _transitions.in_doubt(record, answer.reason or failure, claim)
            elif not record.is_held_by(claim):
                return _taken_over(record, psk, answer, claim)
            else:
                moved = _transitions.applied(
                    record, answer.applied_on, claim, repeated=answer.repeated, ipsec_id=answer.ipsec_id
                )
            return go_on(moved.record, claim) if go_on else moved

        return self.move(taken, move)

    def confirm(self, done: Mapping[str, Verified]) -> Moves:
        """Ends rotations and rollbacks whose device has the key."""
        claim = self.claim()

        def move(tunnel_id: str, record: Record | None) -> Moved:
            verified = done[tunnel_id]
            record = _of_rotation(record, verified.rotation_id)
            return _transitions.confirm(record, verified.status, claim, exposure=verified.exposure)

        return self.move(done, move)

    def release(self, reasons: Mapping[str, str | None], rotations: Mapping[str, str]) -> Moves:
        """Lets go of tunnels that another run, or a later step, has to finish."""
        claim = self.claim()
        return self.move(
            reasons, lambda i, record: _transitions.release(_of_rotation(record, rotations.get(i)), reasons[i], claim)
        )

    def mark_disturbed(self, given: Mapping[str, str]) -> Moves:
        """Has tunnels that other runs have taken over be set again: their devices may hold what this run gave them."""
        claim = self.claim()
        return self.move(given, lambda i, record: _late.disturbed(present(record), given[i], claim))

    def stick(self, seen: Mapping[str, _psk.Trace]) -> Moves:
        """Marks tunnels whose PSK somebody else has changed, as Cloudflare has ``seen`` it."""
        claim = self.claim()

        def move(tunnel_id: str, record: Record | None) -> Moved:
            record = present(record)
            if _psk.compare(record.expected(), seen[tunnel_id]) != _psk.NEWER:
                raise Refused("another run has rotated it meanwhile")
            return _transitions.stick(record, seen[tunnel_id].on, claim)

        return self.move(seen, move)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _safe(self, moves: Moves, siblings: Mapping[str, Iterable[str]], without: Collection[str] = ()) -> Taken:
        """Reads back what is to be sent, and looks once more at what backs it up."""
        going = {
            i: x
            for i, x in moves.moved.items()
            if i not in without and x.status in (_status.PREPARED, _status.APPLIED, _status.ROLLING_BACK)
        }
        sending = [i for i, x in going.items() if x.record.psk_to_send() is not None]
        self._siblings = {i: tuple(siblings.get(i, ())) for i in sending if going[i].record.state == PREPARED}
        if sending:
            self._read_back(sending, self._others())
        refused = dict(moves.refused)
        claim = self.claim()
        blocked = self._in_the_way(claim)
        if blocked:
            begun = {i for i in blocked if not going[i].record.begins}
            reasons = {i: f"{x.name!r}, which backs it up, is {x.state}" for i, x in blocked.items()}

            def give_way(tunnel_id: str, record: Record | None) -> Moved:
                leave = _transitions.release if tunnel_id in begun else _transitions.withdraw
                return leave(present(record), reasons[tunnel_id], claim)

            left = self.move(blocked, give_way)
            refused.update(left.refused)
            for i, x in left.moved.items():
                refused[i] = _waits_for(blocked[i], reasons[i], claim, left=i in begun)
                refused[i].record = x.record
        psks = {i: x.record.psk_to_send() for i, x in going.items() if i not in blocked}
        moved = {i: x for i, x in moves.moved.items() if i not in blocked}
        return Taken(psks, Moves(moved, refused, moves.changed))

    def _others(self) -> set[str]:
        """The tunnels that back up what is to be sent for the first time, or may be."""
        return {j for others in self._siblings.values() for j in others if j not in self._siblings}

    def _in_the_way(self, claim: Claim) -> dict[str, Record]:
        """Which PSKs must not be sent now, with the record of a tunnel of the group that is in flight.

        One that begins gives way to all that is unresolved; one that an earlier run has left prepared, to what is
        further on or another run holds: two that nobody holds would wait for each other for ever.
        """
        found: dict[str, Record] = {}
        for tunnel_id, others in self._siblings.items():
            own = self.record_of(tunnel_id)
            for other in filter(None, map(self.record_of, others)):
                further = other.state != PREPARED or other.holder(claim) is not None
                if other.unresolved and own is not None and (own.begins or further):
                    found[tunnel_id] = other
                    break
        return found

    def _read_back(self, sending: Sequence[str], others: Collection[str]) -> None:
        """What is not there was not stored. A later version is another run's; the guard finds that out."""
        stored = {i: t.cast(Stored, self._known[i]) for i in sending}
        began = _now()
        self.load([*sending, *others])
        self._looked = began
        for tunnel_id, before in stored.items():
            back = self._known[tunnel_id]
            if (
                back is None
                or back.version < before.version
                or (back.version == before.version and not back.record.same_content(before.record))
            ):
                raise EscrowError(f"the escrow gives back another record of {self.named([tunnel_id])} than was stored")

    def _is_fresh(self) -> bool:
        now = _now()
        return all(0 <= x - y < FRESH for x, y in zip(now, self._looked))


def _now() -> tuple[float, float]:
    """By the clock that a sleeping machine stops, and by the one that it does not."""
    return time.monotonic(), time.time()


def _waits_for(sibling: Record, reason: str, claim: Claim, *, left: bool) -> Refused:
    """Nobody's business if the run that holds the sibling is seen to live, unless the tunnel is ``left`` unresolved."""
    return Refused(reason, excused=not left and bool(sibling.lease and claim.lives(sibling.lease.owner)))


def _of_rotation(record: Record | None, rotation_id: str | None) -> Record:
    """The record, if it is still about this rotation, and no other has begun, or has ended it, since."""
    record = present(record)
    if rotation_id and (record.pending is None or record.pending.rotation_id != rotation_id):
        raise Refused("another run has ended its rotation meanwhile")
    return record


def _not_sent(record: Record, answer: _psk.Answer, claim: Claim) -> Moved:
    """The run keeps its hands off what another one holds or has ended since."""
    if record.is_held_by(claim):
        return _transitions.release(record, answer.reason, claim)
    status = _transitions.status_of(record)
    raise Refused(
        answer.reason or "nothing was sent", status=status if status == _status.UNCHANGED else _status.SKIPPED
    )


def _taken_over(record: Record, psk: str, answer: _psk.Answer, claim: Claim) -> Moved:
    """Cloudflare has set our PSK, but another run has taken the tunnel over since."""
    owner = record.lease.owner if record.lease else "it has ended since"
    held = "its current" if record.current and record.current.psk == psk else "another"
    reason = f"another run has taken it over ({owner}) while Cloudflare set {held} PSK; the device may hold either"
    try:
        learned = _late.applied_late(record, psk, answer.applied_on, claim).record
    except Refused:
        learned = record
    return Moved(replace(learned, reason=reason), _status.IN_DOUBT)
