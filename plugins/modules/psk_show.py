#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is the documentation of the action plugin of the same name, which does all the work.

from __future__ import annotations

DOCUMENTATION = r"""
module: psk_show
short_description: Show one pre-shared key of the PSK escrow on the terminal
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - For the person who needs a key at once. The playbook C(magicwan.cloudflare.show_psk) runs it.
  - The PSK is printed on the terminal of C(ansible-playbook). It goes to no log and no callback, and is no part of the
    result. Without a terminal, and on AWX or below ansible-runner, nothing is shown.
  - P(magicwan.cloudflare.ipsec_psk#lookup) gives PSKs to tasks.
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
  tunnel:
    description: Identifier of the tunnel, or the name that the escrow has. Where none has it, near names are told.
    type: str
    required: true
  which:
    description:
      - V(device) is the PSK that the tunnel's device should have, as Cloudflare has it as far as this is known.
      - V(current) is the PSK of the last rotation that was finished, V(pending) the one of an unfinished rotation, and
        V(previous) the one before V(current).
    type: str
    choices: [device, current, pending, previous]
    default: device
  anywhere:
    description: Whether the PSK is shown although the output goes to no terminal. It may be kept there.
    type: bool
    default: false
seealso:
  - plugin: magicwan.cloudflare.ipsec_psk
    plugin_type: lookup
  - module: magicwan.cloudflare.psk_escrow_info
"""

EXAMPLES = r"""
- name: Show the PSK of a tunnel
  magicwan.cloudflare.psk_show:
    tunnel: berlin-1
    escrow:
      backend: file
      path: ~/magicwan/psks.yml
"""

RETURN = r"""
msg:
  description: One line, without the PSK.
  returned: always
  type: str
"""
