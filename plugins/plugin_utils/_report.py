# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""A plan as people read it before they let it run: a table, sums, and what it can't promise. Pure functions."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, format_age, parse_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import Account, Options, Plan
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import Planned

NAMES_SHOWN = 10
# What differs from tunnel to tunnel in reasons that are the same.
_TIMES = re.compile(r" of \d{4}-\d\d-\d\d[Tt ][0-9:.]+(?:[Zz]|[+-]\d\d:\d\d)")
_QUOTED = re.compile(r"'[^']*', which backs it up,")


@dataclass(frozen=True)
class Row:
    """One tunnel of a plan. ``age`` in seconds, None if nobody knows it; ``wave`` from 1, None if it is in none."""

    id: str
    tunnel: str
    device: str
    group: str
    age: int | None
    status: str
    reason: str
    wave: int | None


@dataclass(frozen=True)
class PlanReport:
    """A plan, without secrets. All but the rows are names.

    ``unclaimed`` are tunnels that no host of the play has. ``no_way_back``: their PSKs are not known, so the rotation
    cannot be rolled back; ``unproven_way_back``: it can, to a PSK that was never seen to work. On the devices
    ``unverified`` nothing proves the new PSK, and the groups ``without_device`` have all their tunnels handed over.
    """

    tunnels: Sequence[Row]
    unclaimed: Sequence[str] = ()
    no_way_back: Sequence[str] = ()
    unproven_way_back: Sequence[str] = ()
    unverified: Sequence[str] = ()
    without_device: Sequence[str] = ()
    sums: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON has it."""
        return {**asdict(self), "tunnels": [asdict(x) for x in self.tunnels], "sums": dict(self.sums)}


def report_of(plan: Plan, account: Account, options: Options) -> PlanReport:
    """The report of a batch's plan."""
    tunnels, records, owners = account
    waves = {x.id: options.first_wave + number for number, wave in enumerate(plan.waves, 1) for x in wave}
    rows = [_row(x, records.get(x.id), waves.get(x.id), options.now) for x in plan.entries()]
    going = [x for wave in plan.waves for x in wave]
    beginning = [x for x in going if x.status == _status.DUE] if options.mode == "rotate" else []
    keys = {x.id: records[x.id].current if x.id in records else None for x in beginning}
    touched = dict.fromkeys(x.group for x in going if not _acts(x.host, options))
    known = {x["id"]: owners.get(x["id"]) for x in tunnels}
    return PlanReport(
        tunnels=rows,
        unclaimed=[x["name"] for x in tunnels if x["id"] not in owners],
        no_way_back=[x.name for x in beginning if keys[x.id] is None and not x.trace.missing],
        unproven_way_back=[x.name for x in beginning if (key := keys[x.id]) is not None and key.confirmed is False],
        unverified=sorted({x.host for x in going if _acts(x.host, options)} - options.verifying),
        without_device=[x for x in touched if not any(_acts(known.get(i), options) for i in plan.groups.members[x])],
        sums=_sums(rows),
    )


def merged(reports: Iterable[Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """The plans of the batches of a run, each as to_dict gives it, as one."""
    found: dict[str, t.Any] = {x.name: [] for x in fields(PlanReport) if x.name != "sums"}
    sums: dict[str, int] = {}
    for report in reports:
        for name, known in found.items():
            known.extend(x for x in report[name] if x not in known)
        for reason, count in report["sums"].items():
            sums[reason] = sums.get(reason, 0) + count
    return {**found, "sums": sums}


def plan_lines(report: PlanReport) -> list[str]:
    """The plan as lines for a terminal."""
    if not report.tunnels:
        return []
    head = ("tunnel", "device", "group", "age", "wave", "reason")
    cells = [
        (
            x.tunnel,
            x.device,
            x.group,
            "?" if x.age is None else format_age(x.age, rough=True),
            str(x.wave or "-"),
            f"{x.status}: {short(x.reason)}",
        )
        for x in sorted(report.tunnels, key=lambda x: (x.wave is None, x.wave or 0))
    ]
    widths = [max(len(row[n]) for row in (head, *cells)) for n in range(len(head) - 1)]
    lines = ["  ".join([*(x.ljust(n) for x, n in zip(row, widths)), row[-1]]) for row in (head, *cells)]
    lines.extend(f"{count} {reason}" for reason, count in report.sums.items())
    lines.extend(_cautions(report))
    return lines


def short(reason: str) -> str:
    """A reason without what differs from tunnel to tunnel."""
    return _QUOTED.sub("a tunnel that backs it up", _TIMES.sub("", reason))


def _cautions(report: PlanReport) -> list[str]:
    """What a run of this plan can't promise."""
    told = (
        (report.unclaimed, "are no host's in this play, and are not looked at"),
        (report.no_way_back, "can't be rolled back: the escrow does not know their PSKs"),
        (report.unproven_way_back, "can be rolled back only to a PSK that was never seen to work"),
        (report.unverified, "have no verify tasks, so that nothing proves their new PSKs"),
        (report.without_device, "have all their tunnels handed over, and no device task brings them their PSKs"),
    )
    kinds = ("tunnels", "tunnels", "tunnels", "devices", "groups")
    return [f"note: {len(names)} {kind} {text}: {_some(names)}" for kind, (names, text) in zip(kinds, told) if names]


def _row(entry: Planned, record: Record | None, wave: int | None, now: int) -> Row:
    key = record.current if record else None
    since = (key.made_on or key.applied_on) if key and entry.status != _status.STUCK else None
    made = parse_time(since or entry.trace.on)
    return Row(
        id=entry.id,
        tunnel=entry.name,
        device=entry.host,
        group=entry.group,
        age=None if made is None else max(0, (now - made) // NANO),
        status=entry.status,
        reason=entry.reason,
        wave=wave,
    )


def _acts(host: str | None, options: Options) -> bool:
    return host in options.devices


def _sums(rows: Sequence[Row]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        reason = f"{row.status}: {short(row.reason)}"
        found[reason] = found.get(reason, 0) + 1
    return dict(sorted(found.items(), key=lambda x: -x[1]))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
