# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An explicit localhost gets a Python of its own, which may lack requests: the trap of many an AWX inventory."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.harness.runner import LOCAL
from tests.integration.awx.conftest import Site

MODULE_TASK = """
- name: Run a module where the inventory says
  hosts: localhost
  gather_facts: false
  tasks:
    - name: List the tunnels
      magicwan.cloudflare.ipsec_tunnel_info:
"""


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A folder of Pythons without requests, under every name that interpreter discovery looks for."""
    folder = tmp_path / "bare"
    venv.create(folder, with_pip=False)
    for minor in range(8, 16):
        link = folder / "bin" / f"python3.{minor}"
        if not link.exists():
            link.symlink_to("python3")
    code = subprocess.run([folder / "bin" / "python3", "-c", "import requests"], capture_output=True, check=False)
    assert code.returncode == 1
    return folder / "bin"


@pytest.mark.fleet(tunnels=4)
def test_an_explicit_localhost_whose_python_lacks_requests_rotates(site: Site, bare_python: Path) -> None:
    path = f"{bare_python}:{Path(sys.executable).parent}:/usr/bin:/bin"
    discovered = {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": "auto_silent"}}
    options: dict[str, Any] = {"inventory": discovered, "env": {"PATH": path}}
    trapped = site.controller.run("module.yml", project={"module.yml": MODULE_TASK}, **options)
    assert trapped.status == "failed"
    assert "Failed to import the required Python library (requests)" in trapped.stdout
    job = site.controller.run("rotate.yml", extra_vars=site.on_localhost(), **options).succeeded()
    assert job.stats["magicwan_psk_rotation"]["changed"] == 4


@pytest.mark.fleet(tunnels=4)
def test_devices_beside_it_do_not_change_that(site: Site, bare_python: Path) -> None:
    inventory = {
        "localhost": {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(bare_python / "python3"),
            "psk_rotation_tunnels": [],
        },
        "site": {**LOCAL, "psk_rotation_tunnels": ["all"]},
    }
    job = site.controller.run(
        "rotate.yml",
        inventory=inventory,
        extra_vars={
            "psk_rotation_escrow": site.escrow,
            "psk_rotation_unknown_psk": "rotate",
            "psk_rotation_confirmation": "none",
        },
    ).succeeded()
    assert job.stats["magicwan_psk_rotation"]["hosts"]["site"]["changed"] == 4
