# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The session over real sockets: what it waits for, whom it trusts, which proxies it takes, when it gives up."""

from __future__ import annotations

import email.utils
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import certifi
import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _http
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._http import NoAnswer, Rules, Server, Session

from tests.harness.authority import Authority, make_authority
from tests.unit.plugins.module_utils.conftest import Say, Wire

BLOCK = 300.0
HOST = "api.example.test"


def is_json(answer: _http.Answer) -> bool:
    """What proves something to these tests."""
    return answer.body.startswith(b"{")


RULES = Rules(
    again=lambda status: status in (408, 409, 429) or status >= 500,
    safe=lambda method, url: method != "POST",
    limited=lambda answer: answer.status == 429,
    refused=lambda answer: answer.status == 429 and is_json(answer),
    block=BLOCK,
)
TOO_MANY = Say({"errors": []}, 429)


class Told(list[str]):
    """What the session had to say."""


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def session_of(told: Told) -> Callable[..., Session]:
    """A session with a server; further arguments are those of Server."""

    def make(url: str, rules: Rules = RULES, **options: Any) -> Session:
        server = Server(**{"url": url, "name": "the API", "timeout": 5.0, "retries": 2, **options})
        return Session(server, rules, say=told.append)

    return make


SessionOf = Callable[..., Session]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies and bundles are those of a test, not of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# -- pauses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("1", 1),
        ("300", 300),
        ("900", 900),
        ("3600", 3600),
        ("1.5", 1.5),
        (" 2 ", 2),
        ("0.25", 0.25),
        (".5", 0.5),
        ("2.", 2),
    ],
)
def test_retry_after_is_honoured_in_whole_and_broken_seconds(
    wire: Wire, session_of: SessionOf, pauses: list[float], header: str, pause: float
) -> None:
    wire.say(Say({}, 503, {"Retry-After": header}), Say({}))
    assert session_of(wire.base_url).exchange("GET", wire.base_url).status == 200
    assert pauses == [pause]


def test_retry_after_may_be_a_time(wire: Wire, session_of: SessionOf, pauses: list[float]) -> None:
    when = email.utils.formatdate(time.time() + 200, usegmt=True)
    wire.say(Say({}, 503, {"Retry-After": when}), Say({}))
    session_of(wire.base_url).exchange("GET", wire.base_url)
    assert 150 < pauses[0] <= 200


@pytest.mark.parametrize("header", ["abc", "-5", "", "nan", "inf", "1e3", "1,5", "0x10", "12 s", "٣", "9" * 400])
def test_a_retry_after_that_is_nonsense_counts_as_absent(
    wire: Wire, session_of: SessionOf, pauses: list[float], header: str
) -> None:
    nonsense = {"Retry-After": header.encode().decode("latin-1")}
    wire.say(Say({}, 503, nonsense), Say({"errors": []}, 429, nonsense), Say({}))
    assert session_of(wire.base_url).exchange("GET", wire.base_url).status == 200
    assert pauses[0] < 1 and pauses[1] == BLOCK


def test_a_time_that_has_passed_means_now(wire: Wire, session_of: SessionOf, pauses: list[float]) -> None:
    wire.say(Say({}, 503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), Say({}))
    session_of(wire.base_url).exchange("GET", wire.base_url)
    assert pauses == [0]


def test_a_server_that_asks_for_more_than_an_hour_is_not_waited_for(
    wire: Wire, session_of: SessionOf, pauses: list[float]
) -> None:
    wire.say(Say({}, 503, {"Retry-After": "86400"}))
    assert session_of(wire.base_url).exchange("GET", wire.base_url).status == 503
    assert pauses == []


def test_too_many_requests_without_a_word_pause_as_long_as_the_block_and_say_so(
    wire: Wire, session_of: SessionOf, pauses: list[float], told: Told
) -> None:
    wire.say(TOO_MANY, TOO_MANY, Say({}))
    session_of(wire.base_url).exchange("GET", wire.base_url)
    assert pauses == [BLOCK, BLOCK]
    line = f"the API (127.0.0.1:{wire.port}): HTTP 429, too many requests; waiting 300 s before the next try"
    assert told == [line, line]


def test_a_server_without_a_block_is_asked_again_after_the_usual_back_off(
    wire: Wire, session_of: SessionOf, pauses: list[float], told: Told
) -> None:
    wire.say(TOO_MANY, Say({}))
    rules = Rules(again=RULES.again, safe=RULES.safe, limited=RULES.limited, refused=RULES.refused)
    session_of(wire.base_url, rules).exchange("GET", wire.base_url)
    assert pauses[0] < 1 and told == []


def test_a_long_pause_of_any_kind_is_said_and_a_short_one_is_not(wire: Wire, session_of: SessionOf, told: Told) -> None:
    wire.say(Say({}, 503, {"Retry-After": "1"}), Say({}, 503, {"Retry-After": "120"}), Say({}))
    session_of(wire.base_url).exchange("GET", wire.base_url)
    assert told == [f"the API (127.0.0.1:{wire.port}): HTTP 503; waiting 120 s before the next try"]


def test_the_pause_is_one_that_the_caller_may_make(wire: Wire, pauses: list[float]) -> None:
    wire.say(TOO_MANY, Say({}))
    slept: list[float] = []
    server = Server(url=wire.base_url, name="the API", timeout=5.0, retries=1)
    Session(server, RULES, sleep=slept.append).exchange("GET", wire.base_url)
    assert (slept, pauses) == ([BLOCK], [])


# -- what it repeats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 429, 500, 501, 526, 529, 599])
def test_what_is_safe_is_repeated(wire: Wire, session_of: SessionOf, status: int) -> None:
    wire.say(Say({}, status), Say({}))
    assert session_of(wire.base_url).exchange("PUT", wire.base_url, json={}).status == 200
    assert len(wire.heard) == 2


@pytest.mark.parametrize("answer", [Say({}, 503), Say({}, 409), Say(b"<html>", 429)])
def test_what_is_not_safe_is_not_repeated_unless_it_was_refused_for_certain(
    wire: Wire, session_of: SessionOf, answer: Say
) -> None:
    wire.say(answer, Say({}))
    assert session_of(wire.base_url).exchange("POST", wire.base_url, json={}).status == answer.status
    assert len(wire.heard) == 1


def test_what_was_refused_for_certain_is_repeated_even_if_it_is_not_safe(wire: Wire, session_of: SessionOf) -> None:
    wire.say(TOO_MANY, Say({}))
    answer = session_of(wire.base_url).exchange("POST", wire.base_url, json={})
    assert (answer.status, answer.repeated, len(wire.heard)) == (200, False, 2)


@pytest.mark.parametrize(
    ("earlier", "repeated"), [([], False), ([TOO_MANY], False), ([Say(b"<html>", 429)], True), ([Say({}, 502)], True)]
)
def test_only_attempts_that_may_have_been_carried_out_make_an_answer_repeated(
    wire: Wire, session_of: SessionOf, earlier: list[Say], repeated: bool
) -> None:
    wire.say(*earlier, TOO_MANY, Say({}))
    assert session_of(wire.base_url).exchange("PUT", wire.base_url).repeated is repeated


def test_the_last_answer_is_handed_on_when_the_tries_are_used_up(wire: Wire, session_of: SessionOf) -> None:
    wire.say(Say({}, 503), Say({}, 500), Say({"last": 1}, 502))
    answer = session_of(wire.base_url).exchange("GET", wire.base_url)
    assert (answer.status, answer.body, len(wire.heard)) == (502, b'{"last": 1}', 3)


def test_redirects_are_answers(wire: Wire, make_wire: Callable[..., Wire], session_of: SessionOf) -> None:
    other = make_wire()
    for status in (301, 302, 303, 307, 308):
        wire.say(Say(b"", status, {"Location": other.base_url}))
        assert session_of(wire.base_url).exchange("GET", wire.base_url).status == status
        assert session_of(wire.base_url).request("GET", wire.base_url, allow_redirects=True).status_code == status
    assert other.heard == []


@pytest.mark.parametrize("target", ["http://[::1", "https://a.example:port/", "\x7f", "//"])
def test_a_redirect_to_nonsense_is_an_answer(wire: Wire, session_of: SessionOf, target: str) -> None:
    wire.say(Say(b"", 307, {"Location": target}))
    assert session_of(wire.base_url).exchange("PUT", wire.base_url).status == 307


def test_several_threads_share_its_connections(wire: Wire, session_of: SessionOf) -> None:
    wire.say(lambda heard: Say({"echo": heard.path}))
    session = session_of(wire.base_url, pool=4)

    def ask(number: int) -> bool:
        return (
            session.exchange("GET", f"{wire.base_url}/{number}").body == f'{{"echo": "/client/v4/{number}"}}'.encode()
        )

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(200)))
    assert len({heard.port for heard in wire.heard}) == 4


# -- the caller's word before each attempt --------------------------------------------------------------------------


class Guard:
    """Notes what had happened when it was asked, and says no at a given time."""

    def __init__(self, wire: Wire, pauses: list[float], no_at: int | None = None) -> None:
        self.seen: list[tuple[int, int]] = []
        self._look = lambda: (len(wire.heard), len(pauses))
        self._no_at = no_at

    def __call__(self) -> None:
        if len(self.seen) + 1 == self._no_at:
            raise RuntimeError("the lease is gone")
        self.seen.append(self._look())


def test_it_is_asked_before_each_attempt_and_after_each_pause(
    wire: Wire, session_of: SessionOf, pauses: list[float]
) -> None:
    wire.say(TOO_MANY, Say({}, 503, {"Retry-After": "9"}), Say({}))
    guard = Guard(wire, pauses)
    session_of(wire.base_url).exchange("PUT", wire.base_url, before_each=guard)
    assert guard.seen == [(0, 0), (1, 1), (2, 2)]


def test_a_no_before_the_first_attempt_sends_nothing(wire: Wire, session_of: SessionOf, pauses: list[float]) -> None:
    with pytest.raises(NoAnswer) as caught:
        session_of(wire.base_url).exchange("PUT", wire.base_url, before_each=Guard(wire, pauses, no_at=1))
    assert wire.heard == []
    assert not caught.value.maybe_done
    assert str(caught.value.stopped_by) == "the lease is gone"


@pytest.mark.parametrize(
    ("first", "maybe_done"), [(TOO_MANY, False), (Say({}, 503), True), (Say(b"<html>", 429), True)]
)
def test_a_no_after_an_attempt_leaves_that_ones_outcome(
    wire: Wire, session_of: SessionOf, pauses: list[float], first: Say, maybe_done: bool
) -> None:
    wire.say(first, Say({}))
    with pytest.raises(NoAnswer) as caught:
        session_of(wire.base_url).exchange("PUT", wire.base_url, before_each=Guard(wire, pauses, no_at=2))
    assert len(wire.heard) == 1
    assert caught.value.maybe_done is maybe_done


def test_a_no_after_a_dropped_connection_leaves_the_outcome_unknown(
    make_raw: Callable[..., str], wire: Wire, session_of: SessionOf, pauses: list[float]
) -> None:
    url = make_raw(lambda connection: connection.recv(65536))
    with pytest.raises(NoAnswer) as caught:
        session_of(url).exchange("PUT", url, before_each=Guard(wire, pauses, no_at=2))
    assert caught.value.maybe_done and caught.value.stopped_by is not None


def test_a_no_after_a_refused_connection_leaves_nothing_open(
    wire: Wire, session_of: SessionOf, pauses: list[float]
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    guard = Guard(wire, pauses, no_at=3)
    with pytest.raises(NoAnswer) as caught:
        session_of(url).exchange("PUT", url, before_each=guard)
    assert guard.seen == [(0, 0), (0, 1)]
    assert not caught.value.maybe_done


def test_even_an_os_error_of_the_caller_is_not_taken_for_the_networks(
    wire: Wire, session_of: SessionOf, pauses: list[float]
) -> None:
    def guard() -> None:
        raise ConnectionRefusedError("of something else")

    with pytest.raises(NoAnswer) as caught:
        session_of(wire.base_url).exchange("PUT", wire.base_url, before_each=guard)
    assert isinstance(caught.value.stopped_by, ConnectionRefusedError)
    assert pauses == []


def test_it_is_asked_for_its_own_request_only(wire: Wire, session_of: SessionOf, pauses: list[float]) -> None:
    guard = Guard(wire, pauses)
    session = session_of(wire.base_url)
    session.exchange("PUT", wire.base_url, before_each=guard)
    session.exchange("PUT", wire.base_url)
    session.request("PUT", wire.base_url)
    assert len(guard.seen) == 1


# -- endless answers ------------------------------------------------------------------------------------------------


@pytest.fixture
def make_raw() -> Iterator[Callable[[Callable[[socket.socket], object]], str]]:
    """Servers that do with a connection what a test says."""
    listeners: list[socket.socket] = []

    def make(work: Callable[[socket.socket], object]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        work(connection)
                    except OSError:
                        continue

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield make
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def drip(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Answers a byte at a time, far within the timeout for each, and far longer than the answer may take."""

    def work(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.03)

    return work


HEAD = b"HTTP/1.1 %d Well\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    "work",
    [
        drip(HEAD % (200, 100), *[b" "] * 100),
        drip(HEAD % (503, 100), *[b" "] * 100),
        drip(b"HTTP/1.1 200 Well\r\n", *[b"A: b\r\n"] * 90, b"\r\n"),
        drip(b"HTTP/1.1 200 Well\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 90, b"0\r\n\r\n"),
    ],
    ids=["body", "body of an answer that would be repeated", "headers", "chunks"],
)
def test_an_answer_that_drips_is_given_up(
    make_raw: Callable[..., str], session_of: SessionOf, work: Callable[[socket.socket], None]
) -> None:
    url = make_raw(work)
    with pytest.raises(NoAnswer, match=r"the answer was not complete within 0.4 s") as caught:
        session_of(url, timeout=0.1, retries=0).exchange("PUT", url)
    assert caught.value.maybe_done


def test_an_answer_that_takes_several_timeouts_is_waited_for(
    make_raw: Callable[..., str], session_of: SessionOf
) -> None:
    url = make_raw(drip(HEAD % (200, 10), *[b" "] * 10))
    assert session_of(url, timeout=0.2, retries=0).exchange("GET", url).body == b" " * 10


@pytest.mark.parametrize("first", [100, 102, 103], ids=str)
def test_what_a_server_says_before_its_answer_is_not_the_answer(
    make_raw: Callable[..., str], session_of: SessionOf, first: int
) -> None:
    early = b"HTTP/1.1 %d Well\r\nLink: </a>\r\n\r\n" % first

    def work(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(early + early + HEAD % (200, 2) + b"ok")

    url = make_raw(work)
    answer = session_of(url, retries=0).exchange("PUT", url)
    assert (answer.status, answer.body) == (200, b"ok")


def test_a_server_that_only_ever_says_something_before_its_answer_is_given_up(
    make_raw: Callable[..., str], session_of: SessionOf
) -> None:
    url = make_raw(drip(*[b"HTTP/1.1 103 Early\r\n\r\n"] * 100))
    with pytest.raises(NoAnswer, match=r"the answer was not complete within 0.4 s") as caught:
        session_of(url, timeout=0.1, retries=0).exchange("PUT", url)
    assert caught.value.maybe_done


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "compressed"])
def test_an_answer_that_is_too_large_is_given_up(
    wire: Wire, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch, status: int, packed: bool
) -> None:
    monkeypatch.setattr(_http, "ANSWER_BYTES", 1024 * 1024)
    body = bytes(2 * 1024 * 1024)
    headers = {"Content-Encoding": "gzip"} if packed else {}
    wire.say(Say(gzip.compress(body) if packed else body, status, headers))
    with pytest.raises(NoAnswer, match="the answer is larger than 1 MiB") as caught:
        session_of(wire.base_url).exchange("PUT", wire.base_url)
    assert caught.value.maybe_done and len(wire.heard) == 1


def test_a_large_answer_below_the_limit_is_whole(wire: Wire, session_of: SessionOf) -> None:
    body = b"0123456789abcdef" * 256 * 1024
    wire.say(Say(gzip.compress(body, 1), headers={"Content-Encoding": "gzip"}))
    assert session_of(wire.base_url).exchange("GET", wire.base_url).body == body


def test_the_limit_is_64_mib() -> None:
    assert _http.ANSWER_BYTES == 64 * 1024 * 1024


# -- why there is no answer -----------------------------------------------------------------------------------------


def no_such_name(*_args: object, **_options: object) -> None:
    """In place of a resolver, which a test can't have for itself."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_that_is_unknown_and_a_port_that_is_closed_are_told_apart(
    session_of: SessionOf, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(NoAnswer) as refused:
        session_of(url).exchange("PUT", url)
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(NoAnswer) as unknown:
        session_of(f"https://{HOST}").exchange("PUT", f"https://{HOST}")
    assert refused.value.why == "the connection is refused, nothing listens there; check base_url"
    assert unknown.value.why == "its name can't be resolved (Name or service not known); check base_url and DNS"
    assert not refused.value.maybe_done and not unknown.value.maybe_done


def test_the_first_retry_of_a_failed_connection_is_said_and_no_other_short_one(
    session_of: SessionOf, told: Told
) -> None:
    port = closed_port()
    with pytest.raises(NoAnswer):
        session_of(f"http://127.0.0.1:{port}", retries=3).exchange("GET", f"http://127.0.0.1:{port}")
    cause = "the connection is refused, nothing listens there; check base_url"
    assert told == [f"the API (127.0.0.1:{port}): {cause}; trying again"]


def test_a_connection_that_is_closed_and_one_that_is_silent_are_told_apart(
    make_raw: Callable[..., str], session_of: SessionOf
) -> None:
    closing = make_raw(lambda connection: connection.recv(65536))
    with pytest.raises(NoAnswer, match="the connection was closed before the answer was complete") as closed:
        session_of(closing, retries=0).exchange("PUT", closing)
    silent = make_raw(lambda connection: (connection.recv(65536), connection.recv(65536)))
    with pytest.raises(NoAnswer, match=r"no answer within 0.1 s") as late:
        session_of(silent, retries=0, timeout=0.1).exchange("PUT", silent)
    assert closed.value.maybe_done and late.value.maybe_done


def test_the_options_that_are_named_are_those_of_the_server(session_of: SessionOf) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    with pytest.raises(NoAnswer, match=r"check escrow.url"):
        session_of(url, url_option="escrow.url").exchange("GET", url)


# -- certificates ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA of a company."""
    return make_authority(tmp_path_factory.mktemp("ca"), HOST)


@pytest.fixture
def make_tls(make_wire: Callable[..., Wire]) -> Callable[[Path], Wire]:
    """Servers with these certificates."""

    def make(certificate: Path) -> Wire:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        wire = make_wire(context)
        wire.say(Say({}))
        return wire

    return make


MakeTls = Callable[[Path], Wire]


def test_a_ca_that_nobody_has_named_is_not_trusted_and_the_error_says_where_to_name_it(
    make_tls: MakeTls, authority: Authority, session_of: SessionOf, pauses: list[float]
) -> None:
    wire = make_tls(authority.server)
    with pytest.raises(NoAnswer) as caught:
        session_of(wire.base_url).exchange("PUT", wire.base_url)
    assert caught.value.why == (
        "its certificate is not trusted (unable to get local issuer certificate); if a CA of your own has signed it, or"
        " a proxy opens TLS, set ca_path, REQUESTS_CA_BUNDLE or SSL_CERT_FILE to a file with that CA's certificate"
    )
    assert not caught.value.maybe_done
    assert wire.heard == [] and pauses == []


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_of_the_environment_is_trusted(
    make_tls: MakeTls, authority: Authority, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    wire = make_tls(authority.server)
    monkeypatch.setenv(name, str(authority.ca))
    assert session_of(wire.base_url).exchange("GET", wire.base_url).status == 200


def test_a_folder_of_certificates_is_trusted(
    make_tls: MakeTls, authority: Authority, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wire = make_tls(authority.server)
    digest = hash_of(authority.ca)
    (tmp_path / f"{digest}.0").write_bytes(authority.ca.read_bytes())
    assert session_of(wire.base_url, ca_path=str(tmp_path)).exchange("GET", wire.base_url).status == 200
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert session_of(wire.base_url).exchange("GET", wire.base_url).status == 200


def hash_of(certificate: Path) -> str:
    """The name by which OpenSSL finds a certificate in a folder."""
    import subprocess

    command = ["openssl", "x509", "-hash", "-noout", "-in", str(certificate)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_ca_path_is_trusted_instead_of_everything_else(
    make_tls: MakeTls, authority: Authority, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = make_tls(authority.server)
    assert session_of(wire.base_url, ca_path=str(authority.ca)).exchange("GET", wire.base_url).status == 200
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(authority.ca))
    with pytest.raises(NoAnswer, match="is not trusted"):
        session_of(wire.base_url, ca_path=certifi.where()).exchange("GET", wire.base_url)


def test_a_bundle_for_requests_is_trusted_instead_of_the_systems(
    make_tls: MakeTls, authority: Authority, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = make_tls(authority.server)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    with pytest.raises(NoAnswer, match="is not trusted"):
        session_of(wire.base_url).exchange("GET", wire.base_url)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("content", [None, "no certificate\n", ""])
def test_a_bundle_that_is_none_is_named(
    session_of: SessionOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str | None
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content, encoding="utf-8")
    monkeypatch.setenv(name, str(bundle))
    why = "there is no such file" if content is None else "it can't be read as certificates in PEM format"
    with pytest.raises(InputError) as caught:
        session_of(f"https://{HOST}")
    assert caught.value.message == f"{name} '{bundle}': {why}"


def test_folders_of_certificates_that_are_not_there_are_named(
    session_of: SessionOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}/none:{tmp_path}/neither")
    with pytest.raises(InputError, match=f"SSL_CERT_DIR '{tmp_path}/none:{tmp_path}/neither': there is no such folder"):
        session_of(f"https://{HOST}")
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}/none:{tmp_path}")
    session_of(f"https://{HOST}")


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_nothing_is_checked_when_the_user_says_so(
    make_tls: MakeTls, authority: Authority, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = make_tls(authority.server)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    assert session_of(wire.base_url, validate_certs=False).exchange("GET", wire.base_url).status == 200


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("expired", r"its certificate is not valid now \(certificate has expired\); check the clock of this host"),
        ("other_host", r"its certificate is for another host; check base_url"),
    ],
)
def test_a_wrong_certificate_is_told_by_what_is_wrong(
    make_tls: MakeTls, authority: Authority, session_of: SessionOf, which: str, why: str
) -> None:
    wire = make_tls(getattr(authority, which))
    with pytest.raises(NoAnswer, match=why):
        session_of(wire.base_url, ca_path=str(authority.ca)).exchange("GET", wire.base_url)


def test_a_server_without_tls_is_told(wire: Wire, session_of: SessionOf) -> None:
    url = wire.base_url.replace("http:", "https:")
    with pytest.raises(NoAnswer, match=r"TLS failed \(.*\); check base_url and what is in between"):
        session_of(url).exchange("GET", url)


# -- proxies --------------------------------------------------------------------------------------------------------


class Proxy:
    """A proxy for TLS that connects to one server, or answers what a test says."""

    def __init__(self, target: Wire | None = None, refusal: bytes = b"") -> None:
        self.heard: list[bytes] = []
        self._target = target
        self._refusal = refusal

    def __call__(self, connection: socket.socket) -> None:
        self.heard.append(connection.recv(65536))
        if self._target is None:
            connection.sendall(b"HTTP/1.1 " + self._refusal + b"\r\nContent-Length: 0\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self._target.port)) as beyond:
            back = threading.Thread(target=_pump, args=(beyond, connection), daemon=True)
            back.start()
            _pump(connection, beyond)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


MakeRaw = Callable[..., str]


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_used_with_the_session_s_certificates(
    make_tls: MakeTls,
    make_raw: MakeRaw,
    authority: Authority,
    session_of: SessionOf,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    proxy = Proxy(make_tls(authority.server))
    monkeypatch.setenv(variable, make_raw(proxy))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    assert session_of(f"https://{HOST}").exchange("GET", f"https://{HOST}/x").status == 200
    assert proxy.heard[0].startswith(b"CONNECT " + HOST.encode() + b":443 HTTP/1.")


def test_a_proxy_that_opens_tls_is_named_as_a_cause(
    make_tls: MakeTls, make_raw: MakeRaw, authority: Authority, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", make_raw(Proxy(make_tls(authority.server))))
    with pytest.raises(NoAnswer, match=r"is not trusted \(.*a proxy opens TLS, set ca_path") as caught:
        session_of(f"https://{HOST}").exchange("PUT", f"https://{HOST}/x")
    assert not caught.value.maybe_done


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (
            b"407 Proxy Authentication Required",
            "the proxy wants a password (407); put it into https_proxy as http://USER:PASSWORD@HOST:PORT",
        ),
        (
            b"403 Forbidden",
            "the proxy refuses the connection (403); have it allowed, or check https_proxy and no_proxy",
        ),
    ],
)
def test_a_proxy_that_refuses_is_told_by_its_reason_and_nothing_was_sent(
    make_raw: MakeRaw, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch, refusal: bytes, why: str
) -> None:
    monkeypatch.setenv("https_proxy", make_raw(Proxy(refusal=refusal)))
    with pytest.raises(NoAnswer) as caught:
        session_of(f"https://{HOST}").exchange("PUT", f"https://{HOST}/x")
    assert caught.value.why == why
    assert not caught.value.maybe_done


def test_a_proxy_that_is_not_there_is_told_apart_from_the_server(
    session_of: SessionOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(NoAnswer) as caught:
        session_of(f"https://{HOST}").exchange("PUT", f"https://{HOST}/x")
    assert caught.value.why == (
        "the proxy can't be used: the connection is refused, nothing listens there; check https_proxy"
    )
    assert not caught.value.maybe_done


def test_the_password_of_a_proxy_is_in_no_message(session_of: SessionOf, monkeypatch: pytest.MonkeyPatch) -> None:
    port = closed_port()
    for scheme in ("http", "https", "ftp", "socks5", ""):
        monkeypatch.setenv("https_proxy", f"{scheme}://user:hunter2hunter2@127.0.0.1:{port}")
        with pytest.raises(NoAnswer) as caught:
            session_of(f"https://{HOST}").exchange("PUT", f"https://{HOST}/x")
        assert "hunter2" not in f"{caught.value} {caught.value.why} {caught.value.__cause__}"
        assert not caught.value.maybe_done


def test_a_socks_proxy_without_pysocks_says_what_to_install(
    session_of: SessionOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(NoAnswer) as caught:
        session_of(f"https://{HOST}").exchange("PUT", f"https://{HOST}/x")
    assert caught.value.why == (
        "the proxy of the environment is a SOCKS proxy, for which PySocks is missing; pip install PySocks"
    )
    assert not caught.value.maybe_done


def test_no_proxy_is_used_for_this_machine_or_where_no_proxy_says_so(
    wire: Wire, make_raw: MakeRaw, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(refusal=b"403 Forbidden")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, make_raw(proxy))
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{wire.port}"
        assert session_of(url).exchange("GET", url).status == 200
    monkeypatch.setenv("no_proxy", HOST)
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(NoAnswer, match="its name can't be resolved"):
        session_of(f"https://{HOST}").exchange("GET", f"https://{HOST}")
    assert proxy.heard == []
