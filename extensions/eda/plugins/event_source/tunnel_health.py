# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event source for ansible-rulebook: the health of IPsec tunnels of Cloudflare Magic WAN."""

from __future__ import annotations

DOCUMENTATION = r"""
---
short_description: Changes of the health of IPsec tunnels of Cloudflare Magic WAN
description:
  - Polls the health of the tunnels, and emits an event when the state of one has changed. The first look is the state
    to compare with, and emits nothing.
  - A state counts when it was seen O(confirmations) times in a row, so that one bad probe is no event.
  - When the API does not answer, or refuses the token, one event says so, and another one when that is over. The states
    of the tunnels stay what they were meanwhile.
  - The token comes from the environment variable E(CLOUDFLARE_API_TOKEN), or E(CLOUDFLARE_EMAIL) and
    E(CLOUDFLARE_API_KEY), and from nowhere else. It needs the permissions Magic WAN Read and Account Analytics Read.
  - The decision environment needs the Python library requests, and ansible-core.
options:
  interval:
    description: Seconds between two looks, 1 or more. A look costs one request, and one more for each 25 tunnels.
    type: float
    default: 60
  confirmations:
    description: How many looks in a row must agree on a state, 1 or more.
    type: int
    default: 2
  window:
    description: How far each look reaches back. A number with V(s), V(m), V(h), V(d) or V(w), from V(60s) on.
    type: str
    default: 5m
  tunnels:
    description: Which tunnels to watch, by identifiers, exact names, or globs over names. All by default.
    type: list
    elements: str
  account_id:
    description: Identifier of the account; E(CLOUDFLARE_ACCOUNT_ID) by default.
    type: str
  base_url:
    description: Address of the API; E(CLOUDFLARE_BASE_URL) by default.
    type: str
  timeout:
    description: Seconds that one request may take.
    type: float
    default: 60
  retries:
    description: How often a request is repeated before the look has failed.
    type: int
    default: 6
  ca_path:
    description: A PEM file of certificate authorities.
    type: str
  validate_certs:
    description: Whether certificates are checked.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Tunnels of the account
  hosts: all
  sources:
    - name: Health of the tunnels
      magicwan.cloudflare.tunnel_health:
        interval: 60
        tunnels: ["ber-*"]
  rules:
    - name: A tunnel is down
      condition: event.tunnel_health.state == "down"
      action:
        debug:
          msg: "{{ event.tunnel_health.name }} is down since {{ event.tunnel_health.seen_on }}"
    - name: Nobody watches
      condition: event.tunnel_health_source.available == false
      action:
        debug:
          msg: "{{ event.tunnel_health_source.reason }}"
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# ansible-rulebook runs this file without Ansible's loader, so what is to be imported from has to be found here.
ROOT = Path(__file__).absolute().parents[7]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _health, _psk, _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import connection_of
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import REQUESTS_IMPORT_ERROR, Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    CloudflareError,
    InputError,
    internal_error,
)

DEFAULTS: dict[str, Any] = {
    "interval": 60.0,
    "confirmations": 2,
    "window": "5m",
    "tunnels": None,
    "account_id": None,
    "base_url": None,
    "timeout": 60.0,
    "retries": 6,
    "ca_path": None,
    "validate_certs": True,
}
SECRETS = {"api_token": "CLOUDFLARE_API_TOKEN", "api_email": "CLOUDFLARE_EMAIL", "api_key": "CLOUDFLARE_API_KEY"}
SHORTEST_INTERVAL = 1.0
Event = dict[str, Any]
Seen = dict[str, Any]


class Watch:
    """What is known of the tunnels: by id the state that was told, and one that is seen and not yet told."""

    def __init__(self, confirmations: int) -> None:
        self._confirmations = confirmations
        self._told: dict[str, str] = {}
        self._seen: dict[str, tuple[str, int]] = {}
        self._available = True

    def look(self, tunnels: Mapping[str, Seen], now: int) -> list[Event]:
        """The events of a look; ``now`` is in nanoseconds since 1970. A tunnel that is gone is forgotten."""
        events = self._availability(True, None)
        for number in set(self._told) - set(tunnels):
            del self._told[number]
        for number, tunnel in tunnels.items():
            state = tunnel["state"]
            before = self._told.setdefault(number, state)
            last, times = self._seen.get(number, (before, self._confirmations))
            self._seen[number] = (state, times + 1 if state == last else 1)
            if state != before and self._seen[number][1] >= self._confirmations:
                self._told[number] = state
                events.append(
                    {"tunnel_health": {**tunnel, "before": before, "seen_on": _psk.format_time(now)[:19] + "Z"}}
                )
        return events

    def failed(self, reason: str) -> list[Event]:
        """The event of a look that failed, once until one succeeds."""
        return self._availability(False, reason)

    def _availability(self, available: bool, reason: str | None) -> list[Event]:
        changed, self._available = available != self._available, available
        return [{"tunnel_health_source": {"available": available, "reason": reason}}] if changed else []


def options(args: Mapping[str, Any]) -> dict[str, Any]:
    """The options with their defaults. Raises InputError."""
    for name, variable in SECRETS.items():
        if name in args:
            raise InputError(f"{name} does not belong into a rulebook: set {variable} in the environment")
    unknown = sorted(set(args) - set(DEFAULTS))
    if unknown:
        raise InputError(f"{unknown[0]} is no option of tunnel_health; it knows {', '.join(DEFAULTS)}")
    found = {**DEFAULTS, **args}
    for name, kind, least in (("interval", float, SHORTEST_INTERVAL), ("confirmations", int, 1), ("retries", int, 0)):
        try:
            found[name] = kind(found[name])
        except (TypeError, ValueError):
            raise InputError(f"{name} must be a number") from None
        if found[name] < least:
            raise InputError(f"{name} must be {least:g} or more")
    if not isinstance(found["validate_certs"], bool):
        raise InputError("validate_certs must be true or false")
    window = _psk.parse_age(found["window"], "window") or 0
    if not 60 <= window <= 7 * 86400:
        raise InputError("window must be between 60 seconds and 7 days")
    found["window"] = window
    return found


def client_of(chosen: Mapping[str, Any], environment: Mapping[str, str]) -> Client:
    """A client with the environment's credentials. Raises InputError."""
    if REQUESTS_IMPORT_ERROR:
        raise InputError("the Python library requests is missing in the decision environment: install it with pip")
    params = {name: environment.get(variable) for name, variable in SECRETS.items()}
    params["account_id"] = chosen["account_id"] or environment.get("CLOUDFLARE_ACCOUNT_ID")
    params["base_url"] = chosen["base_url"] or environment.get("CLOUDFLARE_BASE_URL")
    connection = {name: chosen[name] for name in ("timeout", "retries", "ca_path", "validate_certs")}
    return Client(connection_of({**params, **connection, "timeout": float(chosen["timeout"])}, environment))


def read(client: Client, chosen: Mapping[str, Any], account_id: str, now: int) -> dict[str, Seen]:
    """The watched tunnels by id, with their state now."""
    listed = client.list_tunnels()
    tunnels = listed if chosen["tunnels"] is None else _tunnel.select(listed, chosen["tunnels"])
    until = now // _psk.NANO * _psk.NANO
    since, end = (_psk.format_time(x)[:19] + "Z" for x in (until - chosen["window"] * _psk.NANO, until))
    names = [x["name"] for x in tunnels if (x.get("health_check") or {}).get("enabled") is not False]
    judged = _health.judge(tunnels, client.tunnel_health(names, since, end) if names else [])
    by_id = {x["id"]: x for x in tunnels}
    return {x["id"]: _seen(x, by_id[x["id"]], account_id, now) for x in judged}


def _seen(judged: Mapping[str, Any], tunnel: Mapping[str, Any], account_id: str, now: int) -> Seen:
    set_on = _psk.generated_on(tunnel)
    made = _psk.parse_time(set_on)
    seen = {
        "account_id": account_id,
        "id": judged["id"],
        "name": judged["name"],
        "customer_endpoint": tunnel.get("customer_endpoint"),
        "state": judged["state"],
        "reason": judged["reason"],
        "psk_set_on": set_on,
    }
    # Left out where it is not known, so that no rule takes that for new.
    return seen if made is None else {**seen, "psk_age_seconds": max(0, (now - made) // _psk.NANO)}


async def main(queue: asyncio.Queue[Event], args: dict[str, Any]) -> None:
    """Watch for ever; what is wrong with the options ends it with one line."""
    chosen = options(args)
    client = client_of(chosen, os.environ)
    account_id = chosen["account_id"] or os.environ["CLOUDFLARE_ACCOUNT_ID"]
    watch = Watch(chosen["confirmations"])
    while True:
        try:
            now = time.time_ns()
            events = watch.look(await asyncio.to_thread(read, client, chosen, account_id, now), now)
        except CloudflareError as exc:
            events = watch.failed(exc.message)
        except Exception as exc:
            events = watch.failed(internal_error(exc).message)
        for event in events:
            await queue.put(event)
        await asyncio.sleep(chosen["interval"])
