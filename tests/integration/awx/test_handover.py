# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes of a workflow as jobs of their own: the artifacts of one are extra variables of the next, as AWX does it."""

from __future__ import annotations

import json

import pytest

from tests.harness.runner import LOCAL
from tests.integration.awx.conftest import Site

CONFIGURE = """
- name: Configure the devices
  hosts: all
  gather_facts: false
  tasks:
    - name: Write the new PSKs of this device
      ansible.builtin.copy:
        content: "{{ dict(ids | zip(psks)) | to_json }}"
        dest: "{{ devices }}/{{ inventory_hostname }}.json"
        mode: "0600"
      vars:
        ids: >-
          {{ magicwan_psk_rotation.hosts[inventory_hostname].tunnels | dict2items
             | selectattr('value.to_configure') | map(attribute='key') }}
        psks: "{{ query('magicwan.cloudflare.ipsec_psk', *ids, escrow=magicwan_psk_rotation.escrow) }}"
      no_log: true
      diff: false
"""


@pytest.mark.fleet(tunnels=4)
def test_rotate_then_configure_by_the_lookup_then_confirm(site: Site) -> None:
    devices = site.controller.workdir / "devices"
    devices.mkdir(mode=0o700)
    ids = list(site.tunnels())
    inventory = {f"site{n}": {**LOCAL, "psk_rotation_tunnels": ids[2 * n : 2 * n + 2]} for n in range(2)}
    template = {"psk_rotation_escrow": site.escrow, "psk_rotation_confirmation": "manual"}
    template["psk_rotation_unknown_psk"] = "rotate"

    rotate = site.controller.run("rotate.yml", inventory=inventory, extra_vars=template).succeeded()
    assert set(rotate.stats) == {"magicwan_psk_rotation"}

    configure = site.controller.run(
        "configure.yml",
        inventory=inventory,
        extra_vars={"devices": str(devices), **rotate.stats},
        project={"configure.yml": CONFIGURE},
    ).succeeded()
    configured = {i: psk for x in devices.glob("*.json") for i, psk in json.loads(x.read_text("utf-8")).items()}
    truth = {i: x["psk"] for i, x in site.tunnels().items()}
    assert len(configured) == 2  # of two tunnels that back each other up only one at a time
    assert configured == {i: truth[i] for i in configured}

    confirm = site.controller.run(
        "confirm.yml", inventory=inventory, extra_vars={**template, **rotate.stats}
    ).succeeded()
    records = site.records()
    assert {i: x["current"]["psk"] for i, x in records.items() if x["current"]} == configured
    assert {x["state"] for x in records.values()} == {"idle"}
    site.shows_no_secret(rotate, configure, confirm)
