# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client over real HTTP: who it says it is, what it repeats, what it makes of each answer."""

from __future__ import annotations

import socket
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
    StoppedError,
    TransportError,
)

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
    assert caught.value.outcome_unknown is (operation != "list")


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


@pytest.mark.parametrize("status", [408, 409, 500, 501, 520, 526, 529, 599])
def test_what_may_be_repeated_is_repeated_and_a_create_is_not(
    simulator: Simulator, client: Client, status: int
) -> None:
    psks = some_psks(simulator)
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm(*({"route": route, "status": status} for route in ("list", "psk_set", "update", "delete", "create")))
    client.list_tunnels()
    assert client.set_psks(psks).repeated is (status != 409)
    client.update_tunnel(tunnel["id"], {**NEW, "name": tunnel["name"]})
    client.delete_tunnel(tunnel["id"])
    with pytest.raises(CloudflareError) as caught:
        client.create_tunnel(NEW)
    assert caught.value.outcome_unknown is (status != 409)
    assert {route: len(asked(simulator, route)) for route in ("list", "psk_set", "update", "delete", "create")} == {
        "list": 2,
        "psk_set": 2,
        "update": 2,
        "delete": 2,
        "create": 1,
    }


def test_the_pauses_grow(simulator: Simulator, client_of: ClientOf, pauses: list[float]) -> None:
    simulator.arm({"route": "list", "status": 503, "count": 0})
    with pytest.raises(ServerError):
        client_of(simulator, retries=6).list_tunnels()
    assert pauses == sorted(pauses) and 16 <= pauses[-1] < 17


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


@pytest.mark.parametrize(
    "limited",
    [
        {"status": 429},
        {"status": 429, "code": 10100},
        {"status": 403, "code": 10100},
        {"status": 429, "headers": {"Retry-After": "soon"}},
        {"status": 403, "code": 971},
        {"status": 400, "code": 971},
        {"status": 429, "html": True},
    ],
    ids=str,
)
def test_a_block_without_a_time_is_waited_for_as_long_as_is_documented(
    simulator: Simulator, client_of: ClientOf, limited: dict[str, Any]
) -> None:
    psks, told, slept = some_psks(simulator), list[str](), list[float]()
    simulator.arm({"route": "psk_set", **limited, "count": 0})

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        simulator.clear_faults()

    client = client_of(simulator, say=told.append, sleep=sleep)
    assert set(client.set_psks(psks).applied) == set(psks)
    assert slept == [300]
    (line,) = told
    assert "Cloudflare's API" in line and "too many requests; waiting 300 s before the next try" in line
    assert held(simulator, psks) == psks


def test_the_block_is_waited_for_before_a_create_that_was_refused_for_certain_and_no_other(
    simulator: Simulator, client: Client, pauses: list[float]
) -> None:
    simulator.arm({"route": "create", "status": 429})
    client.create_tunnel(NEW)
    assert pauses == [300]
    simulator.arm({"route": "create", "status": 429, "html": True})
    with pytest.raises(RateLimitError) as caught:
        client.create_tunnel({**NEW, "name": "another one"})
    assert caught.value.outcome_unknown
    assert pauses == [300]


def test_a_429_that_lasts_is_a_rate_limit_error_with_a_known_outcome(simulator: Simulator, client: Client) -> None:
    simulator.arm({"route": "create", "status": 429, "headers": {"Retry-After": "1"}, "count": 0})
    with pytest.raises(RateLimitError, match=r"HTTP 429, code 971.*wait for the rate limit") as caught:
        client.create_tunnel(NEW)
    assert (caught.value.status, caught.value.code, caught.value.outcome_unknown) == (429, 971, False)


@pytest.mark.parametrize(
    ("header", "reserve", "expected"),
    [
        ('"default";r=1;t=30', 1, []),
        ('"default";r=0;t=30', 1, [30]),
        ('"default";r=3;t=30', 4, [30]),
        ('"burst";r=50;t=2, "default"; r=0; t=300', 1, [300]),
        ('"default";r=0;t=86400', 1, [600]),
        ("", 1, []),
        ("nonsense", 1, []),
    ],
)
def test_the_next_request_waits_when_the_rate_limit_is_used_up(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, header: str, reserve: int, expected: list[int]
) -> None:
    slept: list[float] = []
    told: list[str] = []
    monkeypatch.setattr(_client, "time", SimpleNamespace(sleep=slept.append, monotonic=lambda: 1000.0))
    wire.say(Say(envelope({"ipsec_tunnels": []}), headers={"Ratelimit": header}))
    connection = Connection(account_id=ACCOUNT, api_token=TOKEN, base_url=wire.base_url)
    client = Client(connection, reserve=reserve, say=told.append)
    client.list_tunnels()
    client.list_tunnels()
    assert slept == expected
    assert told == [
        f"Cloudflare's API: the rate limit is used up; waiting {seconds} s before the next request"
        for seconds in expected
    ]


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


@pytest.mark.parametrize("html", [False, True])
def test_psks_that_were_repeated_after_429_are_flagged_as_repeated_unless_it_was_the_apis_own_answer(
    simulator: Simulator, client: Client, html: bool
) -> None:
    fault = {"route": "psk_set", "status": 429, "headers": {"Retry-After": "1"}}
    simulator.arm({**fault, "html": True} if html else fault)
    assert client.set_psks(some_psks(simulator)).repeated is html


def test_a_validation_is_never_flagged_as_repeated(simulator: Simulator, client: Client) -> None:
    simulator.arm({"route": "psk_set", "status": 502})
    answer = client.set_psks(some_psks(simulator), validate_only=True)
    assert not answer.repeated
    assert len(answer.applied) == 3 and simulator.writes() == 0


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
        ({"status": 409}, ApiError, False),
        ({"status": 401, "html": True}, AnswerError, True),
        ({"status": 403, "html": True}, AnswerError, True),
        ({"status": 404, "html": True}, AnswerError, True),
        ({"status": 429, "html": True}, RateLimitError, True),
        ({"status": 451, "html": True}, AnswerError, True),
        ({"status": 429}, RateLimitError, False),
        ({"success_false": True}, ApiError, True),
        ({"redirect": "https://example.com/"}, AnswerError, True),
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
    assert ("it is not known whether it was carried out" in str(caught.value)) is unknown
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
        with pytest.raises(TransportError, match="the connection is refused, nothing listens there") as caught:
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


# -- the caller's word before each attempt ---------------------------------------------------------------------------


class Lease:
    """Says no at its n-th look, and notes how many requests there had been at each."""

    def __init__(self, wire: Wire, lost_at: int, error: Exception | None = None) -> None:
        self.looks: list[int] = []
        self._wire = wire
        self._lost_at = lost_at
        self._error = error or StoppedError("the lease of tunnel 'a' has ended")

    def __call__(self) -> None:
        self.looks.append(len(self._wire.heard))
        if len(self.looks) == self._lost_at:
            raise self._error


JSON_429 = Say(envelope(success=False, errors=[{"code": 971, "message": "too many"}]), 429)


def test_psks_are_set_after_a_look_at_the_lease_before_each_attempt(wire: Wire, client_of: ClientOf) -> None:
    wire.say(JSON_429, Say(b"<html>", 502), Say(envelope({})))
    lease = Lease(wire, lost_at=0)
    client_of(wire, retries=2).set_psks({"abc": PSK}, before_each=lease)
    assert lease.looks == [0, 1, 2]


def test_psks_are_not_sent_when_the_lease_is_gone(wire: Wire, client_of: ClientOf) -> None:
    with pytest.raises(StoppedError) as caught:
        client_of(wire).set_psks({"abc": PSK}, before_each=Lease(wire, lost_at=1))
    assert str(caught.value) == "setting 1 PSKs: stopped before it was sent: the lease of tunnel 'a' has ended"
    assert not caught.value.outcome_unknown
    assert wire.heard == []


@pytest.mark.parametrize(
    ("first", "unknown"),
    [(JSON_429, False), (Say(b"<html>", 429), True), (Say(b"<html>", 502), True), (Say(envelope({}), 503), True)],
)
def test_a_lease_that_is_lost_between_two_attempts_leaves_the_outcome_of_the_first(
    wire: Wire, client_of: ClientOf, first: Say, unknown: bool
) -> None:
    wire.say(first, Say(envelope({})))
    with pytest.raises(StoppedError, match="stopped before it was sent") as caught:
        client_of(wire).set_psks({"abc": PSK}, before_each=Lease(wire, lost_at=2))
    assert caught.value.outcome_unknown is unknown
    assert ("it is not known whether it was carried out" in str(caught.value)) is unknown
    assert len(wire.heard) == 1


def test_what_nobody_foresaw_at_the_look_stops_the_call_too_and_its_text_is_not_told(
    wire: Wire, client_of: ClientOf
) -> None:
    lease = Lease(wire, lost_at=1, error=OSError("hunter2hunter2"))
    with pytest.raises(StoppedError, match=r"internal error: OSError in test_client.py:\d+") as caught:
        client_of(wire).set_psks({"abc": PSK}, before_each=lease)
    assert "hunter2" not in f"{caught.value} {caught.value.failure}"
    assert wire.heard == []


# -- what is not the API ----------------------------------------------------------------------------------------------


def cloudflare_page(code: int) -> bytes:
    """An error page in the shape of Cloudflare's."""
    return (
        f'<!DOCTYPE html><html><head><title>Access denied</title></head><body><h1><span class="cf-error-type">Error'
        f'</span> <span class="cf-error-code">{code}</span></h1><p>Ray ID: 8f1e2d3c4b5a6978</p></body></html>'
    ).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(cloudflare_page, id="page"),
        pytest.param(lambda code: f"error code: {code}".encode(), id="line"),
        pytest.param(lambda code: f"<h2>Error code <b>{code}</b></h2>".encode(), id="newer page"),
        pytest.param(lambda code: f'{{"error_code": {code}, "title": "Error {code}"}}'.encode(), id="JSON"),
        pytest.param(lambda code: f'{{"error_code": "{code}"}}'.encode(), id="JSON with a text"),
        pytest.param(lambda code: f"---\nerror_code: {code}\nstatus: 403\n---\n".encode(), id="Markdown"),
        pytest.param(lambda code: f"<h1>Error&nbsp;{code}</h1>".encode(), id="no-break space"),
        pytest.param(lambda code: f"<title>Error #{code} | Cloudflare</title>".encode(), id="number sign"),
    ],
)
@pytest.mark.parametrize(
    ("code", "status", "hint"),
    [
        (1010, 403, "it blocks this client"),
        (1015, 429, "this host sent too many requests"),
        (1020, 403, "a firewall rule blocks the request"),
        (1006, 403, "this host's address is banned"),
        (1199, 403, "look the code up"),
    ],
)
def test_an_error_page_of_cloudflare_is_told_by_its_code_and_proves_nothing(
    wire: Wire, client_of: ClientOf, body: Callable[[int], bytes], code: int, status: int, hint: str
) -> None:
    wire.say(Say(body(code), status, {"Content-Type": "text/html", "cf-ray": "8f1e2d3c4b5a6978-FRA"}))
    with pytest.raises((AnswerError, RateLimitError)) as caught:
        client_of(wire, retries=0).set_psks({"abc": PSK})
    assert f"HTTP {status} with an error page of Cloudflare, code {code}, instead of the API's answer" in str(
        caught.value
    )
    assert hint in str(caught.value) and "credentials" not in str(caught.value) and "\n" not in str(caught.value)
    assert (caught.value.code, caught.value.ray_id) == (code, "8f1e2d3c4b5a6978-FRA")
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            Say(b"<html>Please log in", 200, {"Content-Type": "text/html"}),
            "HTTP 200 with HTML instead of the API's answer; something else answers in its place, such as a captive"
            " portal or a proxy; check the network and base_url",
        ),
        (
            Say(b"<html>Please log in", 511, {"Content-Type": "text/html"}),
            "HTTP 511 with HTML instead of the API's answer; something else answers in its place, such as a captive"
            " portal or a proxy; check the network and base_url",
        ),
        (
            Say(b"<html>Blocked by your administrator", 403, {"Content-Type": "text/html"}),
            "HTTP 403 with HTML instead of the API's answer; something in between answers, such as a firewall or a"
            " proxy; check the network and base_url",
        ),
        (
            Say(b"", 407, {"Content-Type": "text/html"}),
            "HTTP 407 with HTML instead of the API's answer; a proxy wants a password; put it into https_proxy as"
            " http://USER:PASSWORD@HOST:PORT",
        ),
        (
            Say(b"", 302, {"Location": "http://portal.example/login?token=x"}),
            "the API redirects to portal.example, which is refused (HTTP 302); check base_url and the network",
        ),
        (
            Say(b"", 307, {"Location": "http://[::1"}),
            "the API redirects to nowhere, which is refused (HTTP 307); check base_url and the network",
        ),
    ],
)
def test_what_answers_in_place_of_the_api_is_told_in_one_line(
    wire: Wire, client_of: ClientOf, answer: Say, message: str
) -> None:
    wire.say(answer)
    with pytest.raises(CloudflareError) as caught:
        client_of(wire, retries=0).list_tunnels()
    assert str(caught.value) == f"listing the IPsec tunnels: {message}"
    with pytest.raises(CloudflareError) as caught:
        client_of(wire, retries=0).set_psks({"abc": PSK})
    assert str(caught.value) == f"setting 1 PSKs: {message}; it is not known whether it was carried out"
    assert caught.value.outcome_unknown


NO_ENVELOPES = [
    {"success": False},
    {"success": False, "error": "blocked"},
    {"success": False, "errors": [{"code": 1000}]},
    {"success": "false", "errors": [{"code": 1000}], "result": None},
    {"success": False, "errors": [], "result": None},
    {"success": False, "errors": [{"message": "no"}], "result": None},
    {"success": False, "errors": [{"code": "1000"}], "result": None},
    {"success": True, "errors": [], "result": {}},
    {"errors": [{"code": 1000}], "result": None},
]


@pytest.mark.parametrize("body", NO_ENVELOPES, ids=str)
@pytest.mark.parametrize("status", [400, 403, 404, 429])
def test_only_an_envelope_that_refuses_with_a_code_is_a_refusal(
    wire: Wire, client_of: ClientOf, body: Any, status: int
) -> None:
    wire.say(Say(body, status))
    with pytest.raises(CloudflareError) as caught:
        client_of(wire, retries=0).set_psks({"abc": PSK})
    assert caught.value.outcome_unknown


def test_a_refusal_that_has_a_result_too_proves_nothing(wire: Wire, client_of: ClientOf) -> None:
    """Some of the PSKs were set, and the others were not."""
    done = {"successfully_applied_psks": {"abc": {"psk": PSK}}, "unapplied_psks": {"def": "no"}}
    wire.say(Say(envelope(done, success=False, errors=[{"code": 1000, "message": "in part"}]), 400))
    with pytest.raises(ApiError) as caught:
        client_of(wire, retries=0).set_psks({"abc": PSK})
    assert caught.value.outcome_unknown
    assert PSK not in str(caught.value.failure)


@pytest.mark.parametrize("body", [x for x in NO_ENVELOPES if x.get("result", "") != {}] + [{"success": True}], ids=str)
def test_only_an_envelope_is_a_success(wire: Wire, client_of: ClientOf, body: Any) -> None:
    wire.say(Say(body))
    with pytest.raises(CloudflareError) as caught:
        client_of(wire, retries=0).set_psks({"abc": PSK})
    assert caught.value.outcome_unknown


def test_a_page_in_place_of_a_404_does_not_make_a_tunnel_deleted(simulator: Simulator, client_of: ClientOf) -> None:
    tunnel = simulator.state()["tunnels"][0]
    simulator.arm({"route": "delete", "status": 404, "html": True})
    with pytest.raises(AnswerError) as caught:
        client_of(simulator, retries=0).delete_tunnel(tunnel["id"])
    assert caught.value.outcome_unknown
    assert len(simulator.state()["tunnels"]) == 24


def test_a_token_that_is_limited_to_other_addresses_is_told_by_its_code(wire: Wire, client_of: ClientOf) -> None:
    said = "Cannot use the access token from location: 198.51.100.7"
    wire.say(Say(envelope(success=False, errors=[{"code": 9109, "message": said}]), 403))
    with pytest.raises(AuthError) as caught:
        client_of(wire).list_tunnels()
    assert str(caught.value) == (
        f"listing the IPsec tunnels: {said} (HTTP 403, code 9109); the token is not accepted from this host's address,"
        " or not valid; check its client IP address filter"
    )


@pytest.mark.parametrize(
    ("status", "code", "message", "hint"),
    [
        (404, 7003, "Could not route to /accounts/...", "check account_id and base_url"),
        (400, 7003, "Could not route to /accounts/...", "check account_id and base_url"),
        (
            403,
            1012,
            "not onboarded",
            "the account has no Magic WAN or Magic Transit; check account_id, or ask Cloudflare for it",
        ),
        (400, 9106, "Missing X-Auth-Key", "the credentials do not have the form that the API expects; check them"),
        (403, 10000, "Authentication error", "check the credentials and their Magic WAN permission on this account"),
        (404, 1032, "not found", "check account_id and the tunnel"),
    ],
)
def test_the_hint_of_a_refusal_is_that_of_its_code(
    wire: Wire, client_of: ClientOf, status: int, code: int, message: str, hint: str
) -> None:
    wire.say(Say(envelope(success=False, errors=[{"code": code, "message": message}]), status))
    with pytest.raises(ApiError) as caught:
        client_of(wire).list_tunnels()
    assert str(caught.value) == f"listing the IPsec tunnels: {message} (HTTP {status}, code {code}); {hint}"


def test_a_page_that_says_too_many_requests_is_waited_for_whatever_its_status(
    wire: Wire, client_of: ClientOf, pauses: list[float]
) -> None:
    wire.say(Say(cloudflare_page(1015), 403, {"Content-Type": "text/html"}), Say(envelope({"ipsec_tunnels": []})))
    assert client_of(wire).list_tunnels() == []
    assert pauses == [300]


@pytest.mark.parametrize(("status", "code"), [(404, 7003), (404, 7000), (405, 7001), (405, 10405), (400, 7003)])
def test_an_account_without_the_bulk_endpoint_is_told_so(
    simulator: Simulator, client_of: ClientOf, status: int, code: int
) -> None:
    simulator.arm({"route": "psk_set", "status": status, "code": code})
    with pytest.raises(ApiError, match="this account has no endpoint that sets PSKs in bulk") as caught:
        client_of(simulator).set_psks(some_psks(simulator))
    assert "check account_id and the tunnel" not in str(caught.value)
    assert not caught.value.outcome_unknown


# -- pages of a list --------------------------------------------------------------------------------------------------


def tunnels(*numbers: int) -> dict[str, Any]:
    """Part of a list."""
    return {"ipsec_tunnels": [{"id": f"t{number}", "name": f"tunnel {number}"} for number in numbers]}


def pages(wire: Wire, *answers: tuple[dict[str, Any], Any]) -> None:
    """The pages that the API shows, each with its result_info."""
    wire.say(*(Say(envelope(result, result_info=info)) for result, info in answers))


def queries(wire: Wire) -> list[str]:
    """What was asked for."""
    return [heard.path.partition("?")[2] for heard in wire.heard]


@pytest.mark.parametrize(
    ("first", "second", "query"),
    [
        ({"page": 1, "total_pages": 2}, {"page": 2, "total_pages": 2}, "page=2"),
        ({"page": 1, "per_page": 2, "total_pages": 2}, {"page": 2, "total_pages": 2}, "page=2&per_page=2"),
        ({"page": 1, "per_page": 2, "total_count": 3}, {"page": 2, "total_count": 3}, "page=2&per_page=2"),
        ({"total_count": 3}, {"total_count": 3}, "page=2"),
        ({"page": 1, "per_page": 2, "count": 2}, {"page": 2, "per_page": 2, "count": 1}, "page=2&per_page=2"),
        ({"cursors": {"after": "x y"}}, {"cursors": {"after": ""}}, "cursor=x+y"),
        ({"cursors": {"after": "x"}, "total_count": 3}, {"cursors": {}, "total_count": 3}, "cursor=x"),
        ({"cursor": "x"}, {}, "cursor=x"),
        ({"next_cursor": "x"}, {"next_cursor": None}, "cursor=x"),
        ({"total_count": "3"}, {"total_count": "3"}, "page=2"),
        ({"page": "1", "total_pages": "2"}, {"page": "2", "total_pages": "2"}, "page=2"),
        ({"total": 3}, {"total": 3}, "page=2"),
    ],
    ids=str,
)
def test_a_list_in_pages_is_read_to_its_end(
    wire: Wire, client_of: ClientOf, first: dict[str, Any], second: dict[str, Any], query: str
) -> None:
    pages(wire, (tunnels(1, 2), first), (tunnels(3), second))
    assert [x["id"] for x in client_of(wire).list_tunnels()] == ["t1", "t2", "t3"]
    assert queries(wire) == ["", query]


@pytest.mark.parametrize(
    "info", [None, [], "x", {}, {"page": 1, "total_pages": 1}, {"count": 2, "total_count": 2, "per_page": 50}], ids=str
)
def test_a_list_in_one_page_takes_one_request(wire: Wire, client_of: ClientOf, info: Any) -> None:
    pages(wire, (tunnels(1, 2), info))
    assert len(client_of(wire).list_tunnels()) == 2
    assert queries(wire) == [""]


@pytest.mark.parametrize(
    ("second", "match"),
    [
        ((tunnels(), {"total_count": 3}), "holds 2 of 3 tunnels"),
        ((tunnels(3), {"total_count": 4, "cursors": {}}), "one tunnel id twice"),
        ((tunnels(1, 2), {"total_count": 3}), "one tunnel id twice"),
        ((tunnels(3), {"total_count": 3, "count": 2}), "a page of the answer holds 1 of 2 tunnels"),
        ((tunnels(3), {"total_count": "4", "cursors": {}}), "one tunnel id twice"),
    ],
)
def test_a_list_that_does_not_add_up_is_refused(
    wire: Wire, client_of: ClientOf, second: tuple[dict[str, Any], Any], match: str
) -> None:
    pages(wire, (tunnels(1, 2), {"total_count": 3}), second)
    with pytest.raises(AnswerError, match=match):
        client_of(wire).list_tunnels()


@pytest.mark.parametrize("info", [{"cursors": {"after": "x"}}, {"page": 1, "per_page": 1, "total_pages": 10**9}])
def test_a_list_without_an_end_is_refused(
    wire: Wire, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch, info: dict[str, Any]
) -> None:
    monkeypatch.setattr(_client, "MOST_PAGES", 5)
    pages(wire, (tunnels(1), info))
    with pytest.raises(AnswerError, match="the list of pages does not end"):
        client_of(wire).list_tunnels()


# -- more of its answers ----------------------------------------------------------------------------------------------


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
    "more",
    [
        {},
        {"modified_ipsec_tunnel": None},
        {"modified_ipsec_tunnel": {}},
        {"modified_ipsec_tunnel": {"id": "t1"}},
        {"modified_ipsec_tunnel": {"id": "another", "name": "n"}},
        {"modified_ipsec_tunnels": []},
    ],
    ids=str,
)
def test_an_update_that_is_answered_without_its_tunnel_is_read_once(
    wire: Wire, client_of: ClientOf, more: dict[str, Any]
) -> None:
    wire.say(Say(envelope({"modified": True, **more})), Say(envelope({"ipsec_tunnel": {"id": "t1", "name": "n"}})))
    assert client_of(wire).update_tunnel("t1", NEW) == {"id": "t1", "name": "n"}
    assert [heard.method for heard in wire.heard] == ["PUT", "GET"]


@pytest.mark.parametrize(
    "result", ["text", {"ipsec_tunnels": "text"}, {"ipsec_tunnels": [1]}, {"ipsec_tunnels": [{"name": "a"}]}], ids=str
)
def test_a_list_that_is_none_is_refused(wire: Wire, client_of: ClientOf, result: Any) -> None:
    wire.say(Say(envelope(result)))
    with pytest.raises(AnswerError, match="holds no list of tunnels"):
        client_of(wire).list_tunnels()


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("id", 5, "text"),
        ("name", None, "text"),
        ("name", 5, "text"),
        ("name", ["a"], "text"),
        ("customer_endpoint", ["192.0.2.1"], "text"),
        ("interface_address", 10, "text"),
        ("bgp", "65000", "object"),
        ("health_check", ["x"], "object"),
        ("remote_identities", "abc.1.ipsec.example", "object"),
        ("custom_remote_identities", ["x"], "object"),
    ],
)
def test_a_list_with_a_tunnel_of_another_shape_is_refused_by_the_field(
    wire: Wire, client_of: ClientOf, field: str, value: Any, what: str
) -> None:
    wire.say(Say(envelope({"ipsec_tunnels": [{"id": "abc", "name": "a", field: value}]})))
    with pytest.raises(AnswerError, match=f"with a {field} that is no {what}"):
        client_of(wire).list_tunnels()


@pytest.mark.parametrize("nothing", [None, "", {}, []], ids=repr)
def test_a_field_that_says_nothing_has_any_shape(wire: Wire, client_of: ClientOf, nothing: Any) -> None:
    wire.say(Say(envelope({"ipsec_tunnels": [{"id": "abc", "name": "a", "bgp": nothing, "description": nothing}]})))
    assert len(client_of(wire).list_tunnels()) == 1


def test_the_older_shape_of_a_created_tunnel_is_understood(wire: Wire, client_of: ClientOf) -> None:
    wire.say(Say(envelope({"ipsec_tunnels": [{"id": "abc", "name": "a new one"}]})))
    assert client_of(wire).create_tunnel(NEW)["id"] == "abc"


@pytest.mark.parametrize("result", [None, {}, [], {"modified_ipsec_tunnel": {}}], ids=str)
def test_a_write_that_answers_no_tunnel_has_an_unknown_outcome(wire: Wire, client_of: ClientOf, result: Any) -> None:
    wire.say(Say(envelope(result)))
    with pytest.raises(AnswerError, match="holds no tunnel") as caught:
        client_of(wire).update_tunnel("abc", NEW)
    assert caught.value.outcome_unknown


@pytest.mark.parametrize(
    "tunnel",
    [
        {"id": "t1", "name": 7},
        {"id": "t1", "name": "n", "bgp": "on"},
        {"id": "t1", "name": "n", "health_check": [1]},
        {"id": "t1", "name": "n", "cloudflare_endpoint": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("older", [False, True])
def test_a_write_that_answers_a_tunnel_of_another_shape_has_an_unknown_outcome(
    wire: Wire, client_of: ClientOf, tunnel: dict[str, Any], older: bool
) -> None:
    wire.say(Say(envelope({"ipsec_tunnels": [tunnel]} if older else tunnel)))
    with pytest.raises(AnswerError, match="it cannot be interpreted") as created:
        client_of(wire).create_tunnel(NEW)
    wire.say(Say(envelope({"modified": True, "modified_ipsec_tunnel": {**tunnel, "id": "t1"}})))
    with pytest.raises(AnswerError, match="it cannot be interpreted") as updated:
        client_of(wire).update_tunnel("t1", NEW)
    assert created.value.outcome_unknown and updated.value.outcome_unknown


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
