# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a rotation hands over to a later job: references into the escrow, never a secret. Pure functions."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status

# The keys of the escrow option that say where, and none that says by which right.
ESCROW_KEYS = (
    "backend",
    "path",
    "persistent",
    "vault_id",
    "url",
    "mount",
    "namespace",
    "auth_mount",
    "ca_path",
    "validate_certs",
)
TUNNEL_KEYS = ("name", "status", "reason", "applied_on", "generation")


def handover(
    summaries: Mapping[str, Mapping[str, t.Any]], escrow: Mapping[str, t.Any], account_id: str | None
) -> dict[str, t.Any]:
    """``{version, account_id, escrow, failed, changed, rotation_ids, hosts: {host: {message, tunnels: {id: ...}}}}``.

    ``summaries`` are the hosts' psk_rotation_summary. Hosts and tunnels are dictionaries, because set_stats appends
    one list to another; tunnels that stayed as they are, are left out, because a controller keeps all of it for ever.
    """
    return {
        "version": 1,
        "account_id": account_id,
        "escrow": {key: escrow[key] for key in ESCROW_KEYS if escrow.get(key) is not None},
        "changed": sum(x["changed"] for x in summaries.values()),
        "failed": sum(x["failed"] for x in summaries.values()),
        "rotation_ids": {x["rotation_id"]: host for host, x in summaries.items() if x["rotation_id"]},
        "hosts": {host: _of_host(x) for host, x in summaries.items()},
    }


def _of_host(summary: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        "message": summary["message"],
        "changed": summary["changed"],
        "failed": summary["failed"],
        "tunnels": {
            tunnel_id: {
                **{key: known[key] for key in TUNNEL_KEYS},
                "to_configure": known["status"] in _status.TO_CONFIGURE,
            }
            for tunnel_id, known in summary["by_tunnel"].items()
            if known["status"] != _status.UNCHANGED
        },
    }
