# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in with everything around it: an account in the simulator, an escrow in OpenBao, jobs on ansible-runner."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.awx_stand_in.app import AwxStandIn
from tests.awx_stand_in.inventories import read
from tests.awx_stand_in.jobs import Launch, Outcome, World
from tests.harness.openbao import OpenBao
from tests.harness.playbook import VENV, Playbooks
from tests.harness.runner import BIN, PROJECT, Controller, JobResult
from tests.harness.simulator import Simulator
from tests.integration.awx.story import URL, Story

DEADLINE = 280.0
# The variables of devices that are on this machine, and take what they get.
DEVICES = """
ansible_connection: local
ansible_python_interpreter: "{{ ansible_playbook_python }}"
psk_rotation_device_tasks: %s
"""
DEVICE_TASKS = """
- name: Take the PSKs
  ansible.builtin.copy:
    content: "{{ psk_rotation_wave_results | to_json }}"
    dest: "%s/{{ inventory_hostname }}.json"
    mode: "0600"
  no_log: true
  diff: false
"""
ENDED = ("successful", "failed", "error", "canceled")


@dataclass
class Awx(Story):
    """A set-up AWX whose jobs run."""

    simulator: Simulator
    bao: OpenBao
    controller: Controller
    project: Path
    escrow: dict[str, Any]
    secret_id: str
    results: dict[int, JobResult] = field(default_factory=dict)

    def run(self, launch: Launch) -> Outcome:
        """Run a job on ansible-runner, as AWX would."""
        result = self.controller.start(
            launch.playbook,
            inventory=launch.inventory,
            extra_vars=launch.extra_vars,
            env={**launch.env, "JOB_ID": str(launch.number)},
            check=launch.job_type == "check",
            limit=launch.limit,
            source=self.project,
        ).wait(DEADLINE)
        self.results[launch.number] = result
        return Outcome(result.status, result.stats)

    def wait_for(self, number: int) -> dict[str, Any]:
        """A job or workflow at its end, or at an approval."""
        self.until(lambda: self.awx.jobs.all[number]["status"] in ENDED, f"job {number} has not ended")
        return self.awx.jobs.all[number]

    def job(self, name: str, **body: Any) -> dict[str, Any]:
        """Launch a job template, and wait for its end."""
        answer = self.launch(name, **body)
        assert answer.status_code == 201, answer.text
        return self.wait_for(answer.json()["job"])

    def approval(self, workflow: int) -> dict[str, Any]:
        """What waits for somebody in this workflow."""

        def waiting() -> list[dict[str, Any]]:
            found = list(self.awx.jobs.all.values())
            return [x for x in found if x["type"] == "workflow_approval" and x["workflow_job"] == workflow]

        ended = lambda: self.awx.jobs.all[workflow]["status"] in ENDED  # noqa: E731
        self.until(lambda: bool(waiting()) or ended(), f"workflow {workflow} waits for nobody")
        assert waiting(), f"workflow {workflow} has ended:\n{self.last_output()[-5000:]}"
        return waiting()[0]

    def decide(self, workflow: int, what: str) -> None:
        """Approve or deny."""
        assert self.call("POST", f"workflow_approvals/{self.approval(workflow)['id']}/{what}").status_code == 204

    def psks_set(self) -> dict[str, int]:
        """How many PSKs each tunnel has had, by its name."""
        state = self.simulator.state()
        return {x["name"]: len(state["psk_history"].get(x["id"], ())) for x in state["tunnels"]}

    def last_output(self) -> str:
        """What the last job has printed."""
        return self.results[max(self.results)].stdout if self.results else ""

    def launched(self) -> list[str]:
        """The playbooks of all jobs until now."""
        return [x.playbook for x in self.awx.jobs.launches]

    @staticmethod
    def until(condition: Callable[[], bool], problem: str) -> None:
        """Poll a condition."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, problem
            time.sleep(0.05)


def collections() -> Path:
    """The collections of an execution environment that has this one."""
    return VENV / "collections"


@contextmanager
def set_up_awx(folder: Path, tunnels: int, as_shipped: bool = False, **variables: Any) -> Iterator[Awx]:
    """A whole AWX with the setup playbook's objects, whose project is as shipped, or says who configures devices."""
    project = folder / "project"
    shutil.copytree(PROJECT, project)
    devices = folder / "devices"
    devices.mkdir(mode=0o700)
    tasks = folder / "device.yml"
    if not as_shipped:
        (project / "inventory" / "group_vars" / "magicwan.yml").write_text(DEVICES % tasks, encoding="utf-8")
    tasks.write_text(DEVICE_TASKS % devices, encoding="utf-8")

    def listing(files: Path, source: str, env: Any) -> dict[str, Any]:
        return read(files, source, env, BIN / "ansible-inventory", ee_collections=collections())

    world = World(projects={URL: project}, read_inventory=listing)
    with Simulator(tunnels) as simulator, OpenBao() as bao, AwxStandIn(world) as awx:
        role_id, secret_id = bao.approle(bao.policy("awx", ["create", "read", "update"]))
        playbooks = Playbooks(folder / "playbooks")
        controller = Controller(folder, {})
        escrow = {"backend": "vault_kv2", "path": "awx", "retries": 0}
        found = Awx(awx, playbooks, simulator, bao, controller, project, escrow, secret_id)
        world.run = found.run
        env = {
            "CLOUDFLARE_ACCOUNT_ID": simulator.account,
            "CLOUDFLARE_API_TOKEN": simulator.token,
            "CLOUDFLARE_BASE_URL": simulator.base_url,
            "VAULT_ADDR": bao.url,
            "VAULT_ROLE_ID": role_id,
            "VAULT_SECRET_ID": secret_id,
        }
        kind = awx.all("credential_types")["Red Hat Ansible Automation Platform"]["id"]
        inputs = {"host": awx.url, "oauth_token": awx.token}
        found.call("POST", "credentials", {"name": "AWX", "organization": 1, "credential_type": kind, "inputs": inputs})
        wanted = {"psk_rotation_escrow": escrow, "psk_rotation_unknown_psk": "rotate"}
        options = {"magicwan_awx_extra_vars": wanted, **variables}
        found.load(env, magicwan_awx_controller_credential="AWX", **options)
        yield found
        controller.close()
        playbooks.close()
