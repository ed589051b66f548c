# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""One requests session that repeats what may be repeated, for Cloudflare's API and for the store of PSKs.

urllib3's Retry does the repeating. It is given every answer, looks at it together with the server's `Rules`, and keeps
the one thing that nobody may guess: whether an earlier attempt may have been carried out.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import socket
import ssl
import threading
import time
import traceback
import typing as t
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import SWITCHING_PROTOCOLS, HTTPResponse, parse_headers
from ipaddress import ip_address
from urllib.parse import urlsplit

from ansible_collections.magicwan.cloudflare.plugins.module_utils._causes import TooLong, TooMuch, was_never_sent, why
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError

REQUESTS_IMPORT_ERROR: str | None
try:
    import requests
    from requests.adapters import HTTPAdapter
    from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
    from urllib3.exceptions import (
        HTTPError,
        MaxRetryError,
        ProtocolError,
        ResponseError,
    )
    from urllib3.util.retry import Retry
    from urllib3.util.ssl_ import create_urllib3_context

    BaseSession = requests.Session
except ImportError:
    REQUESTS_IMPORT_ERROR = traceback.format_exc()
    HTTPAdapter = object  # type: ignore[assignment,misc]
    Retry = object  # type: ignore[assignment,misc]
    BaseSession = object  # type: ignore[assignment,misc]
else:
    REQUESTS_IMPORT_ERROR = None

CONNECT_TIMEOUT = 10.0
ANSWER_TIMEOUTS = 4  # so many times the timeout a whole answer may take
ANSWER_BYTES = 64 * 1024 * 1024
BACKOFF_FACTOR = 0.5
LONGEST_PAUSE = 3600.0  # a server that wants more than that is not waited for
TOLD_PAUSE = 5.0  # shorter ones are nobody's business

_SECONDS = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*", re.ASCII)


@dataclass(frozen=True)
class Answer:
    """What came back, whoever sent it. ``repeated``: an earlier attempt of the request may have been carried out."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    repeated: bool = False


@dataclass(frozen=True)
class Rules:
    """What one server's answers mean for a request.

    ``again`` tells the statuses after which a request may be repeated, ``safe`` whether a request (method, URL) may be
    sent twice, ``limited`` whether an answer says that there were too many requests, ``refused`` whether it proves that
    the request was not carried out. ``block`` is the pause in seconds after too many requests when the server does not
    say how long; None is the usual back-off.
    """

    again: Callable[[int], bool]
    safe: Callable[[str, str], bool]
    limited: Callable[[Answer], bool]
    refused: Callable[[Answer], bool]
    block: float | None = None


@dataclass(frozen=True)
class Server:
    """How to reach a server. ``timeout`` is in seconds, ``pool`` the number of connections that are kept.

    The texts are for messages: ``name`` is what the server is, the options are those that the user has set.
    """

    url: str
    name: str
    timeout: float
    retries: int
    ca_path: str | None = None
    validate_certs: bool = True
    pool: int = 1
    url_option: str = "base_url"
    ca_option: str = "ca_path"

    @property
    def answer_timeout(self) -> float:
        """Seconds that a whole answer may take."""
        return ANSWER_TIMEOUTS * self.timeout

    @property
    def answer_bytes(self) -> int:
        """How large a whole answer may be, as it is sent and when it is decoded."""
        return ANSWER_BYTES


class NoAnswer(Exception):
    """No complete answer came. ``why`` is one line without secrets.

    ``maybe_done``: an attempt may have been carried out. ``stopped_by`` is what ``before_each`` has raised, if it did.
    """

    def __init__(self, why: str, *, maybe_done: bool, stopped_by: Exception | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.maybe_done = maybe_done
        self.stopped_by = stopped_by


class Session(BaseSession):
    """A session with one server. Redirects are not followed, and the environment decides on proxies alone.

    ``say`` gets a line when there is something to wait for. ``sleep`` waits, and is there for tests.
    """

    def __init__(
        self,
        server: Server,
        rules: Rules,
        *,
        auth: Callable[[t.Any], t.Any] | None = None,
        say: Callable[[str], None] | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        super().__init__()
        self._server = server
        self._rules = rules
        self._say = say
        self._sleep = sleep
        self._adapter = _Adapter(server)
        # Nothing from ~/.netrc, no bundle of certificates per request: both would come from the environment.
        self.trust_env = False
        self.auth = auth or _no_auth
        self.mount("https://", self._adapter)
        self.mount("http://", self._adapter)

    def exchange(
        self, method: str, url: str, *, before_each: Callable[[], None] | None = None, **options: t.Any
    ) -> Answer:
        """The answer to a request, whatever it says. Raises NoAnswer.

        ``before_each`` is called right before every attempt, and stops the request by raising.
        """
        call = _Call(self._server, self._rules, self._rules.safe(method, url), before_each, self._say, self._sleep)
        response = self._request(call, method, url, options)
        return Answer(response.status_code, response.headers, response.content, call.maybe_done)

    def request(self, method: t.Any, url: t.Any, *args: t.Any, **options: t.Any) -> requests.Response:
        """The same for libraries that take a session. How to reach the server is the session's, not theirs."""
        call = _Call(self._server, self._rules, self._rules.safe(method, url), None, self._say, self._sleep)
        return self._request(call, method, url, options)

    def get_redirect_target(self, resp: t.Any) -> None:
        """Nowhere."""

    def _request(self, call: _Call, method: str, url: str, options: Mapping[str, t.Any]) -> requests.Response:
        server = self._server
        try:
            with self._adapter.carrying(call):
                return super().request(
                    method,
                    url,
                    **{
                        **options,
                        "timeout": (min(CONNECT_TIMEOUT, server.timeout), server.timeout),
                        "verify": server.validate_certs,
                        "proxies": _proxies(url),
                        "cert": None,
                        "allow_redirects": False,
                    },
                )
        except _Stop as stop:
            raise NoAnswer(
                "the request was stopped", maybe_done=call.maybe_done, stopped_by=stop.reason
            ) from stop.reason
        except (requests.RequestException, HTTPError, OSError, ValueError) as exc:
            maybe_done = call.maybe_done or (call.open and not was_never_sent(exc))
            raise NoAnswer(why(exc, server), maybe_done=maybe_done) from None


class _Stop(Exception):
    """``before_each`` has said no."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason


class _Call:
    """A request on its way, with all its attempts."""

    def __init__(
        self,
        server: Server,
        rules: Rules,
        safe: bool,
        before_each: Callable[[], None] | None,
        say: Callable[[str], None] | None,
        sleep: Callable[[float], None] | None,
    ) -> None:
        self.server = server
        self.rules = rules
        self.safe = safe
        self.maybe_done = False  # an attempt that is over may have been carried out
        self.open = False  # an attempt is under way
        self.body = b""
        self._before_each = before_each
        self._say = say
        self._sleep = sleep
        self._told = False

    def begin(self) -> None:
        """Right before an attempt."""
        if self._before_each is not None:
            try:
                self._before_each()
            except Exception as exc:
                raise _Stop(exc) from exc
        self.open = True

    def end(self, *, maybe_done: bool) -> None:
        """After an attempt that was not the last one, or has failed."""
        self.open = False
        self.maybe_done = self.maybe_done or maybe_done

    def wait(self, pause: float, cause: str, *, lost_connection: bool) -> None:
        """Before the next attempt."""
        if self._say is not None and (pause >= TOLD_PAUSE or (lost_connection and not self._told)):
            self._told = self._told or lost_connection
            how = f"waiting {pause:.0f} s before the next try" if pause >= TOLD_PAUSE else "trying again"
            self._say(f"{self.server.name} ({urlsplit(self.server.url).netloc}): {cause}; {how}")
        (self._sleep or time.sleep)(pause)


class _Retry(Retry):
    """urllib3's bookkeeping and back-off, with a server's rules. Each attempt hands the call on to the next."""

    call: _Call
    cause = ""
    asked_pause: float | None = None
    lost_connection = False

    @classmethod
    def of(cls, call: _Call) -> _Retry:
        """The retries of a call, before its first attempt."""
        retry = cls(
            total=call.server.retries,
            other=0,  # TLS, or a proxy that refuses: another try does not help
            redirect=False,
            # Against errors while waiting for an answer only: of answers, `increment` decides.
            allowed_methods=None if call.safe else frozenset({"GET"}),
            backoff_factor=BACKOFF_FACTOR,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        retry.call = call
        return retry

    def new(self, **kwargs: t.Any) -> _Retry:
        """The retries that remain."""
        retry = super().new(**kwargs)
        retry.call = self.call
        return retry

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Every answer goes through `increment`: only its body tells what it is."""
        return True

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: t.Any = None,
        error: Exception | None = None,
        _pool: t.Any = None,
        _stacktrace: t.Any = None,
    ) -> _Retry:
        """What remains after an attempt. MaxRetryError means to urllib3 that an answer is the final one."""
        if response is None:
            never_sent = error is not None and was_never_sent(error)
            self.call.end(maybe_done=not never_sent)
            remaining = super().increment(method, url, response, error, _pool, _stacktrace)
            remaining.cause = why(error or Exception(), self.call.server)
            remaining.lost_connection = True
            return remaining
        self.call.body = _read(response)
        pause = self._pause_after(Answer(response.status, response.headers, self.call.body))
        if pause is None:
            raise MaxRetryError(_pool, url or "", ResponseError("this is the answer"))
        remaining = super().increment(method, url, response, error, _pool, _stacktrace)
        self.call.end(maybe_done=not pause.refused)
        remaining.cause, remaining.asked_pause = pause.cause, pause.seconds
        return remaining

    def sleep(self, response: t.Any = None) -> None:
        """The pause before the next attempt, and the caller's word on it."""
        if self.asked_pause is None:
            pause = self.get_backoff_time() + random.SystemRandom().uniform(0, BACKOFF_FACTOR)
        else:
            pause = max(self.asked_pause, self.get_backoff_time())
        self.call.wait(pause, self.cause, lost_connection=self.lost_connection)
        self.call.begin()

    def _pause_after(self, answer: Answer) -> _Pause | None:
        """Whether the request may be repeated after this answer, and when; None if not."""
        rules = self.call.rules
        limited, refused = rules.limited(answer), rules.refused(answer)
        if not (limited or rules.again(answer.status)) or not (self.call.safe or (limited and refused)):
            return None
        seconds = _retry_after(answer.headers.get("Retry-After"))
        if seconds is not None and seconds > LONGEST_PAUSE:
            return None
        cause = f"HTTP {answer.status}"
        if limited:
            cause += ", too many requests"
            seconds = rules.block if seconds is None else seconds
        return _Pause(seconds, cause, refused)


class _Pause(t.NamedTuple):
    """``seconds`` is None where the usual back-off serves."""

    seconds: float | None
    cause: str
    refused: bool


class _Adapter(HTTPAdapter):
    """Connections of a pool, whose answers come to an end in time and in bytes, with one Retry a call."""

    def __init__(self, server: Server) -> None:
        self._calls = threading.local()
        self._context = _context(server) if urlsplit(server.url).scheme == "https" else None
        super().__init__(pool_connections=1, pool_maxsize=server.pool)

    @contextlib.contextmanager
    def carrying(self, call: _Call) -> Iterator[None]:
        """While this thread sends the call."""
        self._calls.call = call
        try:
            yield
        finally:
            del self._calls.call

    @property
    def max_retries(self) -> _Retry:
        """For HTTPAdapter.send."""
        return _Retry.of(self._calls.call)

    @max_retries.setter
    def max_retries(self, value: object) -> None:
        """HTTPAdapter's own are of no use here."""

    def init_poolmanager(self, *args: t.Any, **options: t.Any) -> None:
        """With this session's certificates."""
        super().init_poolmanager(*args, **options, ssl_context=self._context)
        _limit_answers(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: t.Any) -> t.Any:
        """With this session's certificates, towards a proxy, too."""
        if proxy not in self.proxy_manager:
            if not proxy.lower().startswith("socks"):
                options["proxy_ssl_context"] = self._context
            _limit_answers(super().proxy_manager_for(proxy, **options, ssl_context=self._context))
        return self.proxy_manager[proxy]

    def cert_verify(self, conn: t.Any, url: str, verify: t.Any, cert: t.Any) -> None:
        """The certificates are in the context, so requests must not add its own."""
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"
        conn.ca_certs = conn.ca_cert_dir = None

    def send(self, request: t.Any, *args: t.Any, **options: t.Any) -> requests.Response:
        """The first attempt begins here."""
        self._calls.call.begin()
        return super().send(request, *args, **options)

    def build_response(self, req: t.Any, resp: t.Any) -> requests.Response:
        """With the body that `_Retry` has read."""
        response = super().build_response(req, resp)
        response.raw = io.BytesIO(self._calls.call.body)
        return response


class _EndingResponse(HTTPResponse):
    """An answer that is given up when it takes too long or grows too large, headers included."""

    def __init__(self, sock: t.Any, *args: t.Any, **options: t.Any) -> None:
        super().__init__(sock, *args, **options)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_EndingReader(raw, sock), 64 * 1024)

    def _read_status(self) -> t.Any:
        """The line of the answer itself: all that a server may say before it, such as 102 or 103, is passed over."""
        found = super()._read_status()  # type: ignore[misc]
        while 100 < found[1] < 200 and found[1] != SWITCHING_PROTOCOLS:
            parse_headers(self.fp)
            found = super()._read_status()  # type: ignore[misc]
        return found


class _EndingReader(io.RawIOBase):
    """What arrives at a socket, until it is too late or too much. Its timeout is for a single piece."""

    def __init__(self, raw: t.Any, sock: t.Any) -> None:
        super().__init__()
        self._raw = raw
        self._sock = sock
        self._timeout = sock.gettimeout() or CONNECT_TIMEOUT
        self._end = time.monotonic() + ANSWER_TIMEOUTS * self._timeout
        self._left = ANSWER_BYTES

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: t.Any) -> int:
        """The next piece."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TooLong
        self._sock.settimeout(min(self._timeout, left))
        try:
            count: int = self._raw.readinto(buffer)
        except socket.timeout:
            if time.monotonic() < self._end:
                raise
            raise TooLong from None
        self._left -= count
        if self._left < 0:
            raise TooMuch
        return count

    def close(self) -> None:
        """With the socket's own file."""
        if not self.closed:
            self._raw.close()
        super().close()


def _limit_answers(manager: t.Any) -> None:
    """Makes the connections of a pool manager give up on endless answers. SOCKS has classes of its own."""
    classes = {}
    for scheme, pool in manager.pool_classes_by_scheme.items():
        connection = type(pool.ConnectionCls.__name__, (pool.ConnectionCls,), {"response_class": _EndingResponse})
        classes[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": connection})
    manager.pool_classes_by_scheme = classes


def _read(response: t.Any) -> bytes:
    """The decoded body, which may be far larger than what was sent."""
    body = bytearray()
    for piece in response.stream(64 * 1024, decode_content=True):
        body += piece
        if len(body) > ANSWER_BYTES:
            response.close()
            raise TooMuch
    if response.length_remaining:  # urllib3 1.26 takes what it gets
        raise ProtocolError
    return bytes(body)


def _retry_after(header: str | None) -> float | None:
    """The seconds that a Retry-After asks for: a number of them, or a time. Nonsense asks for nothing."""
    if header is None:
        return None
    seconds = _SECONDS.fullmatch(header)
    if seconds is not None:
        return float(seconds.group(1))
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


# -- how to reach the server ----------------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Whether this is an address of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _proxies(url: str) -> dict[str, str]:
    """No proxy reaches an address of this machine, and plain http through one would show the credentials."""
    return {} if is_loopback(urlsplit(url).hostname or "") else dict(get_environ_proxies(url))


def _no_auth(request: t.Any) -> t.Any:
    return request


def _context(server: Server) -> ssl.SSLContext:
    """Which certificates are trusted; the doc fragments say so in the same order. Raises InputError."""
    context = create_urllib3_context()
    if not server.validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    bundles = [(server.ca_option, server.ca_path)]
    bundles += [(name, os.environ.get(name)) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")]
    for source, path in bundles:
        if path:
            _trust(context, source, path)
            return context
    # OpenSSL passes over what it can't use, and nobody would know why nothing is trusted.
    extra = os.environ.get("SSL_CERT_FILE")
    if extra:
        _trust(context, "SSL_CERT_FILE", extra)
    folders = os.environ.get("SSL_CERT_DIR")
    if folders and not any(os.path.isdir(x) for x in folders.split(os.pathsep)):
        raise InputError(f"SSL_CERT_DIR {folders!r}: there is no such folder")
    context.load_default_certs()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _trust(context: ssl.SSLContext, source: str, path: str) -> None:
    try:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        why = "it can't be read as certificates in PEM format"
        if isinstance(exc, FileNotFoundError):
            why = "there is no such file"
        elif isinstance(exc, PermissionError):
            why = "this user may not read it"
        raise InputError(f"{source} {path!r}: {why}") from None
