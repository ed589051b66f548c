# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the module ipsec_tunnel_info does: tunnels as they are."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import Result


def tunnel_info(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_tunnel_info: all tunnels, or those that ids, names or globs select."""
    tunnels = client.list_tunnels()
    chosen = choose(module, tunnels)
    return {"changed": False, "ipsec_tunnels": [_tunnel.view(x) for x in chosen], "msg": f"{len(chosen)} tunnels"}


def choose(module: AnsibleModule, tunnels: list[_tunnel.Tunnel]) -> list[t.Mapping[str, t.Any]]:
    """The tunnels that the option tunnels selects, all without it. Warns of a name that means something else."""
    wanted = module.params["tunnels"]
    if wanted is None:
        return list(tunnels)
    hidden = _tunnel.hidden_names(tunnels, wanted)
    if hidden:
        module.warn(f"tunnels: {hidden}")
    return _tunnel.select(tunnels, wanted)
