# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the sample project's controller_objects.yml, put into the stand-in at once.

The setup playbook makes the same ones by awx.awx, a module an object; tests of what they do need not wait for it.
"""

from __future__ import annotations

import json
from typing import Any

from .app import AwxStandIn
from .rules import Fields

# Ansible writes the templated variables into this file.
PLAY = """
- name: Write the objects
  hosts: localhost
  gather_facts: false
  vars_files: [{objects}]
  tasks:
    - name: Write them
      ansible.builtin.copy:
        content: "{{{{ {{{names}}} | to_json }}}}"
        dest: {target}
        mode: "0600"
      no_log: true
      diff: false
"""
LISTS = (
    "controller_credential_types",
    "controller_credentials",
    "controller_execution_environments",
    "controller_notifications",
    "controller_projects",
    "controller_inventories",
    "controller_inventory_sources",
    "controller_templates",
    "controller_workflows",
    "controller_schedules",
)
# The fields that name other objects, and where these are.
NAMES = {
    "organization": "organizations",
    "credential_type": "credential_types",
    "credential": "credentials",
    "execution_environment": "execution_environments",
    "default_environment": "execution_environments",
    "inventory": "inventories",
    "project": "projects",
    "source_project": "projects",
}
HOOKS = ("notification_templates_error", "notification_templates_success", "notification_templates_approvals")


def play(objects: str, target: str) -> str:
    """A play that writes the objects, as Ansible templates them, into the file `target`."""
    return PLAY.format(objects=objects, target=target, names=", ".join(f"'{x}': {x}" for x in LISTS))


def load(awx: AwxStandIn, objects: dict[str, list[Fields]]) -> None:
    """Make all of it; raises Refused where AWX would."""
    store = awx.store
    endpoints = {
        "controller_credential_types": "credential_types",
        "controller_credentials": "credentials",
        "controller_execution_environments": "execution_environments",
        "controller_notifications": "notification_templates",
        "controller_projects": "projects",
        "controller_inventories": "inventories",
        "controller_inventory_sources": "inventory_sources",
        "controller_templates": "job_templates",
        "controller_workflows": "workflow_job_templates",
    }
    for name, endpoint in endpoints.items():
        for entry in objects[name]:
            item = store.create(endpoint, _with_ids(awx, entry))
            if endpoint == "projects":
                awx.jobs.look_at(awx.jobs.update_project(item))
            if entry.get("survey_spec"):
                store.set_survey(endpoint, item["id"], entry["survey_spec"])
            if endpoint == "job_templates":
                for credential in entry["credentials"]:
                    store.associate(endpoint, item["id"], "credentials", {"id": _id(awx, "credentials", credential)})
            for association in HOOKS:
                for hook in entry.get(association, ()):
                    store.associate(endpoint, item["id"], association, {"id": _id(awx, "notification_templates", hook)})
            if endpoint == "workflow_job_templates":
                _make_nodes(awx, item["id"], entry["simplified_workflow_nodes"])
    for entry in objects["controller_schedules"]:
        template = _id(awx, "workflow_job_templates", entry["unified_job_template"])
        store.create("schedules", {**entry, "unified_job_template": template})


def _make_nodes(awx: AwxStandIn, workflow: int, nodes: list[Fields]) -> None:
    made: dict[str, int] = {}
    for node in nodes:
        if "approval_node" in node:
            template = awx.store.create("workflow_approval_templates", node["approval_node"])["id"]
        else:
            template = _id(awx, "job_templates", node["unified_job_template"])
        body = {
            "identifier": node["identifier"],
            "workflow_job_template": workflow,
            "unified_job_template": template,
        }
        made[node["identifier"]] = awx.store.create("workflow_job_template_nodes", body)["id"]
    for node in nodes:
        for kind in ("success_nodes", "failure_nodes"):
            for other in node.get(kind, ()):
                awx.store.associate("workflow_job_template_nodes", made[node["identifier"]], kind, {"id": made[other]})


def _with_ids(awx: AwxStandIn, entry: Fields) -> Fields:
    found: dict[str, Any] = {}
    for name, value in entry.items():
        if name in NAMES:
            found[name] = _id(awx, NAMES[name], value) if value else None
        elif name == "extra_vars":
            found[name] = json.dumps(value)
        else:
            found[name] = value
    return found


def _id(awx: AwxStandIn, endpoint: str, name: str) -> int:
    number: int = awx.store.named(endpoint, name)["id"]
    return number
