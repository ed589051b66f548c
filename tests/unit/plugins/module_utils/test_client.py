# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client over real HTTP: who it says it is, what it repeats, what it makes of each answer."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client, Connection
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
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from urllib3.exceptions import ConnectTimeoutError, ProtocolError

from tests.harness.simulator import Simulator
from tests.unit.plugins.module_utils.conftest import ACCOUNT, TOKEN, Heard, Say, Wire, envelope

ClientOf = Callable[..., Client]
PSK = "Zk3VtYq0sWn8RbX2mLd7uHc5"
NEW = {"name": "a new one", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.200.0.0/31"}


def asked(simulator: Simulator, operation: str) -> list[dict[str, Any]]:
    """The requests for this operation that reached the simulator."""
    return [entry for entry in simulator.journal() if entry["operation"] == operation]


def some_psks(simulator: Simulator, count: int = 3) -> dict[str, str]:
    """New PSKs for the first tunnels."""
    return {tunnel["id"]: f"{PSK}{number}" for number, tunnel in enumerate(simulator.state()["tunnels"][:count])}


def held(simulator: Simulator, psks: dict[str, str]) -> dict[str, str]:
    """The PSKs that those tunnels have."""
    return {tunnel["id"]: tunnel["psk"] for tunnel in simulator.state()["tunnels"] if tunnel["id"] in psks}


# -- who it says it is ----------------------------------------------------------------------------------------------


def test_a_token_goes_out_as_a_bearer_token_and_nothing_else(wire: Wire, client_of: ClientOf) -> None:
    client_of(wire).list_tunnels()
    (heard,) = wire.heard
    assert heard.headers["authorization"] == f"Bearer {TOKEN}"
    assert not {"x-auth-email", "x-auth-key"} & set(heard.headers)


def test_email_and_key_go_out_in_their_own_headers_and_no_authorization(wire: Wire, client_of: ClientOf) -> None:
    client_of(wire, api_token=None, api_email="a@example.com", api_key="the-global-key").list_tunnels()
    (heard,) = wire.heard
    assert (heard.headers["x-auth-email"], heard.headers["x-auth-key"]) == ("a@example.com", "the-global-key")
    assert "authorization" not in heard.headers


def test_the_token_wins_over_email_and_key(wire: Wire, client_of: ClientOf) -> None:
    client_of(wire, api_email="a@example.com", api_key="the-global-key").list_tunnels()
    (heard,) = wire.heard
    assert heard.headers["authorization"] == f"Bearer {TOKEN}"
    assert not {"x-auth-email", "x-auth-key"} & set(heard.headers)


def test_the_simulator_accepts_both_schemes(simulator: Simulator, client_of: ClientOf) -> None:
    client_of(simulator).list_tunnels()
    client_of(simulator, api_token=None, api_email="sim@example.com", api_key="sim-key").list_tunnels()
    assert [entry["auth"] for entry in simulator.journal()] == ["token", "key"]


@pytest.mark.parametrize("scheme", ["token", "key"])
def test_netrc_is_not_used(
    wire: Wire, client_of: ClientOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login netrc-user password netrc-password\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    key = {} if scheme == "token" else {"api_token": None, "api_email": "a@example.com", "api_key": "the-global-key"}
    client_of(wire, **key).list_tunnels()
    (heard,) = wire.heard
    assert heard.headers.get("authorization") == (f"Bearer {TOKEN}" if scheme == "token" else None)


def test_it_has_a_user_agent_of_its_own_and_asks_for_health_targets_as_objects(wire: Wire, client_of: ClientOf) -> None:
    client_of(wire).list_tunnels()
    assert wire.heard[0].headers["user-agent"].startswith("magicwan.cloudflare/")
    assert wire.heard[0].headers["x-magic-new-hc-target"] == "true"


def test_a_hundred_requests_take_one_connection(wire: Wire, client_of: ClientOf) -> None:
    client = client_of(wire)
    for _number in range(100):
        client.list_tunnels()
    assert len(wire.heard) == 100
    assert len({heard.port for heard in wire.heard}) == 1


# -- where it goes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base_url", ["http://api.cloudflare.com/client/v4", "http://192.0.2.1:8080", "http://127.0.0.1.example.com/"]
)
def test_plain_http_to_another_machine_is_refused(base_url: str) -> None:
    with pytest.raises(InputError, match="base_url must use https"):
        Connection(account_id=ACCOUNT, api_token=TOKEN, base_url=base_url)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.1.2.3"])
def test_plain_http_to_this_machine_is_accepted(host: str) -> None:
    connection = Connection(account_id=ACCOUNT, api_token=TOKEN, base_url=f"http://{host}/client/v4")
    assert connection.base_url == f"http://{host}/client/v4"


@pytest.mark.parametrize("base_url", ["", "api.cloudflare.com", "ftp://127.0.0.1/", "https://"])
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(InputError, match="base_url"):
        Connection(account_id=ACCOUNT, api_token=TOKEN, base_url=base_url)


def test_credentials_in_the_base_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="base_url must not hold credentials") as caught:
        Connection(account_id=ACCOUNT, api_token=TOKEN, base_url="https://user:hunter2hunter2@example.com/")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("account", ["../zones", "a b", "x" * 33, "a/b"])
def test_an_account_id_that_would_change_the_path_is_refused(account: str) -> None:
    with pytest.raises(InputError, match="account_id"):
        Connection(account_id=account, api_token=TOKEN)


@pytest.mark.parametrize("field", ["api_token", "api_email", "api_key"])
def test_a_line_break_in_a_credential_is_refused_and_not_repeated(field: str) -> None:
    values = {"api_token": None, "api_email": "a@example.com", "api_key": "a-key", field: "hunter2hunter2\n"}
    with pytest.raises(InputError, match=field) as caught:
        Connection(account_id=ACCOUNT, **values)
    assert "hunter2" not in str(caught.value)


def test_no_credentials_are_an_error_that_names_the_options() -> None:
    with pytest.raises(InputError, match=r"api_token.*CLOUDFLARE_API_TOKEN.*api_email and api_key"):
        Connection(account_id=ACCOUNT)


@pytest.mark.parametrize("tunnel_id", ["psk", "../routes", "a/b", "", "x" * 33, "a?b"])
def test_a_tunnel_id_that_would_change_the_path_is_not_sent(wire: Wire, client_of: ClientOf, tunnel_id: str) -> None:
    with pytest.raises(InputError, match="is not a tunnel id"):
        client_of(wire).delete_tunnel(tunnel_id)
    assert wire.heard == []


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    wire: Wire, client_of: ClientOf, make_wire: Callable[..., Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = make_wire()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.base_url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    client_of(wire).list_tunnels()
    assert (len(wire.heard), len(proxy.heard)) == (1, 0)


@pytest.mark.parametrize("operation", ["list", "create", "psk_set"])
def test_a_redirect_is_refused_and_its_target_hears_nothing(
    simulator: Simulator, client: Client, wire: Wire, operation: str
) -> None:
    simulator.arm({"route": operation, "redirect": wire.base_url})
    calls: dict[str, Callable[[], Any]] = {
        "list": client.list_tunnels,
        "create": lambda: client.create_tunnel(NEW),
        "psk_set": lambda: client.set_psks(some_psks(simulator)),
    }
    with pytest.raises(AnswerError, match=f"redirects to 127.0.0.1:{wire.port}, which is refused") as caught:
        calls[operation]()
    assert wire.heard == []
    assert not caught.value.outcome_unknown


# -- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + made.public_bytes(pem)
    )
    return path


@pytest.fixture
def tls_wire(make_wire: Callable[..., Wire], certificate: Path) -> Wire:
    """A server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return make_wire(context)


def test_an_unknown_certificate_is_refused_without_another_try(
    tls_wire: Wire, client_of: ClientOf, pauses: list[float]
) -> None:
    with pytest.raises(TransportError, match="TLS failed; check ca_path, validate_certs") as caught:
        client_of(tls_wire, retries=6).list_tunnels()
    assert tls_wire.heard == [] and pauses == []
    assert "\n" not in str(caught.value)


def test_ca_path_says_which_certificates_are_trusted(tls_wire: Wire, client_of: ClientOf, certificate: Path) -> None:
    assert client_of(tls_wire, ca_path=str(certificate)).list_tunnels() == []


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_validate_certs_false_holds_against_requests_ca_bundle(
    tls_wire: Wire, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    import certifi

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    assert client_of(tls_wire, validate_certs=False).list_tunnels() == []


def test_ca_path_holds_against_requests_ca_bundle(
    tls_wire: Wire, client_of: ClientOf, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import certifi

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with pytest.raises(TransportError, match="TLS failed"):
        client_of(tls_wire, ca_path=certifi.where()).list_tunnels()


# -- what it repeats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 502, "html": True}, {"status": 503}, {"status": 408}, {"drop": True}], ids=str
)
def test_a_read_is_repeated(simulator: Simulator, client: Client, fault: dict[str, Any]) -> None:
    simulator.arm({"route": "list", **fault})
    assert len(client.list_tunnels()) == 24
    assert len(asked(simulator, "list")) == 2


def test_no_more_than_retries_times(simulator: Simulator, client_of: ClientOf) -> None:
    simulator.arm({"route": "list", "status": 503, "count": 0})
    with pytest.raises(ServerError):
        client_of(simulator, retries=3).list_tunnels()
    assert len(asked(simulator, "list")) == 4


def test_the_pauses_grow(simulator: Simulator, client_of: ClientOf, pauses: list[float]) -> None:
    simulator.arm({"route": "list", "status": 503, "count": 0})
    with pytest.raises(ServerError):
        client_of(simulator, retries=6).list_tunnels()
    assert pauses == sorted(pauses) and 16 <= pauses[-1] < 17


@pytest.mark.parametrize("seconds", [1, 300, 900])
def test_retry_after_is_honoured(simulator: Simulator, client: Client, pauses: list[float], seconds: int) -> None:
    simulator.arm({"route": "list", "status": 429, "headers": {"Retry-After": str(seconds)}})
    assert len(client.list_tunnels()) == 24
    assert pauses == [seconds]


@pytest.mark.parametrize("operation", ["create", "update", "delete", "psk_set"])
def test_a_write_is_repeated_after_429_with_retry_after(
    simulator: Simulator, client: Client, pauses: list[float], operation: str
) -> None:
    tunnel = simulator.state()["tunnels"][0]
    calls: dict[str, Callable[[], Any]] = {
        "create": lambda: client.create_tunnel(NEW),
        "update": lambda: client.update_tunnel(tunnel["id"], {**NEW, "name": tunnel["name"]}),
        "delete": lambda: client.delete_tunnel(tunnel["id"]),
        "psk_set": lambda: client.set_psks({tunnel["id"]: PSK}),
    }
    simulator.arm({"route": operation, "status": 429, "headers": {"Retry-After": "7"}})
    calls[operation]()
    assert [entry["changed"] for entry in asked(simulator, operation)] == [False, True]
    assert pauses == [7]


def test_a_429_that_lasts_is_a_rate_limit_error_with_a_known_outcome(simulator: Simulator, client: Client) -> None:
    simulator.arm({"route": "create", "status": 429, "headers": {"Retry-After": "1"}, "count": 0})
    with pytest.raises(RateLimitError, match=r"HTTP 429, code 971.*wait for the rate limit") as caught:
        client.create_tunnel(NEW)
    assert (caught.value.status, caught.value.code, caught.value.outcome_unknown) == (429, 971, False)


@pytest.mark.parametrize(
    ("header", "reserve", "expected"),
    [
        ('"default";r=1;t=30', 1, 0),
        ('"default";r=0;t=30', 1, 30),
        ('"default";r=3;t=30', 4, 30),
        ('"burst";r=50;t=2, "default"; r=0; t=300', 1, 300),
        ('"default";r=0;t=86400', 1, 600),
        ("", 1, 0),
        ("nonsense", 1, 0),
    ],
)
def test_the_next_request_waits_when_the_rate_limit_is_used_up(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, header: str, reserve: int, expected: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(_client, "time", SimpleNamespace(sleep=slept.append, monotonic=lambda: 1000.0))
    wire.say(Say(envelope({"ipsec_tunnels": []}), headers={"Ratelimit": header}))
    client = Client(Connection(account_id=ACCOUNT, api_token=TOKEN, base_url=wire.base_url), reserve=reserve)
    client.list_tunnels()
    client.list_tunnels()
    assert slept == [0, expected]


def test_a_rate_limit_is_never_reached(make_simulator: Callable[..., Simulator]) -> None:
    simulator = make_simulator(args=["--rate-limit", "3/1/60"])
    client = Client(Connection(account_id=simulator.account, api_token=simulator.token, base_url=simulator.base_url))
    for _number in range(5):
        client.list_tunnels()
    assert [entry["status"] for entry in simulator.journal()] == [200] * 5


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 502, "html": True}, {"drop": True}], ids=str)
def test_a_create_is_not_repeated_after_a_lost_answer(
    simulator: Simulator, client: Client, fault: dict[str, Any], when: str
) -> None:
    simulator.arm({"route": "create", "when": when, **fault})
    with pytest.raises(CloudflareError) as caught:
        client.create_tunnel(NEW)
    assert len(asked(simulator, "create")) == 1
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("fault", [{"status": 502}, {"drop": True}], ids=str)
def test_an_update_is_repeated(simulator: Simulator, client: Client, fault: dict[str, Any]) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "update", "when": "after", **fault})
    updated = client.update_tunnel(tunnel["id"], {**NEW, "name": tunnel["name"], "description": "changed"})
    assert updated["description"] == "changed"
    assert len(asked(simulator, "update")) == 2


def test_a_delete_whose_answer_was_lost_is_repeated_and_counts_as_done(simulator: Simulator, client: Client) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "delete", "when": "after", "drop": True})
    client.delete_tunnel(tunnel["id"])
    assert [entry["status"] for entry in asked(simulator, "delete")] == [None, 404]
    assert len(simulator.state()["tunnels"]) == 23


@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 502, "html": True}, {"drop": True}], ids=str)
def test_psks_are_set_again_with_the_same_values_and_flagged(
    simulator: Simulator, client: Client, fault: dict[str, Any]
) -> None:
    psks = some_psks(simulator)
    simulator.arm({"route": "psk_set", "when": "after", **fault})
    answer = client.set_psks(psks)
    assert answer.repeated
    assert [entry["changed"] for entry in asked(simulator, "psk_set")] == [True, True]
    assert held(simulator, psks) == psks
    assert {tunnel_id: done["psk"] for tunnel_id, done in answer.applied.items()} == psks


def test_psks_that_were_set_at_once_are_not_flagged_as_repeated(simulator: Simulator, client: Client) -> None:
    assert not client.set_psks(some_psks(simulator)).repeated


def test_psks_that_were_repeated_after_429_are_not_flagged_as_repeated(simulator: Simulator, client: Client) -> None:
    simulator.arm({"route": "psk_set", "status": 429, "headers": {"Retry-After": "1"}})
    assert not client.set_psks(some_psks(simulator)).repeated


def test_a_validation_is_never_flagged_as_repeated(simulator: Simulator, client: Client) -> None:
    simulator.arm({"route": "psk_set", "status": 502})
    answer = client.set_psks(some_psks(simulator), validate_only=True)
    assert not answer.repeated
    assert len(answer.applied) == 3 and simulator.writes() == 0


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ((), False),
        ((SimpleNamespace(status=429, error=None),), False),
        ((SimpleNamespace(status=None, error=ConnectTimeoutError("no way")),), False),
        ((SimpleNamespace(status=502, error=None),), True),
        ((SimpleNamespace(status=None, error=ProtocolError("cut")),), True),
        ((SimpleNamespace(status=502, error=None), SimpleNamespace(status=429, error=None)), True),
    ],
)
def test_only_attempts_that_got_through_make_a_call_repeated(attempts: tuple[Any, ...], expected: bool) -> None:
    response: Any = SimpleNamespace(raw=SimpleNamespace(retries=SimpleNamespace(history=attempts)))
    assert _client._may_have_been_done_before(response) is expected


# -- what it makes of an answer -------------------------------------------------------------------------------------


WRITES: dict[str, Callable[[Client, str], Any]] = {
    "create": lambda client, tunnel_id: client.create_tunnel(NEW),
    "update": lambda client, tunnel_id: client.update_tunnel(tunnel_id, NEW),
    "delete": lambda client, tunnel_id: client.delete_tunnel(tunnel_id),
    "psk_set": lambda client, tunnel_id: client.set_psks({tunnel_id: PSK}),
}


@pytest.mark.parametrize("operation", list(WRITES))
@pytest.mark.parametrize(
    ("fault", "kind", "unknown"),
    [
        ({"status": 400}, ApiError, False),
        ({"status": 401}, AuthError, False),
        ({"status": 403}, AuthError, False),
        ({"status": 403, "html": True}, AuthError, False),
        ({"status": 429}, RateLimitError, False),
        ({"success_false": True}, ApiError, True),
        ({"redirect": "https://example.com/"}, AnswerError, False),
        ({"status": 408}, ServerError, True),
        ({"status": 500}, ServerError, True),
        ({"status": 520, "html": True}, ServerError, True),
        ({"drop": True}, TransportError, True),
        ({"truncate": "closed"}, AnswerError, True),
        ({"truncate": "announced"}, TransportError, True),
        ({"reset_mid_body": True}, TransportError, True),
    ],
    ids=str,
)
def test_the_outcome_of_a_write_is_unknown_only_when_it_may_have_been_carried_out(
    simulator: Simulator,
    client_of: ClientOf,
    operation: str,
    fault: dict[str, Any],
    kind: type[CloudflareError],
    unknown: bool,
) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": operation, **fault})
    with pytest.raises(CloudflareError) as caught:
        WRITES[operation](client_of(simulator, retries=0), tunnel["id"])
    assert type(caught.value) is kind
    assert caught.value.outcome_unknown is unknown
    assert ("whether it was carried out is not known" in str(caught.value)) is unknown
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"drop": True}, {"truncate": "closed"}, {"truncate": "announced"}], ids=str
)
def test_the_outcome_of_a_read_is_never_unknown(
    simulator: Simulator, client_of: ClientOf, fault: dict[str, Any]
) -> None:
    simulator.arm({"route": "list", **fault})
    with pytest.raises(CloudflareError) as caught:
        client_of(simulator, retries=0).list_tunnels()
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("operation", list(WRITES))
def test_the_outcome_of_a_validation_is_never_unknown(
    simulator: Simulator, client_of: ClientOf, operation: str
) -> None:
    simulator.arm({"status": 502, "validate_only": True})
    client, tunnel = client_of(simulator, retries=0), simulator.state()["tunnels"][0]
    calls: dict[str, Callable[[], Any]] = {
        "create": lambda: client.create_tunnel(NEW, validate_only=True),
        "update": lambda: client.update_tunnel(tunnel["id"], NEW, validate_only=True),
        "delete": lambda: client.delete_tunnel(tunnel["id"], validate_only=True),
        "psk_set": lambda: client.set_psks({tunnel["id"]: PSK}, validate_only=True),
    }
    with pytest.raises(ServerError) as caught:
        calls[operation]()
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("operation", list(WRITES))
@pytest.mark.parametrize("retries", [0, 2])
def test_a_write_that_never_got_a_connection_was_not_carried_out(operation: str, retries: int) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]  # bound, but nobody listens
        connection = Connection(
            account_id=ACCOUNT, api_token=TOKEN, base_url=f"http://127.0.0.1:{port}", retries=retries
        )
        with pytest.raises(TransportError, match="the connection failed") as caught:
            WRITES[operation](Client(connection), "abc")
    assert not caught.value.outcome_unknown


def test_a_lost_answer_stays_unknown_when_the_server_is_gone_at_the_next_try(
    make_wire: Callable[..., Wire], client_of: ClientOf
) -> None:
    wire = make_wire()

    def answer_and_die(heard: Heard) -> Say:
        wire._server.socket.close()
        return Say(b"", 502, {"Connection": "close"})

    wire.say(answer_and_die)
    with pytest.raises(TransportError) as caught:
        client_of(wire, retries=2).set_psks({"abc": PSK})
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("last", [Say(envelope(success=False), 400), Say(b"", 307, {"Location": "https://a.example"})])
def test_a_refusal_of_the_second_try_leaves_the_outcome_of_the_first_unknown(
    wire: Wire, client_of: ClientOf, last: Say
) -> None:
    wire.say(Say(b"<html>", 502), last)
    with pytest.raises(CloudflareError) as caught:
        client_of(wire).set_psks({"abc": PSK})
    assert caught.value.outcome_unknown


def test_an_html_page_is_named_as_such_with_status_and_ray(simulator: Simulator, client_of: ClientOf) -> None:
    simulator.arm({"route": "list", "status": 502, "html": True})
    with pytest.raises(ServerError, match=r"HTTP 502 with HTML instead of the API's answer, cf-ray \w+-SIM") as caught:
        client_of(simulator, retries=0).list_tunnels()
    assert caught.value.failure["status"] == 502
    assert caught.value.failure["ray_id"].endswith("-SIM")


def test_a_cut_answer_is_named_as_such(simulator: Simulator, client_of: ClientOf) -> None:
    simulator.arm({"route": "list", "truncate": "closed"}, {"route": "list", "truncate": "announced"})
    with pytest.raises(AnswerError, match="no complete JSON"):
        client_of(simulator).list_tunnels()
    with pytest.raises(TransportError, match="closed before the answer was complete"):
        client_of(simulator).list_tunnels()


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"text"', b"{}", b"\xff\xfe", b'{"result": {}}'])
def test_json_without_the_envelope_is_no_answer(wire: Wire, client_of: ClientOf, body: bytes) -> None:
    wire.say(Say(body))
    with pytest.raises(AnswerError, match="HTTP 200 with no complete JSON"):
        client_of(wire).list_tunnels()


def test_success_false_in_a_200_is_an_error(simulator: Simulator, client: Client) -> None:
    simulator.arm({"route": "list", "success_false": True, "code": 1012, "message": "not onboarded"})
    with pytest.raises(ApiError, match=r"not onboarded \(HTTP 200, code 1012") as caught:
        client.list_tunnels()
    assert caught.value.failure["message"] == "not onboarded"


@pytest.mark.parametrize("operation", ["update", "delete"])
def test_modified_false_in_a_200_is_an_error(simulator: Simulator, client: Client, operation: str) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": operation, "modified_false": True})
    with pytest.raises(ApiError, match=r"(modified|deleted): false, so nothing was changed"):
        WRITES[operation](client, tunnel["id"])


def test_an_empty_account_has_an_empty_list(simulator: Simulator, client: Client) -> None:
    simulator.arm({"route": "list", "empty_list": True})
    assert client.list_tunnels() == []


def test_a_list_with_one_id_twice_is_refused(simulator: Simulator, client: Client) -> None:
    simulator.arm({"route": "list", "duplicate_ids": True})
    with pytest.raises(AnswerError, match="one tunnel id twice"):
        client.list_tunnels()


@pytest.mark.parametrize(
    "result", ["text", {"ipsec_tunnels": "text"}, {"ipsec_tunnels": [1]}, {"ipsec_tunnels": [{"name": "a"}]}], ids=str
)
def test_a_list_that_is_none_is_refused(wire: Wire, client_of: ClientOf, result: Any) -> None:
    wire.say(Say(envelope(result)))
    with pytest.raises(AnswerError, match="holds no list of tunnels"):
        client_of(wire).list_tunnels()


def test_one_page_of_several_is_refused(wire: Wire, client_of: ClientOf) -> None:
    wire.say(Say(envelope({"ipsec_tunnels": []}, result_info={"page": 1, "total_pages": 2})))
    with pytest.raises(AnswerError, match="one page of 2"):
        client_of(wire).list_tunnels()


def test_the_older_shape_of_a_created_tunnel_is_understood(wire: Wire, client_of: ClientOf) -> None:
    wire.say(Say(envelope({"ipsec_tunnels": [{"id": "abc", "name": "a new one"}]})))
    assert client_of(wire).create_tunnel(NEW)["id"] == "abc"


@pytest.mark.parametrize("result", [None, {}, [], {"modified_ipsec_tunnel": {}}], ids=str)
def test_a_write_that_answers_no_tunnel_has_an_unknown_outcome(wire: Wire, client_of: ClientOf, result: Any) -> None:
    wire.say(Say(envelope(result)))
    with pytest.raises(AnswerError, match="holds no tunnel") as caught:
        client_of(wire).update_tunnel("abc", NEW)
    assert caught.value.outcome_unknown


def test_an_error_has_all_its_parts(wire: Wire, client_of: ClientOf) -> None:
    error = {
        "code": 1022,
        "message": "interface_address overlaps",
        "documentation_url": "https://developers.example/1022",
        "source": {"pointer": "/interface_address"},
    }
    wire.say(Say(envelope(success=False, errors=[error]), 400, {"cf-ray": "8f1e2d3c4b5a6978-FRA"}))
    with pytest.raises(ApiError) as caught:
        client_of(wire).create_tunnel(NEW)
    assert caught.value.failure == {
        "kind": "ApiError",
        "status": 400,
        "code": 1022,
        "message": "interface_address overlaps",
        "pointer": "/interface_address",
        "ray_id": "8f1e2d3c4b5a6978-FRA",
        "documentation_url": "https://developers.example/1022",
        "outcome_unknown": False,
    }
    assert str(caught.value) == (
        "creating tunnel 'a new one': interface_address overlaps at /interface_address"
        " (HTTP 400, code 1022, cf-ray 8f1e2d3c4b5a6978-FRA)"
    )


def test_the_older_error_chain_tells_the_cause(wire: Wire, client_of: ClientOf) -> None:
    chain = [{"code": 6111, "message": "Invalid format for Authorization header"}]
    errors = [{"code": 6003, "message": "Invalid request headers", "error_chain": chain}]
    wire.say(Say(envelope(success=False, errors=errors), 400))
    with pytest.raises(ApiError, match=r"Invalid format for Authorization header \(HTTP 400, code 6111\)"):
        client_of(wire).list_tunnels()


@pytest.mark.parametrize("errors", [None, [], {}, "text", ["text"], [{}], [{"code": "text", "source": []}]], ids=str)
def test_a_refusal_without_a_reason_is_still_one_line(wire: Wire, client_of: ClientOf, errors: Any) -> None:
    wire.say(Say(envelope(success=False, errors=errors), 400))
    with pytest.raises(ApiError) as caught:
        client_of(wire).list_tunnels()
    assert str(caught.value) == "listing the IPsec tunnels: no reason given (HTTP 400)"


def test_a_tunnel_that_is_not_there_is_a_not_found_error(simulator: Simulator, client: Client) -> None:
    with pytest.raises(NotFoundError, match="IPsec tunnel not found"):
        client.get_tunnel("f" * 32)


def test_a_deleted_tunnel_counts_as_deleted(simulator: Simulator, client: Client) -> None:
    client.delete_tunnel("f" * 32)
    assert simulator.writes() == 0


def test_unapplied_psks_come_with_their_reason(simulator: Simulator, client: Client) -> None:
    psks = some_psks(simulator)
    last = list(psks)[-1]
    simulator.arm({"route": "psk_set", "unapplied": [last]})
    answer = client.set_psks(psks)
    assert answer.unapplied == {last: "failed to persist PSK"}
    assert set(answer.applied) == set(psks) - {last}


@pytest.mark.parametrize("result", [None, [], "text", {}, {"successfully_applied_psks": [], "unapplied_psks": None}])
def test_an_answer_without_psks_mentions_none(wire: Wire, client_of: ClientOf, result: Any) -> None:
    wire.say(Say(envelope(result)))
    answer = client_of(wire).set_psks({"abc": PSK})
    assert (answer.applied, answer.unapplied) == ({}, {})


# -- no secret in a message -----------------------------------------------------------------------------------------


def echo(status: int) -> Callable[[Heard], Say]:
    """An API that repeats all it was told, wherever it can."""

    def answer(heard: Heard) -> Say:
        said = f"{heard.headers.get('authorization')} {heard.headers.get('x-auth-key')}\n\t{heard.body}"
        error = {"code": 1000, "message": said, "documentation_url": said, "source": {"pointer": said}}
        fields = {"success": False, "errors": [error], "messages": [error]}
        return Say(envelope(said, **fields), status, {"cf-ray": " ".join(said.split())[:900]})

    return answer


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
@pytest.mark.parametrize(
    ("operation", "secret"),
    [
        ("list", TOKEN),
        ("create", PSK),
        ("update", PSK),
        ("psk_set", PSK),
        ("key", "the-global-key"),
    ],
)
def test_an_api_that_repeats_secrets_does_not_get_them_into_an_error(
    wire: Wire, client_of: ClientOf, status: int, operation: str, secret: str
) -> None:
    wire.say(echo(status))
    client = client_of(wire, retries=0)
    calls: dict[str, Callable[[], Any]] = {
        "list": client.list_tunnels,
        "create": lambda: client.create_tunnel({**NEW, "psk": PSK}),
        "update": lambda: client.update_tunnel("abc", {**NEW, "psk": PSK}),
        "psk_set": lambda: client.set_psks({"abc": PSK}),
        "key": client_of(
            wire, retries=0, api_token=None, api_email="a@example.com", api_key="the-global-key"
        ).list_tunnels,
    }
    with pytest.raises(CloudflareError) as caught:
        calls[operation]()
    told = f"{caught.value} {caught.value.failure} {caught.value.args} {caught.value.__cause__}"
    assert secret not in told and TOKEN not in told
    assert "********" in told
    assert "\n" not in str(caught.value)
    assert all("\n" not in str(value) for value in caught.value.failure.values())


def test_an_api_that_repeats_a_psk_as_its_reason_does_not_get_it_into_the_answer(
    wire: Wire, client_of: ClientOf
) -> None:
    wire.say(Say(envelope({"unapplied_psks": {"abc": f"the key\n{PSK} is bad"}})))
    assert client_of(wire).set_psks({"abc": PSK}).unapplied == {"abc": "the key ******** is bad"}


def test_a_message_as_long_as_a_book_is_cut(wire: Wire, client_of: ClientOf) -> None:
    wire.say(Say(envelope(success=False, errors=[{"code": 1000, "message": "word " * 10_000}]), 400))
    with pytest.raises(ApiError) as caught:
        client_of(wire).list_tunnels()
    assert len(str(caught.value)) < 500


# -- health -------------------------------------------------------------------------------------------------------

WINDOW = ("2026-06-14T05:15:00Z", "2026-06-14T05:20:00Z")


def graph(rows: Any, **fields: Any) -> Say:
    """An answer of the GraphQL API."""
    data = {"viewer": {"accounts": [{_client.HEALTH_DATASET: rows}]}}
    return Say({"data": data, "errors": None, **fields})


def row(name: str) -> dict[str, Any]:
    """One row of the health dataset."""
    return {"count": 1, "avg": {"tunnelState": 1}, "dimensions": {"tunnelName": name, "edgeColoName": "FRA"}}


def test_health_is_asked_for_25_tunnels_at_a_time(wire: Wire, client_of: ClientOf) -> None:
    wire.say(lambda heard: graph([row(name) for name in heard.body["variables"]["names"]]))
    names = [f"t{number}" for number in range(60)]
    found = client_of(wire).tunnel_health(names, *WINDOW)
    assert [x["dimensions"]["tunnelName"] for x in found] == names
    assert [len(heard.body["variables"]["names"]) for heard in wire.heard] == [25, 25, 10]
    assert {heard.path for heard in wire.heard} == {"/client/v4/graphql"}


def test_an_answer_that_may_be_cut_is_asked_for_again_in_halves(
    wire: Wire, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_client, "HEALTH_ROWS", 4)
    wire.say(lambda heard: graph([row(name) for name in heard.body["variables"]["names"] for _colo in range(2)][:4]))
    found = client_of(wire).tunnel_health(["a", "b"], *WINDOW)
    assert [x["dimensions"]["tunnelName"] for x in found] == ["a", "a", "b", "b"]
    assert [heard.body["variables"]["names"] for heard in wire.heard] == [["a", "b"], ["a"], ["b"]]


def test_one_tunnel_with_too_many_rows_is_an_error_that_names_it(
    wire: Wire, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_client, "HEALTH_ROWS", 1)
    wire.say(graph([row("a")]))
    with pytest.raises(AnswerError, match="'a': too many rows"):
        client_of(wire).tunnel_health(["a"], *WINDOW)


def test_graphql_errors_inside_a_200_are_errors_that_name_the_permission(wire: Wire, client_of: ClientOf) -> None:
    wire.say(Say({"data": None, "errors": [{"message": "not authorized for that account"}]}))
    with pytest.raises(ApiError, match=r"not authorized for that account.*Account Analytics Read") as caught:
        client_of(wire).tunnel_health(["a"], *WINDOW)
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        {"data": None},
        {"data": {"viewer": {"accounts": []}}},
        {"data": {"viewer": {"accounts": [{_client.HEALTH_DATASET: [{"count": 1}]}]}}},
        envelope({}),
    ],
)
def test_an_answer_without_health_data_is_an_error(wire: Wire, client_of: ClientOf, body: Any) -> None:
    wire.say(Say(body))
    with pytest.raises((AnswerError, ApiError)):
        client_of(wire).tunnel_health(["a"], *WINDOW)


@pytest.mark.parametrize(("status", "kind"), [(401, AuthError), (429, RateLimitError), (502, ServerError)])
def test_a_refused_health_query_is_typed_as_all_others(
    wire: Wire, client_of: ClientOf, status: int, kind: type[Exception]
) -> None:
    wire.say(Say({"success": False, "errors": [{"code": 10000, "message": "no"}], "result": None}, status))
    with pytest.raises(kind):
        client_of(wire, retries=0).tunnel_health(["a"], *WINDOW)
