# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a rotation tells: the results that device tasks use, and the summary that anybody may read. Pure functions."""

from __future__ import annotations

import typing as t
from collections.abc import Container, Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import inside_addresses
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import HARMLESS

# Statuses with which Cloudflare holds another PSK than before, or may, or would after a real run.
CHANGED = ("applied", "confirmed", "promoted", "in_doubt", "rolling_back", "rolled_back", "rollback_failed", "planned")

Entry = dict[str, t.Any]


def first_result(tunnel: Mapping[str, t.Any], entry: Mapping[str, t.Any], record: Mapping[str, t.Any] | None) -> Entry:
    """What is known of a tunnel before anything is done: its result if nothing is.

    ``tunnel`` is a view of it, ``entry`` is out of the plan, ``record`` out of the escrow, with its PSK.
    """
    record = record or {}
    cloudflare, customer, prefix_length = inside_addresses(tunnel["interface_address"])
    cloudflare6, customer6, prefix_length6 = inside_addresses(tunnel["interface_address6"])
    ipsec_id = record.get("ipsec_id") or _ipsec_id(tunnel)
    return {
        "id": tunnel["id"],
        "name": tunnel["name"],
        "host": entry["host"],
        "group": entry["group"],
        "status": entry["status"],
        "changed": False,
        "reason": entry["reason"],
        "psk": record.get("psk"),
        "ipsec_id": ipsec_id,
        "ike_ids": {
            **_ike_ids(tunnel["remote_identities"]["fqdn_id"], tunnel["remote_identities"]["user_id"], ipsec_id),
            "custom_fqdn": (tunnel["custom_remote_identities"] or {}).get("fqdn_id"),
        },
        "cloudflare_endpoint": tunnel["cloudflare_endpoint"],
        "customer_endpoint": tunnel["customer_endpoint"],
        "interface_address": tunnel["interface_address"],
        "cloudflare_inside_address": cloudflare,
        "customer_inside_address": customer,
        "inside_prefix_length": prefix_length,
        "cloudflare_inside_address6": cloudflare6,
        "customer_inside_address6": customer6,
        "inside_prefix_length6": prefix_length6,
        "replay_protection": tunnel["replay_protection"],
        "bgp": tunnel["bgp"],
        "applied_on": record.get("applied_on"),
        "confirmed_on": record.get("confirmed_on"),
        "generation": record.get("generation"),
        "exposure_seconds": None,
    }


def result_after(result: Mapping[str, t.Any], outcome: Mapping[str, t.Any]) -> Entry:
    """The result once a step of the rotation has come to ``outcome``; what that does not say stays."""
    told = {key: outcome[key] for key in _TOLD if outcome.get(key) is not None}
    after = {**result, **told, "changed": outcome["status"] in CHANGED}
    if told.get("ipsec_id"):
        known = result["ike_ids"]
        after["ike_ids"] = {**known, **_ike_ids(known["fqdn"], known["user_fqdn"], told["ipsec_id"])}
    return after


# What an outcome may say anew.
_TOLD = (
    "status",
    "reason",
    "psk",
    "ipsec_id",
    "applied_on",
    "confirmed_on",
    "generation",
    "exposure_seconds",
)


def _ipsec_id(tunnel: Mapping[str, t.Any]) -> str | None:
    """``<account number>_<tunnel id>``. The number is found in the generated FQDN only, not in the account id."""
    labels = (tunnel["remote_identities"]["fqdn_id"] or "").split(".")
    return f"{labels[1]}_{labels[0]}" if len(labels) > 2 and labels[0] == tunnel["id"] else None


def _ike_ids(fqdn: str | None, user_fqdn: str | None, ipsec_id: str | None) -> Entry:
    """The identities by which the device may present itself; those that the API does not show follow from another."""
    number, dummy, suffix = (ipsec_id or "").partition("_")
    fqdn = fqdn or (f"{suffix}.{number}.ipsec.cloudflare.com" if suffix else None)
    return {"fqdn": fqdn, "user_fqdn": user_fqdn or (f"ipsec@{fqdn}" if fqdn else None), "key_id": ipsec_id}


def summary(found: Sequence[Mapping[str, t.Any]], waves: int, rotation_id: str, mode: str = "rotate") -> Entry:
    """Counts by status and a line a tunnel, without any secret: safe for logs, set_stats and reports.

    With the mode ``rollback`` a tunnel that was rolled back is as it should be.
    """
    fine = (*HARMLESS, "rolled_back") if mode == "rollback" else HARMLESS
    counts: dict[str, int] = {}
    for result in found:
        counts[result["status"]] = counts.get(result["status"], 0) + 1
    exposures = sorted(x["exposure_seconds"] for x in found if x["exposure_seconds"] is not None)
    return {
        "rotation_id": rotation_id,
        "tunnels": len(found),
        "waves": waves,
        "changed": sum(1 for x in found if x["changed"]),
        "failed": sum(1 for x in found if x["status"] not in fine),
        "statuses": dict(sorted(counts.items())),
        "message": ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "no tunnels",
        "failures": failures(found, fine),
        "exposure_p50_seconds": _percentile(exposures, 50),
        "exposure_p95_seconds": _percentile(exposures, 95),
        "by_tunnel": {
            x["id"]: {
                key: x[key] for key in ("name", "host", "status", "reason", "applied_on", "confirmed_on", "generation")
            }
            for x in found
        },
    }


def failures(found: Sequence[Mapping[str, t.Any]], fine: Container[str] = HARMLESS) -> str:
    """One line that names the tunnels that are not done; empty when all are."""
    bad = [x for x in found if x["status"] not in fine]
    if not bad:
        return ""
    named = "; ".join(f"{x['name']} {x['status']}: {x['reason']}" for x in bad[:10])
    more = f"; and {len(bad) - 10} more" if len(bad) > 10 else ""
    return f"{len(bad)} of {len(found)} tunnels are not done: {named}{more}"


def _percentile(values: Sequence[float], percent: int) -> float | None:
    if not values:
        return None
    return round(values[min(len(values) - 1, len(values) * percent // 100)], 3)
