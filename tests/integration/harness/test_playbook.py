# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook runner gives what tests rely on: a clean environment, results, and an end to every process."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import Playbooks
from tests.harness.simulator import Simulator

PLAY = """
- name: A play
  hosts: all
  gather_facts: false
  tasks:
    - name: Say it
      ansible.builtin.debug:
        msg: "{{ word }} to {{ inventory_hostname }}"
    - name: Change something
      ansible.builtin.command: "true"
    - name: Look at the environment
      ansible.builtin.command: env
      changed_when: false
    - name: Publish
      ansible.builtin.set_stats:
        data: {published: 7}
      run_once: true
"""
HOSTS: dict[str, Any] = {"all": {"hosts": {"one": {}, "two": {}}, "vars": {"ansible_connection": "local"}}}


def test_results_and_statistics(playbooks: Playbooks, core: str | None) -> None:
    result = playbooks.run(PLAY, inventory=HOSTS, extra_vars={"word": "hello"}, core=core).ok()
    assert result.result("Say it", "two")["msg"] == "hello to two"
    assert sorted(found["_host"] for found in result.results("Say it")) == ["one", "two"]
    assert {host: stats["ok"] for host, stats in result.stats.items()} == {"one": 4, "two": 3}
    assert result.changed == 2
    assert result.custom["_run"]["published"] == 7
    assert "PLAY RECAP" in result.output


def test_environment_is_clean(playbooks: Playbooks, monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> None:
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
    monkeypatch.setenv("CLOUDFLARE_EMAIL", "developer@example.com")
    options: dict[str, Any] = {"inventory": "one ansible_connection=local", "extra_vars": {"word": "hello"}}
    result = playbooks.run(PLAY, **options, env={"CLOUDFLARE_API_TOKEN": None, "EXTRA": "1"}).ok()
    seen = dict(line.split("=", 1) for line in result.result("Look at the environment")["stdout_lines"] if "=" in line)
    assert seen["CLOUDFLARE_BASE_URL"] == simulator.base_url
    assert seen["EXTRA"] == "1"
    assert seen["HOME"] != os.environ.get("HOME")
    assert not {"CLOUDFLARE_API_TOKEN", "CLOUDFLARE_EMAIL", "ANSIBLE_STDOUT_CALLBACK"} & set(seen)


def test_failure_has_its_result(playbooks: Playbooks) -> None:
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"name": "No", "ansible.builtin.fail": None}]}]
    result = playbooks.run(play).failed()
    assert result.result("No")["_status"] == "failed"
    assert result.failures == 1


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are found in /proc")
def test_nothing_survives_kill_all(playbooks: Playbooks) -> None:
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [{"name": "Wait", "ansible.builtin.command": "sleep 60"}],
        }
    ]
    running = playbooks.start(play)
    deadline = time.monotonic() + 20
    while "TASK [Wait]" not in running.output() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.kill_all()
    assert running.descendants() == []
    assert running.wait().rc == -9
