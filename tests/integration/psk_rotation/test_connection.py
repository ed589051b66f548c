# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection may be given by the role's variables as well as by the environment; and the preflight can be left."""

from __future__ import annotations

import pytest

from tests.integration.psk_rotation.stage import Stage

pytestmark = pytest.mark.fleet(tunnels=4)
NOTHING = {"CLOUDFLARE_ACCOUNT_ID": None, "CLOUDFLARE_API_TOKEN": None, "CLOUDFLARE_BASE_URL": None}


def test_the_roles_variables_are_enough(stage: Stage) -> None:
    connection = {
        "psk_rotation_account_id": stage.simulator.account,
        "psk_rotation_api_token": stage.simulator.token,
        "psk_rotation_base_url": stage.simulator.base_url,
        "psk_rotation_validate_certs": False,
        "psk_rotation_timeout": 20,
        "psk_rotation_retries": 2,
    }
    assert stage.rotate(connection, env=NOTHING, then=()).ok().rotated == set(stage.psks())


def test_email_and_key_are_enough(stage: Stage) -> None:
    connection = {"psk_rotation_api_email": "sim@example.com", "psk_rotation_api_key": "sim-key"}
    run = stage.rotate(connection, env={"CLOUDFLARE_API_TOKEN": None}, then=()).ok()
    assert run.rotated == set(stage.psks())
    assert {entry["auth"] for entry in run.requests} == {"key"}


def test_certificates_that_are_not_there_are_refused_before_the_first_request(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_ca_path": "/nowhere/ca.pem"}, then=()).failed()
    assert "ca_path '/nowhere/ca.pem' is no file" in run.result.output
    assert run.requests == []


def test_without_the_preflight_nothing_is_validated(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_preflight": False}, then=()).ok()
    assert (run.validations, run.rotated) == ([], set(stage.psks()))
