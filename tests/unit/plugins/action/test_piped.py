# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugins of ipsec_tunnel and ipsec_tunnels: options with a PSK go through a pipe, others as ever."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleError
from ansible_collections.magicwan.cloudflare.plugins.action import ipsec_tunnel, ipsec_tunnels

PSK = "FirstKeyOfTheUser0123456789"


def run(
    plugin: Any,
    arguments: dict[str, Any],
    refused: Exception | None = None,
    *,
    pipes: bool = True,
    warnings: list[str] | None = None,
) -> list[Any]:
    """Runs the plugin; returns the connection's options that it has set."""
    connection = MagicMock(has_pipelining=pipes)
    connection.set_option.side_effect = refused
    task = MagicMock(async_val=0, args=arguments)
    action = plugin.ActionModule(task, connection, MagicMock(), MagicMock(), MagicMock(), MagicMock())
    action._display = MagicMock(warning=([] if warnings is None else warnings).append)
    action._execute_module = MagicMock(return_value={"changed": True})
    assert action.run(task_vars={})["changed"] is True
    return [call.args for call in connection.set_option.call_args_list]


@pytest.mark.parametrize(
    ("plugin", "arguments"),
    [
        (ipsec_tunnel, {"name": "a", "psk": PSK}),
        (ipsec_tunnels, {"tunnels": [{"name": "a"}, {"name": "b", "psk": PSK}]}),
        (ipsec_tunnels, {"tunnels": [{"name": "a", "psk": 98765432109876543210}]}),
    ],
)
def test_a_psk_goes_through_a_pipe(plugin: Any, arguments: dict[str, Any]) -> None:
    assert run(plugin, arguments) == [("pipelining", True)]


@pytest.mark.parametrize(
    ("plugin", "arguments"),
    [
        (ipsec_tunnel, {"name": "a"}),
        (ipsec_tunnel, {"name": "a", "psk": None}),
        (ipsec_tunnels, {"tunnels": [{"name": "a", "psk": None}]}),
        (ipsec_tunnels, {"tunnels": "what the module will refuse"}),
        (ipsec_tunnels, {"tunnels": ["what the module will refuse"]}),
        (ipsec_tunnels, {}),
    ],
)
def test_without_a_psk_the_connection_is_left_as_it_is(plugin: Any, arguments: dict[str, Any]) -> None:
    assert run(plugin, arguments) == []


@pytest.mark.parametrize(
    ("refusal", "pipes"),
    [(AnsibleError("no"), True), (KeyError("pipelining"), True), (AttributeError("no"), True), (None, False)],
    ids=repr,
)
def test_a_connection_that_can_not_pipe_runs_the_module_all_the_same_and_warns(
    refusal: Exception | None, pipes: bool
) -> None:
    warnings: list[str] = []
    run(ipsec_tunnel, {"name": "a", "psk": PSK}, refusal, pipes=pipes, warnings=warnings)
    assert len(warnings) == 1 and "PSKs are in a file" in warnings[0]


def test_a_connection_that_pipes_warns_of_nothing() -> None:
    warnings: list[str] = []
    run(ipsec_tunnel, {"name": "a", "psk": PSK}, warnings=warnings)
    assert warnings == []
