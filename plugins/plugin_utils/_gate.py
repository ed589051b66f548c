# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The health gate of a rotation: what Cloudflare's health checks must say before a wave and after it.

Before: of the tunnels that back a tunnel up, one at least must be as accepted, for a new IKE_AUTH may break before it
makes. After: the tunnel itself must be. One whose health is unknown does not pass unless ``unknown`` is accepted.
"""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _health, _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError, InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import Planned

Member = Mapping[str, t.Any]

SECONDS = ("deadline", "interval", "window")


@dataclass(frozen=True)
class Gate:
    """What passes, and how long the tunnels of a wave may take to get there. Times in seconds.

    After a new SA the network needs 90 to 150 s, and a tunnel may stay degraded for half an hour.
    """

    accept: tuple[str, ...] = (_health.HEALTHY, _health.DEGRADED)
    deadline: float = 600.0
    interval: float = 30.0
    window: float = 120.0


def parse_gate(given: Mapping[str, t.Any], lease: float) -> Gate | None:
    """The gate that ``psk_rotation_health`` describes; None for an empty one. Raises InputError."""
    if not given:
        return None
    unknown = sorted(set(given) - {"accept", *SECONDS})
    if unknown:
        raise InputError(f"psk_rotation_health.{unknown[0]} is not known; it may hold accept, {', '.join(SECONDS)}")
    accept = given.get("accept", Gate.accept)
    if not isinstance(accept, (list, tuple)) or not accept or not all(x in _health.STATES for x in accept):
        raise InputError(f"psk_rotation_health.accept must be a list of {', '.join(_health.STATES)}")
    times: dict[str, float] = {}
    for key in SECONDS:
        try:
            times[key] = float(given.get(key, getattr(Gate, key)))
        except (TypeError, ValueError):
            raise InputError(f"psk_rotation_health.{key} must be a number of seconds") from None
        if not times[key] > 0:  # nor is what is not a number
            raise InputError(f"psk_rotation_health.{key} must be more than 0 seconds")
    if times["deadline"] >= lease:
        raise InputError(
            "psk_rotation_health.deadline must be shorter than psk_rotation_lease, which keeps other runs off"
        )
    return Gate(accept=tuple(accept), **times)


@dataclass(frozen=True)
class HealthGate:
    """Asks Cloudflare, and judges. ``say`` shows a line while it waits, so that nobody takes the run for dead."""

    client: Client
    gate: Gate
    say: Callable[[str], None]

    def check_members(self, groups: Mapping[str, Sequence[Member]], *, acts: bool) -> None:
        """Raises InputError for a tunnel that can never pass, before anything is written.

        ``acts``: devices have tasks of their own.
        """
        if not acts:
            raise InputError(
                "psk_rotation_health needs device or verify tasks: without them no tunnel re-authenticates"
            )
        if _health.UNKNOWN in self.gate.accept:
            return
        for member in (x for members in groups.values() for x in members):
            if member["health_check"].get("enabled") is False:
                raise InputError(
                    f"psk_rotation_health: the health check of tunnel {member['name']!r} is disabled, so nobody can"
                    " vouch for it; enable it, or accept unknown"
                )

    def unsafe(self, entries: Sequence[Mapping[str, t.Any]], groups: Mapping[str, Sequence[Member]]) -> dict[str, str]:
        """Why tunnels must not be touched now, by id: none of those that back them up is in an accepted state.

        A tunnel that nothing backs up is free to go.
        """
        siblings = {x["id"]: [m for m in groups[x["group"]] if m["id"] != x["id"]] for x in entries}
        wanted = {m["id"]: m for members in siblings.values() for m in members}
        try:
            states = self._judged(list(wanted.values()), time.time() - self.gate.window)
        except CloudflareError as exc:
            return {i: f"the health of its group can't be read: {exc.message}" for i, own in siblings.items() if own}
        return {
            i: f"nothing backs it up now: {', '.join(_told(states[m['id']]) for m in own)}"
            for i, own in siblings.items()
            if own and not any(_health.accepted(states[m["id"]], self.gate.accept) for m in own)
        }

    def split(
        self, entries: Sequence[Planned], groups: Mapping[str, Sequence[Member]]
    ) -> tuple[list[Planned], list[Planned]]:
        """The tunnels that may be touched now, and those that nothing backs up."""
        unsafe = self.unsafe([{"id": x.id, "group": x.group} for x in entries], groups)
        others = [replace(x, status=_status.UNHEALTHY, reason=unsafe[x.id]) for x in entries if x.id in unsafe]
        return [x for x in entries if x.id not in unsafe], others

    def failing(self, members: Sequence[Member]) -> dict[str, str]:
        """Waits until all of these tunnels are in an accepted state; returns why not, by id, when time is over."""
        begun = time.time()
        end = time.monotonic() + self.gate.deadline
        while True:
            try:
                # What was measured before now says nothing of the new PSK.
                states = self._judged(members, max(begun, time.time() - self.gate.window))
                bad = {i: _told(x) for i, x in states.items() if not _health.accepted(x, self.gate.accept)}
                line = _health.told(list(states.values()))
            except CloudflareError as exc:
                bad = {x["id"]: exc.message for x in members}
                line = exc.message
            if not bad or time.monotonic() >= end:
                return {i: f"after {self.gate.deadline:g} s: {reason}" for i, reason in bad.items()}
            self.say(f"health of the wave: {line}; looking again in {self.gate.interval:g} s")
            time.sleep(min(self.gate.interval, max(0.0, end - time.monotonic())))

    def _judged(self, members: Sequence[Member], since: float) -> dict[str, Mapping[str, t.Any]]:
        if not members:
            return {}
        until = _psk.format_time(time.time_ns())
        rows = self.client.tunnel_health([x["name"] for x in members], _psk.format_time(int(since * _psk.NANO)), until)
        return {x["id"]: x for x in _health.judge(members, rows)}


def _told(entry: Mapping[str, t.Any]) -> str:
    return f"{entry['name']} is {entry['state']} ({entry['reason']})"
