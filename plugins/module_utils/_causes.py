# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Why there was no answer: one line with the cause and what to do, whatever requests and urllib3 have made of it."""

from __future__ import annotations

import errno
import re
import socket
import ssl
import typing as t
from collections.abc import Iterator, Sequence

try:
    import requests
    from urllib3.exceptions import (
        ConnectTimeoutError,
        HTTPError,
        LocationValueError,
        ProxyError,
        ProxySchemeUnknown,
        ReadTimeoutError,
    )

    # A URL or a proxy that can't be used: nothing is ever sent.
    _UNUSABLE: tuple[type[Exception], ...] = (
        requests.exceptions.InvalidSchema,
        requests.exceptions.InvalidURL,
        requests.exceptions.MissingSchema,
        LocationValueError,
        ProxySchemeUnknown,
    )
except ImportError:
    pass  # _http says so

_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")
_NOT_NOW, _OTHER_HOST = (9, 10), (62, 64)  # OpenSSL's X509_V_ERR_*


class Reached(t.Protocol):
    """What a message says about a server: its limits in seconds and bytes, and the options that the user has set."""

    @property
    def timeout(self) -> float:
        """For a piece of an answer."""

    @property
    def answer_timeout(self) -> float:
        """For a whole answer."""

    @property
    def answer_bytes(self) -> int:
        """Of a whole answer."""

    @property
    def url_option(self) -> str:
        """The one with the server's address."""

    @property
    def ca_option(self) -> str:
        """The one with the certificates to trust."""


class TooLong(TimeoutError):
    """The server sends, but does not come to an end."""


class TooMuch(OSError):
    """The server sends more than any answer has."""


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """An exception and all that is behind it: requests and urllib3 wrap, in ways that differ by version."""
    seen: list[BaseException] = []
    waiting: list[object] = [exc]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or one in seen:
            continue
        seen.append(one)
        yield one
        waiting += [getattr(one, "reason", None), getattr(one, "original_error", None)]
        waiting += [one.__cause__, one.__context__, *one.args]


def was_never_sent(exc: BaseException) -> bool:
    """Whether an attempt got no further than the connection, to the server or through a proxy, and its certificate."""
    if isinstance(exc, (ConnectTimeoutError, *_UNUSABLE)):
        return True
    causes = list(_causes(exc))
    if _first(causes, ssl.SSLCertVerificationError) or _is_for_another_host(causes):
        return True
    if not isinstance(exc, ProxyError):
        return False
    return any(isinstance(x, ConnectTimeoutError) or _TUNNEL_STATUS.search(str(x)) for x in causes)


def why(exc: Exception, server: Reached) -> str:
    """The cause of a failure in one line, with what to do. Nothing of the exception's text gets there."""
    causes = list(_causes(exc))
    if any(isinstance(x, requests.exceptions.InvalidSchema) and "SOCKS" in str(x) for x in causes):
        return "the proxy of the environment is a SOCKS proxy, for which PySocks is missing; pip install PySocks"
    if _first(causes, *_UNUSABLE):
        return f"{server.url_option} or the proxy of the environment is no URL; check https_proxy"
    if _first(causes, ProxyError):
        return _why_proxy(causes)
    if _first(causes, TooMuch):
        return f"the answer is larger than {server.answer_bytes // 1024**2} MiB"
    if _first(causes, TooLong):
        return f"the answer was not complete within {server.answer_timeout:g} s"
    if _is_for_another_host(causes):
        return f"its certificate is for another host; check {server.url_option}"
    tls = _first(causes, ssl.SSLCertVerificationError, ssl.SSLError)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return _why_certificate(tls, server)
    if isinstance(tls, ssl.SSLError):
        return f"TLS failed ({tls.reason or 'no reason given'}); check {server.url_option} and what is in between"
    connection = _why_connection(causes, server.url_option)
    if connection is not None:
        return connection
    if _first(causes, ReadTimeoutError, requests.exceptions.Timeout, socket.timeout):
        return f"no answer within {server.timeout:g} s"
    if _first(causes, requests.exceptions.ConnectionError, HTTPError, OSError):
        return "the connection was closed before the answer was complete"
    return f"the request failed ({type(exc).__name__})"


def _first(causes: Sequence[BaseException], *kinds: type[BaseException]) -> BaseException | None:
    return next((x for kind in kinds for x in causes if isinstance(x, kind)), None)


def _why_connection(causes: Sequence[BaseException], option: str) -> str | None:
    name = _first(causes, socket.gaierror)
    if isinstance(name, socket.gaierror):
        return f"its name can't be resolved ({name.strerror or 'no reason given'}); check {option} and DNS"
    if _first(causes, ConnectionRefusedError):
        return f"the connection is refused, nothing listens there; check {option}"
    if any(isinstance(x, OSError) and x.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH) for x in causes):
        return "there is no route to it; check the network and https_proxy"
    if _first(causes, ConnectTimeoutError):
        return "no connection could be made in time; check the network, firewalls and https_proxy"
    return None


def _why_proxy(causes: Sequence[BaseException]) -> str:
    status = next((m.group(1) for m in (_TUNNEL_STATUS.search(str(x)) for x in causes) if m), None)
    if status == "407":
        return "the proxy wants a password (407); put it into https_proxy as http://USER:PASSWORD@HOST:PORT"
    if status is not None:
        return f"the proxy refuses the connection ({status}); have it allowed, or check https_proxy and no_proxy"
    connection = _why_connection(causes, "https_proxy")
    if connection is not None:
        return f"the proxy can't be used: {connection}"
    return "the proxy closed the connection; check https_proxy and no_proxy"


def _is_for_another_host(causes: Sequence[BaseException]) -> bool:
    """urllib3 1.26 compares the names itself, and has the exception at changing places."""
    return any(
        (isinstance(x, ssl.SSLCertVerificationError) and x.verify_code in _OTHER_HOST)
        or type(x).__name__ == "CertificateError"
        for x in causes
    )


def _why_certificate(error: ssl.SSLCertVerificationError, server: Reached) -> str:
    if error.verify_code in _NOT_NOW:
        return f"its certificate is not valid now ({error.verify_message}); check the clock of this host"
    return (
        f"its certificate is not trusted ({error.verify_message}); if a CA of your own has signed it, or a proxy opens"
        f" TLS, set {server.ca_option}, REQUESTS_CA_BUNDLE or SSL_CERT_FILE to a file with that CA's certificate"
    )
