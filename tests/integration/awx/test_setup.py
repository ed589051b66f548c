# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The setup playbook by the real awx.awx 24.6.1 against the stand-in, from nothing to what people do to it later.

The tests of this file tell one story in their order, on one stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.awx_stand_in.app import AwxStandIn
from tests.awx_stand_in.jobs import World
from tests.harness.playbook import ROOT, Playbooks
from tests.harness.runner import PROJECT
from tests.harness.secrets_scan import find_secrets
from tests.integration.awx.story import (
    ACCOUNT,
    CLOUDFLARE,
    ENVIRONMENT,
    ESCROW,
    SECRET_ID,
    TOKEN,
    URL,
    WORKFLOW,
    Story,
    changed,
)

ENTERED = "https://entered.example.com"
LIMITS = {"max_age", "wave_size", "canary", "max_failures"}
TEMPLATES = {
    "Magic WAN - check": ("check.yml", "check"),
    "Magic WAN - rotate": ("rotate.yml", "run"),
    "Magic WAN - rotate without devices": ("rotate_without_devices.yml", "run"),
    "Magic WAN - confirm": ("confirm.yml", "run"),
    "Magic WAN - reconcile": ("reconcile.yml", "run"),
    "Magic WAN - roll back": ("rollback.yml", "run"),
    "Magic WAN - roll back a tunnel": ("rollback_tunnel.yml", "run"),
    "Magic WAN - adopt": ("adopt.yml", "run"),
    "Magic WAN - audit": ("audit.yml", "run"),
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with AwxStandIn(World(projects={}, galaxy=False)) as awx:
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


def test_an_organization_that_is_not_there_is_refused_before_anything_is_made(story: Story, writes: list[str]) -> None:
    result = story.set_up(magicwan_awx_organization="Nobody").failed()
    assert 'there is no organization "Nobody"' in result.output
    assert writes == []


def test_a_check_run_on_an_empty_controller_makes_nothing(story: Story, writes: list[str]) -> None:
    result = story.set_up(check=True).ok()
    assert result.changed > 0
    assert "what rests on them was not looked at" in result.output
    assert writes == []


def test_a_project_that_can_not_be_reached_ends_it_with_the_reason(story: Story) -> None:
    result = story.set_up(ENVIRONMENT).failed()
    assert 'the update of the project "Magic WAN" has ended failed' in result.output
    assert "Could not resolve host" in result.output
    assert story.awx.all("job_templates") == {}


def test_a_project_whose_collections_can_not_be_had_ends_it_with_galaxys_reason(story: Story, tmp_path: Path) -> None:
    (tmp_path / "collections").mkdir()
    (tmp_path / "collections" / "requirements.yml").write_text("collections: [a.b]\n", encoding="utf-8")
    story.awx.world.projects[URL] = tmp_path
    result = story.set_up(ENVIRONMENT).failed()
    assert "Unknown error when attempting to call Galaxy" in result.output
    assert "non-zero return code" not in result.output
    assert story.awx.all("job_templates") == {}


def test_a_project_without_the_samples_playbooks_is_named_as_such(story: Story, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text("- hosts: all\n", encoding="utf-8")
    story.awx.world.projects[URL] = tmp_path
    result = story.set_up(ENVIRONMENT).failed()
    assert 'the project "Magic WAN" lacks adopt.yml, audit.yml, check.yml, confirm.yml' in result.output


def test_with_the_cause_mended_the_next_run_makes_every_object(story: Story) -> None:
    story.awx.world.projects[URL] = PROJECT
    story.set_up(ENVIRONMENT).ok()
    awx = story.awx
    templates = awx.all("job_templates")
    assert {name: (x["playbook"], x["job_type"]) for name, x in templates.items()} == TEMPLATES
    assert {x["job_slice_count"] for x in templates.values()} == {1}
    for name in TEMPLATES:
        assert sorted(awx.associated("job_templates", name, "credentials")) == [CLOUDFLARE, ESCROW]
    source = awx.all("inventory_sources")["Tunnels of the account"]
    assert source["source_path"].endswith("ipsec_tunnels.yml")
    assert (PROJECT / source["source_path"]).is_file()
    assert awx.all("schedules")[WORKFLOW]["rrule"].endswith("RRULE:FREQ=DAILY;INTERVAL=30")


def test_only_the_rollback_of_one_tunnel_may_run_beside_itself(story: Story) -> None:
    simultaneous = {name for name, x in story.awx.all("job_templates").items() if x["allow_simultaneous"]}
    assert simultaneous == {"Magic WAN - roll back a tunnel"}
    assert not story.awx.all("workflow_job_templates")[WORKFLOW]["allow_simultaneous"]


def test_a_template_that_works_on_localhost_asks_for_no_limit(story: Story) -> None:
    unlimited = {name for name, x in story.awx.all("job_templates").items() if not x["ask_limit_on_launch"]}
    kinds = ("rotate without devices", "roll back a tunnel", "adopt", "audit")
    assert unlimited == {f"Magic WAN - {kind}" for kind in kinds}


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
    hook = ["Magic WAN"]
    assert story.awx.associated("workflow_job_templates", WORKFLOW, "notification_templates_approvals") == hook
    assert story.awx.associated("job_templates", "Magic WAN - rotate", "notification_templates_error") == hook


def test_secrets_are_in_secret_fields_only(story: Story) -> None:
    credentials = story.awx.all("credentials")
    assert story.awx.store.secrets == {
        credentials[CLOUDFLARE]["id"]: {"api_token": TOKEN},
        credentials[ESCROW]["id"]: {"secret_id": SECRET_ID},
    }
    shown = repr([story.awx.all(x) for x in ("credentials", "credential_types", "job_templates", "schedules")])
    assert not find_secrets(shown, [TOKEN, SECRET_ID])
    for kind in story.awx.all("credential_types").values():
        assert kind["managed"] or set(kind["injectors"]) == {"env"}


def test_surveys_ask_for_limits_and_never_for_a_secret(story: Story) -> None:
    spec = yaml.safe_load((ROOT / "roles/psk_rotation/meta/argument_specs.yml").read_text(encoding="utf-8"))
    known = set(spec["argument_specs"]["main"]["options"])
    for endpoint, name in (("job_templates", "Magic WAN - rotate"), ("workflow_job_templates", WORKFLOW)):
        survey = story.awx.survey(endpoint, name)["spec"]
        assert {x["variable"].removeprefix("psk_rotation_") for x in survey} == LIMITS
        assert {x["variable"] for x in survey} <= known
        assert "password" not in {x["type"] for x in survey}


@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - {"Magic WAN - roll back a tunnel"}))
def test_every_template_but_that_for_one_tunnel_is_launched_without_an_answer(story: Story, name: str) -> None:
    answer = story.launch(name)
    assert answer.status_code == 201, answer.text


def test_the_rollback_of_one_tunnel_is_refused_without_the_tunnel(story: Story) -> None:
    answer = story.launch("Magic WAN - roll back a tunnel")
    assert answer.status_code == 400
    assert answer.json() == {"variables_needed_to_start": ["'magicwan_tunnel' value missing"]}


def test_the_workflow_is_launched_without_an_answer_and_takes_a_limit(story: Story) -> None:
    answer = story.launch(WORKFLOW, "workflow_job_templates", limit="203.0.113.7")
    assert answer.status_code == 201, answer.text
    assert answer.json()["limit"] == "203.0.113.7"


def test_the_limit_and_a_dry_run_are_asked_for_at_launch(story: Story) -> None:
    rotate = story.awx.all("job_templates")["Magic WAN - rotate"]
    assert rotate["ask_limit_on_launch"] and rotate["ask_job_type_on_launch"]
    assert story.awx.all("workflow_job_templates")[WORKFLOW]["ask_limit_on_launch"]


def test_a_second_run_without_an_environment_changes_nothing_and_says_what_is_left(
    story: Story, writes: list[str]
) -> None:
    result = story.set_up().ok()
    assert changed(result) == []
    assert writes == []
    left = result.result("Report what is left to do")["msg"]
    assert any("inventory/group_vars/magicwan.yml" in x for x in left)
    assert not any("Enter" in x for x in left)


def test_a_run_with_another_address_and_account_in_the_shell_loses_no_field_of_a_credential(
    story: Story, writes: list[str]
) -> None:
    shell = {
        "VAULT_ADDR": "https://other.example.com",
        "VAULT_NAMESPACE": "other",
        "VAULT_TOKEN": "x",
        "CLOUDFLARE_ACCOUNT_ID": "f" * 32,
        "CLOUDFLARE_API_TOKEN": "x",
        "CLOUDFLARE_BASE_URL": "https://other.example.com",
    }
    result = story.set_up(shell).ok()
    assert changed(result) == []
    assert writes == []
    assert story.credential(CLOUDFLARE) == {"account_id": ACCOUNT, "api_token": TOKEN}
    expected = {"url": ENVIRONMENT["VAULT_ADDR"], "role_id": "the-role", "secret_id": SECRET_ID}
    assert story.credential(ESCROW) == expected
    assert "is for another account than CLOUDFLARE_ACCOUNT_ID" in result.output


def test_what_somebody_deleted_is_made_again_and_what_somebody_emptied_is_named(story: Story) -> None:
    template = story.awx.all("job_templates")["Magic WAN - confirm"]["id"]
    story.call("DELETE", f"job_templates/{template}")
    assert story.awx.all("workflow_job_template_nodes")["confirm"]["unified_job_template"] is None
    escrow, cloudflare = (story.awx.all("credentials")[x]["id"] for x in (ESCROW, CLOUDFLARE))
    story.call("PATCH", f"credentials/{escrow}", {"inputs": {"url": ENTERED}})
    story.call("PATCH", f"credentials/{cloudflare}", {"inputs": {"account_id": ACCOUNT}})
    result = story.set_up().ok()
    made = story.awx.all("job_templates")["Magic WAN - confirm"]["id"]
    assert story.awx.all("workflow_job_template_nodes")["confirm"]["unified_job_template"] == made
    assert "Create the credentials" not in changed(result)
    assert result.result("Report what is left to do")["msg"][:2] == [
        'Enter an API token with the permission Magic WAN Write in the credential "Magic WAN - Cloudflare".',
        'Enter role ID and secret ID, or a token in the credential "Magic WAN - PSK escrow".',
    ]


def test_no_secret_for_another_account_or_address_is_put_beside_what_somebody_has_entered(
    story: Story, writes: list[str]
) -> None:
    shell = {**ENVIRONMENT, "CLOUDFLARE_ACCOUNT_ID": "f" * 32}
    result = story.set_up(shell).ok()
    assert changed(result) == [] and writes == []
    left = result.result("Report what is left to do")["msg"]
    assert sum("Enter" in x for x in left) == sum("was kept" in x for x in left) == 2


def test_an_empty_field_is_filled_from_the_environment_unless_a_look_up_feeds_it(story: Story) -> None:
    number = story.awx.all("credentials")[CLOUDFLARE]["id"]
    fed = {"target_credential": number, "source_credential": number, "input_field_name": "api_token"}
    story.call("POST", "credential_input_sources", fed)
    result = story.set_up({**ENVIRONMENT, "VAULT_ADDR": ENTERED, "VAULT_TOKEN": "somebody's own"}).ok()
    assert changed(result) == ["Create the credentials"]
    assert not any("Enter" in x for x in result.result("Report what is left to do")["msg"])
    assert story.credential(CLOUDFLARE) == {"account_id": ACCOUNT}
    assert story.credential(ESCROW) == {"url": ENTERED, "role_id": "the-role", "secret_id": SECRET_ID}


def test_a_second_organization_lives_beside_the_first(story: Story) -> None:
    story.call("POST", "organizations", {"name": "Branch"})
    refused = story.set_up(magicwan_awx_organization="Branch", magicwan_awx_prefix="Magic WAN").failed()
    assert 'the execution environment "Magic WAN" belongs to another organization' in refused.output
    before = {endpoint: story.awx.all(endpoint) for endpoint in ("job_templates", "credentials", "schedules")}
    shell = {**ENVIRONMENT, "CLOUDFLARE_ACCOUNT_ID": "f" * 32}
    story.set_up(shell, magicwan_awx_organization="Branch").ok()
    after = {endpoint: story.awx.all(endpoint) for endpoint in before}
    for endpoint, objects in before.items():
        assert {name: after[endpoint][name] for name in objects} == objects
        assert len(after[endpoint]) == 2 * len(objects)
    assert story.credential("Magic WAN Branch - Cloudflare")["account_id"] == "f" * 32
    assert story.credential(CLOUDFLARE)["account_id"] == ACCOUNT


def test_a_second_account_in_the_same_organization_lives_beside_the_first(story: Story) -> None:
    before = {endpoint: story.awx.all(endpoint) for endpoint in ("job_templates", "credentials", "projects")}
    shell = {**ENVIRONMENT, "CLOUDFLARE_ACCOUNT_ID": "e" * 32}
    story.set_up(shell, magicwan_awx_prefix="Magic WAN lab").ok()
    for endpoint, objects in before.items():
        after = story.awx.all(endpoint)
        assert {name: after[name] for name in objects} == objects
        assert {x for x in after if x not in objects} == {
            name.replace("Magic WAN", "Magic WAN lab", 1) for name in objects if not name.startswith("Magic WAN Branch")
        }
    assert story.credential("Magic WAN lab - Cloudflare")["account_id"] == "e" * 32
    assert story.awx.associated("job_templates", "Magic WAN lab - rotate", "credentials") == [
        "Magic WAN lab - Cloudflare",
        "Magic WAN lab - PSK escrow",
    ]


def test_a_check_run_says_what_a_real_run_would_change_and_writes_nothing(story: Story, writes: list[str]) -> None:
    for name, kind in (("git", "Source Control"), ("registry", "Container Registry")):
        number = story.awx.all("credential_types")[kind]["id"]
        story.call("POST", "credentials", {"name": name, "organization": 1, "credential_type": number, "inputs": {}})
    writes.clear()
    private = {"magicwan_awx_scm_credential": "git", "magicwan_awx_registry_credential": "registry"}
    result = story.set_up(ENVIRONMENT, check=True, magicwan_awx_interval_days=7, **private).ok()
    assert changed(result) == ["Create the execution environment", "Create the project", "Create the schedule"]
    assert writes == []
