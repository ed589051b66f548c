#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ipsec_tunnel_info
short_description: Read the IPsec tunnels of Cloudflare Magic WAN
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Returns all IPsec tunnels of an account, or those that are named, with one API request.
  - PSKs can't be read. C(psk_metadata) of each of RV(ipsec_tunnels) tells when its PSK was set.
extends_documentation_fragment:
  - magicwan.cloudflare._api
  - magicwan.cloudflare._attributes
  - magicwan.cloudflare._attributes.info_module
options:
  tunnels:
    description:
      - Which tunnels to return, by identifiers, names, or globs over names such as V(berlin-*).
      - All tunnels when not set. An entry that names no tunnel fails the task.
    type: list
    elements: str
seealso:
  - module: magicwan.cloudflare.ipsec_tunnel
"""

EXAMPLES = r"""
- name: Read all tunnels
  magicwan.cloudflare.ipsec_tunnel_info:
  register: all_tunnels

- name: Read the tunnels of two sites
  magicwan.cloudflare.ipsec_tunnel_info:
    tunnels:
      - berlin-*
      - c4a7362d577a6c3019a474fd6f485821
  register: some_tunnels

- name: Show the tunnels that have no PSK
  ansible.builtin.debug:
    msg: >-
      {{ all_tunnels.ipsec_tunnels | selectattr('psk_metadata.last_generated_on', 'none') | map(attribute='name') }}
"""

RETURN = r"""
ipsec_tunnels:
  description:
    - The tunnels in the account's order, each as M(magicwan.cloudflare.ipsec_tunnel) returns it. The writable keys can
      be given to that module as its options.
  returned: success
  type: list
  elements: dict
  sample:
    - id: c4a7362d577a6c3019a474fd6f485821
      name: berlin-1
      description: null
      cloudflare_endpoint: 203.0.113.1
      customer_endpoint: 198.51.100.7
      interface_address: 10.100.0.8/31
      interface_address6: null
      replay_protection: false
      automatic_return_routing: false
      allow_null_cipher: false
      bgp: null
      bgp_status: null
      custom_remote_identities: null
      health_check:
        enabled: true
        rate: mid
        type: request
        direction: bidirectional
        target:
          saved: ""
          effective: 10.100.0.9
      remote_identities:
        fqdn_id: c4a7362d577a6c3019a474fd6f485821.33145236.ipsec.cloudflare.com
        user_id: ipsec@c4a7362d577a6c3019a474fd6f485821.33145236.ipsec.cloudflare.com
        hex_id: null
      psk_metadata:
        last_generated_on: "2026-06-14T05:20:00.123456789Z"
      created_on: "2025-06-14T00:00:00Z"
      modified_on: "2026-06-14T05:20:00.123456789Z"
failure:
  description: The error in parts, as for M(magicwan.cloudflare.ipsec_tunnel).
  returned: failure
  type: dict
"""

from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.module_utils._ipsec_tunnel_info import tunnel_info
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import run

SPEC = ArgumentSpec({"tunnels": {"type": "list", "elements": "str"}})


def main() -> None:
    """Entry point."""
    run(SPEC, tunnel_info)


if __name__ == "__main__":
    main()
