# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""How a run ends, for the one who reads it: totals, and a line for each tunnel that is not done. Pure functions.

PSKs are called as the escrow calls them, and as show_psk takes them: current, pending, previous.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, parse_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._groups import LOCAL_HOSTS
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    ROLLING_BACK,
    STUCK,
    Record,
)

CURRENT, PENDING, EITHER = "current", "pending", "current or pending"
UNKNOWN, FOREIGN = "not known", "somebody else's"
# The playbook that goes on with what a run of this mode has left.
AGAIN = {"rotate": "rotate_psks", "reconcile": "reconcile_psks", "confirm": "confirm_psks", "rollback": "rollback_psks"}
HEAD = ("tunnel", "device", "status", "Cloudflare has", "device has", "what happened; what to do next")
LEGEND = (
    "next: the playbooks are magicwan.cloudflare's, with the inventory and the variables of this run; show_psk"
    " -e tunnel=NAME -e which=current, pending or previous shows a PSK"
)
# What the escrow's history calls the end of a tunnel's rotation, and the status that it stands for.
EVENTS = {"rolled back": _status.ROLLED_BACK, "refused": _status.REFUSED, "in doubt": _status.IN_DOUBT}
ENDED = (_status.ROLLED_BACK, _status.REFUSED)
# Events that are no part of a rotation.
NO_ROTATION = ("adopted", "unstuck", "gone", "found again", "stuck")


@dataclass(frozen=True)
class Ended:
    """The outcome of a tunnel: ``reason`` is why, ``exposure`` in seconds; ``fine``: it needs nobody's attention."""

    name: str
    host: str
    status: str
    reason: str | None = None
    exposure: float | None = None
    fine: bool = True


@dataclass(frozen=True)
class LastRun:
    """The latest rotation that the escrow knows of, by its own history. Times in seconds; ``began`` since 1970.

    ``tunnels`` are by id.
    """

    rotation_id: str
    began: float
    seconds: float
    tunnels: Mapping[str, Ended] = field(default_factory=dict)

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON has it."""
        return {**asdict(self), "tunnels": {i: asdict(x) for i, x in self.tunnels.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, t.Any]) -> LastRun:
        """What to_dict has made."""
        return cls(**{**data, "tunnels": {i: Ended(**x) for i, x in data["tunnels"].items()}})


def totals(what: str, found: Sequence[Ended], seconds: float) -> str:
    """One line: how many tunnels have come to what, how long it took, and how long devices had another PSK."""
    number: dict[str, int] = {}
    for x in found:
        number[x.status] = number.get(x.status, 0) + 1
    counts = "".join(f", {n} {status}" for status, n in sorted(number.items()))
    exposures = sorted(x.exposure for x in found if x.exposure is not None)
    exposed = (
        f"; exposure {percentile(exposures, 50):.1f} s median, {percentile(exposures, 95):.1f} s at 95 %"
        if exposures
        else ""
    )
    return f"{what}: {len(found)} tunnel{'' if len(found) == 1 else 's'}{counts}, {seconds:.1f} s{exposed}"


def not_done(found: Mapping[str, Ended], records: Mapping[str, Record] | None, mode: str) -> list[str]:
    """A table of the tunnels that are not done, with a head and a legend; nothing where all are.

    ``records`` are theirs as the escrow has them now, None if it can't be read.
    """
    rows = [_row(x, _keys(records, i), mode) for i, x in found.items() if not x.fine]
    if not rows:
        return []
    widths = [max(len(row[n]) for row in (HEAD, *rows)) for n in range(len(HEAD) - 1)]
    lines = ["  ".join([*(x.ljust(n) for x, n in zip(row, widths)), row[-1]]) for row in (HEAD, *rows)]
    return [*lines, LEGEND]


def holds(record: Record) -> tuple[str, str]:
    """Which PSK Cloudflare has, and which the device, as far as the record tells."""
    if record.state == STUCK:
        found = (FOREIGN, CURRENT)
    elif record.state == IDLE:
        found = (FOREIGN if record.current and record.current.superseded else CURRENT, CURRENT)
    elif record.state == APPLIED:
        found = (PENDING, PENDING if record.pending and record.pending.delivered else EITHER)
    elif record.state == ROLLING_BACK and record.rollback and record.rollback.applied:
        found = (CURRENT, CURRENT if record.rollback.delivered else EITHER)
    elif record.state == ROLLING_BACK:
        found = (EITHER if record.rollback and record.rollback.at_least else PENDING, EITHER)
    elif record.state == IN_DOUBT or not record.begins:
        found = (EITHER, CURRENT)
    else:
        found = (CURRENT, CURRENT)
    if record.current:
        return found
    return found[0].replace(CURRENT, UNKNOWN), found[1].replace(CURRENT, UNKNOWN)


def last_run(records: Mapping[str, Record]) -> LastRun | None:
    """The last rotation in the escrow's history; None if there is none."""
    told = [
        (at, i, entry)
        for i, record in records.items()
        for entry in record.history
        if entry.get("rotation_id") and entry.get("event") not in NO_ROTATION and (at := parse_time(entry.get("on")))
    ]
    if not told:
        return None
    rotation_id = max(told, key=lambda x: x[0])[2]["rotation_id"]
    mine = sorted((x for x in told if x[2]["rotation_id"] == rotation_id), key=lambda x: x[0])
    events = {i: entry for dummy, i, entry in mine}
    began, ended = mine[0][0], mine[-1][0]
    tunnels = {i: _ended(records[i], entry) for i, entry in events.items()}
    return LastRun(str(rotation_id), began / NANO, (ended - began) / NANO, tunnels)


def ended(
    tunnels: Mapping[str, Mapping[str, t.Any]], mode: str, hosts: Iterable[str] | None = None
) -> dict[str, Ended]:
    """What a run remembers of the tunnels of these hosts, or of all, as judged in its mode."""
    wanted, harmless = None if hosts is None else set(hosts), _status.harmless_in(mode)
    return {
        i: Ended(
            name=x["name"],
            host=x["host"],
            status=x["status"],
            reason=x["reason"],
            exposure=x["exposure"],
            fine=x["status"] in harmless or (x["status"] == _status.SKIPPED and x["excused"]),
        )
        for i, x in tunnels.items()
        if wanted is None or x["host"] in wanted
    }


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many per cent of these, which are sorted, do not exceed."""
    return values[min(len(values) - 1, len(values) * percent // 100)]


def _ended(record: Record, entry: Mapping[str, t.Any]) -> Ended:
    event = str(entry.get("event"))
    status = EVENTS.get(event, event) if record.state in (IDLE, IN_DOUBT) else record.state
    current = record.current
    mine = current is not None and current.rotation_id == entry["rotation_id"]
    return Ended(
        name=record.name or "",
        host=record.host or "",
        status=status,
        reason=entry.get("reason") or record.reason,
        exposure=current.exposure_seconds if current and mine and not record.pending else None,
        fine=record.state == IDLE and status not in ENDED,
    )


def _keys(records: Mapping[str, Record] | None, tunnel_id: str) -> tuple[str, str]:
    record = records.get(tunnel_id) if records is not None else None
    return holds(record) if record else (UNKNOWN, UNKNOWN)


def _row(tunnel: Ended, keys: tuple[str, str], mode: str) -> tuple[str, ...]:
    again = AGAIN.get(mode, AGAIN["rotate"])
    if tunnel.host and tunnel.host not in LOCAL_HOSTS:
        again = f"{again} --limit {tunnel.host}"
    meaning = _status.TABLE.get(tunnel.status)
    then = (meaning.then if meaning else "{again}").format(device=tunnel.host or "its device", again=again)
    return (tunnel.name, tunnel.host, tunnel.status, *keys, f"{tunnel.reason or 'not known'}; next: {then}")
