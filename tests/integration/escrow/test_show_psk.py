# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook show_psk: a PSK goes to the terminal that asks for it, and nowhere else."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Key, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_file import FileStore

from tests.harness.playbook import Playbooks, core_bin
from tests.harness.simulator import ACCOUNT

PASSWORD = "vault-password-of-the-tests"
NOW, BEFORE = "the-Psk-of-now", "the-Psk-before"
PLAYBOOK = "magicwan.cloudflare.show_psk"


@pytest.fixture
def escrow(tmp_path: Path) -> dict[str, Any]:
    """An escrow with one tunnel that was rotated."""
    path = tmp_path / "psks.yml"
    vault = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
    record = Record(name="berlin-1", current=Key(NOW), previous=Key(BEFORE))
    FileStore(str(path), ACCOUNT, vault).store({"1" * 32: Stored(record, 0)})
    return {"backend": "file", "path": str(path)}


def variables(escrow: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"psk_rotation_escrow": escrow, "tunnel": "berlin-1", "psk_rotation_account_id": ACCOUNT, **more}


def on_a_terminal(playbooks: Playbooks, extra: dict[str, Any], env: Mapping[str, str]) -> tuple[int, str]:
    """The same command as the harness runs, with a terminal as its output."""
    folder = playbooks.workdir / "terminal"
    folder.mkdir(mode=0o700, parents=True)
    given = playbooks._private(folder / "extra-vars.json", json.dumps(extra))
    environment = {**playbooks._environment(folder, core_bin(None), PASSWORD), **playbooks.env, **env}
    master, slave = pty.openpty()
    command = [str(Path(sys.executable).parent / "ansible-playbook"), PLAYBOOK, "-e", f"@{given}"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        output = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            output += part
        os.close(master)
        return process.wait(), output.decode()


@pytest.mark.shows_secrets
def test_the_psk_is_on_the_terminal_and_not_in_the_log(
    playbooks: Playbooks, escrow: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    code, output = on_a_terminal(playbooks, variables(escrow), {"ANSIBLE_LOG_PATH": str(log)})
    assert code == 0, output
    assert f"\n{NOW}\r\n" in output and BEFORE not in output
    assert "Show the PSK" in log.read_text(encoding="utf-8")
    assert NOW not in log.read_text(encoding="utf-8")
    assert NOW not in (playbooks.workdir / "terminal" / "result.json").read_text(encoding="utf-8")


def test_without_a_terminal_nothing_is_shown(playbooks: Playbooks, escrow: dict[str, Any]) -> None:
    failed = playbooks.run(PLAYBOOK, extra_vars=variables(escrow), verbosity=3).failed()
    assert "the output goes to no terminal" in failed.result("Show the PSK")["msg"]
    assert NOW not in failed.output


@pytest.mark.shows_secrets
def test_without_a_terminal_it_is_shown_when_told(playbooks: Playbooks, escrow: dict[str, Any]) -> None:
    shown = playbooks.run(PLAYBOOK, extra_vars=variables(escrow, which="previous", show_psk_anywhere="true")).ok()
    assert f"\n{BEFORE}\n" in shown.stdout and NOW not in shown.output


def test_on_awx_nothing_is_shown_whatever_is_told(playbooks: Playbooks, escrow: dict[str, Any]) -> None:
    escrow["persistent"] = True
    extra = variables(escrow, show_psk_anywhere="true")
    failed = playbooks.run(PLAYBOOK, extra_vars=extra, env={"AWX_HOST": "https://awx.example.com"}).failed()
    assert "this runs on AWX" in failed.result("Show the PSK")["msg"]
    assert NOW not in failed.output


def test_a_miss_tells_near_names(playbooks: Playbooks, escrow: dict[str, Any]) -> None:
    extra = variables(escrow, tunnel="berln-1", show_psk_anywhere="true")
    failed = playbooks.run(PLAYBOOK, extra_vars=extra).failed()
    assert "near it are berlin-1" in failed.result("Show the PSK")["msg"]


def test_a_psk_that_is_not_there_is_told(playbooks: Playbooks, escrow: dict[str, Any]) -> None:
    extra = variables(escrow, which="pending", show_psk_anywhere="true")
    failed = playbooks.run(PLAYBOOK, extra_vars=extra).failed()
    assert "knows no pending PSK of tunnel 'berlin-1', which is idle" in failed.result("Show the PSK")["msg"]


def test_a_misspelt_variable_is_refused_with_the_right_one(playbooks: Playbooks, escrow: dict[str, Any]) -> None:
    failed = playbooks.run(PLAYBOOK, extra_vars=variables(escrow, show_psk_anywere="true")).failed()
    assert "did you mean show_psk_anywhere?" in failed.result("Show the PSK")["msg"]


def test_without_a_tunnel_or_an_escrow_it_says_what_to_set(playbooks: Playbooks, escrow: dict[str, Any]) -> None:
    for name, told in (("tunnel", "name it with -e tunnel=NAME"), ("psk_rotation_escrow", "say where PSKs are kept")):
        extra = {key: value for key, value in variables(escrow).items() if key != name}
        assert told in playbooks.run(PLAYBOOK, extra_vars=extra).failed().output


@pytest.mark.shows_secrets
@pytest.mark.parametrize(("which", "psk"), [("device", NOW), ("current", NOW), ("previous", BEFORE)])
def test_each_key_of_a_tunnel_can_be_asked_for(
    playbooks: Playbooks, escrow: dict[str, Any], which: str, psk: str
) -> None:
    shown = playbooks.run(PLAYBOOK, extra_vars=variables(escrow, which=which, show_psk_anywhere="true")).ok()
    assert f"\n{psk}\n" in shown.stdout


@pytest.mark.parametrize("tunnel", ["Berlin-1", "berlin1"])
def test_near_names_are_told_on_a_miss_and_no_key(playbooks: Playbooks, escrow: dict[str, Any], tunnel: str) -> None:
    failed = playbooks.run(PLAYBOOK, extra_vars=variables(escrow, tunnel=tunnel, show_psk_anywhere="true")).failed()
    assert "berlin-1" in failed.result("Show the PSK")["msg"]
    assert NOW not in failed.output
