# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What plays, blocks and includes say around the role: it is right, or it is refused before the first write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.connection import local

from tests.integration.psk_rotation.stage import Stage
from tests.integration.psk_rotation.test_bad_input import assert_refused

pytestmark = pytest.mark.fleet(tunnels=4)
ROLE = "magicwan.cloudflare.psk_rotation"
INCLUDE = {"name": "Rotate", "ansible.builtin.include_role": {"name": ROLE}}
IMPORT = {"name": "Rotate", "ansible.builtin.import_role": {"name": ROLE}}


def play(**keywords: Any) -> dict[str, Any]:
    """A play with the role among its roles, unless it has tasks."""
    roles = {} if "tasks" in keywords else {"roles": [{"role": ROLE}]}
    return {"name": "Rotate", "hosts": "all", "gather_facts": False, **roles, **keywords}


def with_role(**keywords: Any) -> dict[str, Any]:
    return play(roles=[{"role": ROLE, **keywords}])


def with_block(**keywords: Any) -> dict[str, Any]:
    return play(tasks=[{"name": "Surround it", "block": [INCLUDE], **keywords}])


def with_include(**keywords: Any) -> dict[str, Any]:
    return play(tasks=[{**INCLUDE, **keywords}])


def with_import(**keywords: Any) -> dict[str, Any]:
    return play(tasks=[{**IMPORT, **keywords}])


NOT_THE_SECOND: dict[str, Any] = {"when": ["true", "inventory_hostname != 'device1'"]}
PLACES = pytest.mark.parametrize("place", [with_role, with_block, with_include, with_import])


@PLACES
def test_a_condition_that_leaves_out_a_host_with_tunnels_is_refused(stage: Stage, core: str | None, place: Any) -> None:
    run = stage.rotate_devices(play=place(**NOT_THE_SECOND), core=core, then=())
    assert_refused(stage, run, "a condition (when) around the role leaves out device1")


def test_a_condition_that_leaves_out_the_first_host_is_refused(stage: Stage) -> None:
    run = stage.rotate_devices(play=with_role(when="inventory_hostname != 'device0'"), then=()).failed()
    assert "a condition (when) on the role must hold for the first host" in run.failures[-1]
    assert run.waves == []


def test_a_condition_may_leave_out_a_host_without_tunnels(stage: Stage, core: str | None) -> None:
    inventory = stage.devices()
    inventory["all"]["hosts"]["switch"] = {"ansible_connection": "local"}
    condition = with_include(when="inventory_hostname is match('device')")
    run = stage.rotate_devices(play=condition, inventory=inventory, core=core, then=()).ok()
    assert run.rotated == set(stage.psks())


@pytest.mark.parametrize("place", [play, with_role, with_block])
def test_an_account_that_differs_by_the_environment_is_refused(stage: Stage, core: str | None, place: Any) -> None:
    environment = {"CLOUDFLARE_ACCOUNT_ID": "{{ account }}"}
    inventory = stage.devices(account=stage.simulator.account)
    inventory["all"]["hosts"]["device1"]["account"] = "f" * 32
    run = stage.rotate_devices(play=place(environment=environment), inventory=inventory, core=core, then=())
    assert_refused(stage, run, "the keyword environment differs between device0 and device1")


def test_an_account_by_the_environment_is_taken(stage: Stage) -> None:
    environment = {"CLOUDFLARE_ACCOUNT_ID": "{{ account }}"}
    inventory = stage.devices(account=stage.simulator.account)
    run = stage.rotate_devices(
        play=play(environment=environment), inventory=inventory, env={"CLOUDFLARE_ACCOUNT_ID": None}, then=()
    ).ok()
    assert run.rotated == set(stage.psks())


@pytest.fixture
def answering_here(tmp_path: Path) -> dict[str, str]:
    """The environment for a connection named netconf over which, as over the real one, the controller answers."""
    text = Path(local.__file__).read_text(encoding="utf-8")
    for old, new in (("name: local", "name: netconf"), ("transport = 'local'", "transport = 'netconf'")):
        assert old in text
        text = text.replace(old, new)
    folder = tmp_path / "connections"
    folder.mkdir()
    (folder / "netconf.py").write_text(text, encoding="utf-8")
    return {"ANSIBLE_CONNECTION_PLUGINS": str(folder)}


@pytest.mark.parametrize(
    ("around", "options"),
    [
        (play(connection="netconf"), {}),
        (with_role(connection="netconf"), {}),
        (with_block(connection="netconf"), {}),
        (play(), {"args": ("--connection", "netconf")}),
        (play(), {"env": {"ANSIBLE_TRANSPORT": "netconf"}}),
        (play(vars={"ansible_connection": "netconf"}), {}),
    ],
)
def test_a_connection_over_which_a_ping_proves_nothing_is_seen_wherever_it_is_said(
    stage: Stage, answering_here: dict[str, str], around: dict[str, Any], options: dict[str, Any]
) -> None:
    inventory = stage.devices()
    for values in inventory["all"]["hosts"].values():
        del values["ansible_connection"]
    env = {**answering_here, **options.pop("env", {})}
    run = stage.rotate_devices(play=around, inventory=inventory, env=env, then=(), **options)
    assert_refused(stage, run, "over the connection of device0, device1 a ping proves nothing")


def test_a_check_run_that_is_told_to_write_is_refused(stage: Stage, core: str | None) -> None:
    run = stage.rotate_devices(play=with_role(check_mode=False), check=True, core=core, then=())
    assert_refused(stage, run, "check_mode: false")


def test_a_role_that_is_told_to_check_only_writes_nothing(stage: Stage) -> None:
    run = stage.rotate_devices(play=with_role(check_mode=True), then=()).ok()
    assert run.waves == []


@pytest.mark.parametrize("how", ["set_fact", "include_vars"])
def test_an_internal_variable_that_a_task_sets_is_refused(stage: Stage, core: str | None, how: str) -> None:
    value: Any = {"__psk_rotation_mode": "report"}
    if how == "include_vars":
        value = stage.write("hooks/vars.yml", "__psk_rotation_mode: report\n")
    before = {"name": "Set it", f"ansible.builtin.{how}": value}
    run = stage.rotate_devices(play=play(pre_tasks=[before]), core=core, then=())
    assert_refused(stage, run, "__psk_rotation_mode is internal")


@pytest.mark.parametrize("where", ["vars", "vars_files", "include", "set_fact", "register", "include_vars"])
def test_a_misspelt_variable_is_refused_wherever_it_is_set(stage: Stage, where: str) -> None:
    name, value = "psk_rotation_max_failure", "0"
    path = stage.write("hooks/vars.yml", f"{name}: {value}\n")
    look: dict[str, Any] = {"name": "Look", "ansible.builtin.command": {"cmd": "true"}, "register": name}
    around = {
        "vars": play(vars={name: value}),
        "vars_files": play(vars_files=[path]),
        "include": with_include(vars={name: value}),
        "set_fact": play(pre_tasks=[{"name": "Set it", "ansible.builtin.set_fact": {name: value}}]),
        "register": play(pre_tasks=[look]),
        "include_vars": play(pre_tasks=[{"name": "Set it", "ansible.builtin.include_vars": path}]),
    }[where]
    run = stage.rotate_devices(play=around, then=())
    assert_refused(stage, run, f"{name} is not a variable of the collection: did you mean psk_rotation_max_failures?")


def test_a_misspelt_parameter_of_the_role_is_refused(stage: Stage, core: str | None) -> None:
    run = stage.rotate_devices(play=with_role(psk_rotation_max_failure="0"), core=core, then=()).failed()
    assert "psk_rotation_max_failure." in run.failures[0]
    assert run.waves == []


def test_facts_with_the_names_of_results_do_not_change_what_device_tasks_get(stage: Stage, core: str | None) -> None:
    names = ("psk_rotation_wave_results", "psk_rotation_results")
    before = {"name": "Set them", "ansible.builtin.set_fact": {x: [] for x in names}}
    run = stage.rotate_devices(play=play(pre_tasks=[before]), core=core, then=()).ok()
    for device in ("device0", "device1"):
        assert stage.device_psks(device) == {i: run.after[i]["psk"] for i in stage.own(device)}
