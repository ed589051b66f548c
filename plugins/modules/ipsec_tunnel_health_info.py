#!/usr/bin/python

# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ipsec_tunnel_health_info
short_description: Read the health of IPsec tunnels of Cloudflare Magic WAN
version_added: 1.0.0
author:
  - The magicwan.cloudflare authors (@magicwan)
description:
  - Returns what Cloudflare's health checks say of IPsec tunnels, from each data centre and overall.
  - Every data centre checks every tunnel. A tunnel is as healthy as its worst data centre says.
  - A healthy tunnel does not prove a new PSK. The running tunnel goes on with the old one until its next
    authentication.
extends_documentation_fragment:
  - magicwan.cloudflare._api
  - magicwan.cloudflare._attributes
  - magicwan.cloudflare._attributes.info_module
options:
  tunnels:
    description:
      - Which tunnels to look at, by identifiers, names, or globs over names such as V(berlin-*).
      - V(all) and V(*) take all, even where a tunnel has that name, with a warning.
      - All tunnels when not set. An entry that names no tunnel fails the task, and so does one that is the name of a
        tunnel and a glob over others.
    type: list
    elements: str
  window:
    description:
      - How far to look back from now, from one minute to seven days. Seconds, or a number with V(s), V(m), V(h), V(d)
        or V(w).
      - A state is the mean over the window, so a short window shows a change sooner.
    type: str
    default: 5m
  data_centers:
    description: Whether to return RV(tunnel_health[].colos), which is some 300 entries a tunnel.
    type: bool
    default: true
notes:
  - Needs the permission C(Account Analytics Read) beside C(Magic WAN Read), because the states come from the GraphQL
    Analytics API. It allows 300 queries in five minutes; this module makes one for each 25 tunnels.
  - After a tunnel has re-authenticated, Cloudflare may show it V(degraded) for up to 30 minutes.
seealso:
  - module: magicwan.cloudflare.ipsec_tunnel_info
"""

EXAMPLES = r"""
- name: Read the health of all tunnels
  magicwan.cloudflare.ipsec_tunnel_health_info:
    data_centers: false
  register: health

- name: Show the unhealthy tunnels
  ansible.builtin.debug:
    msg: "{{ health.msg }}"

- name: Wait until no tunnel of a site is down
  magicwan.cloudflare.ipsec_tunnel_health_info:
    tunnels: [berlin-*]
    window: 1m
  register: health
  until: health.worst in ['healthy', 'degraded']
  retries: 30
  delay: 60
"""

RETURN = r"""
tunnel_health:
  description: An entry for each tunnel, in the account's order.
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
    state:
      description:
        - V(healthy), V(degraded), V(down), or V(unknown) when no data centre has reported, or the tunnel's health
          check is disabled. That of the worst data centre.
      type: str
      returned: always
    mean:
      description: The mean of all reports, from 0.0 (down) to 1.0 (healthy). Null without a report.
      type: float
      returned: always
    checks:
      description: How many reports there are.
      type: int
      returned: always
    reason:
      description: In how many data centres the tunnel has this state, or why nothing is known.
      type: str
      returned: always
    colos:
      description: The data centres, the worst first.
      type: list
      elements: dict
      returned: O(data_centers=true)
      contains:
        name:
          description: The data centre's airport code.
          type: str
          returned: always
        city:
          description: Its city.
          type: str
          returned: always
        country:
          description: Its country, in two letters.
          type: str
          returned: always
        state:
          description: V(healthy) above a mean of 0.8, V(degraded) from 0.4 on, otherwise V(down).
          type: str
          returned: always
        mean:
          description: The mean of its reports.
          type: float
          returned: always
        checks:
          description: How many reports it made.
          type: int
          returned: always
  sample:
    - id: c4a7362d577a6c3019a474fd6f485821
      name: berlin-1
      state: degraded
      mean: 0.9167
      checks: 60
      reason: degraded in 1 of 2 data centres
      colos:
        - {name: AMS, city: Amsterdam, country: NL, state: degraded, mean: 0.5, checks: 10}
        - {name: FRA, city: Frankfurt, country: DE, state: healthy, mean: 1.0, checks: 50}
worst:
  description: The worst state of all, from V(healthy) over V(degraded) and V(unknown) to V(down).
  returned: success
  type: str
  sample: degraded
states:
  description: How many tunnels have each state.
  returned: success
  type: dict
  sample: {healthy: 23, degraded: 1, unknown: 0, down: 0}
since:
  description: Beginning of the window.
  returned: success
  type: str
  sample: "2026-06-14T05:15:00Z"
until:
  description: End of the window.
  returned: success
  type: str
  sample: "2026-06-14T05:20:00Z"
msg:
  description: How many tunnels have each state, with the names of those that are not healthy; or what went wrong.
  returned: always
  type: str
failure:
  description: The error in parts, as RV(magicwan.cloudflare.ipsec_tunnel_info#module:failure).
  returned: failure
  type: dict
"""

from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.module_utils._ipsec_tunnel_health_info import tunnel_health_info
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import run

SPEC = ArgumentSpec(
    {
        "tunnels": {"type": "list", "elements": "str"},
        "window": {"type": "str", "default": "5m"},
        "data_centers": {"type": "bool", "default": True},
    }
)


def main() -> None:
    """Entry point."""
    run(SPEC, tunnel_health_info)


if __name__ == "__main__":
    main()
