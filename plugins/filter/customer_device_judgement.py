# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: customer_device_judgement
short_description: Whether devices have authenticated with their new PSKs
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Makes one verdict a tunnel out of what its device said before its SAs were cleared, while they were, and after.
    What could not be read, cleared or matched is no proof. For the role P(magicwan.cloudflare.customer_device#role).
options:
  _input:
    description: C(tunnels) of P(magicwan.cloudflare.customer_device_plan#filter).
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
  said:
    description:
      - The results of the role's tasks so far, registered. C(found), a list, is what the device said when it was
        looked at; C(written) and C(cleared) are loops; C(before) and C(after) are what it said of its SAs.
      - C(read_on), C(started) and C(now) are times in seconds, C(delay) the seconds between two looks, C(timeout) those
        after which no further look is taken, C(reauthenticate) as the role's variable.
    type: dict
    required: true
"""

EXAMPLES = r"""
verdicts: "{{ plan.tunnels | magicwan.cloudflare.customer_device_judgement('junos', 'psk', said) }}"
"""

RETURN = r"""
_value:
  description:
    - With C(found), why the device can't be changed as C(problem), and C(keys), how each tunnel's PSK compares
      with that on the device, C(match), C(mismatch) or C(not shown).
    - With C(written), the identifiers of those to re-authenticate as C(targets), what to clear as
      C(clears), how long to C(pause) before that, the verdicts as C(results), those that C(failed) with their reasons,
      all reasons in one as C(reason),
      and whether looking again can't change anything any more as C(settled).
  type: dict
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _device_judgement
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"customer_device_judgement": customer_device_judgement}


@one_line_errors
def customer_device_judgement(tunnels: t.Any, platform: str, entry: str, said: t.Any) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    return _device_judgement.answer(tunnels, platform, entry, said)
