# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the module ipsec_psk does: the PSKs of many tunnels."""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk, _psk_batch
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import PartialFailure, Result
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import mark_as_secret, psks_in


def ensure_psks(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_psk. The action plugin gives every entry a PSK; it puts them back into the result, too,
    because a returned value that equals a no_log option is destroyed."""
    params = module.params
    max_age = _psk.parse_age(params["max_age"])
    if params["batch_size"] < 1:
        raise InputError("batch_size must be 1 or more")
    entries = _psk.resolve(params["psks"], client.list_tunnels(), params["psk_charset"])
    now = time.time_ns()
    pending, results = [], []
    for entry in entries:
        is_due, reason = _psk.due(
            entry["baseline"],
            applied_on=entry["applied_on"],
            max_age=max_age,
            rotate=params["state"] == "rotated",
            now=now,
        )
        result = {"id": entry["id"], "name": entry["name"], "changed": False, "psk": None}
        if is_due:
            if entry["psk"] is None:
                raise InputError(f"tunnel {entry['name']!r}: its PSK is missing; the module's action plugin makes it")
            pending.append(entry)
            result.update(_psk.outcome("planned", reason))
        else:
            result.update(_psk.outcome("unchanged", reason, applied_on=entry["baseline"]))
        results.append(result)
    mark_as_secret(psks_in(pending))
    by_id = {result["id"]: result for result in results}
    failure = None
    for batch in _psk.batches(pending, params["batch_size"]):
        if failure is not None:
            outcomes = {x["id"]: _psk.outcome("unapplied", "not sent, because an earlier batch failed") for x in batch}
        else:
            outcomes, failure = _psk_batch.set_batch(client, batch, validate_only=module.check_mode)
        for tunnel_id, found in outcomes.items():
            found["reason"] = found["reason"] or by_id[tunnel_id]["reason"]
            by_id[tunnel_id].update(found, changed=found["status"] in ("planned", "applied", "in_doubt"))
    bad = any(x["status"] in ("unapplied", "in_doubt") for x in results)
    result = {
        "changed": any(x["changed"] for x in results),
        "psks": results,
        "msg": failure.message if failure else _psk.summary(results),
    }
    if failure is not None or bad:
        raise PartialFailure(result.pop("msg"), result, failure)
    return result
