# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in as a server in a thread: lists with filters, objects, associations, surveys, approvals, updates."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Any

from aiohttp import web

from .rules import ENCRYPTED, KINDS, Fields, Refused, check, check_inputs, check_survey, secret_fields

API = "/api/v2"
HEADERS = {"X-API-Product-Name": "AWX", "X-API-Product-Version": "24.6.1"}


class AwxStandIn:
    """A context manager. `playbooks` are what an update finds in every project; `token` is what clients must show."""

    def __init__(self, playbooks: Collection[str]) -> None:
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self.writes: list[str] = []
        self.secret_inputs: dict[int, Fields] = {}
        self._playbooks = set(playbooks)
        self._objects: dict[str, dict[int, Fields]] = {endpoint: {} for endpoint in KINDS}
        self._lists: dict[tuple[str, int, str], list[int]] = {}
        self._surveys: dict[tuple[str, int], Fields] = {}
        self._updates: dict[int, Fields] = {}
        self._last_id = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._insert("organizations", {"name": "Default", "description": ""})

    def __enter__(self) -> AwxStandIn:
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def all(self, endpoint: str) -> dict[str, Fields]:
        """The objects of an endpoint by name, or by identifier."""
        return {x.get("name") or x["identifier"]: self._shown(endpoint, x) for x in self._objects[endpoint].values()}

    def associated(self, endpoint: str, name: str, association: str) -> list[str]:
        """The names of the objects in one of an object's lists."""
        own = self.all(endpoint)[name]["id"]
        target = KINDS[endpoint].lists[association]
        found = [self._objects[target][i] for i in self._lists.get((endpoint, own, association), [])]
        return [x.get("name") or x["identifier"] for x in found]

    def survey(self, endpoint: str, name: str) -> Fields:
        """The survey of a template."""
        return self._surveys[endpoint, self.all(endpoint)[name]["id"]]

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
        if endpoint == "project_updates":
            return 200, self._project_update(int(rest[0]))
        if endpoint == "unified_job_templates" and not rest:
            return 200, self._list(self._templates(), query)
        if not rest:
            if method == "POST":
                return 201, self._shown(endpoint, self._create(endpoint, body))
            return 200, self._list(((endpoint, x) for x in self._objects[endpoint].values()), query)
        own = int(rest[0])
        item = self._objects[endpoint][own]
        if len(rest) == 1:
            if method == "PATCH":
                self._update(endpoint, item, body)
            elif method != "GET":
                raise KeyError(method)
            return 200, self._shown(endpoint, item)
        if rest[1] == "survey_spec":
            return self._survey(method, (endpoint, own), body)
        if rest[1] == "create_approval_template" and method == "POST":
            approval = self._create("workflow_approval_templates", body)
            item["unified_job_template"] = approval["id"]
            return 201, self._shown("workflow_approval_templates", approval)
        return self._associate(method, endpoint, own, rest[1], body)

    # -- objects ------------------------------------------------------------------------------------------------------

    def _templates(self) -> Iterable[tuple[str, Fields]]:
        for endpoint, kind in KINDS.items():
            if kind.is_template:
                yield from ((endpoint, x) for x in self._objects[endpoint].values())

    def _list(self, found: Iterable[tuple[str, Fields]], query: dict[str, str]) -> Fields:
        query.pop("page_size", None)
        either = {key.removeprefix("or__"): query.pop(key) for key in list(query) if key.startswith("or__")}
        results = []
        for endpoint, item in found:
            shown = self._shown(endpoint, item)
            for key in (*query, *either):
                if key not in shown and key != "organization":
                    raise Refused({"detail": f"{shown['type']} has no field named '{key}'"})
            same = all(str(shown.get(key)) == value for key, value in query.items() if value != "None")
            if same and (not either or any(str(shown[key]) == value for key, value in either.items())):
                results.append(shown)
        return {"count": len(results), "next": None, "previous": None, "results": results}

    def _insert(self, endpoint: str, item: Fields) -> Fields:
        self._last_id += 1
        item["id"] = self._last_id
        self._objects[endpoint][item["id"]] = item
        return item

    def _create(self, endpoint: str, body: Fields) -> Fields:
        kind = KINDS[endpoint]
        missing = {x: ["This field is required."] for x in kind.required if body.get(x) in (None, "")}
        if missing:
            raise Refused(missing)
        item = {**kind.defaults, **{key: value for key, value in body.items() if key in kind.defaults}}
        self._validate(endpoint, item)
        self._insert(endpoint, item)
        if endpoint == "credentials":
            self._store_secrets(item, item["inputs"])
        if endpoint == "projects":
            self._last_id += 1
            item["current_update"] = self._last_id
            self._updates[self._last_id] = {"project": item["id"], "status": "pending"}
        return item

    def _update(self, endpoint: str, item: Fields, body: Fields) -> None:
        changed = {**item, **{key: value for key, value in body.items() if key in KINDS[endpoint].defaults}}
        self._validate(endpoint, changed)
        if endpoint == "credentials" and "inputs" in body:
            self._store_secrets(changed, body["inputs"])
        item.update(changed)

    def _validate(self, endpoint: str, item: Fields) -> None:
        kind = KINDS[endpoint]
        check(endpoint, item)
        for key, target in kind.refers.items():
            known = dict(self._all_ids(target))
            if item[key] is not None and item[key] not in known:
                raise Refused({key: [f'Invalid pk "{item[key]}" - object does not exist.']})
        for other in self._objects[endpoint].values():
            same = kind.unique and all(other.get(x) == item.get(x) for x in kind.unique)
            if same and other["id"] != item.get("id"):
                raise Refused({"__all__": [f"{kind.type} with these {', '.join(kind.unique)} already exists."]})
        if endpoint == "credentials":
            check_inputs(self._objects["credential_types"][item["credential_type"]], item["inputs"])
        if endpoint == "job_templates":
            project = self._objects["projects"][item["project"]]
            if item["playbook"] not in project.get("playbooks", ()):
                raise Refused({"playbook": ["Playbook not found for project."]})
            item["organization"] = project["organization"]

    def _all_ids(self, endpoint: str) -> Iterable[tuple[int, Fields]]:
        if endpoint == "unified_job_templates":
            return ((x["id"], x) for _endpoint, x in self._templates())
        return self._objects[endpoint].items()

    def _store_secrets(self, item: Fields, inputs: Fields) -> None:
        """Keep secrets out of sight; the text $encrypted$ leaves the one that is there."""
        names = secret_fields(self._objects["credential_types"][item["credential_type"]])
        before = self.secret_inputs.get(item["id"], {})
        self.secret_inputs[item["id"]] = {
            key: before.get(key) if inputs[key] == ENCRYPTED else inputs[key] for key in names & set(inputs)
        }
        item["inputs"] = {key: ENCRYPTED if key in names else value for key, value in inputs.items()}

    def _shown(self, endpoint: str, item: Fields) -> Fields:
        kind = KINDS[endpoint]
        url = f"{API}/{endpoint}/{item['id']}/"
        related = {x: f"{url}{x}/" for x in (*kind.related, *kind.lists)}
        template = item.get("unified_job_template")
        if template is not None:
            target = next(name for name, x in self._templates() if x["id"] == template)
            related["unified_job_template"] = f"{API}/{target}/{template}/"
        summary = {"current_update": {"id": item["current_update"]}} if item.get("current_update") else {}
        shown = {key: value for key, value in item.items() if key not in ("current_update", "playbooks")}
        return {**shown, "type": kind.type, "url": url, "related": related, "summary_fields": summary}

    # -- what hangs on objects ----------------------------------------------------------------------------------------

    def _project_update(self, number: int) -> Fields:
        """Pending at the first look, done at the second."""
        update = self._updates[number]
        shown = {"id": number, "type": "project_update", "status": update["status"]}
        if update["status"] == "pending":
            update["status"] = "successful"
            project = self._objects["projects"][update["project"]]
            project.update(playbooks=self._playbooks, scm_revision="0" * 40, current_update=None)
        return shown

    def _survey(self, method: str, key: tuple[str, int], body: Fields) -> tuple[int, Any]:
        if method == "GET":
            return 200, self._surveys.get(key, {})
        check_survey(body)
        self._surveys[key] = body
        return 200, {}

    def _associate(self, method: str, endpoint: str, own: int, association: str, body: Fields) -> tuple[int, Any]:
        target = KINDS[endpoint].lists[association]
        ids = self._lists.setdefault((endpoint, own, association), [])
        if method == "GET":
            return 200, self._list(((target, self._objects[target][i]) for i in ids), {})
        other = self._objects[target][body["id"]]
        if body.get("disassociate"):
            ids.remove(other["id"])
            return 204, None
        kinds = {self._objects[target][i].get("credential_type") for i in ids}
        if target == "credentials" and other["credential_type"] in kinds:
            raise Refused({"error": "Cannot assign multiple credentials of this type."})
        ids.append(other["id"])
        return 204, None
