#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ipsec_tunnels
short_description: Manage many IPsec tunnels of Cloudflare Magic WAN at once
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Brings a whole fleet of IPsec tunnels of Cloudflare Magic WAN (also called Cloudflare WAN) or Magic Transit into the
    state that a list describes, with one request to read them all and one for each tunnel that differs.
  - What M(magicwan.cloudflare.ipsec_tunnel) says of one tunnel holds for each. Only the options that are set are
    compared and changed.
  - Whatever can be refused is refused before the first write, and names the item. After that a tunnel that fails does
    not stop the others. The task then fails with the results of all of them. When the credentials or the rate are
    refused, or three tunnels in a row get no usable answer, the rest is not tried, and its results say so.
  - In check mode the API itself validates each change (C(validate_only=true)).
  - Waits when the API says that its rate limit is used up, and repeats a request that was refused by it.
extends_documentation_fragment:
  - magicwan.cloudflare._api
  - magicwan.cloudflare._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - One diff for each tunnel that changes.
  idempotent:
    support: partial
    details:
      - A PSK can't be read back. With O(update_psk=always) every run changes the tunnels that have O(tunnels[].psk).
options:
  tunnels:
    description:
      - The tunnels. At least one of O(tunnels[].name) and O(tunnels[].id) is required in each, and no two may name
        the same.
    type: list
    elements: dict
    required: true
    suboptions:
      state:
        description: Whether the tunnel should exist.
        type: str
        choices: [present, absent]
        default: present
      name:
        description:
          - Name of the tunnel, unique in the account. Finds the tunnel when O(tunnels[].id) is not set.
          - With O(tunnels[].id), a different name renames the tunnel.
        type: str
      id:
        description: Identifier of an existing tunnel.
        type: str
      description:
        description: Text that describes the tunnel. An empty text removes it.
        type: str
      cloudflare_endpoint:
        description: IP address on the Cloudflare side of the tunnel. Required to create a tunnel.
        type: str
      customer_endpoint:
        description:
          - IP address on the customer side of the tunnel.
          - Needed for proactive traceroutes, and for devices that identify themselves by their address. Leave it out
            for a site with a dynamic address.
        type: str
      interface_address:
        description:
          - Cloudflare's IPv4 address inside the tunnel with its prefix length, a C(/31) or C(/30) out of
            C(10.0.0.0/8), C(172.16.0.0/12), C(192.168.0.0/16) or C(169.254.240.0/20). Required to create a tunnel.
        type: str
      interface_address6:
        description: Cloudflare's IPv6 address inside the tunnel, a C(/127) out of the account's virtual subnet.
        type: str
      replay_protection:
        description:
          - Whether the Cloudflare-to-customer direction supports IPsec replay protection.
          - Cloudflare advises against it, unless the device can't turn its side off.
        type: bool
      automatic_return_routing:
        description: Whether stateful return routing is used. The account needs the flag C(coupler_integration).
        type: bool
      bgp:
        description: BGP session over the tunnel.
        type: dict
        suboptions:
          customer_asn:
            description: AS number on the customer's end. Required when the tunnel has no BGP yet.
            type: int
          extra_prefixes:
            description: Prefixes that are advertised to the device beside the routes of the Magic routing table.
            type: list
            elements: str
          md5_key:
            description:
              - Key of the TCP MD5 option. Cloudflare does not treat it as a secret; it guards against mistakes only.
              - Printable ASCII characters, except the quotation mark and the question mark.
            type: str
          import_filter_id:
            description: Identifier of the filter profile for the routes that the customer sends.
            type: str
          export_filter_id:
            description: Identifier of the filter profile for the routes that Cloudflare advertises.
            type: str
      custom_remote_identities:
        description: IKE identities that the tunnel accepts beside the generated ones.
        type: dict
        suboptions:
          fqdn_id:
            description: Name of the form C(<label>.<account id>.custom.ipsec.cloudflare.com).
            type: str
      health_check:
        description: Health check of the tunnel.
        type: dict
        suboptions:
          enabled:
            description: Whether the tunnel is checked. An unchecked tunnel counts as down.
            type: bool
          rate:
            description: How often.
            type: str
            choices: [low, mid, high]
          type:
            description:
              - What Cloudflare sends, an ICMP echo reply or an echo request. C(request) passes stateful firewalls.
            type: str
            choices: [reply, request]
          direction:
            description: Whether the answer comes back over the Internet or through the tunnel.
            type: str
            choices: [unidirectional, bidirectional]
          target:
            description:
              - Address to which the probe goes behind the tunnel.
              - An address, or a dictionary with the key C(saved), as this collection returns it. An empty address means
                the computed default. The key C(effective) is accepted and ignored.
            type: raw
      psk:
        description:
          - Pre-shared key to set, another one for each tunnel. It is never returned and can't be read back; see
            M(magicwan.cloudflare.ipsec_psk) and the role P(magicwan.cloudflare.psk_rotation#role) for rotation.
        type: str
  purge:
    description: Whether every tunnel of the account that O(tunnels) does not name is deleted.
    type: bool
    default: false
  purge_max:
    description:
      - How many tunnels O(purge) may delete. If there are more, the task fails and changes nothing.
      - Tunnels with O(tunnels[].state=absent) do not count.
    type: int
    default: 5
  update_psk:
    description: Whether O(tunnels[].psk) is sent only when the tunnel is created, or with every run.
    type: str
    choices: [on_create, always]
    default: on_create
  psk_charset:
    description:
      - Which PSKs are accepted. V(safe) refuses lengths and characters that some device is known to mangle,
        V(any) accepts 8 to 128 printable ASCII characters.
    type: str
    choices: [safe, any]
    default: safe
  concurrency:
    description:
      - How many requests may be on their way at once, 1 to 16.
      - It is not known whether Cloudflare takes changes of one account side by side, so raise it only after a trial.
    type: int
    default: 1
seealso:
  - module: magicwan.cloudflare.ipsec_tunnel
  - module: magicwan.cloudflare.ipsec_tunnel_info
  - module: magicwan.cloudflare.ipsec_psk
"""

EXAMPLES = r"""
- name: Keep both tunnels of the Berlin office, and remove an old one
  magicwan.cloudflare.ipsec_tunnels:
    account_id: 023e105f4ecef8ad9ca31a8372d0c353
    tunnels:
      - name: berlin-1
        cloudflare_endpoint: 203.0.113.1
        customer_endpoint: 198.51.100.7
        interface_address: 10.100.0.8/31
      - name: berlin-2
        cloudflare_endpoint: 203.0.113.2
        customer_endpoint: 198.51.100.7
        interface_address: 10.100.0.10/31
      - name: berlin-old
        state: absent

- name: Make the account hold the fleet of the inventory and nothing else
  magicwan.cloudflare.ipsec_tunnels:
    tunnels: "{{ fleet }}"
    purge: true
    purge_max: 2
  register: result

- name: Show what has changed
  ansible.builtin.debug:
    msg: "{{ result.ipsec_tunnels | selectattr('changed') | map(attribute='name') }}"
"""

RETURN = r"""
ipsec_tunnels:
  description:
    - One result for each item of O(tunnels), in their order, then one for each purged tunnel. The same keys in a check
      run.
  returned: success, or failure after the plan was made
  type: list
  elements: dict
  contains:
    id:
      description: Identifier, null for a tunnel that would be created.
      type: str
    name:
      description: Name of the tunnel.
      type: str
    action:
      description: What was done, would be done in check mode, or failed.
      type: str
      choices: [none, create, update, delete]
    changed:
      description: Whether the tunnel was changed, or would be. True, too, if it failed but may have been changed.
      type: bool
    failed:
      description: Whether the action failed, or was not tried.
      type: bool
    purged:
      description: Whether the tunnel is deleted because O(tunnels) does not name it.
      type: bool
    reason:
      description: Why it failed, null otherwise.
      type: str
    failure:
      description: The error in parts, as RV(failure). Null if there is none, and for what was not tried.
      type: dict
    ipsec_tunnel:
      description:
        - The tunnel after the run, as M(magicwan.cloudflare.ipsec_tunnel) returns it. Null after a deletion. If it
          failed, the tunnel as it was before.
      type: dict
  sample:
    - id: c4a7362d577a6c3019a474fd6f485821
      name: berlin-1
      action: update
      changed: true
      failed: false
      purged: false
      reason: null
      failure: null
      ipsec_tunnel:
        id: c4a7362d577a6c3019a474fd6f485821
        name: berlin-1
        description: Berlin, first uplink
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
          rate: low
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
  description:
    - The first error in parts. C(status), C(code), C(pointer) and C(ray_id) are the API's, null where there is none.
  returned: failure
  type: dict
  sample:
    kind: ApiError
    status: 400
    code: 1022
    message: interface_address overlaps
    pointer: /interface_address
    ray_id: 8f1e2d3c4b5a6978-FRA
    documentation_url: null
    outcome_unknown: false
"""

from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.module_utils._ipsec_tunnels import ensure_tunnels
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import run
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import CHARSETS
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import tunnel_spec

SPEC = ArgumentSpec(
    {
        "tunnels": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                "id": {"type": "str"},
                **tunnel_spec(),
                "psk": {"type": "str", "no_log": True},
            },
        },
        "purge": {"type": "bool", "default": False},
        "purge_max": {"type": "int", "default": 5},
        "update_psk": {"type": "str", "choices": ["on_create", "always"], "default": "on_create", "no_log": False},
        "psk_charset": {"type": "str", "choices": list(CHARSETS), "default": "safe", "no_log": False},
        "concurrency": {"type": "int", "default": 1},
    },
)


def main() -> None:
    """Entry point."""
    run(SPEC, ensure_tunnels)


if __name__ == "__main__":
    main()
