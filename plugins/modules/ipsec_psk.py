#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ipsec_psk
short_description: Set the pre-shared keys of many IPsec tunnels of Cloudflare Magic WAN
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Sets or rotates the PSKs of many tunnels with one API request a batch.
  - A new PSK is live at Cloudflare's edge at once, replaces the old one, and can't be read back. The device on the
    other end still holds the old one, which shows at its next authentication only. The role
    P(magicwan.cloudflare.psk_rotation#role) keeps the keys safe, configures the devices and undoes what fails; use
    this module by itself only where you take care of all that.
  - The registered result holds the PSKs. The task's output is censored whether or not C(no_log) is set, so every later
    task that uses the result must set C(no_log) itself.
extends_documentation_fragment:
  - magicwan.cloudflare._api
  - magicwan.cloudflare._attributes
attributes:
  check_mode:
    support: full
    details:
      - The API validates the request (C(validate_only=true)). Entries that would be set are V(planned), without a PSK.
  diff_mode:
    support: none
    details: A diff could only show secrets.
  idempotent:
    support: partial
    details:
      - A PSK can't be compared. Idempotency rests on the time at which the API says it was set, by
        O(psks[].applied_on) or O(max_age). With O(state=rotated) alone every run sets every PSK.
options:
  psks:
    description: The tunnels, each once.
    type: list
    elements: dict
    required: true
    suboptions:
      id:
        description: Identifier of the tunnel.
        type: str
      name:
        description: Exact name of the tunnel. One of O(psks[].id) and O(psks[].name) is required.
        type: str
      psk:
        description:
          - The PSK to set. A PSK of 48 letters and digits is generated when not set.
        type: str
      applied_on:
        description:
          - The time that an earlier run returned for this tunnel's PSK. If the tunnel still reports it, the entry is
            unchanged, otherwise the PSK is set.
        type: str
  state:
    description:
      - V(present) sets a PSK where a tunnel has none, V(rotated) sets one in any case. O(psks[].applied_on) and
        O(max_age) come before this rule.
    type: str
    choices: [present, rotated]
    default: present
  max_age:
    description:
      - Set a PSK only where the present one is older than this, or there is none. Seconds, or a number with V(s), V(m),
        V(h), V(d) or V(w), such as V(90d).
    type: str
  batch_size:
    description: How many PSKs one API request may set.
    type: int
    default: 1000
  psk_charset:
    description:
      - Which of your PSKs are accepted. V(safe) refuses lengths and characters that some device is known to mangle,
        V(any) accepts 8 to 128 printable ASCII characters.
    type: str
    choices: [safe, any]
    default: safe
seealso:
  - module: magicwan.cloudflare.ipsec_tunnel_info
"""

EXAMPLES = r"""
- name: Set a PSK on every tunnel that has none
  magicwan.cloudflare.ipsec_psk:
    psks:
      - name: berlin-1
      - name: berlin-2
  register: keys

- name: Read all tunnels
  magicwan.cloudflare.ipsec_tunnel_info:
  register: account

- name: Rotate the PSKs that are older than 90 days
  magicwan.cloudflare.ipsec_psk:
    psks: "{{ dict(ids | zip(names)) | dict2items(key_name='id', value_name='name') }}"
    max_age: 90d
  vars:
    ids: "{{ account.ipsec_tunnels | map(attribute='id') }}"
    names: "{{ account.ipsec_tunnels | map(attribute='name') }}"
  register: keys

- name: Set your own PSK once
  magicwan.cloudflare.ipsec_psk:
    psks:
      - name: berlin-1
        psk: "{{ berlin_psk }}"
        applied_on: "{{ berlin_psk_applied_on | default(omit) }}"
    state: rotated
  register: keys
"""

RETURN = r"""
psks:
  description:
    - An entry for each of O(psks), in the same order. Returned even if the task fails, unless it failed before the
      first request that writes.
  returned: success, and failure after the first write
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
        - V(unchanged), V(planned) in check mode, V(applied), V(unapplied) if the API refused, or V(in_doubt) if no
          answer tells whether the PSK was set. V(unapplied) and V(in_doubt) fail the task.
      type: str
      returned: always
    changed:
      description: Whether the PSK was, would be, or may have been changed.
      type: bool
      returned: always
    applied_on:
      description: When the API says this PSK was set. Keep it with the PSK, and give it back as O(psks[].applied_on).
      type: str
      returned: always
    ipsec_id:
      description: IKE identity of the tunnel, of the form C(<account number>_<tunnel id>).
      type: str
      returned: always
    reason:
      description: Why, in words.
      type: str
      returned: always
    psk:
      description:
        - The PSK that Cloudflare holds, or may hold if V(in_doubt), as far as this task knows it, null otherwise.
      type: str
      returned: always
  sample:
    - id: c4a7362d577a6c3019a474fd6f485821
      name: berlin-1
      status: applied
      changed: true
      applied_on: "2026-06-14T05:20:00.123456789Z"
      ipsec_id: 12345_c4a7362d577a6c3019a474fd6f485821
      reason: rotation was asked for
      psk: the-pre-shared-key
msg:
  description: How many PSKs have each status, and why the first ones failed.
  returned: always
  type: str
  sample: 2 applied, 1 unchanged
failure:
  description: The error in parts, as RV(magicwan.cloudflare.ipsec_tunnel_info#module:failure).
  returned: failure
  type: dict
"""

from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.module_utils._ipsec_psk import ensure_psks
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import run
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import BATCH_SIZE
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import CHARSETS

ENTRY = {
    "id": {"type": "str"},
    "name": {"type": "str"},
    "psk": {"type": "str", "no_log": True},
    "applied_on": {"type": "str"},
}
SPEC = ArgumentSpec(
    {
        "psks": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "no_log": False,
            "options": ENTRY,
            "required_one_of": [("id", "name")],
        },
        "state": {"type": "str", "choices": ["present", "rotated"], "default": "present"},
        "max_age": {"type": "str"},
        "batch_size": {"type": "int", "default": BATCH_SIZE},
        "psk_charset": {"type": "str", "choices": list(CHARSETS), "default": "safe", "no_log": False},
    }
)


def main() -> None:
    """Entry point."""
    run(SPEC, ensure_psks)


if __name__ == "__main__":
    main()
