# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_audit
short_description: Judge the age and the origin of every PSK by a policy
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Lays the account's tunnels beside the escrow's records and says of each tunnel how old its PSK is, when it is due,
    who has set it, whether it was confirmed, and whether all that keeps the policy.
  - Neither needs nor returns a PSK. The playbook C(magicwan.cloudflare.audit_psks) writes the report to files.
options:
  _input:
    description: The account's tunnels, as M(magicwan.cloudflare.ipsec_tunnel_info) returns them.
    type: list
    elements: dict
    required: true
  records:
    description:
      - The escrow's records, as RV(magicwan.cloudflare.psk_escrow_info#module:tunnels).
    type: list
    elements: dict
    required: true
  max_age:
    description: The age that no PSK may exceed. Seconds, or a number with V(s), V(m), V(h), V(d) or V(w).
    type: str
    default: 90d
  due_soon:
    description: A PSK that will be too old within this time is V(due soon), which does not break the policy.
    type: str
    default: 14d
  fail_on:
    description:
      - Which findings break the policy. V(no_psk), the tunnel has none; V(stuck), somebody has to look at it;
        V(foreign), somebody else has changed it; V(unfinished), its rotation is not finished; V(unknown), the escrow
        does not know it; V(overdue); V(unconfirmed), it was never seen to work.
    type: list
    elements: str
    choices: [no_psk, stuck, foreign, unfinished, unknown, overdue, unconfirmed]
    default: [no_psk, stuck, foreign, unfinished, unknown, overdue]
  account:
    description: Identifier of the account, which the report names.
    type: str
  sites:
    description: The sites of devices. A tunnel whose device has none is at the site of the tunnels that back it up.
    type: dict
    default: {}
  now:
    description: The time of the audit as an RFC 3339 text. The present time when not set.
    type: str
"""

EXAMPLES = r"""
report: "{{ account.ipsec_tunnels | magicwan.cloudflare.psk_audit(escrow.tunnels, max_age='180d') }}"
"""

RETURN = r"""
_value:
  description:
    - The report.
  type: dict
  contains:
    account:
      description: The account, or null.
      type: str
    generated_on:
      description: The time of the audit.
      type: str
    policy:
      description: C(max_age_days), C(due_soon_days) and C(fail_on).
      type: dict
    tunnels:
      description:
        - An entry for each tunnel, in the account's order, with C(id), C(name), C(device), C(site),
          C(customer_endpoint), C(status) (V(ok), V(due soon) or V(broken)), C(findings), C(breaks) (those that break
          the policy), C(set_on), C(age_days), C(due_on), C(state) and C(generation) in the escrow,
          C(last_rotation_on), C(rotation_id), C(confirmed), C(confirmed_on), C(changed_by) (V(rotation),
          V(somebody else), or null when it can't be told) and C(reason).
      type: list
      elements: dict
    counts:
      description: C(tunnels), C(broken), C(due_soon), C(confirmed), and C(findings), a number for each.
      type: dict
    broken:
      description: Whether any tunnel breaks the policy.
      type: bool
    message:
      description: One line that names the tunnels which do.
      type: str
    ages:
      description: A histogram of the ages.
      type: dict
    next_due:
      description: The tunnels that are due next, with C(id), C(name), C(device), C(site) and C(due_on).
      type: list
      elements: dict
    rotation:
      description: The last rotation as a timeline, or null.
      type: dict
"""

import time
import typing as t

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import parse_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._audit import audit, policy
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_audit": psk_audit}


@one_line_errors
def psk_audit(
    tunnels: t.Any,
    records: t.Any,
    max_age: str = "90d",
    due_soon: str = "14d",
    fail_on: t.Any = None,
    now: str | None = None,
    account: str | None = None,
    sites: t.Any = None,
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    when = time.time_ns() if not now else parse_time(now)
    if when is None:
        raise InputError(f"now must be a time such as 2026-06-14T05:20:00Z, not {now!r}")
    return audit(tunnels, records, policy(max_age, due_soon, fail_on), when, account, sites)
