# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users get wrong, and what the API may say: one clear line each, nothing written, no traceback, no secret."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.harness.simulator import ACCOUNT, Simulator
from tests.integration.modules.conftest import Task, Tell, Told, arm, may_fail, task

SHORT, WRONG, KEY = "TooShortKey", "WrongTokenOfTheUser", "GlobalKeyOfTheUser"
NEW: dict[str, Any] = {"name": "new", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.200.0.0/31"}
BGP = {"customer_asn": 64999}
NO_TOKEN = {"CLOUDFLARE_API_TOKEN": ""}

TOLD: dict[str, str] = {
    "tunnel without name and id": "one of the following is required: name, id",
    "tunnel without endpoint": r"tunnel 'new' does not exist; to create it, set cloudflare_endpoint, interface_address",
    "psk without psks": "missing required arguments: psks",
    "psk without name and id": "one of the following is required: id, name",
    "psks as text": "psks must be a list of dictionaries",
    "psk as a list": r"psks\[0\]: psk must be text",
    "unknown name, psk": r"psks\[0\] \(no such tunnel\): no tunnel of the account has this name",
    "unknown name, info": "'no such tunnel'",
    "unknown id": "no tunnel of the account has the id '0123'",
    "malformed CIDR": "tunnel 'new': interface_address must be an IPv4 address with its prefix.*'10.0.0.300/31'",
    "malformed prefix": "tunnel 'new': bgp.extra_prefixes must hold networks",
    "md5_key with a quotation mark": "tunnel 'new': bgp.md5_key may hold printable ASCII",
    "md5_key with a question mark": "tunnel 'new': bgp.md5_key may hold printable ASCII",
    "short psk": r"psks\[0\] \(.*\): the PSK has 11 characters; 20 to 64",
    "short psk of a tunnel": "tunnel 'new': the PSK has 11 characters; 20 to 64",
    "bad age": "max_age must be a number of seconds",
    "both schemes": "api_token and api_email with api_key exclude each other",
    "no auth": r"no credentials: set api_token \(CLOUDFLARE_API_TOKEN\)",
    "half a scheme": "api_key is missing",
    "no account": "account_id is missing: set it, or CLOUDFLARE_ACCOUNT_ID",
    "plain http": "base_url must use https",
    "wrong token": r"Authentication error \(HTTP 401, code 10000",
    "wrong account": r"HTTP 404, code 7003.*; check account_id",
    "404": r"HTTP 404, code 1032",
    "429": r"HTTP 429, code 971.*rate limit",
    "HTML 502": "HTTP 502 with HTML instead of the API's answer",
    "truncated JSON": "HTTP 200 with no complete JSON",
    "cut connection": "closed before the answer was complete",
    "two of one name": "2 tunnels are named",
}
"""The task, and what its message says."""


@pytest.fixture(scope="module")
def bad(tell: Tell, simulator_process: Simulator) -> Told:
    """All of them in one play."""

    def tasks(tunnels: list[dict[str, Any]]) -> list[Task]:
        def info(name: str, **options: Any) -> Task:
            return task(name, "ipsec_tunnel_info", **options)

        def tunnel(title: str, /, **options: Any) -> Task:
            return {"name": title, "magicwan.cloudflare.ipsec_tunnel": options}

        def psk(name: str, psks: Any, **options: Any) -> Task:
            return task(name, "ipsec_psk", psks=psks, **options)

        first = {"id": tunnels[0]["id"]}
        simulator = simulator_process
        found = [
            tunnel("tunnel without name and id"),
            tunnel("tunnel without endpoint", name="new"),
            task("psk without psks", "ipsec_psk"),
            psk("psk without name and id", [{}]),
            psk("psks as text", f"id={tunnels[0]['id']}"),
            psk("psk as a list", [{**first, "psk": ["{{ short }}"]}]),
            psk("unknown name, psk", [{"name": "no such tunnel"}]),
            info("unknown name, info", tunnels=["no such tunnel"]),
            tunnel("unknown id", id="0123", description="x"),
            tunnel("malformed CIDR", **{**NEW, "interface_address": "10.0.0.300/31"}),
            tunnel("malformed prefix", **NEW, bgp={**BGP, "extra_prefixes": ["10.0.0.0/33"]}),
            tunnel("md5_key with a quotation mark", **NEW, bgp={**BGP, "md5_key": 'a"b'}),
            tunnel("md5_key with a question mark", **NEW, bgp={**BGP, "md5_key": "a?b"}),
            psk("short psk", [{**first, "psk": "{{ short }}"}], state="rotated"),
            tunnel("short psk of a tunnel", **NEW, psk="{{ short }}"),
            psk("bad age", [first], max_age="soon"),
            info("both schemes", api_token="{{ wrong }}", api_email="a@example.com", api_key="{{ key }}"),
            {**info("no auth"), "environment": NO_TOKEN},
            {**info("half a scheme", api_email="a@example.com"), "environment": NO_TOKEN},
            {**info("no account"), "environment": {"CLOUDFLARE_ACCOUNT_ID": ""}},
            info("plain http", base_url="http://api.example.com/client/v4"),
            psk("wrong token", [first], api_token="{{ wrong }}", state="rotated"),
            info("wrong account", account_id="0123456789abcdef"),
        ]
        faults: list[tuple[dict[str, Any], Task]] = [
            ({"status": 404}, tunnel("404", **NEW, retries=0)),
            ({"status": 429, "headers": {"Retry-After": "1"}, "count": 0}, tunnel("429", **NEW, retries=1)),
            ({"status": 502, "html": True}, psk("HTML 502", [first], state="rotated", retries=0)),
            ({"truncate": "closed"}, psk("truncated JSON", [first], state="rotated", retries=0)),
            ({"truncate": "announced"}, tunnel("cut connection", **NEW, retries=0)),
            ({"duplicate_names": True}, psk("two of one name", [{"name": tunnels[0]["name"]}], state="rotated")),
        ]
        for fault, one in faults:
            found += [arm(simulator, {"route": "list", **fault}), one]
        return [may_fail(one) for one in found]

    return tell(
        tasks,
        secrets=[SHORT, WRONG, KEY],
        extra_vars={"short": SHORT, "wrong": WRONG, "key": KEY},
        verbosity=3,
        diff=True,
    )


@pytest.mark.parametrize("name", list(TOLD))
def test_it_fails_with_one_clear_line(bad: Told, name: str) -> None:
    found = bad.of(name)
    assert found["_status"] == "ignored"
    assert re.search(TOLD[name], found["msg"]), found["msg"]
    assert "\n" not in found["msg"].strip()


def test_nothing_is_written(bad: Told) -> None:
    assert bad.asked == []
    assert bad.writes == 0
    assert bad.before == bad.after


def test_the_api_is_not_asked_about_what_can_be_seen_here(bad: Told) -> None:
    elsewhere = [entry for entry in bad.journal if ACCOUNT not in entry["path"]]
    assert [entry["status"] for entry in elsewhere] == [404]


def test_there_is_no_traceback(bad: Told) -> None:
    assert "Traceback" not in bad.result.output


def test_the_failure_has_the_apis_numbers(bad: Told) -> None:
    numbers = {name: (bad.of(name)["failure"]["status"], bad.of(name)["failure"]["code"]) for name in ("404", "429")}
    assert numbers == {"404": (404, 1032), "429": (429, 971)}
