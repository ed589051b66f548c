# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task files of the user's own: what could leave a device without its PSK is refused, or fails the run."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.release import __version__ as core_version

from tests.integration.psk_rotation.stage import DEVICE_HOOK, Run, Stage
from tests.integration.psk_rotation.test_bad_input import assert_refused

pytestmark = pytest.mark.fleet(tunnels=4)
CORE_ENDS_ROLES = tuple(int(x) for x in core_version.split(".")[:2]) >= (2, 18)
ROLE = "magicwan.cloudflare.psk_rotation"
NOTIFY = "- name: Stage it\n  ansible.builtin.command:\n    cmd: 'true'\n  notify: Configure it\n"
CONFIGURE = {
    "name": "Configure it",
    "ansible.legacy.keep": {
        "path": "{{ devices_folder }}/{{ inventory_hostname }}.jsonl",
        "value": {"wave": "{{ psk_rotation_wave_results }}", "all": "{{ psk_rotation_results }}"},
    },
    "no_log": True,
}


def hook(stage: Stage, text: str, **options: Any) -> Run:
    """A rotation whose device tasks are this."""
    return stage.rotate({"psk_rotation_device_tasks": stage.write("hooks/own.yml", text)}, then=(), **options)


def including(**files: str) -> list[dict[str, Any]]:
    """The tasks of a play that runs the role on its hosts."""
    return [{"name": "Rotate", "ansible.builtin.include_role": {"name": ROLE, **files}}]


def own_play(**keywords: Any) -> dict[str, Any]:
    return {"name": "Rotate", "hosts": "all", "gather_facts": False, "tasks": including(), **keywords}


def assert_devices_have_what_cloudflare_has(stage: Stage, run: Run) -> None:
    for device in ("device0", "device1"):
        assert stage.device_psks(device) == {i: run.after[i]["psk"] for i in stage.own(device)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("---\n", "holds no task"),
        ("# later\n[]\n", "holds no task"),
        ("name: Configure it\n", "it must be a list of tasks"),
        ("- name: Configure it\n  no.such.module:\n", "'no.such.module'"),
        ("- hosts: all\n  tasks: []\n", "conflicting action statements"),
        ("- name: Configure it\n  ansible.builtin.debug: {msg: hi\n", "can't be run"),
        ("- name: Go on\n  ansible.builtin.import_tasks: nowhere.yml\n", "nowhere.yml"),
    ],
)
def test_device_tasks_that_can_not_be_run_are_refused_before_the_first_write(
    stage: Stage, core: str | None, text: str, words: str
) -> None:
    run = hook(stage, text, inventory=stage.devices(), core=core)
    assert_refused(stage, run, "psk_rotation_device_tasks", "own.yml", words, "(device0, device1)")


@pytest.mark.parametrize("path", ["psk_rotation/hooks/device.yml", "psk_rotation/hooks/flush.yml", "~/device.yml"])
def test_the_roles_own_files_are_no_device_tasks_of_the_users(stage: Stage, path: str) -> None:
    run = stage.rotate({"psk_rotation_device_tasks": path}, inventory=stage.devices(), then=())
    assert_refused(stage, run, path, "give its full path")


@pytest.mark.parametrize("kind", ["include_tasks", "import_tasks"])
@pytest.mark.parametrize("name", ["main", "report", "rollback", "confirm", "reconcile", "adopt", "psk_rotation/wave"])
def test_an_include_that_would_hit_a_file_of_the_role_is_refused(stage: Stage, kind: str, name: str) -> None:
    (stage.folder / "hooks" / "psk_rotation").mkdir()
    stage.write(f"hooks/{name}.yml", DEVICE_HOOK)
    run = hook(stage, f"- name: Go on\n  ansible.builtin.{kind}: {name}.yml\n", inventory=stage.devices())
    assert_refused(stage, run, f"own.yml includes {name}.yml", "give the full path")


@pytest.mark.parametrize("name", ["device", "run", "wave", "reach", "roll_back", "summary", "hooks/verify"])
def test_an_include_is_the_users_own_file(stage: Stage, name: str) -> None:
    (stage.folder / "hooks" / "hooks").mkdir()
    stage.write(f"hooks/{name}.yml", DEVICE_HOOK)
    run = hook(stage, f"- name: Go on\n  ansible.builtin.include_tasks: {name}.yml\n", inventory=stage.devices()).ok()
    assert_devices_have_what_cloudflare_has(stage, run)


@pytest.mark.parametrize(
    "text",
    [
        "- name: Go on\n  ansible.builtin.include_tasks: report.yml\n",
        f"- name: Rotate in a rotation\n  ansible.builtin.include_role:\n    name: {ROLE}\n",
    ],
)
def test_a_rotation_within_a_rotation_fails_and_is_rolled_back(stage: Stage, core: str | None, text: str) -> None:
    stage.rotate_devices(then=()).ok()
    deep = stage.write("hooks/deep.yml", text)
    variables = {"psk_rotation_force": True, "broken_devices": []}
    mode = (
        "- name: Go on\n  ansible.builtin.include_tasks: {}\n  when: psk_rotation_wave_results[0].status == 'applied'\n"
    )
    path = stage.write("hooks/own.yml", mode.format(deep) + DEVICE_HOOK)
    run = stage.rotate_devices({**variables, "psk_rotation_device_tasks": path}, core=core, then=()).failed()
    assert run.rotated == set()
    assert {x for device in ("device0", "device1") for x in run.statuses(device).values()} <= {
        "rolled_back",
        "skipped",
        "stopped",
    }
    assert "has begun another one" in run.result.output


@pytest.mark.parametrize(
    "name", ["psk_rotation_failed_tunnel", "psk_rotation_hook_reasons", "PSK_rotation_failed_tunnels"]
)
def test_a_misspelt_name_that_device_tasks_set_fails_the_device(stage: Stage, core: str | None, name: str) -> None:
    text = f"{DEVICE_HOOK}- name: Report\n  ansible.builtin.set_fact:\n    {name}: {{}}\n"
    run = hook(stage, text, inventory=stage.devices(), core=core).failed()
    assert f"{name} is not a variable of the collection: did you mean psk_rotation_" in run.failures[-1]


def test_a_misspelt_name_that_device_tasks_register_fails_the_device(stage: Stage) -> None:
    text = f"{DEVICE_HOOK}- name: Look\n  ansible.builtin.command:\n    cmd: 'true'\n  register: psk_rotation_out\n"
    run = hook(stage, text, inventory=stage.devices()).failed()
    assert "psk_rotation_out is not a variable of the collection" in run.failures[-1]


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        ("[]", "not be a list"),
        ("[7]", "not be a list"),
        ("false", "not be a boolean"),
        ("berlin", "not be text"),
        ("{nowhere: down}", "holds 'nowhere', which is no tunnel of this wave"),
    ],
)
def test_failed_tunnels_of_another_kind_fail_the_device(
    stage: Stage, core: str | None, failed: str, words: str
) -> None:
    text = f"{DEVICE_HOOK}- name: Report\n  ansible.builtin.set_fact:\n    psk_rotation_failed_tunnels: {failed}\n"
    run = hook(stage, text, inventory=stage.devices(), core=core).failed()
    assert "psk_rotation_failed_tunnels of device" in run.failures[-1]
    assert words in run.failures[-1]


@pytest.mark.parametrize("name", ["psk_rotation_failed_tunnels", "psk_rotation_hook_reason"])
def test_what_device_tasks_report_can_not_be_a_variable_of_the_inventory(stage: Stage, name: str) -> None:
    run = stage.rotate_devices(inventory=stage.devices(**{name: {}}), then=())
    assert_refused(stage, run, name, "with set_fact")


def test_a_handler_has_what_the_device_tasks_have(stage: Stage, core: str | None) -> None:
    run = hook(stage, NOTIFY, play=own_play(handlers=[CONFIGURE]), inventory=stage.devices(), core=core).ok()
    assert_devices_have_what_cloudflare_has(stage, run)


def test_a_handler_does_not_see_the_results_of_an_earlier_rotation_of_the_play(stage: Stage) -> None:
    play = own_play(tasks=[*including(tasks_from="reconcile"), *including()], handlers=[CONFIGURE])
    run = hook(stage, NOTIFY, play=play, inventory=stage.devices()).ok()
    assert_devices_have_what_cloudflare_has(stage, run)


def test_handlers_of_a_role_that_the_device_tasks_include_may_not_ignore_errors(stage: Stage, core: str | None) -> None:
    role = stage.folder / "roles" / "router"
    for part, text in (
        ("tasks", NOTIFY),
        ("handlers", "- name: Configure it\n  ansible.builtin.fail:\n  ignore_errors: true\n"),
    ):
        (role / part).mkdir(parents=True)
        (role / part / "main.yml").write_text(text, encoding="utf-8")
    text = f"- name: Go on\n  ansible.builtin.include_role:\n    name: {role}\n"
    run = hook(stage, text, inventory=stage.devices(), core=core).failed()
    assert "ignore_errors or ignore_unreachable on handlers would hide their failure" in run.failures[-1]


@pytest.mark.parametrize("end", ["end_role", "end_batch"])
def test_device_tasks_that_end_the_role_or_its_batch_are_refused(stage: Stage, core: str | None, end: str) -> None:
    run = hook(stage, f"- name: Leave\n  ansible.builtin.meta: {end}\n", inventory=stage.devices(), core=core)
    assert_refused(stage, run, "own.yml", f"meta: {end}", "which would end the rotation, too")


@pytest.mark.skipif(not CORE_ENDS_ROLES, reason="this ansible-core knows no meta: end_role")
def test_for_a_host_that_leaves_the_role_unseen_another_one_fails(stage: Stage, core: str | None) -> None:
    leave = "- name: Leave\n  ansible.builtin.meta: end_role\n  when: inventory_hostname == 'device0'\n"
    deep = stage.write("hooks/deep.yml", leave)
    run = hook(
        stage,
        f"- name: Go on\n  ansible.builtin.include_tasks: {deep}\n{DEVICE_HOOK}",
        inventory=stage.devices(),
        core=core,
    ).failed()
    assert run.before[stage.own("device0")[0]]["name"] in run.failures[-1]
    assert "its device device0 did not report back" in run.failures[-1]


def test_what_a_terminal_would_obey_is_shown_escaped(stage: Stage, core: str | None) -> None:
    first = stage.own("device0")[0]
    stage.simulator.patch_tunnel(first, name="ber\x1b[31mlin\none")
    inventory = stage.devices()
    inventory["all"]["hosts"]["device0"]["psk_rotation_tunnels"] = stage.own("device0")
    text = (
        '- name: Say why\n  ansible.builtin.set_fact:\n    psk_rotation_hook_reason: "no \\e[31mlight"\n'
        "- name: Fail\n  ansible.builtin.fail:\n    msg: it is broken\n"
    )
    run = hook(stage, text, inventory=inventory, core=core).failed()
    assert "\x1b" not in run.result.output
    assert "ber\\x1b[31mlin\\none" in run.failures[-1] or "ber\\x1b[31mlin\\none" in run.failures[-2]


def test_a_key_that_device_tasks_quote_is_shown_nowhere_and_not_in_the_escrows_history(
    stage: Stage, core: str | None
) -> None:
    reason = "{{ psk_rotation_wave_results[0].psk }} was refused, {{ psk_rotation_results[0].psk }} as well"
    text = (
        f'- name: Say why\n  ansible.builtin.set_fact:\n    psk_rotation_hook_reason: "{reason}"\n  no_log: true\n'
        "- name: Fail\n  ansible.builtin.fail:\n    msg: it is broken\n"
    )
    run = hook(stage, text, inventory=stage.devices(), core=core, args=["-v"]).failed()
    assert "was refused" in run.failures[-1]
    for record in stage.escrow().values():
        for entry in record["history"]:
            assert not [psk for psk in run.after.values() if psk["psk"] in str(entry)]


def test_an_exposure_is_seconds_wherever_the_controller_lives(stage: Stage, core: str | None) -> None:
    run = hook(stage, DEVICE_HOOK, inventory=stage.devices(), env={"TZ": "America/New_York"}, core=core).ok()
    for device in ("device0", "device1"):
        assert 0 <= run.summary(device)["exposure_p95_seconds"] < 3600
