# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the API's answers prove: pure functions.

Only Cloudflare's own JSON envelope proves anything. Whatever else answers a write, with whatever status (a firewall, a
proxy, a captive portal, Cloudflare's own error pages), may have done so after the write was carried out.
"""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    AnswerError,
    ApiError,
    AuthError,
    CloudflareError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._http import Answer, Rules

RATE_LIMIT_BLOCK = 300.0  # after too many requests everything is refused for so many seconds
RATE_LIMITED = frozenset({971, 10100})  # the second one is of older days
RATE_LIMITED_PAGE = 1015
NO_ROUTE = frozenset({7000, 7001, 7003})
UNKNOWN = "; it is not known whether it was carried out"

Clean = Callable[[t.Any], t.Optional[str]]

_ERROR_BYTES = 64 * 1024
_BLANK = r"(?:\s|&nbsp;|[:=#\"'])"
_PAGE_CODE = re.compile(
    rf"(?:error(?:{_BLANK}{{0,3}}[_-]?code)?|cf-error-code[^<>]{{0,200}}>){_BLANK}{{0,9}}(?:<[^<>]{{0,200}}>{_BLANK}{{0,9}}){{0,4}}"
    r"(1\d{3})\b",
    re.I,
)
_PAGES = {
    1006: "this host's address is banned there",
    1007: "this host's address is banned there",
    1008: "this host's address is banned there",
    1009: "requests from this host's country are banned there",
    1010: "it blocks this client; allow the User-Agent magicwan.cloudflare",
    1015: "this host sent too many requests; wait, or change the rate limiting rule",
    1020: "a firewall rule blocks the request; allow this host's address in it",
    1106: "this host's address is banned there",
}
_HINTS: dict[type[CloudflareError], str] = {
    AuthError: "check the credentials and their Magic WAN permission on this account",
    NotFoundError: "check account_id and the tunnel",
    RateLimitError: "wait for the rate limit to pass, or raise retries",
}
_NO_CREDENTIALS = "the credentials do not have the form that the API expects; check them"
_CODE_HINTS = {
    1012: "the account has no Magic WAN or Magic Transit; check account_id, or ask Cloudflare for it",
    6003: _NO_CREDENTIALS,
    6103: _NO_CREDENTIALS,
    6111: _NO_CREDENTIALS,
    9106: _NO_CREDENTIALS,
    9109: "the token is not accepted from this host's address, or not valid; check its client IP address filter",
    **dict.fromkeys(NO_ROUTE, "check account_id and base_url"),
}


@dataclass(frozen=True)
class Envelope:
    """Cloudflare's JSON around every answer. ``error`` is the first of its errors, {} if there is none."""

    success: bool
    result: t.Any
    error: Mapping[str, t.Any]
    info: Mapping[str, t.Any]

    @property
    def code(self) -> int | None:
        """The error's code."""
        code = self.error.get("code")
        return code if isinstance(code, int) and not isinstance(code, bool) else None


def json_of(answer: Answer) -> Mapping[str, t.Any] | None:
    """The answer's JSON object, if it is one."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Mapping) else None


def envelope_of(answer: Answer) -> Envelope | None:
    """The answer's envelope, if that is what it is."""
    found = json_of(answer)
    if found is None or not isinstance(found.get("success"), bool) or not {"errors", "result"} <= set(found):
        return None
    info = found.get("result_info")
    return Envelope(found["success"], found["result"], _first_error(found), info if isinstance(info, Mapping) else {})


def is_refused(answer: Answer) -> bool:
    """Whether the answer proves that the request was not carried out: an envelope that says so with a code.

    One that has a result beside the error says both that nothing was done, and what was.
    """
    if not 400 <= answer.status < 500 or answer.status == 408:
        return False
    envelope = envelope_of(answer)
    return envelope is not None and not envelope.success and envelope.code is not None and not envelope.result


def is_limited(answer: Answer) -> bool:
    """Whether there were too many requests."""
    if answer.status == 429:
        return True
    if len(answer.body) > _ERROR_BYTES:
        return False
    envelope = envelope_of(answer)
    if envelope is None:
        return _page_code(answer) == RATE_LIMITED_PAGE
    return not envelope.success and envelope.code in RATE_LIMITED


def rules(safe: Callable[[str, str], bool]) -> Rules:
    """What an answer means for repeating a request; ``safe`` tells which requests may be sent twice."""
    return Rules(
        again=lambda status: status in (408, 409, 429) or 500 <= status <= 599,
        safe=safe,
        limited=is_limited,
        refused=is_refused,
        block=RATE_LIMIT_BLOCK,
    )


def error_of(
    answer: Answer, doing: str, clean: Clean, *, writes: bool, hints: Mapping[int, str] | None = None
) -> CloudflareError:
    """The error that an answer is. ``clean`` takes secrets out of a text; ``hints`` are by code, for this request."""
    envelope = envelope_of(answer)
    ray_id = clean(_header(answer, "cf-ray"))
    ray = f", cf-ray {ray_id}" if ray_id else ""
    unknown = answer.repeated or (writes and not is_refused(answer))
    if envelope is None:
        return _stranger(answer, doing, clean, ray_id, ray, unknown)
    code = envelope.code
    detail = clean(envelope.error.get("message")) or "no reason given"
    source = envelope.error.get("source")
    pointer = clean(source.get("pointer")) if isinstance(source, Mapping) else None
    error_class = _class_of(answer.status, ApiError, {401: AuthError, 403: AuthError, 404: NotFoundError})
    if code in RATE_LIMITED:
        error_class = RateLimitError
    hint = {**_CODE_HINTS, **(hints or {})}.get(code or 0) or _HINTS.get(error_class)
    where = f" at {pointer}" if pointer else ""
    number = "" if code is None else f", code {code}"
    return error_class(
        f"{doing}: {detail}{where} (HTTP {answer.status}{number}{ray})"
        f"{f'; {hint}' if hint else ''}{UNKNOWN if unknown else ''}",
        status=answer.status,
        code=code,
        pointer=pointer,
        ray_id=ray_id,
        documentation_url=clean(envelope.error.get("documentation_url")),
        detail=detail,
        outcome_unknown=unknown,
    )


def _stranger(answer: Answer, doing: str, clean: Clean, ray_id: str | None, ray: str, unknown: bool) -> CloudflareError:
    """An answer that is not the API's."""
    status, code = answer.status, _page_code(answer)
    if 300 <= status < 400:
        target = clean(_netloc(_header(answer, "Location"))) or "nowhere"
        text = f"the API redirects to {target}, which is refused (HTTP {status}{ray}); check base_url and the network"
    else:
        if code is not None:
            kind = f"an error page of Cloudflare, code {code},"
        else:
            kind = "HTML" if "html" in _header(answer, "Content-Type").lower() else "no complete JSON"
        hint = _hint_for(status, code, kind)
        text = f"HTTP {status} with {kind} instead of the API's answer{ray}{f'; {hint}' if hint else ''}"
    return _class_of(status, AnswerError, {})(
        f"{doing}: {text}{UNKNOWN if unknown else ''}",
        status=status,
        code=code,
        ray_id=ray_id,
        outcome_unknown=unknown,
    )


def _hint_for(status: int, code: int | None, kind: str) -> str | None:
    if code is not None:
        return _PAGES.get(code, "look the code up among Cloudflare's 1xxx errors")
    if status == 407:
        return "a proxy wants a password; put it into https_proxy as http://USER:PASSWORD@HOST:PORT"
    if status == 511 or (status < 300 and kind == "HTML"):
        return (
            "something else answers in its place, such as a captive portal or a proxy; check the network and base_url"
        )
    if status == 429:
        return _HINTS[RateLimitError]
    if 400 <= status < 500 and status != 408:
        return "something in between answers, such as a firewall or a proxy; check the network and base_url"
    return None


def _class_of(
    status: int, otherwise: type[CloudflareError], classes: Mapping[int, type[CloudflareError]]
) -> type[CloudflareError]:
    if status >= 500 or status == 408:
        return ServerError
    return RateLimitError if status == 429 else classes.get(status, otherwise)


def _page_code(answer: Answer) -> int | None:
    """The code of Cloudflare's own error pages, which come as HTML, as a line of text, or as JSON without envelope."""
    found = json_of(answer)
    if found is not None:
        code = found.get("error_code")
        return int(str(code)) if re.fullmatch(r"1\d{3}", str(code)) else None
    match = _PAGE_CODE.search(answer.body[:_ERROR_BYTES].decode("latin-1"))
    return int(match.group(1)) if match and answer.status >= 400 else None


def _first_error(envelope: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    errors = envelope.get("errors")
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], Mapping):
        return {}
    chain = errors[0].get("error_chain")
    if isinstance(chain, list) and chain and isinstance(chain[0], Mapping):
        return {**errors[0], **chain[0]}
    return errors[0]


def _header(answer: Answer, name: str) -> str:
    return answer.headers.get(name, "")


def _netloc(url: str) -> str:
    """The host of an URL that somebody else has made."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
