# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP side: one pipeline for every API request, and the /_sim routes beside it."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web

from . import control, graphql
from .access import Credentials, RateLimit
from .answers import Answer, Problem, dumps, error, failure
from .assumptions import Assumptions
from .faults import Fault, FaultBook
from .journal import Journal
from .model import Renderer
from .operations import OPERATIONS, Call
from .state import Store

BASE = "/client/v4"
ACCOUNT_NUMBER = 33145236
_MAX_BODY = 64 * 1024 * 1024
_CLIENT_CHECK_SECONDS = 0.05
_SHUTDOWN_SECONDS = 0.5
_COLLECTION = {"GET": "list", "POST": "create", "PUT": "bulk_update"}
_ITEM = {"GET": "get", "PUT": "update", "DELETE": "delete"}


class _Gone(Exception):
    """The client went away, or the fault cuts the connection."""


@dataclass
class Simulator:
    """Everything one simulated account needs."""

    store: Store
    journal: Journal
    faults: FaultBook
    credentials: Credentials
    assumptions: Assumptions
    limit: RateLimit = field(default_factory=lambda: RateLimit(1200, 300, 300))
    limited: bool = False
    latency: float = 0.0

    def __post_init__(self) -> None:
        assumed = self.assumptions
        self.renderer = Renderer(
            ACCOUNT_NUMBER,
            assumed.bidirectional_target_ignored,
            assumed.read_only_extras,
            assumed.unknown_fields != "none",
        )

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY)
        control.add_routes(app, self.store, self.journal, self.faults, self.limit, self.renderer)
        app.router.add_route("*", "/{path:.*}", self.handle)
        app.on_shutdown.append(self._stop)
        return app

    async def serve(self, host: str, port: int) -> tuple[web.AppRunner, int]:
        """Listen; returns what stops it (`cleanup`) and the port. A handler outlives its client, as at Cloudflare."""
        runner = web.AppRunner(
            self.application(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS, handler_cancellation=False
        )
        await runner.setup()
        await web.TCPSite(runner, host, port, backlog=1024).start()
        return runner, runner.addresses[0][1]

    async def _stop(self, _: web.Application) -> None:
        self.faults.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One API request from arrival to answer."""
        exchange = _Exchange(self, request)
        try:
            raw = await request.read()
        except ConnectionError:  # the client left before its request was complete: nothing was asked
            return web.Response()
        self.store.count.requests += 1
        self.store.count.bytes_received += len(raw)
        if self.latency:
            await asyncio.sleep(self.latency)
        try:
            if self.limited:
                self._check_limit()
            exchange.route(raw)
        except Problem as problem:
            return await exchange.send(exchange.settle(Answer.refused(problem)))
        try:
            return await exchange.run(raw)
        except _Gone:
            exchange.cut()
            return web.Response()

    def _check_limit(self) -> None:
        try:
            self.limit.check()
        except Problem:
            self.store.count.rate_limited += 1
            raise


class _Exchange:
    """One request: what it asks for, the fault that hits it, and its journal entry."""

    def __init__(self, simulator: Simulator, request: web.Request) -> None:
        self.sim = simulator
        self.request = request
        self.operation: str | None = None
        self.tunnel_id = ""
        self.validate_only = False
        self.new_target = False
        self.fault: Fault | None = None

    # --- what is asked

    def route(self, raw: bytes) -> None:
        """Authenticate, find the operation, read the options; Problem when one of them is wrong."""
        self.sim.credentials.check(self.request.headers)
        self._find_operation()
        self.validate_only = self._flag("validate_only", self.request.query.get("validate_only"))
        self.new_target = self._flag("x-magic-new-hc-target", self.request.headers.get("x-magic-new-hc-target"))
        self.fault = self.sim.faults.pick(self.operation or "", self.validate_only, self._touched(raw))

    def _find_operation(self) -> None:
        method, path = self.request.method, self.request.path
        if path == f"{BASE}/graphql":
            self._choose({"POST": "graphql"}, method)
            return
        parts = path.removeprefix(f"{BASE}/").split("/")
        if not path.startswith(f"{BASE}/") or len(parts) < 4 or (parts[0], *parts[2:4]) != _PREFIX:
            raise Problem.single(404, 7000, "No route for that URI")
        if parts[1] != self.sim.store.account_id:
            message = "Could not route to the account, perhaps its object identifier is invalid?"
            raise Problem.single(404, 7003, message)
        match parts[4:]:
            case []:
                self._choose(_COLLECTION, method)
            case ["psk"]:
                self._choose({"POST": "psk_set"}, method)
            case [tunnel_id] if 0 < len(tunnel_id) <= 32:
                self.tunnel_id = tunnel_id
                self._choose(_ITEM, method)
            case [tunnel_id, "psk_generate"] if 0 < len(tunnel_id) <= 32:
                self.tunnel_id = tunnel_id
                self._choose({"POST": "psk_generate"}, method)
            case _:
                raise Problem.single(404, 7003, "Could not route to the tunnel, perhaps its identifier is invalid?")

    def _choose(self, operations: dict[str, str], method: str) -> None:
        if method not in operations:
            raise Problem.single(405, 7001, f"Method {method} not available for that URI")
        self.operation = operations[method]

    def _flag(self, name: str, value: str | None) -> bool:
        if value not in (None, "true", "false"):
            raise Problem.single(400, 1022, f"Invalid Request: {name} must be true or false")
        return value == "true"

    def _touched(self, raw: bytes) -> Iterable[str]:
        """Ids a fault's `tunnel` may mean."""
        if self.operation == "psk_set" and self.sim.faults.by_tunnel:
            return control.ids_in(raw)
        return (self.tunnel_id,)

    # --- what happens

    async def run(self, raw: bytes) -> web.StreamResponse:
        """Do it, the fault included."""
        fault = self.fault
        if fault is None:
            return await self.send(self.settle(self._apply(raw)))
        if fault.before:
            if fault.kind == "delay":
                self._note("held")
                await asyncio.sleep(fault.delay or 0)
            elif fault.kind == "hang":
                self._note("held")
                if not await self._released():
                    self._note("settled")
                    raise _Gone
            elif fault.kind == "drop":
                self._note("settled")
                raise _Gone
            elif fault.kind in _REPLACES:
                return await self.send(self.settle(self._faulty_answer(fault)))
        answer = self._apply(raw)
        if fault.before and fault.kind in ("delay", "hang"):
            return await self.send(self.settle(answer))
        if fault.kind == "drop":
            self.settle(answer, answered=False)
            raise _Gone
        if fault.kind == "delay":
            self.settle(answer)
            await asyncio.sleep(fault.delay or 0)
        elif fault.kind == "hang":
            self.settle(answer, answered=False)
            if not await self._released():
                raise _Gone
        elif fault.kind in _REPLACES:
            replaced = self._faulty_answer(fault)
            replaced.changed, replaced.psk_changed = answer.changed, answer.psk_changed
            answer = self.settle(replaced)
        else:
            self.settle(answer)
        if fault.kind in ("reset_mid_body", "truncate"):
            return await self._send_half(answer, fault)
        return await self.send(answer)

    def _apply(self, raw: bytes) -> Answer:
        """Run the operation; no await in here, so that nothing comes in between."""
        sim, fault = self.sim, self.fault
        dry = self.validate_only or (fault is not None and fault.kind == "modified_false" and fault.before)
        before = dict(sim.store.tunnels) if fault is not None and fault.stale_reads else {}
        call = Call(
            store=sim.store,
            assumptions=sim.assumptions,
            renderer=sim.renderer,
            raw=raw,
            content_type=self.request.content_type if "Content-Type" in self.request.headers else "",
            tunnel_id=self.tunnel_id,
            new_target=self.new_target,
            validate_only=self.validate_only,
            dry=dry,
            fault=fault,
        )
        try:
            answer = graphql.answer(call) if self.operation == "graphql" else OPERATIONS[self.operation or ""](call)
        except Problem as problem:
            return Answer.refused(problem)
        if fault is not None and fault.stale_reads and answer.changed:
            sim.store.lag(fault.stale_reads, before, answer.changed)
        return answer

    def _faulty_answer(self, fault: Fault) -> Answer:
        if fault.kind == "redirect":
            return Answer(b"", 307, {"Location": fault.redirect or "", **fault.headers})
        if fault.kind == "html":
            status = fault.status or 502
            return Answer(_HTML.format(status=status).encode(), status, {"Content-Type": "text/html", **fault.headers})
        code, message = _DEFAULTS.get(fault.status or 200, (1000, "simulated fault"))
        errors = [error(fault.code or code, fault.message or message)]
        if fault.kind == "success_false" and self.operation == "graphql":
            return Answer(dumps({"data": None, "errors": [{"message": fault.message or message}]}))
        return Answer(dumps(failure(errors)), fault.status or 200, dict(fault.headers))

    async def _released(self) -> bool:
        """Wait at the gate; False when the client went away first, and that ends the request."""
        gate, late = self.sim.faults.gate, self.fault is not None and self.fault.hang == "late"
        while not gate.is_set() and (late or not self._client_gone()):
            with suppress(TimeoutError):
                await asyncio.wait_for(gate.wait(), _CLIENT_CHECK_SECONDS)
        return late or not self._client_gone()

    def _client_gone(self) -> bool:
        return self.request.transport is None or self.request.transport.is_closing()

    # --- what is written down

    def settle(self, answer: Answer, answered: bool = True) -> Answer:
        """Count and journal the outcome."""
        self._note("settled", answer, answer.status if answered else None)
        return answer

    def _note(self, event: str, answer: Answer | None = None, status: int | None = None) -> None:
        changed = answer.changed if answer is not None else []
        tunnels = self.sim.store.tunnels
        if changed:
            self.sim.store.count.writes += 1
        psks = answer.psk_changed if answer is not None else []
        self.sim.store.count.psks += len(psks)
        self.sim.journal.write(
            {
                "event": event,
                "method": self.request.method,
                "path": self.request.path,
                "operation": self.operation,
                "validate_only": self.validate_only,
                "status": status,
                "changed": bool(changed),
                "tunnels": changed,
                "psk_generation": {i: tunnels[i].psk_generation for i in psks if i in tunnels},
                "fault": self.fault.kind if self.fault is not None else None,
                "auth": Credentials.scheme(self.request.headers),
            }
        )

    # --- what is sent

    def _headers(self, answer: Answer) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "cf-ray": f"{secrets.token_hex(8)}-SIM",
            **self.sim.limit.headers(),
            **answer.headers,
        }

    async def send(self, answer: Answer) -> web.StreamResponse:
        self.sim.store.count.bytes_sent += len(answer.body)
        return web.Response(status=answer.status, body=answer.body, headers=self._headers(answer))

    async def _send_half(self, answer: Answer, fault: Fault) -> web.StreamResponse:
        """Half of the body, then the end: a reset, or a close with or without the length announced."""
        response = web.StreamResponse(status=answer.status, headers=self._headers(answer))
        response.force_close()
        half = answer.body[: len(answer.body) // 2]
        announced = fault.kind == "reset_mid_body" or fault.truncate == "announced"
        response.content_length = len(answer.body) if announced else len(half)
        await response.prepare(self.request)
        await response.write(half)
        if fault.kind == "reset_mid_body":
            self.cut(reset=True)
        elif announced:
            self.cut()
        return response

    def cut(self, reset: bool = False) -> None:
        """Close the connection without another byte."""
        transport = self.request.transport
        if transport is None:
            return
        if reset:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()


_PREFIX = ("accounts", "magic", "ipsec_tunnels")
_REPLACES = frozenset({"status", "html", "redirect", "success_false"})
_DEFAULTS = {
    401: (10000, "Authentication error"),
    403: (10000, "Forbidden"),
    404: (1032, "IPsec tunnel not found"),
    429: (971, "Please wait and consider throttling your request speed"),
}
_HTML = (
    "<!DOCTYPE html>\n<html><head><title>Error {status}</title></head>"
    "<body><h1>Error {status}</h1><p>cloudflare (simulated)</p></body></html>\n"
)
