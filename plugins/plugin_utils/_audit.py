# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The audit of all PSKs: how old each is, who set it, whether it was confirmed, and what the policy says to that.

Pure functions over the account's tunnels and the escrow's views of its records, neither of which holds a PSK. Times
are RFC 3339 texts, ages are seconds.
"""

from __future__ import annotations

import csv
import io
import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import (
    LATE,
    NANO,
    NEWER,
    SAME,
    Known,
    Trace,
    compare,
    format_time,
    parse_age,
    parse_time,
    trace_of,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import IDLE, STUCK, UNRESOLVED

DAY = 86400
# What may be wrong with a tunnel, the gravest first.
FINDINGS = {
    "no_psk": "has no PSK",
    "stuck": "somebody has to look at it",
    "foreign": "its PSK was changed by somebody else",
    "unfinished": "its rotation is not finished",
    "unknown": "the escrow does not know its PSK",
    "overdue": "its PSK is older than the policy allows",
    "unconfirmed": "its PSK was never seen to work",
}
DEFAULT_FAIL_ON = tuple(x for x in FINDINGS if x != "unconfirmed")
BINS = 24
NAMES_SHOWN = 10

Entry = dict[str, t.Any]


@dataclass(frozen=True)
class Policy:
    """What the auditor demands: ages in seconds, and which findings break the policy."""

    max_age: int
    due_soon: int
    fail_on: tuple[str, ...]


def policy(max_age: t.Any, due_soon: t.Any, fail_on: Collection[str] | None) -> Policy:
    """The policy out of the user's words. Raises InputError."""
    age, soon = parse_age(max_age), parse_age(due_soon, "due_soon")
    if not age:
        raise InputError("max_age must be set, to a number of seconds or a text such as 90d")
    chosen = DEFAULT_FAIL_ON if fail_on is None else tuple(fail_on)
    unknown = [x for x in chosen if x not in FINDINGS]
    if unknown:
        raise InputError(f"fail_on holds {unknown[0]!r}, and knows {', '.join(FINDINGS)} only")
    return Policy(age, soon or 0, chosen)


def audit(
    tunnels: Sequence[Mapping[str, t.Any]],
    records: Sequence[Mapping[str, t.Any]],
    wanted: Policy,
    now: int,
    account: str | None = None,
    sites: Mapping[str, str] | None = None,
) -> Entry:
    """The whole report; ``now`` is in nanoseconds since 1970.

    ``tunnels`` are those of ``account``, ``records`` the escrow's views with their ``id``, and their ``history`` where
    it is kept; ``sites`` are those of devices. Returns ``{account, generated_on, policy, tunnels, counts, broken,
    message, ages, next_due, rotation}``.
    """
    known = {x["id"]: x for x in records}
    lines = [_line(tunnel, known.get(tunnel["id"]), wanted, now, sites or {}) for tunnel in tunnels]
    broken = [x for x in lines if x["breaks"]]
    return {
        "account": account,
        "generated_on": format_time(now)[:19] + "Z",
        "policy": {
            "max_age_days": round(wanted.max_age / DAY, 2),
            "due_soon_days": round(wanted.due_soon / DAY, 2),
            "fail_on": list(wanted.fail_on),
        },
        "tunnels": lines,
        "counts": {
            "tunnels": len(lines),
            "broken": len(broken),
            "due_soon": sum(x["status"] == "due soon" for x in lines),
            "confirmed": sum(x["confirmed"] is True for x in lines),
            "findings": {kind: sum(kind in x["findings"] for x in lines) for kind in FINDINGS},
        },
        "broken": bool(broken),
        "message": _message(lines, broken),
        "ages": age_bins(lines, wanted.max_age),
        "next_due": next_due(lines),
        "rotation": last_rotation(tunnels, known),
    }


def to_csv(report: Mapping[str, t.Any]) -> str:
    """The report's tunnels as CSV, one line each. A cell that a spreadsheet would take for a formula is quoted."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("account", *COLUMNS))
    for line in report["tunnels"]:
        writer.writerow([_cell(report["account"]), *(_cell(line[column]) for column in COLUMNS)])
    return text.getvalue()


COLUMNS = (
    "id",
    "name",
    "device",
    "site",
    "customer_endpoint",
    "status",
    "findings",
    "set_on",
    "age_days",
    "due_on",
    "state",
    "generation",
    "last_rotation_on",
    "rotation_id",
    "confirmed",
    "confirmed_on",
    "changed_by",
    "reason",
)


def age_bins(lines: Sequence[Mapping[str, t.Any]], max_age: int) -> Entry:
    """A histogram of the ages: ``{days, limit_percent, top, bins: [{from_days, to_days, ok, soon, broken}]}``.

    ``days`` is the right end of the axis, which is never left of the limit; ``top`` the tallest bin.
    """
    aged = [x for x in lines if x["age_days"] is not None]
    days = max([max_age / DAY * 1.25, *(x["age_days"] for x in aged)])
    width = days / BINS
    bins = [
        {"from_days": round(i * width, 1), "to_days": round((i + 1) * width, 1), "ok": 0, "soon": 0, "broken": 0}
        for i in range(BINS)
    ]
    for line in aged:
        kind = "broken" if line["breaks"] else "soon" if line["status"] == "due soon" else "ok"
        bins[min(BINS - 1, int(line["age_days"] / width))][kind] += 1
    return {
        "days": round(days, 1),
        "limit_percent": round(max_age / DAY / days * 100, 2),
        "top": max((x["ok"] + x["soon"] + x["broken"] for x in bins), default=0),
        "bins": bins,
    }


def next_due(lines: Sequence[Mapping[str, t.Any]]) -> list[Entry]:
    """The PSKs that are due next, of those that keep the policy: ``{id, name, device, site, due_on}``."""
    coming = sorted((x for x in lines if x["due_on"] and not x["breaks"]), key=lambda x: (x["due_on"], x["name"]))
    return [{key: x[key] for key in ("id", "name", "device", "site", "due_on")} for x in coming[:NAMES_SHOWN]]


def last_rotation(tunnels: Sequence[Mapping[str, t.Any]], known: Mapping[str, Mapping[str, t.Any]]) -> Entry | None:
    """The rotation that set a PSK last, as a timeline; None when the escrow knows of none.

    ``{rotation_id, began, seconds, measured, tunnels: [{id, name, wave, applied_on, offset, exposure, state}]}``, in
    the order of time, ``offset`` and ``exposure`` in seconds. ``exposure`` is what the role measured (from Cloudflare's
    answer to the end of the device tasks), or else the time until the new PSK was confirmed; null when neither is kept.
    """
    took: list[Entry] = []
    for tunnel in tunnels:
        record = known.get(tunnel["id"])
        applied = _applied(record) if record else None
        if record and applied is not None:
            took.append({"id": tunnel["id"], "name": tunnel["name"], "record": record, "applied": applied})
    if not took:
        return None
    last = max(took, key=lambda x: x["applied"])["record"]["rotation_id"]
    mine = sorted((x for x in took if x["record"]["rotation_id"] == last), key=lambda x: (x["applied"], x["name"]))
    began = mine[0]["applied"]
    lines = [_step(x, began) for x in mine]
    return {
        "rotation_id": last,
        "began": format_time(began)[:19] + "Z",
        "seconds": max(1.0, *(x["offset"] + (x["exposure"] or 0) for x in lines)),
        "waves": len({x["wave"] for x in lines if x["wave"] is not None}),
        "tunnels": lines,
    }


def _step(found: Entry, began: int) -> Entry:
    record = found["record"]
    exposure = record["exposure_seconds"]
    if exposure is None:
        done = parse_time(record["confirmed_on"]) if record["state"] == IDLE else None
        exposure = None if done is None else max(0.0, (done - found["applied"]) / NANO)
    return {
        "id": found["id"],
        "name": found["name"],
        "wave": record["wave"],
        "applied_on": format_time(found["applied"]),
        "offset": round((found["applied"] - began) / NANO, 3),
        "exposure": None if exposure is None else round(exposure, 3),
        "state": record["state"],
    }


def _applied(record: Mapping[str, t.Any]) -> int | None:
    """When Cloudflare took the PSK that the record's rotation has set, in nanoseconds."""
    return parse_time(record["pending_applied_on"] or (record["made_on"] if record["state"] == IDLE else None))


def _line(
    tunnel: Mapping[str, t.Any],
    record: Mapping[str, t.Any] | None,
    wanted: Policy,
    now: int,
    sites: Mapping[str, str],
) -> Entry:
    """The findings about one tunnel. Its site is that of its device, or else what backs it up."""
    trace = trace_of(tunnel)
    found = _compared(record, trace)
    changed_by = {NEWER: "somebody else", SAME: "rotation"}.get(found)
    set_on = trace.on
    if record and (changed_by == "rotation" or not trace.shown) and record["state"] == IDLE:
        # A PSK that was rolled back to is as old as when it was made.
        set_on = record["made_on"] or record["applied_on"] or trace.on
    made = parse_time(set_on)
    age = None if made is None else max(0, (now - made) // NANO)
    confirmed = record["confirmed"] if record and changed_by == "rotation" and record["state"] == IDLE else None
    findings = _findings(record, trace, found, confirmed, age, wanted)
    breaks = [x for x in findings if x in wanted.fail_on]
    due = None if made is None else made + wanted.max_age * NANO
    soon = due is not None and due - now <= wanted.due_soon * NANO
    device = record["host"] if record else None
    return {
        "id": tunnel["id"],
        "name": tunnel["name"],
        "device": device,
        "site": sites.get(device or "") or (record["group"] if record else None),
        "customer_endpoint": tunnel.get("customer_endpoint"),
        "status": "broken" if breaks else "due soon" if soon else "ok",
        "findings": findings,
        "breaks": breaks,
        "set_on": set_on,
        "age_days": None if age is None else round(age / DAY, 2),
        "due_on": None if due is None else format_time(due)[:19] + "Z",
        "state": record["state"] if record else None,
        "generation": record["generation"] if record else None,
        "last_rotation_on": record["pending_applied_on"] or record["made_on"] if record else None,
        "rotation_id": record["rotation_id"] if record else None,
        "confirmed": confirmed,
        "confirmed_on": record["confirmed_on"] if confirmed and record else None,
        "changed_by": changed_by,
        "reason": record["reason"] if record else None,
    }


def _compared(record: Mapping[str, t.Any] | None, trace: Trace) -> str:
    """How the time that Cloudflare shows stands to the one of the record's PSK."""
    on = record["expected_on"] if record else None
    return compare(Known(on, record["expected_at_least"]) if record and on else None, trace)


def _findings(
    record: Mapping[str, t.Any] | None,
    trace: Trace,
    compared: str,
    confirmed: bool | None,
    age: int | None,
    wanted: Policy,
) -> list[str]:
    state = record["state"] if record else None
    found = {
        "no_psk": trace.missing,
        "stuck": state == STUCK,
        "foreign": compared == NEWER,
        "unfinished": state in UNRESOLVED or compared == LATE,
        "unknown": not trace.missing and not (record and (record["has_current"] or state in UNRESOLVED)),
        "overdue": age is not None and age > wanted.max_age,
        "unconfirmed": confirmed is False,
    }
    return [kind for kind in FINDINGS if found[kind]]


def _message(lines: Sequence[Entry], broken: Sequence[Entry]) -> str:
    """One line for the end of a job."""
    if not broken:
        return f"all {len(lines)} tunnels keep the policy"
    named = "; ".join(f"{x['name']}: {FINDINGS[x['breaks'][0]]}" for x in broken[:NAMES_SHOWN])
    more = f"; and {len(broken) - NAMES_SHOWN} more" if len(broken) > NAMES_SHOWN else ""
    return f"{len(broken)} of {len(lines)} tunnels break the policy: {named}{more}"


def _cell(value: t.Any) -> str:
    if isinstance(value, list):
        return " ".join(value)
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
