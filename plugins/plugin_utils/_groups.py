# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""Which tunnels back each other up: groups over the whole account, whoever is in the play. Pure functions.

Joining too much costs a wave; joining too little costs a site.
"""

from __future__ import annotations

import re
import typing as t
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError

AUTO, NONE = "auto", "none"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
# Tunnels whose names differ only in their last part back each other up, if they are no more than this.
LARGEST_FAMILY = 4
GROUPS_SHOWN = 10
_LAST_PART = re.compile(r"^(.+)[\W_][^\W_]+[\W_]*$")
_LAST_SIGNS = re.compile(r"[\W_]+$")
_ENDING = re.compile(r"(?:(?<=\d)[^\W\d_]|(?<=[^\W\d_])\d+)$")

Tunnel = Mapping[str, t.Any]


@dataclass(frozen=True)
class Groups:
    """The group of each tunnel, the members of each group, and why they are one."""

    of: Mapping[str, str]
    members: Mapping[str, tuple[str, ...]]
    why: Mapping[str, str]

    def siblings(self, tunnel_id: str) -> list[str]:
        """The other tunnels of its group."""
        return [i for i in self.members[self.of[tunnel_id]] if i != tunnel_id]


@dataclass(frozen=True)
class Hints:
    """What is known beside the account: the device of a tunnel, its group by an earlier run, the site of a device.

    ``claimed`` are the tunnels whose device is in the play, by the device's name; ``hosts`` and ``earlier`` are by
    tunnel id, as the escrow knows them. The controller is no device, whatever it claims.
    """

    claimed: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)
    sites: Mapping[str, str] = field(default_factory=dict)

    def host(self, tunnel_id: str) -> str | None:
        """The device at which the tunnel ends; None if that is not known."""
        known = (self.claimed.get(tunnel_id), self.hosts.get(tunnel_id))
        return next((x for x in known if x and x not in LOCAL_HOSTS), None)


def group(tunnels: Sequence[Tunnel], group_by: t.Any, hints: Hints) -> Groups:
    """The groups of all tunnels of the account, by ``psk_rotation_group_by``. Raises InputError."""
    if group_by == AUTO:
        return _automatic(tunnels, hints)
    if group_by == NONE:
        return _collected({x["id"]: x["id"] for x in tunnels}, {})
    if isinstance(group_by, Mapping):
        if not group_by:
            raise InputError("psk_rotation_group_by is an empty mapping: set none if nothing backs anything up")
        named = _mapped(tunnels, group_by)
        why = "named by psk_rotation_group_by"
    else:
        named = _matched(tunnels, group_by, hints)
        why = "matched by psk_rotation_group_by"
    ids = [str(x["id"]) for x in tunnels]
    return _collected({i: named.get(i, i) for i in ids}, dict.fromkeys(named.values(), why))


def told(groups: Groups, tunnels: Sequence[Tunnel], ids: Collection[str]) -> str:
    """The groups of these tunnels in a line: who is in each, and why."""
    names = {x["id"]: str(x["name"]) for x in tunnels}
    touched = dict.fromkeys(groups.of[i] for i in ids)
    several = [x for x in touched if len(groups.members[x]) > 1]
    alone = [names[groups.members[x][0]] for x in touched if len(groups.members[x]) == 1]
    shown = [f"{', '.join(names[i] for i in groups.members[x])} ({groups.why[x]})" for x in several]
    parts = []
    if several:
        parts.append(_few(shown, f"{_count(several, 'group')} of tunnels that back each other up: ", "; "))
    if alone:
        parts.append(_few(alone, f"{_count(alone, 'tunnel')} that nothing backs up: ", ", "))
    return "; ".join(parts)


def _count(found: Sequence[str], what: str) -> str:
    return f"{len(found)} {what}{'' if len(found) == 1 else 's'}"


def _few(found: Sequence[str], head: str, between: str) -> str:
    more = f"{between}and {len(found) - GROUPS_SHOWN} more" if len(found) > GROUPS_SHOWN else ""
    return head + between.join(found[:GROUPS_SHOWN]) + more


def _collected(of: Mapping[str, str], why: Mapping[str, str]) -> Groups:
    members: dict[str, list[str]] = {}
    for tunnel_id, name in of.items():
        members.setdefault(name, []).append(tunnel_id)
    alone = "nothing backs it up"
    reasons = {name: why.get(name, alone) if len(own) > 1 else alone for name, own in members.items()}
    return Groups(of, {name: tuple(own) for name, own in members.items()}, reasons)


def _mapped(tunnels: Sequence[Tunnel], group_by: Mapping[t.Any, t.Any]) -> dict[str, str]:
    """Groups out of a mapping of groups to tunnels, or of tunnels to groups, which may be mixed."""
    named: dict[str, str] = {}
    for key, value in group_by.items():
        if not value:
            raise InputError(f"psk_rotation_group_by[{key!r}] is empty: it must be a list of tunnels, or name a group")
        patterns, name = ([key], value) if isinstance(value, str) else (value, str(key))
        try:
            chosen = _tunnel.select(tunnels, patterns)
        except (InputError, TypeError) as exc:
            why = exc.message if isinstance(exc, InputError) else "must be a list of tunnels, or name a group"
            raise InputError(f"psk_rotation_group_by[{key!r}]: {why}") from None
        for tunnel in chosen:
            before = named.setdefault(tunnel["id"], name)
            if before != name:
                raise InputError(f"psk_rotation_group_by: tunnel {tunnel['name']!r} is in both {before!r} and {name!r}")
    return named


def _matched(tunnels: Sequence[Tunnel], group_by: t.Any, hints: Hints) -> dict[str, str]:
    try:
        pattern = re.compile(group_by)
    except (re.error, TypeError):
        raise InputError(
            "psk_rotation_group_by must be auto, none, a regular expression with a group named group, or a mapping"
        ) from None
    if "group" not in pattern.groupindex:
        raise InputError("psk_rotation_group_by: the regular expression needs a group named group: (?P<group>...)")
    found = {x["id"]: pattern.search(x["name"] or "") for x in tunnels}
    named = {i: str(match.group("group")) for i, match in found.items() if match and match.group("group")}
    if hints.claimed and not any(i in named for i in hints.claimed):
        raise InputError(
            f"psk_rotation_group_by: the regular expression {group_by!r} matches the name of no tunnel of this play,"
            " so nothing would keep two tunnels of a site apart; correct it, or set none if nothing backs anything up"
        )
    return named


class _Sets:
    """Sets of tunnels that are joined one by one, with the reasons."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._parent = {i: i for i in ids}
        self._why: dict[str, list[str]] = {}

    def root(self, tunnel_id: str) -> str:
        """The tunnel that stands for the set."""
        while self._parent[tunnel_id] != tunnel_id:
            self._parent[tunnel_id] = self._parent[self._parent[tunnel_id]]
            tunnel_id = self._parent[tunnel_id]
        return tunnel_id

    def join(self, ids: Sequence[str], why: str) -> None:
        """Makes one set of the sets of these tunnels."""
        first = self.root(ids[0])
        for tunnel_id in ids[1:]:
            other = self.root(tunnel_id)
            if other != first:
                self._parent[other] = first
                self._why.setdefault(first, []).extend(self._why.pop(other, []))
        self._why.setdefault(first, []).append(why)

    def why(self, root: str) -> str:
        """Why they are one."""
        return ", ".join(dict.fromkeys(self._why.get(root, ())))


def _automatic(tunnels: Sequence[Tunnel], hints: Hints) -> Groups:
    """Joins by device, customer endpoint, site, and family of names."""
    sets = _Sets(x["id"] for x in tunnels)
    labels: dict[str, str] = {}
    rules: list[tuple[str, dict[str, list[str]], int | None]] = [
        ("site", _by(tunnels, lambda x: hints.sites.get(hints.host(x["id"]) or "")), None),
        ("device", _by(tunnels, lambda x: hints.host(x["id"])), None),
        ("customer endpoint", _by(tunnels, lambda x: _endpoint(x.get("customer_endpoint"))), None),
        ("names", _families(tunnels), LARGEST_FAMILY),
    ]
    for what, found, largest in rules:
        for key, own in found.items():
            joins = len(own) > 1 and (largest is None or len(own) <= largest)
            if joins:
                sets.join(own, f"{what} {key}" if largest is None else f"names {key}*")
            if joins or largest is None:
                for tunnel_id in own:
                    labels.setdefault(tunnel_id, key)
    # What an earlier run has called a group, a site above all, tells of tunnels whose devices are not in this play.
    for _label, own in _by(tunnels, lambda x: hints.earlier.get(x["id"]) or labels.get(x["id"])).items():
        remembered = any(i in hints.earlier and i not in hints.claimed for i in own)
        if remembered and len({sets.root(i) for i in own}) > 1:
            sets.join(own, "an earlier run")
    named: dict[str, str] = {}
    taken: set[str] = set()
    roots = {x["id"]: sets.root(x["id"]) for x in tunnels}
    for tunnel_id, root in roots.items():
        if root not in named:
            label = labels.get(tunnel_id) or tunnel_id
            named[root] = f"{label} {root}" if label in taken else label
            taken.add(named[root])
    return _collected(
        {i: named[root] for i, root in roots.items()}, {named[r]: sets.why(r) for r in set(roots.values())}
    )


def _by(tunnels: Sequence[Tunnel], key_of: t.Callable[[Tunnel], str | None]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tunnel in tunnels:
        key = key_of(tunnel)
        if key:
            found.setdefault(key, []).append(tunnel["id"])
    return found


def _endpoint(address: str | None) -> str | None:
    """One text for each address, however it is written."""
    try:
        return str(ip_address(address)) if address else None
    except ValueError:
        return address


def _families(tunnels: Sequence[Tunnel]) -> dict[str, list[str]]:
    """The tunnels of each family of names. One that has the rest as its whole name belongs to it, as berlin does to
    berlin-backup, unless they are too many with it. The key is as the first of them is written."""
    names = {x["id"]: unicodedata.normalize("NFC", x["name"] or "") for x in tunnels}
    named = _by(tunnels, lambda x: names[x["id"]].casefold())
    found: dict[str, list[str]] = {}
    for key, own in _by(tunnels, lambda x: _family(names[x["id"]].casefold())).items():
        heads = named.get(_LAST_SIGNS.sub("", key), [])
        label = _family(names[own[0]])
        members = [*own, *heads] if len(own) + len(heads) <= LARGEST_FAMILY else own
        found[key if label is None or label in found else label] = members
    return found


def _family(name: str) -> str | None:
    """The name without its last part: ``berlin-`` of berlin-a, berlin-1 and berlin-pri, ``ber`` of ber1."""
    match = _LAST_PART.match(name)
    if match:
        return name[: match.end(1) + 1]
    ending = _ENDING.search(name)
    return name[: ending.start()] or None if ending else None
