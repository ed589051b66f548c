# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a playbook sets is recorded as Ansible hands it on: templates, defaults of modules and roles resolved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness import recorded
from tests.harness.playbook import Playbooks

MODULE = "magicwan.cloudflare.ipsec_tunnel_info"
FILTER = "magicwan.cloudflare.ipsec_tunnel_options"
LOOKUP = "magicwan.cloudflare.ipsec_psk"
ROLE = "magicwan.cloudflare.psk_rotation"
PLAY = f"""
- hosts: localhost
  gather_facts: false
  module_defaults:
    {MODULE}:
      timeout: 20
  tasks:
    - name: Read
      {MODULE}:
        tunnels: "{{{{ ['*'] }}}}"
        retries: "{{{{ omit }}}}"
      register: found
    - name: Use a filter
      ansible.builtin.debug:
        msg: "{{{{ found.ipsec_tunnels | {FILTER} }}}}"
    - name: Use a lookup
      ansible.builtin.debug:
        msg: "{{{{ lookup('{LOOKUP}', 'a', escrow={{'backend': 'none'}}) }}}}"
      ignore_errors: true
    - name: Report
      ansible.builtin.include_role:
        name: {ROLE}
        tasks_from: report.yml
      vars:
        psk_rotation_tunnels: [all]
        psk_rotation_canary: 0
        psk_rotation_escrow: {{backend: none}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording of its own."""
    options = {"psk_rotation_tunnels": {}, "psk_rotation_canary": {}, "psk_rotation_escrow": {}}
    expected = {
        "module": {MODULE: {"tunnels": {}, "timeout": {}, "retries": {}}},
        "filter": {FILTER: {}},
        "lookup": {LOOKUP: {"escrow": {"backend": {}, "path": {}}}},
        "role": {ROLE: options},
        "entry point": {f"{ROLE}.report": {}, f"{ROLE}.main": {}},
    }
    made = tmp_path / "recorded"
    (made / recorded.SEEN).mkdir(parents=True)
    (made / recorded.EXPECTED).write_text(json.dumps(expected), encoding="utf-8")
    monkeypatch.setenv(recorded.VARIABLE, str(made))
    return made


def test_what_a_playbook_sets_is_recorded(playbooks: Playbooks, folder: Path, core: str | None) -> None:
    playbooks.run(PLAY, core=core)
    assert sorted(x.name for x in (folder / recorded.SEEN).iterdir()) == [
        f"entry point {ROLE}.report",
        f"filter {FILTER}",
        f"lookup {LOOKUP}",
        f"lookup {LOOKUP} escrow",
        f"lookup {LOOKUP} escrow.backend",
        f"module {MODULE}",
        f"module {MODULE} timeout",
        f"module {MODULE} tunnels",
        f"role {ROLE}",
        f"role {ROLE} psk_rotation_escrow",
        f"role {ROLE} psk_rotation_tunnels",
    ]
