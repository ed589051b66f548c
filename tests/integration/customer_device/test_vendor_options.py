# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role hands to a vendor's modules; test_vendor_modules says that the real ones know these options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import VENV, Result

from .conftest import play, result
from .vendor_stand_ins import PANOS, VendorModules

PROVIDER = {"ip_address": "192.0.2.1", "username": "ansible", "password": "provider-password-of-the-test"}
Run = Callable[..., Result]


@pytest.fixture
def modules(tmp_path: Path) -> VendorModules:
    return VendorModules(tmp_path / "vendors")


def bring(run: Run, modules: VendorModules, platform: str, **variables: Any) -> Result:
    """Bring the whole tunnel into a device of the platform."""
    own = {
        "customer_device_platform": platform,
        "customer_device_tunnels": [result()],
        "customer_device_wan_interface": "wan0",
        **variables,
    }
    return run(
        play("main", **own),
        inventory="d ansible_connection=local",
        env={"ANSIBLE_COLLECTIONS_PATH": f"{VENV / 'collections'}:{modules.folder}"},
        secret=PROVIDER["password"],
    ).ok()


def test_every_module_of_panos_is_told_how_to_reach_the_firewall(run: Run, modules: VendorModules) -> None:
    outcome = bring(run, modules, "panos", customer_device_panos_provider=PROVIDER)
    assert outcome.result("Show")["msg"][0]["status"] == "confirmed"
    assert {name for name, _options in modules.calls()} == set(PANOS)
    assert all(options["provider"] == PROVIDER for _name, options in modules.calls())


def test_secure_logging_hides_the_firewalls_password(run: Run, modules: VendorModules) -> None:
    variables = {"customer_device_panos_provider": PROVIDER, "customer_device_secure_logging": True}
    assert PROVIDER["password"] not in bring(run, modules, "panos", **variables).output


@pytest.mark.shows_secrets
def test_without_secure_logging_the_firewalls_password_is_shown(run: Run, modules: VendorModules) -> None:
    variables = {"customer_device_panos_provider": PROVIDER, "customer_device_secure_logging": False}
    assert PROVIDER["password"] in bring(run, modules, "panos", **variables).output


@pytest.mark.parametrize("save", [True, False])
def test_vyos_is_asked_to_save_as_the_user_says(run: Run, modules: VendorModules, save: bool) -> None:
    bring(run, modules, "vyos", customer_device_vyos_save=save, customer_device_reauthenticate="never")
    assert [options["save"] for name, options in modules.calls() if name == "vyos_config"] == [save]
