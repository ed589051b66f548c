# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""What a record learns from an answer that comes when another run has taken the tunnel over. Pure functions."""

from __future__ import annotations

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Trace, later_time, same_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._kept import is_later
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    ROLLING_BACK,
    STUCK,
    Claim,
    Pending,
    Record,
    Refused,
    Rollback,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import (
    Moved,
    again,
    first_pending,
    note,
    status_of,
)

DISTURBED = "a run that was late may have brought another PSK to its device"


def applied_late(record: Record, psk: str, applied_on: str | None, claim: Claim) -> Moved:
    """A run whose lease another has taken over meanwhile did have ``psk`` set: what Cloudflare holds is known by that.

    The status is that of the tunnel for the run that was late. Raises Refused if the record learns nothing from it.
    """
    after = _learned(record, psk, applied_on, claim)
    if after is None:
        raise Refused("another run has taken it over")
    return Moved(note(after, "applied late", claim), status_of(after))


def disturbed(record: Record, given: str, claim: Claim) -> Moved:
    """A run from which another has taken the tunnel has had its device's tasks run, with the PSK ``given``.

    The device may hold that one now, and the record may be about another: it is not done before it was set again.
    Raises Refused if it was the same, or a person has to look anyway.
    """
    wanted = record.current if record.state in (IDLE, ROLLING_BACK) else record.pending
    if record.state == STUCK or wanted is None or wanted.psk == given:
        raise Refused("another run has taken it over")
    if record.state == IDLE:
        record = again(record, Trace(wanted.applied_on), claim)
    elif record.state == ROLLING_BACK:
        record = note(replace(record, rollback=Rollback(at_least=True)), "to be set again", claim)
    else:
        pending = replace(t.cast(Pending, record.pending), applied_on=None, delivered=False, disturbed=True)
        record = note(record.of_state(IN_DOUBT, pending=pending), "to be set again", claim)
    return Moved(replace(record, reason=DISTURBED), status_of(record))


def _learned(record: Record, psk: str, on: str | None, claim: Claim) -> Record | None:
    pending, current, rollback = record.pending, record.current, record.rollback
    if pending and pending.psk == psk:
        if record.state == STUCK and not _explains(record, on):
            return None
        if record.state == ROLLING_BACK and rollback and rollback.applied and not is_later(on, rollback.applied_on):
            return None
        pending = replace(pending, applied_on=later_time(pending.applied_on, on), at_least=True, delivered=False)
        if record.state == ROLLING_BACK:
            return replace(record, pending=pending, rollback=Rollback(at_least=True))
        return record.of_state(APPLIED, pending=pending, rollback=None, reason=None, seen=None)
    if current and current.psk == psk:
        on = later_time(current.applied_on, on)
        if pending is None and (record.state == IDLE or _explains(record, on)):
            current = replace(current, applied_on=on, at_least=True, superseded=False)
            return record.of_state(IDLE, current=current, seen=None, reason=None)
        if record.state == ROLLING_BACK and rollback and rollback.applied:
            return replace(record, rollback=Rollback(True, later_time(rollback.applied_on, on), True))
        if record.state == APPLIED and pending and is_later(on, pending.applied_on):
            current = replace(current, applied_on=on, at_least=True)
            return record.of_state(IN_DOUBT, current=current, pending=replace(pending, applied_on=None))
        return None
    known = [x for x in (record.previous, *record.discarded) if x and x.psk == psk]
    if record.state == IDLE and known and not (current and is_later(current.applied_on, on)):
        if current:
            return again(record, Trace(on), claim)
        pending = replace(first_pending(psk, Trace(on), claim), applied_on=on, at_least=True)
        kept = tuple(x for x in record.discarded if x.psk != psk)
        return record.of_state(APPLIED, pending=pending, discarded=kept)
    return None


def _explains(record: Record, on: str | None) -> bool:
    """Whether a change of ours at this time is the one for which the record became stuck."""
    return record.state == STUCK and (same_time(record.seen, on) or is_later(on, record.seen))
