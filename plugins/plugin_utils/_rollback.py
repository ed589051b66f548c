# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""Which finished rotations a run rolls back: those of one rotation id, or each tunnel's latest. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, format_age, parse_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record

LAST = "last"
IDS_SHOWN = 3


def check_id(rollback_id: str, records: Iterable[Record]) -> None:
    """Raises InputError unless some record knows the rotation, be it rolled back by now."""
    if rollback_id in ("", LAST):
        return
    known: set[str] = set()
    for record in records:
        known.update(str(x["rotation_id"]) for x in record.history if x.get("rotation_id"))
        known.update([record.rotation_id] if record.rotation_id else [])
    if rollback_id not in known:
        latest = sorted(known, reverse=True)[:IDS_SHOWN]
        told = f"the latest are {', '.join(latest)}; " if latest else ""
        raise InputError(
            f"psk_rotation_rollback_id: no tunnel of this play had the rotation {rollback_id!r}, and nothing was"
            f" written: {told}last takes the latest one of each tunnel"
        )


def judge(record: Record | None, rollback_id: str, within: int, now: int) -> tuple[str, str]:
    """Whether a finished rotation is rolled back, and why (not). ``within`` in seconds, ``now`` in nanoseconds.

    What was rolled back already is not the latest rotation: to take it back would be to rotate again.
    """
    current = record.current if record else None
    if not rollback_id or record is None or current is None or record.previous is None:
        return _status.UNCHANGED, "nothing to roll back"
    if rollback_id != LAST:
        if record.rotation_id == rollback_id:
            return _status.DUE, f"the rotation {rollback_id} is rolled back"
        mine = any(x.get("rotation_id") == rollback_id for x in record.history)
        return _status.UNCHANGED, (
            f"nothing to roll back: its latest rotation is {record.rotation_id}" if mine else "nothing to roll back"
        )
    if current.restored or not current.rotation_id:
        return _status.UNCHANGED, "nothing to roll back: it has no rotation since the last rollback"
    applied = parse_time(current.applied_on or current.made_on)
    if applied is None or now - applied > within * NANO:
        return (
            _status.UNCHANGED,
            f"its latest rotation is older than {format_age(within)} (psk_rotation_rollback_within)",
        )
    return _status.DUE, f"its latest rotation, {current.rotation_id}, is rolled back"
