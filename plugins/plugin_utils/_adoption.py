# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""Adoption: a PSK that Cloudflare and the device already have becomes the current one of an escrow record.

Unless its device was seen to have it, nobody has proven that it is the right one, so that the record says
``confirmed: false``. Its age is Cloudflare's.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import (
    NANO,
    TIME_TOLERANCE,
    Trace,
    format_time,
    parse_time,
    same_time,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adopt import Given, labelled, without_content
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._kept import discard, keep
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Moves
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import IDLE, Claim, Key, Record, Refused
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved, mine, note

# What becomes of a PSK that was given.
ADOPTED, KNOWN, UNVERIFIED, DIFFERS, STALE, OUTDATED, WITHOUT_PSK, BUSY = (
    "adopted",
    "known",
    "unverified",
    "differs",
    "stale",
    "outdated",
    "without_psk",
    "busy",
)
# With these the tunnel's PSK is not in the escrow, or another one is, although one was given.
FAILED = (UNVERIFIED, DIFFERS, STALE, BUSY)
PROVEN = "proven by its device"
NAMES_SHOWN = 10


@dataclass(frozen=True)
class Candidate:
    """A PSK that may be adopted for a tunnel of the account.

    ``proven``: its device was seen to have it. ``contradicted`` is why its device is not known to have it, where that
    was asked for.
    """

    name: str
    trace: Trace
    psk: str = field(repr=False)
    set_on: str | None = None
    proven: bool = False
    contradicted: str | None = None

    @property
    def stale(self) -> bool:
        """Whether Cloudflare was given another PSK since."""
        ours, theirs = parse_time(self.set_on), parse_time(self.trace.on)
        if ours is None or theirs is None:
            return False
        return ours < theirs and not same_time(self.set_on, self.trace.on, TIME_TOLERANCE)


def adopt(record: Record | None, candidate: Candidate, claim: Claim, *, overwrite: bool = False) -> Moved:
    """Takes the PSK as the current one. Raises Refused, whose status says why not.

    What the record has is kept: another current PSK is replaced only with ``overwrite``, and is not lost then. A
    rotation that is not finished is never disturbed.
    """
    record = record or Record()
    if candidate.contradicted:
        raise Refused(candidate.contradicted, status=UNVERIFIED)
    live = {x.psk for x in (record.current, record.pending) if x is not None}
    now = format_time(int(claim.now * NANO))
    if candidate.psk in live:
        return Moved(_proven(record, candidate, claim, now), KNOWN)
    if candidate.stale:
        told = f"the source has a PSK of {candidate.set_on}, and Cloudflare one of {candidate.trace.on}"
        raise Refused(told, status=OUTDATED if live else STALE)
    if candidate.trace.missing:
        raise Refused("Cloudflare says that the tunnel has no PSK", status=WITHOUT_PSK)
    try:
        record = mine(record, claim)
    except Refused as exc:
        raise Refused(str(exc), status=BUSY) from None
    if record.unresolved:
        raise Refused(f"its rotation is {record.state}, and must be finished first", status=BUSY)
    if live and not overwrite:
        earlier = candidate.psk in {x.psk for x in (record.previous, *record.discarded) if x is not None}
        told = "which has replaced this one" if earlier else "and nothing says which one is right"
        raise Refused(f"the escrow has another PSK, {told}", status=DIFFERS)
    for key in (record.previous, record.current):
        record = keep(record, key, claim)
    if record.pending:
        record = discard(record, record.pending, claim)
    on = candidate.trace.on
    record = replace(
        record.of_state(IDLE, pending=None, rollback=None, previous=None, lease=None, reason=None, seen=None),
        name=candidate.name,
        gone=False,
        current=Key(
            candidate.psk,
            applied_on=on,
            made_on=on,
            confirmed=candidate.proven,
            confirmed_on=now if candidate.proven else None,
        ),
        discarded=tuple(x for x in record.discarded if x.psk != candidate.psk),
        generation=record.generation + 1,
    )
    return Moved(note(record, ADOPTED, claim), ADOPTED)


def _proven(record: Record, candidate: Candidate, claim: Claim, now: str) -> Record:
    """The record, which says now that its current PSK was proven; one that somebody works on is left as it is."""
    current = record.current
    if not candidate.proven or record.state != IDLE or record.holder(claim) or current is None or current.confirmed:
        return record
    return note(replace(record, current=replace(current, confirmed=True, confirmed_on=now)), PROVEN, claim)


_TITLES = {
    ADOPTED: "adopted",
    KNOWN: "known already",
    UNVERIFIED: "not adopted",
    DIFFERS: "not overwritten",
    STALE: "stale, not adopted",
    OUTDATED: "stale, and known better by the escrow",
    WITHOUT_PSK: "not adopted",
    BUSY: "not adopted",
}


@dataclass(frozen=True)
class Report:
    """The outcome of an adoption. Each of ``tunnels`` is ``{id, name, status, reason}``; no secrets.

    ``proven`` and ``unproven`` are those in the escrow whose devices were asked, or should have been.
    """

    tunnels: Sequence[Mapping[str, t.Any]]
    without_tunnel: Sequence[str]
    without_key: Sequence[str]
    proven: Sequence[str] = ()
    unproven: Sequence[str] = ()

    @property
    def failed(self) -> bool:
        """Whether a PSK was given for a tunnel, and the escrow does not have it, or another one."""
        return any(x["status"] in FAILED for x in self.tunnels)

    def names(self, status: str) -> list[str]:
        """The names of the tunnels with this status."""
        return [x["name"] for x in self.tunnels if x["status"] == status]

    def message(self, *, check: bool = False) -> str:
        """One line that names all that was not adopted."""
        told = [f"{len(self.names(ADOPTED))} {'would be ' if check else ''}adopted"]
        told.append(f"{len(self.names(KNOWN))} {_TITLES[KNOWN]}")
        for status in (UNVERIFIED, DIFFERS, STALE, OUTDATED, WITHOUT_PSK, BUSY):
            found = [x for x in self.tunnels if x["status"] == status]
            if found:
                named = _some([f"{x['name']}: {x['reason']}" for x in found], "; ")
                told.append(f"{len(found)} {_TITLES[status]} ({named})")
        if self.proven:
            told.append(f"{len(self.proven)} {'were' if len(self.proven) > 1 else 'was'} seen in the device")
        if self.unproven:
            told.append(f"{len(self.unproven)} can't be proven ({_some(self.unproven)})")
        if self.without_tunnel:
            told.append(f"{len(self.without_tunnel)} without a tunnel ({_some(self.without_tunnel)})")
        if self.without_key:
            told.append(f"{len(self.without_key)} without a key ({_some(self.without_key)})")
        return ", ".join(told)


def report(
    moves: Moves,
    names: Mapping[str, str],
    without_tunnel: Sequence[Given],
    unknown: Sequence[str],
    proven: Mapping[str, bool] | None = None,
) -> Report:
    """The report of an adoption. ``unknown`` are the names of the tunnels whose PSK neither source nor escrow has.

    ``proven`` says of each tunnel whether its device was seen to have the PSK, where that was asked for.
    """
    told = {i: (x.status, None) for i, x in moves.moved.items()}
    reasons = {i: (x.status, str(x)) for i, x in moves.refused.items()}
    every: dict[str, tuple[str, str | None]] = {**told, **reasons}
    asked = {i: x for i, x in (proven or {}).items() if i in told}
    return Report(
        tunnels=[
            {"id": i, "name": names[i], "status": every[i][0], "reason": every[i][1]} for i in names if i in every
        ],
        without_tunnel=[labelled(x) for x in without_content(without_tunnel)],
        without_key=list(unknown),
        proven=[names[i] for i in names if asked.get(i) is True],
        unproven=[names[i] for i in names if asked.get(i) is False],
    )


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return between.join(names[:NAMES_SHOWN]) + more
