# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Whether a device has authenticated with its new PSK: one verdict a tunnel, out of what the device said.

Closed: what could not be read, cleared or matched is no proof. The PSK is written first. Then the device's IKE SAs are
read (before), those of the tunnel are cleared, and read again until the verdicts stand or the time is over (after).
A tunnel is confirmed by an SA that is up, belongs to the tunnel, and was not there before.
"""

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import (
    Answer,
    Platform,
    Sa,
    Tunnel,
    Unreadable,
    Watch,
    one_line,
    outputs_of,
    problem_of,
)

CONFIRMED, FAILED, UNCHANGED = "confirmed", "failed", "unchanged"


@dataclass(frozen=True)
class Evidence:
    """What a device said.

    ``cleared`` is by tunnel id; a tunnel may have several SAs to clear. ``between`` was read after the clear and before
    the tunnel was told to start over, where a platform needs that. The controller's times in seconds:
    ``read_before`` after ``before`` was read, ``started`` before the first SA was cleared, ``asked`` before the last
    look began, at the earliest, ``now`` after it.
    """

    before: Answer | None = None
    cleared: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    between: Answer | None = None
    after: Answer | None = None
    started: float = 0.0
    read_before: float = 0.0
    asked: float = 0.0
    now: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """The outcome of a tunnel. ``final``: looking again can't change it."""

    status: str
    reason: str = ""
    final: bool = True


def verdict(platform: Platform, tunnel: Tunnel, evidence: Evidence, timeout: int) -> Verdict:
    """Whether the tunnel has authenticated with the PSK that was written before `evidence.before` was read."""
    try:
        before = read(platform, evidence.before, tunnel)
    except Unreadable as exc:
        return _failed(f"the device's SAs could not be read before the authentication was forced: {exc}")
    wanted = platform.clear(tunnel, before) if before or platform.clears_always else ()
    done = evidence.cleared.get(tunnel.id, ())
    if len(done) < len(wanted):
        return _failed("its SA was not cleared")
    for answer in done:
        problem = problem_of(answer, platform)
        if problem and before:
            return _failed(f"the device did not clear its SA: {problem}")
    if platform.needs_gap and before:
        problem = still_there(platform, tunnel, evidence.between)
        if problem:
            return _failed(f"the device did not clear its SA: {problem}")
        before = ()
    try:
        after = read(platform, evidence.after, tunnel)
    except Unreadable as exc:
        return Verdict(FAILED, f"the device's SAs could not be read: {exc}", final=False)
    if any(sa.up and is_new(sa, before, evidence) for sa in after):
        return Verdict(CONFIRMED)
    up = [sa for sa in after if sa.up]
    if not up:
        reason = "the device shows no established SA"
    elif all(sa.age is None and not sa.identity for sa in up):
        reason = "the device does not distinguish its SA from an older one"
    else:
        reason = "its SA is older"
    return Verdict(FAILED, f"timeout: no new IKE_AUTH within {timeout} s; {reason}", final=False)


def still_there(platform: Platform, tunnel: Tunnel, answer: Answer | None) -> str:
    """Why it is not seen that the tunnel has no SA; empty when it is."""
    try:
        return "it still has one" if read(platform, answer, tunnel) else ""
    except Unreadable as exc:
        return f"its SAs could not be read: {exc}"


def watched(judge: Watch, tunnel: Tunnel, answer: Answer | None, timeout: int) -> Verdict:
    """The verdict out of what the platform's script printed."""
    problem = problem_of(answer)
    if problem:
        return _failed(f"the device's log could not be watched: {problem}")
    try:
        reason = judge(tunnel, outputs_of(t.cast(Answer, answer), 1)[0], timeout)
    except Unreadable as exc:
        return _failed(f"the device's log could not be read: {exc}")
    return _failed(reason) if reason else Verdict(CONFIRMED)


def is_new(sa: Sa, before: Sequence[Sa], evidence: Evidence) -> bool:
    """Whether this SA was not there before, by all that the device shows of it."""
    if not sa.identity and sa.age is None:
        return False
    if sa.identity and any(sa.identity == x.identity for x in before):
        return False
    if sa.age is None:
        return True
    if sa.age > evidence.now - evidence.started:
        return False
    if sa.identity:
        return True
    # An SA that was there before is by now at least so much older. Both ages are cut to whole seconds.
    passed = max(0.0, evidence.asked - evidence.read_before)
    return all(x.age is not None and sa.age < x.age + passed - 1 for x in before)


def read(platform: Platform, answer: Answer | None, tunnel: Tunnel) -> Sequence[Sa]:
    """The tunnel's SAs in a device's answer.

    Raises:
        Unreadable: it can't be read.
    """
    problem = problem_of(answer)
    if problem:
        raise Unreadable(problem)
    try:
        return platform.sas(t.cast(Answer, answer), tunnel)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise Unreadable("its answer does not have the expected form") from None


def result(tunnel: Tunnel, found: Verdict) -> dict[str, t.Any]:
    """An entry of customer_device_results, without the PSK wherever the device's words came from."""
    confirmed = found.status == CONFIRMED
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "id": tunnel.id,
        "name": tunnel.name,
        "status": found.status,
        "confirmed": confirmed,
        "confirmed_on": now if confirmed else None,
        "reason": without(found.reason, [tunnel]),
    }


def without(text: str, tunnels: Sequence[Tunnel]) -> str:
    """The text in one line and without PSKs."""
    for tunnel in tunnels:
        if tunnel.psk:
            text = text.replace(tunnel.psk, "********")
    return one_line(text)


def _failed(reason: str) -> Verdict:
    return Verdict(FAILED, reason)
