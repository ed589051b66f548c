# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a step of the role psk_rotation."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from typing import Any

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
    check_lease,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._gate import HealthGate, parse_gate
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._hooks import check_hooks
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import MODES, Options
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import in_check, summary
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import State, load

OPERATIONS = ("begin", "wave", "roll_back", "settle")


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
            "max_age": {"type": "str"},
            "wave_size": {"type": "int", "default": 1000},
            "canary": {"type": "int", "default": 0},
            "group_by": {"type": "raw", "default": "auto"},
            "max_failures": {"type": "str", "default": "0"},
            "rollback_id": {"type": "str", "default": ""},
            "preflight": {"type": "bool", "default": True},
            "index": {"type": "int", "default": 0},
        }
        return connection_spec().merge(
            ArgumentSpec(own, required_if=[("operation", x, ("state",)) for x in OPERATIONS if x != "begin"])
        )

    def work(self, arguments: Arguments) -> Result:
        """Takes the step."""
        if REQUESTS_IMPORT_ERROR is not None:
            raise InputError(missing_required_lib("requests"))
        check_lease(arguments["lease"])
        backend = arguments["escrow"].get("backend") or ""
        if backend not in SPECS:
            raise InputError(f"psk_rotation_escrow.backend must be file, vault_kv2 or none, not {backend!r}")
        client, gate = Client(connection_of(arguments)), parse_gate(arguments["health"], arguments["lease"])
        state = load(arguments["state"]["memory"]) if arguments["operation"] != "begin" else None
        with self.store(arguments, state.overlay if state else None) as store:
            rotation = Rotation(
                client=client,
                store=store,
                claim=lambda rotation_id: self.claim(rotation_id, arguments["lease"]),
                say=self._display.display,
                gate=HealthGate(client, gate, self._display.display) if gate else None,
                force=arguments["force"],
                validate_only=self._task.check_mode,
            )
            after = self._begin(rotation, arguments) if state is None else self._step(rotation, state, arguments)
        return _shown(after, check=self._task.check_mode)

    def _step(self, rotation: Rotation, state: State, arguments: Arguments) -> State:
        if arguments["operation"] == "wave":
            wanted = f"{state.run_token}/{arguments['index']}"
            said = self._facts(arguments["hosts"], "__psk_rotation_reached")
            return rotation.wave(state, arguments["index"], [host for host in said if said[host] == wanted])
        if arguments["operation"] == "roll_back":
            return rotation.roll_back(state)
        return rotation.settle(state, self._facts({x.host for x in state.in_flight}, "__psk_rotation_evidence"))

    def _begin(self, rotation: Rotation, arguments: Arguments) -> State:
        hosts = arguments["hosts"]
        everybody = self.variables.get("ansible_play_hosts_all") or hosts
        confirmation, devices = check_hooks(self._facts(hosts, "__psk_rotation_hooks"), os.path.isfile)
        keeps = arguments["escrow"]["backend"] != "none"
        if not keeps and arguments["mode"] == "rotate":
            self._display.warning("psk_rotation: without an escrow, a crash between Cloudflare and a device loses keys")
        summaries = self._facts(everybody, "psk_rotation_summary")
        options = Options(
            hosts=frozenset(hosts),
            max_age=parse_age(arguments["max_age"], "psk_rotation_max_age"),
            force=arguments["force"],
            wave_size=arguments["wave_size"],
            canary=arguments["canary"],
            group_by=arguments["group_by"],
            confirmation=confirmation,
            max_failures=arguments["max_failures"],
            failed={host: found.get("failed", 0) for host, found in summaries.items()},
            sites=self._facts(everybody, "ipsec_tunnels_site"),
            adopt=keeps,
            mode=arguments["mode"],
            rollback_id=arguments["rollback_id"],
            now=time.time_ns(),
        )
        return rotation.begin(
            self.rotation_id(),
            options,
            self._facts(everybody, "__psk_rotation_claim", "psk_rotation_tunnels"),
            devices=devices,
            preflight=arguments["preflight"],
        )

    def _facts(self, hosts: Iterable[str], *names: str) -> dict[str, Any]:
        """The first of these variables that a host has, by host. Hosts that have none are left out."""
        found: dict[str, Any] = {}
        for host in hosts:
            variables = self.variables["hostvars"][host]
            name = next((x for x in names if x in variables), None)
            if name is not None and variables[name] is not None:
                found[host] = variables[name]
        return found


def _shown(state: State, *, check: bool) -> Result:
    """The state as Ansible carries it: what is large as JSON, because Ansible looks at each value that it carries."""
    flying = {x.id for x in state.in_flight}
    results = {host: [in_check(x) for x in own] if check else own for host, own in state.results.items()}
    told = {host: [x.to_dict() for x in own] for host, own in results.items()}
    wave_results = {host: [x for x in own if x["id"] in flying] for host, own in told.items()} if flying else {}
    return {
        "rotation_id": state.rotation_id,
        "has_devices": bool(state.devices),
        "wave_hosts": [sorted({x.host for x in wave}) for wave in state.waves],
        "results": {host: json.dumps(own) for host, own in told.items()},
        "wave_results": {host: json.dumps(own) for host, own in wave_results.items() if own},
        "summaries": {
            host: json.dumps(summary(own, len(state.waves), state.rotation_id, state.mode))
            for host, own in results.items()
        },
        "rolling_back": len(state.to_roll_back),
        "token": state.token,
        "run_token": state.run_token,
        "changed": state.changed,
        "memory": state.dump() if state.devices else "",
    }
