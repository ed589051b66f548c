# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the module ipsec_tunnel does: one tunnel as it should be."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel, _tunnel_conflicts, _tunnel_plan
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import PartialFailure, Result
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_apply import (
    KeptError,
    apply_plan,
    warnings_of,
)


def ensure_tunnel(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_tunnel: fetch, plan, write (or ask the API to validate), normalise."""
    params = module.params
    _tunnel.check_options(params)
    tunnels = client.list_tunnels()
    current = _tunnel.find(tunnels, tunnel_id=params["id"], name=params["name"])
    where = f"tunnel {params['name'] or params['id']!r}"
    plan = _tunnel_plan.plan(current, params, update_psk=params["update_psk"], where=where)
    item = _tunnel_conflicts.Item(where, plan, params["psk"])
    _tunnel_conflicts.check([item], tunnels, psk_charset=params["psk_charset"])
    result: Result = {"changed": plan.changed, "action": plan.action}
    if module._diff:
        result["diff"] = _tunnel_plan.diff(plan)
    try:
        written = apply_plan(client, plan, validate_only=module.check_mode)
    except CloudflareError as exc:
        result["changed"] = exc.outcome_unknown
        result["ipsec_tunnel"] = plan.before
        if isinstance(exc, KeptError):
            result["changed"] = exc.changed
            result["ipsec_tunnel"] = exc.tunnel
        raise PartialFailure(exc.message, result, exc) from None
    for warning in warnings_of([written]):
        module.warn(warning)
    name = (written.tunnel or plan.before or params)["name"]
    fields = ", ".join(_tunnel_plan.changes(plan))
    return {
        **result,
        "ipsec_tunnel": written.tunnel,
        "msg": f"tunnel {name!r}: {plan.action}" + (f" ({fields})" if fields else ""),
    }
