# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""What the hosts of a play claim: which tunnels end at which device, and how many may fail. Pure functions."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError

Tunnel = Mapping[str, t.Any]


def owners_of(tunnels: Sequence[Tunnel], claims: Mapping[str, t.Any]) -> dict[str, str]:
    """The host of each claimed tunnel. Raises InputError for an unknown tunnel, or one that two hosts claim."""
    owners: dict[str, str] = {}
    if not tunnels:
        raise InputError("the account has no IPsec tunnel that these credentials may see: check account_id")
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


def parse_limit(limit: t.Any, of: int) -> int:
    """How many failures ``limit`` allows: ``3``, or ``10%`` of ``of`` tunnels, rounded up. Raises InputError."""
    text = str(limit).strip()
    percent = text.endswith("%")
    number = text[:-1] if percent else text
    if not number.isdecimal() or (percent and int(number) > 100):
        raise InputError(f"psk_rotation_max_failures must be a number or a percentage such as 10%, not {limit!r}")
    return -(-of * int(number) // 100) if percent else int(number)
