# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The waves of a rotation: which tunnels go together, and which of a wave may go now. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Trace
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import Tunnel
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status

# By host that was asked: why its device is left alone, empty if it has answered.
Asked = Mapping[str, str]


@dataclass(frozen=True)
class Planned:
    """What is to become of one tunnel: ``status`` is due, resume, unchanged, waiting, stuck or skipped.

    ``generation`` is that of its record when it was planned. ``sent``: an earlier run has sent its PSK, as far as can
    be seen. ``sound``: as far as is known, Cloudflare holds the PSK that the record says. ``excused``: it is skipped,
    and that needs nobody. ``postponed``: it is skipped for a tunnel that a later batch of this run finishes.
    """

    id: str
    name: str
    host: str
    group: str
    trace: Trace
    status: str
    reason: str
    generation: int = 0
    sent: bool = False
    sound: bool = True
    excused: bool = False
    postponed: bool = False


def build_waves(entries: Sequence[Planned], size: int, canary: int = 0) -> list[list[Planned]]:
    """Cuts entries into waves of at most ``size``, the first of at most ``canary`` if that is not 0.

    A group's members go into different waves, unresolved ones first, and of these what was sent: the next is touched
    only when the one before is done.
    """
    rounds: dict[int, list[Planned]] = {}
    members: dict[str, int] = {}
    for entry in sorted(entries, key=lambda x: (x.status != _status.RESUME, not x.sent)):
        turn = members.get(entry.group, 0)
        members[entry.group] = turn + 1
        rounds.setdefault(turn, []).append(entry)
    waves: list[list[Planned]] = []
    last: dict[str, int] = {}
    open_from = 0
    for turn in sorted(rounds):
        for entry in rounds[turn]:
            while open_from < len(waves) and len(waves[open_from]) >= _capacity(open_from, size, canary):
                open_from += 1
            index = max(open_from, last.get(entry.group, -1) + 1)
            while index < len(waves) and len(waves[index]) >= _capacity(index, size, canary):
                index += 1
            while index >= len(waves):
                waves.append([])
            waves[index].append(entry)
            last[entry.group] = index
    return [wave for wave in waves if wave]


def _capacity(index: int, size: int, canary: int) -> int:
    return min(canary, size) if index == 0 and canary else size


def going(
    waves: Sequence[Sequence[Planned]],
    index: int,
    statuses: Mapping[str, str],
    hosts: Collection[str],
    failed: int,
    limit: int,
    mode: str = "rotate",
    asked: Asked = MappingProxyType({}),
) -> tuple[list[Planned], list[Planned]]:
    """Wave ``index`` as it can go now: the tunnels that go, and the others with status and reason.

    ``statuses`` says by id the outcome of the tunnels of earlier waves, ``failed`` how many have failed so far. A
    tunnel goes only if its host is among ``hosts`` and no more have failed than ``limit``; one that begins, only if
    every tunnel of its group that went before is done. ``asked`` has the reasons of hosts that are not.
    """
    if failed > limit:
        reason = f"stopped after {failed} failures, {limit} being allowed"
        return [], [replace(x, status=_status.STOPPED, reason=reason) for x in waves[index]]
    before = {x.id: x for wave in waves[:index] for x in wave}
    unfinished: dict[str, Planned] = {}
    for tunnel_id, entry in before.items():
        if statuses.get(tunnel_id) not in _status.done_in(mode):
            unfinished.setdefault(entry.group, entry)
    ready, others = [], []
    for entry in waves[index]:
        sibling = unfinished.get(entry.group)
        if entry.host not in hosts:
            said = asked.get(entry.host)
            reason = f"its device {entry.host} is {f'left alone: {said}' if said else 'not reachable'}"
            others.append(replace(entry, status=_status.UNREACHED, reason=reason))
        elif sibling and entry.status == _status.DUE:
            waits = statuses.get(sibling.id) == _status.WAITING
            reason = f"{sibling.name!r}, which backs it up, {'waits for confirmation' if waits else 'is not done'}"
            others.append(replace(entry, status=_status.SKIPPED, reason=reason, excused=waits and entry.sound))
        else:
            ready.append(entry)
    return ready, others


def as_reported(
    entries: Sequence[Planned],
    now: Mapping[str, Tunnel],
    skew: int | None,
    siblings: Mapping[str, Sequence[str]],
) -> tuple[list[Planned], list[Planned]]:
    """The tunnels that may go as the account shows them ``now``, by id, and those that may not.

    A tunnel that is gone is left to the API, which refuses it by name. If one that backs another up is gone, it may
    have been made again under an id that the plan does not know, so the other does not begin. ``skew``, in ns, is that
    of the list where the plan knew none.
    """
    ready, others = [], []
    for entry in entries:
        if entry.id in now:
            tunnel = now[entry.id]
            trace = _psk.trace_of(tunnel, skew if entry.trace.skew is None else entry.trace.skew)
            entry = replace(entry, trace=trace, name=tunnel["name"])
        if entry.sent or all(i in now for i in siblings.get(entry.id, ())):
            ready.append(entry)
        else:
            reason = "a tunnel that backs it up was deleted or recreated since the plan; run the role again"
            others.append(replace(entry, status=_status.SKIPPED, reason=reason))
    return ready, others


def no_longer_excused(entries: Sequence[Planned], now: Mapping[str, Tunnel]) -> list[Planned]:
    """Tunnels that do not go; one whose PSK has changed since the plan needs somebody, whatever it waits for."""
    return [
        replace(x, excused=False, reason=f"{x.reason}; its PSK has changed since the plan")
        if x.excused and x.id in now and _psk.generated_on(now[x.id]) != x.trace.on
        else x
        for x in entries
    ]
