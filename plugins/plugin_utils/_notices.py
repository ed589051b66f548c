# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""What a person should know of a plan before it begins. Pure functions."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._groups import Groups, told

NAMES_SHOWN = 10

Tunnel = Mapping[str, t.Any]


def lines(
    tunnels: Sequence[Tunnel],
    groups: Groups,
    ready: Sequence[str],
    *,
    hidden: int,
    owners: Mapping[str, str] | None,
) -> list[str]:
    """One line a notice. ``ready`` are the ids of the tunnels that will be touched, ``hidden`` of how many Cloudflare
    shows no time; ``owners`` are the hosts that claim tunnels, by id, None where an earlier batch has said it.
    """
    found = [f"{x['name']!r} is the name of a tunnel, too: it is reached by its id only" for x in _words(tunnels)]
    if hidden:
        found.append(
            f"Cloudflare does not show when the PSKs of {hidden} tunnels were set: the escrow's times are used"
        )
    if ready:
        found.append(told(groups, tunnels, ready))
    unclaimed = [] if owners is None else [str(x["name"]) for x in tunnels if x["id"] not in owners]
    if unclaimed:
        more = f" and {len(unclaimed) - NAMES_SHOWN} more" if len(unclaimed) > NAMES_SHOWN else ""
        named = ", ".join(unclaimed[:NAMES_SHOWN])
        found.append(f"no host of this play claims {len(unclaimed)} of {len(tunnels)} tunnels: {named}{more}")
    return found


def _words(tunnels: Sequence[Tunnel]) -> list[Tunnel]:
    return [x for x in tunnels if x["name"] in ("all", "*")]
