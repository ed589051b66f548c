# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""Which tunnels a rotation takes, in which waves, and which it leaves alone: pure functions."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Trace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _notices, _rollback, _status, _waves
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._claims import parse_limit
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._groups import AUTO, Groups, Hints, group
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import APPLIED, PREPARED, STUCK, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import Planned

MAX_WAVE_SIZE = 1000
NAMES_SHOWN = 10
DAY = 86400
UNKNOWN_PSK = ("refuse", "rotate", "skip")
# rotate begins and finishes, reconcile only finishes, confirm confirms what waits, rollback rolls back, report looks.
MODES = ("rotate", "reconcile", "confirm", "rollback", "report")

Tunnel = Mapping[str, t.Any]
# Host and group of tunnels, by id.
Places = Mapping[str, Sequence[t.Optional[str]]]


@dataclass(frozen=True)
class Options:
    """How to plan. ``max_age`` in seconds, ``now`` in nanoseconds since 1970.

    ``hosts`` are those of this batch; ``unknown_psk`` says how to treat a tunnel whose PSK the escrow does not know:
    refuse, rotate or skip, or, where there is no escrow, nothing.
    ``mode`` is one of MODES; ``rollback_id`` the rotation that the mode rollback rolls back beside what is unresolved,
    or ``last``, each tunnel's latest if it is no older than ``rollback_within``, in seconds.
    ``devices`` are the hosts with tasks of their own, ``verifying`` those whose tasks prove a PSK, ``chosen`` those on
    which the user has said how to confirm; ``hooks`` and ``reach`` are their task files. ``failed_before`` and
    ``first_wave`` count failures and waves of earlier batches; ``later`` are the hosts of later ones; ``sites`` are by
    device.
    """

    hosts: frozenset[str]
    owner: str = ""
    devices: frozenset[str] = frozenset()
    verifying: frozenset[str] = frozenset()
    chosen: frozenset[str] = frozenset()
    hooks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reach: Mapping[str, str] = field(default_factory=dict)
    failed_before: int = 0
    first_wave: int = 0
    later: frozenset[str] = frozenset()
    max_age: int | None = None
    force: bool = False
    wave_size: int = MAX_WAVE_SIZE
    canary: int = 0
    group_by: t.Any = "auto"
    confirmation: str = "none"
    max_failures: t.Any = "0"
    sites: Mapping[str, str] = field(default_factory=dict)
    unknown_psk: str = "refuse"
    mode: str = "rotate"
    rollback_id: str = ""
    rollback_within: int = DAY
    now: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.wave_size <= MAX_WAVE_SIZE:
            raise InputError(f"psk_rotation_wave_size must be 1 to {MAX_WAVE_SIZE}, not {self.wave_size}")
        if self.canary < 0:
            raise InputError(f"psk_rotation_canary must not be negative, but is {self.canary}")


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


class Account(t.NamedTuple):
    """What a plan was made of: the account's tunnels, the escrow's records, and the hosts that claim tunnels, by id."""

    tunnels: Sequence[Tunnel]
    records: Mapping[str, Record]
    owners: Mapping[str, str]


def hints_of(owners: Mapping[str, str], records: Mapping[str, Record], places: Places, options: Options) -> Hints:
    """What is known of the account's tunnels, also of those whose devices are not in the play."""
    known: dict[str, Sequence[str | None]] = {**places, **{i: [x.host, x.group] for i, x in records.items()}}
    hosts = {i: host for i, (host, dummy) in known.items() if host}
    earlier = {i: name for i, (dummy, name) in known.items() if name}
    return Hints(owners, hosts, earlier, options.sites)


def scope(tunnels: Sequence[Tunnel], owners: Mapping[str, str], places: Places | None, options: Options) -> list[str]:
    """The tunnels that this batch of hosts must know: its own, and those that back them up.

    The first batch of a run looks at all that the play claims, and at the whole account where groups are automatic:
    these rest on what the escrow knows of every tunnel, its device above all.
    """
    if places is None and options.group_by == AUTO:
        return [x["id"] for x in tunnels]
    groups = group(tunnels, options.group_by, hints_of(owners, {}, places or {}, options))
    own = {groups.of[i] for i, host in owners.items() if host in options.hosts}
    return [x["id"] for x in tunnels if groups.of[x["id"]] in own or (places is None and x["id"] in owners)]


def plan(
    tunnels: Sequence[Tunnel],
    records: Mapping[str, Record],
    owners: Mapping[str, str],
    options: Options,
    places: Places | None = None,
) -> Plan:
    """The rotation of this batch of hosts. Raises InputError.

    ``tunnels`` are the account's as the API lists them, ``records`` those of the escrow by tunnel id, ``owners`` the
    hosts of the play at which its tunnels end, by tunnel id; ``places`` what an earlier batch has learned of others.
    """
    groups = group(tunnels, options.group_by, hints_of(owners, records, places or {}, options))
    if options.mode == "rollback" and places is None:
        _rollback.check_id(options.rollback_id, [x for i, x in records.items() if i in owners])
    unknown = _unknown(tunnels, records, owners, options, everybody=places is None)
    skew = _psk.skew_of((records[x["id"]].expected(), _psk.trace_of(x)) for x in tunnels if x["id"] in records)
    all_of_it: dict[str, Planned] = {}
    for tunnel in tunnels:
        record, trace = records.get(tunnel["id"]), _psk.trace_of(tunnel, skew)
        status, reason = judge(record, trace, options)
        if tunnel["id"] in unknown and status == _status.DUE and options.unknown_psk == "skip":
            status, reason = _status.UNKNOWN, "its PSK is not in the escrow"
        all_of_it[tunnel["id"]] = Planned(
            id=tunnel["id"],
            name=tunnel["name"],
            host=owners.get(tunnel["id"], ""),
            group=groups.of[tunnel["id"]],
            trace=trace,
            status=status,
            reason=reason,
            generation=record.generation if record else 0,
            sent=status in (_status.RESUME, _status.WAITING) and not _is_unsent(record, trace),
            sound=record is None or _is_sound(record, trace),
        )
    parts: dict[str, list[Planned]] = {"ready": [], "unchanged": [], "left": []}
    for entry in all_of_it.values():
        if entry.host in options.hosts:
            part, entry = _placed(entry, groups, all_of_it, records, options)
            parts[part].append(entry)
    hidden = sum(1 for x in all_of_it.values() if x.host in options.hosts and not x.trace.shown)
    return Plan(
        waves=_waves.build_waves(parts["ready"], options.wave_size, options.canary),
        unchanged=parts["unchanged"],
        left=parts["left"],
        foreign=[x for x in parts["left"] if x.status == _status.STUCK and records[x.id].state != STUCK],
        groups=groups,
        limit=parse_limit(options.max_failures, len(owners)),
        failed_before=options.failed_before,
        notices=_notices.lines(
            tunnels, groups, [x.id for x in parts["ready"]], hidden=hidden, owners=owners if places is None else None
        ),
    )


def _unknown(
    tunnels: Sequence[Tunnel],
    records: Mapping[str, Record],
    owners: Mapping[str, str],
    options: Options,
    *,
    everybody: bool,
) -> set[str]:
    """The claimed tunnels whose PSK the escrow does not know. Raises InputError if these are refused."""
    if options.mode != "rotate" or not options.unknown_psk:
        return set()
    looked_at = [x for x in tunnels if x["id"] in owners and (everybody or owners[x["id"]] in options.hosts)]
    found = [x for x in looked_at if not _psk.trace_of(x).missing and not _knows_a_key(records.get(x["id"]))]
    if found and options.unknown_psk == "refuse":
        more = f" and {len(found) - NAMES_SHOWN} more" if len(found) > NAMES_SHOWN else ""
        raise InputError(
            f"the escrow does not know the PSKs of {len(found)} of {len(looked_at)} tunnels"
            f" ({', '.join(x['name'] for x in found[:NAMES_SHOWN])}{more}), and nothing was written: is"
            " psk_rotation_escrow the right one? If so, adopt their PSKs first (magicwan.cloudflare.adopt_psks), or set"
            " psk_rotation_unknown_psk to rotate, which can't be rolled back, or to skip"
        )
    return {x["id"] for x in found}


def _knows_a_key(record: Record | None) -> bool:
    return record is not None and bool(record.current or record.pending or record.discarded)


def _placed(
    entry: Planned,
    groups: Groups,
    all_of_it: Mapping[str, Planned],
    records: Mapping[str, Record],
    options: Options,
) -> tuple[str, Planned]:
    """Where a tunnel belongs. Finishing never waits for a sibling, beginning does.

    To go on with what was never sent, as far as can be seen, is to begin.
    """
    if options.mode == "confirm" and entry.status == _status.WAITING:
        return "ready", entry
    if options.mode not in ("rotate", "reconcile", "rollback"):
        return "left", entry
    if entry.status == _status.UNCHANGED:
        return "unchanged", entry
    if entry.status not in (_status.RESUME, _status.DUE):
        return "left", entry
    for sibling in (all_of_it[i] for i in groups.siblings(entry.id)):
        if _goes_first(sibling, entry, options):
            waits = sibling.status == _status.WAITING
            record = records.get(sibling.id)
            state = record.state if record else sibling.status
            why = "waits for confirmation" if waits else f"is {state} and must be finished first"
            reason = f"{sibling.name!r}, which backs it up, {why}"
            excused = waits and entry.sound and entry.status == _status.DUE
            postponed = not waits and sibling.host in options.later
            told = replace(entry, status=_status.SKIPPED, reason=reason, excused=excused, postponed=postponed)
            return "left", told
    return _resumed(entry, records.get(entry.id), options) if entry.status == _status.RESUME else ("ready", entry)


def _goes_first(sibling: Planned, entry: Planned, options: Options) -> bool:
    """Whether a tunnel has to wait for one that backs it up. Those of this batch wait in their waves."""
    elsewhere = sibling.host not in options.hosts
    if entry.status == _status.RESUME:
        return sibling.sent and elsewhere and not entry.sent
    unfinished = sibling.status == _status.WAITING or (sibling.status == _status.RESUME and elsewhere)
    return unfinished or (sibling.status == _status.STUCK and not options.force)


def _resumed(entry: Planned, record: Record | None, options: Options) -> tuple[str, Planned]:
    """What a device was involved in is not finished without one, unless the user has said how to confirm."""
    involved = record is not None and record.device is not False and record.unresolved
    if involved and entry.host not in options.devices and entry.host not in options.chosen:
        reason = (
            f"{entry.reason}, and its last step had a device: run with its device tasks, or set"
            " psk_rotation_confirmation (none or manual) if others have configured it"
        )
        return "left", replace(entry, status=_status.SKIPPED, reason=reason)
    return "ready", entry


def _is_unsent(record: Record | None, trace: Trace) -> bool:
    """Whether Cloudflare does not hold its pending PSK, as far as can be seen: its time has not moved."""
    pending = record.pending if record and record.state == PREPARED else None
    return pending is not None and (trace.on is None or _psk.same_time(trace.on, pending.baseline))


def _is_sound(record: Record, trace: Trace) -> bool:
    return record.state != STUCK and _psk.compare(record.expected(), trace) not in (_psk.NEWER, _psk.LATE)


def judge(record: Record | None, trace: Trace, options: Options) -> tuple[str, str]:
    """What is to be done with one tunnel, and why: due, resume, unchanged, waiting, stuck or skipped."""
    late = False
    if record is not None:
        found = _psk.compare(record.expected(), trace)
        if record.state == STUCK and not options.force:
            return _status.STUCK, record.reason or "stuck"
        if found == _psk.NEWER and not options.force:
            return _status.STUCK, (f"{_status.changed_by_others(trace.on)}; psk_rotation_force overrides that")
        known = record.expected()
        if found == _psk.OLDER and known and _psk.lies_ahead(known.on, options.now) and not options.force:
            return _status.STUCK, (
                f"its PSK is dated {known.on}, which is in the future, so a later one cannot be recognized:"
                " check the clock of this machine, or rotate with psk_rotation_force"
            )
        late = found == _psk.LATE
        replaced = found == _psk.NEWER or late or trace.missing
        if _waits(record, options) and not replaced:
            return _status.WAITING, "its new PSK waits for confirmation; run confirm_psks"
        if record.unresolved:
            return _status.RESUME, f"an earlier run left it {record.state}"
    if late and not (options.force and options.mode == "rotate"):
        what = "its PSK was sent more than once, and Cloudflare has set one since"
        if options.mode in ("rollback", "confirm"):
            return _status.SKIPPED, f"{what}: run reconcile_psks first"
        return _status.RESUME, f"{what}: it is set again"
    if options.mode == "rollback":
        return _rollback.judge(record, options.rollback_id, options.rollback_within, options.now)
    if options.mode in ("reconcile", "confirm"):
        return _status.UNCHANGED, "nothing to finish"
    if options.force:
        return _status.DUE, "rotation is forced"
    return _by_age(record, trace, options)


def _by_age(record: Record | None, trace: Trace, options: Options) -> tuple[str, str]:
    current = record.current if record else None
    if trace.missing:
        return _status.DUE, "the tunnel has no PSK"
    if options.unknown_psk and current is None:
        return _status.DUE, "the escrow does not know its PSK, so the rotation cannot be rolled back"
    if current is None and not trace.shown:
        return _status.UNCHANGED, "nobody knows how old its PSK is"
    # A PSK that was rolled back to is as old as when it was made, although the API shows a newer time.
    known = [x for x in (current and current.made_on, current and current.applied_on, trace.on) if x]
    made_on = next((x for x in known if not _psk.lies_ahead(x, options.now)), known[0] if known else None)
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
