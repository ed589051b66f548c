# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between a run and the API: each has its cause and its hint in one line, in modules and in rotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness.authority import Authority, make_authority
from tests.harness.between import Between, Reply
from tests.integration.psk_rotation.stage import Stage

pytestmark = pytest.mark.fleet(tunnels=4)

HTML = {"Content-Type": "text/html; charset=UTF-8"}
BLOCKED = Reply(
    403,
    b"<!DOCTYPE html><html><head><title>Access denied | api.example used Cloudflare to restrict access</title></head>"
    b'<body><h1><span class="cf-error-type">Error</span>\n<span class="cf-error-code">1020</span></h1></body></html>',
    {**HTML, "CF-RAY": "8f1e2d3c4b5a6978-FRA"},
)
LOGIN = Reply(200, b"<html><body><form action='/login'>Welcome to the hotel's network</form></body></html>", HTML)
WANTS_PASSWORD = Reply(407, b"", {"Proxy-Authenticate": 'Basic realm="the company"'})
NO_CA = dict.fromkeys(("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))

READ: list[dict[str, Any]] = [
    {
        "name": "Read",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [{"name": "Read the account", "magicwan.cloudflare.ipsec_tunnel_info": {}, "register": "account"}],
    }
]


@dataclass(frozen=True)
class Obstacle:
    """Something between, as the environment of a run, and the line that every request ends with."""

    env: dict[str, str | None]
    line: str


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The company's CA, which no list of well-known ones has."""
    return make_authority(tmp_path_factory.mktemp("ca"), "api.example.test")


@pytest.fixture(params=["filter", "portal", "proxy", "unknown CA"])
def obstacle(stage: Stage, authority: Authority, request: pytest.FixtureRequest) -> Iterator[Obstacle]:
    rules = {"filter": BLOCKED, "portal": LOGIN, "proxy": WANTS_PASSWORD}
    certificate = authority.server if request.param == "unknown CA" else None
    with Between(stage.simulator, lambda method, path: rules.get(request.param), certificate) as between:
        env: dict[str, str | None] = {"CLOUDFLARE_BASE_URL": between.base_url, **NO_CA}
        if request.param == "proxy":
            outside = "https://api.example.test/client/v4"
            env |= {"CLOUDFLARE_BASE_URL": outside, "HTTPS_PROXY": f"http://{between.address}", "NO_PROXY": None}
        lines = {
            "filter": "HTTP 403 with an error page of Cloudflare, code 1020, instead of the API's answer, cf-ray"
            " 8f1e2d3c4b5a6978-FRA; a firewall rule blocks the request; allow this host's address in it",
            "portal": "HTTP 200 with HTML instead of the API's answer; something else answers in its place, such as a"
            " captive portal or a proxy; check the network and base_url",
            "proxy": "the proxy wants a password (407); put it into https_proxy as http://USER:PASSWORD@HOST:PORT"
            " (api.example.test)",
            "unknown CA": "its certificate is not trusted (unable to get local issuer certificate); if a CA of your own"
            " has signed it, or a proxy opens TLS, set ca_path, REQUESTS_CA_BUNDLE or SSL_CERT_FILE to a file with that"
            f" CA's certificate ({between.address})",
        }
        yield Obstacle(env, lines[request.param])
    assert request.param != "proxy" or {method for method, _path in between.heard} == {"CONNECT"}


def test_a_module_says_in_one_line_what_stands_between(stage: Stage, obstacle: Obstacle) -> None:
    run = stage.rotate(play=READ[0], then=(), env=obstacle.env).failed()
    assert run.failures == [f"listing the IPsec tunnels: {obstacle.line}"]
    assert run.requests == []


def test_a_rotation_says_in_one_line_what_stands_between(stage: Stage, obstacle: Obstacle) -> None:
    run = stage.rotate(then=(), env=obstacle.env).failed()
    assert len(run.failures) == 1
    assert f"listing the IPsec tunnels: {obstacle.line}" in run.failures[0] and "\n" not in run.failures[0]
    assert run.requests == [] and run.rotated == set()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "psk_rotation_ca_path"])
def test_a_rotation_trusts_a_ca_that_only_the_system_knows_or_the_user_names(
    stage: Stage, authority: Authority, variable: str
) -> None:
    with Between(stage.simulator, certificate=authority.server) as between:
        env: dict[str, str | None] = {**NO_CA, "CLOUDFLARE_BASE_URL": between.base_url}
        option = {variable: str(authority.ca)}
        variables = option if variable.startswith("psk_rotation") else {}
        run = stage.rotate(variables, then=(), env={**env, **({} if variables else option)}).ok()
    assert run.rotated == set(stage.psks())


@pytest.mark.parametrize("reply", [BLOCKED, LOGIN], ids=["filter", "portal"])
def test_a_write_that_something_between_has_answered_is_in_doubt_and_the_next_run_ends_the_doubt(
    stage: Stage, reply: Reply
) -> None:
    def from_the_first_write_on(method: str, path: str) -> Reply | None:
        return reply if method == "POST" and "validate_only" not in path else None

    with Between(stage.simulator, from_the_first_write_on) as between:
        once = {"psk_rotation_retries": 0}
        run = stage.rotate(once, then=(), env={"CLOUDFLARE_BASE_URL": between.base_url}).failed()
    sent = {i for i, status in run.statuses().items() if status == "in_doubt"}
    assert sent and run.rotated == set()
    hint = "a firewall rule blocks the request" if reply is BLOCKED else "such as a captive portal or a proxy"
    assert all(hint in run.reasons()[i] and "\n" not in run.reasons()[i] for i in sent)
    pending = {i: record["pending"]["psk"] for i, record in stage.escrow().items() if i in sent}
    stage.rotate(then=()).ok()
    assert {i: stage.psks()[i] for i in sent} == pending
