# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Authentication, routes, envelopes and the rate limit."""

from __future__ import annotations

import pytest

from .conftest import ACCOUNT, TOKEN, TUNNELS

KEY = {"X-Auth-Email": "sim@example.com", "X-Auth-Key": "sim-key"}


def test_a_success_has_all_four_keys_of_the_envelope(sim):
    assert sim("GET").json.keys() == {"result", "success", "errors", "messages"}


def test_a_failure_has_all_four_keys_of_the_envelope(sim):
    reply = sim("GET", "0" * 32)
    assert reply.status == 404
    assert reply.json == {
        "result": None,
        "success": False,
        "errors": [{"code": 1032, "message": "IPsec tunnel not found"}],
        "messages": [],
    }


def test_every_answer_carries_the_rate_limit_and_ray_headers_but_no_retry_after(sim):
    headers = sim("GET").headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Ratelimit"].startswith('"default";r=')
    assert headers["Ratelimit-Policy"] == '"default";q=1200;w=300'
    assert headers["cf-ray"]
    assert "Retry-After" not in headers


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 400, 9106),
        ({"X-Auth-Email": "sim@example.com"}, 400, 9106),
        ({**TOKEN, **KEY}, 400, 6003),
        ({"Authorization": "sim-token"}, 400, 6003),
        ({"Authorization": "Bearer wrong"}, 401, 10000),
        ({**KEY, "X-Auth-Key": "wrong"}, 401, 10000),
    ],
)
def test_wrong_credentials_are_refused(sim, headers, status, code):
    reply = sim("GET", headers=headers)
    assert (reply.status, reply.codes) == (status, [code])


def test_email_and_key_are_accepted(sim):
    assert sim("GET", headers=KEY).status == 200
    assert sim.journal[-1]["auth"] == "key"


def test_another_account_is_not_found(sim):
    reply = sim("GET", TUNNELS.replace(ACCOUNT, "f" * 32))
    assert (reply.status, reply.codes) == (404, [7003])


def test_an_unknown_route_is_not_found(sim):
    assert sim("GET", "/client/v4/zones").status == 404


def test_a_method_without_an_operation_is_refused(sim):
    assert sim("PATCH", "0" * 32).status == 405


def test_one_request_too_many_blocks_everything_and_says_for_how_long(start):
    sim = start(limit="2/60/120")
    assert [sim("GET").status for _ in range(4)] == [200, 200, 429, 429]
    reply = sim("GET", "/client/v4/graphql")
    assert (reply.status, reply.codes) == (429, [971])
    assert 0 < int(reply.headers["Retry-After"]) <= 120


def test_the_header_for_the_target_form_must_be_true_or_false(sim):
    assert sim("GET", headers={**TOKEN, "x-magic-new-hc-target": "yes"}).codes == [1022]
