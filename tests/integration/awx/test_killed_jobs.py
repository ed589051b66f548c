# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWX ends a job with SIGKILL, by a time-out or a cancellation: no rescue, no always. Launching it again is the cure.

A job is held at the moment in question by a request that the simulator does not answer, or by its device tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.runner import LOCAL, JobResult
from tests.integration.awx.conftest import Site

DEADLINE = 150.0
DEVICE_TASKS = """
- name: Take the PSKs
  ansible.builtin.copy:
    content: "{{ psk_rotation_wave_results | to_json }}"
    dest: "{{ devices }}/{{ inventory_hostname }}.json"
    mode: "0600"
  no_log: true
  diff: false
- name: Hold the job
  ansible.builtin.wait_for:
    path: "{{ devices }}/go"
    msg: held
  when: hold | default(false)
"""

pytestmark = pytest.mark.fleet(tunnels=4)


def psk_set(when: str, skip: int = 0) -> dict[str, Any]:
    """A request that sets PSKs and that hangs before or after the change."""
    return {"route": "psk_set", "validate_only": False, "hang": True, "when": when, "skip": skip}


def await_held(site: Site, fault: dict[str, Any]) -> None:
    """Wait until the request hangs: the journal then has an entry that the fault's number marks."""
    await_true(lambda: bool(site.simulator.faults()[0]["hits"]), f"no request met {fault}")


def await_true(condition: Callable[[], bool], problem: str) -> None:
    """Poll a condition."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, problem
        time.sleep(0.02)


def no_key_is_lost(site: Site, before: dict[str, dict[str, Any]]) -> None:
    """Whatever PSK Cloudflare has is the one from before, or in the escrow."""
    records = site.records()
    for i, tunnel in site.tunnels().items():
        record = records.get(i) or {}
        kept = {(record.get(key) or {}).get("psk") for key in ("current", "pending", "previous")}
        assert tunnel["psk"] in kept | {before[i].get("psk")}, tunnel["name"]


def relaunched(site: Site, before: dict[str, dict[str, Any]], job: JobResult, killed: JobResult) -> None:
    """The job after the killed one has finished the work: one new PSK a tunnel, in escrow and account, none shown."""
    job.succeeded()
    records = site.records()
    assert {x["state"] for x in records.values()} == {"idle"}
    assert {i: x["current"]["psk"] for i, x in records.items()} == {i: x["psk"] for i, x in site.tunnels().items()}
    assert {i: len(x) for i, x in site.new_psks(before).items()} == dict.fromkeys(before, 1)
    assert killed.stats == {}
    site.shows_no_secret(killed, job)


@pytest.mark.parametrize(
    "fault",
    [psk_set("before"), psk_set("after"), psk_set("after", skip=1)],
    ids=["before Cloudflare has the PSKs", "before their answer is written down", "in the second wave"],
)
def test_a_canceled_job_is_resumed_by_the_next(site: Site, fault: dict[str, Any]) -> None:
    before = site.tunnels()
    site.simulator.arm(fault)
    job = site.controller.start("rotate.yml", extra_vars=site.on_localhost())
    await_held(site, fault)
    killed = job.cancel()
    assert killed.status == "canceled"
    site.simulator.clear_faults()
    no_key_is_lost(site, before)
    again = site.controller.run("rotate.yml", extra_vars=site.on_localhost())
    relaunched(site, before, again, killed)


def test_a_job_that_ran_into_its_time_out_is_resumed_by_the_next(site: Site) -> None:
    before = site.tunnels()
    site.simulator.arm(psk_set("after"))
    killed = site.controller.run("rotate.yml", extra_vars=site.on_localhost(), job_timeout=8)
    assert killed.status == "timeout"
    site.simulator.clear_faults()
    no_key_is_lost(site, before)
    again = site.controller.run("rotate.yml", extra_vars=site.on_localhost())
    relaunched(site, before, again, killed)


def test_a_job_that_was_canceled_while_devices_were_configured_is_resumed_by_the_next(site: Site) -> None:
    before = site.tunnels()
    devices = site.controller.workdir / "devices"
    devices.mkdir()
    tasks = site.controller.workdir / "device.yml"
    tasks.write_text(DEVICE_TASKS, encoding="utf-8")
    names = [x["id"] for x in before.values()]
    inventory = {f"site{n}": {**LOCAL, "psk_rotation_tunnels": names[2 * n : 2 * n + 2]} for n in range(2)}
    variables = {
        "psk_rotation_escrow": site.escrow,
        "psk_rotation_unknown_psk": "rotate",
        "psk_rotation_device_tasks": str(tasks),
        "devices": str(devices),
    }
    job = site.controller.start("rotate.yml", inventory=inventory, extra_vars={**variables, "hold": True})
    await_true(lambda: len(list(devices.glob("*.json"))) == 2, "no device was configured")
    killed = job.cancel()
    assert killed.status == "canceled"
    no_key_is_lost(site, before)
    again = site.controller.run("rotate.yml", inventory=inventory, extra_vars=variables)
    relaunched(site, before, again, killed)
