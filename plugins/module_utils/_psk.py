# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which PSKs are due, and what an answer of POST /psk means: pure functions over plain dicts.

ASSUMPTION PSK-TIME: psk_metadata.last_generated_on moves with every PSK that is set. Cloudflare shows no other trace
of a PSK. Whether an unrelated update moves it, too, is not known; such a move is taken for a foreign change.
ASSUMPTION PSK-BATCH: the API takes 1,000 PSKs in one call; no limit is published.
ASSUMPTION PSK-CLOCK: the times that the list and the answer of POST /psk give for one PSK are apart by the same for all
tunnels of an account (see skew_of), TIME_TOLERANCE at the most, give or take TIME_PRECISION. A PSK that somebody else
sets so soon after ours can't be told from it.
ASSUMPTION PSK-LATE: a request is carried out LATE_REQUEST after it was sent at the latest, also when its sender has
given up. So a repeated PSK may be set once more, and its time move, after the answer that we got.
"""

from __future__ import annotations

import calendar
import datetime
import re
import time
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import check_psk, redact
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import Index

BATCH_SIZE = 1000
NANO = 1_000_000_000
TIME_TOLERANCE = 5 * NANO
TIME_PRECISION = 6 * NANO // 10
LATE_REQUEST = 3600 * NANO
FAR_AHEAD = 86400 * NANO
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(Z|z|[+-]\d\d:?\d\d)")
_AGE_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

# Statuses with which Cloudflare holds the PSK that was sent, or may.
LIVE = ("applied", "in_doubt")

Entry = dict[str, t.Any]


def parse_time(text: str | None) -> int | None:
    """An RFC 3339 time as nanoseconds since 1970; None when there is none. The API shows up to nine decimals."""
    match = _TIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(x) for x in match.groups()[:6])
    try:
        datetime.date(year, month, day)
    except ValueError:
        return None
    zone = match.group(8)
    offset = 0 if zone in "Zz" else int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    seconds = calendar.timegm((year, month, day, hour, minute, second)) - (-offset if zone[0] == "-" else offset)
    return seconds * NANO + int((match.group(7) or "0").ljust(9, "0"))


def format_time(nanoseconds: int) -> str:
    """Nanoseconds since 1970 as an RFC 3339 time in UTC, to the microsecond."""
    seconds, rest = divmod(nanoseconds, NANO)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"


def parse_age(age: t.Any, where: str = "max_age") -> int | None:
    """An age in seconds out of a number of seconds or a text such as ``90d``, ``12h``, ``30m``; None stays None."""
    if age is None or age == "":
        return None
    match = re.fullmatch(r"(\d+)([smhdw]?)", str(age).strip())
    if match is None:
        raise InputError(f"{where} must be a number of seconds, or a number with s, m, h, d or w, not {age!r}")
    return int(match.group(1)) * _AGE_UNITS[match.group(2) or "s"]


def format_age(seconds: int, *, rough: bool = False) -> str:
    """Seconds as parse_age takes them, in days, hours, minutes or seconds; ``rough``, the rest is left out."""
    for unit in ("d", "h", "m"):
        size = _AGE_UNITS[unit]
        if seconds >= size and (rough or seconds % size == 0):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def generated_on(tunnel: Mapping[str, t.Any]) -> str | None:
    """When the tunnel's PSK was set, as the API shows it; None when it has no PSK."""
    metadata = tunnel.get("psk_metadata")
    shown = metadata.get("last_generated_on") if isinstance(metadata, Mapping) else None
    return str(shown) if shown else None


def same_time(one: str | None, other: str | None, tolerance: int = TIME_PRECISION) -> bool:
    """Whether two times of the API are one moment, however they are written, within some nanoseconds."""
    if one == other:
        return True
    first, second = parse_time(one), parse_time(other)
    return first is not None and second is not None and abs(first - second) <= tolerance


@dataclass(frozen=True)
class Trace:
    """What Cloudflare shows of a tunnel's PSK: when it was set (None: it has none), or, not ``shown``, nothing.

    ``skew`` are the nanoseconds by which the list runs ahead of the answers of POST /psk; None if nobody knows.
    """

    on: str | None
    shown: bool = True
    skew: int | None = None

    @property
    def missing(self) -> bool:
        """Whether Cloudflare says that the tunnel has no PSK."""
        return self.shown and self.on is None


def trace_of(tunnel: Mapping[str, t.Any], skew: int | None = None) -> Trace:
    """The trace of a tunnel as the API, or its view, gives it. Without ``psk_metadata`` nothing is known.

    Nor is it if that is something else than an object.
    """
    if not isinstance(tunnel.get("psk_metadata", ""), (Mapping, type(None))):
        return Trace(None, shown=False)
    return Trace(generated_on(tunnel), skew=skew)


@dataclass(frozen=True)
class Known:
    """When our PSK was set; with ``at_least`` the earliest time possible, see ASSUMPTION PSK-LATE."""

    on: str
    at_least: bool = False


SAME, NEWER, LATE, OLDER, UNKNOWN_TIME = "same", "newer", "late", "older", "unknown"


def compare(known: Known | None, trace: Trace) -> str:
    """How the time that Cloudflare shows stands to the one of our PSK.

    NEWER: somebody else has set a PSK since. LATE: that, or an earlier request of ours was carried out late. OLDER: the
    list is stale, or another run has set a PSK meanwhile.
    """
    if known is None or trace.on is None:
        return UNKNOWN_TIME
    ours, theirs = parse_time(known.on), parse_time(trace.on)
    if ours is None or theirs is None:
        return SAME if known.on == trace.on else NEWER
    if trace.skew is not None:
        theirs -= trace.skew
    if abs(theirs - ours) <= TIME_PRECISION + (TIME_TOLERANCE if trace.skew is None else 0):
        return SAME
    if theirs < ours:
        return OLDER
    return LATE if known.at_least and theirs - ours <= LATE_REQUEST else NEWER


def skew_of(pairs: Iterable[tuple[Known | None, Trace]]) -> int | None:
    """By how much the list runs ahead of what answers have said, in nanoseconds: the median over all tunnels.

    Only differences that ASSUMPTION PSK-CLOCK allows count: any other has another cause. None if there are none.
    """
    found: list[int] = []
    for known, trace in pairs:
        ours, theirs = parse_time(known.on if known else None), parse_time(trace.on)
        if ours is not None and theirs is not None and abs(theirs - ours) <= TIME_TOLERANCE + TIME_PRECISION:
            found.append(theirs - ours)
    middle = sorted(found)[(len(found) - 1) // 2 : len(found) // 2 + 1]
    nearest = min(middle, key=abs, default=None)
    return None if nearest is None else max(-TIME_TOLERANCE, min(nearest, TIME_TOLERANCE))


def later_time(one: str | None, other: str | None) -> str | None:
    """The later one of two times of the API."""
    first, second = parse_time(one), parse_time(other)
    return one if first is not None and (second is None or first > second) else other


def lies_ahead(on: str | None, now: int) -> bool:
    """Whether a time is the work of a wrong clock: by it, a PSK would not get old for long."""
    then = parse_time(on)
    return then is not None and then - now > FAR_AHEAD


def due(
    reported: str | None, *, applied_on: str | None, max_age: int | None, rotate: bool, now: int
) -> tuple[bool, str]:
    """Whether a PSK must be set now, and why (not).

    ``reported`` is the tunnel's last_generated_on, ``applied_on`` the time at which the user's PSK was applied,
    ``max_age`` in seconds, ``now`` in nanoseconds since 1970. The first of the three rules that is given decides.
    """
    if applied_on:
        if same_time(reported, applied_on, TIME_TOLERANCE):
            return False, f"the PSK applied on {applied_on} is in place"
        return True, f"the tunnel reports a PSK of {reported or 'no time'}, not of {applied_on}"
    if reported is None:
        return True, "the tunnel has no PSK"
    if max_age is not None:
        made = parse_time(reported)
        if made is None:
            return True, f"the age of the PSK cannot be determined from {reported!r}"
        if lies_ahead(reported, now):
            return True, f"the age of the PSK is unknown: {reported} is in the future; check the clock of this machine"
        if now - made > max_age * NANO:
            return True, f"the PSK of {reported} is older than {format_age(max_age)}"
        return False, f"the PSK of {reported} is not older than {format_age(max_age)}"
    if rotate:
        return True, "rotation was asked for"
    return False, f"the tunnel has a PSK of {reported}"


def resolve(wanted: Sequence[Mapping[str, t.Any]], tunnels: Sequence[Mapping[str, t.Any]], charset: str) -> list[Entry]:
    """The user's entries with the tunnels they name: ``{id, name, baseline, psk, applied_on}`` in the same order.

    Raises InputError naming the entry: unknown or ambiguous tunnel, id and name of different tunnels, a tunnel given
    twice, a PSK that a device could mangle, one PSK for several tunnels.
    """
    account = Index(tunnels)
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    keys: dict[str, str] = {}
    for index, item in enumerate(wanted):
        named = item.get("name") or item.get("id")
        where = f"psks[{index}] ({named})"
        if not named:
            raise InputError(f"psks[{index}]: id or name is missing")
        tunnel = account.find(tunnel_id=item.get("id"), name=item.get("name"))
        if tunnel is None:
            raise InputError(f"{where}: no tunnel of the account has this {'id' if item.get('id') else 'name'}")
        if item.get("name") and tunnel.get("name") != item["name"]:
            raise InputError(f"{where}: the tunnel with this id is named {tunnel.get('name')!r}")
        if item.get("applied_on") and parse_time(item["applied_on"]) is None:
            raise InputError(f"{where}: applied_on must be a time as the API shows it, not {item['applied_on']!r}")
        if tunnel["id"] in seen:
            raise InputError(f"{where}: this tunnel was given as psks[{seen[tunnel['id']]}] already")
        seen[tunnel["id"]] = index
        psk = item.get("psk")
        if psk is not None:
            check_psk(psk, where, charset)
            if psk in keys:
                raise InputError(f"{where}: the same PSK was given for {keys[psk]}; each tunnel needs its own")
            keys[psk] = tunnel.get("name") or tunnel["id"]
        entries.append(
            {
                "id": tunnel["id"],
                "name": tunnel.get("name"),
                "baseline": generated_on(tunnel),
                "psk": psk,
                "applied_on": item.get("applied_on"),
            }
        )
    return entries


# The outcome of setting a PSK. Unsent: its request never left.
APPLIED, UNAPPLIED, IN_DOUBT, PLANNED, UNSENT = "applied", "unapplied", "in_doubt", "planned", "unsent"


@dataclass(frozen=True)
class Answer:
    """What is known of one PSK after a POST /psk.

    ``repeated``: an earlier request with it may be carried out late, so that ``applied_on`` is the earliest time only.
    """

    status: str
    reason: str | None = None
    applied_on: str | None = None
    ipsec_id: str | None = None
    repeated: bool = False

    def outcome(self) -> Entry:
        """The fields of a module's result."""
        status = UNAPPLIED if self.status == UNSENT else self.status
        return outcome(status, self.reason, applied_on=self.applied_on, ipsec_id=self.ipsec_id)


def classify(
    tunnel_id: str,
    psk: str,
    applied: Mapping[str, Mapping[str, t.Any]],
    unapplied: Mapping[str, str | None],
    *,
    repeated: bool,
) -> Answer:
    """What Cloudflare's own answer to POST /psk says of one PSK.

    ``repeated``: an earlier attempt of the call may have been carried out, so a refusal proves nothing.
    """
    if tunnel_id in applied and tunnel_id in unapplied:
        return Answer(IN_DOUBT, "the answer reports it both as applied and as not applied")
    if tunnel_id in applied:
        done = applied[tunnel_id]
        applied_on = generated_on(done)
        if done.get("psk") not in (None, psk):
            return Answer(IN_DOUBT, "the API confirms another PSK than the one that was sent", applied_on)
        reason = None if applied_on else "the API does not say when"
        ipsec_id = done.get("ipsec_id")
        return Answer(APPLIED, reason, applied_on, ipsec_id if isinstance(ipsec_id, str) else None, repeated)
    if tunnel_id in unapplied:
        reason = redact(unapplied[tunnel_id] or "no reason given", [psk])
        if repeated:
            return Answer(IN_DOUBT, f"refused ({reason}), but an earlier attempt may have been carried out")
        return Answer(UNAPPLIED, reason)
    return Answer(IN_DOUBT, "the answer does not mention this tunnel")


def outcome(status: str, reason: str | None, *, applied_on: str | None = None, ipsec_id: str | None = None) -> Entry:
    """The fields of a result that depend on what the API said."""
    return {"status": status, "reason": reason, "applied_on": applied_on, "ipsec_id": ipsec_id}


def batches(entries: Sequence[Entry], size: int) -> list[Sequence[Entry]]:
    """``entries`` cut into runs of at most ``size``."""
    return [entries[start : start + size] for start in range(0, len(entries), size)]


def summary(results: Sequence[Mapping[str, t.Any]]) -> str:
    """One line for ``msg``: how many of each status, and the first entries that need a look."""
    counts: dict[str, int] = {}
    for result in results:
        counts[result["status"]] = counts.get(result["status"], 0) + 1
    line = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing to do"
    bad = [x for x in results if x["status"] in ("unapplied", "in_doubt")]
    if bad:
        named = "; ".join(f"{x['name'] or x['id']} {x['status']}: {x['reason']}" for x in bad[:5])
        line += f" ({named}{f'; and {len(bad) - 5} more' if len(bad) > 5 else ''})"
    return line
