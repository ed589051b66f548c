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
      - V(all) and V(*) take all, even where a tunnel has that name, with a warning.
      - All tunnels when not set. An entry that names no tunnel fails the task, and so does one that is the name of a
        tunnel and a glob over others.
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
    - The tunnels in the account's order. All have the same keys; what the API does not tell is null. The writable keys
      can be given to M(magicwan.cloudflare.ipsec_tunnel) as its options, by
      P(magicwan.cloudflare.ipsec_tunnel_options#filter) without what is null or empty.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Identifier.
      type: str
      returned: always
    name:
      description: Name.
      type: str
      returned: always
    description:
      description: Description.
      type: str
      returned: always
    cloudflare_endpoint:
      description: IP address on the Cloudflare side.
      type: str
      returned: always
    customer_endpoint:
      description: IP address on the customer side.
      type: str
      returned: always
    interface_address:
      description: Cloudflare's IPv4 address inside the tunnel with its prefix length.
      type: str
      returned: always
    interface_address6:
      description: Cloudflare's IPv6 address inside the tunnel with its prefix length.
      type: str
      returned: always
    replay_protection:
      description: Whether the Cloudflare-to-customer direction supports IPsec replay protection.
      type: bool
      returned: always
    automatic_return_routing:
      description: Whether stateful return routing is used.
      type: bool
      returned: always
    allow_null_cipher:
      description: Whether the tunnel accepts the NULL cipher. Read only.
      type: bool
      returned: always
    bgp:
      description:
        - C(customer_asn), C(extra_prefixes), C(md5_key), C(import_filter_id) and C(export_filter_id); null without BGP.
      type: dict
      returned: always
    bgp_status:
      description: State of the BGP session as the API tells it; null without BGP. Read only.
      type: dict
      returned: always
    custom_remote_identities:
      description: C(fqdn_id), a further IKE identity; null without one.
      type: dict
      returned: always
    health_check:
      description:
        - C(enabled), C(rate), C(type), C(direction) and C(target), which is what was C(saved), empty for the computed
          default, and what is C(effective).
      type: dict
      returned: always
    remote_identities:
      description:
        - The IKE identities that Cloudflare accepts from the device, C(fqdn_id), C(user_id) and C(hex_id). Read only.
          The number in C(fqdn_id) is the account's.
      type: dict
      returned: always
    psk_metadata:
      description: C(last_generated_on), when the PSK was set; null in it without a PSK. Read only.
      type: dict
      returned: always
    created_on:
      description: When the tunnel was created. Read only.
      type: str
      returned: always
    modified_on:
      description: When the tunnel was last changed. Read only.
      type: str
      returned: always
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
msg:
  description: How many tunnels were read, or what went wrong.
  returned: always
  type: str
  sample: 24 tunnels
failure:
  description: The error in parts. What there is not is null.
  returned: failure
  type: dict
  contains:
    kind:
      description: Class of the error, such as V(InputError), V(ApiError), V(AuthError) or V(TransportError).
      type: str
      returned: always
    status:
      description: HTTP status of the answer.
      type: int
      returned: always
    code:
      description: The API's error code.
      type: int
      returned: always
    message:
      description: The API's message, or else that of this collection.
      type: str
      returned: always
    pointer:
      description: JSON pointer to the field of the request that the API refuses.
      type: str
      returned: always
    ray_id:
      description: Cloudflare's identifier of the request, which their support asks for.
      type: str
      returned: always
    documentation_url:
      description: Page of Cloudflare's documentation on the error.
      type: str
      returned: always
    outcome_unknown:
      description: Whether a write may have been carried out although no usable answer arrived.
      type: bool
      returned: always
  sample:
    kind: ApiError
    status: 400
    code: 1022
    message: "Invalid Request: must be private (RFC 1918) or in 169.254.240.0/20"
    pointer: /interface_address
    ray_id: 8f1e2d3c4b5a6978-FRA
    documentation_url: null
    outcome_unknown: false
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
