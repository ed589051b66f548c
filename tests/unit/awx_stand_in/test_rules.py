# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in refuses, so that the setup playbook's tests can fail."""

from __future__ import annotations

from typing import Any

import pytest

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


@pytest.mark.parametrize(
    "rrule",
    [
        "RRULE:FREQ=DAILY;INTERVAL=1",
        "DTSTART:20260101T000000Z RRULE:FREQ=DAILY",
        "DTSTART:20260101T000000 RRULE:FREQ=DAILY;INTERVAL=1",
    ],
)
def test_a_schedule_without_a_start_in_a_time_zone_or_an_interval_is_refused(rrule: str) -> None:
    with pytest.raises(Refused):
        check("schedules", {"rrule": rrule})


@pytest.mark.parametrize("question", [{"default": "1"}, {"type": "number"}])
def test_a_bad_survey_is_refused(question: dict[str, Any]) -> None:
    check_survey({"name": "", "description": "", "spec": [QUESTION]})
    with pytest.raises(Refused):
        check_survey({"name": "", "description": "", "spec": [{**QUESTION, **question}]})
