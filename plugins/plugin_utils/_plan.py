# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which tunnels a rotation takes, in which waves, and which it leaves alone: pure functions over plain dicts."""

from __future__ import annotations

import itertools
import re
import typing as t
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk, _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _escrow

MAX_WAVE_SIZE = 1000
# rotate begins and finishes, reconcile only finishes, confirm confirms what waits, rollback turns back, report looks.
MODES = ("rotate", "reconcile", "confirm", "rollback", "report")
# Statuses that need nobody's attention. A skipped tunnel is another run's, or waits for one that is counted itself.
HARMLESS = ("confirmed", "promoted", "unchanged", "planned", "due", "waiting", "skipped")
# Task files that the role brings along.
OWN_HOOKS = "hooks/"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

Entry = dict[str, t.Any]


@dataclass(frozen=True)
class Options:
    """How to plan. ``max_age`` in seconds, ``now`` in nanoseconds since 1970.

    ``hosts`` are those of this batch; ``adopt`` rotates a tunnel whose PSK the escrow does not know, whatever its age.
    ``mode`` is one of MODES; ``rollback_id`` the rotation that the mode rollback turns back beside what is unresolved.
    """

    hosts: frozenset[str]
    max_age: int | None
    force: bool
    wave_size: int
    canary: int
    group_by: t.Any
    confirmation: str
    max_failures: t.Any
    summaries: Mapping[str, Mapping[str, t.Any]]
    adopt: bool
    mode: str
    rollback_id: str
    now: int

    def __post_init__(self) -> None:
        if not 1 <= self.wave_size <= MAX_WAVE_SIZE:
            raise InputError(f"psk_rotation_wave_size must be 1 to {MAX_WAVE_SIZE}, not {self.wave_size}")
        if self.canary < 0:
            raise InputError(f"psk_rotation_canary must not be negative, but is {self.canary}")


def plan(
    tunnels: Sequence[Mapping[str, t.Any]],
    records: Sequence[Mapping[str, t.Any]],
    claims: Mapping[str, Sequence[str]],
    options: Options,
) -> dict[str, t.Any]:
    """The rotation of this batch of hosts.

    ``tunnels`` as ipsec_tunnel_info returns them, ``records`` as the escrow's ``read``, ``claims`` the patterns by
    host of all hosts of the play. Returns ``waves`` (lists of entries, never two of a group in one), ``groups`` (by
    name, the tunnels that back each other up, whatever is done with them), ``unchanged`` and ``left`` (entries with
    status stuck or skipped). Raises InputError.
    """
    owners = owners_of(tunnels, claims)
    by_id = {x["id"]: x for x in records}
    group_of = _grouping(options.group_by, tunnels)
    taken: list[Entry] = []
    unchanged: list[Entry] = []
    left: list[Entry] = []
    sick: dict[str, str] = {}
    groups: dict[str, list[Entry]] = {}
    for tunnel in tunnels:
        host = owners.get(tunnel["id"])
        if host is None:
            continue
        entry = {
            "id": tunnel["id"],
            "name": tunnel["name"],
            "host": host,
            "group": group_of(tunnel, host),
            "reported": _psk.generated_on(tunnel),
        }
        status, reason = judge(by_id.get(tunnel["id"]), entry["reported"], options)
        entry.update(status=status, reason=reason)
        member = {"id": tunnel["id"], "name": tunnel["name"], "health_check": tunnel.get("health_check") or {}}
        groups.setdefault(entry["group"], []).append(member)
        here = host in options.hosts
        if status in ("stuck", "waiting") or (status == "resume" and not here):
            sick[entry["group"]] = entry["name"]
        if here:
            target = {"unchanged": unchanged, "due": taken, "resume": taken}.get(status, left)
            (target if options.mode in ("rotate", "reconcile", "rollback") else left).append(entry)
    ready = []
    for entry in taken:
        sibling = sick.get(entry["group"])
        if sibling and not options.force:
            entry.update(status="skipped", reason=f"its group's {sibling!r} must be brought in order first")
            left.append(entry)
        else:
            ready.append(entry)
    earlier = itertools.takewhile(lambda host: host not in options.hosts, claims)
    return {
        "waves": build_waves(ready, options.wave_size, options.canary),
        "unchanged": unchanged,
        "left": left,
        "foreign": [x for x in left if x["status"] == "stuck" and by_id[x["id"]]["state"] != _escrow.STUCK],
        "groups": {group: groups[group] for group in dict.fromkeys(x["group"] for x in ready + left)},
        "planned": len(ready),
        "limit": parse_limit(options.max_failures, len(owners)),
        "failed_before": sum((options.summaries.get(host) or {}).get("failed", 0) for host in earlier),
    }


def check_hooks(hooks: Mapping[str, Mapping[str, t.Any]], exists: Callable[[str], bool]) -> tuple[str, bool]:
    """How this batch of hosts confirms, and whether any host has tasks of its own. Raises InputError.

    ``hooks`` maps hosts to ``{reach, device, verify, confirmation}``, the first three being task files or empty.
    """
    for host, own in hooks.items():
        for kind in ("reach", "device", "verify"):
            path = own[kind]
            if path and not (path.startswith(OWN_HOOKS) or (path.startswith("/") and exists(path))):
                raise InputError(f"psk_rotation_{kind}_tasks of {host}: there is no file {path!r}; give its whole path")
        if own["confirmation"] == "verify" and not own["verify"]:
            raise InputError(
                f"psk_rotation_confirmation of {host} is verify, but psk_rotation_verify_tasks names no tasks"
            )
    confirmations = {own["confirmation"] for own in hooks.values()}
    if "manual" in confirmations and len(confirmations) > 1:
        raise InputError("psk_rotation_confirmation is manual on some hosts of the batch only; make it the same on all")
    with_tasks = any(own["device"] or own["verify"] for own in hooks.values())
    return ("manual" if "manual" in confirmations else "none"), with_tasks


def parse_limit(limit: t.Any, of: int) -> int:
    """How many failures ``limit`` allows: ``3``, or ``10%`` of ``of`` tunnels, rounded up. Raises InputError."""
    text = str(limit).strip()
    percent = text.endswith("%")
    number = text[:-1] if percent else text
    if not number.isdigit() or (percent and int(number) > 100):
        raise InputError(f"psk_rotation_max_failures must be a number or a percentage such as 10%, not {limit!r}")
    return -(-of * int(number) // 100) if percent else int(number)


def judge(record: Mapping[str, t.Any] | None, reported: str | None, options: Options) -> tuple[str, str]:
    """What is to be done with one tunnel, and why: ``due``, ``resume``, ``unchanged``, ``stuck`` or ``skipped``.

    ``record`` is a view out of the escrow, or None.
    """
    if record is not None:
        foreign = _escrow.is_foreign(record, reported)
        if record["state"] == _escrow.STUCK and not options.force:
            return "stuck", record["reason"] or "stuck"
        if foreign and not options.force:
            return "stuck", f"its PSK was changed on {reported} by somebody else; psk_rotation_force overrides that"
        if _waits(record, options) and not foreign:
            return "waiting", "its new PSK waits for confirmation; run confirm_psks"
        if record["state"] in _escrow.UNRESOLVED:
            return "resume", f"an earlier run left it {record['state']}"
    if options.mode == "rollback":
        if record and options.rollback_id and record["rotation_id"] == options.rollback_id and record["has_previous"]:
            return "due", f"the rotation {options.rollback_id} is turned back"
        return "unchanged", "nothing to turn back"
    if options.mode in ("reconcile", "confirm"):
        return "unchanged", "nothing to finish"
    if options.force:
        return "due", "rotation is forced"
    if options.adopt and not (record and record["has_current"]):
        return "due", "the escrow does not know its PSK"
    # A PSK that was rolled back to is as old as when it was made, although the API shows a newer time.
    made_on = reported and ((record or {}).get("made_on") or reported)
    is_due, reason = _psk.due(made_on, applied_on=None, max_age=options.max_age, rotate=False, now=options.now)
    return ("due" if is_due else "unchanged"), reason


def _waits(record: Mapping[str, t.Any], options: Options) -> bool:
    """Whether Cloudflare holds a key that some later step, not this run, brings to the device and confirms."""
    if options.mode == "confirm":
        return record["state"] == _escrow.APPLIED or bool(record["rollback_applied"])
    return record["state"] == _escrow.APPLIED and options.confirmation == "manual" and options.mode != "rollback"


def build_waves(entries: Sequence[Entry], size: int, canary: int = 0) -> list[list[Entry]]:
    """Cuts entries into waves of at most ``size``, the first of at most ``canary`` if that is not 0.

    A group's members go into different waves, unresolved ones first: the next is touched only when the one before is
    done.
    """
    rounds: dict[int, list[Entry]] = {}
    members: dict[str, int] = {}
    for entry in sorted(entries, key=lambda x: x["status"] != "resume"):
        turn = members.get(entry["group"], 0)
        members[entry["group"]] = turn + 1
        rounds.setdefault(turn, []).append(entry)
    waves: list[list[Entry]] = []
    last: dict[str, int] = {}
    open_from = 0
    for turn in sorted(rounds):
        for entry in rounds[turn]:
            while open_from < len(waves) and len(waves[open_from]) >= _capacity(open_from, size, canary):
                open_from += 1
            index = max(open_from, last.get(entry["group"], -1) + 1)
            while index < len(waves) and len(waves[index]) >= _capacity(index, size, canary):
                index += 1
            while index >= len(waves):
                waves.append([])
            waves[index].append(entry)
            last[entry["group"]] = index
    return [wave for wave in waves if wave]


def _capacity(index: int, size: int, canary: int) -> int:
    return min(canary, size) if index == 0 and canary else size


def scope(
    tunnels: Sequence[Mapping[str, t.Any]],
    claims: Mapping[str, Sequence[str]],
    hosts: Container[str],
    group_by: t.Any,
) -> list[str]:
    """The ids that this batch of hosts has to know of: its own tunnels', and those that back them up.

    Raises InputError.
    """
    owners = owners_of(tunnels, claims)
    group_of = _grouping(group_by, tunnels)
    groups = {x["id"]: group_of(x, owners[x["id"]]) for x in tunnels if x["id"] in owners}
    own = {groups[i] for i, host in owners.items() if host in hosts}
    return [i for i, group in groups.items() if group in own]


def wave_of(
    planned: Mapping[str, t.Any], index: int, statuses: Mapping[str, str], hosts: Container[str]
) -> dict[str, t.Any]:
    """Wave ``index`` as it can go now: ``tunnels``, and ``skipped`` ones with the reason.

    ``statuses`` says by id what became of the tunnels of the waves before. A tunnel goes only if its host is among
    ``hosts``, if every tunnel of its group that went before is done, and if no more tunnels have failed than the
    plan's limit.
    """
    failed = planned["failed_before"] + sum(1 for status in statuses.values() if status not in HARMLESS)
    if failed > planned["limit"]:
        reason = f"stopped after {failed} failures, {planned['limit']} being allowed"
        stopped = [{**x, "status": "stopped", "reason": reason} for x in planned["waves"][index]]
        return {"tunnels": [], "skipped": stopped}
    sick = {}
    for wave in planned["waves"][:index]:
        for entry in wave:
            if statuses.get(entry["id"]) not in ("confirmed", "promoted", "planned"):
                sick[entry["group"]] = entry["name"]
    ready, skipped = [], []
    for entry in planned["waves"][index]:
        if entry["host"] not in hosts:
            skipped.append({**entry, "status": "unreached", "reason": f"its device {entry['host']} is not reachable"})
        elif entry["group"] in sick:
            reason = f"its group's {sick[entry['group']]!r} is not done"
            skipped.append({**entry, "status": "skipped", "reason": reason})
        else:
            ready.append(entry)
    return {"tunnels": ready, "skipped": skipped}


def verdicts(
    applied: Sequence[Mapping[str, t.Any]],
    evidence: Mapping[str, Mapping[str, t.Any]],
    wave: str,
) -> dict[str, list[Entry]]:
    """Which applied tunnels of a wave are ``done`` and which have ``failed``, by positive evidence only.

    ``evidence`` maps hosts to what they reported: ``{wave, done, verified, finished, reason, failed}``. ``verified``
    says if a new IKE_AUTH was seen, ``finished`` is in seconds since 1970, ``failed`` maps tunnel ids to reasons.
    """
    done, failed = [], []
    for entry in applied:
        said = evidence.get(entry["host"]) or {}
        kept = {key: entry.get(key) for key in ("id", "name", "host", "rotation_id")}
        reason = None
        if said.get("wave") != wave:
            reason = f"its device {entry['host']} did not report back"
        elif entry["id"] in (said.get("failed") or {}):
            reason = said["failed"][entry["id"]]
        elif not said.get("done"):
            reason = said.get("reason") or "its device tasks failed"
        if reason is None:
            applied_at = entry.get("recorded_at")
            exposure = round(float(said["finished"]) - applied_at, 3) if applied_at else None
            done.append({**kept, "seen": bool(said.get("verified")), "exposure_seconds": exposure})
        else:
            failed.append({**kept, "status": "failed", "reason": reason})
    return {"done": done, "failed": failed}


def owners_of(tunnels: Sequence[Mapping[str, t.Any]], claims: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The host of each claimed tunnel. Raises InputError for an unknown tunnel, or one that two hosts claim."""
    owners: dict[str, str] = {}
    for host, patterns in claims.items():
        try:
            chosen = _tunnel.select(tunnels, [patterns] if isinstance(patterns, str) else patterns or [])
        except InputError as exc:
            raise InputError(f"psk_rotation_tunnels of {host}: {exc}") from None
        for tunnel in chosen:
            if tunnel["id"] in owners:
                raise InputError(
                    f"psk_rotation_tunnels: both {owners[tunnel['id']]} and {host} name the tunnel {tunnel['name']!r};"
                    " a tunnel ends at one device"
                )
            owners[tunnel["id"]] = host
    if not owners:
        raise InputError(
            "psk_rotation_tunnels is empty on every host of the play: name what each device terminates,"
            " or all on localhost"
        )
    return owners


def _grouping(group_by: t.Any, tunnels: Sequence[Mapping[str, t.Any]]) -> Callable[[Mapping[str, t.Any], str], str]:
    """The group of a tunnel with its host, by the rule ``auto``, a regular expression, or a mapping."""
    if isinstance(group_by, Mapping):
        named: dict[str, str] = {}
        for key, value in group_by.items():
            if isinstance(value, str):
                named[key] = value
            else:
                named.update({x["id"]: key for x in _members(tunnels, key, value)})
        return lambda tunnel, host: named.get(tunnel["id"]) or named.get(tunnel["name"]) or tunnel["id"]
    if group_by == "auto":
        return _group_automatically
    try:
        pattern = re.compile(group_by)
    except (re.error, TypeError):
        raise InputError("psk_rotation_group_by must be auto, a regular expression or a mapping") from None
    if "group" not in pattern.groupindex:
        raise InputError("psk_rotation_group_by: the regular expression needs a group named group: (?P<group>...)")

    def by_name(tunnel: Mapping[str, t.Any], host: str) -> str:
        match = pattern.search(tunnel["name"])
        return (match and match.group("group")) or tunnel["id"]

    return by_name


def _members(tunnels: Sequence[Mapping[str, t.Any]], group: str, patterns: Sequence[str]) -> list[Mapping[str, t.Any]]:
    try:
        return _tunnel.select(tunnels, patterns)
    except (InputError, TypeError) as exc:
        reason = exc.message if isinstance(exc, InputError) else "must be a list of tunnels, or name a group"
        raise InputError(f"psk_rotation_group_by[{group!r}]: {reason}") from None


def _group_automatically(tunnel: Mapping[str, t.Any], host: str) -> str:
    if host not in LOCAL_HOSTS:
        return host
    return tunnel["customer_endpoint"] or tunnel["id"]
