# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which store the option `escrow` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.magicwan.cloudflare.plugins.doc_fragments._escrow import ModuleDocFragment
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _stores
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_file import FileStore
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_kv2 import Kv2Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._stores import make_store

SECRETS = [("default", VaultSecret(b"one")), ("prod", VaultSecret(b"two"))]
CA = certifi.where()
VAULT_ENV = {"VAULT_ADDR": "https://vault.example.com", "VAULT_TOKEN": "vault-token"}


def make(options: dict[str, Any], environment: dict[str, str] | None = None, account: str | None = "acc") -> Any:
    return make_store(options, account, SECRETS, environment or {}, DataLoader())


def test_each_backend(tmp_path: Path) -> None:
    assert make({"backend": "none"}, account=None) is None
    assert isinstance(make({"backend": "file", "path": str(tmp_path / "x")}), FileStore)
    assert isinstance(make({"backend": "vault_kv2"}, VAULT_ENV), Kv2Store)
    account = {"CLOUDFLARE_ACCOUNT_ID": "acc"}
    assert isinstance(make({"backend": "vault_kv2"}, {**VAULT_ENV, **account}, account=None), Kv2Store)


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
        (
            {"backend": "vault_kv2", "url": "https://v", "token": "t", "ca_path": "/nowhere"},
            "escrow.ca_path '/nowhere'",
        ),
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
        make_store({"backend": "file", "path": "x"}, "acc", None, {})


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
    assert make_store(options, "acc", None, {}, DataLoader()).load() == {}


def id_of(path: Path) -> str:
    """The vault id that the first line of a file names; none is an empty one."""
    return path.read_bytes().split(b"\n")[0].decode().partition("AES256")[2].removeprefix(";")


def opens(path: Path, secret: VaultSecret) -> bool:
    """Whether this secret alone opens the file."""
    try:
        VaultLib([("any", secret)]).decrypt(path.read_bytes())
    except AnsibleError:
        return False
    return True


RECORD = {"t1": Stored(Record(name="one"), 0)}


def test_a_new_file_is_encrypted_by_the_first_secret(tmp_path: Path) -> None:
    path = tmp_path / "x"
    make({"backend": "file", "path": str(path)}).store(RECORD)
    assert opens(path, SECRETS[0][1]) and id_of(path) == ""


def test_a_new_file_is_encrypted_by_the_secret_that_the_option_names(tmp_path: Path) -> None:
    path = tmp_path / "x"
    make({"backend": "file", "path": str(path), "vault_id": "prod"}).store(RECORD)
    assert opens(path, SECRETS[1][1]) and id_of(path) == "prod"


def test_a_new_file_is_encrypted_by_the_identity_of_ansible_vault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_VAULT_ENCRYPT_IDENTITY", "prod")
    path = tmp_path / "x"
    make({"backend": "file", "path": str(path)}).store(RECORD)
    assert opens(path, SECRETS[1][1]) and id_of(path) == "prod"


def test_the_option_beats_the_identity_of_ansible_vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_VAULT_ENCRYPT_IDENTITY", "prod")
    path = tmp_path / "x"
    make({"backend": "file", "path": str(path), "vault_id": "default"}).store(RECORD)
    assert opens(path, SECRETS[0][1])


def test_a_file_that_is_there_stays_with_the_secret_that_has_opened_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    make({"backend": "file", "path": str(path)}).store(RECORD)
    monkeypatch.setenv("ANSIBLE_VAULT_ENCRYPT_IDENTITY", "prod")
    make({"backend": "file", "path": str(path)}).store({"t2": RECORD["t1"]})
    assert opens(path, SECRETS[0][1]) and id_of(path) == ""


def test_an_identity_of_which_the_run_has_no_secret_is_refused_for_a_new_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    monkeypatch.setenv("ANSIBLE_VAULT_ENCRYPT_IDENTITY", "staging")
    with pytest.raises(EscrowError, match="ANSIBLE_VAULT_ENCRYPT_IDENTITY is 'staging', for which this run has no"):
        make({"backend": "file", "path": str(path)})
    monkeypatch.delenv("ANSIBLE_VAULT_ENCRYPT_IDENTITY")
    make({"backend": "file", "path": str(path)}).store(RECORD)
    monkeypatch.setenv("ANSIBLE_VAULT_ENCRYPT_IDENTITY", "staging")
    assert make({"backend": "file", "path": str(path)}).load().keys() == {"t1"}


def test_warnings_are_those_of_the_caller(tmp_path: Path) -> None:
    warnings: list[str] = []
    path = tmp_path / "x"
    options = {"backend": "file", "path": str(path)}
    make(options).store(RECORD)
    (tmp_path / "x.previous").write_text("torn", encoding="utf-8")
    store = make_store(options, "acc", SECRETS, {}, DataLoader(), warnings.append)
    assert store is not None and store.load().keys() == {"t1"}
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ({}, {}, {"url": "https://vault.example.com", "token": "vault-token", "validate_certs": True}),
        ({"token": "given"}, {"VAULT_ROLE_ID": "r"}, {"token": "given", "role_id": None}),
        ({}, {"BAO_TOKEN": "bao-token", "BAO_ADDR": "https://bao"}, {"token": "bao-token", "url": "https://bao"}),
        ({"role_id": "r"}, {"VAULT_SECRET_ID": "s"}, {"token": None, "role_id": "r", "secret_id": "s"}),
        ({}, {"VAULT_TOKEN": "", "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}, {"token": None, "role_id": "r"}),
        ({}, {"VAULT_NAMESPACE": "ns", "VAULT_CACERT": CA}, {"namespace": "ns", "ca_path": CA}),
        ({}, {"VAULT_SKIP_VERIFY": "true"}, {"validate_certs": False}),
        ({"validate_certs": True}, {"VAULT_SKIP_VERIFY": "true"}, {"validate_certs": True}),
    ],
)
def test_the_environment(options: dict[str, Any], environment: dict[str, str], expected: dict[str, Any]) -> None:
    connection = make({"backend": "vault_kv2", **options}, {**VAULT_ENV, **environment})._server._connection
    assert {key: getattr(connection, key) for key in expected} == expected


def test_every_option_is_documented() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]["escrow"]["suboptions"]
    specs = {name: spec for backend in _stores.SPECS.values() for name, spec in backend.items()}
    assert set(documented) == {"backend", *specs}
    for name, spec in specs.items():
        if name != "path":
            assert documented[name].get("default") == spec.get("default"), name
            assert documented[name]["type"] == spec["type"], name
