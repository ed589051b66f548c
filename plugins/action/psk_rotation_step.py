# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a step of the role psk_rotation."""

from __future__ import annotations

import json
import os
import time

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import (
    ArgumentSpec,
    connection_of,
    connection_spec,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import REQUESTS_IMPORT_ERROR, Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import parse_age
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._backends import SPECS
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._controller import (
    DEFAULT_LEASE,
    Arguments,
    ControllerAction,
    Result,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._gate import HealthGate, parse_gate
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import MODES, Options, check_hooks
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import summary
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation, State

OPERATIONS = ("begin", "wave", "turn_back", "settle")


class ActionModule(ControllerAction):
    """One step for all tunnels of a batch of hosts; the result is the state for the next one."""

    def spec(self) -> ArgumentSpec:
        """See the module's documentation."""
        own = {
            "operation": {"type": "str", "choices": list(OPERATIONS), "required": True},
            "state": {"type": "dict"},
            "escrow": {"type": "dict", "required": True},
            "lease": {"type": "int", "default": DEFAULT_LEASE},
            "force": {"type": "bool", "default": False},
            "health": {"type": "dict", "default": {}},
            "mode": {"type": "str", "choices": list(MODES), "default": "rotate"},
            "hosts": {"type": "list", "elements": "str", "default": []},
            "claims": {"type": "dict", "default": {}},
            "hooks": {"type": "dict", "default": {}},
            "summaries": {"type": "dict", "default": {}},
            "max_age": {"type": "str"},
            "wave_size": {"type": "int", "default": 1000},
            "canary": {"type": "int", "default": 0},
            "group_by": {"type": "raw", "default": "auto"},
            "max_failures": {"type": "str", "default": "0"},
            "rollback_id": {"type": "str", "default": ""},
            "preflight": {"type": "bool", "default": True},
            "index": {"type": "int", "default": 0},
            "reached": {"type": "dict", "default": {}},
            "evidence": {"type": "dict", "default": {}},
        }
        return connection_spec().merge(
            ArgumentSpec(own, required_if=[("operation", x, ("state",)) for x in OPERATIONS if x != "begin"])
        )

    def work(self, arguments: Arguments) -> Result:
        """Takes the step."""
        if REQUESTS_IMPORT_ERROR is not None:
            raise InputError(missing_required_lib("requests"))
        if arguments["lease"] <= 0:
            raise InputError("psk_rotation_lease must be 1 or more seconds")
        backend = arguments["escrow"].get("backend") or ""
        if backend not in SPECS:
            raise InputError(f"psk_rotation_escrow.backend must be file, vault_kv2 or none, not {backend!r}")
        client, gate = Client(connection_of(arguments)), parse_gate(arguments["health"], arguments["lease"])
        rotation = Rotation(
            client=client,
            backend=self.backend(arguments),
            claim=lambda rotation_id: self.claim(rotation_id, arguments["lease"]),
            say=self._display.display,
            gate=HealthGate(client, gate, self._display.display) if gate else None,
            force=arguments["force"],
            dry=self._task.check_mode,
        )
        return _shown(self._step(rotation, arguments))

    def _step(self, rotation: Rotation, arguments: Arguments) -> State:
        operation = arguments["operation"]
        if operation == "begin":
            return self._begin(rotation, arguments)
        state = json.loads(arguments["state"]["memory"])
        if operation == "wave":
            token = f"{state['rotation_id']}/{arguments['index']}"
            reached = [host for host in arguments["hosts"] if arguments["reached"].get(host) == token]
            return rotation.wave(state, arguments["index"], reached)
        if operation == "turn_back":
            return rotation.turn_back(state)
        return rotation.settle(state, arguments["evidence"])

    def _begin(self, rotation: Rotation, arguments: Arguments) -> State:
        confirmation, has_devices = check_hooks(arguments["hooks"], os.path.isfile)
        keeps = arguments["escrow"]["backend"] != "none"
        if not keeps and arguments["mode"] == "rotate":
            self._display.warning("psk_rotation: without an escrow, a crash between Cloudflare and a device loses keys")
        options = Options(
            hosts=frozenset(arguments["hosts"]),
            max_age=parse_age(arguments["max_age"], "psk_rotation_max_age"),
            force=arguments["force"],
            wave_size=arguments["wave_size"],
            canary=arguments["canary"],
            group_by=arguments["group_by"],
            confirmation=confirmation,
            max_failures=arguments["max_failures"],
            summaries=arguments["summaries"],
            adopt=keeps,
            mode=arguments["mode"],
            rollback_id=arguments["rollback_id"],
            now=time.time_ns(),
        )
        return rotation.begin(options, arguments["claims"], has_devices=has_devices, preflight=arguments["preflight"])


def _shown(state: State) -> Result:
    """The state as Ansible carries it: what is large as JSON, because Ansible looks at each value that it carries."""
    flying = {x["id"] for x in state["in_flight"]}
    wave_results = {host: [x for x in own if x["id"] in flying] for host, own in state["results"].items()}
    return {
        "rotation_id": state["rotation_id"],
        "has_devices": state["has_devices"],
        "wave_hosts": [sorted({x["host"] for x in wave}) for wave in state["waves"]],
        "results": {host: json.dumps(own) for host, own in state["results"].items()},
        "wave_results": {host: json.dumps(own) for host, own in wave_results.items() if own},
        "summaries": {
            host: json.dumps(summary(own, len(state["waves"]), state["rotation_id"], state["mode"]))
            for host, own in state["results"].items()
        },
        "turning_back": len(state["turn_back"]),
        "token": state["token"],
        "changed": state["changed"],
        "memory": json.dumps(state),
    }
