# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: ipsec_tunnels_yaml
short_description: The tunnels of an account as a YAML file
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Turns what M(magicwan.cloudflare.ipsec_tunnel_info) returned into the text of a YAML file, whose key C(tunnels) is
    what M(magicwan.cloudflare.ipsec_tunnels) takes under this name. Given back, it changes nothing.
  - Tunnels are sorted by name, and have their identifiers. What is not set, what is off by default, and secrets are
    left out. The playbook C(magicwan.cloudflare.export_tunnels) writes the file.
options:
  _input:
    description: Tunnels, as M(magicwan.cloudflare.ipsec_tunnel_info) returns them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
text: "{{ account.ipsec_tunnels | magicwan.cloudflare.ipsec_tunnels_yaml }}"
"""

RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._export import export_text
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"ipsec_tunnels_yaml": ipsec_tunnels_yaml}


@one_line_errors
def ipsec_tunnels_yaml(tunnels: t.Any) -> str:
    """See DOCUMENTATION."""
    return export_text(tunnels)
