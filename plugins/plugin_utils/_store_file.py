# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The escrow in one ansible-vault encrypted YAML file an account.

The content is ``{version: 1, account_id, tunnels: {<id>: record}}``, written in YAML's JSON subset with a line a
record: that parses some sixty times faster, and ``ansible-vault view`` stays readable.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible.parsing.vault import VaultLib
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._guarded_file import GuardedFile
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import IDLE, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import (
    CHANGED_MEANWHILE,
    EscrowError,
    Stored,
    Written,
)

FORMAT = 1
LOCK_TIMEOUT = 60.0
NAMES_SHOWN = 5

Records = Mapping[str, Record]


@dataclass(frozen=True)
class Seal:
    """The vault secret that encrypts a file, and the vault id that its first line names; None is the first secret."""

    secret: t.Any = None
    vault_id: str | None = None


@dataclass(frozen=True)
class _Opened:
    """A file that was read."""

    content: bytes
    records: Records
    seal: Seal


class FileStore:
    """Records in a vault file.

    ``vault`` holds the secrets that may open the file; what has opened it encrypts it again. ``seal`` is for a new
    file. ``warn`` gets a line when somebody else's save has lost records.
    """

    def __init__(
        self,
        path: str,
        account_id: str,
        vault: VaultLib,
        *,
        seal: Seal | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._file = GuardedFile(path, lock_timeout)
        self._account_id = account_id
        self._vault = vault
        self._seal = seal or Seal()
        self._warn = warn or (lambda text: None)
        self._known: list[_Opened] = []

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        """The records of these tunnels, or of all. Raises EscrowError."""
        records, dummy = self._current()
        wanted = records if ids is None else [i for i in ids if i in records]
        return {i: Stored(records[i], records[i].revision) for i in wanted}

    def others(self, ids: Collection[str]) -> dict[str, Stored]:
        """The records of all tunnels but these. Raises EscrowError."""
        records, dummy = self._current()
        return {i: Stored(x, x.revision) for i, x in records.items() if i not in ids}

    def store(self, changes: Mapping[str, Stored]) -> Written:
        """Writes the records whose revision is still the one they were loaded with."""
        result = Written({}, {})
        if not changes:
            return result
        self._file.check_place()
        with self._file.locked():
            present, seal = self._read()
            records = dict(present)
            for tunnel_id, (record, version) in changes.items():
                if _revision(present, tunnel_id) != version:
                    result.conflicts[tunnel_id] = CHANGED_MEANWHILE
                    continue
                result.versions[tunnel_id] = version + 1
                records[tunnel_id] = replace(record, revision=version + 1)
            if result.versions:
                self._write(records, seal)
        return result

    def forget(self, records: Mapping[str, Stored]) -> dict[str, str]:
        """Removes records that have not changed since they were loaded; returns why others were not removed."""
        with self._file.locked():
            present, seal = self._read()
            kept = {
                i: CHANGED_MEANWHILE
                for i, stored in records.items()
                if i in present and present[i].revision != stored.version
            }
            remaining = {i: x for i, x in present.items() if i not in records or i in kept}
            if len(remaining) < len(present):
                self._write(remaining, seal)
        return kept

    def check(self) -> None:
        """Raises EscrowError unless the file can be read, if there, and written."""
        self._file.check_place()
        with self._file.locked():
            self._read()
            self._file.check()

    def close(self) -> None:
        """Nothing is held."""

    # -- the file ---------------------------------------------------------------------------------------------------

    def _current(self) -> tuple[Records, Seal]:
        """All records, without the lock as long as nobody but runs has written."""
        previous = self._file.read_previous()
        content = self._file.read()
        if previous in (None, content):
            return self._joined(content, previous)
        with self._file.locked():
            return self._read()

    def _read(self) -> tuple[Records, Seal]:
        """All records, with the lock."""
        return self._joined(self._file.read(), self._file.read_previous())

    def _joined(self, content: bytes | None, previous: bytes | None) -> tuple[Records, Seal]:
        """The records, and how the file is encrypted. What an edit has lost is taken from the last file of a run."""
        if content is None:
            if previous is not None:
                raise EscrowError(
                    f"the escrow {self._file.path} is gone, but the last one that was written is still there: move"
                    f" {self._file.previous_path.name} to its place, or remove that, too, to start over"
                )
            return {}, self._seal
        opened = self._open(content)
        if previous is None or previous == content:
            return opened.records, opened.seal
        return {**opened.records, **self._lost(opened.records, previous)}, opened.seal

    def _lost(self, records: Records, previous: bytes) -> Records:
        """The records of the last file of a run that are newer than those in the file, or missing there."""
        path, before = self._file.path, self._file.previous_path
        try:
            written = self._open(previous).records
        except EscrowError:
            self._warn(
                f"the escrow {path} was changed by somebody else, and {before.name} can't be opened with the vault"
                " secret of this run, as after a change of the password: it cannot be checked whether records were lost"
            )
            return {}
        lost = {
            i: record
            for i, record in written.items()
            if (i not in records and record.state != IDLE) or (i in records and records[i].revision < record.revision)
        }
        if lost:
            self._warn(
                f"the escrow {path} was saved by somebody else without what a run had written meanwhile: the records of"
                f" {_named(lost)} are taken from {before.name}; edit it with: flock {self._file.lock_path}"
                f" ansible-vault edit {path}"
            )
        return lost

    def _open(self, content: bytes) -> _Opened:
        """Decrypts and parses, but not what was read before."""
        for known in self._known:
            if known.content == content:
                return known
        return self._remember(self._decrypted(content))

    def _remember(self, opened: _Opened) -> _Opened:
        self._known = [*self._known[-1:], opened]
        return opened

    def _decrypted(self, content: bytes) -> _Opened:
        path = self._file.path
        if not content.strip(b"\0 \r\n\t"):
            raise EscrowError(f"the escrow {path} is empty, as after a crash or on a full disk: {self._instead()}")
        if not content.startswith(b"$ANSIBLE_VAULT;"):
            raise EscrowError(
                f"the escrow {path} is not encrypted by ansible-vault, so it was not written by this role: check"
                f" escrow.path; if it is the escrow, encrypt it with: ansible-vault encrypt {path}"
            )
        try:
            plain, vault_id, secret = self._vault.decrypt_and_get_vault_id(content)
            text = to_text(plain, errors="surrogate_or_strict")
        except (AnsibleError, UnicodeError):
            raise EscrowError(
                f"the escrow {path} can't be opened with the vault secret of this run: give the one that encrypted"
                f" it (--vault-id, or escrow.vault_password_file); if the file is damaged, {self._instead()}"
            ) from None
        if not content.startswith(b"$ANSIBLE_VAULT;1.2;"):
            vault_id = self._seal.vault_id if secret is self._seal.secret else None
        return _Opened(content, self._parsed(text), Seal(secret, vault_id))

    def _parsed(self, text: str) -> Records:
        path = self._file.path
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = _parse_yaml(text, path)
        if (
            not isinstance(document, dict)
            or document.get("version") != FORMAT
            or not isinstance(document.get("tunnels"), dict)
        ):
            raise EscrowError(
                f"the escrow {path} has a format that this version of the collection does not know: use the version"
                f" that wrote it; if none did, {self._instead()}"
            )
        if document.get("account_id") != self._account_id:
            raise EscrowError(
                f"the escrow {path} belongs to account {document.get('account_id')!r}, not to {self._account_id!r}:"
                " check account_id and escrow.path"
            )
        return {i: self._record(i, record) for i, record in document["tunnels"].items()}

    def _instead(self) -> str:
        """What a person can do about a file that holds nothing of use."""
        before = self._file.previous_path
        there = f"copy {before.name} to its place" if self._file.read_previous() else "bring back a copy"
        return f"{there}, or remove it to start over"

    def _record(self, tunnel_id: t.Any, record: t.Any) -> Record:
        path = self._file.path
        if not isinstance(tunnel_id, str):
            raise EscrowError(f"the escrow {path}: the tunnel id {tunnel_id} is not text: put it into quotes")
        try:
            return Record.from_dict(record)
        except ValueError as exc:
            raise EscrowError(f"the escrow {path}: the record of tunnel {tunnel_id} can't be used: {exc}") from None

    def _write(self, records: Records, seal: Seal) -> None:
        lines = ",\n".join(f"{json.dumps(i)}: {json.dumps(record.to_dict())}" for i, record in records.items())
        head = f'{{"version": {FORMAT}, "account_id": {json.dumps(self._account_id)}, "tunnels": {{\n'
        content = self._vault.encrypt(head + lines + "\n}}\n", secret=seal.secret, vault_id=seal.vault_id)
        self._file.write(content)
        self._remember(_Opened(content, records, seal))


def _revision(records: Records, tunnel_id: str) -> int:
    return records[tunnel_id].revision if tunnel_id in records else 0


def _named(records: Records) -> str:
    names = [record.name or tunnel_id for tunnel_id, record in records.items()]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _parse_yaml(text: str, path: object) -> t.Any:
    """For a file that somebody edited by hand."""
    import yaml  # pylint: disable=import-outside-toplevel

    class _TextLoader(yaml.SafeLoader):
        """Leaves times as the texts they are in a record."""

        yaml_implicit_resolvers = {  # noqa: RUF012
            first: [x for x in resolvers if x[0] != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        return yaml.load(text, Loader=_TextLoader)  # noqa: S506 - a safe loader, but for times
    except (yaml.YAMLError, RecursionError):
        raise EscrowError(f"the escrow {path} holds no valid YAML") from None
