#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is the documentation of the action plugin of the same name, which does all the work.

from __future__ import annotations

DOCUMENTATION = r"""
module: psk_escrow
short_description: Repair records of the PSK escrow
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - What a person may have to do to records of the PSK escrow outside of any rotation. The playbook
    C(magicwan.cloudflare.repair_psks) runs it.
  - Runs on the controller, whatever the host of the task. All tunnels of a task are done in one go.
extends_documentation_fragment:
  - magicwan.cloudflare._escrow
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff
      mode.
    support: none
    details: A diff could only show secrets.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates
      no change.
    support: full
  action_group:
    description: Use C(group/magicwan.cloudflare.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - magicwan.cloudflare.all
options:
  operation:
    description:
      - V(unstick) has the next run set the PSK that the escrow has at Cloudflare and on the device again. Use it for a
        tunnel that is stuck because somebody else has changed its PSK, when the escrow's PSK is the one to keep.
      - V(mark_gone) keeps the record of a tunnel that was deleted out of the way. Each run does so by itself for the
        tunnels that the account does not list any more.
      - V(forget) removes records that are marked as gone, with their PSKs, for good.
    type: str
    choices: [unstick, mark_gone, forget]
    required: true
  account_id:
    description:
      - Identifier of the Cloudflare account.
      - If not set, the environment variable E(CLOUDFLARE_ACCOUNT_ID) is used.
    type: str
  tunnels:
    description: Identifiers of the tunnels, or the names that the escrow has.
    type: list
    elements: str
    required: true
seealso:
  - module: magicwan.cloudflare.psk_escrow_info
"""

EXAMPLES = r"""
- name: Restore the escrow's PSK of a stuck tunnel in the next run
  magicwan.cloudflare.psk_escrow:
    operation: unstick
    escrow:
      backend: vault_kv2
      url: https://vault.example.com:8200
      mount: network
    tunnels:
      - berlin-1
"""

RETURN = r"""
tunnels:
  description: Identifiers of the tunnels whose records were repaired.
  returned: success
  type: list
  elements: str
refused:
  description: Why other records were not repaired, by identifier. Any fails the task.
  returned: always
  type: dict
msg:
  description: One line.
  returned: always
  type: str
"""
