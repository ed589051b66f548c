# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""Moves records of one store: loads them, applies a transition to each, and stores them with check-and-set.

A record that somebody else has changed meanwhile is loaded again, and the transition is judged again on it.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Claim, Record, Refused
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Store, Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved

ATTEMPTS = 6
NAMES_SHOWN = 5

Transition = Callable[[str, t.Optional[Record]], Moved]


@dataclass(frozen=True)
class Moves:
    """The outcome of an operation's tunnels, by id."""

    moved: Mapping[str, Moved]
    refused: Mapping[str, Refused]
    changed: bool = False


class Mover:
    """Moves records for one run. ``claim`` makes the run's claim as of now; ``names`` are for messages."""

    def __init__(self, store: Store, claim: Callable[[], Claim], names: Mapping[str, str] | None = None) -> None:
        self.store = store
        self._claim = claim
        self._names = dict(names or {})
        self._known: dict[str, Stored | None] = {}
        self._last: Claim | None = None
        self.wave: int | None = None

    def claim(self) -> Claim:
        """The run's claim as of now. Raises EscrowError if the run has ended."""
        self._last = replace(self._claim(), wave=self.wave)
        return self._last

    def claim_anyway(self, now: float) -> Claim:
        """The same, also if the run was killed and has left this process behind: what it has done is the truth."""
        try:
            return self.claim()
        except EscrowError:
            if self._last is None:
                raise
            return replace(self._last, now=now, until=now + self._last.until - self._last.now)

    def open(self, ids: Collection[str] | None) -> dict[str, Record]:
        """Makes sure that the escrow can be written, and reads."""
        self.store.check()
        return self.read(ids)

    def read(self, ids: Collection[str] | None) -> dict[str, Record]:
        """The records of these tunnels, or of all."""
        found = self.store.load(None if ids is None else list(ids))
        self._known.update({i: found.get(i) for i in (found if ids is None else ids)})
        return {i: stored.record for i, stored in found.items()}

    def read_others(self, ids: Collection[str]) -> None:
        """The records of all tunnels but these."""
        self._known.update(self.store.others(ids))

    def known(self) -> dict[str, Record]:
        """All records that were seen or written."""
        return {i: stored.record for i, stored in self._known.items() if stored is not None}

    def record_of(self, tunnel_id: str) -> Record | None:
        """The record as it was last seen or written."""
        stored = self._known.get(tunnel_id)
        return stored.record if stored else None

    def move(self, ids: Iterable[str], transition: Transition) -> Moves:
        """Moves and stores the records of these tunnels."""
        left = list(ids)
        moved: dict[str, Moved] = {}
        refused: dict[str, Refused] = {}
        written: set[str] = set()
        for attempt in range(ATTEMPTS):
            self.load([i for i in left if i not in self._known])
            changes: dict[str, Stored] = {}
            for tunnel_id in left:
                stored = self._known[tunnel_id]
                try:
                    found = transition(tunnel_id, stored.record if stored else None)
                except Refused as exc:
                    exc.record = stored.record if stored else None
                    refused[tunnel_id] = exc
                    continue
                moved[tunnel_id] = found
                if stored is None or found.record != stored.record:
                    changes[tunnel_id] = Stored(found.record, stored.version if stored else 0)
            conflicts = self._store(changes)
            written.update(i for i in changes if i not in conflicts)
            left = list(conflicts)
            if not left:
                break
            if attempt == ATTEMPTS - 1:
                doing = "its record keeps changing, so nothing could be recorded"
                refused.update({i: Refused(doing, status=_status.IN_DOUBT) for i in left})
        return Moves({i: x for i, x in moved.items() if i not in refused}, refused, bool(written))

    def load(self, ids: Sequence[str]) -> None:
        """Reads the records again."""
        if not ids:
            return
        try:
            self.read(ids)
        except EscrowError as exc:
            raise EscrowError(
                f"{exc}; nothing could be recorded for {self.named(ids)}: run again, nothing is lost"
            ) from None

    def _store(self, changes: Mapping[str, Stored]) -> dict[str, str]:
        if not changes:
            return {}
        try:
            done = self.store.store(changes)
        except EscrowError as exc:
            names = self.named(changes)
            raise EscrowError(
                f"{exc}; it is not known whether this was written for {names}: run again, nothing is lost"
            ) from None
        for tunnel_id, version in done.versions.items():
            self._known[tunnel_id] = Stored(changes[tunnel_id].record, version)
        for tunnel_id in done.conflicts:
            self._known.pop(tunnel_id, None)
        return done.conflicts

    def named(self, ids: Iterable[str]) -> str:
        """The first names, and how many more there are."""
        names = [self._names.get(i, i) for i in ids]
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        return ", ".join(names[:NAMES_SHOWN]) + more


def present(record: Record | None) -> Record:
    """The record; raises Refused if there is none."""
    if record is None:
        raise Refused("the escrow has no record of it")
    return record
