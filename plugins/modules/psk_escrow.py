#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is the documentation of the action plugin of the same name, which does all the work.

from __future__ import annotations

DOCUMENTATION = r"""
module: psk_escrow
short_description: Keep the pre-shared keys of IPsec tunnels safe while they are rotated
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Reads and moves the records of the PSK escrow, one a tunnel. A record holds every PSK that Cloudflare may have for
    the tunnel, and how far its rotation has come, so that a later run can finish what a run that died has begun.
  - The role P(magicwan.cloudflare.psk_rotation#role) is made of this and M(magicwan.cloudflare.ipsec_psk). Use it by
    itself to read records, to end rotations by hand, or to build a rotation of your own.
  - Runs on the controller, whatever the host of the task. All tunnels of a task are done in one go.
  - The result is always censored, since most results hold PSKs. Later tasks that use it must set C(no_log) themselves.
extends_documentation_fragment:
  - magicwan.cloudflare._escrow
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - Reads, and writes nothing. No PSK is made, so the PSKs to send are null.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff
      mode.
    support: none
    details: A diff could only show secrets.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates
      no change.
    support: partial
    details:
      - V(open) and V(read) change nothing. The others note in the record's history each time they are run.
  action_group:
    description: Use C(group/magicwan.cloudflare.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - magicwan.cloudflare.all
options:
  operation:
    description:
      - V(open) makes sure that the escrow can be read and written, then does as V(read) with O(with_psks=true).
      - V(read) returns records without secrets, and with O(with_psks) the PSK that each tunnel's device should have.
      - V(prepare) takes tunnels for this run, and stores the next PSK of each. An unfinished rotation is resumed with
        its own PSK. A tunnel on which another run works, or that is stuck, is refused.
      - V(record) writes down what M(magicwan.cloudflare.ipsec_psk) said of prepared tunnels. A tunnel of which it said
        nothing is in doubt.
      - V(confirm) ends rotations, and rollbacks, whose devices have the PSK.
      - V(roll_back) turns tunnels back to the PSK before. A tunnel without one stays where it is.
      - V(release) leaves tunnels to a later run, or to a later step.
      - V(stick) marks tunnels that a person has to look at. No run touches them any more without O(force).
    type: str
    choices: [open, read, prepare, record, confirm, roll_back, release, stick]
    required: true
  account_id:
    description:
      - Identifier of the Cloudflare account.
      - If not set, the environment variable E(CLOUDFLARE_ACCOUNT_ID) is used.
    type: str
  tunnels:
    description:
      - With V(open) and V(read), the identifiers of the tunnels; all records if not set.
      - With V(prepare), dictionaries with C(id), C(name) and C(reported), which is the time that Cloudflare shows
        as C(psk_metadata.last_generated_on), or null.
      - With V(record), what V(prepare) or V(roll_back) returned as RV(tunnels).
      - With the others, dictionaries with C(id) and C(name). C(seen) says with V(confirm) whether the PSK was seen to
        work, and C(reason) with V(roll_back), V(release) and V(stick) why. With C(rotation_id), which every operation
        returns, a tunnel is refused if another rotation of it has begun meanwhile.
    type: list
    elements: raw
  results:
    description: With V(record), what M(magicwan.cloudflare.ipsec_psk) returned as C(psks).
    type: list
    elements: dict
    default: []
  failure:
    description: With V(record), why there are no results, for the records' history.
    type: str
  rotation_id:
    description: Identifier of this rotation, for the records' history.
    type: str
    default: ""
  lease:
    description:
      - With V(prepare), V(record) and V(roll_back), for how many seconds this run holds its tunnels. Another run takes
        a tunnel over when that time has gone by, or when this run's process is seen to be dead. It must be longer than
        what happens until the next operation can take.
    type: int
    default: 900
  force:
    description: With V(prepare), goes on with stuck tunnels, and with those whose PSK was changed by somebody else.
    type: bool
    default: false
  promote:
    description: With V(record), ends the rotation at once, unconfirmed, because no device has to be configured.
    type: bool
    default: false
  release:
    description: With V(record), leaves the applied tunnels to a later run, which configures the devices.
    type: bool
    default: false
  with_psks:
    description: With V(read), return PSKs too.
    type: bool
    default: false
seealso:
  - module: magicwan.cloudflare.ipsec_psk
  - plugin: magicwan.cloudflare.ipsec_psk
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: See where all rotations are
  magicwan.cloudflare.psk_escrow:
    operation: read
    escrow:
      backend: file
      path: psks.vault.yml
  register: records

- name: Show the tunnels whose rotation is not finished
  ansible.builtin.debug:
    msg: "{{ records.tunnels | rejectattr('state', 'equalto', 'idle') | map(attribute='name') }}"

- name: Confirm a tunnel whose new PSK was seen to work
  magicwan.cloudflare.psk_escrow:
    operation: confirm
    escrow:
      backend: vault_kv2
      url: https://vault.example.com:8200
      mount: network
      role_id: "{{ vault_role_id }}"
      secret_id: "{{ vault_secret_id }}"
    tunnels:
      - id: c4a7362d577a6c3019a474fd6f485821
        name: berlin-1
        seen: true
"""

RETURN = r"""
tunnels:
  description:
    - The tunnels that were read, or that the operation was done for.
    - V(open) and V(read) return the fields of the record that are no secrets, such as C(state), C(generation),
      C(applied_on), C(wave), C(exposure_seconds) and C(lease_owner). The others return the fields below.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Identifier of the tunnel.
      type: str
      returned: always
    name:
      description: Name of the tunnel.
      type: str
      returned: always
    status:
      description:
        - V(applied), V(in_doubt), V(unapplied), V(confirmed), V(promoted) (ended without being seen to work),
          V(waiting) (for a later confirmation), V(rolling_back), V(rolled_back), V(rollback_failed), V(stuck), or
          V(planned) in check mode.
      type: str
      returned: not with V(open), V(read) and V(prepare)
    sends:
      description: Whether the tunnel has an entry in RV(psks).
      type: bool
      returned: with V(prepare) and V(roll_back)
    psk:
      description: The PSK that the tunnel's device should have, or null if it is not known.
      type: str
      returned: not with V(prepare)
    applied_on:
      description: When Cloudflare was given this PSK.
      type: str
      returned: not with V(prepare)
    rotation_id:
      description: Identifier of the tunnel's rotation.
      type: str
      returned: always
    reason:
      description: Why the record is where it is.
      type: str
      returned: not with V(prepare)
psks:
  description: What M(magicwan.cloudflare.ipsec_psk) must be given as O(magicwan.cloudflare.ipsec_psk#module:psks).
  returned: with V(prepare) and V(roll_back)
  type: list
  elements: dict
refused:
  description: Tunnels that were not touched, with C(id), C(name), C(status) (V(skipped) or V(stuck)) and C(reason).
  returned: not with V(open) and V(read)
  type: list
  elements: dict
"""
