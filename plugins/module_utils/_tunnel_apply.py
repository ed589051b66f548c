# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Carries out what was planned for one tunnel, and finds out what became of it when an answer is lost."""

from __future__ import annotations

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError


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
