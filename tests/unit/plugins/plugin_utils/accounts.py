# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tunnels as the API lists them, as far as groups and plans look."""

from __future__ import annotations

from typing import Any

from tests.unit.plugins.plugin_utils.records import LONG_AGO, at


def tunnel(
    tunnel_id: str,
    name: str | None = None,
    endpoint: str | None = None,
    minutes: float | None = LONG_AGO,
    **fields: Any,
) -> dict[str, Any]:
    """A tunnel whose PSK was set then; None: it has none. With `psk_metadata=...` that is what the API shows."""
    shown = {} if minutes is None else {"last_generated_on": at(minutes)}
    return {
        "id": tunnel_id,
        "name": name or tunnel_id,
        "customer_endpoint": endpoint,
        "psk_metadata": shown,
        **fields,
    }


def without_times(tunnel_id: str, name: str | None = None) -> dict[str, Any]:
    """A tunnel of which the API does not show when its PSK was set."""
    found = tunnel(tunnel_id, name)
    del found["psk_metadata"]
    return found
