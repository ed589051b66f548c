# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations of a simulated account for tests, step by step, by runs on localhost or with a device."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client, Connection
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import Options
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Claim
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._run import Memory
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import State
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Store

from tests.harness.simulator import Simulator
from tests.unit.plugins.plugin_utils.memory import MemoryStore

TUNNELS = 8
DEVICE = "paris"
SET = {"route": "psk_set", "validate_only": False}
LOST = {**SET, "status": 503, "when": "before", "count": 0}


def make(simulator: Simulator, store: Store, **fields: Any) -> Rotation:
    """A rotation of an account, by one run whose lease does not end."""
    connection = Connection(simulator.account, simulator.token, base_url=simulator.base_url, retries=0)
    given: dict[str, Any] = {"claim": claim, "say": str, **fields}
    return Rotation(client=Client(connection), store=store, **given)


def claim(rotation_id: str) -> Claim:
    now = time.time()
    return Claim(rotation_id, "this run", now, now + 900)


def options(**fields: Any) -> Options:
    given = {"hosts": frozenset(["localhost"]), "force": True, "now": time.time_ns(), "unknown_psk": "rotate"}
    return Options(**{**given, "owner": "this run", **fields})


def with_devices(*hosts: str, **fields: Any) -> Options:
    """The same on hosts that have device tasks, and a reach task."""
    return options(hosts=frozenset(hosts), devices=frozenset(hosts), reach=dict.fromkeys(hosts, "reach.yml"), **fields)


def begin(rotation: Rotation, *, preflight: bool = True, **fields: Any) -> State:
    """Begins on localhost, so that the first step does all of it."""
    wanted = options(**fields)
    rotation = replace(rotation, force=wanted.force)
    return rotation.begin("r1", wanted, Memory(claims={"localhost": ["all"]}), preflight=preflight)


def begin_with_device(rotation: Rotation, **fields: Any) -> State:
    """One device with two tunnels, so two waves."""
    pair = [x["name"] for x in rotation.client.list_tunnels()][:2]
    return rotation.begin("r2", with_devices(DEVICE, **fields), Memory(claims={DEVICE: pair}), preflight=False)


def begin_again(rotation: Rotation, rotation_id: str) -> State:
    """Rotates all from localhost once more."""
    return rotation.begin(rotation_id, options(), Memory(claims={"localhost": ["all"]}), preflight=False)


def wave(rotation: Rotation, state: State, index: int, *hosts: str) -> State:
    """The wave of these hosts, all of them reached."""
    return rotation.wave(state, index, hosts, dict.fromkeys(hosts, ""))


def statuses(state: State) -> list[str]:
    return sorted(x.status for x in state.all_results())


def truth(simulator: Simulator) -> dict[str, str]:
    return {x["id"]: x["psk"] for x in simulator.state()["tunnels"]}


def current(store: MemoryStore) -> dict[str, str]:
    return {i: x.current.psk for i, x in store.records.items() if x.current}


def done(state: State, **fields: Any) -> dict[str, Any]:
    """What a device says that has its keys."""
    return {DEVICE: {"wave": state.token, "done": True, "failed": {}, "finished": str(time.time()), **fields}}


def set_by_somebody(simulator: Simulator, tunnel_id: str, minutes: float = 2) -> None:
    """Sets another PSK, so long after now."""
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + minutes * 60))
    psk = "somebody-else-has-set-this-key-in-the-dashboard"
    simulator.patch_tunnel(tunnel_id, psk=psk, last_generated_on=later)
