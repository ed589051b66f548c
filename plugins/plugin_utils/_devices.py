# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which devices an account's tunnels end at: pure functions over plain dicts, for the inventory plugin."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import view

KEPT = (
    "id",
    "name",
    "description",
    "cloudflare_endpoint",
    "customer_endpoint",
    "interface_address",
    "interface_address6",
)
PATTERN_GROUPS = frozenset({"device", "site"})
DAY = 86400 * _psk.NANO
# What Ansible reads as something else than a host's name, in --limit or in a list of hosts.
_REFUSED_IN_NAMES = re.compile(r"[\s,&!\[\]{}]")

Tunnel = dict[str, t.Any]


@dataclass
class Device:
    """A host of the inventory. ``psk_age_days`` is the age of its oldest PSK, None if one of its tunnels has none."""

    name: str
    tunnels: list[Tunnel] = field(default_factory=list)
    site: str | None = None
    psk_age_days: int | None = None
    age_group: str = ""


def without_secrets(tunnel: Mapping[str, t.Any]) -> Tunnel:
    """What the inventory shows and caches of an API tunnel: no secret is in it, not even the MD5 key of BGP."""
    shown = view(tunnel)
    return {**{key: shown[key] for key in KEPT}, "psk_last_generated_on": _psk.generated_on(tunnel)}


def parse_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """The regular expression on tunnel names, None without one. Raises InputError."""
    if not pattern:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as exc:
        raise InputError(f"name_pattern is no regular expression: {exc}") from None
    named = set(compiled.groupindex)
    if not named or named - PATTERN_GROUPS:
        raise InputError("name_pattern must have a group named device, one named site, or both, and no other")
    return compiled


def parse_ages(ages: Sequence[t.Any]) -> list[tuple[str, int]]:
    """The ages that separate the age groups, ``(text, seconds)`` in ascending order. Raises InputError."""
    parsed = [(str(age).strip(), t.cast(int, _psk.parse_age(age, "psk_ages"))) for age in ages]
    if any(seconds is None for dummy, seconds in parsed) or [x[1] for x in parsed] != sorted({x[1] for x in parsed}):
        raise InputError("psk_ages must hold ages in rising order, such as 30d, 90d")
    return parsed


def age_groups(ages: Sequence[tuple[str, int]]) -> list[str]:
    """The names of the age groups, youngest first, the last for devices with a tunnel that has no PSK."""
    names = [f"psk_age_up_to_{text}" for text, dummy in ages]
    return [*names, f"psk_age_over_{ages[-1][0]}" if ages else "psk_age_any", "psk_age_none"]


def devices(
    tunnels: Iterable[Tunnel],
    *,
    pattern: re.Pattern[str] | None,
    ages: Sequence[tuple[str, int]],
    alone: bool,
    now: int,
) -> tuple[list[Device], list[str]]:
    """The devices in the order of their first tunnel, and the names of the tunnels that belong to none.

    ``tunnels`` as without_secrets gives them; with ``alone`` such a tunnel is a device of its own; ``now`` is in
    nanoseconds since 1970. Raises InputError naming the tunnel.
    """
    found: dict[str, Device] = {}
    left: list[str] = []
    for tunnel in tunnels:
        match = pattern.search(tunnel["name"] or "") if pattern else None
        named = match.groupdict() if match else {}
        by_name = pattern is not None and "device" in pattern.groupindex
        name = named.get("device") if by_name else tunnel["customer_endpoint"]
        if not name and not alone:
            left.append(tunnel["name"] or tunnel["id"])
            continue
        name = name or tunnel["name"] or tunnel["id"]
        if _REFUSED_IN_NAMES.search(name):
            raise InputError(
                f"tunnel {tunnel['name']!r}: {name!r} can't be the name of a host, because of its blank, comma,"
                " bracket, & or !; set name_pattern so that the group device leaves them out"
            )
        device = found.setdefault(name, Device(name))
        device.tunnels.append(tunnel)
        _set_site(device, named.get("site"), tunnel)
    for device in found.values():
        _set_age(device, ages, now)
    return list(found.values()), left


def _set_site(device: Device, site: str | None, tunnel: Tunnel) -> None:
    if site and device.site not in (None, site):
        raise InputError(
            f"tunnel {tunnel['name']!r} is of site {site!r}, but its device {device.name!r} of site {device.site!r};"
            " fix name_pattern"
        )
    device.site = site or device.site


def _set_age(device: Device, ages: Sequence[tuple[str, int]], now: int) -> None:
    names = age_groups(ages)
    made = [_psk.parse_time(x["psk_last_generated_on"]) for x in device.tunnels]
    known = [x for x in made if x is not None]
    if len(known) < len(made):
        device.age_group = names[-1]
        return
    age = max(0, now - min(known))
    device.psk_age_days = age // DAY
    older = sum(1 for dummy, seconds in ages if age > seconds * _psk.NANO)
    device.age_group = names[older]
