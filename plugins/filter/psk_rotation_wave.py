# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_rotation_wave
short_description: One wave of a rotation, as it can go now
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Takes out of a wave the tunnels whose device is not reachable, and those of whose group another tunnel is not done.
    Takes out all of them when too many tunnels have failed.
options:
  _input:
    description: The plan, as P(magicwan.cloudflare.psk_rotation_plan#filter) returns it.
    type: dict
    required: true
  index:
    description: Which wave, from 0.
    type: int
    required: true
  outcomes:
    description: What became of the tunnels of the waves before.
    type: list
    elements: dict
    required: true
  hosts:
    description: The hosts that are still in the play.
    type: list
    elements: str
    required: true
  reached:
    description: What each host said when it was tried before this wave. Not given, no device has to be reached.
    type: dict
  token:
    description: What a host says that was reached before this very wave.
    type: str
    default: ""
"""

EXAMPLES = r"""
wave: "{{ plan | magicwan.cloudflare.psk_rotation_wave(0, [], ansible_play_batch) }}"
"""

RETURN = r"""
_value:
  description: C(tunnels) to go, their C(hosts), and C(skipped) entries with the reason.
  type: dict
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import wave_of


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_rotation_wave": psk_rotation_wave}


@one_line_errors
def psk_rotation_wave(
    plan: t.Any, index: int, outcomes: t.Any, hosts: t.Any, reached: t.Any = None, token: str = ""
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    ready = set(hosts if reached is None else (x for x in hosts if reached.get(x) == token))
    return wave_of(plan, int(index), outcomes, ready)
