# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks an exchange against openapi.yml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from openapi_core import OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from tests.contract.recorder import Exchange

METHODS = ("get", "post", "put", "delete")


@cache
def description() -> dict[str, Any]:
    """openapi.yml."""
    return dict(yaml.safe_load(Path(__file__).with_name("openapi.yml").read_text(encoding="utf-8")))


@cache
def _openapi() -> OpenAPI:
    return OpenAPI.from_dict(description())


def operations() -> list[str]:
    """The names of all operations."""
    paths = description()["paths"].values()
    return [path[method]["operationId"] for path in paths for method in METHODS if method in path]


def operation_of(exchange: Exchange) -> str:
    """Which operation the exchange is about."""
    parts = exchange.path.strip("/").split("/")
    if parts == ["graphql"]:
        return "graphql"
    last = parts[-1] if parts[-1] in ("ipsec_tunnels", "psk", "psk_generate") else "{tunnel_id}"
    for path, found in description()["paths"].items():
        if path.endswith(last) and exchange.method.lower() in found:
            return str(found[exchange.method.lower()]["operationId"])
    raise AssertionError(f"{exchange.method} {exchange.path} is no operation of the description")


def faults_of_request(exchange: Exchange) -> str:
    """What is wrong with the request; empty when nothing is."""
    return _told(lambda: _openapi().validate_request(_request(exchange)))


def faults_of_answer(exchange: Exchange) -> str:
    """What is wrong with the answer; empty when nothing is."""
    response = MockResponse(
        exchange.answer,
        status_code=exchange.status,
        headers=dict(exchange.answer_headers),
        content_type=exchange.answer_headers.get("content-type", ""),
    )
    return _told(lambda: _openapi().validate_response(_request(exchange), response))


def _told(check: Any) -> str:
    try:
        check()
    except OpenAPIError as exc:
        cause = exc.__cause__
        details = [error.message for error in getattr(cause, "schema_errors", ())]
        return "; ".join([str(exc), str(cause or ""), *details])
    return ""


def _request(exchange: Exchange) -> MockRequest:
    return MockRequest(
        "https://api.cloudflare.com",
        exchange.method.lower(),
        "/client/v4" + exchange.path,
        args=dict(exchange.query),
        headers=dict(exchange.headers),
        data=exchange.body or None,
        content_type=exchange.headers.get("content-type", "") if exchange.body else "",
    )
