# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""Which tunnels a rotation takes, in which waves, and which it leaves alone: pure functions."""

from __future__ import annotations

import itertools
import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk, _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Trace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._groups import AUTO, Groups, Hints, group
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import APPLIED, STUCK, Record

MAX_WAVE_SIZE = 1000
# rotate begins and finishes, reconcile only finishes, confirm confirms what waits, rollback rolls back, report looks.
MODES = ("rotate", "reconcile", "confirm", "rollback", "report")

Tunnel = Mapping[str, t.Any]


@dataclass(frozen=True)
class Options:
    """How to plan. ``max_age`` in seconds, ``now`` in nanoseconds since 1970.

    ``hosts`` are those of this batch; ``adopt`` rotates a tunnel whose PSK the escrow does not know, whatever its age.
    ``mode`` is one of MODES; ``rollback_id`` the rotation that the mode rollback rolls back beside what is unresolved.
    ``failed`` are the failures of each host in earlier batches, ``sites`` the site of each device.
    """

    hosts: frozenset[str]
    max_age: int | None = None
    force: bool = False
    wave_size: int = MAX_WAVE_SIZE
    canary: int = 0
    group_by: t.Any = "auto"
    confirmation: str = "none"
    max_failures: t.Any = "0"
    failed: Mapping[str, int] = field(default_factory=dict)
    sites: Mapping[str, str] = field(default_factory=dict)
    adopt: bool = True
    mode: str = "rotate"
    rollback_id: str = ""
    now: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.wave_size <= MAX_WAVE_SIZE:
            raise InputError(f"psk_rotation_wave_size must be 1 to {MAX_WAVE_SIZE}, not {self.wave_size}")
        if self.canary < 0:
            raise InputError(f"psk_rotation_canary must not be negative, but is {self.canary}")


@dataclass(frozen=True)
class Planned:
    """What is to become of one tunnel: ``status`` is due, resume, unchanged, waiting, stuck or skipped.

    ``generation`` is that of its record when it was planned. ``sound``: as far as is known, Cloudflare holds the PSK
    that the record says. ``excused``: it is skipped, and that needs nobody.
    """

    id: str
    name: str
    host: str
    group: str
    trace: Trace
    status: str
    reason: str
    generation: int = 0
    sound: bool = True
    excused: bool = False


@dataclass(frozen=True)
class Plan:
    """The rotation of a batch of hosts. A wave never holds two tunnels of a group.

    ``groups`` are those of the account; ``limit`` is how many failures the run allows, ``failed_before`` how many
    there were in earlier batches. ``notices`` are lines for the user.
    """

    waves: Sequence[Sequence[Planned]]
    unchanged: Sequence[Planned]
    left: Sequence[Planned]
    foreign: Sequence[Planned]
    groups: Groups
    limit: int
    failed_before: int
    notices: Sequence[str] = ()

    def entries(self) -> list[Planned]:
        """All tunnels of the batch."""
        return [x for part in (*self.waves, self.unchanged, self.left) for x in part]


def groups_of(
    tunnels: Sequence[Tunnel], owners: Mapping[str, str], records: Mapping[str, Record], options: Options
) -> Groups:
    """The groups of the account, with what the escrow knows of tunnels whose devices are not in the play."""
    hosts = {i: x.host for i, x in records.items() if x.host}
    earlier = {i: x.group for i, x in records.items() if x.group}
    return group(tunnels, options.group_by, Hints(owners, hosts, earlier, options.sites))


def scope(tunnels: Sequence[Tunnel], owners: Mapping[str, str], options: Options) -> list[str]:
    """The tunnels of which this batch of hosts has to know: its own, and those that may back them up.

    Automatic groups rest on what the escrow knows of every tunnel, its device above all.
    """
    if options.group_by == AUTO:
        return [x["id"] for x in tunnels]
    groups = group(tunnels, options.group_by, Hints(owners))
    own = {groups.of[i] for i, host in owners.items() if host in options.hosts}
    return [x["id"] for x in tunnels if groups.of[x["id"]] in own]


def plan(
    tunnels: Sequence[Tunnel],
    records: Mapping[str, Record],
    claims: Mapping[str, t.Any],
    options: Options,
) -> Plan:
    """The rotation of this batch of hosts. Raises InputError.

    ``tunnels`` are the account's as the API lists them, ``records`` those of the escrow by tunnel id, ``claims`` the
    patterns by host of all hosts of the play.
    """
    owners = owners_of(tunnels, claims)
    groups = groups_of(tunnels, owners, records, options)
    all_of_it: dict[str, Planned] = {}
    for tunnel in tunnels:
        record, trace = records.get(tunnel["id"]), _psk.trace_of(tunnel)
        status, reason = judge(record, trace, options)
        all_of_it[tunnel["id"]] = Planned(
            id=tunnel["id"],
            name=tunnel["name"],
            host=owners.get(tunnel["id"], ""),
            group=groups.of[tunnel["id"]],
            trace=trace,
            status=status,
            reason=reason,
            generation=record.generation if record else 0,
            sound=record is None or _is_sound(record, trace),
        )
    parts: dict[str, list[Planned]] = {"ready": [], "unchanged": [], "left": []}
    for entry in all_of_it.values():
        if entry.host in options.hosts:
            part, entry = _placed(entry, groups, all_of_it, records, options)
            parts[part].append(entry)
    earlier = itertools.takewhile(lambda host: host not in options.hosts, claims)
    hidden = sum(1 for x in all_of_it.values() if x.host in options.hosts and not x.trace.shown)
    return Plan(
        waves=build_waves(parts["ready"], options.wave_size, options.canary),
        unchanged=parts["unchanged"],
        left=parts["left"],
        foreign=[x for x in parts["left"] if x.status == _status.STUCK and records[x.id].state != STUCK],
        groups=groups,
        limit=parse_limit(options.max_failures, len(owners)),
        failed_before=sum(options.failed.get(host, 0) for host in earlier),
        notices=_notices(tunnels, hidden),
    )


def _placed(
    entry: Planned,
    groups: Groups,
    all_of_it: Mapping[str, Planned],
    records: Mapping[str, Record],
    options: Options,
) -> tuple[str, Planned]:
    """Where a tunnel belongs. Finishing never waits for a sibling, beginning does."""
    if options.mode not in ("rotate", "reconcile", "rollback"):
        return "left", entry
    if entry.status == _status.UNCHANGED:
        return "unchanged", entry
    if entry.status == _status.RESUME:
        return "ready", entry
    if entry.status != _status.DUE:
        return "left", entry
    for sibling in (all_of_it[i] for i in groups.siblings(entry.id)):
        here = sibling.host in options.hosts
        unfinished = sibling.status == _status.WAITING or (sibling.status == _status.RESUME and not here)
        if unfinished or (sibling.status == _status.STUCK and not options.force):
            waits = sibling.status == _status.WAITING
            record = records.get(sibling.id)
            state = record.state if record else sibling.status
            why = "waits for confirmation" if waits else f"is {state} and must be finished first"
            reason = f"{sibling.name!r}, which backs it up, {why}"
            return "left", replace(entry, status=_status.SKIPPED, reason=reason, excused=waits and entry.sound)
    return "ready", entry


def _is_sound(record: Record, trace: Trace) -> bool:
    return record.state != STUCK and _psk.compare(record.expected(), trace) not in (_psk.NEWER, _psk.LATE)


def _notices(tunnels: Sequence[Tunnel], hidden: int) -> list[str]:
    found = [
        f"{x['name']!r} is the name of a tunnel, too: it is reached by its id only" for x in _named_as_words(tunnels)
    ]
    if hidden:
        found.append(f"Cloudflare does not show when the PSKs of {hidden} tunnels were set: the escrow's times count")
    return found


def _named_as_words(tunnels: Sequence[Tunnel]) -> list[Tunnel]:
    return [x for x in tunnels if x["name"] in ("all", "*")]


def parse_limit(limit: t.Any, of: int) -> int:
    """How many failures ``limit`` allows: ``3``, or ``10%`` of ``of`` tunnels, rounded up. Raises InputError."""
    text = str(limit).strip()
    percent = text.endswith("%")
    number = text[:-1] if percent else text
    if not number.isdigit() or (percent and int(number) > 100):
        raise InputError(f"psk_rotation_max_failures must be a number or a percentage such as 10%, not {limit!r}")
    return -(-of * int(number) // 100) if percent else int(number)


def judge(record: Record | None, trace: Trace, options: Options) -> tuple[str, str]:
    """What is to be done with one tunnel, and why: due, resume, unchanged, waiting, stuck or skipped."""
    late = False
    if record is not None:
        found = _psk.compare(record.expected(), trace)
        if record.state == STUCK and not options.force:
            return _status.STUCK, record.reason or "stuck"
        if found == _psk.NEWER and not options.force:
            return _status.STUCK, (
                f"its PSK was changed on {trace.on} by somebody else; psk_rotation_force overrides that"
            )
        if _waits(record, options) and found not in (_psk.NEWER, _psk.LATE):
            return _status.WAITING, "its new PSK waits for confirmation; run confirm_psks"
        if record.unresolved:
            return _status.RESUME, f"an earlier run left it {record.state}"
        late = found == _psk.LATE and not options.force
    if late:
        what = "its PSK was sent more than once, and Cloudflare has set one since"
        if options.mode in ("rollback", "confirm"):
            return _status.SKIPPED, f"{what}: run reconcile_psks first"
        return _status.RESUME, f"{what}: it is set again"
    if options.mode == "rollback":
        mine = record is not None and record.rotation_id == options.rollback_id and record.previous is not None
        if options.rollback_id and mine:
            return _status.DUE, f"the rotation {options.rollback_id} is rolled back"
        return _status.UNCHANGED, "nothing to roll back"
    if options.mode in ("reconcile", "confirm"):
        return _status.UNCHANGED, "nothing to finish"
    if options.force:
        return _status.DUE, "rotation is forced"
    return _by_age(record, trace, options)


def _by_age(record: Record | None, trace: Trace, options: Options) -> tuple[str, str]:
    current = record.current if record else None
    if trace.missing:
        return _status.DUE, "the tunnel has no PSK"
    if options.adopt and current is None:
        return _status.DUE, "the escrow does not know its PSK"
    if current is None and not trace.shown:
        return _status.UNCHANGED, "nobody knows how old its PSK is"
    # A PSK that was rolled back to is as old as when it was made, although the API shows a newer time.
    made_on = (current and (current.made_on or current.applied_on)) or trace.on
    is_due, reason = _psk.due(made_on or "?", applied_on=None, max_age=options.max_age, rotate=False, now=options.now)
    return (_status.DUE if is_due else _status.UNCHANGED), reason


def _waits(record: Record, options: Options) -> bool:
    """Whether Cloudflare holds a key that some later step, not this run, confirms, and the device's tasks are done."""
    if record.state == APPLIED and record.pending:
        wanted = options.mode == "confirm" or (options.confirmation == "manual" and options.mode != "rollback")
        delivered = record.pending.delivered
    else:
        wanted = options.mode == "confirm" and bool(record.rollback and record.rollback.applied)
        delivered = bool(record.rollback and record.rollback.delivered)
    # A record of 1.0.0 does not say whether there was a device; it has no lease once it was left to wait.
    return wanted and (delivered or record.device is False or (record.device is None and record.lease is None))


def build_waves(entries: Sequence[Planned], size: int, canary: int = 0) -> list[list[Planned]]:
    """Cuts entries into waves of at most ``size``, the first of at most ``canary`` if that is not 0.

    A group's members go into different waves, unresolved ones first: the next is touched only when the one before is
    done.
    """
    rounds: dict[int, list[Planned]] = {}
    members: dict[str, int] = {}
    for entry in sorted(entries, key=lambda x: x.status != _status.RESUME):
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


def owners_of(tunnels: Sequence[Tunnel], claims: Mapping[str, t.Any]) -> dict[str, str]:
    """The host of each claimed tunnel. Raises InputError for an unknown tunnel, or one that two hosts claim."""
    owners: dict[str, str] = {}
    for host, patterns in claims.items():
        try:
            chosen = _tunnel.select(tunnels, [patterns] if isinstance(patterns, str) else patterns or [])
        except InputError as exc:
            raise InputError(f"psk_rotation_tunnels of {host}: {exc}") from None
        for tunnel in chosen:
            if tunnel["id"] in owners:
                raise InputError(
                    f"psk_rotation_tunnels: both {owners[tunnel['id']]} and {host} name the tunnel {tunnel['name']!r};"
                    " a tunnel ends at one device"
                )
            owners[tunnel["id"]] = host
    if not owners:
        raise InputError(
            "psk_rotation_tunnels is empty on every host of the play: name what each device terminates,"
            " or all on localhost"
        )
    return owners


def going(
    waves: Sequence[Sequence[Planned]],
    index: int,
    statuses: Mapping[str, str],
    hosts: Collection[str],
    failed: int,
    limit: int,
) -> tuple[list[Planned], list[Planned]]:
    """Wave ``index`` as it can go now: the tunnels that go, and the others with status and reason.

    ``statuses`` says by id what became of the tunnels of the waves before, ``failed`` how many have failed so far. A
    tunnel goes only if its host is among ``hosts`` and no more have failed than ``limit``; one that begins, only if
    every tunnel of its group that went before is done.
    """
    if failed > limit:
        reason = f"stopped after {failed} failures, {limit} being allowed"
        return [], [replace(x, status=_status.STOPPED, reason=reason) for x in waves[index]]
    before = {x.id: x for wave in waves[:index] for x in wave}
    unfinished: dict[str, Planned] = {}
    for tunnel_id, entry in before.items():
        if statuses.get(tunnel_id) not in _status.DONE:
            unfinished[entry.group] = entry
    ready, others = [], []
    for entry in waves[index]:
        sibling = unfinished.get(entry.group)
        if entry.host not in hosts:
            reason = f"its device {entry.host} is not reachable"
            others.append(replace(entry, status=_status.UNREACHED, reason=reason))
        elif sibling and entry.status != _status.RESUME:
            waits = statuses.get(sibling.id) == _status.WAITING
            reason = f"{sibling.name!r}, which backs it up, {'waits for confirmation' if waits else 'is not done'}"
            others.append(replace(entry, status=_status.SKIPPED, reason=reason, excused=waits and entry.sound))
        else:
            ready.append(entry)
    return ready, others
