# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""A store whose writes stay in memory: over the real store for check runs, over nothing where there is no escrow."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import (
    CHANGED_MEANWHILE,
    Store,
    Stored,
    Written,
)


class OverlayStore:
    """Reads through to ``base``, if there is one, and keeps every write to itself.

    A run's tasks are processes of their own, so that what one has written must be handed to the next: ``written`` is
    what ``dump`` of the step before has returned.
    """

    def __init__(self, base: Store | None, written: Mapping[str, t.Any] | None = None) -> None:
        self._base = base
        self._written: dict[str, Stored | None] = {}
        for tunnel_id, kept in (written or {}).items():
            self._written[tunnel_id] = Stored(Record.from_dict(kept[0]), kept[1]) if kept else None

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        """The records of these tunnels, or of all, as they would be."""
        found = self._base.load(ids) if self._base else {}
        for tunnel_id in self._written if ids is None else ids:
            if tunnel_id in self._written:
                written = self._written[tunnel_id]
                if written is None:
                    found.pop(tunnel_id, None)
                else:
                    found[tunnel_id] = written
        return found

    def others(self, ids: Collection[str]) -> dict[str, Stored]:
        """The records of all tunnels but these, as they would be."""
        found = self._base.others(ids) if self._base else {}
        found.update({i: x for i, x in self._written.items() if x is not None and i not in ids})
        return {i: x for i, x in found.items() if self._written.get(i, x) is not None}

    def store(self, changes: Mapping[str, Stored]) -> Written:
        """Keeps the records whose version is still the one they were loaded with."""
        present = self.load(list(changes))
        result = Written({}, {})
        for tunnel_id, (record, version) in changes.items():
            if (present[tunnel_id].version if tunnel_id in present else 0) != version:
                result.conflicts[tunnel_id] = CHANGED_MEANWHILE
                continue
            self._written[tunnel_id] = Stored(record, version + 1)
            result.versions[tunnel_id] = version + 1
        return result

    def forget(self, records: Mapping[str, Stored]) -> dict[str, str]:
        """Has the records be gone, for this run only."""
        self._written.update(dict.fromkeys(records))
        return {}

    def check(self) -> None:
        """Makes sure that the records can be read; nothing is written to them."""
        if self._base:
            self._base.load([])

    def close(self) -> None:
        """Closes what is below."""
        if self._base:
            self._base.close()

    def dump(self) -> dict[str, t.Any]:
        """What was written, as JSON can hold it. It holds PSKs."""
        return {i: [x.record.to_dict(), x.version] if x else None for i, x in self._written.items()}
