# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend in memory, with check-and-set, and crashes and other runs at the worst moments."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_backend import CHANGED_MEANWHILE, Stored


class Crash(Exception):
    """The run dies here."""


class MemoryEscrow:
    """Records in a dict. `crash` is "before" or "after" the next write; `meanwhile` runs just before it."""

    keeps = True

    def __init__(self, on_write: Callable[[str, dict[str, Any] | None, dict[str, Any]], None] | None = None) -> None:
        self.records: dict[str, Stored] = {}
        self.crash: str | None = None
        self.meanwhile: Callable[[], None] | None = None
        self.checked = 0
        self._on_write = on_write

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        wanted = self.records if ids is None else ids
        return {i: copy.deepcopy(self.records[i]) for i in wanted if i in self.records}

    def store(self, changes: Mapping[str, Stored]) -> dict[str, str]:
        crash, self.crash = self.crash, None
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        if crash == "before":
            raise Crash
        conflicts = {}
        for i, (record, version) in changes.items():
            present = self.records.get(i)
            if (present.version if present else 0) != version:
                conflicts[i] = CHANGED_MEANWHILE
                continue
            after = {**copy.deepcopy(record), "revision": version + 1}
            if self._on_write:
                self._on_write(i, present.record if present else None, after)
            self.records[i] = Stored(after, version + 1)
        if crash == "after":
            raise Crash
        return conflicts

    def check(self) -> None:
        self.checked += 1
