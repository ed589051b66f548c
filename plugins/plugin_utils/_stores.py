# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The store that the option ``escrow`` describes. The doc fragment ``_escrow`` is its documentation."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.vault import VaultLib, get_file_vault_secret
from ansible.utils.display import Display
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_file import LOCK_TIMEOUT, FileStore, Seal
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_kv2 import Kv2Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._vault_server import Kv2Connection

Options = dict[str, t.Any]

FILE_SPEC: Options = {
    "path": {"type": "path", "required": True},
    "persistent": {"type": "bool", "default": False},
    "vault_id": {"type": "str"},
    "vault_password_file": {"type": "path", "no_log": False},
    "lock_timeout": {"type": "float", "default": LOCK_TIMEOUT},
}
KV2_SPEC: Options = {
    "url": {"type": "str"},
    "mount": {"type": "str", "default": "secret"},
    "path": {"type": "str", "default": "magicwan"},
    "namespace": {"type": "str"},
    "token": {"type": "str", "no_log": True},
    "role_id": {"type": "str"},
    "secret_id": {"type": "str", "no_log": True},
    "auth_mount": {"type": "str", "default": "approle"},
    "ca_path": {"type": "path"},
    "validate_certs": {"type": "bool"},
    "timeout": {"type": "float", "default": 30.0},
    "retries": {"type": "int", "default": 4},
    "workers": {"type": "int", "default": 8},
}
# Option -> names in the environment, each with the prefix BAO_ or else VAULT_, as OpenBao's own client reads them.
_ENVIRONMENT = {
    "url": ("ADDR",),
    "namespace": ("NAMESPACE",),
    "ca_path": ("CACERT", "CAPATH"),
}
_CREDENTIALS = {"token": "TOKEN", "role_id": "ROLE_ID", "secret_id": "SECRET_ID"}


def make_store(
    options: Mapping[str, t.Any],
    account_id: str | None,
    vault_secrets: list[tuple[str, t.Any]] | None,
    environment: Mapping[str, str],
    loader: t.Any = None,
    warn: Callable[[str], None] | None = None,
) -> Store | None:
    """The store of these options; None for none. ``vault_secrets`` are the run's own. Raises EscrowError.

    ``warn`` gets what a person should know though nothing fails; by default it is shown as Ansible's warnings are.
    """
    name = str(options.get("backend") or "")
    if name not in SPECS:
        raise EscrowError(f"escrow.backend must be {_any_of(list(SPECS))}, not {name!r}")
    found = _validated(name, options)
    if name == "none":
        return None
    account_id = account_id or environment.get("CLOUDFLARE_ACCOUNT_ID")
    if not account_id:
        raise EscrowError("account_id is missing: set it, or CLOUDFLARE_ACCOUNT_ID in the environment")
    run = _Run(account_id, vault_secrets or [], environment, loader, warn or Display().warning)
    return _BACKENDS[name].make(found, run)


class _Run(t.NamedTuple):
    """What a store may take from the run."""

    account_id: str
    vault_secrets: list[tuple[str, t.Any]]
    environment: Mapping[str, str]
    loader: t.Any
    warn: Callable[[str], None]


class _Backend(t.NamedTuple):
    """The options of a backend, and what makes its store."""

    spec: Options
    make: Callable[[Options, _Run], Store]


def _any_of(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _kv2_store(found: Options, run: _Run) -> Store:
    return Kv2Store(_connection(found, run.environment), run.account_id, run.warn)


def _file_store(found: Options, run: _Run) -> Store:
    on_awx = run.environment.get("AWX_HOST") or run.environment.get("JOB_ID")
    if on_awx and not found["persistent"]:
        raise EscrowError(
            "this runs on AWX, where a job's disk is gone after the job: use the backend vault_kv2, or say"
            " persistent: true if escrow.path is on a mounted volume"
        )
    secrets = _vault_secrets(found, run.vault_secrets, run.loader)
    return FileStore(
        found["path"],
        run.account_id,
        VaultLib(secrets),
        seal=_seal(found, secrets),
        lock_timeout=found["lock_timeout"],
        warn=run.warn,
    )


_BACKENDS = {"file": _Backend(FILE_SPEC, _file_store), "vault_kv2": _Backend(KV2_SPEC, _kv2_store)}
SPECS: dict[str, Options] = {**{name: backend.spec for name, backend in _BACKENDS.items()}, "none": {}}


def _validated(name: str, options: Mapping[str, t.Any]) -> Options:
    given = {key: value for key, value in options.items() if key != "backend"}
    unknown = sorted(set(given) - set(SPECS[name]))
    if unknown:
        known = ", ".join(SPECS[name]) or "nothing"
        raise EscrowError(f"escrow.{unknown[0]} is not an option of the backend {name}, which has {known}")
    result = ArgumentSpecValidator(SPECS[name]).validate(given)
    if result.error_messages:
        raise EscrowError(f"escrow: {'; '.join(result.error_messages)}")
    return t.cast(Options, result.validated_parameters)


def _connection(found: Options, environment: Mapping[str, str]) -> Kv2Connection:
    def from_environment(*names: str) -> str | None:
        wanted = [prefix + name for name in names for prefix in ("BAO_", "VAULT_")]
        return next((environment[x] for x in wanted if environment.get(x)), None)

    given = {key: value for key, value in found.items() if value is not None}
    for option, names in _ENVIRONMENT.items():
        given.setdefault(option, from_environment(*names))
    if "token" in given and ("role_id" in given or "secret_id" in given):
        raise EscrowError("escrow.token excludes escrow.role_id and escrow.secret_id")
    if "token" not in given:
        for option in ("role_id", "secret_id") if "role_id" in given or "secret_id" in given else _CREDENTIALS:
            given.setdefault(option, from_environment(_CREDENTIALS[option]))
    skipped = from_environment("SKIP_VERIFY")
    given.setdefault("validate_certs", not (skipped and boolean(skipped, strict=False)))
    if not given["url"]:
        raise EscrowError("escrow.url is missing: set it, or VAULT_ADDR in the environment")
    return Kv2Connection(**given)


def _vault_secrets(found: Options, secrets: list[tuple[str, t.Any]], loader: t.Any) -> list[tuple[str, t.Any]]:
    vault_id, password_file = found["vault_id"], found["vault_password_file"]
    if password_file:
        try:
            secret = get_file_vault_secret(filename=os.path.expanduser(password_file), loader=loader)
            secret.load()
        except AnsibleError:
            raise EscrowError(f"escrow.vault_password_file {password_file} can't be read") from None
        return [(vault_id or "default", secret)]
    chosen = [x for x in secrets if vault_id in (None, x[0])]
    if not chosen:
        raise EscrowError(
            "there is no vault secret to encrypt the escrow with: run with --vault-password-file or --vault-id,"
            " or set escrow.vault_password_file"
            if not secrets
            else f"this run has no vault secret with escrow.vault_id {vault_id!r}"
        )
    return chosen


def _seal(found: Options, secrets: list[tuple[str, t.Any]]) -> Seal:
    """What encrypts a new file: the secret that is named, else that of ansible-vault's own setting, else the first."""
    wanted = found["vault_id"]
    if wanted is None and not found["vault_password_file"]:
        wanted = constants.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")
        if wanted and wanted not in dict(secrets) and not os.path.exists(os.path.expanduser(found["path"])):
            raise EscrowError(
                f"ANSIBLE_VAULT_ENCRYPT_IDENTITY is {wanted!r}, for which this run has no vault secret: add it with"
                " --vault-id, or set escrow.vault_id"
            )
    return Seal(next((secret for vault_id, secret in secrets if vault_id == wanted), None), wanted or None)
