# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""Which PSKs a record keeps beside the current one, and for how long: an old request may still be carried out."""

from __future__ import annotations

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import (
    LATE_REQUEST,
    NANO,
    format_time,
    later_time,
    parse_time,
    same_time,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Claim, Key, Pending, Record

# Beside those whose request may still be carried out.
DISCARDED_LENGTH = 10
KEPT_SECONDS = 7 * 86400


def discard(record: Record, pending: Pending, claim: Claim) -> Record:
    """A PSK that was sent is kept: it may turn out that Cloudflare holds it."""
    key = Key(pending.psk, applied_on=pending.applied_on, rotation_id=pending.rotation_id, wave=pending.wave)
    return keep(record, key, claim)


def keep(record: Record, key: Key | None, claim: Claim) -> Record:
    """Keeps a PSK among the discarded ones, from now on."""
    if key is None:
        return record
    kept = replace(key, discarded_on=format_time(int(claim.now * NANO)))
    every = (kept, *(x for x in record.discarded if x.psk != key.psk))
    left = tuple(x for n, x in enumerate(every) if n < DISCARDED_LENGTH or _is_younger(x, LATE_REQUEST, claim))
    return replace(record, discarded=left)


def may_be_disturbed(record: Record, claim: Claim) -> bool:
    """Whether an earlier request, with another PSK, may still be carried out."""
    times = [x.discarded_on for x in record.discarded]
    if record.current and record.current.at_least:
        times.append(record.current.applied_on)
    known = [x for x in map(parse_time, times) if x is not None]
    return any(claim.now * NANO - x <= LATE_REQUEST for x in known)


def forget_old(record: Record, confirmed: str, claim: Claim) -> Record:
    """Drops what was given up long ago, now that another PSK has replaced it."""
    kept = (x for x in record.discarded if x.psk != confirmed and _is_younger(x, KEPT_SECONDS * NANO, claim))
    return replace(record, discarded=tuple(kept))


def _is_younger(key: Key, age: int, claim: Claim) -> bool:
    since = parse_time(key.discarded_on)
    return since is None or claim.now * NANO - since < age


def made_on(pending: Pending, now: str) -> str:
    """When the PSK was new: the API's time if that has moved with it, or else our own clock's."""
    on = pending.applied_on
    return on if on and is_later(on, pending.baseline) else now


def confirmed_key(record: Record, pending: Pending, now: str, *, seen: bool, exposure: float | None) -> Key:
    """The PSK of a rotation that is done, which may be one that the record had before.

    One that was rolled back to was seen to work then or now, or never.
    """
    known = [x for x in (record.current, record.previous) if x is not None and x.psk == pending.psk]
    restored = bool(known) and known[0] is record.previous
    before = known[0] if restored else None
    return Key(
        psk=pending.psk,
        applied_on=pending.applied_on,
        at_least=pending.at_least,
        made_on=(known[0].made_on or known[0].applied_on) if known else made_on(pending, now),
        rotation_id=pending.rotation_id,
        wave=pending.wave,
        exposure_seconds=exposure,
        confirmed=before.confirmed if before and not seen else seen,
        confirmed_on=now if seen else before.confirmed_on if before else None,
        restored=restored,
    )


def is_later(one: str | None, other: str | None) -> bool:
    """Whether one time of the API is clearly later than another; any is later than none."""
    return one is not None and not same_time(one, other) and later_time(one, other) == one
