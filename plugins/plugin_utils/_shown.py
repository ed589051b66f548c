# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""A record as anybody may see it."""

from __future__ import annotations

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Data, Record

# Which PSK of a record: the one that its device should have, or the one of that place.
WHICH = ("device", "current", "pending", "previous")


def psk_of(record: Record, which: str) -> str | None:
    """That PSK, one of WHICH; None if the record has none."""
    if which == "device":
        return record.psk_of_device()
    found = {"current": record.current, "pending": record.pending, "previous": record.previous}[which]
    return found.psk if found else None


def without(name: str, record: Record, which: str) -> str:
    """What an error says where that PSK is not there."""
    kind = "PSK that its device should have" if which == "device" else f"{which} PSK"
    return f"the escrow knows no {kind} of tunnel {name!r}, which is {record.state}"


def shown(record: Record) -> Data:
    """The record without its secrets."""
    current, pending, lease, rollback = record.current, record.pending, record.lease, record.rollback
    expected = record.expected()
    return {
        "name": record.name,
        "ipsec_id": record.ipsec_id,
        "host": record.host,
        "group": record.group,
        "state": record.state,
        "generation": record.generation,
        "gone": record.gone,
        "has_current": current is not None,
        "has_previous": record.previous is not None,
        "applied_on": current.applied_on if current else None,
        "made_on": record.made_on,
        "confirmed": current.confirmed if current else None,
        "confirmed_on": current.confirmed_on if current else None,
        "pending_applied_on": pending.applied_on if pending else None,
        "rollback_applied": bool(rollback and rollback.applied),
        "rollback_applied_on": rollback.applied_on if rollback else None,
        "expected_on": expected.on if expected else None,
        "expected_at_least": bool(expected and expected.at_least),
        "rotation_id": record.rotation_id,
        "wave": pending.wave if pending else current.wave if current else None,
        "exposure_seconds": None if pending or not current else current.exposure_seconds,
        "lease_owner": lease.owner if lease else None,
        "lease_until": lease.until if lease else None,
        "reason": record.reason,
    }
