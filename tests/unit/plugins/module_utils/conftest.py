# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client on the simulator, and a server that says what a test tells it to say, for what the simulator never would."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _http
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client, Connection
from hypothesis import settings

from tests.harness.simulator import Simulator

settings.register_profile("module_utils", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("module_utils")

ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
TOKEN = "the-token-of-the-tests"


@dataclass
class Say:
    """One answer: a dict becomes JSON, and an iterator is sent piece by piece, as long as somebody listens."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Heard:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    port: int


def envelope(result: Any = None, **fields: Any) -> dict[str, Any]:
    """An answer of the API that succeeded, unless the fields say otherwise."""
    return {"success": True, "errors": [], "messages": [], "result": result, **fields}


class Wire:
    """An HTTP server on a port of its own. It says its answers in order, and the last one for ever."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: deque[Say | Callable[[Heard], Say]] = deque([Say(envelope({"ipsec_tunnels": []}))])
        self.heard: list[Heard] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                heard = Heard(
                    self.command,
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    json.loads(raw) if raw else None,
                    self.client_address[1],
                )
                wire.heard.append(heard)
                answer = wire.answers[0] if len(wire.answers) == 1 else wire.answers.popleft()
                said = answer if isinstance(answer, Say) else answer(heard)
                headers = {"Content-Type": "application/json", **said.headers}
                body = said.body
                if not isinstance(body, Iterator):
                    body = body if isinstance(body, bytes) else json.dumps(body).encode()
                    headers = {"Content-Length": str(len(body)), **headers}
                    body = iter([body])
                self.send_response(said.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in body:
                    self.wfile.write(piece)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

            def log_message(self, *args: Any) -> None:
                """Say nothing on stderr."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                """A client that refuses the certificate is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.base_url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}/client/v4"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def say(self, *answers: Say | Callable[[Heard], Say]) -> None:
        """What to answer from now on."""
        self.answers = deque(answers)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def make_wire() -> Iterator[Callable[..., Wire]]:
    """Start servers; the argument is a TLS context."""
    started: list[Wire] = []

    def make(tls: ssl.SSLContext | None = None) -> Wire:
        started.append(Wire(tls))
        return started[-1]

    yield make
    for wire in started:
        wire.close()


@pytest.fixture
def wire(make_wire: Callable[..., Wire]) -> Wire:
    """A plain HTTP server."""
    return make_wire()


@pytest.fixture
def client_of() -> Callable[..., Client]:
    """A client of a server; further arguments are those of Connection, or how the client speaks and sleeps."""

    def make(server: Wire | Simulator, **options: Any) -> Client:
        own = {name: options.pop(name) for name in ("say", "sleep") if name in options}
        token = server.token if isinstance(server, Simulator) else TOKEN
        account = server.account if isinstance(server, Simulator) else ACCOUNT
        arguments = {"api_token": token, "retries": 1, "timeout": 5.0, **options}
        return Client(Connection(account_id=account, base_url=server.base_url, **arguments), **own)

    return make


@pytest.fixture
def client(simulator: Simulator, client_of: Callable[..., Client]) -> Client:
    """A client of the simulator that repeats a request once."""
    return client_of(simulator)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client wanted to wait before it repeated a request; it does not wait in these tests."""
    waited: list[float] = []
    stopped = SimpleNamespace(sleep=waited.append, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr(_http, "time", stopped)
    return waited
