# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulator in this process, asked over HTTP on a loop of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

CHECKOUT = Path(__file__).resolve().parents[3]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from tests.simulator.access import Credentials, RateLimit  # noqa: E402
from tests.simulator.app import Simulator  # noqa: E402
from tests.simulator.assumptions import Assumptions  # noqa: E402
from tests.simulator.faults import FaultBook  # noqa: E402
from tests.simulator.journal import Journal  # noqa: E402
from tests.simulator.state import Store  # noqa: E402

ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
TUNNELS = f"/client/v4/accounts/{ACCOUNT}/magic/ipsec_tunnels"
TOKEN = {"Authorization": "Bearer sim-token"}


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def result(self) -> Any:
        assert self.status == 200, self.text
        return self.json["result"]

    @property
    def pointers(self) -> list[str]:
        return [error["source"]["pointer"] for error in self.json["errors"]]

    @property
    def codes(self) -> list[int]:
        return [error["code"] for error in self.json["errors"]]


class Client:
    """Blocking requests to one simulator; `run` takes coroutines where two things must happen at once."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._loop = asyncio.new_event_loop()
        self._runner, port = self.run(simulator.serve("127.0.0.1", 0))
        self._session = self.run(self._open(port))

    async def _open(self, port: int) -> ClientSession:
        return ClientSession(f"http://127.0.0.1:{port}/")

    def close(self) -> None:
        self.run(self._session.close())
        self.run(self._runner.cleanup())
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(coroutine, 10))

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        options.setdefault("headers", TOKEN)
        if body is not None:
            options["json"] = body
        path = path if path.startswith("/") else f"{TUNNELS}/{path}".rstrip("/")
        async with self._session.request(method, path, allow_redirects=False, **options) as response:
            return Reply(response.status, dict(response.headers), await response.text())

    def __call__(self, method: str, path: str = "", body: Any = None, **options: Any) -> Reply:
        return self.run(self.ask(method, path, body, **options))

    def dry(self, method: str, path: str, body: Any = None) -> Reply:
        return self(method, path, body, params={"validate_only": "true"})

    def fault(self, **fault: Any) -> None:
        reply = self("POST", "/_sim/faults", fault)
        assert reply.status == 200, reply.text

    @property
    def state(self) -> Any:
        return self("GET", "/_sim/state").json

    @property
    def truth(self) -> dict[str, Any]:
        return {tunnel["id"]: tunnel for tunnel in self.state["tunnels"]}

    @property
    def journal(self) -> list[Any]:
        return self("GET", "/_sim/journal").json["entries"]


Start = Callable[..., Client]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a simulator with assumptions, tunnels, a rate limit."""
    clients: list[Client] = []

    def starter(*assume: str, tunnels: int = 12, seed: int = 1, limit: str | None = None) -> Client:
        store = Store(ACCOUNT, tunnels, seed)
        simulator = Simulator(
            store=store,
            journal=Journal(store.clock),
            faults=FaultBook(),
            credentials=Credentials("sim-token", "sim@example.com", "sim-key"),
            assumptions=Assumptions().with_overrides(assume),
        )
        if limit is not None:
            simulator.limit, simulator.limited = RateLimit.parse(limit), True
        clients.append(Client(simulator))
        return clients[-1]

    yield starter
    for client in clients:
        client.close()


@pytest.fixture
def sim(start: Start) -> Client:
    return start()


@pytest.fixture
def ids(sim: Client) -> list[str]:
    return list(sim.truth)


@pytest.fixture
def body() -> dict[str, Any]:
    """A small valid tunnel."""
    return {"name": "new one", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.0.0.0/31"}
