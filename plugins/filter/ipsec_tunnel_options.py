# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: ipsec_tunnel_options
short_description: Tunnels that were read, as options of ipsec_tunnel
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Keeps the writable part of tunnels, so that what M(magicwan.cloudflare.ipsec_tunnel_info) returned can be kept in a
    file, and given to M(magicwan.cloudflare.ipsec_tunnel) or M(magicwan.cloudflare.ipsec_tunnels) again.
  - What is null or empty is left out, because these modules take an empty value for the removal of a field.
  - Takes the C(values) of a C(cloudflare_magic_wan_ipsec_tunnel) in C(terraform show -json), too.
options:
  _input:
    description: A tunnel or a list of tunnels, as M(magicwan.cloudflare.ipsec_tunnel_info) returns them.
    type: raw
    required: true
seealso:
  - module: magicwan.cloudflare.ipsec_tunnel_info
  - module: magicwan.cloudflare.ipsec_tunnels
"""

EXAMPLES = r"""
- name: Read all tunnels
  magicwan.cloudflare.ipsec_tunnel_info:
  register: account

- name: Write the tunnels to a file
  ansible.builtin.copy:
    content: "{{ {'fleet': account.ipsec_tunnels | magicwan.cloudflare.ipsec_tunnel_options} | to_nice_yaml }}"
    dest: "{{ playbook_dir }}/fleet.yml"
    mode: "0644"
"""

RETURN = r"""
_value:
  description:
    - Options of M(magicwan.cloudflare.ipsec_tunnel), without those that are not set. A list of them for a list.
  type: raw
"""

import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import options
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors

# What of a tunnel is a dictionary.
PARTS = ("bgp", "custom_remote_identities", "health_check", "remote_identities")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"ipsec_tunnel_options": ipsec_tunnel_options}


@one_line_errors
def ipsec_tunnel_options(tunnels: t.Any) -> t.Any:
    """See DOCUMENTATION."""
    if isinstance(tunnels, Mapping):
        return _options(tunnels)
    if isinstance(tunnels, str) or not isinstance(tunnels, Iterable):
        raise InputError(f"ipsec_tunnel_options takes a tunnel or a list of tunnels, not {type(tunnels).__name__}")
    return [_options(x) for x in tunnels]


def _options(tunnel: t.Any) -> dict[str, t.Any]:
    if not isinstance(tunnel, Mapping) or not tunnel.get("name"):
        raise InputError(
            "ipsec_tunnel_options was given something that has no name and so is no tunnel; of a result of"
            " ipsec_tunnel_info it takes ipsec_tunnels, of a resource of terraform its values"
        )
    for part in PARTS:
        value = tunnel.get(part)
        if value and not isinstance(value, Mapping):
            raise InputError(
                f"ipsec_tunnel_options: {part} of {tunnel['name']!r} must be a dictionary, not {type(value).__name__}"
            )
    return options(tunnel)
