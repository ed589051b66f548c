#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ipsec_tunnel
short_description: Manage one IPsec tunnel of Cloudflare Magic WAN
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Creates, updates, renames and deletes an IPsec tunnel of Cloudflare Magic WAN (also called Cloudflare WAN) or
    Magic Transit.
  - Only the options that are set are compared and changed. An update sends the whole tunnel, with the present values
    of everything that is not set, so that nothing is lost.
  - A new tunnel with the O(cloudflare_endpoint) and O(interface_address) of another one is refused, because it is most
    likely a rename; give O(id) for that.
  - In check mode the API itself validates the request (C(validate_only=true)); a refusal fails the check run.
extends_documentation_fragment:
  - magicwan.cloudflare._api
  - magicwan.cloudflare._attributes
  - magicwan.cloudflare._tunnel
  - magicwan.cloudflare._tunnel.psk
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - A PSK can't be read back. With O(update_psk=always) and O(psk) every run changes the tunnel.
seealso:
  - module: magicwan.cloudflare.ipsec_tunnels
  - module: magicwan.cloudflare.ipsec_tunnel_info
  - module: magicwan.cloudflare.ipsec_psk
"""

EXAMPLES = r"""
- name: Manage the first tunnel of the Berlin office
  magicwan.cloudflare.ipsec_tunnel:
    account_id: 023e105f4ecef8ad9ca31a8372d0c353
    name: berlin-1
    description: Berlin, first uplink
    cloudflare_endpoint: 203.0.113.1
    customer_endpoint: 198.51.100.7
    interface_address: 10.100.0.8/31
    health_check:
      rate: low
      type: request
      direction: bidirectional
  register: berlin

- name: Rename a tunnel
  magicwan.cloudflare.ipsec_tunnel:
    id: "{{ berlin.ipsec_tunnel.id }}"
    name: berlin-primary

- name: Remove its customer endpoint, as the site now has a dynamic address
  magicwan.cloudflare.ipsec_tunnel:
    name: berlin-primary
    customer_endpoint: ""

- name: Remove a tunnel
  magicwan.cloudflare.ipsec_tunnel:
    name: berlin-old
    state: absent
"""

RETURN = r"""
action:
  description: What was done, would be done in check mode, or failed.
  returned: success, or failure of the action
  type: str
  choices: [none, create, update, delete]
  sample: update
ipsec_tunnel:
  description:
    - The tunnel after the run, with the keys of each of
      RV(magicwan.cloudflare.ipsec_tunnel_info#module:ipsec_tunnels), in a check run too. What the API does not tell is
      null, as is the id of a tunnel that would be created. Null after a deletion. If the action failed, the tunnel as
      far as it is known.
  returned: success, or failure of the action
  type: dict
msg:
  description: The tunnel, the action, and the names of the fields that an update changes; or what went wrong.
  returned: always
  type: str
  sample: "tunnel 'berlin-1': update (description, bgp)"
failure:
  description: The error in parts, as RV(magicwan.cloudflare.ipsec_tunnel_info#module:failure).
  returned: failure
  type: dict
"""

from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.module_utils._ipsec_tunnel import ensure_tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import run
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import CHARSETS
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import tunnel_spec

SPEC = ArgumentSpec(
    {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "id": {"type": "str"},
        **tunnel_spec(),
        "psk": {"type": "str", "no_log": True},
        "update_psk": {"type": "str", "choices": ["on_create", "always"], "default": "on_create", "no_log": False},
        "psk_charset": {"type": "str", "choices": list(CHARSETS), "default": "safe", "no_log": False},
    },
    required_one_of=[("name", "id")],
)


def main() -> None:
    """Entry point."""
    run(SPEC, ensure_tunnel)


if __name__ == "__main__":
    main()
