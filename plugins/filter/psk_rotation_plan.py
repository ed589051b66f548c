# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_rotation_plan
short_description: Which PSKs are due, and in which waves
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Decides for each tunnel whether its PSK is due, is to be finished from an earlier run, or is left alone, and cuts
    what is to be done into waves. Two tunnels of one group are never in one wave.
options:
  _input:
    description: The account's tunnels, as M(magicwan.cloudflare.ipsec_tunnel_info) returns them.
    type: list
    elements: dict
    required: true
  records:
    description: What the escrow knows of them.
    type: list
    elements: dict
    required: true
  claims:
    description: What each host of the play names in C(psk_rotation_tunnels), by host.
    type: dict
    required: true
  hosts:
    description: The hosts of this batch.
    type: list
    elements: str
    required: true
  max_age:
    description: A PSK older than this is due. Seconds, or a number with V(s), V(m), V(h), V(d) or V(w).
    type: str
  force:
    description: Every PSK is due, even one that somebody else has changed.
    type: bool
    default: false
  wave_size:
    description: How many tunnels a wave may hold, 1 to 1000.
    type: int
    default: 1000
  canary:
    description: How many tunnels the first wave may hold. 0 means no limit of its own.
    type: int
    default: 0
  group_by:
    description: The rule of C(psk_rotation_group_by).
    type: raw
    default: auto
  hooks:
    description:
      - The task files of each host of this batch, and how it confirms, by host, each
        C({reach, device, verify, confirmation}).
    type: dict
    default: {}
  max_failures:
    description: How many tunnels may fail before no further wave begins, a number or a percentage such as V(10%).
    type: str
    default: "0"
  summaries:
    description: What became of the batches before, by host, as P(magicwan.cloudflare.psk_rotation_summary#filter) says.
    type: dict
    default: {}
  adopt:
    description: Whether a PSK that the escrow does not know is due whatever its age.
    type: bool
    default: true
  mode:
    description:
      - V(rotate) begins and finishes rotations, V(reconcile) only finishes, V(rollback) turns them back, V(confirm)
        looks for those that wait to be confirmed, V(report) only looks.
    type: str
    choices: [rotate, reconcile, confirm, rollback, report]
    default: rotate
  rollback_id:
    description: With O(mode=rollback), turn back this rotation, too, although it was confirmed.
    type: str
    default: ""
"""

EXAMPLES = r"""
plan: "{{ tunnels | magicwan.cloudflare.psk_rotation_plan(records, claims, hosts, max_age='90d') }}"
"""

RETURN = r"""
_value:
  description:
    - C(waves), lists of entries; C(unchanged) and C(left), lists of entries that are not touched; C(foreign), those
      among them that somebody else has changed; C(planned), how many are taken.
    - C(psks), what to have validated; C(limit) and C(failed_before), how many failures are allowed and how many there
      were; C(has_devices), whether any host has tasks of its own; C(rotation_id); C(problem), why nothing can be
      planned, or empty.
    - An entry is C({index, id, name, host, group, reported, status, reason}).
  type: dict
"""

import os
import secrets
import time
import typing as t

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import parse_age
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import Options, check_hooks, nothing, plan


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_rotation_plan": psk_rotation_plan}


def psk_rotation_plan(
    tunnels: t.Any,
    records: t.Any,
    claims: t.Any,
    hosts: t.Any,
    max_age: t.Any = None,
    force: bool = False,
    wave_size: int = 1000,
    canary: int = 0,
    group_by: t.Any = "auto",
    hooks: t.Any = None,
    max_failures: t.Any = "0",
    summaries: t.Any = None,
    adopt: bool = True,
    mode: str = "rotate",
    rollback_id: str = "",
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    rotation_id = time.strftime("%Y%m%dT%H%M%SZ-", time.gmtime()) + secrets.token_hex(4)
    try:
        confirmation, has_devices = check_hooks(hooks or {}, os.path.isfile)
        options = Options(
            hosts=frozenset(hosts),
            max_age=parse_age(max_age, "psk_rotation_max_age"),
            force=bool(force),
            wave_size=int(wave_size),
            canary=int(canary),
            group_by=group_by,
            confirmation=confirmation,
            max_failures=max_failures,
            summaries=summaries or {},
            adopt=bool(adopt),
            mode=mode,
            rollback_id=rollback_id,
            now=time.time_ns(),
        )
        planned = plan(tunnels, records, claims, options)
        return {**planned, "has_devices": has_devices, "rotation_id": rotation_id, "problem": ""}
    except InputError as exc:
        return {**nothing(), "has_devices": False, "rotation_id": rotation_id, "problem": exc.message}
