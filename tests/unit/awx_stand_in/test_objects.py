# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample project's controller_objects.yml has only keys that the roles of infra.aap_configuration 3.0.0 read.

The table is out of the roles' tasks; the collection itself is on Galaxy and GitHub only.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.harness.runner import PROJECT

COMMON = {"name", "description", "organization"}
HOOKS = {"notification_templates_error", "notification_templates_success"}
ASK = {f"ask_{x}_on_launch" for x in ("limit", "job_type", "job_slice_count", "variables")} | {"limit"}
READ = {
    "controller_credential_types": {"name", "description", "kind", "inputs", "injectors"},
    "controller_credentials": COMMON | {"credential_type", "inputs", "update_secrets"},
    "magicwan_awx_environment": COMMON | {"image", "pull", "credential"},
    "magicwan_awx_webhook": COMMON | {"notification_type", "notification_configuration", "messages"},
    "magicwan_awx_events": COMMON | {"notification_type", "notification_configuration", "messages"},
    "magicwan_awx_project": COMMON
    | {"scm_type", "scm_url", "scm_branch", "credential", "scm_update_on_launch", "default_environment"},
    "controller_inventories": COMMON,
    "controller_inventory_sources": COMMON
    | {"inventory", "source", "source_project", "source_path", "credential", "execution_environment"}
    | {"overwrite", "overwrite_vars", "update_on_launch", "update_cache_timeout"},
    "controller_templates": COMMON
    | HOOKS
    | ASK
    | {"inventory", "project", "execution_environment", "job_slice_count", "use_fact_cache", "job_type", "playbook"}
    | {"credentials", "extra_vars", "allow_simultaneous", "survey_enabled", "survey_spec"},
    "controller_workflows": COMMON
    | HOOKS
    | {"allow_simultaneous", "ask_limit_on_launch", "survey_enabled", "survey_spec", "simplified_workflow_nodes"}
    | {"notification_templates_approvals"},
    "controller_schedules": COMMON | {"unified_job_template", "rrule", "enabled"},
}
NODE = {
    "identifier",
    "unified_job_template",
    "lookup_organization",
    "approval_node",
    "success_nodes",
    "failure_nodes",
}


class ObjectsLoader(yaml.SafeLoader):
    """YAML with Ansible's tag !unsafe."""


ObjectsLoader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))  # type: ignore[type-var]


@pytest.fixture(scope="module")
def objects() -> Any:
    return yaml.load((PROJECT / "controller_objects.yml").read_text(encoding="utf-8"), ObjectsLoader)  # noqa: S506


@pytest.mark.parametrize("name", sorted(READ))
def test_the_roles_read_every_key(objects: Any, name: str) -> None:
    entries = objects[name] if isinstance(objects[name], list) else [objects[name]]
    assert {key for entry in entries for key in entry} <= READ[name]


def test_the_roles_read_every_key_of_a_workflows_node(objects: Any) -> None:
    nodes = [x for entry in objects["controller_workflows"] for x in entry["simplified_workflow_nodes"]]
    assert {key for node in nodes for key in node} <= NODE


@pytest.mark.parametrize("name", ["magicwan_awx_environment", "magicwan_awx_project"])
def test_what_may_have_a_credential_has_no_empty_one(objects: Any, name: str) -> None:
    # The role for projects would ask for the credential without a name, and find every one.
    assert "credential" not in objects[name]


def test_no_template_or_schedule_is_forgotten_in_the_table(objects: Any) -> None:
    lists = {name for name, value in objects.items() if name.startswith("controller_") and isinstance(value, list)}
    assert lists <= set(READ)
