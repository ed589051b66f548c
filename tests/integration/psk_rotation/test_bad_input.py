# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input of the role: one line that names the variable, and nothing is written anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.psk_rotation.stage import Run, Stage

pytestmark = pytest.mark.fleet(tunnels=4)


def assert_refused(stage: Stage, run: Run, *words: str) -> None:
    """One task failed with one line that has these words; Cloudflare and the escrow are as they were."""
    assert len(run.failed().failures) == 1, run.failures
    (line,) = run.failures
    assert "\n" not in line
    assert line in run.result.stdout or line.replace('"', '\\"') in run.result.stdout
    for word in words:
        assert word in line
    assert run.waves == []
    assert run.rotated == set()
    assert not stage.escrow_path.exists()


def two_devices(stage: Stage, one: Any, other: Any) -> dict[str, Any]:
    """An inventory of two devices that name these tunnels."""
    hosts = {"berlin": one, "paris": other}
    return {
        "all": {
            "hosts": {
                host: {"ansible_connection": "local", "psk_rotation_tunnels": tunnels}
                for host, tunnels in hosts.items()
            }
        }
    }


def test_an_unknown_tunnel(stage: Stage) -> None:
    name = next(iter(stage.tunnels().values()))["name"]
    run = stage.rotate_devices(inventory=two_devices(stage, [name], ["no-such-*"]), then=())
    assert_refused(stage, run, "psk_rotation_tunnels", "paris", "no-such-*")


def test_an_unknown_tunnel_of_localhost(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_tunnels": ["nowhere"]}, then=())
    assert_refused(stage, run, "psk_rotation_tunnels", "localhost", "nowhere")


def test_a_tunnel_that_two_devices_claim(stage: Stage) -> None:
    (one, other), _rest = stage.sites()
    run = stage.rotate_devices(inventory=two_devices(stage, [one["name"], other["name"]], [one["id"]]), then=())
    assert_refused(stage, run, "psk_rotation_tunnels", "berlin", "paris", one["name"])


def test_no_tunnels_anywhere(stage: Stage) -> None:
    run = stage.rotate_devices(inventory=two_devices(stage, [], []), then=())
    assert_refused(stage, run, "psk_rotation_tunnels is empty")


def test_no_escrow(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_escrow": None}, then=())
    assert_refused(stage, run, "psk_rotation_escrow", "backend")


def test_an_unknown_escrow_backend(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_escrow": {"backend": "drawer"}}, then=())
    assert_refused(stage, run, "psk_rotation_escrow", "drawer", "vault_kv2")


def test_a_file_escrow_without_path(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_escrow": {"backend": "file"}}, then=())
    assert_refused(stage, run, "escrow", "path")


def test_a_file_escrow_without_vault_secret(stage: Stage) -> None:
    run = stage.rotate(vault_password=None, then=())
    assert_refused(stage, run, "vault secret", "--vault-password-file", "escrow.vault_password_file")


def test_a_wrong_vault_password(stage: Stage) -> None:
    stage.rotate(then=()).ok()
    before = stage.escrow_path.read_bytes()
    run = stage.rotate({"psk_rotation_force": True}, vault_password="another password", then=()).failed()
    assert len(run.failures) == 1
    assert str(stage.escrow_path) in run.failures[0]
    assert "vault secret" in run.failures[0]
    assert run.waves == []
    assert stage.escrow_path.read_bytes() == before


def test_a_missing_account(stage: Stage) -> None:
    run = stage.rotate(env={"CLOUDFLARE_ACCOUNT_ID": None}, then=())
    assert_refused(stage, run, "account_id", "CLOUDFLARE_ACCOUNT_ID")


def test_a_wrong_token(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_api_token": "wrong-token-of-the-test"}, then=())
    assert_refused(stage, run, "401")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("psk_rotation_max_age", "old", ["'old'"]),
        ("psk_rotation_max_age", "-1d", ["'-1d'"]),
        ("psk_rotation_wave_size", 0, ["1 to 1000"]),
        ("psk_rotation_wave_size", 1001, ["1 to 1000"]),
        ("psk_rotation_wave_size", "many", ["psk_rotation_wave_size", "int"]),
        ("psk_rotation_canary", -1, ["-1"]),
        ("psk_rotation_max_failures", "lots", ["'lots'", "10%"]),
        ("psk_rotation_max_failures", "101%", ["'101%'"]),
        ("psk_rotation_group_by", "(", ["regular expression"]),
        ("psk_rotation_group_by", "-[ab]$", ["(?P<group>"]),
        ("psk_rotation_group_by", 7, ["regular expression"]),
        ("psk_rotation_group_by", {"north": ["no-such-tunnel"]}, ["no-such-tunnel"]),
        ("psk_rotation_lease", 0, ["not 0"]),
        ("psk_rotation_health", {"deadline": 900}, ["psk_rotation_health.deadline", "psk_rotation_lease"]),
        ("psk_rotation_confirmation", "perhaps", ["perhaps"]),
        ("psk_rotation_confirmation", "verify", ["psk_rotation_verify_tasks"]),
    ],
)
def test_a_bad_value(stage: Stage, variable: str, value: Any, words: list[str]) -> None:
    run = stage.rotate({variable: value}, then=()).failed()
    text = " ".join(run.failures[0].split())
    assert len(run.failures) == 1
    assert variable in text
    for word in words:
        assert word in text
    assert run.waves == []
    assert not stage.escrow_path.exists()


@pytest.mark.parametrize("playbook", ["rotate_psks", "reconcile_psks", "rollback_psks", "confirm_psks", "report_psks"])
@pytest.mark.parametrize(("inventory", "hosts"), [(None, None), ("berlin\n", "paris"), ("berlin\n", "nobody*")])
def test_a_playbook_without_hosts_fails(stage: Stage, playbook: str, inventory: str | None, hosts: str | None) -> None:
    variables = {"psk_rotation_hosts": hosts}
    run = stage.rotate(variables, playbook=playbook, inventory=inventory, then=()).failed()
    assert f"no host matches {hosts or 'all'}: give an inventory" in run.failures[0]
    assert run.requests == []


def test_localhost_must_say_what_it_rotates(stage: Stage) -> None:
    run = stage.rotate(inventory="localhost\n", then=())
    assert_refused(stage, run, "psk_rotation_tunnels is empty on every host of the play")


def test_tunnels_that_nobody_claims_are_told_and_are_in_the_summary(stage: Stage) -> None:
    own, *others = stage.tunnels().values()
    run = stage.rotate({"psk_rotation_tunnels": [own["id"]]}, then=()).ok()
    names = [x["name"] for x in others]
    assert f"no host of this play claims 3 of 4 tunnels: {', '.join(names)}" in run.result.stdout
    assert (run.summary()["unclaimed"], run.summary()["unclaimed_names"]) == (3, names)


def test_a_fleet_that_the_escrow_does_not_know_is_not_rotated_even_by_force(stage: Stage) -> None:
    name = next(iter(stage.tunnels().values()))["name"]
    run = stage.rotate({"psk_rotation_unknown_psk": None, "psk_rotation_force": True}, then=())
    assert_refused(stage, run, "psk_rotation_unknown_psk", name, "adopt")


@pytest.mark.parametrize("path", ["psks.yml", "escrow/psks.yml", "{{ playbook_dir }}/../psks.yml"])
def test_an_escrow_that_depends_on_the_working_folder_or_lies_in_the_collection(stage: Stage, path: str) -> None:
    run = stage.rotate({"psk_rotation_escrow": {"backend": "file", "path": path}}, then=())
    assert_refused(stage, run, "psk_rotation_escrow.path")


@pytest.mark.parametrize("tunnels", [[1], True, [["all"]], {"all": True}])
def test_tunnels_of_another_type(stage: Stage, tunnels: Any) -> None:
    run = stage.rotate({"psk_rotation_tunnels": tunnels}, then=())
    assert_refused(stage, run, "psk_rotation_tunnels")
    assert "internal error" not in run.result.output


def test_tunnels_as_the_json_text_of_an_extra_variable(stage: Stage) -> None:
    one, other, *_rest = stage.tunnels().values()
    text = json.dumps([one["name"], other["name"]])
    stage.rotate(inventory="localhost\n", args=["-e", f"psk_rotation_tunnels='{text}'"], then=()).ok()
    assert stage.escrow().keys() == {one["id"], other["id"]}
