# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs an operation on the PSK escrow."""

from __future__ import annotations

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._controller import (
    DEFAULT_LEASE,
    Arguments,
    ControllerAction,
    Result,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._operations import Escrow

OPERATIONS = ("open", "read", "prepare", "record", "confirm", "roll_back", "release", "stick")


class ActionModule(ControllerAction):
    """One operation on the records of any number of tunnels."""

    def spec(self) -> ArgumentSpec:
        """See the module's documentation."""
        return ArgumentSpec(
            {
                "escrow": {"type": "dict", "required": True},
                "account_id": {"type": "str"},
                "operation": {"type": "str", "choices": list(OPERATIONS), "required": True},
                "tunnels": {"type": "list", "elements": "raw"},
                "results": {"type": "list", "elements": "dict", "default": []},
                "failure": {"type": "str"},
                "rotation_id": {"type": "str", "default": ""},
                "lease": {"type": "int", "default": DEFAULT_LEASE},
                "force": {"type": "bool", "default": False},
                "promote": {"type": "bool", "default": False},
                "release": {"type": "bool", "default": False},
                "with_psks": {"type": "bool", "default": False},
            }
        )

    def about(self, message: str, arguments: Arguments) -> str:
        """Names the operation, which the task's name need not say."""
        return f"psk_escrow {arguments['operation']}: {message}"

    def work(self, arguments: Arguments) -> Result:
        """Runs the operation."""
        claim = self.claim(arguments["rotation_id"], arguments["lease"])
        escrow = Escrow(self.backend(arguments), claim, dry=self._task.check_mode)
        operation, tunnels = arguments["operation"], arguments["tunnels"]
        if operation == "open":
            return escrow.open(tunnels)
        if operation == "read":
            return escrow.read(tunnels, with_psks=arguments["with_psks"])
        tunnels = tunnels or []
        if operation == "prepare":
            return escrow.prepare(tunnels, force=arguments["force"])
        if operation == "record":
            return escrow.record(
                tunnels,
                arguments["results"],
                arguments["failure"],
                promote=arguments["promote"],
                release=arguments["release"],
            )
        return t.cast("Result", getattr(escrow, operation)(tunnels))
