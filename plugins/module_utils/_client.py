# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The Cloudflare API over one keep-alive requests session.

Knows HTTP, the envelope and the eight tunnel operations; nothing of Ansible. Facts: Cloudflare's OpenAPI description
of magic/ipsec_tunnels, its Python SDK and its rate limit page.
"""

from __future__ import annotations

import re
import time
import traceback
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    AnswerError,
    ApiError,
    AuthError,
    CloudflareError,
    InputError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TransportError,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import psks_in, redact
from ansible_collections.magicwan.cloudflare.plugins.module_utils._version import VERSION

REQUESTS_IMPORT_ERROR: str | None
try:
    import requests
    from requests.adapters import HTTPAdapter
    from requests.auth import AuthBase
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError
    from urllib3.util.retry import Retry
except ImportError:
    REQUESTS_IMPORT_ERROR = traceback.format_exc()
    AuthBase = object  # type: ignore[assignment,misc]
    Retry = object  # type: ignore[assignment,misc]
else:
    REQUESTS_IMPORT_ERROR = None

DEFAULT_BASE_URL = "https://api.cloudflare.com/client/v4"
CONNECT_TIMEOUT = 10.0
RETRIED_STATUSES = (408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 527, 530)
BACKOFF_FACTOR = 0.5
MAX_PAUSE = 600.0
_BUDGET = re.compile(r";\s*r=(\d+)\s*;\s*t=(\d+)")

# ASSUMPTION GRAPHQL: the names of the types are those of Cloudflare's public examples; there is no published schema.
HEALTH_DATASET = "magicTransitTunnelHealthChecksAdaptiveGroups"
HEALTH_QUERY = f"""
query TunnelHealth($account: String!, $names: [String!], $since: Time!, $until: Time!, $limit: Int!) {{
  viewer {{
    accounts(filter: {{accountTag: $account}}) {{
      {HEALTH_DATASET}(
        limit: $limit,
        filter: {{datetime_geq: $since, datetime_lt: $until, tunnelName_in: $names}}
      ) {{
        count
        avg {{ tunnelState }}
        dimensions {{ tunnelName edgeColoName edgeColoCity edgeColoCountry }}
      }}
    }}
  }}
}}
"""
HEALTH_ROWS = 10_000  # the most that one query may return
HEALTH_NAMES = 25  # so many tunnels in some 350 data centres stay below that

Tunnel = dict[str, t.Any]


@dataclass(frozen=True)
class Connection:
    """How to reach the API. ``timeout`` is in seconds; ``ca_path`` is a PEM bundle."""

    account_id: str
    api_token: str | None = None
    api_email: str | None = None
    api_key: str | None = None
    base_url: str = DEFAULT_BASE_URL
    timeout: float = 60.0
    retries: int = 6
    ca_path: str | None = None
    validate_certs: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9A-Za-z]{1,32}", self.account_id):
            raise InputError("account_id must be Cloudflare's account identifier (32 hexadecimal digits)")
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise InputError("base_url must be an http or https URL such as " + DEFAULT_BASE_URL)
        if url.username or url.password:
            raise InputError("base_url must not hold credentials")
        if url.scheme == "http" and not _is_loopback(url.hostname):
            raise InputError("base_url must use https: plain http is accepted for an address of this machine only")
        if not self.api_token and not (self.api_email and self.api_key):
            raise InputError("no credentials: set api_token (CLOUDFLARE_API_TOKEN), or api_email and api_key")
        for field, value in (("api_token", self.api_token), ("api_email", self.api_email), ("api_key", self.api_key)):
            if value and not re.fullmatch(r"[\x21-\x7e]+", value):
                raise InputError(f"{field} holds a blank, a line break or a character outside ASCII")


@dataclass(frozen=True)
class PskAnswer:
    """What POST /psk said. ``repeated``: an earlier attempt of the same call may have been carried out, too."""

    applied: dict[str, dict[str, t.Any]]
    unapplied: dict[str, str | None]
    repeated: bool


class _Auth(AuthBase):
    """Sets the credentials itself, so that requests never replaces them by an entry of ~/.netrc."""

    def __init__(self, connection: Connection) -> None:
        if connection.api_token:
            self._headers = {"Authorization": "Bearer " + connection.api_token}
        else:
            self._headers = {"X-Auth-Email": connection.api_email or "", "X-Auth-Key": connection.api_key or ""}

    def __call__(self, request: t.Any) -> t.Any:
        request.headers.update(self._headers)
        return request


class _Retry(Retry):
    """urllib3's rules, but for one: a 429 was not carried out, so it may be repeated whatever the method."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        if status_code == 429:
            return bool(self.total)
        return bool(super().is_retry(method, status_code, has_retry_after))

    def increment(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        """The last error alone does not tell whether an earlier attempt was carried out: hands the attempts on."""
        try:
            return super().increment(*args, **kwargs)
        except MaxRetryError as exc:
            exc.attempts = self.history  # type: ignore[attr-defined]
            raise


class Client:
    """One account's IPsec tunnels. Not safe for use from several threads.

    ``reserve`` is how many requests the rate limit must still allow, so that another one may be sent at once.
    """

    def __init__(self, connection: Connection, secrets: Iterable[str] = (), reserve: int = 1) -> None:
        self._connection = connection
        self._reserve = reserve
        self._allowed_at = 0.0
        self._secrets = {s for s in (connection.api_token, connection.api_key, *secrets) if s}
        self._base = connection.base_url.rstrip("/")
        self._tunnels = f"/accounts/{connection.account_id}/magic/ipsec_tunnels"
        host = urlsplit(self._base).hostname or ""
        # No proxy reaches an address of this machine, and plain http through one would show the credentials.
        self._proxies = {"no_proxy": host} if _is_loopback(host) else None
        self._session = self._make_session()

    def _make_session(self) -> requests.Session:
        session = requests.Session()
        session.auth = _Auth(self._connection)
        session.headers.update(
            {
                "User-Agent": f"magicwan.cloudflare/{VERSION} (Ansible collection)",
                "Accept": "application/json",
                "x-magic-new-hc-target": "true",
            }
        )
        # requests takes the adapter with the longest matching prefix: only under these may a POST be repeated.
        session.mount(self._base, self._adapter(frozenset({"GET", "PUT", "DELETE"})))
        session.mount(self._base + self._tunnels + "/psk", self._adapter(frozenset({"POST"})))
        session.mount(self._base + "/graphql", self._adapter(frozenset({"POST"})))
        return session

    def _adapter(self, methods: frozenset[str]) -> HTTPAdapter:
        options: dict[str, t.Any] = {
            "total": self._connection.retries,
            "other": 0,  # TLS: a second try does not help, and urllib3 would make it for a create, too
            "redirect": False,
            "status_forcelist": RETRIED_STATUSES,
            "allowed_methods": methods,
            "backoff_factor": BACKOFF_FACTOR,
            "raise_on_status": False,
            "respect_retry_after_header": True,
        }
        try:
            retry = _Retry(backoff_jitter=BACKOFF_FACTOR, **options)
        except TypeError:  # urllib3 1.26 has no jitter
            retry = _Retry(**options)
        return HTTPAdapter(max_retries=retry)

    # -- operations -------------------------------------------------------------------------------------------------

    def list_tunnels(self) -> list[Tunnel]:
        """All tunnels of the account, in the API's order. Raises AnswerError when the list cannot be trusted."""
        result, dummy, envelope = self._call("GET", self._tunnels, doing="listing the IPsec tunnels")
        tunnels = result.get("ipsec_tunnels") if isinstance(result, Mapping) else result
        if tunnels is None:
            tunnels = []
        if not isinstance(tunnels, list) or not all(isinstance(x, dict) and x.get("id") for x in tunnels):
            raise AnswerError("listing the IPsec tunnels: the answer holds no list of tunnels")
        pages = (envelope.get("result_info") or {}).get("total_pages")
        if isinstance(pages, int) and pages > 1:
            raise AnswerError(f"listing the IPsec tunnels: the answer is one page of {pages}; this is not supported")
        if len({x["id"] for x in tunnels}) != len(tunnels):
            raise AnswerError("listing the IPsec tunnels: the answer holds one tunnel id twice; try again later")
        return tunnels

    def get_tunnel(self, tunnel_id: str) -> Tunnel:
        """One tunnel by its id. Raises NotFoundError."""
        result, dummy, dummy2 = self._call("GET", self._one(tunnel_id), doing=f"reading tunnel {tunnel_id}")
        return _tunnel_of(result, "ipsec_tunnel", f"reading tunnel {tunnel_id}")

    def create_tunnel(self, body: Mapping[str, t.Any], *, validate_only: bool = False) -> Tunnel:
        """Creates a tunnel; never again after a lost answer. With ``validate_only``: checks, returns {}."""
        self._secrets.update(psks_in([body]))
        doing = f"{'validating' if validate_only else 'creating'} tunnel {body.get('name')!r}"
        result, dummy, dummy2 = self._call("POST", self._tunnels, body=body, validate_only=validate_only, doing=doing)
        if validate_only:
            return {}
        if isinstance(result, Mapping) and isinstance(result.get("ipsec_tunnels"), list) and result["ipsec_tunnels"]:
            return dict(result["ipsec_tunnels"][0])  # the API's older shape, still in its documentation
        return _tunnel_of(result, "ipsec_tunnel", doing)

    def update_tunnel(self, tunnel_id: str, body: Mapping[str, t.Any], *, validate_only: bool = False) -> Tunnel:
        """Replaces the writable part of a tunnel. With ``validate_only``: checks, returns {}."""
        self._secrets.update(psks_in([body]))
        doing = f"{'validating' if validate_only else 'updating'} tunnel {body.get('name') or tunnel_id!r}"
        result, dummy, dummy2 = self._call(
            "PUT", self._one(tunnel_id), body=body, validate_only=validate_only, doing=doing
        )
        if validate_only:
            return {}
        _must_be_done(result, "modified", doing)
        return _tunnel_of(result, "modified_ipsec_tunnel", doing)

    def delete_tunnel(self, tunnel_id: str, *, validate_only: bool = False) -> None:
        """Deletes a tunnel; one that is gone already counts as deleted."""
        doing = f"{'validating the deletion of' if validate_only else 'deleting'} tunnel {tunnel_id}"
        try:
            result, dummy, dummy2 = self._call("DELETE", self._one(tunnel_id), validate_only=validate_only, doing=doing)
        except NotFoundError:
            return
        if not validate_only:
            _must_be_done(result, "deleted", doing)

    def set_psks(
        self,
        psks: Mapping[str, str],
        *,
        validate_only: bool = False,
        before_each: t.Callable[[], None] | None = None,
    ) -> PskAnswer:
        """Sets the PSKs of several tunnels in one call; ``psks`` maps tunnel ids to keys."""
        if before_each is not None:
            before_each()
        self._secrets.update(psks.values())
        doing = f"{'validating' if validate_only else 'setting'} {len(psks)} PSKs"
        body = {"psks": [{"id": tunnel_id, "psk": psk} for tunnel_id, psk in psks.items()]}
        result, repeated, dummy = self._call(
            "POST", self._tunnels + "/psk", body=body, validate_only=validate_only, doing=doing
        )
        result = result if isinstance(result, Mapping) else {}
        applied, unapplied = result.get("successfully_applied_psks"), result.get("unapplied_psks")
        return PskAnswer(
            applied={k: v for k, v in applied.items() if isinstance(v, dict)} if isinstance(applied, dict) else {},
            unapplied={k: self._clean(v) for k, v in unapplied.items()} if isinstance(unapplied, dict) else {},
            repeated=repeated,
        )

    def tunnel_health(self, names: Sequence[str], since: str, until: str) -> list[dict[str, t.Any]]:
        """The health dataset's rows for these tunnels between two RFC 3339 times: one a tunnel and data centre.

        As many queries as the number of names needs. Raises AnswerError when one tunnel alone has too many rows.
        """
        rows: list[dict[str, t.Any]] = []
        waiting = [list(names[i : i + HEALTH_NAMES]) for i in range(0, len(names), HEALTH_NAMES)]
        while waiting:
            some = waiting.pop(0)
            found = self._health_rows(some, since, until)
            if len(found) < HEALTH_ROWS:
                rows += found
            elif len(some) > 1:
                half = len(some) // 2
                waiting[:0] = [some[:half], some[half:]]
            else:
                raise AnswerError(f"reading the health of tunnel {some[0]!r}: too many rows; ask for a shorter window")
        return rows

    def _health_rows(self, names: Sequence[str], since: str, until: str) -> list[dict[str, t.Any]]:
        doing = f"reading the health of {len(names)} tunnels"
        variables = {
            "account": self._connection.account_id,
            "names": list(names),
            "since": since,
            "until": until,
            "limit": HEALTH_ROWS,
        }
        response = self._request(
            "POST", "/graphql", body={"query": HEALTH_QUERY, "variables": variables}, doing=doing, writes=False
        )
        answer = _json_of(response)
        if answer is None or not 200 <= response.status_code < 300 or "success" in answer:
            raise self._answer_error(response, _envelope_of(response), doing, False, False)
        errors = answer.get("errors")
        if errors:
            first = errors[0] if isinstance(errors, list) and isinstance(errors[0], Mapping) else {}
            detail = self._clean(first.get("message")) or "no reason given"
            raise ApiError(
                f"{doing}: {detail} (GraphQL); the credentials need the permission Account Analytics Read",
                status=response.status_code,
                ray_id=self._clean(response.headers.get("cf-ray")),
                detail=detail,
            )
        try:
            found = answer["data"]["viewer"]["accounts"][0][HEALTH_DATASET]
            complete = all(x["dimensions"]["tunnelName"] and x["count"] and "tunnelState" in x["avg"] for x in found)
        except (KeyError, IndexError, TypeError):
            complete = False
        if not complete:
            raise AnswerError(f"{doing}: the answer holds no health data", status=response.status_code)
        return list(found)

    # -- transport --------------------------------------------------------------------------------------------------

    def _one(self, tunnel_id: str) -> str:
        if not re.fullmatch(r"[0-9A-Za-z_-]{1,32}", tunnel_id) or tunnel_id == "psk":
            raise InputError(f"{tunnel_id!r} is not a tunnel id (at most 32 letters and digits)")
        return f"{self._tunnels}/{tunnel_id}"

    def _call(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        body: Mapping[str, t.Any] | None = None,
        validate_only: bool = False,
    ) -> tuple[t.Any, bool, Mapping[str, t.Any]]:
        """One API call. Returns ``result``, whether an earlier attempt may have been carried out, and the envelope."""
        writes = method != "GET" and not validate_only
        response = self._request(method, path, body=body, validate_only=validate_only, doing=doing, writes=writes)
        repeated = writes and _may_have_been_done_before(response)
        envelope = _envelope_of(response)
        if not (200 <= response.status_code < 300 and envelope is not None and envelope.get("success") is True):
            raise self._answer_error(response, envelope, doing, writes, repeated)
        return envelope.get("result"), repeated, envelope

    def _request(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        writes: bool,
        body: Mapping[str, t.Any] | None = None,
        validate_only: bool = False,
    ) -> requests.Response:
        """The answer to one request, whatever it says; urllib3 has repeated what may be repeated."""
        connection = self._connection
        time.sleep(max(0.0, self._allowed_at - time.monotonic()))
        try:
            response = self._session.request(
                method,
                self._base + path,
                params={"validate_only": "true"} if validate_only else None,
                json=body,
                timeout=(min(CONNECT_TIMEOUT, connection.timeout), connection.timeout),
                # Given with each request, because REQUESTS_CA_BUNDLE would override the session's setting.
                verify=(connection.ca_path or True) if connection.validate_certs else False,
                proxies=self._proxies,
                allow_redirects=False,
            )
        except (requests.RequestException, OSError, ValueError) as exc:
            raise self._transport_error(exc, doing, writes) from None
        self._allowed_at = time.monotonic() + _pause(response.headers.get("Ratelimit", ""), self._reserve)
        return response

    def _transport_error(self, exc: Exception, doing: str, writes: bool) -> TransportError:
        if isinstance(exc, requests.exceptions.SSLError):
            why = "TLS failed; check ca_path, validate_certs and the clock"
        elif isinstance(exc, requests.exceptions.ProxyError):
            why = "the proxy refused; check https_proxy and no_proxy"
        elif isinstance(exc, requests.exceptions.Timeout) or "timed out" in str(exc):
            why = f"no answer within {self._connection.timeout:g} s"
        elif isinstance(exc, (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            why = "the connection failed or was closed before the answer was complete"
        else:
            why = f"the request failed ({type(exc).__name__})"
        host = urlsplit(self._base).netloc
        unknown = writes and not _was_never_sent(exc)
        return TransportError(f"{doing}: {why} ({host}){_unknown(unknown)}", outcome_unknown=unknown)

    def _answer_error(
        self,
        response: requests.Response,
        envelope: Mapping[str, t.Any] | None,
        doing: str,
        writes: bool,
        repeated: bool,
    ) -> CloudflareError:
        status = response.status_code
        ray_id = self._clean(response.headers.get("cf-ray"))
        ray = f", cf-ray {ray_id}" if ray_id else ""
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("Location", "")).netloc or "nowhere"
            message = f"{doing}: the API redirects to {self._clean(target)}, which is refused; check base_url"
            return AnswerError(message + _unknown(repeated), status=status, ray_id=ray_id, outcome_unknown=repeated)
        if envelope is None:
            kind = "HTML" if "html" in response.headers.get("Content-Type", "").lower() else "no complete JSON"
            unknown = repeated or (writes and (status >= 500 or status == 408 or status < 300))
            error_class: type[CloudflareError] = ServerError if status >= 500 or status == 408 else AnswerError
            error_class = {401: AuthError, 403: AuthError, 404: NotFoundError, 429: RateLimitError}.get(
                status, error_class
            )
            return error_class(
                f"{doing}: HTTP {status} with {kind} instead of the API's answer{ray}{_unknown(unknown)}",
                status=status,
                ray_id=ray_id,
                outcome_unknown=unknown,
            )
        error = _first_error(envelope)
        code = error.get("code") if isinstance(error.get("code"), int) else None
        detail = self._clean(error.get("message")) or "no reason given"
        source = error.get("source")
        pointer = self._clean(source.get("pointer")) if isinstance(source, Mapping) else None
        error_class = {401: AuthError, 403: AuthError, 404: NotFoundError, 429: RateLimitError}.get(status, ApiError)
        hint = _HINTS.get(error_class, "")
        if status >= 500 or status == 408:
            error_class = ServerError
        unknown = repeated or (writes and (error_class is ServerError or status < 300))
        where = f" at {pointer}" if pointer else ""
        number = "" if code is None else f", code {code}"
        return error_class(
            f"{doing}: {detail}{where} (HTTP {status}{number}{ray}){hint}{_unknown(unknown)}",
            status=status,
            code=code,
            pointer=pointer,
            ray_id=ray_id,
            documentation_url=self._clean(error.get("documentation_url")),
            detail=detail,
            outcome_unknown=unknown,
        )

    def _clean(self, text: t.Any) -> str | None:
        """Text from outside as one short line without secrets."""
        if text is None or text == "":
            return None
        return " ".join(redact(str(text), self._secrets).split())[:300]


_HINTS: dict[type[ApiError], str] = {
    AuthError: "; check the credentials and their Magic WAN permission on this account",
    NotFoundError: "; check account_id and the tunnel",
    RateLimitError: "; wait for the rate limit to pass, or raise retries",
}


def _unknown(unknown: bool) -> str:
    return "; whether it was carried out is not known" if unknown else ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _pause(header: str, reserve: int) -> float:
    """Seconds until the rate limit allows ``reserve`` requests: one too many and all are refused for minutes."""
    return min(MAX_PAUSE, max((float(t) for r, t in _BUDGET.findall(header) if int(r) < reserve), default=0.0))


def _may_have_been_done_before(response: requests.Response) -> bool:
    """Whether an attempt that urllib3 repeated may have been carried out: all but a 429 or a refused connection."""
    history = getattr(getattr(response.raw, "retries", None), "history", ())
    return not all(_was_refused(attempt) for attempt in history)


def _was_refused(attempt: t.Any) -> bool:
    return attempt.status == 429 or isinstance(attempt.error, ConnectTimeoutError)


def _was_never_sent(exc: Exception) -> bool:
    """Whether no attempt of the call got further than the connection."""
    last = exc.args[0] if exc.args else None
    if not isinstance(last, MaxRetryError) or not isinstance(last.reason, ConnectTimeoutError):
        return False
    return all(_was_refused(attempt) for attempt in last.attempts)  # type: ignore[attr-defined]


def _json_of(response: requests.Response) -> Mapping[str, t.Any] | None:
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, Mapping) else None


def _envelope_of(response: requests.Response) -> Mapping[str, t.Any] | None:
    envelope = _json_of(response)
    return envelope if envelope is not None and "success" in envelope else None


def _first_error(envelope: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    errors = envelope.get("errors")
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], Mapping):
        return {}
    chain = errors[0].get("error_chain")
    if isinstance(chain, list) and chain and isinstance(chain[0], Mapping):
        return {**errors[0], **chain[0]}
    return errors[0]


def _tunnel_of(result: t.Any, key: str, doing: str) -> Tunnel:
    tunnel = result.get(key, result) if isinstance(result, Mapping) else None
    if not isinstance(tunnel, dict) or not tunnel.get("id"):
        raise AnswerError(f"{doing}: the answer holds no tunnel", status=200, outcome_unknown=True)
    return tunnel


def _must_be_done(result: t.Any, key: str, doing: str) -> None:
    if isinstance(result, Mapping) and result.get(key) is False:
        raise ApiError(f"{doing}: the API answers {key}: false, so nothing was changed", status=200)
