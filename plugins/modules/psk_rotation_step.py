#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is the documentation of the action plugin of the same name, which does all the work.

from __future__ import annotations

DOCUMENTATION = r"""
module: psk_rotation_step
short_description: One step of a rotation of pre-shared keys
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - The steps that the role P(magicwan.cloudflare.psk_rotation#role) is made of. Use the role; this is for those who
    build a rotation of their own, between whose steps they do something else.
  - What hosts terminate and report is read from their variables C(psk_rotation_tunnels), C(__psk_rotation_hooks),
    C(__psk_rotation_reached) and C(__psk_rotation_evidence), as the role sets them. C(psk_rotation_escrow) must be set,
    too, and be the same on all of them.
  - Each step does the work of all tunnels of a batch of hosts, takes the state that the step before has returned, and
    returns the next one. What must outlive the run is in the escrow, not in the state.
  - Runs on the controller, whatever the host of the task, with Ansible's own Python, which needs C(requests).
  - The result is always censored, since it holds PSKs. Later tasks that use it must set C(no_log) themselves.
extends_documentation_fragment:
  - magicwan.cloudflare._api
  - magicwan.cloudflare._escrow
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - The API validates with PSKs that nobody will use, and nothing is written.
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
      - A whole rotation is, by O(max_age). A step by itself is not.
  action_group:
    description: Use C(group/magicwan.cloudflare.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - magicwan.cloudflare.all
options:
  operation:
    description:
      - V(begin) reads account and escrow, decides what is due and in which waves, and has the API validate it. Where no
        host has device or verify tasks, it also sets all PSKs, wave by wave.
      - V(wave) makes the PSKs of the wave O(index) durable in the escrow, sends them in one request, and writes down
        what the API said. RV(wave_results) then are the tunnels whose devices have to act.
      - V(settle) judges them by what their hosts have reported, and writes that down. RV(rolling_back) then says how
        many failed.
      - V(roll_back) sets the previous PSKs of these. Their devices have to act again.
      - V(report) shows the outcome of a host's tunnels, sets the fact C(psk_rotation_summary), and fails if a tunnel is
        not done. It reads RV(summaries) from C(__psk_rotation_state), in which the role has what the last step
        returned. The first host that is left also reports for those that have left the play, and shows how the batch
        has ended; after the last batch of a play, how the run has.
    type: str
    choices: [begin, wave, roll_back, settle, report]
    required: true
  state:
    description: What the step before returned. Needed by all but V(begin) and V(report).
    type: dict
  lease:
    description: For how many seconds this run keeps others off its tunnels.
    type: int
    default: 900
  force:
    description: Every PSK is due, even one that somebody else has changed.
    type: bool
    default: false
  health:
    description:
      - What Cloudflare's health checks must say, where devices have to act. Empty, nobody asks.
      - Before a wave, of the tunnels that back a tunnel up one at least must be in a state of C(accept); after it, with
        V(settle), the tunnel itself must get there within C(deadline) seconds, and is asked for every C(interval)
        seconds over the last C(window) seconds.
    type: dict
    default: {}
  mode:
    description:
      - With V(begin) and V(report), what to do. V(rotate) begins and finishes rotations, V(reconcile) only finishes,
        V(rollback) rolls them back, V(confirm) looks for those that wait to be confirmed, V(report) only looks.
    type: str
    choices: [rotate, reconcile, confirm, rollback, report]
    default: rotate
  max_age:
    description: With V(begin), a PSK older than this is due. Seconds, or a number with V(s), V(m), V(h), V(d) or V(w).
    type: str
  wave_size:
    description: With V(begin), how many tunnels a wave may hold, 1 to 1000.
    type: int
    default: 1000
  canary:
    description: With V(begin), how many tunnels the first wave may hold. 0 means no limit of its own.
    type: int
    default: 0
  unknown_psk:
    description: With V(begin), how to treat tunnels whose PSK the escrow does not know.
    type: str
    choices: [refuse, rotate, skip]
    default: refuse
  group_by:
    description: With V(begin), the rule of C(psk_rotation_group_by).
    type: raw
    default: auto
  max_failures:
    description: With V(begin), how many tunnels may fail before no further wave begins, a number or a percentage.
    type: str
    default: "0"
  rollback_id:
    description:
      - With O(mode=rollback), roll back this rotation, too, although it was confirmed; V(last) is the latest of each
        tunnel. One that no tunnel of the play knows is refused.
    type: str
    default: ""
  rollback_within:
    description: With O(rollback_id=last), how old a rotation may be. Written as O(max_age).
    type: str
    default: 24h
  plan_path:
    description:
      - With V(begin) in check mode, file to which the plan is written as JSON. It holds no secret, and is shown in any
        case.
    type: path
  preflight:
    description: With V(begin), have the API validate the whole plan before the first write.
    type: bool
    default: true
  index:
    description: With V(wave), which wave, from 0.
    type: int
    default: 0
seealso:
  - module: magicwan.cloudflare.psk_escrow_info
  - module: magicwan.cloudflare.ipsec_psk
"""

EXAMPLES = r"""
- name: Rotate the PSKs that are older than 90 days
  magicwan.cloudflare.psk_rotation_step:
    operation: begin
    escrow: "{{ psk_rotation_escrow }}"
    max_age: 90d
  vars:
    psk_rotation_tunnels: [all]
    psk_rotation_escrow:
      backend: file
      path: ~/magicwan/psks.yml
  register: rotation
"""

RETURN = r"""
rotation_id:
  description: Identifier of this rotation.
  returned: success
  type: str
wave_hosts:
  description: The hosts of each wave that is still to be gone; none where no host has device or verify tasks.
  returned: success
  type: list
  elements: list
wave_labels:
  description: What to call each of them; one label also where there is none.
  returned: success
  type: list
  elements: str
acting:
  description: The task files that the devices of this wave run, by host.
  returned: success
  type: dict
results:
  description:
    - What is known of each tunnel, by host, each a list as JSON text; the README of the role psk_rotation lists the
      keys. Holds PSKs.
  returned: success
  type: dict
wave_results:
  description: Those of them whose devices have to act now, by host, as JSON text. Hosts without one are left out.
  returned: success
  type: dict
summaries:
  description: What the role publishes as C(psk_rotation_summary), by host, as JSON text. Holds no secret.
  returned: success
  type: dict
rolling_back:
  description: How many tunnels have to be rolled back because their devices failed.
  returned: success
  type: int
memory:
  description: What the next step has to know, as JSON text. Holds PSKs.
  returned: success
  type: str
wave_tasks:
  description: The role's own file for each wave, and, as C(tasks_inside), the one for the hosts of the next wave.
  returned: success
  type: list
  elements: str
reach:
  description: The hosts of the next wave whose devices must be reached before it, with the task file of each.
  returned: success
  type: dict
reach_token:
  description: What they must report once that is done.
  returned: success
  type: str
next:
  description: The role's own file that a host includes after the wave, by host. Hosts without one are left out.
  returned: success
  type: dict
token:
  description: What evidence must bear as C(wave) to count.
  returned: success
  type: str
failure:
  description: The API's error in parts, as for M(magicwan.cloudflare.ipsec_psk).
  returned: when the API failed
  type: dict
"""
