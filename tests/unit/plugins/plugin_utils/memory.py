# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store in memory, with check-and-set, and crashes and other runs at the worst moments."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import CHANGED_MEANWHILE, Stored, Written


class Crash(Exception):
    """The run dies here."""


class MemoryStore:
    """Records as texts, as a real store keeps them.

    `crash` is "before" or "after" the next write; `meanwhile` runs just before it, `after_write` after each.
    """

    def __init__(self, records: Mapping[str, Record] | None = None) -> None:
        self._texts: dict[str, tuple[str, int]] = {}
        self.crash: str | None = None
        self.meanwhile: Callable[[], None] | None = None
        self.after_write: Callable[[], None] | None = None
        self.loads: list[list[str] | None] = []
        self.writes = 0
        self.checked = 0
        self.closed = 0
        for tunnel_id, record in (records or {}).items():
            self.put(tunnel_id, record)

    def put(self, tunnel_id: str, record: Record) -> None:
        """Writes a record whatever is there."""
        version = self._texts[tunnel_id][1] + 1 if tunnel_id in self._texts else 1
        self._texts[tunnel_id] = (json.dumps(replace(record, revision=version).to_dict()), version)

    def __getitem__(self, tunnel_id: str) -> Record:
        return Record.from_dict(json.loads(self._texts[tunnel_id][0]))

    @property
    def records(self) -> dict[str, Record]:
        """All records, as they are now."""
        return {i: self[i] for i in self._texts}

    @property
    def states(self) -> dict[str, str]:
        """The state of each record."""
        return {i: record.state for i, record in self.records.items()}

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        self.loads.append(None if ids is None else list(ids))
        wanted = self._texts if ids is None else ids
        return {i: Stored(self[i], self._texts[i][1]) for i in wanted if i in self._texts}

    def others(self, ids: Collection[str]) -> dict[str, Stored]:
        return {i: Stored(self[i], self._texts[i][1]) for i in self._texts if i not in ids}

    def store(self, changes: Mapping[str, Stored]) -> Written:
        crash, self.crash = self.crash, None
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        if crash == "before":
            raise Crash
        self.writes += 1
        result = Written({}, {})
        for tunnel_id, (record, version) in changes.items():
            if (self._texts[tunnel_id][1] if tunnel_id in self._texts else 0) != version:
                result.conflicts[tunnel_id] = CHANGED_MEANWHILE
                continue
            self.put(tunnel_id, record)
            result.versions[tunnel_id] = version + 1
        if self.after_write:
            self.after_write()
        if crash == "after":
            raise Crash
        return result

    def forget(self, records: Mapping[str, Stored]) -> dict[str, str]:
        kept = {i: CHANGED_MEANWHILE for i, x in records.items() if self._texts[i][1] != x.version}
        for tunnel_id in set(records) - set(kept):
            del self._texts[tunnel_id]
        return kept

    def check(self) -> None:
        self.checked += 1

    def close(self) -> None:
        self.closed += 1
