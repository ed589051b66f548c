# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backend the option `escrow` makes, and who owns a lease."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultSecret
from ansible_collections.magicwan.cloudflare.plugins.doc_fragments._escrow import ModuleDocFragment
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _backends, _owner
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._backends import make_backend
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_backend import EscrowError, NoEscrow
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_file import FileEscrow
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_kv2 import Kv2Escrow

SECRETS = [("default", VaultSecret(b"one")), ("prod", VaultSecret(b"two"))]
VAULT_ENV = {"VAULT_ADDR": "https://vault.example.com", "VAULT_TOKEN": "vault-token"}


def make(options: dict[str, Any], environment: dict[str, str] | None = None, account: str | None = "acc") -> Any:
    return make_backend(options, account, SECRETS, environment or {}, DataLoader())


def test_each_backend(tmp_path: Path) -> None:
    assert isinstance(make({"backend": "none"}, account=None), NoEscrow)
    assert isinstance(make({"backend": "file", "path": str(tmp_path / "x")}), FileEscrow)
    assert isinstance(make({"backend": "vault_kv2"}, VAULT_ENV), Kv2Escrow)
    account = {"CLOUDFLARE_ACCOUNT_ID": "acc"}
    assert isinstance(make({"backend": "vault_kv2"}, {**VAULT_ENV, **account}, account=None), Kv2Escrow)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "escrow.backend must be"),
        ({"backend": "database"}, "escrow.backend must be"),
        ({"backend": "none", "path": "x"}, "escrow.path is not an option of the backend none"),
        ({"backend": "file"}, "missing required arguments: path"),
        ({"backend": "file", "path": "x", "persistant": True}, "escrow.persistant is not an option"),
        ({"backend": "file", "path": "x", "token": "t"}, "escrow.token is not an option of the backend file"),
        ({"backend": "file", "path": "x", "persistent": "maybe"}, "persistent"),
        ({"backend": "file", "path": "x", "vault_id": "test"}, "no vault secret with escrow.vault_id 'test'"),
        ({"backend": "file", "path": "x", "vault_password_file": "/nowhere"}, "can't be read"),
        ({"backend": "vault_kv2"}, "escrow.url is missing"),
        ({"backend": "vault_kv2", "url": "https://v"}, "there are no credentials"),
        ({"backend": "vault_kv2", "url": "https://v", "token": "t", "role_id": "r"}, "excludes"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EscrowError, match=message) as caught:
        make(options)
    assert "\n" not in str(caught.value)


def test_without_an_account_or_a_vault_secret() -> None:
    with pytest.raises(EscrowError, match="account_id is missing"):
        make({"backend": "file", "path": "x"}, account=None)
    with pytest.raises(EscrowError, match="there is no vault secret"):
        make_backend({"backend": "file", "path": "x"}, "acc", None, {})


@pytest.mark.parametrize("name", ["AWX_HOST", "JOB_ID"])
def test_on_awx_a_file_must_be_said_to_stay(tmp_path: Path, name: str) -> None:
    options = {"backend": "file", "path": str(tmp_path / "x")}
    with pytest.raises(EscrowError, match="this runs on AWX"):
        make(options, {name: "1"})
    assert make({**options, "persistent": True}, {name: "1"})
    assert make({"backend": "vault_kv2"}, {**VAULT_ENV, name: "1"})


def test_a_vault_password_file_of_its_own(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("three\n", encoding="utf-8")
    options = {"backend": "file", "path": str(tmp_path / "x"), "vault_password_file": str(password)}
    make(options).check()
    assert make_backend(options, "acc", None, {}, DataLoader()).load() == {}


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({}, {}, {"url": "https://vault.example.com", "token": "vault-token", "validate_certs": True}),
        ({"token": "given"}, {"VAULT_ROLE_ID": "r"}, {"token": "given", "role_id": None}),
        ({}, {"BAO_TOKEN": "bao-token", "BAO_ADDR": "https://bao"}, {"token": "bao-token", "url": "https://bao"}),
        ({"role_id": "r"}, {"VAULT_SECRET_ID": "s"}, {"token": None, "role_id": "r", "secret_id": "s"}),
        ({}, {"VAULT_TOKEN": "", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}, {"token": None, "role_id": "r"}),
        ({}, {"VAULT_NAMESPACE": "ns", "VAULT_CACERT": "/ca"}, {"namespace": "ns", "ca_path": "/ca"}),
        ({}, {"VAULT_SKIP_VERIFY": "true"}, {"validate_certs": False}),
        ({"validate_certs": True}, {"VAULT_SKIP_VERIFY": "true"}, {"validate_certs": True}),
    ],
)
def test_the_environment(options: dict[str, Any], environment: dict[str, str], expected: dict[str, Any]) -> None:
    connection = make({"backend": "vault_kv2", **options}, {**VAULT_ENV, **environment})._connection
    assert {key: getattr(connection, key) for key in expected} == expected


def test_every_option_is_documented() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]["escrow"]["suboptions"]
    specs = {name: spec for backend in _backends.SPECS.values() for name, spec in backend.items()}
    assert set(documented) == {"backend", *specs}
    for name, spec in specs.items():
        if name != "path":
            assert documented[name].get("default") == spec.get("default"), name
            assert documented[name]["type"] == spec["type"], name


# -- owners ------------------------------------------------------------------------------------------------------------


def test_an_owner_is_dead_only_if_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = _owner._owner(process.pid)
    assert not _owner.is_dead(owner)
    # /proc hides it from this user, as with the mount option hidepid
    monkeypatch.setattr(_owner, "_start_time", lambda pid: None)
    assert not _owner.is_dead(owner)
    monkeypatch.undo()
    process.kill()
    process.wait()
    assert _owner.is_dead(owner)
    host, boot, namespace, pid, start = owner.split("/")
    for other in (
        f"x/{boot}/{namespace}/{pid}/{start}",
        f"{host}/x/{namespace}/{pid}/{start}",
        f"{host}//x/1/2",
        "",
        "x",
    ):
        assert not _owner.is_dead(other)


def test_a_reused_process_number_is_another_process() -> None:
    host, boot, namespace, pid, start = _owner._owner(os.getpid()).split("/")
    assert not _owner.is_dead("/".join([host, boot, namespace, pid, start]))
    assert _owner.is_dead("/".join([host, boot, namespace, pid, f"{int(start) - 1}"]))
