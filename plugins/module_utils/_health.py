# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What Cloudflare's health checks say of tunnels: pure functions over plain dicts.

Every data centre checks every tunnel, and reports 1 (healthy), 0.5 (degraded) or 0 (down) for it. A tunnel is judged
by its worst data centre. The bounds between the states are those of Cloudflare's dashboard: more than 80 %, and 40 %.

After a new IKE_AUTH a tunnel may stay degraded for up to 30 minutes, because a state is left only after a series of
good probes; so a gate right after a rotation must accept ``degraded``.
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence

HEALTHY, DEGRADED, DOWN, UNKNOWN = "healthy", "degraded", "down", "unknown"
# From the best to the worst. Nothing known is worse than degraded: nobody vouches for the tunnel.
STATES = (HEALTHY, DEGRADED, UNKNOWN, DOWN)
MEASURED = (HEALTHY, DEGRADED, DOWN)

HEALTHY_ABOVE = 0.8
DEGRADED_FROM = 0.4

Entry = dict[str, t.Any]


def state_of(mean: float) -> str:
    """The state behind the mean of a data centre's reports, 0.0 to 1.0."""
    if mean > HEALTHY_ABOVE:
        return HEALTHY
    return DEGRADED if mean >= DEGRADED_FROM else DOWN


def worst(states: Iterable[str]) -> str:
    """The worst of some states; ``unknown`` when there are none."""
    return max(states, key=STATES.index, default=UNKNOWN)


def judge(tunnels: Sequence[Mapping[str, t.Any]], groups: Iterable[Mapping[str, t.Any]]) -> list[Entry]:
    """One entry for each of ``tunnels`` (as the API shows them), in their order, with its data centres, worst first.

    ``groups`` are the rows of the health dataset: ``{count, avg: {tunnelState}, dimensions: {tunnelName, ...}}``.
    Returns ``{id, name, state, mean, checks, reason, colos: [{name, city, country, state, mean, checks}]}``; ``mean``
    weighs each data centre by its number of checks, and is null when there was none.
    """
    by_name: dict[str, list[Entry]] = {}
    for group in groups:
        by_name.setdefault(group["dimensions"]["tunnelName"], []).append(_colo(group))
    return [_judge_one(tunnel, by_name.get(tunnel["name"], [])) for tunnel in tunnels]


def count_states(entries: Iterable[Mapping[str, t.Any]]) -> dict[str, int]:
    """How many entries have each state, from the best to the worst; every state is there."""
    found = [x["state"] for x in entries]
    return {state: found.count(state) for state in STATES}


def accepted(entry: Mapping[str, t.Any], states: Collection[str]) -> bool:
    """Whether an entry of judge() passes a gate that accepts these states."""
    return entry["state"] in states


def told(entries: Sequence[Mapping[str, t.Any]], shown: int = 10) -> str:
    """One line: how many tunnels there are of each state, and the names of those that are not healthy, worst first."""
    counts = ", ".join(f"{n} {state}" for state, n in count_states(entries).items() if n) or "no tunnels"
    bad = sorted((x for x in entries if x["state"] != HEALTHY), key=lambda x: -STATES.index(x["state"]))
    if not bad:
        return counts
    names = ", ".join(f"{x['name']} {x['state']}" for x in bad[:shown])
    return f"{counts}: {names}{f' and {len(bad) - shown} more' if len(bad) > shown else ''}"


def _judge_one(tunnel: Mapping[str, t.Any], colos: list[Entry]) -> Entry:
    checked = (tunnel.get("health_check") or {}).get("enabled") is not False
    entry: Entry = {"id": tunnel["id"], "name": tunnel["name"]}
    if not checked or not colos:
        reason = "no data centre has reported in the window" if checked else "its health check is disabled"
        return {**entry, "state": UNKNOWN, "mean": None, "checks": 0, "reason": reason, "colos": []}
    colos.sort(key=lambda x: (x["mean"], x["name"]))
    checks = sum(x["checks"] for x in colos)
    first = colos[0]
    count = sum(1 for x in colos if x["state"] == first["state"])
    return {
        **entry,
        "state": first["state"],
        "mean": round(sum(x["mean"] * x["checks"] for x in colos) / checks, 4),
        "checks": checks,
        "reason": f"{first['state']} in {count} of {len(colos)} data centres",
        "colos": colos,
    }


def _colo(group: Mapping[str, t.Any]) -> Entry:
    dimensions, mean = group["dimensions"], round(float(group["avg"]["tunnelState"]), 4)
    return {
        "name": dimensions["edgeColoName"],
        "city": dimensions["edgeColoCity"],
        "country": dimensions["edgeColoCountry"],
        "state": state_of(mean),
        "mean": mean,
        "checks": int(group["count"]),
    }
