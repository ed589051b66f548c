# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy in front of the simulator that keeps every request with its answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

from aiohttp import ClientSession, DummyCookieJar, web

BASE = "/client/v4"
HOP_BY_HOP = ("connection", "content-length", "host", "keep-alive", "transfer-encoding")


@dataclass(frozen=True)
class Exchange:
    """One request and its answer; header names are in lower case. `path` is below the API's base."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    status: int
    answer_headers: Mapping[str, str]
    answer: bytes


class Recorder:
    """A context manager; `base_url` takes the simulator's place, and `exchanges` fills up."""

    def __init__(self, base_url: str) -> None:
        self._upstream = base_url.removesuffix(BASE)
        self.base_url = ""
        self.exchanges: list[Exchange] = []
        self._stop = asyncio.Event()
        self._ready: Future[str] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Recorder:
        self._thread.start()
        self.base_url = self._ready.result(timeout=10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as session:

            async def forward(request: web.Request) -> web.Response:
                return await self._forward(session, request)

            app = web.Application(client_max_size=64 * 1024 * 1024)
            app.router.add_route("*", "/{path:.*}", forward)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._ready.set_result(f"http://127.0.0.1:{runner.addresses[0][1]}{BASE}")
            await self._stop.wait()
            await runner.cleanup()

    async def _forward(self, session: ClientSession, request: web.Request) -> web.Response:
        body = await request.read()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        url = self._upstream + request.raw_path
        async with session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            said = await answer.read()
        kept = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        self.exchanges.append(
            Exchange(
                request.method,
                urlsplit(request.path).path.removeprefix(BASE),
                dict(request.query),
                {name.lower(): value for name, value in request.headers.items()},
                body,
                answer.status,
                kept,
                said,
            )
        )
        return web.Response(status=answer.status, body=said, headers=kept)
