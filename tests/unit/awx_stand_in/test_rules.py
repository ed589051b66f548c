# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in refuses, so that the setup playbook's tests can fail."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.awx_stand_in.app import AwxStandIn
from tests.awx_stand_in.rules import Refused, check, check_survey

FIELD = {"id": "token", "label": "Token", "secret": True}
QUESTION = {"question_name": "Q", "variable": "v", "type": "integer", "required": True, "default": 1}


def credential_type(**changes: Any) -> dict[str, Any]:
    return {"kind": "cloud", "inputs": {"fields": [FIELD]}, "injectors": {"env": {"T": "{{ token }}"}}, **changes}


def test_a_good_credential_type_is_taken() -> None:
    check("credential_types", credential_type())


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "ssh"},
        {"inputs": {"fields": [FIELD, FIELD]}},
        {"inputs": {"fields": [FIELD], "required": ["other"]}},
        {"inputs": {"fields": [{**FIELD, "id": "awx"}]}},
        {"injectors": {"env": {"T": "{{ other }}"}}},
        {"injectors": {"env": {"ANSIBLE_CONFIG": "{{ token }}"}}},
        {"injectors": {"files": {}}},
    ],
)
def test_a_bad_credential_type_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        check("credential_types", credential_type(**changes))


@pytest.mark.parametrize("rrule", ["RRULE:FREQ=DAILY;INTERVAL=1", "DTSTART:20260101T000000Z RRULE:FREQ=DAILY"])
def test_a_schedule_without_a_start_or_an_interval_is_refused(rrule: str) -> None:
    with pytest.raises(Refused):
        check("schedules", {"rrule": rrule})


@pytest.mark.parametrize("question", [{"default": "1"}, {"type": "number"}])
def test_a_bad_survey_is_refused(question: dict[str, Any]) -> None:
    check_survey({"name": "", "description": "", "spec": [QUESTION]})
    with pytest.raises(Refused):
        check_survey({"name": "", "description": "", "spec": [{**QUESTION, **question}]})


class Api:
    """The stand-in as a client sees it."""

    def __init__(self, awx: AwxStandIn) -> None:
        self.url = f"{awx.url}/api/v2"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {awx.token}"

    def post(self, path: str, **body: Any) -> requests.Response:
        return self.session.post(f"{self.url}/{path}/", json=body, timeout=10)

    def make(self, path: str, **body: Any) -> int:
        answer = self.post(path, **body)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])


def test_a_job_template_needs_a_playbook_that_an_update_has_found() -> None:
    with AwxStandIn({"rotate.yml"}) as awx:
        api = Api(awx)
        project = api.make("projects", name="p", organization=1, scm_type="git")
        template = {"name": "t", "project": project, "playbook": "rotate.yml"}
        assert api.post("job_templates", **template).status_code == 400
        update = awx.all("projects")["p"]["summary_fields"]["current_update"]["id"]
        api.session.get(f"{api.url}/project_updates/{update}/", timeout=10)
        assert api.post("job_templates", **template).status_code == 201
        assert api.post("job_templates", **{**template, "name": "u", "playbook": "x.yml"}).status_code == 400


def test_a_second_object_of_a_name_and_a_reference_to_nothing_are_refused() -> None:
    with AwxStandIn(()) as awx:
        api = Api(awx)
        api.make("inventories", name="i", organization=1)
        assert api.post("inventories", name="i", organization=1).status_code == 400
        assert api.post("inventories", name="j", organization=99).status_code == 400


def test_without_the_token_nothing_is_answered() -> None:
    with AwxStandIn(()) as awx:
        assert requests.get(f"{awx.url}/api/v2/organizations/", timeout=10).status_code == 401
