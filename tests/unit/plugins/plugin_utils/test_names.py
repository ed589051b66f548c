# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which names of variables mean something, and which right one a wrong one is most like."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _names


@pytest.mark.parametrize(
    "name",
    [
        "psk_rotation_tunnels",
        "psk_rotation_hosts",
        "psk_rotation_serial",
        "psk_rotation_results",
        "psk_rotation_failed_tunnels",
        "customer_device_platform",
        "adopt_psks_from",
        "export_tunnels_path",
        "show_psk_anywhere",
    ],
)
def test_inputs_outputs_and_what_hooks_and_playbooks_use_are_known(name: str) -> None:
    assert _names.unknown([name]) == []


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("psk_rotation_tunnel", "psk_rotation_tunnels"),
        ("psk_rotation_device_task", "psk_rotation_device_tasks"),
        ("psk_rotation_maxage", "psk_rotation_max_age"),
        ("psk_rotation_failed_tunnel", "psk_rotation_failed_tunnels"),
        ("customer_device_plattform", "customer_device_platform"),
        ("adopt_psks_form", "adopt_psks_from"),
        ("show_psk_anywere", "show_psk_anywhere"),
    ],
)
def test_a_misspelt_name_is_unknown_and_its_nearest_is_told(wrong: str, right: str) -> None:
    assert (_names.unknown([wrong]), _names.nearest(wrong)) == ([wrong], right)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("psk_rotaton_force", "psk_rotation_force"),
        ("psk_rotatoin_max_failures", "psk_rotation_max_failures"),
        ("PSK_ROTATION_FORCE", "psk_rotation_force"),
        ("psk_rotations_tunnels", "psk_rotation_tunnels"),
        ("custumer_device_platform", "customer_device_platform"),
    ],
)
def test_a_slip_in_the_prefix_is_seen_too(wrong: str, right: str) -> None:
    assert (_names.unknown([wrong]), _names.nearest(wrong)) == ([wrong], right)


@pytest.mark.parametrize(
    "name",
    [
        "my_psk_rotation_force",
        "psk_max_age",
        "psk_rotation",
        "customer_device",
        "customer_devices",
        "rotation_tunnels",
        "tunnels",
        "ansible_connection",
        "__psk_rotation_state",
    ],
)
def test_names_of_others_are_nobodys_business(name: str) -> None:
    assert _names.unknown([name]) == []


def test_a_name_like_no_other_has_no_nearest() -> None:
    assert (_names.unknown(["psk_rotation_qqqqqqqqqqqqqqqqqqqq"]), _names.nearest("zzzzzzzzzz")) == (
        ["psk_rotation_qqqqqqqqqqqqqqqqqqqq"],
        None,
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("x", "text"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ([], "a list"),
        ((), "a list"),
        ({}, "a mapping"),
        (None, "NoneType"),
    ],
)
def test_a_wrong_value_is_told_by_what_users_call_it(value: Any, told: str) -> None:
    assert _names.kind(value) == told
