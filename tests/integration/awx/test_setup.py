# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The setup playbook by the real awx.awx 24.6.1 against the stand-in: first run, second run, check runs.

The tests of this file tell one story in their order, on one stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.awx_stand_in.app import AwxStandIn
from tests.harness.playbook import ROOT, VENV, Playbooks, Result
from tests.harness.runner import PROJECT
from tests.harness.secrets_scan import find_secrets
from tests.harness.vendor_collections import vendor_collections

TOKEN = "the-cloudflare-token-of-the-first-run"
SECRET_ID = "the-secret-id-of-the-first-run"
ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
VARIABLES = {
    "magicwan_awx_project_url": "https://git.example.com/network/magicwan.git",
    "magicwan_awx_image": "registry.example.com/network/magicwan-ee:1.0.0",
    "magicwan_awx_webhook_url": "https://chat.example.com/hook",
}
ENVIRONMENT = {
    "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
    "CLOUDFLARE_API_TOKEN": TOKEN,
    "VAULT_ADDR": "https://vault.example.com:8200",
    "VAULT_ROLE_ID": "the-role",
    "VAULT_SECRET_ID": SECRET_ID,
}
LIMITS = {"max_age", "wave_size", "canary", "max_failures"}
WORKFLOW = "Magic WAN - scheduled rotation"
TEMPLATES = {
    "Magic WAN - check": ("check.yml", "check"),
    "Magic WAN - rotate": ("rotate.yml", "run"),
    "Magic WAN - confirm": ("confirm.yml", "run"),
    "Magic WAN - roll back": ("rollback.yml", "run"),
    "Magic WAN - audit": ("audit.yml", "run"),
}


@dataclass
class Story:
    """The stand-in, and runs of the setup playbook on it."""

    awx: AwxStandIn
    playbooks: Playbooks

    def set_up(self, env: dict[str, str] | None = None, check: bool = False, **more: Any) -> Result:
        """Run the playbook; what it prints is searched for the two secrets."""
        result = self.playbooks.run(
            "magicwan.cloudflare.awx_setup",
            extra_vars={**VARIABLES, **more},
            env={
                "CONTROLLER_HOST": self.awx.url,
                "CONTROLLER_OAUTH_TOKEN": self.awx.token,
                "ANSIBLE_COLLECTIONS_PATH": f"{VENV / 'collections'}:{vendor_collections()}",
                **(env or {}),
            },
            check=check,
            timeout=280,
        )
        assert not find_secrets([result.stdout, result.stderr], [TOKEN, SECRET_ID, self.awx.token])
        return result


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with AwxStandIn({x.name for x in PROJECT.glob("*.yml")}) as awx:
        playbooks = Playbooks(Path(tmp_path_factory.mktemp("setup")))
        yield Story(awx, playbooks)
        playbooks.close()


@pytest.fixture
def writes(story: Story) -> list[str]:
    """What was written during the test."""
    story.awx.writes.clear()
    return story.awx.writes


def test_without_the_projects_address_it_says_so(story: Story, writes: list[str]) -> None:
    result = story.set_up(magicwan_awx_project_url="").failed()
    assert "magicwan_awx_project_url is missing: set it with -e" in result.output
    assert writes == []


def test_a_check_run_on_an_empty_controller_makes_nothing(story: Story, writes: list[str]) -> None:
    result = story.set_up(check=True).ok()
    assert result.changed > 0
    assert "what rests on them was not looked at" in result.output
    assert writes == []


def test_the_first_run_makes_every_object(story: Story) -> None:
    story.set_up(ENVIRONMENT).ok()
    awx = story.awx
    templates = awx.all("job_templates")
    assert {name: (x["playbook"], x["job_type"]) for name, x in templates.items()} == TEMPLATES
    assert {(x["job_slice_count"], x["allow_simultaneous"]) for x in templates.values()} == {(1, False)}
    for name in TEMPLATES:
        assert awx.associated("job_templates", name, "credentials") == ["Cloudflare Magic WAN", "PSK escrow"]
    source = awx.all("inventory_sources")["Tunnels of the account"]
    assert source["source_path"].endswith("ipsec_tunnels.yml")
    assert (PROJECT / source["source_path"]).is_file()
    assert awx.all("schedules")[WORKFLOW]["rrule"].endswith("RRULE:FREQ=DAILY;INTERVAL=30")


def test_the_workflow_goes_from_check_by_approval_to_rotation_and_confirmation(story: Story) -> None:
    links = {
        (node, kind): story.awx.associated("workflow_job_template_nodes", node, f"{kind}_nodes")
        for node in story.awx.all("workflow_job_template_nodes")
        for kind in ("success", "failure")
    }
    assert {key: value for key, value in links.items() if value} == {
        ("check", "success"): ["approve"],
        ("approve", "success"): ["rotate"],
        ("rotate", "success"): ["confirm"],
        ("rotate", "failure"): ["roll_back"],
        ("confirm", "failure"): ["roll_back"],
    }
    assert story.awx.all("workflow_approval_templates")["Magic WAN - approve the rotation"]["timeout"] == 259200


def test_the_hook_hears_of_approvals_and_failures(story: Story) -> None:
    hook = ["Magic WAN rotation"]
    assert story.awx.associated("workflow_job_templates", WORKFLOW, "notification_templates_approvals") == hook
    assert story.awx.associated("job_templates", "Magic WAN - rotate", "notification_templates_error") == hook


def test_secrets_are_in_secret_fields_only(story: Story) -> None:
    credentials = story.awx.all("credentials")
    assert story.awx.secret_inputs == {
        credentials["Cloudflare Magic WAN"]["id"]: {"api_token": TOKEN},
        credentials["PSK escrow"]["id"]: {"secret_id": SECRET_ID},
    }
    shown = repr([story.awx.all(x) for x in ("credentials", "credential_types", "job_templates", "schedules")])
    assert not find_secrets(shown, [TOKEN, SECRET_ID])
    for kind in story.awx.all("credential_types").values():
        assert set(kind["injectors"]) == {"env"}


def test_surveys_ask_for_limits_and_never_for_a_secret(story: Story) -> None:
    spec = yaml.safe_load((ROOT / "roles/psk_rotation/meta/argument_specs.yml").read_text(encoding="utf-8"))
    known = set(spec["argument_specs"]["main"]["options"])
    for endpoint, name in (("job_templates", "Magic WAN - rotate"), ("workflow_job_templates", WORKFLOW)):
        survey = story.awx.survey(endpoint, name)["spec"]
        assert {x["variable"].removeprefix("psk_rotation_") for x in survey} == LIMITS
        assert {x["variable"] for x in survey} <= known
        assert "password" not in {x["type"] for x in survey}


def test_the_limit_and_a_dry_run_are_asked_for_at_launch(story: Story) -> None:
    rotate = story.awx.all("job_templates")["Magic WAN - rotate"]
    assert rotate["ask_limit_on_launch"] and rotate["ask_job_type_on_launch"]
    assert story.awx.all("workflow_job_templates")[WORKFLOW]["ask_limit_on_launch"]


def test_a_second_run_changes_nothing_and_leaves_the_token_alone(story: Story, writes: list[str]) -> None:
    result = story.set_up({**ENVIRONMENT, "CLOUDFLARE_API_TOKEN": "another-token-than-the-first"}).ok()
    assert result.changed == 0
    assert writes == []


def test_a_check_run_says_what_a_real_run_would_change_and_writes_nothing(story: Story, writes: list[str]) -> None:
    result = story.set_up(ENVIRONMENT, check=True, magicwan_awx_interval_days=7).ok()
    assert [x["task"] for x in result.tasks if x["result"].get("changed")] == ["Make the schedule"]
    assert writes == []
