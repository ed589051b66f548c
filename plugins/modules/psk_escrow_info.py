#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is the documentation of the action plugin of the same name, which does all the work.

from __future__ import annotations

DOCUMENTATION = r"""
module: psk_escrow_info
short_description: Read the records of the PSK escrow, without secrets
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Shows where the rotation of each tunnel stands. No PSK is returned; P(magicwan.cloudflare.ipsec_psk#lookup) reads
    one.
  - Runs on the controller, whatever the host of the task.
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
    details: Nothing is changed.
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
  account_id:
    description:
      - Identifier of the Cloudflare account.
      - If not set, the environment variable E(CLOUDFLARE_ACCOUNT_ID) is used.
    type: str
  tunnels:
    description:
      - Identifiers of tunnels, or the names that the escrow has. All records if not set.
      - Tunnels without a record are left out.
    type: list
    elements: str
seealso:
  - module: magicwan.cloudflare.psk_escrow
  - plugin: magicwan.cloudflare.ipsec_psk
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Read the state of all rotations
  magicwan.cloudflare.psk_escrow_info:
    escrow:
      backend: file
      path: "{{ lookup('ansible.builtin.env', 'HOME') }}/magicwan/psks.yml"
  register: records

- name: Show the unfinished rotations
  ansible.builtin.debug:
    msg: "{{ records.tunnels | rejectattr('state', 'equalto', 'idle') | map(attribute='name') }}"
"""

RETURN = r"""
tunnels:
  description: The records, without secrets.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Identifier of the tunnel.
      type: str
      returned: always
    name:
      description: Name of the tunnel, as the last run has seen it.
      type: str
      returned: always
    state:
      description: V(idle), V(prepared), V(in_doubt), V(applied), V(rolling_back) or V(stuck).
      type: str
      returned: always
    reason:
      description: Why the record is where it is.
      type: str
      returned: always
    gone:
      description: Whether the account lists the tunnel no more.
      type: bool
      returned: always
    generation:
      description: How many PSKs there have been.
      type: int
      returned: always
    applied_on:
      description: When Cloudflare was given the current PSK.
      type: str
      returned: always
    made_on:
      description: When the current PSK was new.
      type: str
      returned: always
    confirmed:
      description: Whether the current PSK was seen to work.
      type: bool
      returned: always
    rotation_id:
      description: The rotation that is under way, or the one that has set the current PSK.
      type: str
      returned: always
    lease_owner:
      description: The run that holds the tunnel.
      type: str
      returned: always
    history:
      description: The last transitions, each with C(on), C(event), C(rotation_id), and C(reason) if there is one.
      type: list
      elements: dict
      returned: always
msg:
  description: One line.
  returned: always
  type: str
"""
