# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users get: the collection out of its archive, and the execution environment that ansible-builder makes of it.

No image is built here, because that needs a registry: the build context is checked, and what ansible-builder would
find in the installed collection.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.harness.playbook import ROOT
from tests.harness.runner import BIN, PROJECT
from tests.integration.awx.conftest import Site


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command away from the checkout; returns what it printed."""
    env = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(cwd), "LC_ALL": "C.UTF-8", "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder into which the built archive was installed."""
    folder: Path = tmp_path_factory.mktemp("installed")
    run(sys.executable, ROOT / "tools" / "build", cwd=folder)
    (archive,) = (ROOT / "build").glob("magicwan-cloudflare-*.tar.gz")
    run(BIN / "ansible-galaxy", "collection", "install", "--offline", archive, "-p", folder / "here", cwd=folder)
    return folder / "here"


@pytest.mark.fleet(tunnels=4)
def test_the_installed_collection_rotates_with_nothing_of_the_checkout_on_the_path(site: Site, installed: Path) -> None:
    site.controller.collections = installed
    job = site.controller.run("rotate.yml", extra_vars=site.on_localhost()).succeeded()
    assert job.stats["magicwan_psk_rotation"]["changed"] == 4
    paths = {x.get("event_data", {}).get("task_path") for x in job.events} - {None}
    assert paths
    assert {x for x in paths if not x.startswith((str(installed), str(site.controller.workdir)))} == set()


def test_the_sample_project_is_in_the_archive(installed: Path) -> None:
    sample = installed / "ansible_collections" / "magicwan" / "cloudflare" / "playbooks" / "awx"
    assert {x.relative_to(sample) for x in sample.rglob("*")} == {x.relative_to(PROJECT) for x in PROJECT.rglob("*")}


def test_ansible_builder_finds_what_the_collection_needs_of_python(installed: Path) -> None:
    found = yaml.safe_load(run(BIN / "ansible-builder", "introspect", installed, cwd=installed))
    wanted = {x.partition("#")[0].strip() for x in found["python"]}
    assert wanted == {"requests>=2.28", "hvac>=2.0"}


def test_ansible_builder_makes_a_build_context_of_the_sample(tmp_path: Path) -> None:
    shutil.copytree(PROJECT, tmp_path / "project")
    context = tmp_path / "context"
    definition = tmp_path / "project" / "execution-environment.yml"
    run(
        *(BIN / "ansible-builder", "create", "-f", definition, "-c", context, "--output-filename", "Containerfile"),
        cwd=tmp_path / "project",
    )
    assert "ansible-core~=" in (context / "Containerfile").read_text(encoding="utf-8")
    galaxy = yaml.safe_load((context / "_build" / "requirements.yml").read_text(encoding="utf-8"))
    assert [x["name"] for x in galaxy["collections"]] == ["magicwan.cloudflare"]
