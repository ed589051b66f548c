# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_rotation_summary
short_description: What became of a rotation, without secrets
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Counts results by status and lists what is known of each tunnel, without PSKs. Safe for logs and C(set_stats).
options:
  _input:
    description: Results, as the role P(magicwan.cloudflare.psk_rotation#role) publishes them.
    type: list
    elements: dict
    required: true
  waves:
    description: How many waves there were.
    type: int
    default: 0
  rotation_id:
    description: The identifier of the rotation.
    type: str
    default: ""
  mode:
    description: What was done, as for M(magicwan.cloudflare.psk_rotation_step).
    type: str
    default: rotate
"""

EXAMPLES = r"""
summary: "{{ psk_rotation_results | magicwan.cloudflare.psk_rotation_summary }}"
"""

RETURN = r"""
_value:
  description:
    - C(tunnels), C(changed), C(failed) and C(waves), numbers; C(statuses), numbers by status; C(message), one line;
      C(failures), one line that names what is not done, or empty; C(by_tunnel), what is known of each by id.
  type: dict
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import summary


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_rotation_summary": psk_rotation_summary}


@one_line_errors
def psk_rotation_summary(
    results: t.Any, waves: int = 0, rotation_id: str = "", mode: str = "rotate"
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    return summary(results, int(waves), rotation_id, mode)
