# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

from __future__ import annotations

import textwrap

_FIELDS = r"""
state:
  description: Whether the tunnel should exist.
  type: str
  choices: [present, absent]
  default: present
name:
  description:
    - Name of the tunnel, unique in the account. Finds the tunnel when O(id) is not set.
    - With O(id), a different name renames the tunnel.
    - At least one of O(name) and O(id) is required.
  type: str
id:
  description: Identifier of an existing tunnel.
  type: str
description:
  description: Text that describes the tunnel.
  type: str
cloudflare_endpoint:
  description: IP address on the Cloudflare side of the tunnel. Required to create a tunnel.
  type: str
customer_endpoint:
  description:
    - IP address on the customer side of the tunnel.
    - Needed for proactive traceroutes, and for devices that identify themselves by their address. Leave it out for
      a site with a dynamic address.
  type: str
interface_address:
  description:
    - Cloudflare's IPv4 address inside the tunnel with its prefix length, a C(/31) or C(/30) out of
      C(10.0.0.0/8), C(172.16.0.0/12), C(192.168.0.0/16) or C(169.254.240.0/20). Required to create a tunnel.
    - Its network must not be that of another tunnel.
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
      description:
        - AS number on the customer's end, 0 to 4294967295. Required when the tunnel has no BGP yet.
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
      description:
        - Name of the form C(<label>.<account>.custom.ipsec.cloudflare.com).
        - The account is the number in C(remote_identities.fqdn_id) of any tunnel, such as C(33145236). Cloudflare's
          documentation has the account's identifier there, which was seen to be refused.
        - Several tunnels may have the same, but not with one O(cloudflare_endpoint).
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
      description: What Cloudflare sends, an ICMP echo reply or an echo request. V(request) passes stateful firewalls.
      type: str
      choices: [reply, request]
    direction:
      description: Whether the answer comes back over the Internet or through the tunnel.
      type: str
      choices: [unidirectional, bidirectional]
    target:
      description:
        - Address to which the probe goes behind the tunnel. Without one it is computed.
        - An address, or a dictionary with the key C(saved), as this collection returns it. The key C(effective) is
          accepted and ignored.
      type: raw
psk:
  description:
    - Pre-shared key to set, another one for each tunnel. It is never returned and can't be read back; see
      M(magicwan.cloudflare.ipsec_psk) and the role P(magicwan.cloudflare.psk_rotation#role) for rotation.
    - Checked only if it would be sent.
  type: str
"""

_RULE = r"""
notes:
  - An option that is null or left out keeps its field as it is. An empty one removes it, V(""\) a text, V([]\) a list
    and V({}\) a dictionary, in which null counts as left out. This works for C(description), C(customer_endpoint),
    C(interface_address6), C(bgp), C(bgp.md5_key), C(bgp.extra_prefixes), C(bgp.import_filter_id),
    C(bgp.export_filter_id), C(custom_remote_identities) (also by an empty C(fqdn_id)) and C(health_check.target).
    Nothing else can be removed. After a removal the tunnel is read again, and the task fails if Cloudflare kept the
    field.
  - Fields that Cloudflare shows and this collection does not know go back in an update as they were read, because an
    update replaces the whole tunnel. A field that Cloudflare shows and refuses is left out with a warning, and the task
    fails if the update has changed it.
"""


def _inside(text: str, spaces: int) -> str:
    return textwrap.indent(text.strip("\n"), " " * spaces)


_FIELDS_IN_LIST = _FIELDS.replace("O(", "O(tunnels[].")


class ModuleDocFragment:
    """The fields of a tunnel, as options and as those of each item of a list; ``_tunnel.tunnel_spec`` is their argument
    spec, ``_tunnel_plan`` has the rule of the note."""

    # Annotated, since ansible-test takes what a fragment merely assigns for a literal.
    DOCUMENTATION: str = f"{_RULE}\noptions:\n{_inside(_FIELDS, 2)}\n"
    IN_LIST: str = f"{_RULE}\noptions:\n  tunnels:\n    suboptions:\n{_inside(_FIELDS_IN_LIST, 6)}\n"
    PSK = r"""
options:
  update_psk:
    description: Whether C(psk) is sent only when a tunnel is created, or with every run.
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
"""
