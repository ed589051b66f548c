# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known faults, planted into the rotation one after the other: the adversary must find each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk, _psk_batch
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _escrow, _groups, _plan, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._groups import Groups, Hints
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Claim, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved

PLANTED = {
    "dropped": "a refused key is dropped instead of kept",
    "moved time": "a moved time promotes a key whose outcome is unknown",
    "unguarded": "no check of the lease before the POST",
    "stolen": "a lease is stolen from a living owner",
    "cut": "groups are cut to the play",
    "baseline": "a rollback does not keep the time of the key rolled back to",
}


def _drop_refused(record: Record, reason: str | None, claim: Claim) -> Moved:
    after, status = _REFUSED(record, reason, claim)
    return Moved(replace(after, discarded=record.discarded) if after.pending is None else after, status)


def _promote_on_moved_time(client: Any, psks: Mapping[str, str], **options: Any) -> Any:
    answers, error = _SEND_BATCH(client, psks, **options)
    if any(x.status == _psk.IN_DOUBT for x in answers.values()):
        shown = {x["id"]: _psk.generated_on(x) for x in client.list_tunnels()}
        for tunnel_id, answer in answers.items():
            pending = client.world.records[tunnel_id].record.pending
            known, on = pending.reported if pending else None, shown.get(tunnel_id)
            if answer.status == _psk.IN_DOUBT and on is not None and not _psk.same_time(on, known):
                answers[tunnel_id] = _psk.Answer(_psk.APPLIED, applied_on=on)
    return answers, error


def _hold_nothing_against(record: Record, claim: Claim) -> str | None:
    lives = record.lease is not None and claim.lives(record.lease.owner)
    return None if lives else _HOLDER(record, claim)


def _cut(tunnels: Any, group_by: Any, hints: Hints) -> Groups:
    whole = _GROUP(tunnels, group_by, hints)
    of = {i: name if i in hints.claimed else i for i, name in whole.of.items()}
    members: dict[str, list[str]] = {}
    for tunnel_id, name in of.items():
        members.setdefault(name, []).append(tunnel_id)
    return Groups(of, {name: tuple(own) for name, own in members.items()}, whole.why)


_REFUSED, _HOLDER, _GROUP = _transitions.refused, Record.holder, _groups.group
_SEND_BATCH: Callable[..., Any] = _psk_batch.send_batch
_PATCHES: dict[str, tuple[Any, str, Any]] = {
    "dropped": (_transitions, "refused", _drop_refused),
    "moved time": (_psk_batch, "send_batch", _promote_on_moved_time),
    "unguarded": (_escrow.Escrow, "guard", lambda self, psks: None),
    "stolen": (Record, "holder", _hold_nothing_against),
    "cut": (_plan, "group", _cut),
    "baseline": (_transitions, "_with_rollback_time", lambda record: record),
}


@contextlib.contextmanager
def planted(fault: str | None) -> Iterator[None]:
    """Within, the rotation has this fault."""
    if fault is None:
        yield
        return
    place, name, stand_in = _PATCHES[fault]
    with mock.patch.object(place, name, stand_in):
        yield
