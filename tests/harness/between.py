# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What networks put between a client and the API: a filter, a portal, a proxy, a door with a certificate of its own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.harness.simulator import Simulator

KEPT = ("content-type", "retry-after", "ratelimit", "ratelimit-policy", "cf-ray")


@dataclass(frozen=True)
class Reply:
    """What is answered in the API's place."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


# What to answer to a method and a path; None lets the request pass.
Rule = Callable[[str, str], Reply | None]


class Between:
    """Passes requests on to the simulator, but for those that its rule answers; a context manager.

    With a certificate it speaks TLS. As a proxy, it hears CONNECT as any other method.
    """

    def __init__(self, simulator: Simulator, rule: Rule = lambda method, path: None, certificate: Path | None = None):
        self.heard: list[tuple[str, str]] = []
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                between.heard.append((self.command, self.path))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                reply = rule(self.command, self.path) or self._passed_on(body)
                self.send_response(reply.status)
                for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)
                self.wfile.flush()

            do_GET = do_POST = do_PUT = do_DELETE = do_CONNECT = handle_any

            def _passed_on(self, body: bytes) -> Reply:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                url = simulator.base_url.removesuffix("/client/v4") + self.path
                with requests.Session() as session:
                    session.trust_env = False
                    answer = session.request(self.command, url, data=body, headers=headers, timeout=60)
                kept = {k: v for k, v in answer.headers.items() if k.lower() in KEPT}
                return Reply(answer.status_code, answer.content, kept)

            def log_message(self, *args: Any) -> None:
                """Say nothing on stderr."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                """A client that refuses the certificate is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.base_url = f"{'https' if certificate else 'http'}://{self.address}/client/v4"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Between:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
