# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Repairs records of the PSK escrow."""

from __future__ import annotations

from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _upkeep
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._controller import (
    DEFAULT_LEASE,
    Arguments,
    ControllerAction,
    Result,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import find

OPERATIONS = ("mark_gone", "forget", "unstick")


class ActionModule(ControllerAction):
    """One repair of the records of any number of tunnels. Its result says what was not repaired, and has to be seen."""

    holds_psks = False

    def spec(self) -> ArgumentSpec:
        """See the module's documentation."""
        return ArgumentSpec(
            {
                "escrow": {"type": "dict", "required": True},
                "account_id": {"type": "str"},
                "operation": {"type": "str", "choices": list(OPERATIONS), "required": True},
                "tunnels": {"type": "list", "elements": "str", "required": True},
            }
        )

    def about(self, message: str, arguments: Arguments) -> str:
        """Names the operation, which the task's name need not say."""
        return f"psk_escrow {arguments['operation']}: {message}"

    def work(self, arguments: Arguments) -> Result:
        """Repairs the records."""
        if not arguments["tunnels"]:
            raise InputError("tunnels is empty: name the tunnels by id, or by the name that the escrow has")
        rotation_id = self.rotation_id()
        with self.store(arguments) as store:
            store.check()
            mover = Mover(store, lambda: self.claim(rotation_id, DEFAULT_LEASE))
            ids = list(find(store, arguments["tunnels"]))
            operation = arguments["operation"]
            if operation == "forget":
                kept = _upkeep.forget(mover, ids)
                done = [i for i in ids if i not in kept]
                return _told(done, kept, bool(done))
            moves = _upkeep.unstick(mover, ids) if operation == "unstick" else _upkeep.mark_gone(mover, ids)
            return _told(list(moves.moved), {i: str(x) for i, x in moves.refused.items()}, moves.changed)


def _told(done: list[str], refused: dict[str, str], changed: bool) -> Result:
    """What was done; a tunnel that could not be repaired fails the task."""
    message = f"{len(done)} records repaired"
    if refused:
        message += "; not repaired: " + "; ".join(f"{i}: {why}" for i, why in refused.items())
    return {"changed": changed, "tunnels": done, "refused": refused, "failed": bool(refused), "msg": message}
