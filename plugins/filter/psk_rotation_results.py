# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_rotation_results
short_description: What device tasks need to know of each tunnel
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Puts together what the account, the plan, the escrow and the rotation know of each tunnel of the given hosts.
  - The result holds PSKs; use it in tasks with C(no_log) only.
options:
  _input:
    description: The account's tunnels, as M(magicwan.cloudflare.ipsec_tunnel_info) returns them.
    type: list
    elements: dict
    required: true
  plan:
    description: The plan, as P(magicwan.cloudflare.psk_rotation_plan#filter) returns it.
    type: dict
    required: true
  records:
    description: What the escrow knew before, with PSKs.
    type: list
    elements: dict
    required: true
  outcomes:
    description: What became of the tunnels, the latest of a tunnel last.
    type: list
    elements: dict
    required: true
  hosts:
    description: Only the tunnels of these hosts.
    type: list
    elements: str
    required: true
  only:
    description: Only the tunnels with these identifiers.
    type: list
    elements: str
"""

EXAMPLES = r"""
mine: "{{ tunnels | magicwan.cloudflare.psk_rotation_results(plan, records, outcomes, [inventory_hostname]) }}"
"""

RETURN = r"""
_value:
  description: A dictionary for each tunnel; the README of the role psk_rotation lists the keys.
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import results


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_rotation_results": psk_rotation_results}


@one_line_errors
def psk_rotation_results(
    tunnels: t.Any, plan: t.Any, records: t.Any, outcomes: t.Any, hosts: t.Any, only: t.Any = None
) -> list[t.Any]:
    """See DOCUMENTATION."""
    chosen = None if only is None else set(only)
    entries = [
        entry
        for part in (*plan["waves"], plan["unchanged"], plan["left"])
        for entry in part
        if entry["host"] in hosts and (chosen is None or entry["id"] in chosen)
    ]
    return results(tunnels, entries, records, outcomes)
