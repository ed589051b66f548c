# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the module ipsec_tunnel_health_info does: tunnels as Cloudflare's data centres see them."""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _health, _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._ipsec_tunnel_info import choose
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import Result


def tunnel_health_info(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_tunnel_health_info: the chosen tunnels' states in a window that ends now."""
    params = module.params
    window = _psk.parse_age(params["window"], "window") or 0
    if not 60 <= window <= 7 * 86400:
        raise InputError("window must be between 60 seconds and 7 days")
    tunnels = choose(module, client.list_tunnels())
    until = time.time_ns() // _psk.NANO * _psk.NANO
    since, now = (_psk.format_time(x)[:19] + "Z" for x in (until - window * _psk.NANO, until))
    names = [x["name"] for x in tunnels if (x.get("health_check") or {}).get("enabled") is not False]
    found = _health.judge(tunnels, client.tunnel_health(names, since, now) if names else [])
    if not params["data_centers"]:
        for entry in found:
            del entry["colos"]
    return {
        "changed": False,
        "tunnel_health": found,
        "worst": _health.worst(x["state"] for x in found),
        "states": _health.count_states(found),
        "since": since,
        "until": now,
        "msg": _health.told(found),
    }
