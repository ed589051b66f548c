# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""What a person, or the look at the account, decides about a record, outside of any rotation. Pure functions."""

from __future__ import annotations

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Trace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    IN_DOUBT,
    STUCK,
    Claim,
    Record,
    Refused,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import (
    Moved,
    again,
    mine,
    note,
    status_of,
)


def unstick(record: Record, claim: Claim) -> Moved:
    """A person has decided that the escrow's PSK counts: the next run sets it at Cloudflare and on the device again."""
    record = mine(record, claim)
    if record.state != STUCK:
        raise Refused(f"the record is {record.state}, not stuck")
    if record.pending:
        record = record.of_state(IN_DOUBT, rollback=None, lease=None, reason=None, seen=None)
    elif record.current:
        current = replace(record.current, superseded=False)
        record = again(replace(record, current=current), Trace(record.seen), claim)
        record = record.of_state(IN_DOUBT, lease=None, seen=None)
    else:
        raise Refused("the escrow has no PSK of it: rotate it with psk_rotation_force, or forget the record")
    return Moved(note(record, "unstuck", claim), _status.IN_DOUBT)


def mark_gone(record: Record, gone: bool, claim: Claim) -> Moved:
    """The account has no such tunnel any more, or again. All PSKs stay."""
    return Moved(note(replace(record, gone=gone), "gone" if gone else "found again", claim), status_of(record))
