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
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _answers, _http
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    AnswerError,
    ApiError,
    CloudflareError,
    InputError,
    NotFoundError,
    StoppedError,
    TransportError,
    internal_error,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import psks_in, redact
from ansible_collections.magicwan.cloudflare.plugins.module_utils._version import VERSION

REQUESTS_IMPORT_ERROR = _http.REQUESTS_IMPORT_ERROR
DEFAULT_BASE_URL = "https://api.cloudflare.com/client/v4"
MAX_PAUSE = 600.0
MOST_PAGES = 1000
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
        if url.scheme == "http" and not _http.is_loopback(url.hostname):
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


class _Auth:
    """The credentials, in one scheme."""

    def __init__(self, connection: Connection) -> None:
        if connection.api_token:
            self._headers = {"Authorization": "Bearer " + connection.api_token}
        else:
            self._headers = {"X-Auth-Email": connection.api_email or "", "X-Auth-Key": connection.api_key or ""}

    def __call__(self, request: t.Any) -> t.Any:
        request.headers.update(self._headers)
        return request


class Client:
    """One account's IPsec tunnels. Not safe for use from several threads.

    ``reserve`` is how many requests the rate limit must still allow, so that another one may be sent at once. ``say``
    gets a line when there is something to wait for; ``sleep`` waits, and is there for tests.
    """

    def __init__(
        self,
        connection: Connection,
        secrets: Iterable[str] = (),
        reserve: int = 1,
        *,
        say: Callable[[str], None] | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._connection = connection
        self._reserve = reserve
        self._allowed_at = 0.0
        self._say = say
        self._sleep = sleep
        self._secrets = {s for s in (connection.api_token, connection.api_key, *secrets) if s}
        self._base = connection.base_url.rstrip("/")
        self._tunnels = f"/accounts/{connection.account_id}/magic/ipsec_tunnels"
        self._session = self._make_session()

    def _make_session(self) -> _http.Session:
        connection = self._connection
        # The same PSKs may be set again, and a query may be asked again. A tunnel must not be created again.
        repeatable = (self._base + self._tunnels + "/psk", self._base + "/graphql")
        session = _http.Session(
            _http.Server(
                url=self._base,
                name="Cloudflare's API",
                timeout=connection.timeout,
                retries=connection.retries,
                ca_path=connection.ca_path,
                validate_certs=connection.validate_certs,
            ),
            _answers.rules(lambda method, url: method != "POST" or url in repeatable),
            auth=_Auth(connection),
            say=self._say,
            sleep=self._sleep,
        )
        session.headers.update(
            {
                "User-Agent": f"magicwan.cloudflare/{VERSION} (Ansible collection)",
                "Accept": "application/json",
                "x-magic-new-hc-target": "true",
            }
        )
        return session

    # -- operations -------------------------------------------------------------------------------------------------

    def list_tunnels(self) -> list[Tunnel]:
        """All tunnels of the account, in the API's order. Raises AnswerError when the list cannot be trusted."""
        doing = "listing the IPsec tunnels"
        tunnels: list[Tunnel] = []
        page: dict[str, t.Any] = {}
        for dummy in range(MOST_PAGES):
            envelope, dummy2 = self._call("GET", self._tunnels, doing=doing, params=page)
            found = _tunnels_of(envelope.result, doing)
            _whole_page(found, envelope.info, doing)
            tunnels += found
            following = _next_page(envelope.info, page, len(found), len(tunnels))
            if following is None:
                return _complete(tunnels, envelope.info, doing)
            if following == page:
                break
            page = following
        raise AnswerError(f"{doing}: the list of pages does not end")

    def get_tunnel(self, tunnel_id: str) -> Tunnel:
        """One tunnel by its id. Raises NotFoundError."""
        envelope, dummy = self._call("GET", self._one(tunnel_id), doing=f"reading tunnel {tunnel_id}")
        return _tunnel_of(envelope.result, "ipsec_tunnel", f"reading tunnel {tunnel_id}")

    def create_tunnel(self, body: Mapping[str, t.Any], *, validate_only: bool = False) -> Tunnel:
        """Creates a tunnel; never again after a lost answer. With ``validate_only``: checks, returns {}."""
        self._secrets.update(psks_in([body]))
        doing = f"{'validating' if validate_only else 'creating'} tunnel {body.get('name')!r}"
        envelope, dummy = self._call("POST", self._tunnels, body=body, validate_only=validate_only, doing=doing)
        result = envelope.result
        if validate_only:
            return {}
        if isinstance(result, Mapping) and isinstance(result.get("ipsec_tunnels"), list) and result["ipsec_tunnels"]:
            result = result["ipsec_tunnels"][0]  # the API's older shape, still in its documentation
        return _tunnel_of(result, "ipsec_tunnel", doing)

    def update_tunnel(self, tunnel_id: str, body: Mapping[str, t.Any], *, validate_only: bool = False) -> Tunnel:
        """Replaces the writable part of a tunnel. With ``validate_only``: checks, returns {}.

        An answer that says that the tunnel was modified, and does not show it, is followed by one read.
        """
        self._secrets.update(psks_in([body]))
        doing = f"{'validating' if validate_only else 'updating'} tunnel {body.get('name') or tunnel_id!r}"
        envelope, dummy = self._call("PUT", self._one(tunnel_id), body=body, validate_only=validate_only, doing=doing)
        if validate_only:
            return {}
        result = envelope.result
        _must_be_done(result, "modified", doing)
        if isinstance(result, Mapping) and result.get("modified") is True:
            shown = result.get("modified_ipsec_tunnel")
            if isinstance(shown, dict) and shown.get("id") == tunnel_id and shown.get("name"):
                return _tunnel_of(result, "modified_ipsec_tunnel", doing)
            try:
                return self.get_tunnel(tunnel_id)
            except CloudflareError as exc:
                raise AnswerError(f"{doing}: carried out, but then {exc.message}", outcome_unknown=True) from None
        return _tunnel_of(result, "modified_ipsec_tunnel", doing)

    def delete_tunnel(self, tunnel_id: str, *, validate_only: bool = False) -> None:
        """Deletes a tunnel; one that is gone already counts as deleted."""
        doing = f"{'validating the deletion of' if validate_only else 'deleting'} tunnel {tunnel_id}"
        try:
            envelope, dummy = self._call("DELETE", self._one(tunnel_id), validate_only=validate_only, doing=doing)
        except NotFoundError:
            return
        if not validate_only:
            _must_be_done(envelope.result, "deleted", doing)

    def set_psks(
        self,
        psks: Mapping[str, str],
        *,
        validate_only: bool = False,
        before_each: Callable[[], None] | None = None,
    ) -> PskAnswer:
        """Sets the PSKs of several tunnels in one call; ``psks`` maps tunnel ids to keys.

        ``before_each`` is called right before every attempt, and stops the call by raising, best a CloudflareError:
        then StoppedError is raised, whose ``outcome_unknown`` tells whether an earlier attempt may have been carried
        out.
        """
        self._secrets.update(psks.values())
        doing = f"{'validating' if validate_only else 'setting'} {len(psks)} PSKs"
        body = {"psks": [{"id": tunnel_id, "psk": psk} for tunnel_id, psk in psks.items()]}
        envelope, repeated = self._call(
            "POST",
            self._tunnels + "/psk",
            body=body,
            validate_only=validate_only,
            doing=doing,
            before_each=before_each,
            hints=dict.fromkeys((*_answers.NO_ROUTE, 10405), _NO_BULK_ENDPOINT),
        )
        result = envelope.result if isinstance(envelope.result, Mapping) else {}
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
        answer = self._request(
            "POST", "/graphql", body={"query": HEALTH_QUERY, "variables": variables}, doing=doing, writes=False
        )
        said = _answers.json_of(answer)
        if said is None or not 200 <= answer.status < 300 or "success" in said:
            raise _answers.error_of(answer, doing, self._clean, writes=False)
        errors = said.get("errors")
        if errors:
            first = errors[0] if isinstance(errors, list) and isinstance(errors[0], Mapping) else {}
            detail = self._clean(first.get("message")) or "no reason given"
            raise ApiError(
                f"{doing}: {detail} (GraphQL); the credentials need the permission Account Analytics Read",
                status=answer.status,
                ray_id=self._clean(answer.headers.get("cf-ray")),
                detail=detail,
            )
        try:
            found = said["data"]["viewer"]["accounts"][0][HEALTH_DATASET]
            complete = all(x["dimensions"]["tunnelName"] and x["count"] and "tunnelState" in x["avg"] for x in found)
        except (KeyError, IndexError, TypeError):
            complete = False
        if not complete:
            raise AnswerError(f"{doing}: the answer holds no health data", status=answer.status)
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
        params: Mapping[str, t.Any] | None = None,
        validate_only: bool = False,
        before_each: Callable[[], None] | None = None,
        hints: Mapping[int, str] | None = None,
    ) -> tuple[_answers.Envelope, bool]:
        """One API call. Returns the envelope of its success, and whether an earlier attempt may have been done, too."""
        writes = method != "GET" and not validate_only
        answer = self._request(
            method,
            path,
            doing=doing,
            writes=writes,
            body=body,
            params={**(params or {}), **({"validate_only": "true"} if validate_only else {})},
            before_each=before_each,
        )
        envelope = _answers.envelope_of(answer)
        if not (200 <= answer.status < 300 and envelope is not None and envelope.success):
            raise _answers.error_of(answer, doing, self._clean, writes=writes, hints=hints)
        return envelope, answer.repeated

    def _request(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        writes: bool,
        body: Mapping[str, t.Any] | None = None,
        params: Mapping[str, t.Any] | None = None,
        before_each: Callable[[], None] | None = None,
    ) -> _http.Answer:
        """The answer to one request, whatever it says; the session has repeated what may be repeated."""
        self._wait_for_the_rate_limit()
        try:
            answer = self._session.exchange(
                method, self._base + path, json=body, params=params or None, before_each=before_each
            )
        except _http.NoAnswer as exc:
            unknown = writes and exc.maybe_done
            if exc.stopped_by is not None:
                raise _stopped(exc.stopped_by, doing, unknown) from exc.stopped_by
            text = f"{doing}: {exc.why} ({urlsplit(self._base).netloc}){_answers.UNKNOWN if unknown else ''}"
            raise TransportError(text, outcome_unknown=unknown) from None
        self._allowed_at = time.monotonic() + _pause(answer.headers.get("Ratelimit", ""), self._reserve)
        return answer if writes else replace(answer, repeated=False)

    def _wait_for_the_rate_limit(self) -> None:
        pause = self._allowed_at - time.monotonic()
        if pause <= 0:
            return
        if self._say is not None and pause >= _http.TOLD_PAUSE:
            self._say(f"Cloudflare's API: the rate limit is used up; waiting {pause:.0f} s before the next request")
        (self._sleep or time.sleep)(pause)

    def _clean(self, text: t.Any) -> str | None:
        """Text from outside as one short line without secrets."""
        if text is None or text == "":
            return None
        return " ".join(redact(str(text), self._secrets).split())[:300]


_NO_BULK_ENDPOINT = (
    "if account_id is right, this account has no endpoint that sets PSKs in bulk (POST .../ipsec_tunnels/psk); ask"
    " Cloudflare for it"
)


def _stopped(reason: Exception, doing: str, unknown: bool) -> StoppedError:
    """What the caller has said right before an attempt. The text of an exception that nobody foresaw stays inside."""
    why = reason.message if isinstance(reason, CloudflareError) else internal_error(reason).message
    return StoppedError(
        f"{doing}: stopped before it was sent{' again' if unknown else ''}: {why}{_answers.UNKNOWN if unknown else ''}",
        outcome_unknown=unknown,
    )


def _pause(header: str, reserve: int) -> float:
    """Seconds until the rate limit allows ``reserve`` requests: one too many and all are refused for minutes."""
    return min(MAX_PAUSE, max((float(t) for r, t in _BUDGET.findall(header) if int(r) < reserve), default=0.0))


def _tunnels_of(result: t.Any, doing: str) -> list[Tunnel]:
    tunnels = result.get("ipsec_tunnels") if isinstance(result, Mapping) else result
    if tunnels is None:
        return []
    if not isinstance(tunnels, list) or not all(isinstance(x, dict) and x.get("id") for x in tunnels):
        raise AnswerError(f"{doing}: the answer holds no list of tunnels")
    for tunnel in tunnels:
        _check_shape(tunnel, doing)
    return tunnels


# What the API describes a tunnel's fields as; nothing stands for each but the first two.
_NEEDED = ("id", "name")
_SHAPES: dict[str, type[t.Any]] = {
    "id": str,
    "name": str,
    "description": str,
    "cloudflare_endpoint": str,
    "customer_endpoint": str,
    "interface_address": str,
    "interface_address6": str,
    "bgp": dict,
    "custom_remote_identities": dict,
    "health_check": dict,
    "remote_identities": dict,
}


def _check_shape(tunnel: Tunnel, doing: str, *, unknown: bool = False) -> None:
    """Raises AnswerError for a tunnel that is not as the API describes it, before anybody works with it.

    ``unknown``: it is the answer to a write, whose outcome it leaves open.
    """
    for field, shape in _SHAPES.items():
        value = tunnel.get(field)
        if not isinstance(value, shape) and (value or field in _NEEDED):
            raise AnswerError(
                f"{doing}: the answer holds tunnel {str(tunnel['id'])[:40]!r} with a {field} that is no"
                f" {'text' if shape is str else 'object'}; it cannot be interpreted; report it to Cloudflare",
                outcome_unknown=unknown,
            )


def _next_page(
    info: Mapping[str, t.Any], page: Mapping[str, t.Any], on_page: int, so_far: int
) -> dict[str, t.Any] | None:
    """What to ask for next, None at the end. The list is not documented as paged, so every known way is followed."""
    cursors = info.get("cursors")
    after = cursors.get("after") if isinstance(cursors, Mapping) else None
    cursor = after or info.get("cursor") or info.get("next_cursor")
    if isinstance(cursor, str) and cursor:
        return {"cursor": cursor}
    if "cursor" in page:
        return None
    number, per_page, pages = (_number(info.get(x)) for x in ("page", "per_page", "total_pages"))
    total = _total(info)
    current = page.get("page") or number or 1
    more = (pages is not None and current < pages) or (total is not None and so_far < total and on_page > 0)
    if pages is None and total is None:
        more = per_page is not None and 0 < per_page <= on_page
    if not more:
        return None
    return {"page": current + 1, **({} if per_page is None else {"per_page": per_page})}


def _whole_page(found: list[Tunnel], info: Mapping[str, t.Any], doing: str) -> None:
    count = _number(info.get("count"))
    if count is not None and len(found) < count:
        raise AnswerError(f"{doing}: a page of the answer holds {len(found)} of {count} tunnels; try again later")


def _complete(tunnels: list[Tunnel], info: Mapping[str, t.Any], doing: str) -> list[Tunnel]:
    total = _total(info)
    if len({x["id"] for x in tunnels}) != len(tunnels):
        raise AnswerError(f"{doing}: the answer holds one tunnel id twice; try again later")
    if total is not None and len(tunnels) < total:
        raise AnswerError(f"{doing}: the answer holds {len(tunnels)} of {total} tunnels; try again later")
    return tunnels


def _total(info: Mapping[str, t.Any]) -> int | None:
    total = _number(info.get("total_count"))
    return _number(info.get("total")) if total is None else total


def _number(value: t.Any) -> int | None:
    """A count, as a number or as the text of one."""
    if isinstance(value, bool):
        return None
    return int(value) if re.fullmatch(r"\d{1,9}", str(value), re.ASCII) else None


def _tunnel_of(result: t.Any, key: str, doing: str) -> Tunnel:
    tunnel = result.get(key, result) if isinstance(result, Mapping) else None
    if not isinstance(tunnel, dict) or not tunnel.get("id"):
        raise AnswerError(f"{doing}: the answer holds no tunnel", status=200, outcome_unknown=True)
    _check_shape(tunnel, doing, unknown=True)
    return tunnel


def _must_be_done(result: t.Any, key: str, doing: str) -> None:
    if isinstance(result, Mapping) and result.get(key) is False:
        raise ApiError(f"{doing}: the API answers {key}: false, so nothing was changed", status=200)
