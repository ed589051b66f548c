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
from dataclasses import dataclass, field, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import StoppedError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import generate_psk
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _late, _status, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover, Moves, present
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import PREPARED, Claim, Record, Refused
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved, Target

# A look at the records that is younger than this, in seconds, need not be repeated before a request.
FRESH = 2.0
# A request may take so long; a lease that ends earlier, in seconds, does not cover it.
MARGIN = 30.0


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
        begins is given up again if one of its ``siblings`` is seen in flight afterwards; so is one that a run has left
        prepared while a sibling is further on, since its PSK can't have been sent.
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

        A lease that would not outlast the request is renewed.
        """
        try:
            claim = self.claim()
            if not self._is_fresh():
                self.read(list(psks))
                self._looked = _now()
            lost, short = [], {}
            for tunnel_id, psk in psks.items():
                stored = self._known.get(tunnel_id)
                record = stored.record if stored else Record()
                if not record.is_held_by(claim) or record.psk_to_send() != psk:
                    lost.append(tunnel_id)
                elif record.lease and record.lease.until - claim.now < min(MARGIN, (claim.until - claim.now) / 2):
                    short[tunnel_id] = record
            if short and not lost:
                renewed = self.move(short, lambda i, record: _transitions.renew(present(record), claim))
                lost = list(renewed.refused)
        except EscrowError as exc:
            raise StoppedError(f"nothing was sent: {exc}") from None
        if lost:
            raise StoppedError(f"another run has taken over {self.named(lost)}; nothing was sent")

    def record(
        self,
        taken: Mapping[str, str | None],
        answers: Mapping[str, _psk.Answer],
        failure: str | None,
        go_on: Callable[[Record, Claim], Moved] | None = None,
    ) -> Moves:
        """Writes down what the API said of taken tunnels. One of which nothing was said is in doubt.

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

    def stick(self, seen: Mapping[str, str | None]) -> Moves:
        """Marks tunnels whose PSK somebody else has changed, at the times ``seen``."""
        claim = self.claim()

        def move(tunnel_id: str, record: Record | None) -> Moved:
            record = present(record)
            if _psk.compare(record.expected(), _psk.Trace(seen[tunnel_id])) != _psk.NEWER:
                raise Refused("another run has rotated it meanwhile")
            return _transitions.stick(record, seen[tunnel_id], claim)

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
        beginning = [i for i in sending if going[i].record.state == PREPARED]
        others = {j for i in beginning for j in siblings.get(i, ()) if j not in going}
        if sending:
            self._read_back(sending, others)
        refused = dict(moves.refused)
        claim = self.claim()
        in_flight = {j: record for j in others if (record := self.record_of(j)) is not None and record.unresolved}
        blocked = {
            i: j
            for i in beginning
            for j in siblings.get(i, ())
            # Of two that are prepared, one that begins gives way; both would only wait for each other.
            if j in in_flight and (going[i].record.begins or in_flight[j].state != PREPARED)
        }
        if blocked:
            reasons = {
                i: f"{in_flight[j].name!r}, which backs it up, is {in_flight[j].state}" for i, j in blocked.items()
            }
            withdrawn = self.move(blocked, lambda i, record: _transitions.withdraw(present(record), reasons[i], claim))
            refused.update(withdrawn.refused)
            for i, x in withdrawn.moved.items():
                refused[i] = _waits_for(in_flight[blocked[i]], reasons[i], claim)
                refused[i].record = x.record
        psks = {i: x.record.psk_to_send() for i, x in going.items() if i not in blocked}
        moved = {i: x for i, x in moves.moved.items() if i not in blocked}
        return Taken(psks, Moves(moved, refused, moves.changed))

    def _read_back(self, sending: Sequence[str], others: Collection[str]) -> None:
        """What is not there was not stored. A later version is another run's; the guard finds that out."""
        stored = {i: t.cast(Stored, self._known[i]) for i in sending}
        self.load([*sending, *others])
        self._looked = _now()
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


def _waits_for(sibling: Record, reason: str, claim: Claim) -> Refused:
    """Somebody else's if the run that holds the sibling is seen to live."""
    return Refused(reason, excused=bool(sibling.lease and claim.lives(sibling.lease.owner)))


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
