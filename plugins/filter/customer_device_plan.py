# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: customer_device_plan
short_description: What tunnels are on their device
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Gives each tunnel its names, its number and its identity on the device, and says why the device must not be
    touched. For the role P(magicwan.cloudflare.customer_device#role).
options:
  _input:
    description: The tunnels, entries of C(psk_rotation_results).
    type: list
    elements: dict
    required: true
  platform:
    description: The platform's name.
    type: str
    required: true
  entry:
    description: The role's entry point.
    type: str
    required: true
  settings:
    description: The role's variables by their names without C(customer_device_).
    type: dict
    required: true
  others:
    description: The identifiers of all tunnels that end at the device.
    type: list
    elements: str
    default: []
  check_mode:
    description: Whether this is a check run, in which no tunnel needs a PSK.
    type: bool
    default: false
"""

EXAMPLES = r"""
plan: "{{ tunnels | magicwan.cloudflare.customer_device_plan('junos', 'psk', settings) }}"
"""

RETURN = r"""
_value:
  description: C(tunnels), C(parameters) of IKE and ESP, and C(problem), one line, empty when there is none.
  type: dict
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _device_plan
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import load
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"customer_device_plan": customer_device_plan}


@one_line_errors
def customer_device_plan(
    tunnels: t.Any,
    platform: str,
    entry: str,
    settings: t.Any,
    others: t.Any = (),
    check_mode: bool = False,
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    found = load(platform)
    planned = _device_plan.plan(found, platform, tunnels, settings, check_mode)
    return {
        "tunnels": planned,
        "parameters": _device_plan.parameters(found, settings),
        "problem": _device_plan.problems(found, platform, entry, planned, list(others), settings),
    }
