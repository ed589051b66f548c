# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The transitions of an escrow record: pure functions that take a record and return the next one and its status.

::

    idle -> prepared -> applied -> confirmed (idle, generation + 1)
    prepared, refused -> idle            prepared, outcome unknown -> in_doubt -> (same PSK again) -> applied
    applied -> rolling_back -> idle      seen a change that was not ours -> stuck

One that is not allowed raises Refused. A PSK that may have been sent never leaves the record before another one was
confirmed and KEPT_SECONDS have gone by: an old request may still be carried out.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import (
    LATE,
    NANO,
    NEWER,
    SAME,
    Trace,
    compare,
    format_time,
    same_time,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._kept import (
    confirmed_key,
    discard,
    forget_old,
    keep,
    may_be_disturbed,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    PREPARED,
    ROLLING_BACK,
    STUCK,
    Claim,
    Key,
    Lease,
    Pending,
    Record,
    Refused,
    Rollback,
)

HISTORY_LENGTH = 20
# What a rollback says where the PSK before was adopted, or brought to its device without a proof.
UNPROVEN = "the PSK before, which is set again, was never seen to work"

_OF_STATE = {
    IDLE: _status.UNCHANGED,
    PREPARED: _status.PREPARED,
    IN_DOUBT: _status.IN_DOUBT,
    APPLIED: _status.APPLIED,
    ROLLING_BACK: _status.ROLLING_BACK,
    STUCK: _status.STUCK,
}


def status_of(record: Record) -> str:
    """The status of a tunnel of which only the record is known."""
    if record.state == ROLLING_BACK and not (record.rollback and record.rollback.applied):
        return _status.ROLLBACK_FAILED
    return _OF_STATE[record.state]


class Moved(t.NamedTuple):
    """The record after a transition, and the status of its tunnel."""

    record: Record
    status: str


@dataclass(frozen=True)
class Target:
    """The tunnel that a rotation takes, as the account and the plan know it.

    ``finish``: only what was begun is to be finished. ``device``: a device has to act.
    """

    name: str
    trace: Trace
    host: str | None = None
    group: str | None = None
    device: bool | None = None
    finish: bool = False


def prepare(record: Record | None, target: Target, new_psk: str, claim: Claim, *, force: bool = False) -> Moved:
    """Takes the tunnel and makes sure that there is exactly one PSK to go on with.

    An unresolved rotation is resumed with its own PSK, and an unfinished rollback goes forward again; ``new_psk`` is
    used only when there is none. A foreign change makes the record stuck, which stays stuck without ``force``.
    """
    record = record or Record()
    _refuse_if_held(record, claim, "works on it")
    host = target.host or record.host
    record = replace(record, name=target.name, gone=False, host=host, group=target.group, device=target.device)
    found = compare(record.expected(), target.trace)
    if found == NEWER and not force:
        return stick(record, target.trace.on, claim)
    if record.state == STUCK and not force:
        raise Refused(f"stuck: {record.reason}", status=_status.STUCK)
    if (found == NEWER or record.state == STUCK) and record.current:
        record = replace(record, current=replace(record.current, superseded=True))
    record = replace(record, lease=Lease(claim.owner, claim.until))
    # Where a device has failed to prove its PSK, Cloudflare may have another one: it is set again.
    unproven = record.reason is not None or target.trace.missing
    if record.state == APPLIED and found not in (NEWER, LATE) and not unproven:
        return Moved(note(record, "resumed", claim), _status.APPLIED)
    if record.pending:
        record = _with_rollback_time(record)
        pending = t.cast(Pending, record.pending)
        state = PREPARED if record.state == PREPARED else IN_DOUBT
        pending = replace(pending, attempt=pending.attempt + 1, reported=target.trace.on, applied_on=None)
        return Moved(note(record.of_state(state, pending=pending, rollback=None), "resumed", claim), _status.PREPARED)
    if target.finish and found == LATE:
        return Moved(again(record, target.trace, claim), _status.PREPARED)
    if target.finish:
        raise Refused("there is nothing left to finish", status=_status.UNCHANGED)
    pending = first_pending(new_psk, target.trace, claim)
    return Moved(note(record.of_state(PREPARED, pending=pending, reason=None), "prepared", claim), _status.PREPARED)


def withdraw(record: Record, reason: str, claim: Claim) -> Moved:
    """Gives a PSK up that was never sent."""
    if not record.begins or not record.is_held_by(claim):
        raise Refused(f"the record is {record.state}, so its PSK may have been sent")
    record = record.of_state(IDLE, pending=None, lease=None, reason=reason)
    return Moved(note(record, "withdrawn", claim), _status.SKIPPED)


def renew(record: Record, claim: Claim) -> Moved:
    """Holds the tunnel for longer."""
    record = _held(record, claim)
    return Moved(replace(record, lease=Lease(claim.owner, claim.until)), status_of(record))


def applied(
    record: Record, applied_on: str | None, claim: Claim, *, repeated: bool = False, ipsec_id: str | None = None
) -> Moved:
    """The API has set the PSK that psk_to_send gave. ``repeated``: an earlier request with it may be on its way."""
    record = _held(record, claim)
    lease = Lease(claim.owner, max(claim.until, record.lease.until if record.lease else 0.0))
    record = replace(record, lease=lease, ipsec_id=ipsec_id or record.ipsec_id)
    if record.state == ROLLING_BACK:
        earlier = record.rollback is not None and record.rollback.at_least
        at_least = repeated or earlier or may_be_disturbed(record, claim)
        record = replace(record, rollback=Rollback(True, applied_on, at_least))
        return Moved(note(record, "applied", claim), _status.ROLLING_BACK)
    if record.state not in (PREPARED, IN_DOUBT, APPLIED) or not record.pending:
        raise Refused(f"the record is {record.state}, so no PSK can have been applied")
    at_least = repeated or record.pending.attempt > 1 or may_be_disturbed(record, claim)
    pending = replace(record.pending, applied_on=applied_on, at_least=at_least, delivered=False, disturbed=False)
    return Moved(note(record.of_state(APPLIED, pending=pending, reason=None), "applied", claim), _status.APPLIED)


def refused(record: Record, reason: str | None, claim: Claim) -> Moved:
    """The API has refused the PSK.

    One that may have been sent before is given up only when the tunnel still reports the time of before, and not at the
    second attempt; otherwise the tunnel is in doubt, as is one whose device may hold another PSK. In any case its
    PSK is kept.
    """
    record = replace(_held(record, claim), reason=f"refused: {reason}", lease=None)
    if record.state == ROLLING_BACK:
        return Moved(note(record, "rollback refused", claim), _status.ROLLBACK_FAILED)
    pending = record.pending
    if record.state not in (PREPARED, IN_DOUBT) or not pending:
        raise Refused(f"the record is {record.state}, so no PSK can have been refused")
    # The list before the second attempt may be older than the first: only the third can tell that it came to nothing.
    # What is set again is set because Cloudflare or the device may hold another one.
    again = record.current is not None and record.current.psk == pending.psk
    moved = not same_time(pending.reported, pending.baseline)
    if pending.disturbed or pending.attempt == 2 or (pending.attempt > 2 and (moved or again)):
        return Moved(note(record.of_state(IN_DOUBT), "refused, still in doubt", claim), _status.IN_DOUBT)
    record = discard(record, pending, claim).of_state(IDLE, pending=None)
    return Moved(note(record, "refused", claim), _status.REFUSED)


def in_doubt(record: Record, reason: str | None, claim: Claim) -> Moved:
    """Nobody knows whether the API has set the PSK."""
    record = replace(_held(record, claim), reason=reason, lease=None)
    if record.state == ROLLING_BACK:
        record = replace(record, rollback=Rollback(at_least=True))
        return Moved(note(record, "rollback in doubt", claim), _status.ROLLBACK_FAILED)
    if record.state not in (PREPARED, IN_DOUBT):
        raise Refused(f"the record is {record.state}, so nothing is in doubt")
    return Moved(note(record.of_state(IN_DOUBT), "in doubt", claim), _status.IN_DOUBT)


def confirm(record: Record, status: str, claim: Claim, *, exposure: float | None = None) -> Moved:
    """The rotation, or the rollback, is done. ``status`` says how it is known: confirmed, delivered or handed_over.

    ``exposure`` are the seconds from Cloudflare's answer to the end of the device's tasks.
    """
    record = mine(record, claim)
    if record.state == ROLLING_BACK and record.rollback and record.rollback.applied:
        record = _with_rollback_time(record)
        record = discard(record, t.cast(Pending, record.pending), claim)
        record = record.of_state(IDLE, pending=None, rollback=None, lease=None)
        return Moved(note(record, "rolled back", claim), _status.ROLLED_BACK)
    pending = record.pending
    if record.state != APPLIED or not pending:
        why = f" ({record.reason})" if record.reason else ""
        raise Refused(f"the record is {record.state}{why}, so there is nothing to confirm")
    seen = status == _status.CONFIRMED
    now = format_time(int(claim.now * NANO))
    again = record.current is not None and record.current.psk == pending.psk
    current = confirmed_key(record, pending, now, seen=seen, exposure=exposure)
    if not again:
        record = forget_old(keep(record, record.previous, claim), current.psk, claim)
        record = replace(record, previous=record.current, generation=record.generation + 1)
    record = record.of_state(IDLE, current=current, pending=None, rollback=None, lease=None, reason=None, seen=None)
    if current.restored:
        record = replace(record, reason=UNPROVEN if current.confirmed is False else None)
        return Moved(note(record, "rolled back", claim), _status.ROLLED_BACK)
    return Moved(note(record, status, claim), status)


def roll_back(record: Record, reason: str | None, claim: Claim, trace: Trace | None = None) -> Moved:
    """Goes back to the PSK before. Refused when there is none that both sides knew: then only forward is possible.

    A rotation that was confirmed already is rolled back by a rotation to its previous PSK.
    """
    record = mine(record, claim)
    found = compare(record.expected(), trace) if trace else SAME
    if trace and found == NEWER:
        raise Refused(_status.changed_by_others(trace.on))
    record = replace(record, lease=Lease(claim.owner, claim.until))
    undone = found == LATE or bool(trace and trace.missing)
    if record.state == ROLLING_BACK and record.rollback and record.rollback.applied and not undone:
        return Moved(note(record, "resumed", claim), _status.ROLLING_BACK)
    if record.state == ROLLING_BACK:
        return Moved(note(replace(record, rollback=Rollback(at_least=True)), "resumed", claim), _status.PREPARED)
    if record.state == IDLE and record.previous:
        pending = first_pending(record.previous.psk, trace or Trace(None), claim)
        return Moved(note(record.of_state(PREPARED, pending=pending, reason=None), "prepared", claim), _status.PREPARED)
    if record.state not in (PREPARED, IN_DOUBT, APPLIED) or not record.pending:
        raise Refused(f"the record is {record.state}, so there is nothing to roll back")
    if not record.current or record.current.superseded or record.current.psk == record.pending.psk:
        raise Refused("no earlier PSK is known, so the rotation can only go forward")
    pending = record.pending
    sent_before = record.state == IN_DOUBT or pending.at_least or pending.attempt > 1
    if record.current.confirmed is False:
        reason = f"{reason}; {UNPROVEN}" if reason else UNPROVEN
    record = record.of_state(ROLLING_BACK, rollback=Rollback(at_least=sent_before), reason=reason)
    return Moved(note(record, "rolling back", claim), _status.PREPARED)


def release(record: Record, reason: str | None, claim: Claim) -> Moved:
    """Leaves the record where it is, for another run, or a later step, to go on with.

    Without a ``reason`` the device has the PSK that Cloudflare has set, or none has to act: it waits for confirmation.
    """
    record = replace(mine(record, claim), lease=None, reason=reason or record.reason)
    status = status_of(record)
    if record.state == APPLIED and record.pending:
        record = replace(record, pending=replace(record.pending, delivered=not reason))
        status = status if reason else _status.WAITING
    elif record.state == ROLLING_BACK and record.rollback and record.rollback.applied:
        record = replace(record, rollback=replace(record.rollback, delivered=not reason))
        status = status if reason else _status.WAITING
    return Moved(note(record, "released", claim), status)


def stick(record: Record, seen: str | None, claim: Claim) -> Moved:
    """Somebody else has set a PSK, at the time ``seen``: a person has to look at this tunnel. All PSKs stay."""
    record = _with_rollback_time(mine(record, claim))
    reason = _status.changed_by_others(seen)
    if record.discarded:
        reason += ", or by an earlier request of ours that Cloudflare had refused"
    return Moved(
        note(record.of_state(STUCK, reason=reason, seen=seen, lease=None), "stuck", claim),
        _status.STUCK,
    )


# -- parts ------------------------------------------------------------------------------------------------------------


def first_pending(psk: str, trace: Trace, claim: Claim) -> Pending:
    """The PSK of a rotation that begins now."""
    return Pending(psk, claim.rotation_id, wave=claim.wave, baseline=trace.on, reported=trace.on)


def again(record: Record, trace: Trace, claim: Claim) -> Record:
    """Has the current PSK be sent once more, since Cloudflare may hold another one."""
    pending = replace(first_pending(t.cast(Key, record.current).psk, trace, claim), attempt=2)
    return note(record.of_state(IN_DOUBT, pending=pending, reason=None), "to be set again", claim)


def _refuse_if_held(record: Record, claim: Claim, doing: str) -> None:
    owner = record.holder(claim)
    if owner is None:
        return
    until = format_time(int(record.believed_until(claim) * NANO))[:19] + "Z"
    lives = "" if claim.lives(owner) is None else ", which is still alive"
    left = f"; it was left {record.state}" if record.unresolved else ""
    excused = claim.lives(owner) is True and not record.unresolved
    raise Refused(f"another run {doing} until {until} ({owner}{lives}){left}", excused=excused)


def mine(record: Record, claim: Claim) -> Record:
    """The record, if no other run has taken the tunnel meanwhile."""
    _refuse_if_held(record, claim, "has taken it over")
    return record


def _held(record: Record, claim: Claim) -> Record:
    """The record, if the tunnel's lease is still this run's."""
    if not record.is_held_by(claim):
        raise Refused("another run has taken it over")
    return record


def _with_rollback_time(record: Record) -> Record:
    """The PSK that was rolled back to is the one that the tunnel has, since the time that the API gave for it."""
    rollback, current, pending = record.rollback, record.current, record.pending
    if not (rollback and rollback.applied and current and pending):
        return record
    return replace(
        record,
        current=replace(current, applied_on=rollback.applied_on, at_least=rollback.at_least),
        pending=replace(pending, baseline=rollback.applied_on),
    )


def note(record: Record, event: str, claim: Claim) -> Record:
    """The record with an entry in its history."""
    entry = {"on": format_time(int(claim.now * NANO)), "event": event, "rotation_id": claim.rotation_id}
    if record.reason:
        entry["reason"] = record.reason
    return replace(record, history=(*record.history, entry)[-HISTORY_LENGTH:])
