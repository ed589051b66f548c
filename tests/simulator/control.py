# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The /_sim routes: the truth, the journal, faults, and changes from outside. No authentication."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .access import RateLimit
from .answers import dumps
from .faults import FaultBook
from .journal import Journal
from .model import Renderer
from .seed import COLOS
from .state import Store

_HEALTH = {"healthy": 1.0, "degraded": 0.5, "down": 0.0}
HealthState = Literal["healthy", "degraded", "down"]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class Reset(_Strict):
    tunnels: int | None = Field(default=None, ge=0)
    seed: int | None = None


class Change(_Strict):
    """A change to one tunnel that did not come through the API. A customer endpoint of null is taken away."""

    psk: str | None = Field(default=None, min_length=1)
    last_generated_on: str | None = Field(default=None, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")
    name: str | None = Field(default=None, min_length=1)
    description: str | None = None
    customer_endpoint: str | None = None
    health: HealthState | dict[str, HealthState] | None = None
    delete: bool = False


def ids_in(raw: bytes) -> list[str]:
    """The tunnel ids in a body of POST /psk, however malformed it may be."""
    try:
        return [str(entry["id"]) for entry in json.loads(raw)["psks"]]
    except (ValueError, TypeError, KeyError):
        return []


class Control:
    """Handlers of the /_sim routes."""

    def __init__(self, store: Store, journal: Journal, faults: FaultBook, limit: RateLimit, renderer: Renderer) -> None:
        self._store = store
        self._journal = journal
        self._faults = faults
        self._limit = limit
        self._renderer = renderer

    async def state(self, _: web.Request) -> web.Response:
        store = self._store
        tunnels = [self._renderer.truth(tunnel) for tunnel in store.tunnels.values()]
        return _json(
            {
                "tunnels": tunnels,
                "requests": store.count.requests,
                "writes": store.count.writes,
                "psk_history": store.psk_history,
            }
        )

    async def counters(self, _: web.Request) -> web.Response:
        return _json(asdict(self._store.count))

    async def reset(self, request: web.Request) -> web.Response:
        wish = Reset.model_validate_json(await request.read() or b"{}")
        self._store.reset(wish.tunnels, wish.seed)
        self._faults.clear()
        self._limit.reset()
        return _json({"tunnels": len(self._store.tunnels)})

    async def show_faults(self, _: web.Request) -> web.Response:
        return _json(self._faults.shown())

    async def arm_faults(self, request: web.Request) -> web.Response:
        self._faults.arm(await request.read())
        return _json(self._faults.shown())

    async def clear_faults(self, _: web.Request) -> web.Response:
        self._faults.clear()
        return _json([])

    async def release(self, _: web.Request) -> web.Response:
        self._faults.release()
        return _json({})

    async def change(self, request: web.Request) -> web.Response:
        change = Change.model_validate_json(await request.read())
        tunnel = self._store.tunnels.get(request.match_info["tunnel_id"])
        if tunnel is None:
            return _json({"error": "no such tunnel"}, 404)
        if change.delete:
            self._store.remove(tunnel.id)
            return _json({})
        stamp = self._store.clock.stamp()
        if change.psk is not None:
            tunnel = tunnel.with_psk(change.psk, stamp, stamp)
        fields: dict[str, Any] = change.model_dump(
            include={"name", "description", "customer_endpoint", "last_generated_on"}, exclude_unset=True
        )
        if fields or change.psk is not None:
            fields["modified_on"] = stamp
        if change.health is not None:
            states = dict.fromkeys(COLOS, change.health) if isinstance(change.health, str) else change.health
            fields["health"] = {**tunnel.health, **{colo: _HEALTH[state] for colo, state in states.items()}}
        tunnel = replace(tunnel, **fields)
        self._store.put(tunnel)
        return _json(self._renderer.truth(tunnel))

    async def delete(self, request: web.Request) -> web.Response:
        if request.match_info["tunnel_id"] not in self._store.tunnels:
            return _json({"error": "no such tunnel"}, 404)
        self._store.remove(request.match_info["tunnel_id"])
        return _json({})

    async def unknown(self, _: web.Request) -> web.Response:
        return _json({"error": "no such /_sim route"}, 404)

    async def journal(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        wait = float(request.query.get("wait", "0"))
        entries = await self._journal.wait(since, wait) if wait > 0 else self._journal.since(since)
        return _json({"entries": entries, "last": self._journal.last})


def add_routes(
    app: web.Application, store: Store, journal: Journal, faults: FaultBook, limit: RateLimit, renderer: Renderer
) -> None:
    control = Control(store, journal, faults, limit, renderer)
    app.router.add_get("/_sim/state", control.state)
    app.router.add_get("/_sim/counters", control.counters)
    app.router.add_post("/_sim/reset", _explained(control.reset))
    app.router.add_get("/_sim/faults", control.show_faults)
    app.router.add_post("/_sim/faults", _explained(control.arm_faults))
    app.router.add_delete("/_sim/faults", control.clear_faults)
    app.router.add_post("/_sim/release", control.release)
    app.router.add_patch("/_sim/tunnels/{tunnel_id}", _explained(control.change))
    app.router.add_delete("/_sim/tunnels/{tunnel_id}", control.delete)
    app.router.add_get("/_sim/journal", _explained(control.journal))
    app.router.add_route("*", "/_sim{path:.*}", control.unknown)


_Handler = Callable[[web.Request], Awaitable[web.Response]]


def _explained(handler: _Handler) -> _Handler:
    """Turn a malformed body or query into a 400 that says what is wrong."""

    async def wrapped(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ValidationError as exc:
            details = exc.errors(include_url=False, include_context=False, include_input=False)
            return _json({"error": "malformed", "details": details}, 400)
        except ValueError as exc:
            return _json({"error": str(exc)}, 400)

    return wrapped


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=dumps(value), status=status, content_type="application/json")
