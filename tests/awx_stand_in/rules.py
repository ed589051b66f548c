# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX 24.6.1 knows of each kind of object: its fields with their defaults, what it refers to, what it refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

ENCRYPTED = "$encrypted$"
# Some of the names that a credential type may not set.
BLOCKED_ENV = re.compile(r"ANSIBLE_.*|AWX_HOST|JOB_ID|INVENTORY_ID|VIRTUAL_ENV|PATH|PYTHONPATH|SUPERVISOR_.*")
QUESTION_TYPES: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "textarea": str,
    "password": str,
    "multiplechoice": str,
    "multiselect": str,
    "integer": int,
    "float": (int, float),
}
# A start is in a time zone, or ends in Z.
RRULE = re.compile(
    r"DTSTART(;TZID=[\w/+-]+:\d{8}T\d{6}|:\d{8}T\d{6}Z) RRULE:(?=.*INTERVAL=\d+)(?!.*SECONDLY).*FREQ=\w+.*"
)

Fields = dict[str, Any]


class Refused(Exception):
    """A 400 with this body."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        super().__init__(str(body))
        self.body = dict(body)


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    `refers` maps fields to endpoints; `owners` are those of them whose object takes this one with it when it is
    deleted; `credential_kind` is what `credential` must be; `unique` are the fields that no two objects share.
    """

    type: str
    defaults: Fields
    required: tuple[str, ...] = ("name",)
    refers: dict[str, str] = field(default_factory=dict)
    owners: tuple[str, ...] = ()
    credential_kind: str = ""
    unique: tuple[str, ...] = ("name", "organization")
    related: tuple[str, ...] = ()
    lists: dict[str, str] = field(default_factory=dict)
    is_template: bool = False


HOOKS = {f"notification_templates_{x}": "notification_templates" for x in ("started", "success", "error")}
NODES = {f"{x}_nodes": "workflow_job_template_nodes" for x in ("success", "failure", "always")}
ORGANIZATION = {"organization": "organizations"}
NAMED: Fields = {"name": "", "description": ""}
OWNED: Fields = {**NAMED, "organization": None}

KINDS: dict[str, Kind] = {
    "organizations": Kind("organization", NAMED, unique=("name",)),
    "credential_types": Kind(
        "credential_type", {**NAMED, "kind": None, "inputs": {}, "injectors": {}, "managed": False}, unique=("name",)
    ),
    "credentials": Kind(
        "credential",
        {**OWNED, "credential_type": None, "inputs": {}},
        required=("name", "credential_type"),
        refers={**ORGANIZATION, "credential_type": "credential_types"},
        owners=("organization", "credential_type"),
        unique=("name", "organization", "credential_type"),
    ),
    "execution_environments": Kind(
        "execution_environment",
        {**OWNED, "image": "", "pull": "", "credential": None},
        required=("name", "image"),
        refers={**ORGANIZATION, "credential": "credentials"},
        credential_kind="registry",
        unique=("name",),
    ),
    "notification_templates": Kind(
        "notification_template",
        {**OWNED, "notification_type": "", "notification_configuration": {}, "messages": None},
        required=("name", "organization", "notification_type"),
        refers=ORGANIZATION,
    ),
    "projects": Kind(
        "project",
        {
            **OWNED,
            "scm_type": "",
            "scm_url": "",
            "scm_branch": "",
            "scm_update_on_launch": False,
            "scm_revision": "",
            "default_environment": None,
            "credential": None,
        },
        refers={**ORGANIZATION, "default_environment": "execution_environments", "credential": "credentials"},
        credential_kind="scm",
        related=("update", "playbooks"),
        lists=HOOKS,
        is_template=True,
    ),
    "inventories": Kind(
        "inventory",
        {**OWNED, "kind": "", "host_filter": None, "variables": ""},
        required=("name", "organization"),
        refers=ORGANIZATION,
    ),
    "inventory_sources": Kind(
        "inventory_source",
        {
            **NAMED,
            "inventory": None,
            "source": "",
            "source_path": "",
            "source_project": None,
            "credential": None,
            "execution_environment": None,
            "overwrite": False,
            "overwrite_vars": False,
            "update_on_launch": False,
            "update_cache_timeout": 0,
        },
        required=("name", "inventory", "source"),
        refers={
            "inventory": "inventories",
            "source_project": "projects",
            "credential": "credentials",
            "execution_environment": "execution_environments",
        },
        owners=("inventory", "source_project"),
        unique=("name", "inventory"),
        related=("update",),
        lists=HOOKS,
        is_template=True,
    ),
    "job_templates": Kind(
        "job_template",
        {
            **OWNED,
            "job_type": "run",
            "inventory": None,
            "project": None,
            "playbook": "",
            "execution_environment": None,
            "extra_vars": "",
            "survey_enabled": False,
            "job_slice_count": 1,
            "ask_job_slice_count_on_launch": False,
            "ask_job_type_on_launch": False,
            "ask_limit_on_launch": False,
            "ask_variables_on_launch": False,
            "ask_inventory_on_launch": False,
            "ask_labels_on_launch": False,
            "ask_credential_on_launch": False,
            "limit": "",
            "allow_simultaneous": False,
            "use_fact_cache": False,
        },
        required=("name", "project", "playbook"),
        # Its organization is the project's.
        refers={
            **ORGANIZATION,
            "inventory": "inventories",
            "project": "projects",
            "execution_environment": "execution_environments",
        },
        related=("survey_spec", "launch"),
        lists={**HOOKS, "credentials": "credentials", "labels": "labels"},
        is_template=True,
    ),
    "workflow_job_templates": Kind(
        "workflow_job_template",
        {
            **OWNED,
            "extra_vars": "",
            "survey_enabled": False,
            "allow_simultaneous": False,
            "ask_limit_on_launch": False,
            "ask_variables_on_launch": False,
            "ask_inventory_on_launch": False,
            "ask_labels_on_launch": False,
            "limit": None,
            "inventory": None,
        },
        refers={**ORGANIZATION, "inventory": "inventories"},
        related=("survey_spec", "launch"),
        lists={**HOOKS, "notification_templates_approvals": "notification_templates", "labels": "labels"},
        is_template=True,
    ),
    "workflow_job_template_nodes": Kind(
        "workflow_job_template_node",
        {
            "identifier": "",
            "workflow_job_template": None,
            "unified_job_template": None,
            "all_parents_must_converge": False,
            "extra_data": {},
            "limit": None,
            "job_type": None,
        },
        required=("workflow_job_template", "identifier"),
        refers={"workflow_job_template": "workflow_job_templates", "unified_job_template": "unified_job_templates"},
        owners=("workflow_job_template",),
        unique=("identifier", "workflow_job_template"),
        related=("create_approval_template",),
        lists=NODES,
    ),
    "workflow_approval_templates": Kind(
        "workflow_approval_template", {**NAMED, "timeout": 0}, unique=(), is_template=True
    ),
    "schedules": Kind(
        "schedule",
        {**NAMED, "rrule": "", "enabled": True, "unified_job_template": None, "extra_data": {}, "limit": None},
        required=("name", "rrule", "unified_job_template"),
        refers={"unified_job_template": "unified_job_templates"},
        owners=("unified_job_template",),
        unique=("name", "unified_job_template"),
    ),
    "labels": Kind("label", OWNED),
    "credential_input_sources": Kind(
        "credential_input_source",
        {"target_credential": None, "source_credential": None, "input_field_name": "", "metadata": {}},
        required=("target_credential", "source_credential", "input_field_name"),
        refers={"target_credential": "credentials", "source_credential": "credentials"},
        owners=("target_credential", "source_credential"),
        unique=("target_credential", "input_field_name"),
    ),
}

# What AWX checks a message with.
STUB: Fields = {
    "job": {"id": 42, "name": "Stub JobTemplate", "status": "running", "artifacts": {}, "description": ""},
    "job_friendly_name": "Job",
    "url": "https://platformhost/#/jobs/playbook/1010",
    "approval_status": "approved",
    "approval_node_name": "Approve Me",
    "workflow_url": "https://platformhost/#/jobs/workflow/1010",
    "job_metadata": "{}",
}
WEBHOOK: Fields = {"username": "", "password": "", "http_method": "POST", "disable_ssl_verification": False}


def check(endpoint: str, item: Fields) -> None:
    """Refuse what AWX refuses of this object alone; fill in what AWX fills in."""
    if endpoint == "credential_types":
        _check_credential_type(item)
    elif endpoint == "schedules" and not RRULE.fullmatch(item["rrule"]):
        raise Refused({"rrule": ["DTSTART and an RRULE with INTERVAL are required"]})
    elif endpoint == "notification_templates":
        if item["notification_type"] != "webhook" or not item["notification_configuration"].get("url"):
            raise Refused({"notification_configuration": ["the stand-in knows webhooks with a url only"]})
        item["notification_configuration"] = {**WEBHOOK, "headers": {}, **item["notification_configuration"]}
        _check_messages(item["messages"] or {})
    elif endpoint in ("job_templates", "inventory_sources") and not isinstance(item.get("extra_vars", ""), str):
        raise Refused({"extra_vars": ["must be text"]})


def _check_messages(messages: Mapping[str, Any]) -> None:
    """AWX renders each message with a job that has no artifacts, and every undefined field is an error."""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    entries = [messages.get(x) for x in ("started", "success", "error")]
    entries += list((messages.get("workflow_approval") or {}).values())
    for text in (text for entry in entries if entry for text in entry.values()):
        try:
            environment.from_string(text).render(STUB)
        except TemplateError as exc:
            raise Refused({"messages": [f"Unable to render message '{text}': {exc}"]}) from None


def check_inputs(
    credential_type: Mapping[str, Any], inputs: Mapping[str, Any], kept: Mapping[str, Any] | None = None
) -> None:
    """Refuse a credential's fields that its type does not have, and $encrypted$ for a secret that is not there."""
    known = {x["id"] for x in credential_type["inputs"].get("fields", [])}
    unknown = sorted(set(inputs) - known)
    if unknown:
        raise Refused({"inputs": [f"Additional properties are not allowed: {unknown}"]})
    for name in secret_fields(credential_type) & set(inputs):
        if inputs[name] == ENCRYPTED and name not in (kept or {}):
            raise Refused({"inputs": [f"$encrypted$ is a reserved keyword, and cannot be used for {name}."]})
        if not isinstance(inputs[name], str):
            raise Refused({"inputs": {name: ["secret values must be of type string"]}})


def injected(credential_type: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, str]:
    """What a credential puts into a job's environment; fields that are not set are no variables, and so empty there."""
    environment = ImmutableSandboxedEnvironment()
    known = {name: value for name, value in inputs.items() if value}
    templates = credential_type["injectors"].get("env", {})
    return {name: environment.from_string(template).render(known) for name, template in templates.items()}


def secret_fields(credential_type: Mapping[str, Any]) -> set[str]:
    """The fields that are stored encrypted."""
    return {x["id"] for x in credential_type["inputs"].get("fields", []) if x.get("secret")}


def check_survey(survey: Any) -> None:
    """Refuse a survey as AWX does."""
    for key, expected in (("name", str), ("description", str), ("spec", list)):
        if not isinstance(survey.get(key), expected):
            raise Refused({"error": f"Field '{key}' is missing from survey spec, or of another type."})
    variables = set()
    for number, question in enumerate(survey["spec"]):
        missing = {"question_name", "variable", "type", "required"} - set(question)
        strings = all(isinstance(question.get(x), str) for x in ("question_name", "variable", "type"))
        bounds = all(question.get(x) is None or isinstance(question[x], int) for x in ("min", "max"))
        wrong = not strings or not bounds or not isinstance(question.get("required"), bool)
        wrong = wrong or question["type"] not in QUESTION_TYPES or question["variable"] in variables
        if missing or wrong:
            raise Refused({"error": f"survey question {number} is refused: {sorted(missing) or question}"})
        variables.add(question["variable"])
        default = question.get("default", "")
        if default != "" and not isinstance(default, QUESTION_TYPES[question["type"]]):
            raise Refused({"error": f"Default value {default!r} of survey question {number} has the wrong type"})
    if not survey["spec"]:
        raise Refused({"error": "'spec' doesn't contain any items."})


def _check_credential_type(item: Fields) -> None:
    if item.get("managed"):
        return
    if item["kind"] not in ("cloud", "net"):
        raise Refused({"kind": ["must be cloud or net"]})
    fields = item["inputs"].get("fields", [])
    for entry in fields:
        if not re.fullmatch(r"[a-zA-Z_]\w*", entry["id"]) or entry["id"] in ("tower", "awx") or not entry.get("label"):
            raise Refused({"inputs": [f"{entry} is not valid"]})
        if entry.get("type", "string") not in ("string", "boolean"):
            raise Refused({"inputs": [f"{entry['type']} is not an allowed type"]})
    names = [x["id"] for x in fields]
    if len(names) != len(set(names)) or set(item["inputs"].get("required", [])) - set(names):
        raise Refused({"inputs": ["ids must be unique, and required ones defined"]})
    if set(item["injectors"]) - {"env", "extra_vars", "file"}:
        raise Refused({"injectors": ["only env, extra_vars and file are known"]})
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    for name, template in item["injectors"].get("env", {}).items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or BLOCKED_ENV.fullmatch(name):
            raise Refused({"injectors": [f"Environment variable {name} is not allowed to be used in credentials."]})
        try:
            environment.from_string(template).render(dict.fromkeys(names, "EXAMPLE"))
        except TemplateError as exc:
            raise Refused({"injectors": [f"{name} uses an undefined field ({exc})"]}) from None
