# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What every module does around its work: the AnsibleModule, the client, and one safe way out for each error."""

from __future__ import annotations

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _health, _psk, _psk_batch, _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import (
    ArgumentSpec,
    connection_of,
    connection_spec,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import (
    REQUESTS_IMPORT_ERROR,
    Client,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    CloudflareError,
    InputError,
    internal_error,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import (
    check_psk,
    mark_as_secret,
    psks_in,
)

Result = dict[str, t.Any]


class PartialFailure(CloudflareError):
    """Some items failed. ``result`` holds what is known of all, to be returned with the error."""

    def __init__(self, message: str, result: Result, cause: CloudflareError | None = None) -> None:
        super().__init__(message)
        self.result = result
        self.cause = cause

    @property
    def failure(self) -> dict[str, t.Any]:
        """The parts of the error behind it, where there is one."""
        return super().failure if self.cause is None else self.cause.failure


def run(spec: ArgumentSpec, work: t.Callable[[AnsibleModule, Client], Result]) -> None:
    """Runs a module: reads its options, hands ``work`` a client, exits with its result or with one clear error.

    Nothing leaves but through here. An exception that reached Ansible would be printed with its text, no_log or not.
    """
    module = AnsibleModule(supports_check_mode=True, **connection_spec().merge(spec).to_kwargs())
    if REQUESTS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("requests"), exception=REQUESTS_IMPORT_ERROR)
    try:
        result = work(module, Client(connection_of(module.params)))
    except PartialFailure as exc:
        module.fail_json(msg=exc.message, failure=exc.failure, **exc.result)
    except CloudflareError as exc:
        module.fail_json(msg=exc.message, failure=exc.failure)
    except Exception as exc:  # pylint: disable=broad-exception-caught
        error = internal_error(exc)
        module.fail_json(msg=error.message, failure=error.failure)
    module.exit_json(**result)


# -- ipsec_tunnel ---------------------------------------------------------------------------------------------------


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


def apply_plan(client: Client, plan: _tunnel.Plan, *, validate_only: bool) -> dict[str, t.Any] | None:
    """Carries a plan out, or has the API validate it. Returns the tunnel as it is, or would be, afterwards."""
    if plan.action == "create":
        tunnel = _create(client, plan.body or {}, validate_only)
    elif plan.action == "update":
        tunnel = client.update_tunnel(plan.tunnel_id or "", plan.body or {}, validate_only=validate_only)
    elif plan.action == "delete":
        client.delete_tunnel(plan.tunnel_id or "", validate_only=validate_only)
        return None
    else:
        return plan.after
    return plan.after if validate_only else _tunnel.view(tunnel)


def _create(client: Client, body: dict[str, t.Any], validate_only: bool) -> dict[str, t.Any]:
    """Creates a tunnel once. A lost answer is settled by looking for the name, which is unique and was free before."""
    try:
        return client.create_tunnel(body, validate_only=validate_only)
    except CloudflareError as exc:
        if not exc.outcome_unknown:
            raise
        try:
            made = _tunnel.find(client.list_tunnels(), name=body["name"])
        except CloudflareError:
            raise exc from None
        if made is None:
            raise
        return dict(made)


# -- ipsec_tunnel_info ----------------------------------------------------------------------------------------------


def tunnel_info(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_tunnel_info: all tunnels, or those that ids, names or globs select."""
    tunnels = client.list_tunnels()
    chosen = tunnels if module.params["tunnels"] is None else _tunnel.select(tunnels, module.params["tunnels"])
    return {"changed": False, "ipsec_tunnels": [_tunnel.view(x) for x in chosen], "msg": f"{len(chosen)} tunnels"}


# -- ipsec_tunnel_health_info ----------------------------------------------------------------------------------------


def tunnel_health_info(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_tunnel_health_info: the chosen tunnels' states in a window that ends now."""
    params = module.params
    window = _psk.parse_age(params["window"], "window") or 0
    if not 60 <= window <= 7 * 86400:
        raise InputError("window must be between 60 seconds and 7 days")
    listed = client.list_tunnels()
    tunnels = listed if params["tunnels"] is None else _tunnel.select(listed, params["tunnels"])
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


# -- ipsec_psk ------------------------------------------------------------------------------------------------------


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
