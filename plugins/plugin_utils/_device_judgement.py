# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the role customer_device makes of its tasks' results: one answer for each of its steps."""

from __future__ import annotations

import re
import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _device_proof
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_plan import tunnel_of
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import (
    MISMATCH,
    NOT_SHOWN,
    Answer,
    Finding,
    Platform,
    Tunnel,
    Unreadable,
    load,
    problem_of,
)

# Longer than it takes to see a new SA after it was established.
OLD_ENOUGH = 20
TUNNEL, SA = "__customer_device_tunnel", "__customer_device_sa"


def look(platform: Platform, entry: str, tunnels: Sequence[Tunnel], answers: Sequence[Answer]) -> dict[str, t.Any]:
    """Why the device can't be changed, and each tunnel's key there.

    Returns: `{problem: one line, keys: [{id, name, comparison, reason}], handles: {id: {part: its name}}}`.
    """
    try:
        problem = platform.ready(answers, entry)
        findings = [platform.inspect(answers, x, entry) for x in tunnels] if not problem else []
    except Unreadable as exc:
        problem, findings = str(exc), []
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        problem, findings = "its answer does not have the expected form", []
    if not findings:
        findings = [Finding(problem=problem)] * len(tunnels)
    found = [problem] if problem else [f"{x.name}: {y.problem}" for x, y in zip(tunnels, findings) if y.problem]
    return {
        "problem": _device_proof.without("; ".join(found), tunnels),
        "keys": [
            {"id": x.id, "name": x.name, "comparison": compared, "reason": _device_proof.without(reason, tunnels)}
            for x, (compared, reason) in zip(tunnels, (_compared(platform, x, y) for x, y in zip(tunnels, findings)))
        ],
        "handles": {x.id: dict(y.handles) for x, y in zip(tunnels, findings)},
    }


def _compared(platform: Platform, tunnel: Tunnel, finding: Finding) -> tuple[str, str]:
    """How a PSK compares with the device's, and why not. One that is written in another way is not said to differ."""
    if finding.key == MISMATCH and re.search(platform.psk.refused, tunnel.psk):
        return NOT_SHOWN, f"its PSK is written in another way there: {platform.psk.because}"
    return (finding.key if not finding.problem else NOT_SHOWN), finding.problem


def targets(tunnels: Sequence[Tunnel], written: Mapping[str, Answer], reauthenticate: str) -> list[str]:
    """The identifiers of those to re-authenticate. One that was not written has nothing to prove."""
    return [
        x.id
        for x in tunnels
        if not problem_of(written.get(x.id))
        and (
            reauthenticate == "always"
            or (reauthenticate == "auto" and (bool(written[x.id].get("changed")) or x.unproven))
        )
    ]


def clears(platform: Platform, tunnels: Sequence[Tunnel], before: Answer | None) -> list[dict[str, str]]:
    """What to clear: `{id, name, object, handle}`, one a command. A tunnel whose SAs can't be read is left alone."""
    found = []
    for tunnel in tunnels:
        try:
            sas = _device_proof.read(platform, before, tunnel)
        except Unreadable:
            continue
        if sas or platform.clears_always:
            for handle in platform.clear(tunnel, sas):
                found.append({"id": tunnel.id, "name": tunnel.name, **tunnel.names, "handle": handle})
    return found


def pause(platform: Platform, tunnels: Sequence[Tunnel], before: Answer | None) -> int:
    """How many seconds an SA that is known by its age alone needs until it can be told from the next one."""
    seconds = 0
    for tunnel in () if platform.needs_gap else tunnels:
        try:
            sas = _device_proof.read(platform, before, tunnel)
        except Unreadable:
            continue
        ages = [x.age for x in sas if x.up and not x.identity and x.age is not None]
        seconds = max([seconds, *(OLD_ENOUGH - x for x in ages)])
    return seconds


def by_tunnel(looped: Answer | None, variable: str) -> dict[str, list[Answer]]:
    """A loop's results by the identifier of the tunnel in its loop variable."""
    found: dict[str, list[Answer]] = {}
    for answer in (looped or {}).get("results") or []:
        item = answer.get(variable)
        if isinstance(item, Mapping) and "id" in item:
            found.setdefault(str(item["id"]), []).append(answer)
    return found


def judge(
    platform: Platform,
    tunnels: Sequence[Tunnel],
    chosen: Sequence[str],
    written: Mapping[str, Answer],
    evidence: _device_proof.Evidence,
    watched: Answer | None,
    timeout: int,
) -> dict[str, t.Any]:
    """The verdicts.

    Returns: `{settled: looking again changes nothing, results: [...], failed: {id: reason}, reason: one line}`.
    """
    results, settled = [], evidence.now - evidence.started >= timeout
    final = True
    for tunnel in tunnels:
        problem = problem_of(written.get(tunnel.id))
        if problem:
            found = _device_proof.Verdict(_device_proof.FAILED, f"the device refused the configuration: {problem}")
        elif tunnel.id not in chosen:
            found = _device_proof.Verdict(_device_proof.UNCHANGED)
        elif platform.watch:
            found = _device_proof.watched(platform.watch, tunnel, watched, timeout)
        else:
            found = _device_proof.verdict(platform, tunnel, evidence, timeout)
        final = final and found.final
        entry = _device_proof.result(tunnel, found)
        results.append({**entry, "reason": _device_proof.without(entry["reason"], tunnels)})
    failed = {x["id"]: x["reason"] for x in results if x["status"] == _device_proof.FAILED}
    return {
        "settled": settled or final,
        "results": results,
        "failed": failed,
        "reason": "; ".join(f"{x['name']}: {x['reason']}" for x in results if x["id"] in failed),
    }


def answer(
    planned: Sequence[Mapping[str, t.Any]], name: str, entry: str, said: Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """All that can be made of what the tasks have said so far; see the filter's documentation."""
    platform = load(name)
    tunnels = [tunnel_of(x) for x in planned]
    made: dict[str, t.Any] = look(platform, entry, tunnels, said["found"]) if "found" in said else {}
    if "written" not in said:
        return made
    # A platform that writes in several steps has a list of loops: the first problem counts, and any change.
    written: dict[str, Answer] = {}
    loops = said["written"] if isinstance(said["written"], list) else [said["written"]]
    for steps in [by_tunnel(x, TUNNEL) for x in loops]:
        for tunnel_id, answers in steps.items():
            for step in answers:
                written[tunnel_id] = _worse(written.get(tunnel_id), step)
    chosen = targets(tunnels, written, said["reauthenticate"])
    wanted = [x for x in tunnels if x.id in chosen]
    left = [x.id for x in wanted if platform.needs_gap and _device_proof.still_there(platform, x, said.get("between"))]
    made |= {
        "left": left,
        "targets": chosen,
        "clears": clears(platform, wanted, said.get("before")),
        "pause": pause(platform, wanted, said.get("before")),
    }
    after = said.get("after") or {}
    started = float(said.get("started") or 0)
    attempts = int(after.get("attempts") or 1)
    evidence = _device_proof.Evidence(
        before=said.get("before"),
        cleared=by_tunnel(said.get("cleared"), SA),
        between=said.get("between"),
        after=after,
        started=started,
        read_before=float(said.get("read_on") or started),
        asked=started + (attempts - 1) * float(said.get("delay") or 0),
        now=float(said.get("now") or time.time()),
    )
    made["gone"] = not left or evidence.now - started >= int(said["timeout"])
    return made | judge(platform, tunnels, chosen, written, evidence, said.get("watched"), int(said["timeout"]))


def _worse(one: Answer | None, other: Answer) -> Answer:
    if one is None or one.get("skipped"):
        return other
    if problem_of(one) or other.get("skipped"):
        return one
    if problem_of(other):
        return other
    return one if one.get("changed") else other
