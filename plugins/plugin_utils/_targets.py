# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""From the plan to the escrow: what is taken, and what a tunnel must still be when it is. Pure functions."""

from __future__ import annotations

from collections.abc import Container, Sequence

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Judge
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._groups import LOCAL_HOSTS
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import STUCK, Record, Refused
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Target
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import Planned


def target_of(entry: Planned, devices: Container[str]) -> Target:
    """A planned tunnel as the escrow takes it; ``devices`` are the hosts with tasks of their own."""
    return Target(
        name=entry.name,
        trace=entry.trace,
        host=None if entry.host in LOCAL_HOSTS else entry.host,
        group=entry.group,
        device=entry.host in devices,
        finish=entry.status == _status.RESUME,
    )


def still_to_take(entries: Sequence[Planned]) -> Judge:
    """What a tunnel must still be when it is taken: as it was planned, but for what other runs have left unresolved."""
    planned = {x.id: x for x in entries}

    def judge(tunnel_id: str, record: Record | None) -> None:
        entry = planned[tunnel_id]
        ended = record is not None and not record.unresolved and record.state != STUCK
        if record is not None and record.generation > entry.generation and ended:
            found = _psk.compare(record.expected(), entry.trace)
            if found == _psk.NEWER:
                return  # somebody else has changed it since, which is for the transition to say
            done = f"another run has rotated it meanwhile, on {record.current.applied_on if record.current else None}"
            if found == _psk.LATE:
                raise Refused(f"{done}, and Cloudflare shows a later time: run again")
            raise Refused(done, status=_status.UNCHANGED)

    return judge


def still_to_roll_back(entries: Sequence[Planned]) -> Judge:
    """The same for a rollback, which is about the rotation that was planned, and no later one."""
    planned = {x.id: x for x in entries}

    def judge(tunnel_id: str, record: Record | None) -> None:
        entry = planned[tunnel_id]
        if record is None:
            return
        same = record.generation == entry.generation
        if record.unresolved != (entry.status == _status.RESUME) or not (same or record.unresolved):
            raise Refused("another run has gone on with it meanwhile; look, and run again")

    return judge


def not_to_confirm(record: Record | None, trace: _psk.Trace) -> str | None:
    """Why what waits must not be confirmed, although nobody else is seen to have set a PSK; None if it may be."""
    if record is None:
        return "the escrow has no record of it any more"
    if trace.missing or _psk.compare(record.expected(), trace) == _psk.LATE:
        return "Cloudflare has set another PSK since, or has none: run reconcile_psks first"
    return None
