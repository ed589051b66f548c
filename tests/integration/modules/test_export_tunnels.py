# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook export_tunnels: the account as a file that ipsec_tunnels takes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator

pytestmark = pytest.mark.fleet(tunnels=4)
PLAYBOOK = "magicwan.cloudflare.export_tunnels"
GIVE_BACK = """
- hosts: localhost
  gather_facts: false
  vars_files: ["{{ file }}"]
  tasks:
    - name: Give back
      magicwan.cloudflare.ipsec_tunnels:
        tunnels: "{{ tunnels }}"
        purge: true
"""


def export(playbooks: Playbooks, path: Path | str, **options: Any) -> Result:
    extra = {"export_tunnels_path": str(path), **options.pop("variables", {})}
    return playbooks.run(PLAYBOOK, extra_vars=extra, **options)


def test_what_was_exported_is_taken_back_with_nothing_to_change(
    playbooks: Playbooks, simulator: Simulator, tmp_path: Path
) -> None:
    first = simulator.state()["tunnels"][0]["id"]
    simulator.patch_tunnel(first, description="{{ lookup('env', 'HOME') }}: yes")
    path = tmp_path / "tunnels.yml"
    assert export(playbooks, path).ok().changed == 1
    assert not find_secrets([path.read_text(encoding="utf-8")], simulator.psks())
    assert export(playbooks, path).ok().changed == 0
    given_back = playbooks.run(GIVE_BACK, extra_vars={"file": str(path)}).ok()
    assert given_back.changed == 0
    assert [x["action"] for x in given_back.result("Give back")["ipsec_tunnels"]] == ["none"] * 4
    assert simulator.writes() == 0


def test_a_file_of_another_content_is_not_overwritten_unless_told(playbooks: Playbooks, tmp_path: Path) -> None:
    path = tmp_path / "tunnels.yml"
    path.write_text("mine: true\n", encoding="utf-8")
    failed = export(playbooks, path).failed()
    assert "differs from the account" in failed.result("Refuse to overwrite a different file")["msg"]
    assert path.read_text(encoding="utf-8") == "mine: true\n"
    export(playbooks, path, variables={"export_tunnels_overwrite": True}).ok()
    assert path.read_text(encoding="utf-8").count("name: ") == 4


def test_a_file_whose_mode_is_another_one_by_now_is_left_as_it_is(playbooks: Playbooks, tmp_path: Path) -> None:
    path = tmp_path / "tunnels.yml"
    export(playbooks, path).ok()
    path.chmod(0o644)
    assert export(playbooks, path).ok().changed == 0
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_check_run_writes_no_file(playbooks: Playbooks, tmp_path: Path) -> None:
    assert export(playbooks, tmp_path / "tunnels.yml", check=True).ok().changed == 1
    assert not (tmp_path / "tunnels.yml").exists()


def test_a_path_must_be_given(playbooks: Playbooks, tmp_path: Path) -> None:
    failed = playbooks.run(PLAYBOOK).failed()
    assert "export_tunnels_path is missing" in failed.result("Require the file's path")["msg"]


def test_a_misspelt_variable_is_refused(playbooks: Playbooks, tmp_path: Path) -> None:
    failed = export(playbooks, tmp_path / "t.yml", variables={"export_tunnels_overwite": True}).failed()
    assert "export_tunnels_overwite" in failed.result("Refuse misspelt variables")["msg"]
