# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What every escrow backend offers, and how one is chosen."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

CHANGED_MEANWHILE = "another run has changed its record meanwhile"


class EscrowError(Exception):
    """The escrow can't be used. One line, without secrets."""


class Stored(t.NamedTuple):
    """A record, and the version under which the backend keeps it: 0 means that it must not exist yet."""

    record: dict[str, t.Any]
    version: int


class Backend(t.Protocol):
    """A store of records with check-and-set. ``keeps`` is false if nothing outlives the task."""

    keeps: bool

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        """The records of these tunnels, or of all; tunnels without a record are left out. Raises EscrowError."""

    def store(self, changes: Mapping[str, Stored]) -> dict[str, str]:
        """Writes records that have not changed since they were loaded; returns ``{id: why}`` for the others."""

    def check(self) -> None:
        """Raises EscrowError unless records can be read and written."""


class NoEscrow:
    """Keeps nothing: a crash between the API and the device loses the key. For rehearsals, and only when said."""

    keeps = False

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        """Nothing is ever known."""
        return {}

    def store(self, changes: Mapping[str, Stored]) -> dict[str, str]:
        """Nothing is kept."""
        return {}

    def check(self) -> None:
        """Nothing can be wrong."""
