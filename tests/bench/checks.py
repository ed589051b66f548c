# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the figures must show. A check whose figures were not measured says so, and is no failure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.cases import COUNTED, WAVE
from tests.bench.measure import Row, Table

FLOORS = 2.0
LOOP_RATIO = 100.0
EXPONENT = 1.1
PEAK_MIB = 400.0
NOTHING_SECONDS = 0.9
DEVICES, FEW_DEVICES, MANY_DEVICES = 200, 100, 1600
DEVICES_RATIO = 4.5
DEVICES_EXPONENT = 1.05
DEVICES_MIB = 250.0
EXPOSURE_SECONDS = 3.0
KV2_REQUESTS = {"first": 6.0, "again": 5.0}
KV2_RATIO = 1.3
WAVE_SECONDS = 1.5
FILE = "role, file escrow"
NONE = "role, no escrow"
NOTHING = "ipsec_tunnels, nothing to change"
HOSTS, FACTS = "devices as hosts, 50 at a time", "four set_fact on the hosts"


@dataclass(frozen=True)
class Check:
    """`holds` is None when it could not be checked; `before` are the figures of 1.0.0, where they are known."""

    what: str
    figures: str
    holds: bool | None
    before: str = ""

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "holds", False: "does not hold", None: "not measured"}[self.holds]


def exponent(table: Table, row: Row) -> float | None:
    """How wall time grows with size, from a tenth of this size: 1 is proportional."""
    smaller = table.seconds(row.case, row.size // 10, row.latency_ms) if row.size else None
    larger = row.median("seconds")
    return math.log10(larger / smaller) if smaller and larger and row.extrapolated is None else None


def checks(table: Table, latencies: list[int]) -> list[Check]:
    """All of them, in the order of what was promised."""
    found = [check for latency in latencies for check in _at(table, latency)]
    return [*found, *_devices(table), *_kv2(table), *_rate_limit(table)]


def _at(table: Table, latency: int) -> Iterator[Check]:
    suffix = f" ({latency} ms a request)"
    empty, floor = table.seconds("empty play", 0, latency), table.seconds("floor script", 1000, latency)
    role, loop = table.seconds(FILE, 1000, latency), table.seconds("uri loop", 1000, latency)

    what = f"1,000 tunnels, file escrow: at most {FLOORS:g} floor scripts and an empty play{suffix}"
    if role and floor and empty:
        most = FLOORS * floor + empty
        figures = f"{role:.2f} s / ({FLOORS:g} x {floor:.2f} s + {empty:.2f} s) = {role / most:.2f}"
        yield Check(what, figures, role <= most, "1.88 s / 1.51 s = 1.25" if latency == 0 else "")
    else:
        yield Check(what, "", None)

    what = f"1,000 tunnels, file escrow: at least {LOOP_RATIO:g} times faster than the uri loop{suffix}"
    if role and loop:
        yield Check(what, f"{loop:.0f} s (extrapolated) / {role:.2f} s = {loop / role:.0f}", loop / role >= LOOP_RATIO)
    else:
        yield Check(what, "", None)

    large = table.find(FILE, 10000, latency)
    grown = exponent(table, large) if large else None
    what = f"10,000 tunnels, file escrow: growth exponent at most {EXPONENT:g} from 1,000{suffix}"
    yield Check(what, "" if grown is None else f"{grown:.2f}", None if grown is None else grown <= EXPONENT)
    what = f"10,000 tunnels, file escrow: the largest process at most {PEAK_MIB:g} MiB{suffix}"
    peak = max(run.peak_mib for run in large.runs) if large else None
    yield Check(what, "" if peak is None else f"{peak:.0f} MiB", None if peak is None else peak <= PEAK_MIB)
    what = f"10,000 tunnels, file escrow: at most 2 API requests more than batches{suffix}"
    if large:
        worst = max(large.runs, key=lambda run: run.requests - run.writes)
        figures = f"{worst.requests} requests, {worst.writes} batches"
        yield Check(what, figures, worst.requests <= 2 + worst.writes)
    else:
        yield Check(what, "", None)

    nothing = table.find(NOTHING, 1000, latency)
    what = f"ipsec_tunnels, 1,000 tunnels, nothing to change: 1 API request{suffix}"
    most = max(run.requests for run in nothing.runs) if nothing else None
    yield Check(what, "" if most is None else f"{most}", None if most is None else most == 1)
    what = f"ipsec_tunnels, 1,000 tunnels, nothing to change: an empty play and at most {NOTHING_SECONDS:g} s{suffix}"
    seconds = nothing.median("seconds") if nothing else None
    if seconds and empty:
        figures = f"{seconds:.2f} s - {empty:.2f} s = {seconds - empty:.2f} s"
        yield Check(what, figures, seconds - empty <= NOTHING_SECONDS, "1.00 to 1.25 s" if latency == 0 else "")
    else:
        yield Check(what, "", None)

    many = table.find(f"{NONE}, waves of {WAVE}", 1000, latency)
    yield _per_wave(table, table.find(NONE, 1000, latency), many, WAVE, latency)
    yield _per_wave(table, table.find(NONE, 1000, latency), table.find(NONE, 10000, latency), 1000, latency)


def _per_wave(table: Table, few: Row | None, many: Row | None, size: int, latency: int) -> Check:
    """What a wave more costs, less the API's time for it as the floor script sees it; there is no escrow in it.

    From 1,000 to 10,000 tunnels it also holds the role's work on 9,000 more tunnels outside of the waves.
    """
    what = f"the role, a wave of {size:,}: at most {WAVE_SECONDS:g} s beyond API and escrow ({latency} ms a request)"
    floor = table.find("floor script", 100 if size < 1000 else 1000, latency)
    if not (few and many and floor):
        return Check(what, "", None)
    waves = (many.median("writes") or 0) - (few.median("writes") or 0)
    api = min(run.extra["post_seconds"] for run in floor.runs)
    grown = (many.median("seconds") or 0) - (few.median("seconds") or 0)
    overhead = grown / waves - api
    return Check(what, f"{grown:.2f} s / {waves:.0f} waves - {api:.2f} s = {overhead:.2f} s", overhead <= WAVE_SECONDS)


def _devices(table: Table) -> Iterator[Check]:
    """What devices as hosts cost, and how long each had another PSK than Cloudflare."""
    role, facts = table.seconds(HOSTS, DEVICES, 0), table.seconds(FACTS, DEVICES, 0)
    what = f"{DEVICES} devices: at most {DEVICES_RATIO:g} times four set_fact on the same hosts"
    if role and facts:
        figures = f"{role:.0f} s / {facts:.1f} s = {role / facts:.1f}"
        yield Check(what, figures, role / facts <= DEVICES_RATIO, "105 s, 12.5")
    else:
        yield Check(what, "", None, "105 s, 12.5")

    few, many = table.find(HOSTS, FEW_DEVICES, 0), table.find(HOSTS, MANY_DEVICES, 0)
    what = f"{FEW_DEVICES} to {MANY_DEVICES:,} devices: growth exponent at most {DEVICES_EXPONENT:g}"
    if few and many:
        grown = math.log((many.median("seconds") or 0) / (few.median("seconds") or 1)) / math.log(many.size / few.size)
        yield Check(what, f"{grown:.2f}", grown <= DEVICES_EXPONENT, "1.16 to 800")
    else:
        yield Check(what, "", None, "1.16 to 800")
    what = f"{MANY_DEVICES:,} devices: the largest process at most {DEVICES_MIB:g} MiB"
    peak = max(run.peak_mib for run in many.runs) if many else None
    yield Check(what, "" if peak is None else f"{peak:.0f} MiB", None if peak is None else peak <= DEVICES_MIB)

    row = table.find(HOSTS, DEVICES, 0)
    exposure = row.runs[0].extra.get("exposure_p95") if row else None
    what = f"50 devices in a wave: 95 % have their PSK at most {EXPOSURE_SECONDS:g} s after the API's answer"
    holds = None if exposure is None else exposure <= EXPOSURE_SECONDS
    yield Check(what, "" if exposure is None else f"{exposure:.1f} s", holds)


def _kv2(table: Table) -> Iterator[Check]:
    """What the escrow in KV v2 costs."""
    row = table.find("role, KV v2 escrow, counted", COUNTED, 0)
    for number, most in KV2_REQUESTS.items():
        told = "the first rotation" if number == "first" else "a repeated rotation"
        found = row.runs[0].extra[f"kv2_requests_{number}"] if row else None
        # Some more of a rotation are for no tunnel: the engine, the policy, the folder.
        holds = None if found is None else found <= most + 10 / COUNTED
        figures = "" if found is None else f"{found:.2f}"
        yield Check(f"KV v2 escrow: at most {most:g} requests a tunnel in {told}", figures, holds)
    role, file = table.seconds("role, KV v2 escrow, again", 1000, 0), table.seconds(FILE, 1000, 0)
    script = table.seconds("KV v2 script, four threads", 1000, 0)
    what = f"1,000 tunnels, KV v2 escrow: the file's time and at most {KV2_RATIO:g} times a script with its requests"
    if role and file and script:
        figures = f"({role:.2f} s - {file:.2f} s) / {script:.2f} s = {(role - file) / script:.2f}"
        yield Check(what, figures, role <= file + KV2_RATIO * script, "8.98 s, file 1.88 s")
    else:
        yield Check(what, "", None, "8.98 s, file 1.88 s")


def _rate_limit(table: Table) -> Iterator[Check]:
    for case in ("role under the rate limit", "ipsec_tunnels under the rate limit"):
        row = next((x for x in table.rows if x.case == case), None)
        if row is None:
            yield Check(f"{case}: never refused", "", None)
            continue
        run = row.runs[0]
        figures = f"{run.requests} requests in {run.seconds:.1f} s, {run.rate_limited} refused"
        yield Check(f"{case}, {row.size:,} tunnels: never refused", figures, run.rate_limited == 0)
    what = "role that starts while all is refused: waits, and finishes"
    row = next((x for x in table.rows if x.case == "role that starts while blocked"), None)
    if row is None:
        yield Check(what, "", None)
        return
    run = row.runs[0]
    figures = f"{run.rate_limited} requests refused, all PSKs set after {run.seconds:.1f} s"
    yield Check(what, figures, run.rate_limited > 0)
