# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a run: 12 devices with 24 tunnels, all good, then with one that fails and one that is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.psk_rotation.stage import Run, Stage

FAILS, LOST = "device3", "device7"
DEVICE = """
- name: Hook | Configure the device
  ansible.builtin.assert:
    that: >-
      inventory_hostname not in (broken_devices | default([]))
      or psk_rotation_wave_results | selectattr('status', 'equalto', 'rolling_back') | length > 0
    quiet: true
    fail_msg: this device is broken
"""
VERIFY = """
- name: Hook | Have the device authenticate
  ansible.builtin.assert:
    that: psk_rotation_wave_results | length > 0
    quiet: true
"""
LOSE = """
- name: Hook | Lose the device once Cloudflare has the PSK
  ansible.builtin.ping:
  vars: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
"""
ALONE = "device5"
FORCE = {"psk_rotation_force": True}
BROKEN = {**FORCE, "broken_devices": [FAILS]}
CLOSED = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@dataclass
class Story:
    """Runs by their names, in their order, and the account that they are about."""

    stage: Stage
    runs: dict[str, Run] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)

    def lines(self, name: str) -> list[str]:
        """What the run has printed."""
        return self.runs[name].result.stdout.splitlines()

    def totals(self, name: str) -> list[str]:
        """The lines of totals."""
        return [
            x
            for x in self.lines(name)
            if re.match(r"(check run of a |batch \d+ of |last )?(rotation|rollback|report)\b.*: ", x)
        ]

    def table(self, name: str) -> dict[str, str]:
        """The lines of tunnels that are not done, by the tunnel's name; of the last table if there are several."""
        lines = self.lines(name)
        heads = [n for n, x in enumerate(lines) if x.startswith("tunnel ") and "Cloudflare has" in x]
        names = [x["name"] for x in self.stage.tunnels().values()]
        return {y: x for x in lines[heads[-1] :] for y in names if x.startswith(f"{y}  ")} if heads else {}

    def names(self, device: str) -> list[str]:
        """The names of a device's tunnels."""
        return [self.stage.tunnels()[i]["name"] for i in self.stage.own(device)]


@pytest.fixture(scope="module")
def story(make_stage: Callable[..., Stage]) -> Story:
    found = Story(make_stage())
    stage = found.stage
    hooks: dict[str, Any] = {
        "psk_rotation_device_tasks": stage.write("hooks/device.yml", DEVICE),
        "psk_rotation_verify_tasks": stage.write("hooks/verify.yml", VERIFY),
    }

    def run(name: str, variables: dict[str, Any] | None = None, **options: Any) -> None:
        options.setdefault("inventory", stage.devices())
        found.runs[name] = stage.rotate({**hooks, **(variables or {})}, then=(), **options)

    lost, fewer = stage.devices(), stage.devices()
    lost["all"]["hosts"][LOST].update(CLOSED)
    del fewer["all"]["hosts"]["device11"]
    run("check", check=True, inventory=fewer)
    run("good")
    run("again")
    run("bad", BROKEN, inventory=lost)
    run("report", tasks_from="report")
    run("hidden", BROKEN, inventory=lost, env={"ANSIBLE_DISPLAY_OK_HOSTS": "false"})
    run("batches", {**BROKEN, "psk_rotation_serial": 4})
    run("whole", {**FORCE, "psk_rotation_serial": 6})
    found.audit = _audit(found)
    whole = found.runs["whole"].summary("device0")["rotation_id"]
    run("undone", {"psk_rotation_rollback_id": whole, "psk_rotation_serial": 6}, playbook="rollback_psks")
    losing = {"psk_rotation_device_tasks": stage.write("hooks/lose.yml", LOSE)}
    run("gone", {**FORCE, **losing}, args=["--limit", ALONE])
    run("report of gone", playbook="report_psks")
    return found


def _audit(story: Story) -> dict[str, Any]:
    folder = story.stage.folder / "audit"
    story.stage.rotate({"audit_psks_folder": str(folder)}, playbook="audit_psks", then=())
    return dict(json.loads((folder / "psk-audit.json").read_text(encoding="utf-8")))


# -- length ----------------------------------------------------------------------------------------------------------


def test_twelve_devices_with_two_tasks_each_take_at_most_200_lines(story: Story) -> None:
    story.runs["good"].ok()
    assert len(story.lines("good")) <= 200


@pytest.mark.parametrize("name", ["check", "good", "again", "bad", "report", "hidden", "batches", "undone", "gone"])
def test_no_task_of_the_role_is_shown_as_skipped(story: Story, name: str) -> None:
    assert "skipping: [" not in story.runs[name].result.stdout


# -- plan ------------------------------------------------------------------------------------------------------------


def test_a_check_run_shows_sums_and_what_it_can_not_promise(story: Story) -> None:
    run, lines = story.runs["check"].ok(), story.lines("check")
    sums = {x.partition(" ")[2]: int(x.split()[0]) for x in lines if re.match(r"\d+ due: ", x)}
    assert set(sums) == {
        "due: the escrow does not know its PSK, so the rotation cannot be rolled back",
        "due: the tunnel has no PSK",
    }
    assert sum(sums.values()) == 22
    (unclaimed,) = [x for x in lines if x.startswith("note: 2 tunnels are no host's in this play")]
    assert unclaimed.endswith(", ".join(story.names("device11")))
    assert any(
        re.match(r"note: \d+ tunnels can't be rolled back: the escrow does not know their PSKs", x) for x in lines
    )
    assert [x.partition(",")[0] for x in story.totals("check")] == ["check run of a rotation: 22 tunnels"]
    assert not run.rotated


# -- one rotation a run ----------------------------------------------------------------------------------------------


def test_all_batches_of_a_run_have_one_rotation_id(story: Story) -> None:
    run = story.runs["whole"].ok()
    ids = {run.summary(f"device{n}")["rotation_id"] for n in range(12)}
    assert len(ids) == 1
    assert story.totals("whole")[-1].startswith(f"rotation {ids.pop()}: 24 tunnels, 24 confirmed, ")


def test_the_waves_of_a_run_are_numbered_through(story: Story) -> None:
    found = [x.partition(":")[0] for x in story.lines("whole") if x.startswith("wave ")]
    assert found == ["wave 1 of 2", "wave 2 of 2", "wave 3 of 4", "wave 4 of 4"]


def test_the_audit_takes_all_batches_for_one_rotation(story: Story) -> None:
    rotation = story.audit["rotation"]
    assert rotation["rotation_id"] == story.runs["whole"].summary("device0")["rotation_id"]
    assert len(rotation["tunnels"]) == 24 and rotation["waves"] == 4


def test_the_rotation_id_rolls_all_batches_back(story: Story) -> None:
    run, before = story.runs["undone"].ok(), story.runs["whole"].before
    assert {i: x["psk"] for i, x in run.after.items()} == {i: x["psk"] for i, x in before.items()}
    assert {y for n in range(12) for y in run.statuses(f"device{n}").values()} == {"rolled_back"}
    assert (
        story.totals("undone")[-1].startswith("rollback ")
        and "24 tunnels, 24 rolled_back, " in story.totals("undone")[-1]
    )


# -- the end ---------------------------------------------------------------------------------------------------------


def test_a_run_that_is_done_ends_with_one_line_of_totals(story: Story) -> None:
    (line,) = story.totals("good")
    rotation_id = story.runs["good"].summary("device0")["rotation_id"]
    pattern = r": 24 tunnels, 24 confirmed, \d+\.\d s; exposure \d+\.\d s median, \d+\.\d s at 95 %"
    assert re.fullmatch(re.escape(f"rotation {rotation_id}") + pattern, line)
    assert not story.table("good")


def test_a_tunnel_whose_device_has_failed_has_a_line_with_keys_and_the_next_command(story: Story) -> None:
    first, second = story.names(FAILS)
    table = story.table("bad")
    assert re.search(
        rf"  {FAILS}\s+rolled_back\s+current\s+current\s+the task Hook \| Configure the device failed; "
        rf"next: fix {FAILS}, then rotate_psks --limit {FAILS}$",
        table[first],
    )
    assert re.search(rf"  {FAILS}\s+skipped\s+current\s+current\s+'{first}', which backs it up", table[second])


def test_the_tunnels_of_a_device_that_can_not_be_reached_are_named(story: Story) -> None:
    for name in story.names(LOST):
        assert re.search(
            rf"  {LOST}\s+unreached\s+current\s+current\s.*next: have {LOST} answer", story.table("bad")[name]
        )


def test_tunnels_that_are_done_have_no_line_in_the_table(story: Story) -> None:
    assert set(story.table("bad")) == {*story.names(FAILS), *story.names(LOST)}


def test_a_failed_host_is_shown_with_its_message_alone(story: Story) -> None:
    fatal = [x for x in story.lines("bad") if x.startswith("fatal: ") and "are not done" in x]
    assert fatal
    assert not [x for x in fatal if "by_tunnel" in x]


def test_hosts_that_are_ok_may_be_hidden(story: Story) -> None:
    assert not [x for x in story.lines("hidden") if x.startswith("ok: ")]
    assert set(story.table("hidden")) == {*story.names(FAILS), *story.names(LOST)}
    assert len(story.totals("hidden")) == 1
    assert [x.partition(":")[0] for x in story.lines("hidden") if x.startswith("wave ")] == [
        "wave 1 of 2",
        "wave 1 of 2, rolling back",
        "wave 2 of 2",
    ]


def test_every_batch_ends_with_totals_and_only_those_with_trouble_and_the_last_one_with_a_table(story: Story) -> None:
    totals = [re.sub(r", [0-9.]+ s(;.*|)$", "", x) for x in story.totals("batches")]
    rotation = story.runs["batches"].summary("device0")["rotation_id"]
    assert totals == [
        f"batch 1 of rotation {rotation}: 8 tunnels, 6 confirmed, 1 rolled_back, 1 skipped",
        f"batch 2 of rotation {rotation}: 8 tunnels, 8 confirmed",
        f"batch 3 of rotation {rotation}: 8 tunnels, 8 confirmed",
        f"rotation {rotation}: 24 tunnels, 22 confirmed, 1 rolled_back, 1 skipped",
    ]
    order = [x.split()[0] for x in story.lines("batches") if x.startswith(("batch ", "rotation ", "tunnel "))]
    assert order == ["batch", "tunnel", "batch", "batch", "rotation", "tunnel"]


def test_report_tells_of_the_last_run_and_of_what_it_has_not_done(story: Story) -> None:
    bad = story.runs["bad"].summary("device0")["rotation_id"]
    report, last = story.totals("report")
    assert report.startswith("report: 24 tunnels, 24 unchanged, ")
    assert last.startswith(f"last rotation {bad}, ") and "21 tunnels, 20 confirmed, 1 rolled_back, " in last
    assert set(story.table("report")) == {story.names(FAILS)[0]}


def test_report_tells_of_a_run_that_has_ended_without_a_word(story: Story) -> None:
    assert story.runs["gone"].result.rc != 0 and story.totals("gone") == []
    first = story.names(ALONE)[0]
    assert re.search(
        rf"  {ALONE}\s+resume\s+pending\s+current or pending\s.*next: rotate_psks --limit {ALONE}",
        story.table("report of gone")[first],
    )
    assert "1 applied" in story.totals("report of gone")[-1]
