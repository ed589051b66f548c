# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_rotation_host_facts
short_description: One fact of many hosts
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Collects a variable of several hosts. Hosts that do not have it are left out.
options:
  _input:
    description: The hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: Ansible's C(hostvars).
    type: dict
    required: true
  names:
    description: The names of the variable, in the order in which they are looked for.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
claims: "{{ ansible_play_hosts_all | magicwan.cloudflare.psk_rotation_host_facts(hostvars, 'psk_rotation_tunnels') }}"
"""

RETURN = r"""
_value:
  description: The values by host.
  type: dict
"""

import typing as t


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_rotation_host_facts": psk_rotation_host_facts}


def psk_rotation_host_facts(hosts: t.Any, hostvars: t.Any, *names: str) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    found = {}
    for host in hosts:
        variables = hostvars[host]
        name = next((x for x in names if x in variables), None)
        if name is not None:
            found[host] = variables[name]
    return found
