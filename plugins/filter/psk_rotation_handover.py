# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_rotation_handover
short_description: What a rotation hands over to a later job, without secrets
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Puts together the C(psk_rotation_summary) of all hosts and says in which escrow their PSKs are. A later job reads
    them there by P(magicwan.cloudflare.ipsec_psk#lookup), with credentials of its own.
  - Safe for C(set_stats), whose data AWX keeps and shows in clear.
options:
  _input:
    description: The names of the hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: Ansible's variable of this name.
    type: dict
    required: true
  escrow:
    description: The option C(escrow) of the rotation. Only what says where it is, is handed over.
    type: dict
    default: {}
  account_id:
    description: Identifier of the Cloudflare account.
    type: str
"""

EXAMPLES = r"""
- name: Pass the rotation to the next workflow node
  ansible.builtin.set_stats:
    data:
      magicwan_psk_rotation: >-
        {{ ansible_play_hosts_all | magicwan.cloudflare.psk_rotation_handover(hostvars, psk_rotation_escrow) }}
  run_once: true

# In a job of a later node, where the artifacts are variables. The lookup has the node's own credentials.
- name: Write the new PSKs of this device
  ansible.builtin.template:
    src: psks.j2
    dest: /etc/ipsec.d/cloudflare.secrets
    mode: "0600"
  vars:
    ids: >-
      {{ (magicwan_psk_rotation.hosts[inventory_hostname].tunnels | default({})) | dict2items
         | selectattr('value.to_configure') | map(attribute='key') }}
    psks: "{{ query('magicwan.cloudflare.ipsec_psk', *ids, escrow=magicwan_psk_rotation.escrow) }}"
  no_log: true
"""

RETURN = r"""
_value:
  description:
    - C(version) of this structure, C(account_id), C(escrow) without credentials, C(changed) and C(failed), numbers of
      tunnels, C(rotation_ids), and C(hosts), each with C(message), C(changed), C(failed) and C(tunnels) by id, without
      the unchanged ones. C(to_configure) of a tunnel says whether its device needs the PSK from the escrow.
  type: dict
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._handover import handover


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_rotation_handover": psk_rotation_handover}


@one_line_errors
def psk_rotation_handover(
    hosts: t.Any, hostvars: t.Any, escrow: t.Any = None, account_id: str | None = None
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    summaries = {x: hostvars[x]["psk_rotation_summary"] for x in hosts if "psk_rotation_summary" in hostvars[x]}
    return handover(summaries, escrow or {}, account_id or None)
