#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is the documentation of the action plugin of the same name, which does all the work.

from __future__ import annotations

DOCUMENTATION = r"""
module: psk_adopt
short_description: Bring pre-shared keys that are in use into the PSK escrow
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Cloudflare never shows a PSK. Where the PSKs of an account are known, out of Terraform, a table or a secret store,
    this makes them the escrow's, so that the first rotation can be rolled back. The playbook
    C(magicwan.cloudflare.adopt_psks) and the entry point C(adopt) of the role
    P(magicwan.cloudflare.psk_rotation#role) run it.
  - Nothing is written to the API. Nothing that the escrow knows is replaced, unless O(overwrite) says so.
  - A PSK of any length and with any characters is taken as it is. The record has the time that Cloudflare shows, so
    that the PSK has its true age, and says that the PSK was not proven, unless its device was seen to have it.
  - Fails if a PSK was given for a tunnel, and the escrow does not have it afterwards. All others are adopted first.
  - Runs on the controller, whatever the host of the task, with Ansible's own Python, which needs C(requests).
extends_documentation_fragment:
  - magicwan.cloudflare._api
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
      - V(adopt) does all at once.
      - V(ask) and V(end) are the two steps of the role's entry point with C(adopt_psks_verify). V(ask) writes nothing,
        and returns what the devices of the play are to verify; V(end) takes that as O(state), and adopts what no device
        has contradicted.
    type: str
    choices: [adopt, ask, end]
    default: adopt
  state:
    description: What O(operation=ask) has returned. It holds PSKs.
    type: dict
  source:
    description:
      - "Where the PSKs are, one of C({json: PATH}), C({csv: PATH}), C({terraform: PATH}) and C({psks: {...}})."
      - C(json) is an object of names or ids of tunnels to PSKs, and so is C(psks), whose values may come out of any
        lookup.
      - C(csv) has a first line with the names of its columns, C(tunnel) and C(psk) among them, separated by commas,
        semicolons or tabs. A column C(applied_on) says when Cloudflare was given the PSK, as the API shows times.
      - C(terraform) is the output of C(terraform show -json), or a state file, with C(cloudflare_ipsec_tunnel) of the
        provider's version 4 or C(cloudflare_magic_wan_ipsec_tunnel) of version 5, in any module.
      - A PSK whose source says when it was set is not adopted if Cloudflare has a newer one.
      - A file may be encrypted by C(ansible-vault). No more than 8 MB are read.
      - Required unless O(operation=end). JSON text is taken, too.
    type: raw
  overwrite:
    description:
      - Whether a PSK that differs from the escrow's current one replaces it. The one before stays in the record, among
        those that were given up. A rotation that is not finished is left alone in any case.
    type: bool
    default: false
  readable:
    description: Whether a source that is not encrypted may be a file that group or others can read.
    type: bool
    default: false
seealso:
  - module: magicwan.cloudflare.psk_escrow_info
  - module: magicwan.cloudflare.psk_escrow
"""

EXAMPLES = r"""
- name: Adopt the PSKs set by Terraform
  magicwan.cloudflare.psk_adopt:
    source:
      terraform: ~/magicwan/state.json
    escrow:
      backend: file
      path: ~/magicwan/psks.yml
"""

RETURN = r"""
adopted:
  description: The names of the tunnels whose PSKs were adopted, or would be in check mode.
  returned: success, or failure after the account was read
  type: list
  elements: str
tunnels:
  description:
    - All tunnels for which a PSK was given, each with C(id), C(name), C(status) and C(reason).
    - The status is V(adopted); V(known), the escrow has it already; V(differs), the escrow has another one; V(stale),
      Cloudflare has a newer one; V(outdated), the same, and the escrow has another one; V(without_psk), Cloudflare has
      none; V(busy), a rotation is not finished or another run works on it; V(unverified), its device was asked, and
      has another one, or has not answered. V(differs), V(stale), V(busy) and V(unverified) fail the task.
  returned: success, or failure after the account was read
  type: list
  elements: dict
proven:
  description: The names of the tunnels in the escrow whose devices were seen to have the PSK, with O(operation=end).
  returned: success, or failure after the account was read
  type: list
  elements: str
unproven:
  description: The names of the tunnels in the escrow for which that could not be seen, with O(operation=end).
  returned: success, or failure after the account was read
  type: list
  elements: str
without_tunnel:
  description: What the source calls tunnels that the account does not have, and where that stands.
  returned: success, or failure after the account was read
  type: list
  elements: str
without_key:
  description: The names of the tunnels with a PSK that neither the source nor the escrow has.
  returned: success, or failure after the account was read
  type: list
  elements: str
msg:
  description: One line.
  returned: always
  type: str
failure:
  description: The API's error in parts, as for M(magicwan.cloudflare.ipsec_psk).
  returned: when the API failed
  type: dict
"""
