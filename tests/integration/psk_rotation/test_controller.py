# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller does the role's own work with its own Python, however localhost is described in the inventory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.psk_rotation.stage import Stage

pytestmark = pytest.mark.fleet(tunnels=4)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python without requests."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def test_the_bare_python_really_lacks_requests(bare_python: Path) -> None:
    assert subprocess.run([bare_python, "-c", "import requests"], capture_output=True, check=False).returncode == 1


def test_localhost_of_the_inventory_may_have_another_python(stage: Stage, bare_python: Path) -> None:
    inventory = f"localhost ansible_connection=local ansible_python_interpreter={bare_python}\n"
    inventory = inventory.replace("\n", " psk_rotation_tunnels=all\n")
    assert stage.rotate(inventory=inventory, then=()).ok().rotated == set(stage.psks())


def test_devices_may_have_another_python(stage: Stage, bare_python: Path) -> None:
    inventory = stage.devices(ansible_python_interpreter=str(bare_python))
    assert stage.rotate_devices(inventory=inventory, then=()).ok().rotated == set(stage.psks())


def test_localhost_of_the_inventory_may_be_reached_by_ssh(stage: Stage) -> None:
    assert stage.rotate(
        inventory="localhost ansible_connection=ssh psk_rotation_tunnels=all\n", then=()
    ).ok().rotated == set(stage.psks())


def test_localhost_need_not_be_in_the_inventory(stage: Stage) -> None:
    run = stage.rotate(
        {"psk_rotation_hosts": "localhost", "psk_rotation_tunnels": ["all"]}, inventory=None, then=()
    ).ok()
    assert run.rotated == set(stage.psks())
