# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a launch, a schedule or a node may say, and what AWX makes of it: surveys and prompts. Pure functions.

After awx/main/models/mixins.py and awx/api/serializers.py: a required question is not answered by its default; a text
has a least length, so that "" is below a minimum of 1; an integer is no text; what a template does not ask for is
refused at a launch, in a schedule and in a node, and dropped when a workflow hands it to a node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Fields = dict[str, Any]

# The fields of a launch, and what allows them. extra_vars are judged by the survey as well.
ASKED = {
    "limit": "ask_limit_on_launch",
    "job_type": "ask_job_type_on_launch",
    "inventory": "ask_inventory_on_launch",
    "job_slice_count": "ask_job_slice_count_on_launch",
    "credentials": "ask_credential_on_launch",
    "labels": "ask_labels_on_launch",
}
REQUIRED, PROMPTS = "required", "prompts"


@dataclass
class Judged:
    """What is taken of a launch, what is left aside, and why it is refused as a whole."""

    accepted: Fields = field(default_factory=dict)
    rejected: Fields = field(default_factory=dict)
    errors: Fields = field(default_factory=dict)


def judge(template: Mapping[str, Any], survey: Mapping[str, Any], launch: Mapping[str, Any], *forgive: str) -> Judged:
    """Judge a launch of this template. `forgive` names what is no error: REQUIRED where a node is saved, PROMPTS where
    it is launched."""
    found = Judged()
    given = variables_of(launch.get("extra_vars"))
    taken: Fields = {}
    left = dict(given)
    complaints: list[str] = []
    for question in survey.get("spec", ()) if template.get("survey_enabled") else ():
        name = question["variable"]
        wrong = answer_errors(question, given, required=REQUIRED not in forgive)
        complaints += wrong
        if name in left:
            (found.rejected.setdefault("extra_vars", {}) if wrong else taken)[name] = left.pop(name)
    if complaints:
        found.errors["variables_needed_to_start"] = complaints
    if template.get("ask_variables_on_launch"):
        taken |= left
        left = {}
    own = variables_of(template.get("extra_vars"))
    left = {name: value for name, value in left.items() if name not in own or own[name] != value}
    if taken:
        found.accepted["extra_vars"] = taken
    if left:
        found.rejected.setdefault("extra_vars", {}).update(left)
        if PROMPTS not in forgive:
            names = ", ".join(left)
            found.errors["extra_vars"] = [
                f"Variables {names} are not allowed on launch. Check the Prompt on Launch setting on the template to"
                " include Extra Variables."
            ]
    for name, ask in ASKED.items():
        value = launch.get(name)
        if value is None or value == template.get(name):
            continue
        if template.get(ask):
            found.accepted[name] = value
        else:
            found.rejected[name] = value
            if PROMPTS not in forgive:
                found.errors[name] = ["Field is not configured to prompt on launch."]
    return found


def answer_errors(question: Mapping[str, Any], given: Mapping[str, Any], required: bool = True) -> list[str]:
    """What is wrong with the answer to one question; an answer that is not there is checked for `required` only."""
    name, kind = question["variable"], question["type"]
    if name not in given:
        return [f"'{name}' value missing"] if question["required"] and required else []
    value = given[name]
    if kind in ("text", "textarea", "password"):
        if not isinstance(value, str):
            return [f"Value {value} for '{name}' expected to be a string."]
        return _bounds(question, value, len(value))
    if kind == "integer":
        if type(value) is not int:
            return [f"Value {value} for '{name}' expected to be an integer."]
        return _bounds(question, value, value)
    if kind == "float":
        if type(value) not in (int, float):
            return [f"Value {value} for '{name}' expected to be a numeric type."]
        return _bounds(question, value, value)
    choices = question["choices"]
    choices = [x for x in choices.splitlines() if x.strip()] if isinstance(choices, str) else choices
    values = value if kind == "multiselect" else [value]
    if not isinstance(values, list):
        return [f"'{name}' value is expected to be a list."]
    return [f"Value {x} for '{name}' expected to be one of {choices}." for x in values if x not in choices]


def job_variables(template: Mapping[str, Any], survey: Mapping[str, Any], runtime: Mapping[str, Any]) -> Fields:
    """The extra variables of a job: the template's, then the survey's defaults, then what the launch has said."""
    merged = variables_of(template.get("extra_vars"))
    for question in survey.get("spec", ()) if template.get("survey_enabled") else ():
        default = question.get("default")
        if default is not None and not answer_errors(question, {question["variable"]: default}):
            merged[question["variable"]] = default
    return {**merged, **runtime}


def variables_of(text: Any) -> Fields:
    """Variables as AWX takes them: a dictionary, or JSON or YAML of one."""
    if not text:
        return {}
    if isinstance(text, dict):
        return dict(text)
    try:
        found = json.loads(text)
    except ValueError:
        found = yaml.safe_load(text)
    return dict(found or {})


def _bounds(question: Mapping[str, Any], value: Any, size: float) -> list[str]:
    name, least, most = question["variable"], question.get("min"), question.get("max")
    wrong = []
    if least not in ("", None) and size < int(least):
        wrong.append(f"'{name}' value {value} is too small (must be at least {least}).")
    if most not in ("", None) and size > int(most):
        wrong.append(f"'{name}' value {value} is too large (must be no more than {most}).")
    return wrong
