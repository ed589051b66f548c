# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role asks of swanctl, and where its files go: a stand-in answers like strongSwan's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import Result
from tests.harness.secrets_scan import find_secrets

from .conftest import PSK, play, result
from .strongswan_device import StrongSwan

LOCAL = "d ansible_connection=local"
SOCKET = "unix:///run/another.vici"
Run = Callable[..., Result]


@pytest.fixture
def device(tmp_path: Path) -> StrongSwan:
    return StrongSwan(tmp_path / "device")


def variables_of(device: StrongSwan) -> dict[str, Any]:
    """What the role is told of the device: its folders, and that it needs no interface."""
    return {
        "customer_device_platform": "strongswan",
        "customer_device_tunnels": [result()],
        "customer_device_strongswan_command": str(device.command),
        "customer_device_strongswan_directory": str(device.directory),
        "customer_device_strongswan_settings_directory": str(device.settings_directory),
        "customer_device_strongswan_interface": "none",
    }


def bring(run: Run, device: StrongSwan, entry: str = "psk", core: str | None = None, **changes: Any) -> Result:
    """Run an entry point on the device."""
    return run(play(entry, **{**variables_of(device), **changes}), inventory=LOCAL, core=core).ok()


def status(outcome: Result) -> str:
    return str(outcome.result("Show")["msg"][0]["status"])


def test_files_go_into_the_folder_of_swanctl_that_the_user_names(run: Run, device: StrongSwan) -> None:
    bring(run, device, "main")
    names = sorted(path.name for path in (device.directory / "conf.d").iterdir())
    assert names == ["cf-fedcba98.conf", "cf-fedcba98.key.conf"]


def test_swanctl_reads_the_folder_that_the_user_names(run: Run, device: StrongSwan) -> None:
    outcome = bring(run, device)
    assert status(outcome) == "confirmed"
    assert {call.directory for call in device.calls()} == {str(device.directory)}


def test_no_file_that_is_handed_over_has_the_psk(run: Run, device: StrongSwan, tmp_path: Path) -> None:
    (tmp_path / "put").mkdir()
    run(play("main", **variables_of(device)), inventory=LOCAL, env={"HARNESS_FILES": str(tmp_path / "put")}).ok()
    handed_over = list((tmp_path / "put").iterdir())
    assert handed_over
    assert not find_secrets(handed_over, [PSK])


@pytest.mark.parametrize(("value", "written"), [(True, "yes"), (False, "no")])
def test_the_daemons_settings_go_into_the_folder_that_the_user_names(
    run: Run, device: StrongSwan, value: bool, written: str
) -> None:
    bring(run, device, "main", customer_device_strongswan_make_before_break=value)
    settings = (device.settings_directory / "magicwan.conf").read_text(encoding="utf-8")
    assert f"make_before_break = {written}\n" in settings
    assert "--reload-settings" in device.asked()


def test_every_call_goes_to_the_socket_that_the_user_names(run: Run, device: StrongSwan) -> None:
    bring(run, device, "main", customer_device_strongswan_uri=SOCKET)
    assert {"--load-authorities", "--reload-settings", "--load-all", "--load-creds", "--log"} <= device.asked()
    assert {call.uri for call in device.calls()} == {SOCKET}


def test_without_a_socket_swanctl_takes_its_own(run: Run, device: StrongSwan) -> None:
    bring(run, device, "main", customer_device_strongswan_uri="")
    assert {call.uri for call in device.calls()} == {"default"}


def test_a_psk_that_is_proven_and_unchanged_is_left_alone(run: Run, device: StrongSwan) -> None:
    bring(run, device)
    device.forget()
    outcome = bring(run, device, customer_device_tunnels=[result(status="confirmed")])
    assert status(outcome) == "unchanged"
    assert device.asked() == {"--load-authorities", "--list-conns"}


def test_always_has_an_unchanged_psk_authenticate_anew(run: Run, device: StrongSwan) -> None:
    bring(run, device)
    device.forget()
    tunnels = [result(status="confirmed")]
    outcome = bring(run, device, customer_device_tunnels=tunnels, customer_device_reauthenticate="always")
    assert status(outcome) == "confirmed"
    assert "--rekey" in device.asked()


@pytest.mark.parametrize(("entry", "loads"), [("psk", "--load-creds"), ("main", "--load-all")])
def test_never_gives_the_daemon_the_psk_and_leaves_the_tunnel_as_it_is(
    run: Run, device: StrongSwan, entry: str, loads: str
) -> None:
    outcome = bring(run, device, entry, customer_device_reauthenticate="never")
    assert status(outcome) == "unchanged"
    assert PSK in (device.directory / "conf.d" / "cf-fedcba98.key.conf").read_text(encoding="utf-8")
    assert loads in device.asked()
    assert not {"--rekey", "--initiate", "--terminate"} & device.asked()


@pytest.mark.parametrize(("entry", "reauthenticate"), [("psk", "never"), ("main", "auto")])
def test_a_daemon_that_loads_nothing_fails_the_host(
    run: Run, device: StrongSwan, entry: str, reauthenticate: str
) -> None:
    device.command.write_text("#!/bin/sh\n", encoding="utf-8")
    variables = {**variables_of(device), "customer_device_reauthenticate": reauthenticate}
    outcome = run(play(entry, **variables), inventory=LOCAL).failed()
    assert "A 'failed_when' expression" not in outcome.output
    wanted = "the daemon has no connection cf-fedcba98" if entry == "psk" else "the daemon did not load cf-fedcba98"
    assert wanted in outcome.output


def test_secure_logging_hides_the_psk(run: Run, device: StrongSwan, core: str | None) -> None:
    assert PSK not in bring(run, device, "main", core, customer_device_secure_logging=True).output


@pytest.mark.shows_secrets
@pytest.mark.parametrize("secure", [False, "false"])
def test_without_secure_logging_the_psk_is_shown(
    run: Run, device: StrongSwan, secure: bool | str, core: str | None
) -> None:
    assert PSK in bring(run, device, "main", core, customer_device_secure_logging=secure).output


@pytest.mark.parametrize("entry", ["reach", "psk"])
def test_another_secret_of_the_same_identity_is_named_before_anything_is_set(
    run: Run, device: StrongSwan, entry: str
) -> None:
    identity = result()["ike_ids"]["fqdn"]
    text = f'secrets {{\n  ike-by-hand {{\n    id = {identity}\n    secret = "another"\n  }}\n}}\n'
    (device.directory / "swanctl.conf").write_text(text, encoding="utf-8")
    outcome = run(play(entry, **variables_of(device)), inventory=LOCAL, secret="another-psk").failed()
    assert "the section ike-by-hand in" in outcome.output
    assert not list((device.directory / "conf.d").iterdir())


def test_the_section_that_the_user_names_gets_the_psk(run: Run, device: StrongSwan) -> None:
    bring(run, device, customer_device_tunnel_options={"branch-1-a": {"secret": "ike-by-hand"}})
    assert "  ike-by-hand {" in (device.directory / "conf.d" / "cf-fedcba98.key.conf").read_text(encoding="utf-8")


# A quote is written in another way there, so that a difference would prove nothing.
@pytest.mark.parametrize(
    ("psk", "said"), [(PSK, "match"), ("another-psk-of-the-test", "mismatch"), ('another"psk-of-the-test', "not shown")]
)
def test_compare_reads_the_secret_that_the_device_has(run: Run, device: StrongSwan, psk: str, said: str) -> None:
    bring(run, device)
    role = {"name": "magicwan.cloudflare.customer_device", "tasks_from": "compare"}
    tasks = [
        {"ansible.builtin.include_role": role},
        {"name": "Compared", "ansible.builtin.debug": {"msg": "{{ customer_device_comparisons }}"}},
    ]
    variables = {**variables_of(device), "customer_device_tunnels": [result(psk=psk)]}
    plays = [{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": tasks}]
    outcome = run(plays, inventory=LOCAL, secret=psk).ok()
    assert [x["comparison"] for x in outcome.result("Compared")["msg"]] == [said]


def test_compare_changes_nothing_and_tries_no_write(run: Run, device: StrongSwan) -> None:
    bring(run, device)
    device.forget()
    before = (device.directory / "conf.d").stat().st_mtime_ns
    bring(run, device, "compare")
    assert device.asked() == {"--stats", "--list-conns"}
    assert (device.directory / "conf.d").stat().st_mtime_ns == before
