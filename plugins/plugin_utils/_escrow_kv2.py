# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The escrow in the KV secrets engine, version 2, of HashiCorp Vault or OpenBao.

One secret a tunnel at ``<path>/<account id>/<tunnel id>``, whose data is the record. The engine's own version and
check-and-set guard every write, so a write may be repeated: one that was carried out already is told by reading back
its ``write_id``.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
import typing as t
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import redact
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import (
    CHANGED_MEANWHILE,
    EscrowError,
    Stored,
    Written,
)

HAS_HVAC = True
try:
    import hvac
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import ReadTimeoutError
    from urllib3.util.retry import Retry
except ImportError:
    HAS_HVAC = False

# 412: the node that answered has not caught up with an earlier write; Vault asks to repeat.
RETRIED_STATUSES = (412, 429, 500, 502, 503, 504)
BACKOFF_FACTOR = 0.3
CONNECT_TIMEOUT = 5.0

Answer = dict[str, t.Any]


@dataclass(frozen=True)
class Kv2Connection:
    """How to reach the secrets engine. ``timeout`` is in seconds; ``ca_path`` is a PEM bundle or a folder of them."""

    url: str
    mount: str = "secret"
    path: str = "magicwan"
    namespace: str | None = None
    token: str | None = None
    role_id: str | None = None
    secret_id: str | None = None
    auth_mount: str = "approle"
    ca_path: str | None = None
    validate_certs: bool = True
    timeout: float = 30.0
    retries: int = 4
    workers: int = 8

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EscrowError("escrow.url must be an http or https URL such as https://vault.example.com:8200")
        if parts.username or parts.password:
            raise EscrowError("escrow.url must not hold credentials")
        if parts.scheme == "http" and self.validate_certs and not _is_loopback(parts.hostname):
            raise EscrowError(
                "escrow.url must use https: plain http is accepted for an address of this machine only,"
                " or with validate_certs: false in a laboratory"
            )
        for option in ("mount", "path", "auth_mount"):
            if not all(re.fullmatch(r"[\w.@+-]+", x) and set(x) != {"."} for x in getattr(self, option).split("/")):
                raise EscrowError(f"escrow.{option} must be names joined by slashes, such as magicwan/psks")
        if not self.token and not (self.role_id and self.secret_id):
            raise EscrowError(
                "there are no credentials for the escrow: set escrow.token (VAULT_TOKEN), or escrow.role_id and"
                " escrow.secret_id (VAULT_ROLE_ID, VAULT_SECRET_ID)"
            )
        if self.token and not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise EscrowError("escrow.token holds a blank, a line break or a character outside ASCII")
        if self.workers < 1 or self.retries < 0 or self.timeout <= 0:
            raise EscrowError("escrow.workers and escrow.timeout must be positive, and escrow.retries not negative")


class _Unreachable(EscrowError):
    """No usable answer: what was asked for may have been done or not."""


class Kv2Escrow:
    """Records as secrets of a KV version 2 engine, read and written by a few threads over one connection pool."""

    def __init__(self, connection: Kv2Connection, account_id: str) -> None:
        if not HAS_HVAC:
            raise EscrowError("the backend vault_kv2 needs the Python library hvac on the controller: pip install hvac")
        self._connection = connection
        self._folder = f"{connection.path}/{_checked(account_id)}"
        self._lock = threading.Lock()
        self._logins = 0
        self._labels = True
        self._client = hvac.Client(
            url=connection.url.rstrip("/"),
            token=connection.token or "",
            namespace=connection.namespace,
            verify=self._verify(),
            timeout=(min(CONNECT_TIMEOUT, connection.timeout), connection.timeout),
            session=self._make_session(),
            allow_redirects=False,
            strict_http=True,
        )

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        """The records of these tunnels, or of all. Raises EscrowError."""
        wanted = self._list() if ids is None else list(dict.fromkeys(ids))
        found = self._each(self._read, wanted)
        return {i: stored for i, stored in zip(wanted, found) if stored is not None}

    def ids(self) -> list[str]:
        """The tunnels of which there is a record. Raises EscrowError."""
        return self._list()

    def store(self, changes: Mapping[str, Stored]) -> Written:
        """Writes the records whose version is still the one they were loaded with."""
        ids = list(changes)
        conflicts = {i: x for i, x in zip(ids, self._each(lambda i: self._write(i, changes[i]), ids)) if x is not None}
        return Written({i: changes[i].version + 1 for i in ids if i not in conflicts}, conflicts)

    def forget(self, records: Mapping[str, Stored]) -> dict[str, str]:
        """Removes records for good."""
        self._each(lambda i: self._request("delete", self._path("metadata", i)), list(records))
        return {}

    def close(self) -> None:
        """Nothing is held."""

    def check(self) -> None:
        """Raises EscrowError unless the engine is there, and the token may read and write records."""
        status, answer = self._request("get", f"sys/internal/ui/mounts/{self._connection.mount}")
        if status == 200:
            data = answer.get("data") or {}
            if data.get("type") not in ("kv", "generic") or (data.get("options") or {}).get("version") != "2":
                raise self._error(f"the secrets engine at {self._connection.mount!r} is not KV version 2")
        path = self._path("data", "any-tunnel")
        status, answer = self._request("post", "sys/capabilities-self", {"paths": [path]})
        allowed = set((answer.get("data") or {}).get(path) or answer.get("capabilities") or ())
        missing = {"create", "read", "update"} - allowed
        if status == 200 and missing and "root" not in allowed:
            raise self._error(f"the token's policy does not allow {', '.join(sorted(missing))} on {path}")
        self._fetch("any-tunnel")

    # -- one record -------------------------------------------------------------------------------------------------

    def _list(self) -> list[str]:
        status, answer = self._request("list", f"{self._connection.mount}/metadata/{self._folder}")
        if status == 404 and not _said(answer):
            return []
        self._demand(status, answer, "list the records")
        return [key for key in answer["data"]["keys"] if not key.endswith("/")]

    def _read(self, tunnel_id: str) -> Stored | None:
        found = self._fetch(tunnel_id)
        if found is None:
            return None
        record, version = found
        try:
            return Stored(Record.from_dict({key: value for key, value in record.items() if key != _WRITE_ID}), version)
        except ValueError as exc:
            raise self._error(f"the record of tunnel {tunnel_id} can't be used: {exc}") from None

    def _fetch(self, tunnel_id: str) -> tuple[Answer, int] | None:
        """What the secret holds, and its version."""
        status, answer = self._request("get", self._path("data", tunnel_id))
        data = answer.get("data") or {}
        if status == 404 and not _said(answer):
            metadata = data.get("metadata")
            if not metadata:
                return None
            raise self._error(self._removed(tunnel_id, metadata))
        self._demand(status, answer, "read a record")
        metadata, record = data.get("metadata"), data.get("data")
        if not isinstance(metadata, dict) or not isinstance(record, dict):
            raise self._error(f"the secrets engine at {self._connection.mount!r} is not KV version 2")
        return record, metadata["version"]

    def _removed(self, tunnel_id: str, metadata: Mapping[str, t.Any]) -> str:
        """A removed record may have held the only copy of a key, so it is never taken for one that was not there."""
        path, version = f"{self._folder}/{tunnel_id}", metadata["version"]
        mount = self._connection.mount
        if metadata.get("destroyed"):
            return (
                f"version {version} of the record of tunnel {tunnel_id} was destroyed: go back to an earlier one with"
                f" 'vault kv rollback -mount={mount} -version={version - 1} {path}', or, if its keys are of no use"
                f" any more, forget it with 'vault kv metadata delete -mount={mount} {path}'"
            )
        return (
            f"the record of tunnel {tunnel_id} was deleted: bring it back with"
            f" 'vault kv undelete -mount={mount} -versions={version} {path}'"
        )

    def _write(self, tunnel_id: str, change: Stored) -> str | None:
        record = {**change.record.to_dict(), "revision": change.version + 1, _WRITE_ID: secrets.token_hex(16)}
        body = {"options": {"cas": change.version}, "data": record}
        try:
            status, answer = self._request("post", self._path("data", tunnel_id), body)
        except _Unreachable:
            if not self._is_written(tunnel_id, record[_WRITE_ID]):
                raise
            status, answer = 200, {}
        if status == 400 and "check-and-set" in _said(answer):
            if not self._is_written(tunnel_id, record[_WRITE_ID]):
                return CHANGED_MEANWHILE
        else:
            self._demand(status, answer, "write a record")
        self._label(tunnel_id, record)
        return None

    def _is_written(self, tunnel_id: str, write_id: str) -> bool:
        """Whether the engine holds just this write: then it was carried out, and only its answer was lost."""
        found = self._fetch(tunnel_id)
        return found is not None and found[0].get(_WRITE_ID) == write_id

    def _label(self, tunnel_id: str, record: Mapping[str, t.Any]) -> None:
        """Says to people what the secret is. Whether that works is of no consequence for the record."""
        if not self._labels:
            return
        current = record["current"] or {}
        labels = {
            "name": record["name"],
            "state": record["state"],
            "generation": record["generation"],
            "applied_on": current.get("applied_on"),
        }
        body = {"custom_metadata": {key: str(value) for key, value in labels.items() if value is not None}}
        with contextlib.suppress(EscrowError):
            status, dummy = self._request("post", self._path("metadata", tunnel_id), body)
            self._labels = status != 403

    # -- requests ---------------------------------------------------------------------------------------------------

    def _each(self, work: Callable[[str], t.Any], ids: Sequence[str]) -> list[t.Any]:
        """Does ``work`` for all; after a first error nothing new is begun, and that error is raised."""
        if not ids:
            return []
        self._log_in(None)
        with ThreadPoolExecutor(max_workers=min(self._connection.workers, len(ids))) as pool:
            futures = [pool.submit(work, i) for i in ids]
            wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                future.cancel()
        for future in futures:
            if not future.cancelled() and future.exception() is not None:
                future.result()
        return [future.result() for future in futures]

    def _request(self, method: str, path: str, body: Answer | None = None) -> tuple[int, Answer]:
        """Status and answer; an expired AppRole token is replaced once. Raises _Unreachable."""
        self._log_in(None)
        token = self._client.token
        status, answer = self._send(method, path, body)
        if status == 403 and self._log_in(token):
            status, answer = self._send(method, path, body)
        return status, answer

    def _send(self, method: str, path: str, body: Answer | None) -> tuple[int, Answer]:
        options: Answer = {} if body is None else {"json": body}
        try:
            answer = self._client.adapter.request(method, f"/v1/{path}", raise_exception=False, **options)
        except requests.exceptions.SSLError:
            raise self._error("its certificate is not trusted: set escrow.ca_path to the CA's certificate") from None
        except requests.exceptions.RequestException as exc:
            if isinstance(exc, requests.exceptions.Timeout) or isinstance(_reason(exc), ReadTimeoutError):
                raise _Unreachable(f"{self._where()} did not answer in time") from None
            raise _Unreachable(f"{self._where()} can't be reached: is the server up, and escrow.url right?") from None
        if isinstance(answer, dict):
            return 200, answer
        try:
            decoded = answer.json()
        except ValueError:
            decoded = {}
        status = 200 if answer.status_code == 204 else answer.status_code
        if status == 200 and answer.content and not isinstance(decoded, dict):
            raise _Unreachable(f"{self._where()} does not answer as a Vault server does")
        decoded = decoded if isinstance(decoded, dict) else {}
        if status in (429, 500, 501, 502, 503, 504):
            raise self._unwell(status, decoded)
        return status, decoded

    def _unwell(self, status: int, answer: Mapping[str, t.Any]) -> EscrowError:
        said = self._redacted(_said(answer))
        if "sealed" in said:
            return self._error("the server is sealed: unseal it, then run again")
        if status == 429:
            return self._error("the server limits the rate of requests: lower escrow.workers, or try later")
        return _Unreachable(f"{self._where()} answers {status}{f' ({said})' if said else ''}: look at the server")

    def _demand(self, status: int, answer: Mapping[str, t.Any], doing: str) -> None:
        """Raises EscrowError unless the request was carried out."""
        if status == 200:
            return
        said = self._redacted(_said(answer))
        if status == 403:
            valid = self._request("get", "auth/token/lookup-self")[0] == 200
            why = f"the token's policy does not allow to {doing} below {self._folder}" if valid else _EXPIRED
        elif 300 <= status < 400:
            why = "the server redirects, and a token is never sent elsewhere: set escrow.url to the active node"
        elif status == 404 and ("no handler" in said or "namespace" in said):
            why = f"there is no secrets engine at {self._connection.mount!r}: set escrow.mount or escrow.namespace"
        else:
            why = f"the server refuses to {doing} with {status}{f' ({said})' if said else ''}"
        raise self._error(why)

    def _log_in(self, stale: str | None) -> bool:
        """Gets a token by AppRole if there is none, or in place of ``stale``. Returns whether there is another now."""
        if self._connection.token:
            return False
        with self._lock:
            if (self._client.token or None) != stale:
                return True
            if self._logins == 2:
                return False
            self._logins += 1
            self._client.token = None
            body = {"role_id": self._connection.role_id, "secret_id": self._connection.secret_id}
            status, answer = self._send("post", f"auth/{self._connection.auth_mount}/login", body)
            token = (answer.get("auth") or {}).get("client_token")
            if status != 200 or not token:
                raise self._error(
                    f"the AppRole login is refused with {status}: check escrow.role_id, escrow.secret_id,"
                    " escrow.auth_mount and escrow.namespace"
                )
            self._client.token = token
            return True

    def _path(self, kind: str, tunnel_id: str) -> str:
        return f"{self._connection.mount}/{kind}/{self._folder}/{_checked(tunnel_id)}"

    def _where(self) -> str:
        namespace = f" (namespace {self._connection.namespace})" if self._connection.namespace else ""
        return f"the escrow {self._connection.url}{namespace}"

    def _error(self, why: str) -> EscrowError:
        return EscrowError(f"{self._where()}: {why}")

    def _redacted(self, text: str) -> str:
        secrets = (self._connection.token, self._connection.secret_id, self._client.token)
        return redact(text, [x for x in secrets if x])

    def _verify(self) -> bool | str:
        return (self._connection.ca_path or True) if self._connection.validate_certs else False

    def _make_session(self) -> requests.Session:
        session = requests.Session()
        # No proxy reaches an address of this machine, and plain http through one would show the token.
        session.trust_env = not _is_loopback(urlsplit(self._connection.url).hostname or "")
        session.verify = self._verify()
        options: Answer = {
            "total": self._connection.retries,
            "other": 0,
            "redirect": False,
            "status_forcelist": RETRIED_STATUSES,
            "allowed_methods": None,  # all: check-and-set makes a repeated write harmless
            "backoff_factor": BACKOFF_FACTOR,
            "raise_on_status": False,
        }
        try:
            retry = Retry(backoff_jitter=BACKOFF_FACTOR, **options)
        except TypeError:  # urllib3 1.26 has no jitter
            retry = Retry(**options)
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=self._connection.workers, max_retries=retry)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


_WRITE_ID = "write_id"
_EXPIRED = "the token is not valid, or has expired: get a new one"


def _reason(exc: Exception) -> object:
    """What urllib3 gave up for: requests shows that only within its own exception."""
    return getattr(exc.args[0], "reason", None) if exc.args else None


def _said(answer: Mapping[str, t.Any]) -> str:
    """The server's errors in one line."""
    errors = answer.get("errors")
    return " ".join(" ".join(str(x) for x in errors).split())[:200] if isinstance(errors, list) else ""


def _checked(identifier: str) -> str:
    """An id as a part of a path. Nothing else than the API's ids may get there, least of all slashes and dots."""
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", identifier):
        raise EscrowError(f"{identifier[:64]!r} is not the id of an account or a tunnel")
    return identifier


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
