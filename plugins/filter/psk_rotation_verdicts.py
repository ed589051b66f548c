# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_rotation_verdicts
short_description: Which tunnels of a wave are done, by positive evidence
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - A tunnel is done only if its device has reported this very wave as done. A device of which nothing was heard has
    failed, for an unreachable host leaves a play without a word.
options:
  _input:
    description: The applied tunnels of the wave, as the escrow recorded them.
    type: list
    elements: dict
    required: true
  evidence:
    description: What each host reported, by host, each C({wave, done, verified, finished, reason, failed}).
    type: dict
    required: true
  token:
    description: The name of this wave, which the evidence must bear.
    type: str
    required: true
"""

EXAMPLES = r"""
verdicts: "{{ applied | magicwan.cloudflare.psk_rotation_verdicts(evidence, 'wave 1') }}"
"""

RETURN = r"""
_value:
  description: C(done) and C(failed), lists of entries.
  type: dict
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import verdicts


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_rotation_verdicts": psk_rotation_verdicts}


@one_line_errors
def psk_rotation_verdicts(applied: t.Any, evidence: t.Any, token: str) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    return verdicts(applied, evidence, token)
