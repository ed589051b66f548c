# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The escrow in the KV secrets engine, version 2, of HashiCorp Vault or OpenBao.

One secret a tunnel at ``<path>/<account id>/<tunnel id>``, whose data is the record. The engine's own version and
check-and-set guard every write, so a write may be repeated: one that was carried out already is recognised by
reading back its ``write_id``.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import (
    CHANGED_MEANWHILE,
    EscrowError,
    Stored,
    Written,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._vault_server import (
    Answer,
    Conflict,
    Kv2Connection,
    NotThere,
    Unsure,
    VaultServer,
)

_WRITE_ID = "write_id"
# A secret with none of these was not written by this role, nor for it.
_MARKS = ("current", "pending", "previous", "state")
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class _Secret(t.NamedTuple):
    """A secret's data, and the engine's own on its latest version."""

    data: Answer
    metadata: Answer

    @property
    def version(self) -> int:
        """The engine's number, from 1."""
        return int(self.metadata["version"])


class Kv2Store:
    """Records as secrets of a KV version 2 engine, read and written by a few threads over one connection pool.

    ``warn`` gets a line for what can't be checked, and for secrets that are passed over.
    """

    def __init__(self, connection: Kv2Connection, account_id: str, warn: Callable[[str], None] | None = None) -> None:
        self._server = VaultServer(connection)
        self._mount = connection.mount
        self._workers = connection.workers
        self._folder = f"{connection.path}/{_checked(account_id)}"
        self._warn = warn or (lambda text: None)
        self._labels: dict[str, Answer] = {}
        self._may_label = True

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        """The records of these tunnels, or of all. Raises EscrowError.

        Where all are read, a secret that is no record, or was deleted, is passed over with a warning: nobody has asked
        for it. Where it is asked for by its id, that is an error.
        """
        if ids is None:
            return self.others(())
        wanted = list(dict.fromkeys(ids))
        return {i: x for i, x in zip(wanted, self._each(self._read, wanted)) if x is not None}

    def others(self, ids: Collection[str]) -> dict[str, Stored]:
        """The records of all tunnels but these. Raises EscrowError."""
        wanted = [i for i in self._list() if i not in ids]
        return {i: x for i, x in zip(wanted, self._each(self._read_if_record, wanted)) if x is not None}

    def store(self, changes: Mapping[str, Stored]) -> Written:
        """Writes the records whose version is still the one they were loaded with."""
        ids = list(changes)
        versions = self._each(lambda i: self._write(i, changes[i]), ids)
        written = {i: version for i, version in zip(ids, versions) if version is not None}
        return Written(written, {i: CHANGED_MEANWHILE for i in ids if i not in written})

    def forget(self, records: Mapping[str, Stored]) -> dict[str, str]:
        """Removes records that have not changed since they were loaded; returns why others were not removed."""
        ids = list(records)
        done = self._each(lambda i: self._remove(i, records[i].version), ids)
        return {i: CHANGED_MEANWHILE for i, removed in zip(ids, done) if not removed}

    def check(self) -> None:
        """Raises EscrowError unless the engine is there and keeps what it gets, and the token may use it."""
        self._server.check_engine()
        self._server.check_capabilities(f"{self._mount}/data/{self._folder}/any-tunnel")
        self._fetch("any-tunnel")
        self._check_expiry()

    def close(self) -> None:
        """Gives the AppRole token back. Never raises."""
        self._server.close()

    # -- one record -------------------------------------------------------------------------------------------------

    def _list(self) -> list[str]:
        """The names in the folder that are a tunnel's id, as far as one can tell."""
        try:
            answer = self._server.ask(
                "list the records",
                lambda client: client.secrets.kv.v2.list_secrets(path=self._folder, mount_point=self._mount),
            )
        except NotThere:
            return []
        keys = [str(key) for key in self._server.data(answer).get("keys") or ()]
        for key in keys:
            if not _ID.fullmatch(key) and not key.endswith("/"):
                self._warn(self._server.about(f"the secret {self._folder}/{key} is not a record, and is ignored"))
        return [key for key in keys if _ID.fullmatch(key)]

    def _read(self, tunnel_id: str) -> Stored | None:
        """A record that was asked for."""
        secret = self._fetch(tunnel_id)
        if secret is None:
            return None
        self._must_stay(tunnel_id, secret.metadata)
        if not _is_record(secret):
            raise _NoRecord(self._server.about(f"the secret {self._folder}/{tunnel_id} is not a record"))
        try:
            record = Record.from_dict({key: value for key, value in secret.data.items() if key != _WRITE_ID})
        except ValueError as exc:
            raise self._server.error(f"the record of tunnel {tunnel_id} can't be used: {exc}") from None
        self._labels[tunnel_id] = secret.metadata.get("custom_metadata") or {}
        return Stored(record, secret.version)

    def _read_if_record(self, tunnel_id: str) -> Stored | None:
        """A record among all."""
        try:
            return self._read(tunnel_id)
        except _Removed as exc:
            self._warn(f"{exc}; until then it is ignored")
        except _NoRecord as exc:
            self._warn(f"{exc}, and is ignored")
        return None

    def _fetch(self, tunnel_id: str) -> _Secret | None:
        """What the secret holds. Raises _Removed for one that was there."""
        path = f"{self._folder}/{_checked(tunnel_id)}"
        try:
            answer = self._server.ask(
                "read a record",
                lambda client: client.secrets.kv.v2.read_secret_version(
                    path=path, mount_point=self._mount, raise_on_deleted_version=True
                ),
            )
        except NotThere as exc:
            if exc.metadata:
                raise _Removed(self._server.about(self._removed(tunnel_id, exc.metadata))) from None
            return None
        data = self._server.data(answer)
        if not isinstance(data.get("metadata"), dict) or not isinstance(data.get("data"), dict):
            raise self._server.error(f"the secrets engine at {self._mount!r} is not KV version 2")
        return _Secret(data["data"], data["metadata"])

    def _removed(self, tunnel_id: str, metadata: Answer) -> str:
        """A removed record may have held the only copy of a key, so it is never taken for one that was not there."""
        path, version = f"{self._folder}/{tunnel_id}", metadata["version"]
        if metadata.get("destroyed"):
            back = (
                f"go back to an earlier one with 'vault kv rollback -mount={self._mount} -version={version - 1} {path}'"
            )
            forget = f"forget it with 'vault kv metadata delete -mount={self._mount} {path}'"
            what = f"{back}, or, if its keys are of no use any more, {forget}" if version > 1 else forget
            return f"version {version} of the record of tunnel {tunnel_id} was destroyed: {what}"
        return (
            f"the record of tunnel {tunnel_id} was deleted: bring it back with"
            f" 'vault kv undelete -mount={self._mount} -versions={version} {path}'"
        )

    def _write(self, tunnel_id: str, change: Stored) -> int | None:
        """The new version, None after somebody else's write."""
        path, record = f"{self._folder}/{_checked(tunnel_id)}", replace(change.record, revision=change.version + 1)
        data, found = {**record.to_dict(), _WRITE_ID: secrets.token_hex(16)}, None
        try:
            answer = self._server.ask(
                "write a record",
                lambda client: client.secrets.kv.v2.create_or_update_secret(
                    path=path, secret=data, cas=change.version, mount_point=self._mount
                ),
            )
            metadata = self._server.data(answer)
        except Conflict:
            found = self._fetch(tunnel_id)
            if found is None or found.data.get(_WRITE_ID) != data[_WRITE_ID]:
                return None
            metadata = found.metadata
        except Unsure:
            with contextlib.suppress(Unsure):
                found = self._fetch(tunnel_id)
            if found is None or found.data.get(_WRITE_ID) != data[_WRITE_ID]:
                raise
            metadata = found.metadata
        self._must_stay(tunnel_id, metadata)
        self._label(tunnel_id, path, record)
        return int(metadata["version"])

    def _remove(self, tunnel_id: str, version: int) -> bool:
        """Whether it is gone for good. The engine has no check-and-set for that."""
        secret = self._fetch(tunnel_id)
        if secret is None:
            return True
        if secret.version != version:
            return False
        self._server.ask(
            "forget a record",
            lambda client: client.secrets.kv.v2.delete_metadata_and_all_versions(
                path=f"{self._folder}/{_checked(tunnel_id)}", mount_point=self._mount
            ),
        )
        return True

    def _label(self, tunnel_id: str, path: str, record: Record) -> None:
        """Says to people what the secret is: its name, which hardly ever changes, so that it costs a request once.

        Whether that works is of no consequence for the record.
        """
        custom = {"name": record.name} if record.name is not None else {}
        if not self._may_label or self._labels.get(tunnel_id) == custom:
            return
        with contextlib.suppress(EscrowError):
            answer = self._server.ask_if_allowed(
                "label a record",
                lambda client: client.secrets.kv.v2.update_metadata(
                    path=path, custom_metadata=custom, mount_point=self._mount
                ),
            )
            self._may_label = answer is not None
            self._labels[tunnel_id] = custom

    # -- expiry -----------------------------------------------------------------------------------------------------

    def _check_expiry(self) -> None:
        answer = self._server.ask_if_allowed(
            "read the configuration",
            lambda client: client.secrets.kv.v2.read_configuration(mount_point=self._mount),
        )
        if answer is None:
            self._warn(
                self._server.about(
                    f"the token may not read {self._mount}/config: whether the engine deletes records after a time was"
                    " not checked"
                )
            )
            return
        after = str(self._server.data(answer).get("delete_version_after") or "0s")
        if re.search("[1-9]", after):
            raise self._server.error(
                f"the secrets engine at {self._mount!r} deletes what it keeps after {after}, so PSKs would be"
                f" lost: change that with 'vault write {self._mount}/config delete_version_after=0s'"
            )

    def _must_stay(self, tunnel_id: str, metadata: Answer) -> None:
        """The engine sets the time at which it deletes a version when that is written."""
        when = metadata.get("deletion_time")
        if when:
            path = f"-mount={self._mount} {self._folder}/{tunnel_id}"
            raise self._server.error(
                f"the record of tunnel {tunnel_id} will be deleted on {when}: change that with 'vault kv metadata put"
                f" -delete-version-after=0s {path}', then 'vault kv rollback -version={metadata['version']} {path}'"
            )

    def _each(self, work: Callable[[str], t.Any], ids: Sequence[str]) -> list[t.Any]:
        """Does ``work`` for all; after a first error nothing new is begun, and that error is raised."""
        if not ids:
            return []
        self._server.log_in()
        with ThreadPoolExecutor(max_workers=min(self._workers, len(ids))) as pool:
            futures = [pool.submit(work, i) for i in ids]
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                future.cancel()
        for future in futures:
            if not future.cancelled() and future.exception() is not None:
                future.result()
        return [future.result() for future in futures]


class _Removed(EscrowError):
    """The record was there, and was deleted."""


class _NoRecord(EscrowError):
    """Something else is in its place."""


def _is_record(secret: _Secret) -> bool:
    return any(key in secret.data for key in _MARKS)


def _checked(identifier: str) -> str:
    """An id as a part of a path. Nothing else than the API's ids may get there, least of all slashes and dots."""
    if not _ID.fullmatch(identifier):
        raise EscrowError(f"{identifier[:64]!r} is not the id of an account or a tunnel")
    return identifier
