# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""What is done to records outside of a rotation: names and existence as the account has them, and repairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import few
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _adoption, _repairs, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adoption import Candidate
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover, Moves, present
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved


def notice(mover: Mover, names: Mapping[str, str]) -> Moves:
    """Keeps names and existence as the account has them. ``names`` are by tunnel id, of the whole account."""
    claim = mover.claim()
    mover.read_others(names)
    wanted = [
        i
        for i, record in mover.known().items()
        if record.gone != (i not in names) or names.get(i, record.name) != record.name
    ]

    def move(tunnel_id: str, record: Record | None) -> Moved:
        record = replace(present(record), name=names.get(tunnel_id, present(record).name))
        if record.gone != (tunnel_id not in names):
            return _repairs.mark_gone(record, tunnel_id not in names, claim)
        return Moved(record, _transitions.status_of(record))

    return mover.move(wanted, move)


def told(noticed: Moves) -> list[str]:
    """What a person should know of what ``notice`` has found: a list may be incomplete, too."""
    gone = [x.record for x in noticed.moved.values() if x.record.gone]
    if not gone:
        return []
    named = few([f"{x.name} (left {x.state})" if x.unresolved else str(x.name) for x in gone])
    count = f"{len(gone)} tunnel{'' if len(gone) == 1 else 's'}"
    return [f"the account shows {count} of the escrow no more, kept as gone with all PSKs: {named}"]


def mark_gone(mover: Mover, ids: Sequence[str]) -> Moves:
    """Keeps records out of the way whose tunnels were deleted."""
    claim = mover.claim()
    return mover.move(ids, lambda i, record: _repairs.mark_gone(present(record), True, claim))


def unstick(mover: Mover, ids: Sequence[str]) -> Moves:
    """Has the next run set the escrow's PSKs of stuck tunnels again."""
    claim = mover.claim()
    return mover.move(ids, lambda i, record: _repairs.unstick(present(record), claim))


def forget(mover: Mover, ids: Sequence[str]) -> dict[str, str]:
    """Removes the records of tunnels that are gone; returns why others stay."""
    found = mover.store.load(ids)
    kept = {i: "the escrow has no record of it" for i in ids if i not in found}
    kept.update({i: "it is not marked as gone" for i, stored in found.items() if not stored.record.gone})
    return {**kept, **mover.store.forget({i: x for i, x in found.items() if i not in kept})}


def adopt(mover: Mover, candidates: Mapping[str, Candidate], *, overwrite: bool = False) -> Moves:
    """Takes PSKs that are in use already as the current ones. What was refused says by its status why."""
    claim = mover.claim()
    return mover.move(candidates, lambda i, record: _adoption.adopt(record, candidates[i], claim, overwrite=overwrite))
