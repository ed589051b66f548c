# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs an operation on the PSK escrow, on the controller and in Ansible's own process."""

from __future__ import annotations

import os
import time
import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import internal_error
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._backends import make_backend
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Claim
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_backend import EscrowError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._operations import Escrow
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._owner import is_dead, this_run

OPERATIONS = ("open", "read", "prepare", "record", "confirm", "roll_back", "release", "stick")
DEFAULT_LEASE = 900


class ActionModule(ActionBase):
    """Every result is censored: most hold PSKs."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the operation; an error leaves as one line without a secret."""
        result = super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec(
            argument_spec={
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
        try:
            found = self._operate(arguments)
        except (EscrowError, AnsibleError) as exc:
            result.update(failed=True, msg=f"psk_escrow {arguments['operation']}: {exc}")
            return result
        except Exception as exc:  # pylint: disable=broad-exception-caught
            result.update(failed=True, msg=f"psk_escrow {arguments['operation']}: {internal_error(exc).message}")
            return result
        result.update(found)
        result["_ansible_no_log"] = True
        return result

    def _operate(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        now, owner = time.time(), this_run()
        if owner is None:
            raise EscrowError("the run that asked for this has ended")
        claim = Claim(
            rotation_id=arguments["rotation_id"],
            owner=owner,
            now=now,
            until=now + arguments["lease"],
            is_dead=is_dead,
        )
        backend = make_backend(
            arguments["escrow"], arguments["account_id"], self._loader._vault.secrets, os.environ, self._loader
        )
        escrow = Escrow(backend, claim, dry=self._task.check_mode)
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
        return t.cast("dict[str, t.Any]", getattr(escrow, operation)(tunnels))
