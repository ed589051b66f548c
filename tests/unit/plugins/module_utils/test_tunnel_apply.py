# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was planned for a tunnel is carried out once, and a lost answer is settled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    CloudflareError,
    NotFoundError,
    ServerError,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_apply import apply_plan

from tests.harness.simulator import Simulator

ClientOf = Callable[..., Client]
NEW = {"name": "a new one", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.200.0.0/31"}


@pytest.mark.parametrize(
    "fault", [{"status": 502}, {"drop": True}, {"truncate": "closed"}, {"reset_mid_body": True}], ids=str
)
def test_a_created_tunnel_whose_answer_was_lost_is_found_by_its_name(
    simulator: Simulator, client: Client, fault: dict[str, Any]
) -> None:
    simulator.arm({"route": "create", "when": "after", **fault})
    made = apply_plan(client, _tunnel.plan_present(None, NEW), validate_only=False)
    assert made is not None
    assert made["id"] == simulator.tunnels_by_name()["a new one"]["id"]
    assert simulator.writes() == 1


def test_a_tunnel_that_was_not_created_is_an_error_with_an_unknown_outcome(
    simulator: Simulator, client: Client
) -> None:
    simulator.arm({"route": "create", "status": 502})
    with pytest.raises(ServerError, match="whether it was carried out is not known"):
        apply_plan(client, _tunnel.plan_present(None, NEW), validate_only=False)
    assert simulator.writes() == 0


def test_a_refused_creation_is_not_looked_for(simulator: Simulator, client: Client) -> None:
    name = simulator.state()["tunnels"][0]["name"]
    with pytest.raises(CloudflareError, match="the name is that of another tunnel at /name"):
        apply_plan(client, _tunnel.plan_present(None, {**NEW, "name": name}), validate_only=False)
    assert [entry["operation"] for entry in simulator.journal()] == ["create"]


def test_the_first_error_is_told_when_looking_fails_too(simulator: Simulator, client_of: ClientOf) -> None:
    simulator.arm({"route": "create", "status": 502}, {"route": "list", "status": 404})
    with pytest.raises(CloudflareError, match="creating tunnel 'a new one'") as caught:
        apply_plan(client_of(simulator), _tunnel.plan_present(None, NEW), validate_only=False)
    assert not isinstance(caught.value, NotFoundError)
