# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_rotation_scope
short_description: The tunnels that a batch of hosts has to know of
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Out of all tunnels of an account, picks those that the hosts of this batch terminate, and those that back them up.
  - Picks none if a host names an unknown tunnel, or if two hosts name the same one.
    P(magicwan.cloudflare.psk_rotation_plan#filter)
    says why.
options:
  _input:
    description: The tunnels, as M(magicwan.cloudflare.ipsec_tunnel_info) returns them.
    type: list
    elements: dict
    required: true
  claims:
    description: What each host of the play names in C(psk_rotation_tunnels), by host.
    type: dict
    required: true
  hosts:
    description: The hosts of this batch.
    type: list
    elements: str
    required: true
  group_by:
    description: The rule of C(psk_rotation_group_by).
    type: raw
    default: auto
"""

EXAMPLES = r"""
mine: "{{ tunnels | magicwan.cloudflare.psk_rotation_scope({'berlin': ['berlin-*']}, ['berlin']) }}"
"""

RETURN = r"""
_value:
  description: The identifiers of the chosen tunnels, in the account's order.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import scope


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_rotation_scope": psk_rotation_scope}


def psk_rotation_scope(tunnels: t.Any, claims: t.Any, hosts: t.Any, group_by: t.Any = "auto") -> list[str]:
    """See DOCUMENTATION."""
    try:
        return scope(tunnels, claims, hosts, group_by)
    except InputError:
        return []
