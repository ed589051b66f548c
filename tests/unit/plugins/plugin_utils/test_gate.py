# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health gate: what users may write, and what can't be judged."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError, ServerError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._gate import Gate, HealthGate, parse_gate

MEMBER = {"id": "t1", "name": "rome-1", "health_check": {"enabled": True}}
SIBLING = {"id": "t2", "name": "rome-2", "health_check": {"enabled": True}}
ENTRY = {"id": "t1", "name": "rome-1", "group": "rome"}


def test_nothing_given_is_no_gate() -> None:
    assert parse_gate({}, lease=900) is None


def test_what_is_not_given_has_a_default() -> None:
    assert parse_gate({"interval": "10"}, lease=900) == Gate(("healthy", "degraded"), 600.0, 10.0, 120.0)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"accepts": ["healthy"]}, "accepts"),
        ({"accept": ["fine"]}, "accept"),
        ({"accept": "healthy"}, "accept"),
        ({"accept": []}, "accept"),
        ({"accept": [["healthy"]]}, "accept"),
        ({"accept": [{"healthy": True}]}, "accept"),
        ({"deadline": "nan"}, "deadline"),
        ({"interval": "nan"}, "interval"),
        ({"deadline": "soon"}, "deadline"),
        ({"interval": 0}, "interval"),
        ({"deadline": 900}, "psk_rotation_lease"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=rf"psk_rotation_health.*{named}"):
        parse_gate(given, lease=900)


def gate(client: Any = None, **fields: Any) -> HealthGate:
    return HealthGate(client or Mock(spec=Client), Gate(**fields), str)


def test_a_tunnel_whose_check_is_disabled_can_not_be_vouched_for() -> None:
    groups = {"rome": [{**MEMBER, "health_check": {"enabled": False}}]}
    with pytest.raises(InputError, match="rome-1"):
        gate().check_members(groups, acts=True)
    gate(accept=("healthy", "unknown")).check_members(groups, acts=True)


def test_a_tunnel_of_which_the_api_shows_no_health_check_can_be_vouched_for() -> None:
    gate().check_members({"rome": [{**MEMBER, "health_check": {}}]}, acts=True)


def test_a_tunnel_that_nothing_backs_up_is_free_to_go() -> None:
    client = Mock(spec=Client)
    assert gate(client).unsafe([ENTRY], {"rome": [MEMBER]}) == {}
    client.tunnel_health.assert_not_called()


def test_health_that_can_not_be_read_lets_nothing_pass() -> None:
    client = Mock(spec=Client)
    client.tunnel_health.side_effect = ServerError("reading the health of 1 tunnels: HTTP 503")
    assert "can't be read" in gate(client).unsafe([ENTRY], {"rome": [MEMBER, SIBLING]})["t1"]
    assert "HTTP 503" in gate(client, deadline=0.02, interval=0.01).failing([MEMBER])["t1"]
