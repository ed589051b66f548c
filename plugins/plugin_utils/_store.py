# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""What every store of escrow records offers."""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Collection, Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record

CHANGED_MEANWHILE = "another run has changed its record meanwhile"


class EscrowError(Exception):
    """The escrow can't be used. One line, without secrets."""


class Stored(t.NamedTuple):
    """A record, and the version under which the store keeps it: 0 means that it must not exist yet."""

    record: Record
    version: int


class Written(t.NamedTuple):
    """What a write has done: the new version by tunnel id, and why other records were not written."""

    versions: dict[str, int]
    conflicts: dict[str, str]


class Store(t.Protocol):
    """Records by tunnel id, with check-and-set."""

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        """The records of these tunnels, or of all; tunnels without a record are left out. Raises EscrowError."""

    def others(self, ids: Collection[str]) -> dict[str, Stored]:
        """The records of all tunnels but these, with what is no record passed over. Raises EscrowError."""

    def store(self, changes: Mapping[str, Stored]) -> Written:
        """Writes the records whose version is still the one they were loaded with. Raises EscrowError."""

    def forget(self, records: Mapping[str, Stored]) -> dict[str, str]:
        """Removes records that have not changed since they were loaded; returns why others were not removed."""

    def check(self) -> None:
        """Raises EscrowError unless records can be read and written, and stay."""

    def close(self) -> None:
        """Gives back what the store has taken, such as a token. Never raises."""


def find(store: Store, terms: Sequence[str], *, missing_ok: bool = False) -> dict[str, Stored]:
    """The records of these tunnels, named by id, or by the name that the escrow has. Raises EscrowError.

    Records of tunnels that are gone are found by their id, and by a name that no other tunnel has.
    """
    ids = [x for x in terms if re.fullmatch(r"[0-9a-f]{32}", x)]
    found = store.load(ids) if ids else {}
    left = [x for x in terms if x not in found]
    if not left or (missing_ok and len(left) == len([x for x in ids if x not in found])):
        return {x: found[x] for x in terms if x in found}
    records = store.load()
    chosen: dict[str, Stored] = {}
    for term in terms:
        if term in found or term in records:
            chosen[term] = found.get(term) or records[term]
            continue
        named = [i for i, stored in records.items() if stored.record.name == term]
        named = [i for i in named if not records[i].record.gone] or named
        if len(named) == 1:
            chosen[named[0]] = records[named[0]]
        elif named:
            raise EscrowError(f"{term!r} is the name of {len(named)} tunnels: give the id, {' or '.join(named)}")
        elif not missing_ok:
            near = difflib.get_close_matches(term, [x.record.name or "" for x in records.values()], n=3, cutoff=0.5)
            hint = f"; near it are {', '.join(near)}" if near else ""
            raise EscrowError(f"the escrow has no tunnel with the id or name {term!r}{hint}")
    return chosen
