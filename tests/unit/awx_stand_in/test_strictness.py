# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The behaviours of AWX that a kinder stand-in once hid: each was seen on a running one, and is in AWX's own code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.awx_stand_in.app import AwxStandIn
from tests.awx_stand_in.inventories import Content, UpdateFailed, merge, read
from tests.awx_stand_in.jobs import Launch, Outcome, World
from tests.harness.playbook import VENV
from tests.harness.runner import BIN, PROJECT
from tests.harness.simulator import Simulator

URL = "https://git.example.com/p.git"
QUESTION = {"question_name": "Q", "variable": "age", "type": "text", "required": True, "default": "90d", "min": 1}
NUMBER = {"question_name": "N", "variable": "n", "type": "integer", "required": False, "default": 1}
TYPE = {
    "name": "type",
    "kind": "cloud",
    "inputs": {"fields": [{"id": "url", "label": "URL"}, {"id": "token", "label": "Token", "secret": True}]},
    "injectors": {"env": {"TOKEN": "{{ token }}"}},
}


class Api:
    """The stand-in as a client sees it, with a project that was synced, and an inventory."""

    def __init__(self, awx: AwxStandIn) -> None:
        self.awx = awx
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {awx.token}"
        self.project = self.make("projects", name="p", organization=1, scm_type="git", scm_url=URL)
        self.inventory = self.make("inventories", name="i", organization=1)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        return self.session.request(method, f"{self.awx.url}/api/v2/{path}/", json=body, timeout=10)

    def make(self, path: str, **body: Any) -> int:
        answer = self.call("POST", path, body)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    def sync(self) -> dict[str, Any]:
        """Look at the project until its update has ended."""
        while (found := self.call("GET", f"projects/{self.project}").json())["status"] == "pending":
            pass
        return dict(found)

    def template(self, name: str = "t", *questions: dict[str, Any], **more: Any) -> int:
        body = {"name": name, "project": self.project, "inventory": self.inventory, "playbook": "rotate.yml", **more}
        number = self.make("job_templates", **body, survey_enabled=bool(questions))
        self.survey("job_templates", number, *questions)
        return number

    def workflow(self, *questions: dict[str, Any], **more: Any) -> int:
        number = self.make("workflow_job_templates", name="w", survey_enabled=bool(questions), **more)
        self.survey("workflow_job_templates", number, *questions)
        return number

    def survey(self, endpoint: str, number: int, *questions: dict[str, Any]) -> None:
        if questions:
            survey = {"name": "", "description": "", "spec": list(questions)}
            assert self.call("POST", f"{endpoint}/{number}/survey_spec", survey).status_code == 200

    def launch(self, endpoint: str, number: int, **extra_vars: Any) -> requests.Response:
        return self.call("POST", f"{endpoint}/{number}/launch", {"extra_vars": extra_vars} if extra_vars else {})

    def wait(self, job: int) -> dict[str, Any]:
        while not (found := self.awx.jobs.all[job])["finished"]:
            pass
        return found


@pytest.fixture
def ran() -> list[Launch]:
    """What was run."""
    return []


@pytest.fixture
def api(ran: list[Launch]) -> Iterator[Api]:
    def run(launch: Launch) -> Outcome:
        ran.append(launch)
        return Outcome("successful", {"from_artifacts": launch.template, "age": "artifact"})

    with AwxStandIn(World(projects={URL: PROJECT}, run=run)) as awx:
        api = Api(awx)
        api.sync()
        yield api


def test_a_required_question_is_not_answered_by_its_default(api: Api) -> None:
    template, workflow = api.template("t", QUESTION), api.workflow(QUESTION)
    refused = {"variables_needed_to_start": ["'age' value missing"]}
    for endpoint, number in (("job_templates", template), ("workflow_job_templates", workflow)):
        answer = api.launch(endpoint, number)
        assert (answer.status_code, answer.json()) == (400, refused)
        rrule = "DTSTART:20260101T000000Z RRULE:FREQ=DAILY;INTERVAL=1"
        schedule = {"name": "s", "unified_job_template": number, "rrule": rrule}
        answer = api.call("POST", "schedules", schedule)
        assert (answer.status_code, answer.json()) == (400, refused)
        assert api.call("POST", "schedules", {**schedule, "extra_data": {"age": "1d"}}).status_code == 201


def test_a_question_that_is_not_required_is_answered_by_its_default(api: Api, ran: list[Launch]) -> None:
    template = api.template("t", {**QUESTION, "required": False})
    api.wait(api.launch("job_templates", template).json()["job"])
    assert ran[0].extra_vars == {"age": "90d"}


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ({"age": ""}, "'age' value  is too small (must be at least 1)."),
        ({"age": 90}, "Value 90 for 'age' expected to be a string."),
        ({"age": "1d", "n": "1"}, "Value 1 for 'n' expected to be an integer."),
        ({"age": "1d", "n": True}, "Value True for 'n' expected to be an integer."),
    ],
)
def test_an_answer_of_another_type_or_below_the_minimum_is_refused(
    api: Api, answers: dict[str, Any], complaint: str
) -> None:
    answer = api.launch("job_templates", api.template("t", QUESTION, NUMBER), **answers)
    assert (answer.status_code, answer.json()) == (400, {"variables_needed_to_start": [complaint]})


@pytest.mark.parametrize("kind", ["job_templates", "workflow_job_templates"])
def test_what_a_template_does_not_ask_for_is_refused_at_launch_and_in_a_schedule(
    api: Api, ran: list[Launch], kind: str
) -> None:
    number = api.template() if kind == "job_templates" else api.workflow()
    answer = api.launch(kind, number, ansible_eda={})
    assert answer.status_code == 400
    assert "Variables ansible_eda are not allowed on launch" in answer.json()["extra_vars"][0]
    rrule = "DTSTART:20260101T000000Z RRULE:FREQ=DAILY;INTERVAL=1"
    body = {"name": "s", "unified_job_template": number, "rrule": rrule, "extra_data": {"other": 1}}
    answer = api.call("POST", "schedules", body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"extra_data"}
    assert ran == []


def test_a_limit_that_is_not_asked_for_is_refused_by_a_workflow_and_left_aside_by_a_job_template(api: Api) -> None:
    limited = {"limit": "a"}
    assert api.call("POST", f"workflow_job_templates/{api.workflow()}/launch", limited).status_code == 400
    answer = api.call("POST", f"job_templates/{api.template()}/launch", limited)
    assert (answer.status_code, answer.json()["ignored_fields"]) == (201, limited)
    api.wait(answer.json()["job"])


def test_what_a_nodes_template_no_longer_asks_for_is_dropped_when_the_workflow_runs(
    api: Api, ran: list[Launch]
) -> None:
    template, workflow = api.template("t", NUMBER), api.workflow()
    node = {"workflow_job_template": workflow, "identifier": "a", "unified_job_template": template}
    refused = api.call("POST", "workflow_job_template_nodes", {**node, "extra_data": {"other": 1}})
    assert refused.status_code == 400
    api.make("workflow_job_template_nodes", **node, extra_data={"n": 5})
    api.call("PATCH", f"job_templates/{template}", {"survey_enabled": False})
    job = api.wait(api.launch("workflow_job_templates", workflow).json()["workflow_job"])
    assert job["status"] == "successful"
    assert "n" not in ran[0].extra_vars


def test_a_node_is_saved_without_what_its_template_requires_and_the_launch_is_not(api: Api) -> None:
    template, workflow = api.template("t", QUESTION), api.workflow(QUESTION)
    node = {"workflow_job_template": workflow, "identifier": "a", "unified_job_template": template}
    assert api.call("POST", "workflow_job_template_nodes", node).status_code == 201
    assert api.launch("workflow_job_templates", workflow).status_code == 400


def test_artifacts_are_variables_of_the_next_node_and_the_workflows_own_win(api: Api, ran: list[Launch]) -> None:
    workflow = api.workflow(QUESTION)
    nodes = [
        api.make(
            "workflow_job_template_nodes",
            workflow_job_template=workflow,
            identifier=name,
            unified_job_template=api.template(name),
        )
        for name in ("one", "two")
    ]
    api.call("POST", f"workflow_job_template_nodes/{nodes[0]}/success_nodes", {"id": nodes[1]})
    api.wait(api.launch("workflow_job_templates", workflow, age="1d").json()["workflow_job"])
    assert [x.template for x in ran] == ["one", "two"]
    assert ran[1].extra_vars["from_artifacts"] == "one"
    assert ran[1].extra_vars["age"] == "1d"


def test_a_patch_replaces_all_fields_of_a_credential_but_a_secret_that_is_sent_as_encrypted(api: Api) -> None:
    kind = api.make("credential_types", **TYPE)
    body = {"name": "c", "organization": 1, "credential_type": kind}
    number = api.make("credentials", **body, inputs={"url": "u", "token": "secret"})
    api.call("PATCH", f"credentials/{number}", {"inputs": {"url": "v", "token": "$encrypted$"}})
    assert api.awx.store.credential_inputs(number) == {"url": "v", "token": "secret"}
    api.call("PATCH", f"credentials/{number}", {"inputs": {"url": "w"}})
    assert api.awx.store.credential_inputs(number) == {"url": "w"}
    assert api.call("PATCH", f"credentials/{number}", {"inputs": {"token": "$encrypted$"}}).status_code == 400
    new = {**body, "name": "d", "inputs": {"token": "$encrypted$"}}
    assert api.call("POST", "credentials", new).status_code == 400


def test_names_of_execution_environments_are_global_and_others_an_organizations_own(api: Api) -> None:
    other = api.make("organizations", name="Other")
    environment = api.make("execution_environments", name="e", image="i", organization=1)
    assert api.call("POST", "execution_environments", {"name": "e", "image": "i"}).status_code == 400
    assert api.call("PATCH", f"execution_environments/{environment}", {"organization": other}).status_code == 400
    api.make("inventories", name="i", organization=other)
    assert api.call("POST", "inventories", {"name": "i", "organization": other}).status_code == 400


def test_a_job_template_can_not_name_a_playbook_before_the_projects_first_sync(api: Api) -> None:
    project = api.make("projects", name="new", organization=1, scm_type="git", scm_url=URL)
    body = {"name": "t", "project": project, "inventory": api.inventory, "playbook": "rotate.yml"}
    answer = api.call("POST", "job_templates", body)
    assert (answer.status_code, answer.json()) == (400, {"playbook": ["Playbook not found for project."]})
    for _look in range(2):
        api.call("GET", f"projects/{project}")
    assert api.call("POST", "job_templates", body).status_code == 201


def test_a_credential_of_another_kind_is_refused_for_a_repository_and_for_a_registry(api: Api) -> None:
    kinds = {x["kind"]: x["id"] for x in api.call("GET", "credential_types").json()["results"]}
    made = {
        kind: api.make("credentials", name=kind, organization=1, credential_type=number, inputs={})
        for kind, number in kinds.items()
    }
    environment = {"name": "e", "image": "i", "organization": 1}
    assert api.call("POST", "execution_environments", {**environment, "credential": made["scm"]}).status_code == 400
    api.make("execution_environments", **environment, credential=made["registry"])
    path = f"projects/{api.project}"
    assert api.call("PATCH", path, {"credential": made["registry"]}).status_code == 400
    assert api.call("PATCH", path, {"credential": made["scm"]}).status_code == 200


def test_what_belongs_to_a_deleted_object_goes_with_it_and_what_refers_to_it_refers_to_nothing(api: Api) -> None:
    template, workflow = api.template(), api.workflow()
    node = {"workflow_job_template": workflow, "identifier": "a", "unified_job_template": template}
    number = api.make("workflow_job_template_nodes", **node)
    rrule = "DTSTART:20260101T000000Z RRULE:FREQ=DAILY;INTERVAL=1"
    api.make("schedules", name="s", unified_job_template=template, rrule=rrule)
    api.make("inventory_sources", name="i", inventory=api.inventory, source="scm", source_project=api.project)
    api.call("DELETE", f"projects/{api.project}")
    assert api.call("GET", f"job_templates/{template}").json()["project"] is None
    assert api.call("GET", "inventory_sources").json()["count"] == 0
    api.call("DELETE", f"job_templates/{template}")
    assert api.call("GET", "schedules").json()["count"] == 0
    assert api.call("GET", f"workflow_job_template_nodes/{number}").json()["unified_job_template"] is None
    api.call("DELETE", f"workflow_job_templates/{workflow}")
    assert api.call("GET", f"workflow_job_template_nodes/{number}").status_code == 404


def test_a_sync_fails_where_galaxy_is_not_there_for_what_the_project_demands(api: Api, tmp_path: Path) -> None:
    (tmp_path / "collections").mkdir()
    (tmp_path / "collections" / "requirements.yml").write_text("collections: []", encoding="utf-8")
    api.awx.world.projects[URL] = tmp_path
    api.call("POST", f"projects/{api.project}/update")
    assert api.sync()["status"] == "successful"
    api.awx.world.galaxy = False
    api.call("POST", f"projects/{api.project}/update")
    found = api.sync()
    assert found["status"] == "failed"
    update = found["summary_fields"]["last_update"]["id"]
    (event,) = api.call("GET", f"project_updates/{update}/events").json()["results"]
    assert event["event_data"]["res"]["msg"] == "non-zero return code"
    assert "Galaxy" in event["event_data"]["res"]["stderr"]


def test_variables_of_the_group_all_are_merged_and_never_removed_and_those_of_other_groups_are_replaced() -> None:
    kept = Content({"old": 1}, {"g": {"old": 1}}, {"h": {"typed": 1}}, {"g": ["h"]})
    found = {"all": {"vars": {"new": 2}}, "g": {"hosts": ["h"]}, "_meta": {"hostvars": {"h": {"new": 2}}}}
    merged = merge(kept, found, overwrite=True, overwrite_vars=True)
    assert merged.variables == {"old": 1, "new": 2}
    assert merged.groups == {"g": {}}
    assert merged.hosts == {"h": {"new": 2}}
    merged = merge(kept, found, overwrite=False, overwrite_vars=False)
    assert merged.groups == {"g": {"old": 1}}
    assert merged.hosts == {"h": {"typed": 1, "new": 2}}


def test_an_inventory_update_finds_no_collection_but_that_of_the_execution_environment() -> None:
    source, collections = "inventory/devices.ipsec_tunnels.yml", VENV / "collections"
    with Simulator(4) as simulator:
        env = simulator.env()
        with pytest.raises(UpdateFailed) as error:
            read(PROJECT, source, env, BIN / "ansible-inventory", project_collections=collections)
        assert "unknown plugin 'magicwan.cloudflare.ipsec_tunnels'" in str(error.value)
        found = read(PROJECT, source, env, BIN / "ansible-inventory", ee_collections=collections)
    assert found["magicwan"]["hosts"]


def test_two_launches_of_a_template_that_may_not_run_beside_itself_run_one_after_the_other(api: Api) -> None:
    running: list[int] = []
    most: list[int] = []

    def run(launch: Launch) -> Outcome:
        running.append(launch.number)
        most.append(len(running))
        running.remove(launch.number)
        return Outcome()

    api.awx.world.run = run
    template = api.template()
    for job in [api.launch("job_templates", template).json()["job"] for _ in range(3)]:
        api.wait(job)
    assert most == [1, 1, 1]


def test_without_the_token_nothing_is_answered(api: Api) -> None:
    assert requests.get(f"{api.awx.url}/api/v2/organizations/", timeout=10).status_code == 401


def test_a_message_with_a_field_that_a_job_without_artifacts_lacks_is_refused(api: Api) -> None:
    hook = {
        "name": "h",
        "organization": 1,
        "notification_type": "webhook",
        "notification_configuration": {"url": "https://example.com"},
    }
    bad = {"error": {"body": '{"x": {{ job.artifacts.mine.x | tojson }}}'}}
    good = {"error": {"body": '{"x": {{ (job.artifacts.mine | default({})).x | default(0) | tojson }}}'}}
    assert api.call("POST", "notification_templates", {**hook, "messages": bad}).status_code == 400
    assert api.call("POST", "notification_templates", {**hook, "messages": good}).status_code == 201
