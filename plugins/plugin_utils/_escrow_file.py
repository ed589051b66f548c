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

import contextlib
import errno
import fcntl
import glob
import json
import os
import stat
import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.module_utils.common.text.converters import to_text
from ansible.parsing.vault import VaultLib
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import (
    CHANGED_MEANWHILE,
    EscrowError,
    Stored,
    Written,
)

FORMAT = 1
LOCK_TIMEOUT = 60.0
LOCK_POLL = 0.05

# By which a file is known to be the one that was read: inode, time, size.
Stamp = tuple[int, int, int]


class FileEscrow:
    """Records in a vault file. Every write replaces the whole file at once, under a lock, and is flushed to disk."""

    def __init__(
        self,
        path: str,
        account_id: str,
        vault: VaultLib,
        vault_id: str | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        self._path = Path(path).expanduser()
        self._account_id = account_id
        self._vault = vault
        self._vault_id = vault_id
        self._secret: t.Any = None
        self._lock_timeout = lock_timeout
        self._loaded: tuple[Stamp, dict[str, Record]] | None = None

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        """The records of these tunnels, or of all. Raises EscrowError."""
        records = self._read()
        wanted = records if ids is None else [i for i in ids if i in records]
        return {i: Stored(records[i], records[i].revision) for i in wanted}

    def ids(self) -> list[str]:
        """The tunnels of which there is a record. Raises EscrowError."""
        return list(self._read())

    def store(self, changes: Mapping[str, Stored]) -> Written:
        """Writes the records whose revision is still the one they were loaded with."""
        result = Written({}, {})
        if not changes:
            return result
        self._check_place()
        with self._locked():
            records = dict(self._read())
            for tunnel_id, (record, version) in changes.items():
                present = records.get(tunnel_id)
                if (present.revision if present else 0) != version:
                    result.conflicts[tunnel_id] = CHANGED_MEANWHILE
                    continue
                result.versions[tunnel_id] = version + 1
                records[tunnel_id] = replace(record, revision=version + 1)
            if result.versions:
                self._write(records)
        return result

    def forget(self, records: Mapping[str, Stored]) -> dict[str, str]:
        """Removes records that have not changed since they were loaded; returns why others were not removed."""
        kept: dict[str, str] = {}
        with self._locked():
            present = dict(self._read())
            for tunnel_id, (_record, version) in records.items():
                if tunnel_id in present and present[tunnel_id].revision != version:
                    kept[tunnel_id] = CHANGED_MEANWHILE
                else:
                    present.pop(tunnel_id, None)
            self._write(present)
        return kept

    def close(self) -> None:
        """Nothing is held."""

    def check(self) -> None:
        """Raises EscrowError unless the file can be read, if there, and written."""
        self._check_place()
        with self._locked():
            self._read()
            probe = self._temporary()
            try:
                self._remove_leftovers()
                os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                os.unlink(probe)
            except OSError as exc:
                raise self._error("cannot be written", exc) from None

    def _check_place(self) -> None:
        folder = self._path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = folder.stat().st_mode
        except OSError as exc:
            raise self._error("its folder cannot be made", exc) from None
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise EscrowError(f"the escrow {self._path} lies in a folder that everybody may write to; choose another")
        if self._path.is_symlink():
            raise EscrowError(
                f"the escrow {self._path} is a symbolic link, which a write would replace; give its target"
            )

    def _read(self) -> dict[str, Record]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return {}
        except OSError as exc:
            reason = "is a symbolic link" if exc.errno == errno.ELOOP else "cannot be read"
            raise self._error(reason, exc) from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise EscrowError(f"the escrow {self._path} is not a regular file")
        with os.fdopen(descriptor, "rb") as file:
            stamp = _stamp(status)
            if self._loaded and self._loaded[0] == stamp:
                return self._loaded[1]
            try:
                content = file.read()
            except OSError as exc:
                raise self._error("cannot be read", exc) from None
        records = self._parse(content)
        self._loaded = (stamp, records)
        return records

    def _parse(self, content: bytes) -> dict[str, Record]:
        if not content.startswith(b"$ANSIBLE_VAULT;"):
            raise EscrowError(
                f"the escrow {self._path} is not encrypted by ansible-vault; it was not written by this role"
            )
        try:
            plain, vault_id, secret = self._vault.decrypt_and_get_vault_id(content)
            text = to_text(plain, errors="surrogate_or_strict")
        except (AnsibleError, UnicodeError):
            raise EscrowError(f"the escrow {self._path} can't be opened with the vault secret of this run") from None
        try:
            document = json.loads(text)
        except ValueError:
            document = _parse_yaml(text, self._path)
        if (
            not isinstance(document, dict)
            or document.get("version") != FORMAT
            or not isinstance(document.get("tunnels"), dict)
        ):
            raise EscrowError(f"the escrow {self._path} has a format that this version of the collection does not know")
        if document.get("account_id") != self._account_id:
            raise EscrowError(f"the escrow {self._path} belongs to account {document.get('account_id')!r}")
        # What opened the file encrypts it again, whichever secret of several the run happens to have as its first.
        self._secret = secret
        if self._vault_id is None and content.startswith(b"$ANSIBLE_VAULT;1.2;"):
            self._vault_id = vault_id
        return {i: self._record(i, record) for i, record in document["tunnels"].items()}

    def _record(self, tunnel_id: t.Any, record: t.Any) -> Record:
        if not isinstance(tunnel_id, str):
            raise EscrowError(f"the escrow {self._path}: the tunnel id {tunnel_id} is not text: put it into quotes")
        try:
            return Record.from_dict(record)
        except ValueError as exc:
            raise EscrowError(
                f"the escrow {self._path}: the record of tunnel {tunnel_id} can't be used: {exc}"
            ) from None

    def _write(self, records: Mapping[str, Record]) -> None:
        lines = ",\n".join(f"{json.dumps(i)}: {json.dumps(record.to_dict())}" for i, record in records.items())
        head = f'{{"version": {FORMAT}, "account_id": {json.dumps(self._account_id)}, "tunnels": {{\n'
        content = self._vault.encrypt(head + lines + "\n}}\n", secret=self._secret, vault_id=self._vault_id)
        temporary = self._temporary()
        try:
            self._remove_leftovers()
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
            self._sync_folder()
            stamp = self._read_back(content)
        except OSError as exc:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise self._error("cannot be written", exc) from None
        self._loaded = (stamp, dict(records))

    def _read_back(self, content: bytes) -> Stamp:
        """Makes sure that the file holds what was written, so that it needs no decrypting until it changes."""
        self._loaded = None
        with open(self._path, "rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            if file.read() != content:
                raise EscrowError(f"the escrow {self._path} gives back something else than was written")
        return stamp

    def _sync_folder(self) -> None:
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _temporary(self) -> Path:
        return self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")

    def _remove_leftovers(self) -> None:
        """What killed runs left: encrypted, but of no use. The lock is held, so nobody is writing them."""
        for leftover in self._path.parent.glob(f".{glob.escape(self._path.name)}.*.tmp"):
            leftover.unlink()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self._path.with_name(self._path.name + ".lock")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            raise self._error(f"its lock {lock.name} cannot be opened", exc) from None
        try:
            deadline = time.monotonic() + self._lock_timeout
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EscrowError(
                            f"the escrow {self._path} has been locked by another process for {self._lock_timeout:g} s"
                        ) from None
                    time.sleep(LOCK_POLL)
            yield
        finally:
            os.close(descriptor)

    def _error(self, what: str, exc: OSError) -> EscrowError:
        return EscrowError(f"the escrow {self._path}: {what} ({os.strerror(exc.errno or 0)})")


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _parse_yaml(text: str, path: Path) -> t.Any:
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
    except yaml.YAMLError:
        raise EscrowError(f"the escrow {path} holds no valid YAML") from None
