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
    state that a list describes, with one request to read them all and one for each tunnel that differs. One more reads
    them all again where a tunnel was created, or a field removed.
  - Only the options that are set are compared and changed. An update sends the whole tunnel, with the present values
    of everything that is not set, so that nothing is lost.
  - Whatever can be refused is refused before the first write, and names the item. The list is compared with itself and
    with the account. Refused are a name, an inside network or a custom identity that another tunnel has, also one that
    it would have only until later in the run; a PSK that would be sent and is weak or another tunnel's; and a new
    tunnel with the C(cloudflare_endpoint) and C(interface_address) of an old one that the list does not name, which is
    most likely a rename.
  - Tunnels are created and updated first. Then those with C(state=absent) are deleted. O(purge) comes last, and only
    if nothing has failed. A tunnel that fails does not stop the others, but for the one that it replaces, which stays.
    The task then fails with the results of all of them. When the credentials or the rate are refused, or three tunnels
    in a row get no usable answer, the rest is not tried, and its results say so.
  - In check mode the API itself validates each change (C(validate_only=true)).
  - Waits when the API says that its rate limit is used up, and repeats a request that was refused by it.
extends_documentation_fragment:
  - magicwan.cloudflare._api
  - magicwan.cloudflare._attributes
  - magicwan.cloudflare._tunnel.in_list
  - magicwan.cloudflare._tunnel.psk
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
    description: The tunnels. No two items may name the same.
    type: list
    elements: dict
    required: true
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
  - name: Tunnels as code
    description: How an existing account becomes a list, and how tunnels are renamed, replaced and removed.
    link: https://github.com/magicwan/cloudflare/blob/main/docs/docsite/rst/guide_tunnels.rst
"""

EXAMPLES = r"""
- name: Manage both tunnels of the Berlin office and remove an old one
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

- name: Keep the account in line with the inventory
  magicwan.cloudflare.ipsec_tunnels:
    tunnels: "{{ fleet }}"
    purge: true
    purge_max: 2
  register: result

- name: Show the changes
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
      returned: always
    name:
      description: Name of the tunnel.
      type: str
      returned: always
    action:
      description: What was done, would be done in check mode, or failed.
      type: str
      choices: [none, create, update, delete]
      returned: always
    changed:
      description: Whether the tunnel was changed, or would be. True, too, if it failed but may have been changed.
      type: bool
      returned: always
    failed:
      description: Whether the action failed, or was not tried.
      type: bool
      returned: always
    purged:
      description: Whether the tunnel is deleted because O(tunnels) does not name it.
      type: bool
      returned: always
    replaces:
      description:
        - Name of the deleted tunnel in whose place this new one is, by its inside network or by both endpoints. It has
          another id, other IKE identities, and no PSK but the one that it was given. Null otherwise.
      type: str
      returned: always
    replaced_by:
      description: Name of the new tunnel in the place of this deleted one, null otherwise.
      type: str
      returned: always
    reason:
      description: Why it failed, null otherwise.
      type: str
      returned: always
    failure:
      description:
        - The error in parts, as RV(magicwan.cloudflare.ipsec_tunnel_info#module:failure). Null if there is none, and
          for what was not tried.
      type: dict
      returned: always
    ipsec_tunnel:
      description:
        - The tunnel after the run, with the keys of each of
          RV(magicwan.cloudflare.ipsec_tunnel_info#module:ipsec_tunnels). Null after a deletion. If the action failed,
          the tunnel as far as it is known.
      type: dict
      returned: always
msg:
  description:
    - How many tunnels were created, updated, deleted and left alone, with the names of the first ten of each and the
      names of the fields that updates change; then the first failures. Printed as well, if anything has changed.
  returned: always
  type: str
  sample: "4 tunnels: 1 create (berlin-3), 1 update (berlin-1: description, bgp), 2 none"
failure:
  description: The first error in parts, as RV(magicwan.cloudflare.ipsec_tunnel_info#module:failure).
  returned: failure
  type: dict
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
