# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adoption with adopt_psks_verify: devices are asked first, and change nothing; a mismatch is not adopted."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.integration.psk_rotation.stage import Run, Stage

pytestmark = pytest.mark.fleet(tunnels=4)
SECRET = "another-Secret-of-the-Source"
# What a device of the user's own may do: compare with what it has, and say so.
OWN_VERIFY = """
- name: Verify | Note what was asked
  ansible.legacy.keep:
    path: "{{ devices_folder }}/{{ inventory_hostname }}.jsonl"
    value: {wave: "{{ psk_rotation_wave_results }}", all: "{{ psk_rotation_results }}", mode: "{{ psk_rotation_mode }}"}
  no_log: true
  check_mode: false
  changed_when: false
- name: Verify | Fail where the test says so
  ansible.builtin.fail:
    msg: this device has another key
  when: inventory_hostname in (contradicting | default([]))
- name: Verify | Say what was proven
  ansible.builtin.set_fact:
    psk_rotation_proven_tunnels: "{{ psk_rotation_wave_results | map(attribute='name') }}"
  when: inventory_hostname in (proving | default([]))
"""
DEVICE_TASKS = """
- name: Device | Must never run
  ansible.legacy.keep: {path: "{{ devices_folder }}/touched.jsonl", value: {host: "{{ inventory_hostname }}"}}
"""
# swanctl of a device: it has the connections of its tunnels, and keeps how it was called.
SWANCTL = """#!/bin/sh
echo "$*" >> {folder}/calls
[ "$1" != --list-conns ] || cat {folder}/conns
"""


def known(stage: Stage) -> dict[str, str]:
    return {x["name"]: x["psk"] for x in stage.tunnels().values()}


def verify(stage: Stage, psks: dict[str, str], variables: dict[str, Any] | None = None, **options: Any) -> Run:
    options.setdefault("inventory", stage.devices())
    given = {
        "adopt_psks_from": {"psks": psks},
        "adopt_psks_verify": True,
        "psk_rotation_unknown_psk": None,
        "psk_rotation_verify_tasks": stage.write("hooks/own.yml", OWN_VERIFY),
        "psk_rotation_device_tasks": stage.write("hooks/never.yml", DEVICE_TASKS),
        **(variables or {}),
    }
    run = stage.rotate(given, playbook="adopt_psks", then=(), **options)
    assert run.waves == [] and not run.rotated
    assert not (stage.folder / "devices" / "touched.jsonl").exists()
    return run


def confirmed(stage: Stage) -> dict[str, bool]:
    """Whether the PSK of each tunnel was proven, by name."""
    return {x["name"]: x["current"]["confirmed"] for x in stage.escrow().values()}


def test_the_verify_tasks_alone_run_and_get_the_known_psks_in_the_mode_adopt(stage: Stage) -> None:
    run = verify(stage, known(stage)).ok()
    for device in ("device0", "device1"):
        (call,) = stage.calls(device)
        assert call["mode"] == "adopt"
        own = {i: stage.psks()[i] for i in stage.own(device)}
        assert {x["id"]: x["psk"] for x in call["wave"]} == own == {x["id"]: x["psk"] for x in call["all"]}
    assert "4 adopted, 0 known already, 4 can't be proven (" in run.result.stdout
    assert set(confirmed(stage).values()) == {False}


def test_a_device_that_fails_keeps_its_psks_out_of_the_escrow_and_is_named(stage: Stage) -> None:
    run = verify(stage, known(stage), {"contradicting": ["device1"], "proving": ["device0"]}).failed()
    names = [stage.tunnels()[i]["name"] for i in stage.own("device1")]
    told = "; ".join(f"{x}: the task Verify | Fail where the test says so failed" for x in names)
    assert f"2 adopted, 0 known already, 2 not adopted ({told})" in run.failures[-1]
    assert set(stage.escrow()) == set(stage.own("device0"))
    assert set(confirmed(stage).values()) == {True}


def test_a_psk_that_the_escrow_knows_already_can_be_proven_later(stage: Stage) -> None:
    verify(stage, known(stage)).ok()
    run = verify(stage, known(stage), {"proving": ["device0", "device1"]}).ok()
    assert "0 adopted, 4 known already, 4 were seen in the device" in run.result.stdout
    assert set(confirmed(stage).values()) == {True}
    assert verify(stage, known(stage), {"proving": ["device0", "device1"]}).ok().result.changed == 0


def test_a_device_that_nobody_hears_of_keeps_its_psks_out_of_the_escrow(stage: Stage) -> None:
    inventory = stage.devices()
    inventory["all"]["hosts"]["device1"].update(ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    tasks = "- name: Ask it\n  ansible.builtin.command: 'true'\n  changed_when: false\n"
    variables = {"psk_rotation_verify_tasks": stage.write("hooks/asks.yml", tasks)}
    run = verify(stage, known(stage), variables, inventory=inventory)
    assert run.result.rc != 0
    assert "its device device1 did not report back" in run.failures[-1]
    assert set(stage.escrow()) == set(stage.own("device0"))


def test_a_check_run_asks_the_devices_and_writes_nothing(stage: Stage) -> None:
    run = verify(stage, known(stage), {"contradicting": ["device1"]}, check=True).failed()
    assert "2 would be adopted" in run.failures[-1] and "2 not adopted" in run.failures[-1]
    assert not stage.escrow_path.exists()


@pytest.mark.parametrize("limit", ["localhost,device0", "device0"])
def test_tunnels_that_no_host_names_are_adopted_without_proof(stage: Stage, limit: str) -> None:
    run = verify(stage, known(stage), {"proving": ["device0"]}, args=["--limit", limit]).ok()
    names = [stage.tunnels()[i]["name"] for i in stage.own("device1")]
    assert f"2 were seen in the device, 2 can't be proven ({', '.join(names)})" in run.result.stdout


def test_each_batch_of_a_play_verifies_its_own(stage: Stage) -> None:
    role = {"name": "magicwan.cloudflare.psk_rotation", "tasks_from": "adopt"}
    tasks = [{"name": "Adopt", "ansible.builtin.include_role": role}]
    play = {"hosts": "all", "gather_facts": False, "serial": 1, "tasks": tasks}
    run = verify(stage, known(stage), {"contradicting": ["device1"], "proving": ["device0"]}, play=play).failed()
    assert "2 adopted, 0 known already, 2 were seen" in run.result.stdout
    assert set(stage.escrow()) == set(stage.own("device0"))


def test_the_psks_of_a_device_that_has_left_the_play_before_are_not_adopted(stage: Stage) -> None:
    role = {"name": "magicwan.cloudflare.psk_rotation", "tasks_from": "adopt"}
    tasks = [
        {"name": "Lose a host", "ansible.builtin.fail": {"msg": "gone"}, "when": "inventory_hostname == 'device1'"},
        {"name": "Adopt", "ansible.builtin.include_role": role},
    ]
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    run = verify(stage, known(stage), {"proving": ["device0"]}, play=play).failed()
    assert "its device device1 has left the play" in run.failures[-1]
    assert set(stage.escrow()) == set(stage.own("device0"))


@pytest.mark.parametrize("weakened", [{"ignore_errors": True}, {"strategy": "free"}, {"max_fail_percentage": 50}])
def test_a_play_that_could_hide_a_failed_device_is_refused(stage: Stage, weakened: dict[str, Any]) -> None:
    role = {"name": "magicwan.cloudflare.psk_rotation", "tasks_from": "adopt"}
    tasks = [{"name": "Adopt", "ansible.builtin.include_role": role}]
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks, **weakened}
    run = verify(stage, known(stage), play=play)
    assert any("nothing was written" in x for x in run.failures)
    assert not stage.escrow_path.exists()


def test_evidence_and_state_of_the_users_own_prove_nothing(stage: Stage) -> None:
    run = verify(stage, known(stage), {"psk_rotation_proven_tunnels": list(known(stage))}).failed()
    assert "psk_rotation_proven_tunnels is set by the run itself" in run.failures[0]
    inventory = stage.devices(psk_rotation_proven_tunnels=list(known(stage)))
    run = verify(stage, known(stage), inventory=inventory).failed()
    assert "psk_rotation_proven_tunnels is set by the tasks of a device" in run.failures[0]
    assert not stage.escrow_path.exists()


def test_hosts_without_verify_tasks_are_refused_before_anything_is_written(stage: Stage) -> None:
    run = verify(stage, known(stage), {"psk_rotation_verify_tasks": ""}).failed()
    assert "adopt_psks_verify is true, and device0, device1 have no verify tasks" in run.failures[0]
    assert not stage.escrow_path.exists()


@pytest.mark.parametrize("text", ["false", "no", ""])
def test_a_word_for_no_means_no(stage: Stage, text: str) -> None:
    run = verify(stage, known(stage), {"adopt_psks_verify": text, "contradicting": ["device0", "device1"]}).ok()
    assert "4 adopted, 0 known already" in run.result.stdout and "can't be proven" not in run.result.stdout


def test_no_devices_in_the_inventory_is_refused(stage: Stage) -> None:
    run = verify(stage, known(stage), {"psk_rotation_hosts": "nobody"}).failed()
    assert "no host matches nobody" in run.failures[0]


def test_the_inventory_may_ask_for_proof_too(stage: Stage) -> None:
    run = verify(stage, known(stage), {"adopt_psks_verify": None}, inventory=_asking(stage)).ok()
    assert "4 can't be proven" in run.result.stdout


def _asking(stage: Stage) -> dict[str, Any]:
    inventory = stage.devices()
    inventory["all"]["vars"] = {"adopt_psks_verify": True}
    return inventory


@pytest.mark.parametrize("said", [{"one": "two"}, "berlin", 3])
def test_a_report_of_the_wrong_type_proves_nothing_and_is_named(stage: Stage, said: Any) -> None:
    tasks = f"- name: Say it\n  ansible.builtin.set_fact:\n    psk_rotation_proven_tunnels: {said!r}\n"
    run = verify(stage, known(stage), {"psk_rotation_verify_tasks": stage.write("hooks/odd.yml", tasks)}).failed()
    assert "psk_rotation_proven_tunnels of device0 must be a list of ids or names" in run.failures[-1]
    assert not stage.escrow_path.exists()


# -- with customer_device ---------------------------------------------------------------------------------------------


def strongswan(stage: Stage, device: str, psks: dict[str, str]) -> dict[str, Any]:
    """A device with these PSKs in its configuration, by tunnel id."""
    folder = stage.folder / device
    (folder / "swanctl" / "conf.d").mkdir(parents=True)
    conns = ""
    for tunnel_id in stage.own(device):
        name, endpoint = f"cf-{tunnel_id[:8]}", stage.tunnels()[tunnel_id]["cloudflare_endpoint"]
        conns += f"{name}: IKEv2\n  local:  %any\n  remote: {endpoint}\n  {name}: TUNNEL\n"
        if tunnel_id in psks:
            text = f'secrets {{\n  ike-{name} {{\n    id = x\n    secret = "{psks[tunnel_id]}"\n  }}\n}}\n'
            (folder / "swanctl" / "conf.d" / f"{name}.key.conf").write_text(text, encoding="utf-8")
    (folder / "conns").write_text(conns, encoding="utf-8")
    command = folder / "swanctl-command"
    command.write_text(SWANCTL.format(folder=shlex.quote(str(folder))), encoding="utf-8")
    command.chmod(0o700)
    return {
        "customer_device_platform": "strongswan",
        "customer_device_strongswan_command": str(command),
        "customer_device_strongswan_directory": str(folder / "swanctl"),
    }


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files of a device but the list of calls, with their times."""
    found = (x for x in folder.rglob("*") if x.is_file() and x.name != "calls")
    return {str(x): (x.stat().st_mtime_ns, x.read_bytes()) for x in found}


def test_customer_device_compares_what_the_device_shows_and_touches_nothing(stage: Stage) -> None:
    first, second = stage.own("device0")
    third, fourth = stage.own("device1")
    psks = stage.psks()
    inventory = stage.devices()
    hosts = inventory["all"]["hosts"]
    hosts["device0"].update(strongswan(stage, "device0", {first: str(psks[first]), second: SECRET}))
    hosts["device1"].update(strongswan(stage, "device1", {third: str(psks[third])}))
    before = files(stage.folder / "device0"), (stage.folder / "device0" / "swanctl" / "conf.d").stat().st_mtime_ns
    own = {"psk_rotation_verify_tasks": "", "psk_rotation_device_tasks": ""}
    run = verify(stage, known(stage), own, inventory=inventory, verbosity=3).failed()
    names = {i: x["name"] for i, x in stage.tunnels().items()}
    assert f"1 not adopted ({names[second]}: its device has another PSK)" in run.failures[-1]
    assert f"2 were seen in the device, 1 can't be proven ({names[fourth]})" in run.failures[-1]
    assert confirmed(stage) == {names[first]: True, names[third]: True, names[fourth]: False}
    after = files(stage.folder / "device0"), (stage.folder / "device0" / "swanctl" / "conf.d").stat().st_mtime_ns
    assert after == before
    assert SECRET not in run.result.output
    calls = (stage.folder / "device0" / "calls").read_text(encoding="utf-8").splitlines()
    assert {x.split()[0] for x in calls} == {"--stats", "--list-conns"}
