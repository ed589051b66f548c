# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""A Vault or OpenBao server through hvac, over the session that repeats what may be repeated.

Whatever hvac raises becomes one line without secrets, and says whether a request may have been carried out.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _http
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import redact
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError

HAS_HVAC = True
try:
    import hvac
except ImportError:
    HAS_HVAC = False

LOGINS = 2  # the second one replaces a token that has expired on the way

Answer = dict[str, t.Any]
Work = Callable[[t.Any], t.Any]

# 412: the node that answered has not caught up with an earlier write; Vault asks to repeat. All may be repeated: a
# write is harmless because it names the version that it replaces.
_RULES = _http.Rules(
    again=lambda status: status in (408, 412, 429) or 500 <= status <= 599,
    safe=lambda method, url: True,
    limited=lambda answer: answer.status == 429,
    refused=lambda answer: False,
)
_EXPIRED = "the token is not valid, or has expired: get a new one"


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
        if parts.scheme == "http" and self.validate_certs and not _http.is_loopback(parts.hostname):
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


class Unsure(EscrowError):
    """No usable answer: what was asked for may have been done or not."""


class Conflict(EscrowError):
    """Check-and-set has refused a write."""


class NotThere(EscrowError):
    """There is no such secret. ``metadata`` is that of its latest version if there was one."""

    def __init__(self, metadata: Answer) -> None:
        super().__init__("there is no such secret")
        self.metadata = metadata


class _Denied(EscrowError):
    """The token is not good enough, or not good any more."""


class VaultServer:
    """One server, for several threads. Every method raises EscrowError."""

    def __init__(self, connection: Kv2Connection) -> None:
        if not HAS_HVAC:
            raise EscrowError("the backend vault_kv2 needs the Python library hvac on the controller: pip install hvac")
        self._connection = connection
        self._lock = threading.Lock()
        self._logins = 0
        self._lost = False
        namespace = f" (namespace {connection.namespace})" if connection.namespace else ""
        self._name = f"the escrow {connection.url}{namespace}"
        try:
            self._session = _http.Session(
                _http.Server(
                    url=connection.url,
                    name="the escrow",
                    timeout=connection.timeout,
                    retries=connection.retries,
                    ca_path=connection.ca_path,
                    validate_certs=connection.validate_certs,
                    pool=connection.workers,
                    url_option="escrow.url",
                    ca_option="escrow.ca_path",
                ),
                _RULES,
            )
        except CloudflareError as exc:
            raise EscrowError(exc.message) from None
        self._client = hvac.Client(
            url=connection.url.rstrip("/"),
            token=connection.token or "",
            namespace=connection.namespace,
            session=self._session,
            allow_redirects=False,
            strict_http=True,
        )

    def ask(self, doing: str, work: Work) -> Answer:
        """What the server answers to ``work``, which gets hvac's client. An expired AppRole token is replaced once."""
        self.log_in()
        token = self._client.token
        try:
            return self._sent(doing, work)
        except _Denied as exc:
            if self._log_in(token):
                with contextlib.suppress(_Denied):
                    return self._sent(doing, work)
            # A token without the default policy may not even look at itself.
            raise self.error(str(exc) if self._is_valid() else f"{_EXPIRED}; if it is good, {exc}") from None

    def ask_if_allowed(self, doing: str, work: Work) -> Answer | None:
        """The same, but None if the token's policy does not allow it."""
        self.log_in()
        try:
            return self._sent(doing, work)
        except _Denied:
            return None

    def data(self, answer: Answer) -> Answer:
        """The part of an answer that holds what was asked for."""
        data = answer.get("data")
        if not isinstance(data, dict):
            raise self._stranger()
        return data

    def check_engine(self) -> None:
        """Makes sure that there is an engine of the right version, as far as the token may know."""
        mount = self._connection.mount
        answer = self.ask_if_allowed(
            "look at the engine", lambda client: client.read(f"sys/internal/ui/mounts/{mount}")
        )
        if answer:
            data = self.data(answer)
            if data.get("type") not in ("kv", "generic") or (data.get("options") or {}).get("version") != "2":
                raise self.error(f"the secrets engine at {mount!r} is not KV version 2")
            actual = str(data.get("path") or mount).strip("/")
            if actual != mount:
                raise self.error(f"the secrets engine is at {actual!r}, not at {mount!r}: set escrow.mount to that")

    def check_capabilities(self, path: str) -> None:
        """Makes sure that the token may write and read, as far as it may know."""
        answer = self.ask_if_allowed("look at the policy", lambda client: client.sys.get_capabilities(paths=[path]))
        if answer is None:
            return
        allowed = set((answer.get("data") or {}).get(path) or answer.get("capabilities") or ())
        missing = {"create", "read", "update"} - allowed
        if missing and "root" not in allowed:
            raise self.error(f"the token's policy does not allow {', '.join(sorted(missing))} on {path}")

    def log_in(self) -> None:
        """Gets a token by AppRole, if that is what the user has, and there is none yet."""
        self._log_in(None)

    def close(self) -> None:
        """Revokes the token of a login, unless the server is out of reach, and ends the connections. Never raises."""
        with contextlib.suppress(Exception):
            if self._logins and self._client.token and not self._lost:
                self._client.auth.token.revoke_self()
        self._client.token = self._connection.token or ""
        self._logins = 0
        self._session.close()

    def about(self, why: str) -> str:
        """A line about this server."""
        return f"{self._name}: {why}"

    def error(self, why: str) -> EscrowError:
        """An error of this server."""
        return EscrowError(self.about(why))

    # -- parts ------------------------------------------------------------------------------------------------------

    def _log_in(self, stale: str | None) -> bool:
        """Gets a token if there is none, or in place of ``stale``. Returns whether there is another one now."""
        connection = self._connection
        if connection.token:
            return False
        with self._lock:
            if (self._client.token or None) != stale:
                return True
            if self._logins == LOGINS:
                return False
            self._logins += 1
            self._client.token = None
            self._sent("log in by AppRole", self._login)
            return True

    def _login(self, client: t.Any) -> Answer:
        """hvac keeps the token."""
        connection = self._connection
        try:
            client.auth.approle.login(
                role_id=connection.role_id, secret_id=connection.secret_id, mount_point=connection.auth_mount
            )
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden, hvac.exceptions.InvalidPath):
            raise self.error(
                "the AppRole login is refused: check escrow.role_id, escrow.secret_id, escrow.auth_mount and"
                " escrow.namespace"
            ) from None
        except (KeyError, TypeError):
            raise self._stranger() from None
        return {}

    def _is_valid(self) -> bool:
        try:
            self._sent("look at the token", lambda client: client.auth.token.lookup_self())
        except EscrowError:
            return False
        return True

    def _sent(self, doing: str, work: Work) -> Answer:
        """What the server answers with the token that there is. Raises _Denied, Unsure and others."""
        try:
            answer = self._received(doing, work)
        except Unsure:
            self._lost = True
            raise
        self._lost = False
        return answer

    def _received(self, doing: str, work: Work) -> Answer:
        try:
            answer = work(self._client)
        except _http.NoAnswer as exc:
            raise Unsure(self.about(exc.why)) from None
        except hvac.exceptions.VaultError as exc:
            raise self._refusal(doing, exc) from None
        if answer is None or isinstance(answer, dict):
            return answer or {}
        status = getattr(answer, "status_code", 0)  # hvac has found no JSON
        if status == 204:
            return {}
        if 300 <= status < 400:
            why = "the server redirects, and a token is never sent elsewhere: set escrow.url to the active node"
            raise Unsure(self.about(why))
        raise self._stranger()

    def _refusal(self, doing: str, exc: t.Any) -> EscrowError:
        """What an answer that is an error means."""
        errors, body = hvac.exceptions, _body(exc)
        said = self._said(body)
        if isinstance(exc, (errors.Forbidden, errors.Unauthorized)):
            return _Denied(f"the policy does not allow the token to {doing}")
        if isinstance(exc, errors.InvalidPath):
            return self._missing(body, said)
        if isinstance(exc, errors.RateLimitExceeded):
            return self.error("the server limits the rate of requests: lower escrow.workers, or try later")
        if isinstance(exc, errors.InvalidRequest):
            if "check-and-set" in said:
                return Conflict(self.about(said))
            return self.error(f"the server refuses to {doing}{f' ({said})' if said else ''}")
        if "sealed" in said:
            return Unsure(self.about("the server is sealed: unseal it, then run again"))
        return Unsure(self.about(f"the server fails to {doing}{f' ({said})' if said else ''}: look at its log"))

    def _missing(self, body: Mapping[str, t.Any], said: str) -> EscrowError:
        """A secret that is not there, no engine, or no Vault at all."""
        if "no handler" in said or "namespace" in said:
            mount = self._connection.mount
            return self.error(f"there is no secrets engine at {mount!r}: set escrow.mount or escrow.namespace")
        data = body.get("data")
        metadata = data.get("metadata") if isinstance(data, Mapping) else None
        if isinstance(metadata, dict):
            return NotThere(metadata)
        return NotThere({}) if body.get("errors") == [] else self._stranger()

    def _stranger(self) -> Unsure:
        return Unsure(self.about("it does not answer like a Vault server; check escrow.url and what is in between"))

    def _said(self, body: Mapping[str, t.Any]) -> str:
        """The server's errors in one line, without a token."""
        errors = body.get("errors")
        text = " ".join(" ".join(str(x) for x in errors).split())[:200] if isinstance(errors, list) else ""
        secrets = (self._connection.token, self._connection.secret_id, self._client.token)
        return redact(text, [x for x in secrets if x])


def _body(exc: t.Any) -> Mapping[str, t.Any]:
    """The JSON of an error. hvac passes it on only if the type of the content is exactly as it expects."""
    try:
        body = json.loads(exc.text or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
