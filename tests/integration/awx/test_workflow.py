# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of the setup playbook at work: its jobs on ansible-runner, in an AWX that is the stand-in.

The tests of this file tell one story in their order: an account, an escrow, and an AWX that was set up once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.secrets_scan import find_secrets
from tests.integration.awx.story import WORKFLOW
from tests.integration.awx.world import Awx, set_up_awx

TUNNELS = 8
GROUP_VARS = Path("inventory") / "group_vars"


@pytest.fixture(scope="module")
def awx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Awx]:
    with set_up_awx(tmp_path_factory.mktemp("workflow"), TUNNELS) as found:
        yield found


@pytest.fixture(autouse=True)
def no_secret_is_shown(awx: Awx) -> Iterator[None]:
    """What AWX keeps of jobs, and what it sends, has no PSK and no token in it."""
    yield
    state = awx.simulator.state()
    psks = sorted({x["psk"] for entries in state["psk_history"].values() for x in entries})
    secrets = [*psks, awx.simulator.token, awx.secret_id, awx.awx.token]
    assert not find_secrets(repr([awx.awx.jobs.all, awx.awx.jobs.sent]), secrets)
    hits = [hit for result in awx.results.values() for hit in result.hits(secrets)]
    assert not hits, hits[:5]


def start(awx: Awx, **body: Any) -> int:
    """Launch the workflow."""
    answer = awx.launch(WORKFLOW, "workflow_job_templates", **body)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["workflow_job"])


def names(awx: Awx) -> list[str]:
    return sorted(x["name"] for x in awx.simulator.state()["tunnels"])


def without_endpoint(awx: Awx) -> list[str]:
    return sorted(x["name"] for x in awx.simulator.state()["tunnels"] if not x.get("customer_endpoint"))


def test_the_approval_says_what_the_rotation_would_do(awx: Awx) -> None:
    last = awx.simulator.state()["tunnels"][-1]
    awx.simulator.patch_tunnel(last["id"], customer_endpoint=None)
    workflow = start(awx)
    text = awx.approval(workflow)["description"]
    assert text.startswith(f"Would rotate {TUNNELS - 1} tunnels: ")
    assert all(name in text for name in names(awx))
    assert f"No host terminates 1 tunnel: {last['name']}; they are left out." in text
    assert awx.simulator.writes() == 0
    (sent,) = [x["body"]["text"] for x in awx.awx.jobs.sent if x["event"] == "success"]
    assert text in sent
    awx.decide(workflow, "deny")


def test_a_denied_rotation_touches_nothing(awx: Awx) -> None:
    (workflow,) = [x["id"] for x in awx.awx.jobs.all.values() if x["type"] == "workflow_job"]
    assert awx.wait_for(workflow)["status"] == "failed"
    assert awx.launched() == ["check.yml"]
    assert awx.simulator.writes() == 0


def test_a_limit_leaves_other_hosts_out_and_the_approval_says_so_and_calls_none_of_their_tunnels_unclaimed(
    awx: Awx,
) -> None:
    (content,) = awx.awx.jobs.contents.values()
    host, variables = next(iter(content.hosts.items()))
    own = {x["name"] for x in awx.simulator.state()["tunnels"] if x["id"] in variables["psk_rotation_tunnels"]}
    before = awx.psks_set()
    workflow = start(awx, limit=host)
    text = awx.approval(workflow)["description"]
    assert text.startswith(f"Would rotate {len(own)} tunnels: ")
    assert f"Limited to {host}." in text
    assert f"No host terminates 1 tunnel: {without_endpoint(awx)[0]}; they are left out." in text
    awx.decide(workflow, "approve")
    assert awx.wait_for(workflow)["status"] == "successful", awx.last_output()
    assert awx.psks_set() == {x: before[x] + (x in own) for x in before}


def test_an_approved_one_rotates_and_confirms(awx: Awx) -> None:
    before = awx.psks_set()
    workflow = start(awx)
    planned = awx.approval(workflow)["description"].partition(". ")[0]
    awx.decide(workflow, "approve")
    assert awx.wait_for(workflow)["status"] == "successful"
    assert awx.launched()[-3:] == ["check.yml", "rotate.yml", "confirm.yml"]
    # Two were rotated a moment ago, and one has no device.
    assert planned.startswith(f"Would rotate {TUNNELS - 3} tunnels: ")
    assert awx.psks_set() == {x: before[x] + (x in planned) for x in before}


def test_tunnels_without_a_customer_endpoint_have_a_template_of_their_own(awx: Awx) -> None:
    before = awx.psks_set()
    job = awx.job("Magic WAN - rotate without devices")
    assert job["status"] == "successful", awx.results[job["id"]].stdout
    found = job["artifacts"]["magicwan_psk_rotation"]["hosts"]["localhost"]["tunnels"]
    assert [x["name"] for x in found.values()] == without_endpoint(awx)
    assert awx.psks_set() == {x: before[x] + (x in without_endpoint(awx)) for x in before}


def test_the_audit_hands_counts_and_findings_over(awx: Awx) -> None:
    foreign = awx.simulator.state()["tunnels"][0]
    awx.simulator.patch_tunnel(foreign["id"], psk="somebody-else-has-set-this-one-0123456789")
    job = awx.job("Magic WAN - audit")
    assert job["status"] == "failed"
    found = job["artifacts"]["magicwan_psk_audit"]
    assert found["counts"]["broken"] == 1
    assert found["broken"] == {foreign["name"]: ["foreign"]}
    assert foreign["name"] in found["message"]
    (sent,) = [x["body"] for x in awx.awx.jobs.sent if x["body"].get("magicwan", {}).get("template") == job["name"]]
    assert sent["magicwan"]["audit"]["findings"]["foreign"] == 1
    assert found["message"] in sent["text"]


def test_a_variable_that_is_taken_out_of_the_projects_group_is_gone_in_awx_and_one_of_all_is_not(awx: Awx) -> None:
    (source,) = awx.awx.all("inventory_sources").values()
    own, everybody = awx.project / GROUP_VARS / "magicwan.yml", awx.project / GROUP_VARS / "all.yml"
    kept = own.read_text(encoding="utf-8")
    own.write_text(f"{kept}\npsk_rotation_wave_size: 7\n", encoding="utf-8")
    everybody.write_text("psk_rotation_canary: 3\n", encoding="utf-8")
    assert awx.awx.jobs.update_inventory(source) == ""
    content = awx.awx.jobs.contents[source["inventory"]]
    assert content.groups["magicwan"]["psk_rotation_wave_size"] == 7
    assert content.variables["psk_rotation_canary"] == 3
    own.write_text(kept, encoding="utf-8")
    everybody.unlink()
    assert awx.awx.jobs.update_inventory(source) == ""
    content = awx.awx.jobs.contents[source["inventory"]]
    assert "psk_rotation_wave_size" not in content.groups["magicwan"]
    assert content.variables["psk_rotation_canary"] == 3
    content.variables.clear()


def test_a_host_variable_that_somebody_typed_into_awx_is_lost_at_the_next_sync(awx: Awx) -> None:
    (source,) = awx.awx.all("inventory_sources").values()
    host = next(iter(awx.awx.jobs.contents[source["inventory"]].hosts))
    awx.awx.jobs.contents[source["inventory"]].hosts[host]["typed"] = True
    assert awx.awx.jobs.update_inventory(source) == ""
    assert "typed" not in awx.awx.jobs.contents[source["inventory"]].hosts[host]
