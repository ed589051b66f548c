# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the records of the PSK escrow, without secrets."""

from __future__ import annotations

from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._controller import (
    Arguments,
    ControllerAction,
    Result,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._shown import shown
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import find


class ActionModule(ControllerAction):
    """The records of all tunnels, or of some."""

    def spec(self) -> ArgumentSpec:
        """See the module's documentation."""
        return ArgumentSpec(
            {
                "escrow": {"type": "dict", "required": True},
                "account_id": {"type": "str"},
                "tunnels": {"type": "list", "elements": "str"},
            }
        )

    def about(self, message: str, arguments: Arguments) -> str:
        """Names the module, which the task's name need not say."""
        return f"psk_escrow_info: {message}"

    def work(self, arguments: Arguments) -> Result:
        """Reads the records."""
        wanted = arguments["tunnels"]
        with self.store(arguments) as store:
            found = store.load() if wanted is None else find(store, wanted, missing_ok=True)
        tunnels = [{"id": i, **shown(x.record), "history": list(x.record.history)} for i, x in found.items()]
        return {"changed": False, "tunnels": tunnels, "msg": f"{len(tunnels)} records"}
