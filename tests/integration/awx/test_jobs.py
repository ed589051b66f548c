# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single jobs of the sample project on ansible-runner, with credentials as AWX gives them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.secrets_scan import find_secrets
from tests.integration.awx.conftest import Site

PASSWORD = "the-vault-password-of-a-credential"


def test_a_rotation_and_its_artifacts(site: Site) -> None:
    before = site.tunnels()
    job = site.controller.run("rotate.yml", extra_vars=site.on_localhost()).succeeded()
    records = site.records()
    assert {i: x["current"]["psk"] for i, x in records.items()} == {i: x["psk"] for i, x in site.tunnels().items()}
    assert all(len(psks) == 1 for psks in site.new_psks(before).values())
    handed_over = job.stats["magicwan_psk_rotation"]
    assert set(handed_over["hosts"]["localhost"]["tunnels"]) == set(before)
    assert handed_over["escrow"] == {"backend": "vault_kv2", "path": site.path}
    site.shows_no_secret(job)
    # The environment is in this file alone, and no PSK is in the environment.
    tokens = [site.simulator.token, site.secret_id]
    assert {x.secret for x in find_secrets(job.artifacts / "command", tokens)} == {0, 1}
    assert not find_secrets(job.artifacts / "command", sorted(set(site.secrets()) - set(tokens)))


@pytest.mark.fleet(tunnels=4)
def test_a_job_says_which_wave_has_ended(site: Site) -> None:
    job = site.controller.run("rotate.yml", extra_vars=site.on_localhost()).succeeded()
    assert re.search(r"wave 1 of 2: 2 tunnels, 2 handed_over, \d+\.\d s", job.stdout)


@pytest.mark.fleet(tunnels=4)
def test_a_check_job_writes_nothing_and_says_what_would_change(site: Site) -> None:
    job = site.controller.run("check.yml", extra_vars=site.on_localhost(), check=True).succeeded()
    assert site.simulator.writes() == 0
    assert site.records() == {}
    tunnels = job.stats["magicwan_psk_rotation"]["hosts"]["localhost"]["tunnels"]
    assert {x["status"] for x in tunnels.values()} == {"planned"}
    plan = job.stats["magicwan_psk_plan"]
    assert plan["text"].startswith("Would rotate 4 tunnels: ") and plan["unclaimed"] == []
    for row in plan["tunnels"]:
        (line,) = [x for x in job.stdout.splitlines() if x.startswith(f"{row['tunnel']} ")]
        assert "localhost" in line and f"  {row['wave']}  " in line and "due: " in line
    site.shows_no_secret(job)


@pytest.mark.fleet(tunnels=4)
def test_a_rotation_that_waits_for_confirmation_has_changed_something(site: Site) -> None:
    before = site.tunnels()
    job = site.controller.run("rotate.yml", extra_vars=site.on_localhost(psk_rotation_confirmation="manual"))
    handed_over = job.succeeded().stats["magicwan_psk_rotation"]
    waiting = [i for i, x in handed_over["hosts"]["localhost"]["tunnels"].items() if x["status"] == "waiting"]
    assert waiting and {i for i, psks in site.new_psks(before).items() if psks} == set(waiting)
    assert handed_over["changed"] == handed_over["hosts"]["localhost"]["changed"] == len(waiting)
    assert "changed=0" not in job.stdout.split("PLAY RECAP")[1]


@pytest.mark.fleet(tunnels=4)
def test_a_rollback_of_a_rotation_that_never_was_fails_and_changes_nothing(site: Site) -> None:
    site.controller.run("rotate.yml", extra_vars=site.on_localhost()).succeeded()
    before = site.tunnels()
    unknown = site.on_localhost(psk_rotation_rollback_id="20200101T000000Z-0000000")
    job = site.controller.run("rollback.yml", extra_vars=unknown)
    assert job.status == "failed"
    assert "no tunnel of this play had the rotation '20200101T000000Z-0000000'" in job.stdout
    assert site.tunnels() == before


@pytest.mark.fleet(tunnels=4)
def test_the_check_playbook_refuses_a_real_run(site: Site) -> None:
    job = site.controller.run("check.yml", extra_vars=site.on_localhost())
    assert job.status == "failed"
    assert "check_psks runs in check mode only" in job.stdout
    assert site.simulator.state()["requests"] == 0


@pytest.mark.fleet(tunnels=4)
def test_the_vault_password_at_the_prompt_opens_a_file_escrow_on_a_volume(site: Site, tmp_path: Path) -> None:
    escrow = {"backend": "file", "path": str(tmp_path / "volume" / "psks.yml"), "persistent": True}
    extra_vars = {**site.on_localhost(), "psk_rotation_escrow": escrow}
    job = site.controller.run("rotate.yml", extra_vars=extra_vars, vault_password=PASSWORD).succeeded()
    assert (tmp_path / "volume" / "psks.yml").read_text(encoding="ascii").startswith("$ANSIBLE_VAULT;")
    assert not job.hits([*site.secrets(), PASSWORD])


@pytest.mark.fleet(tunnels=4)
@pytest.mark.parametrize("kept", [{"JOB_ID": ""}, {"AWX_HOST": ""}], ids=["AWX_HOST", "JOB_ID"])
def test_a_file_escrow_on_the_disk_of_the_job_is_refused(site: Site, tmp_path: Path, kept: dict[str, str]) -> None:
    escrow = {"backend": "file", "path": str(tmp_path / "psks.yml")}
    extra_vars = {**site.on_localhost(), "psk_rotation_escrow": escrow}
    job = site.controller.run("rotate.yml", extra_vars=extra_vars, vault_password=PASSWORD, env=kept)
    assert job.status == "failed"
    assert "this runs on AWX, where a job's disk is gone after the job: use the backend vault_kv2" in job.stdout
    assert site.simulator.writes() == 0
    assert not (tmp_path / "psks.yml").exists()


@pytest.mark.fleet(tunnels=4)
def test_the_audit_of_a_rotated_fleet_finds_nothing(site: Site) -> None:
    rotated = site.controller.run("rotate.yml", extra_vars=site.on_localhost()).succeeded()
    writes = site.simulator.writes()
    audit = site.controller.run("audit.yml", extra_vars=site.on_localhost()).succeeded()
    assert site.simulator.writes() == writes
    site.shows_no_secret(rotated, audit)
