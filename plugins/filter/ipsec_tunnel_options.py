# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: ipsec_tunnel_options
short_description: A tunnel that was read, as options of ipsec_tunnel
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Keeps the writable part of a tunnel, so that what M(magicwan.cloudflare.ipsec_tunnel_info) returned can be kept in a
    file, and given to M(magicwan.cloudflare.ipsec_tunnel) again.
options:
  _input:
    description: A tunnel, as M(magicwan.cloudflare.ipsec_tunnel_info) returns it.
    type: dict
    required: true
"""

EXAMPLES = r"""
wanted: "{{ all_tunnels.ipsec_tunnels | map('magicwan.cloudflare.ipsec_tunnel_options') }}"
"""

RETURN = r"""
_value:
  description: Options of M(magicwan.cloudflare.ipsec_tunnel), without those that are not set.
  type: dict
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import options
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"ipsec_tunnel_options": ipsec_tunnel_options}


@one_line_errors
def ipsec_tunnel_options(tunnel: t.Any) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    return options(tunnel)
