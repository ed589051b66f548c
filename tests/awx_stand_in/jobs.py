# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in launches: jobs, workflows with their approvals, updates of projects and inventories.

A job itself is run by whoever made the stand-in (tests use ansible-runner, AWX's own engine); here is what AWX decides
around it: which variables and credentials it gets, what comes before it, which node is next, who is told.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .inventories import Content, UpdateFailed, merge
from .prompts import PROMPTS, Fields, job_variables, judge, variables_of
from .rules import Refused, injected
from .store import API, Store

FAR = 600.0


@dataclass(frozen=True)
class Launch:
    """A job as it is to be run: `env` is what its credentials put there, `inventory` an inventory script's output."""

    number: int
    template: str
    playbook: str
    job_type: str
    limit: str
    extra_vars: Fields
    env: dict[str, str]
    inventory: Fields


@dataclass(frozen=True)
class Outcome:
    """How a job has ended, and the data of its set_stats."""

    status: str = "successful"
    artifacts: Fields = field(default_factory=dict)


@dataclass
class World:
    """What is around AWX, for a test to change.

    projects: a folder for each address of a repository; another address can't be reached. run: runs a job.
    read_inventory: reads a file of a project with a job's environment, as `inventories.read`.
    post: sends a notification's body to its address.
    galaxy: whether what a project demands in collections/requirements.yml can be had.
    """

    projects: dict[str, Path] = field(default_factory=dict)
    run: Callable[[Launch], Outcome] = lambda _launch: Outcome()
    read_inventory: Callable[[Path, str, Mapping[str, str]], Fields] = lambda _project, _source, _env: {}
    post: Callable[[str, Fields], None] = lambda _url, _body: None
    galaxy: bool = True


class Jobs:
    """Everything that was launched, by id; each runs in a thread of its own."""

    def __init__(self, store: Store, lock: threading.RLock, world: World) -> None:
        self.all: dict[int, Fields] = {}
        self.launches: list[Launch] = []
        self.sent: list[Fields] = []
        self.contents: dict[int, Content] = {}
        self.updates: dict[int, Fields] = {}
        self._store = store
        self._lock = lock
        self._world = world
        self._turns: dict[int, threading.Lock] = {}
        self._threads: list[threading.Thread] = []
        self._decided: dict[int, threading.Event] = {}

    # -- projects and inventories -------------------------------------------------------------------------------------

    def update_project(self, project: Fields) -> Fields:
        """Begin an update; it is pending at the first look at it, or at its project, and has ended at the second."""
        number = self._store.next_id()
        update: Fields = {
            "id": number,
            "type": "project_update",
            "url": f"{API}/project_updates/{number}/",
            "project": project["id"],
            "status": "pending",
            "failed": False,
            "finished": None,
            "job_explanation": "",
            "scm_revision": project["scm_revision"],
            "events": [],
        }
        self.updates[number] = update
        project.update(status="pending", current_update=number)
        return update

    def look_at(self, update: Fields) -> Fields:
        """The update as it is now; the next look finds it ended."""
        shown = {key: value for key, value in update.items() if key != "events"}
        if update["finished"] is None:
            self._finish(update)
        return shown

    def _finish(self, update: Fields) -> None:
        project = self._store.objects["projects"][update["project"]]
        folder = self._world.projects.get(project["scm_url"])
        failure: Fields = {}
        if folder is None:
            failure = {"msg": f"fatal: unable to access '{project['scm_url']}/': Could not resolve host"}
        elif (folder / "collections" / "requirements.yml").exists() and not self._world.galaxy:
            reason = "ERROR! Unknown error when attempting to call Galaxy at 'https://galaxy.ansible.com/api/'"
            failure = {"msg": "non-zero return code", "rc": 1, "stderr": f"[WARNING]: Skipping it.\n{reason}\n"}
        status = "failed" if failure else "successful"
        update.update(status=status, failed=bool(failure), finished="2026-01-01T00:00:00Z")
        if failure:
            update["events"].append(
                {
                    "event": "runner_on_failed",
                    "failed": True,
                    "task": "Update project",
                    "event_data": {"res": failure},
                }
            )
        else:
            update["scm_revision"] = project["scm_revision"] = "0" * 40
            project["playbooks"] = playbooks_of(folder) if folder else []
        project.update(status=status, current_update=None, last_update=update["id"])

    def update_inventory(self, source: Fields) -> str:
        """Run an inventory source's update; the reason when it failed."""
        with self._lock:
            project = self._store.objects["projects"][source["source_project"]]
            folder = self._world.projects.get(project["scm_url"])
            credentials = [source["credential"]] if source["credential"] else []
            env = self._env(credentials)
        if folder is None:
            return "the project has no files"
        try:
            found = self._world.read_inventory(folder, source["source_path"], env)
        except UpdateFailed as exc:
            return str(exc)
        with self._lock:
            kept = self.contents.get(source["inventory"], Content())
            self.contents[source["inventory"]] = merge(
                kept, found, overwrite=source["overwrite"], overwrite_vars=source["overwrite_vars"]
            )
        return ""

    def _env(self, credentials: list[int]) -> dict[str, str]:
        env: dict[str, str] = {}
        for number in credentials:
            kind = self._store.objects["credential_types"][
                self._store.objects["credentials"][number]["credential_type"]
            ]
            env |= injected(kind, self._store.credential_inputs(number))
        return env

    # -- launches -----------------------------------------------------------------------------------------------------

    def launch(self, endpoint: str, template: Fields, body: Mapping[str, Any]) -> Fields:
        """A launch by a person or a rule; raises Refused."""
        is_job = endpoint == "job_templates"
        survey = self._store.survey(endpoint, template["id"])
        found = judge(template, survey, body, *((PROMPTS,) if is_job else ()))
        if is_job:
            # ansible-rulebook always sends a limit: what is no variable is left aside.
            found.errors |= judge(template, survey, {"extra_vars": body.get("extra_vars")}).errors
            self._judge_project(template, found.errors)
        if found.errors:
            raise Refused(found.errors)
        job = self._make(endpoint, template, found.accepted)
        self._start(self._run_job if is_job else self._run_workflow, job, template)
        return {**job, "ignored_fields": found.rejected}

    def _judge_project(self, template: Fields, errors: Fields) -> None:
        project = self._store.objects["projects"].get(template["project"] or 0)
        if project is None:
            errors["project"] = "A project is required to run a job."
        elif project["status"] in ("error", "failed") and not project["scm_update_on_launch"]:
            errors["playbook"] = "Missing a revision to run due to failed project update."
        if template["inventory"] is None:
            errors["resources_needed_to_start"] = ["Job Template inventory is missing or undefined."]

    def _make(self, endpoint: str, template: Fields, accepted: Mapping[str, Any]) -> Fields:
        number = self._store.next_id()
        kind = "job" if endpoint == "job_templates" else "workflow_job"
        survey = self._store.survey(endpoint, template["id"])
        variables = job_variables(template, survey, accepted.get("extra_vars", {}))
        job: Fields = {
            "id": number,
            "type": kind,
            "url": f"{API}/{kind}s/{number}/",
            kind: number,
            "name": template["name"],
            "status": "pending",
            "failed": False,
            "created": "2026-01-01T00:00:00Z",
            "finished": None,
            "event_processing_finished": False,
            "job_explanation": "",
            "artifacts": {},
            "extra_vars": json.dumps(variables),
            "limit": accepted.get("limit", template["limit"]) or "",
            "job_type": accepted.get("job_type", template.get("job_type", "")),
            "unified_job_template": template["id"],
            "workflow_job_template": template["id"] if kind == "workflow_job" else None,
        }
        self.all[number] = job
        return job

    def _start(self, what: Callable[[Fields, Fields], None], job: Fields, template: Fields) -> None:
        thread = threading.Thread(target=self._in_turn, args=(what, job, template), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _in_turn(self, what: Callable[[Fields, Fields], None], job: Fields, template: Fields) -> None:
        """One job of a template at a time, unless it may run beside itself."""
        turn = (
            threading.Lock()
            if template["allow_simultaneous"]
            else self._turns.setdefault(template["id"], threading.Lock())
        )
        with turn:
            job["status"] = "running"
            try:
                what(job, template)
            except Exception as exc:
                self._end(job, Outcome("error"), f"{type(exc).__name__}: {exc}")

    def _run_job(self, job: Fields, template: Fields) -> None:
        reason = self._prepare(template)
        if reason:
            self._end(job, Outcome("failed"), f"Previous Task Failed: {reason}")
            return
        with self._lock:
            credentials = [x["id"] for x in self._store.related("job_templates", template["id"], "credentials")]
            launch = Launch(
                job["id"],
                template["name"],
                template["playbook"],
                job["job_type"],
                job["limit"],
                json.loads(job["extra_vars"]),
                self._env(credentials),
                self.contents.get(template["inventory"], Content()).as_listed(),
            )
            self.launches.append(launch)
        self._end(job, self._world.run(launch))
        event = "success" if job["status"] == "successful" else "error"
        self._tell("job_templates", template, event, job)

    def _prepare(self, template: Fields) -> str:
        """The updates before a job; the reason when one failed."""
        with self._lock:
            project = self._store.objects["projects"][template["project"]]
            if project["scm_update_on_launch"]:
                update = self.update_project(project)
                self._finish(update)
                if update["failed"]:
                    return str(update["events"][0]["event_data"]["res"]["msg"])
            sources = [
                x
                for x in self._store.objects["inventory_sources"].values()
                if x["inventory"] == template["inventory"] and x["update_on_launch"]
            ]
        return next((reason for x in sources if (reason := self.update_inventory(x))), "")

    def _end(self, job: Fields, outcome: Outcome, explanation: str = "") -> None:
        with self._lock:
            job.update(
                artifacts=outcome.artifacts,
                job_explanation=explanation,
                failed=outcome.status != "successful",
                finished="2026-01-01T00:00:01Z",
                event_processing_finished=True,
                status=outcome.status,
            )

    # -- workflows ----------------------------------------------------------------------------------------------------

    def _run_workflow(self, job: Fields, template: Fields) -> None:
        with self._lock:
            nodes = [
                x
                for x in self._store.objects["workflow_job_template_nodes"].values()
                if x["workflow_job_template"] == template["id"]
            ]
            links = {
                (x["id"], kind): [
                    y["id"] for y in self._store.related("workflow_job_template_nodes", x["id"], f"{kind}_nodes")
                ]
                for x in nodes
                for kind in ("success", "failure", "always")
            }
        by_id = {x["id"]: x for x in nodes}
        followers = {y for found in links.values() for y in found}
        waiting: list[tuple[Fields, Fields]] = [(x, {}) for x in nodes if x["id"] not in followers]
        failed = False
        while waiting:
            node, artifacts = waiting.pop(0)
            done = self._run_node(job, template, node, artifacts)
            passed = done["status"] == "successful"
            next_ids = links[node["id"], "success" if passed else "failure"] + links[node["id"], "always"]
            failed = failed or (not passed and not next_ids)
            waiting += [(by_id[x], {**artifacts, **done["artifacts"]}) for x in next_ids]
        self._end(job, Outcome("failed" if failed else "successful"))
        self._tell("workflow_job_templates", template, "error" if failed else "success", job)

    def _run_node(self, workflow: Fields, template: Fields, node: Fields, artifacts: Fields) -> Fields:
        """One node to its end. Its own prompts are dropped where its template does not ask for them, but what the
        workflow was told goes to jobs as it is, and wins over the artifacts of the nodes before."""
        with self._lock:
            found = self._store.template(node["unified_job_template"])
        if found is None:
            return {"status": "failed", "artifacts": {}}
        endpoint, target = found
        if endpoint == "workflow_approval_templates":
            return self._await_approval(workflow, template, target)
        prompts = {**node, "extra_vars": node["extra_data"], "limit": workflow["limit"] or node["limit"]}
        accepted = judge(target, self._store.survey(endpoint, target["id"]), prompts, PROMPTS).accepted
        own = accepted.get("extra_vars", {})
        accepted["extra_vars"] = {**own, **artifacts, **variables_of(workflow["extra_vars"])}
        accepted["extra_vars"]["awx_workflow_job_id"] = workflow["id"]
        with self._lock:
            job = self._make(endpoint, target, accepted)
        job["status"] = "running"
        (self._run_job if endpoint == "job_templates" else self._run_workflow)(job, target)
        return job

    def _await_approval(self, workflow: Fields, template: Fields, target: Fields) -> Fields:
        number = self._store.next_id()
        approval: Fields = {
            "id": number,
            "type": "workflow_approval",
            "url": f"{API}/workflow_approvals/{number}/",
            "name": target["name"],
            "description": target["description"],
            "status": "pending",
            "artifacts": {},
            "workflow_job": workflow["id"],
        }
        decided = self._decided[number] = threading.Event()
        with self._lock:
            self.all[number] = approval
        self._tell("workflow_job_templates", template, "approvals", approval)
        if not decided.wait(FAR):
            approval["status"] = "failed"
        return approval

    def decide(self, number: int, approved: bool) -> None:
        """Approve or deny what waits for it."""
        if self.all[number]["status"] != "pending":
            raise Refused({"error": "This workflow step has already been approved or denied."})
        self.all[number]["status"] = "successful" if approved else "failed"
        self._decided[number].set()

    def _tell(self, endpoint: str, template: Fields, event: str, job: Fields) -> None:
        """Send what notification templates make of an event."""
        with self._lock:
            hooks = self._store.related(endpoint, template["id"], f"notification_templates_{event}")
        for hook in hooks:
            body = self.message(hook, event, job)
            self.sent.append({"hook": hook["name"], "event": event, "body": body})
            self._world.post(hook["notification_configuration"]["url"], body)

    @staticmethod
    def message(hook: Mapping[str, Any], event: str, job: Mapping[str, Any]) -> Fields:
        """The body of a notification; what is no JSON is sent as an empty object."""
        environment = ImmutableSandboxedEnvironment(undefined=ChainableUndefined)
        place = f"https://awx.example.com/#/jobs/{job['id']}"
        messages = hook["messages"] or {}
        if event == "approvals":
            kept = (messages.get("workflow_approval") or {}).get("running")
            context = {"approval_status": "running", "approval_node_name": job["name"], "workflow_url": place}
        else:
            kept = messages.get(event)
            context = {"job": job, "url": place}
        text = environment.from_string((kept or {}).get("body") or "{}").render(**context)
        try:
            found = json.loads(text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def close(self) -> None:
        """Wait for everything that runs."""
        for number in self._decided:
            if self.all[number]["status"] == "pending":
                self.decide(number, False)
        for thread in self._threads:
            thread.join(FAR)


def playbooks_of(folder: Path) -> list[str]:
    """The files that AWX takes for playbooks."""
    found = []
    for path in sorted(folder.rglob("*.y*ml")):
        name = path.relative_to(folder)
        if not {"roles", "tasks", "group_vars", "host_vars"} & set(name.parts):
            lines = path.read_text(encoding="utf-8").splitlines()
            starts = [x.strip().removeprefix("- ").removeprefix("ansible.builtin.") for x in lines]
            if any(x.startswith(("hosts:", "import_playbook:", "include:")) for x in starts):
                found.append(str(name))
    return found
