# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the module ipsec_tunnel does: one tunnel as it should be."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import Result
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import check_psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_apply import apply_plan


def ensure_tunnel(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_tunnel: fetch, plan, write (or ask the API to validate), normalise."""
    params = module.params
    _tunnel.check_options(params)
    if params.get("psk") is not None:
        check_psk(params["psk"], "psk", params["psk_charset"])
    current = _tunnel.find(client.list_tunnels(), tunnel_id=params["id"], name=params["name"])
    where = f"tunnel {params['name'] or params['id']!r}"
    plan = _tunnel.plan(current, params, update_psk=params["update_psk"], where=where)
    after = apply_plan(client, plan, validate_only=module.check_mode)
    result: Result = {
        "changed": plan.changed,
        "action": plan.action,
        "ipsec_tunnel": after,
        "msg": f"tunnel {(after or plan.before or params)['name']!r}: {plan.action}",
    }
    if module._diff:
        result["diff"] = _tunnel.diff(plan)
    return result
