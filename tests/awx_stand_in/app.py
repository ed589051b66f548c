# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in as a server in a thread: AWX's /api/v2 for objects, surveys, launches, approvals and updates."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from types import TracebackType
from typing import Any

from aiohttp import web

from .jobs import Jobs, World
from .managed import MANAGED
from .rules import KINDS, Fields, Refused
from .store import API, Store

HEADERS = {"X-API-Product-Name": "AWX", "X-API-Product-Version": "24.6.1"}
RUNNING = ("jobs", "workflow_jobs", "workflow_approvals", "unified_jobs")


class AwxStandIn:
    """A context manager. `world` is what is around it; `token` is what clients must show."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self.writes: list[str] = []
        self.store = Store()
        self._lock = threading.RLock()
        self.jobs = Jobs(self.store, self._lock, self.world)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.store.create("organizations", {"name": "Default"})
        for credential_type in MANAGED:
            self.store.create("credential_types", credential_type)

    def __enter__(self) -> AwxStandIn:
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.jobs.close()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def all(self, endpoint: str) -> dict[str, Fields]:
        """The objects of an endpoint by name, or by identifier."""
        found = self.store.objects[endpoint].values()
        return {x.get("name") or x["identifier"]: self.store.shown(endpoint, x) for x in found}

    def associated(self, endpoint: str, name: str, association: str) -> list[str]:
        """The names of the objects in one of an object's lists."""
        found = self.store.related(endpoint, self.store.named(endpoint, name)["id"], association)
        return [x.get("name") or x["identifier"] for x in found]

    def survey(self, endpoint: str, name: str) -> Fields:
        """The survey of a template."""
        return self.store.survey(endpoint, self.store.named(endpoint, name)["id"])

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", f"{API}/{{path:.*}}", self._handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _handle(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return self._answer(401, {"detail": "Authentication credentials were not provided."})
        body = json.loads(await request.text() or "{}")
        parts = request.match_info["path"].strip("/").split("/")
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
        try:
            with self._lock:
                return self._answer(*self._dispatch(request.method, parts, body, dict(request.query)))
        except Refused as exc:
            return self._answer(400, exc.body)
        except (KeyError, ValueError):
            return self._answer(404, {"detail": "Not found."})

    @staticmethod
    def _answer(status: int, body: Any = None) -> web.Response:
        if body is None:
            return web.Response(status=status, headers=HEADERS)
        return web.json_response(body, status=status, headers=HEADERS)

    def _dispatch(self, method: str, parts: list[str], body: Fields, query: dict[str, str]) -> tuple[int, Any]:
        endpoint, rest = parts[0], parts[1:]
        if endpoint == "config":
            return 200, {"version": "24.6.1"}
        if endpoint == "project_updates":
            return self._project_update(self.jobs.updates[int(rest[0])], rest[1:], query)
        if endpoint == "groups":
            return 200, page(self._groups(query))
        if endpoint in RUNNING:
            return self._running(method, endpoint, rest, query)
        if endpoint == "unified_job_templates" and not rest:
            return 200, self.store.listed(self.store.templates(), query)
        if not rest:
            if method == "POST":
                return 201, self._created(endpoint, body)
            return 200, self.store.listed(((endpoint, x) for x in self.store.objects[endpoint].values()), query)
        item = self.store.objects[endpoint][int(rest[0])]
        if len(rest) == 1:
            return self._one(method, endpoint, item, body)
        return self._part(method, endpoint, item, rest[1], body)

    def _created(self, endpoint: str, body: Fields) -> Fields:
        item = self.store.create(endpoint, body)
        if endpoint == "projects":
            self.jobs.update_project(item)
        return self.store.shown(endpoint, item)

    def _one(self, method: str, endpoint: str, item: Fields, body: Fields) -> tuple[int, Any]:
        if method == "DELETE":
            self.store.delete(endpoint, item["id"])
            return 204, None
        if method == "PATCH":
            before = {key: item.get(key) for key in ("scm_type", "scm_url", "scm_branch")}
            self.store.update(endpoint, item, body)
            if endpoint == "projects" and before != {key: item.get(key) for key in before}:
                self.jobs.update_project(item)
        elif method != "GET":
            raise KeyError(method)
        elif endpoint == "projects" and item["current_update"]:
            answer = self.store.shown(endpoint, item)
            self.jobs.look_at(self.jobs.updates[item["current_update"]])
            return 200, answer
        return 200, self.store.shown(endpoint, item)

    def _part(self, method: str, endpoint: str, item: Fields, part: str, body: Fields) -> tuple[int, Any]:
        if part == "survey_spec":
            if method == "POST":
                self.store.set_survey(endpoint, item["id"], body)
                return 200, {}
            return 200, self.store.survey(endpoint, item["id"])
        if part == "launch" and method == "POST":
            return 201, self.jobs.launch(endpoint, item, body)
        if part == "playbooks":
            return 200, item.get("playbooks", [])
        if part == "update" and method == "POST" and endpoint == "projects":
            return 202, self.jobs.look_at(self.jobs.update_project(item))
        if part == "create_approval_template" and method == "POST":
            approval = self.store.create("workflow_approval_templates", body)
            item["unified_job_template"] = approval["id"]
            return 201, self.store.shown("workflow_approval_templates", approval)
        if method == "GET":
            target = KINDS[endpoint].lists[part]
            return 200, self.store.listed(((target, x) for x in self.store.related(endpoint, item["id"], part)), {})
        self.store.associate(endpoint, item["id"], part, body)
        return 204, None

    def _project_update(self, update: Fields, rest: list[str], query: dict[str, str]) -> tuple[int, Any]:
        if rest == ["events"]:
            return 200, page([x for x in update["events"] if query.get("event") in (None, x["event"])])
        return 200, self.jobs.look_at(update)

    def _groups(self, query: dict[str, str]) -> list[Fields]:
        """The groups of an inventory, by its name and its organization's."""
        found = []
        for number, content in self.jobs.contents.items():
            inventory = self.store.objects["inventories"][number]
            owner = self.store.objects["organizations"][inventory["organization"]]
            same = query["inventory__name"] == inventory["name"]
            if same and query["inventory__organization__name"] == owner["name"]:
                found += [
                    {"name": name, "variables": json.dumps(variables)}
                    for name, variables in content.groups.items()
                    if name == query["name"]
                ]
        return found

    def _running(self, method: str, endpoint: str, rest: list[str], query: dict[str, str]) -> tuple[int, Any]:
        if not rest:
            wanted = {int(x) for x in query["id__in"].split(",")} if "id__in" in query else set(self.jobs.all)
            kinds = [endpoint.removesuffix("s")] if endpoint != "unified_jobs" else None
            found = [x for x in self.jobs.all.values() if x["id"] in wanted and (kinds is None or x["type"] in kinds)]
            return 200, page(found)
        job = self.jobs.all[int(rest[0])]
        if len(rest) == 2 and method == "POST" and rest[1] in ("approve", "deny"):
            self.jobs.decide(job["id"], rest[1] == "approve")
            return 204, None
        return 200, job


def page(results: list[Fields]) -> Fields:
    """A list as the API answers it."""
    return {"count": len(results), "next": None, "previous": None, "results": results}
