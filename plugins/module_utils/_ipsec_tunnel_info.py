# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the module ipsec_tunnel_info does: tunnels as they are."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import Result


def tunnel_info(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_tunnel_info: all tunnels, or those that ids, names or globs select."""
    tunnels = client.list_tunnels()
    chosen = tunnels if module.params["tunnels"] is None else _tunnel.select(tunnels, module.params["tunnels"])
    return {"changed": False, "ipsec_tunnels": [_tunnel.view(x) for x in chosen], "msg": f"{len(chosen)} tunnels"}
