# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes over the wire is what openapi.yml describes, and what Cloudflare's own SDK understands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cloudflare.types.magic_transit import IPSECTunnelPSKSetResponse
from openapi_spec_validator import validate

from tests.contract.conftest import NEW, Recording
from tests.contract.description import (
    description,
    faults_of_answer,
    faults_of_request,
    operation_of,
    operations,
)
from tests.contract.recorder import Exchange

OF_THE_COLLECTION = ["list", "create", "update", "delete", "psk_set", "graphql"]
OF_THE_SDK = ["list", "create", "bulk_update", "get", "update", "delete", "psk_generate", "psk_set"]


def of(exchanges: list[Exchange], operation: str) -> list[Exchange]:
    """Those of one operation; the test fails when there is none."""
    found = [x for x in exchanges if operation_of(x) == operation]
    assert found, f"no {operation} was recorded"
    return found


def test_the_description_is_valid_openapi() -> None:
    validate(description())


def test_every_operation_of_the_description_is_used() -> None:
    assert set(operations()) == {*OF_THE_COLLECTION, *OF_THE_SDK}


@pytest.mark.parametrize("operation", OF_THE_COLLECTION)
def test_every_request_of_modules_and_role_fits(recording: Recording, operation: str) -> None:
    exchanges = of(recording.collection, operation)
    assert not {fault for x in exchanges if (fault := faults_of_request(x))}


@pytest.mark.parametrize("operation", OF_THE_COLLECTION)
def test_every_answer_to_modules_and_role_fits(recording: Recording, operation: str) -> None:
    exchanges = of(recording.collection, operation)
    assert not {fault for x in exchanges if (fault := faults_of_answer(x))}


@pytest.mark.parametrize("operation", OF_THE_SDK)
def test_every_answer_to_the_sdk_fits(recording: Recording, operation: str) -> None:
    assert not {fault for x in of(recording.sdk, operation) if (fault := faults_of_answer(x))}


@pytest.mark.parametrize("operation", OF_THE_SDK)
def test_the_sdk_asks_as_the_description_says(recording: Recording, operation: str) -> None:
    assert not {fault for x in of(recording.sdk, operation) if (fault := faults_of_request(x))}


def test_the_collection_speaks_of_refusals_too(recording: Recording) -> None:
    assert {x.status for x in recording.collection} == {200, 400, 401, 404, 429, 502}


def test_the_collection_asks_for_validation_and_for_real(recording: Recording) -> None:
    for operation in ("create", "update", "delete", "psk_set"):
        asked = {x.query.get("validate_only") for x in of(recording.collection, operation)}
        assert asked == {"true", None}, operation


def test_the_collection_names_itself_and_asks_for_targets_as_objects(recording: Recording) -> None:
    for exchange in recording.collection:
        assert exchange.headers["user-agent"].startswith("magicwan.cloudflare/")
        assert exchange.headers["x-magic-new-hc-target"] == "true"


# -- the official SDK -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [True, False])
def test_the_sdk_reads_what_it_wrote(recording: Recording, form: bool) -> None:
    found = recording.sdk_answers[f"get {form}"].ipsec_tunnel
    assert (found.name, found.bgp.customer_asn) == (f"sdk-{form}", NEW["bgp"]["customer_asn"])  # type: ignore[index]
    assert isinstance(found.health_check.target, str) is not form


@pytest.mark.parametrize("form", [True, False])
def test_the_sdk_sees_every_change(recording: Recording, form: bool) -> None:
    said = recording.sdk_answers
    assert said[f"update {form}"].modified and said[f"bulk_update {form}"].modified
    assert said[f"update {form}"].modified_ipsec_tunnel.description == "changed"
    assert said[f"bulk_update {form}"].modified_ipsec_tunnels[0].name == f"sdk-{form}"
    assert said[f"delete {form}"].deleted
    assert len(said[f"list {form}"].ipsec_tunnels) >= 6


@pytest.mark.parametrize("form", [True, False])
def test_the_sdk_gets_keys_and_the_reasons_of_those_not_applied(recording: Recording, form: bool) -> None:
    generated, applied = recording.sdk_answers[f"psk_generate {form}"], recording.sdk_answers[f"psk_set {form}"]
    assert len(generated.psk) >= 32
    assert isinstance(applied, IPSECTunnelPSKSetResponse)
    assert list(applied.successfully_applied_psks or {}) == [generated.ipsec_tunnel_id]
    assert list(applied.unapplied_psks or {}) == ["0" * 32]


# -- what does not fit is found ---------------------------------------------------------------------------------------


def changed_body(exchange: Exchange, **fields: Any) -> Exchange:
    return replace(exchange, body=json.dumps({**json.loads(exchange.body), **fields}).encode())


def changed_answer(exchange: Exchange, change: Callable[[dict[str, Any]], Any]) -> Exchange:
    answer = json.loads(exchange.answer)
    change(answer)
    return replace(exchange, answer=json.dumps(answer).encode())


@pytest.mark.parametrize(
    "fields",
    [
        {"description": None},
        {"name": ""},
        {"colour": "blue"},
        {"replay_protection": "yes"},
        {"health_check": {"rate": "fast"}},
        {"health_check": {"target": {"saved": "", "effective": "10.0.0.1"}}},
        {"bgp": {"extra_prefixes": []}},
    ],
)
def test_a_body_that_does_not_fit_is_found(recording: Recording, fields: dict[str, Any]) -> None:
    exchange = of(recording.collection, "create")[0]
    assert not faults_of_request(exchange)
    assert faults_of_request(changed_body(exchange, **fields))


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"content-type": "application/json"}},
        {"query": {"validate_only": "perhaps"}},
        {"body": b""},
        {"body": b"{"},
        {"path": f"/accounts/{'x' * 33}/magic/ipsec_tunnels"},
        {"path": "/accounts/x/magic/gre_tunnels"},
    ],
)
def test_a_request_that_does_not_fit_is_found(recording: Recording, change: dict[str, Any]) -> None:
    assert faults_of_request(replace(of(recording.collection, "create")[0], **change))


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer["result"]["ipsec_tunnels"][0].update(psk="x"),
        lambda answer: answer["result"]["ipsec_tunnels"][0].update(colour="blue"),
        lambda answer: answer["result"]["ipsec_tunnels"][0].update(created_on="yesterday"),
        lambda answer: answer["result"]["ipsec_tunnels"][0].pop("name"),
        lambda answer: answer["result"].pop("ipsec_tunnels"),
        lambda answer: answer.update(success="true"),
        lambda answer: answer.pop("messages"),
        lambda answer: answer.update(errors=[{"code": 1}]),
    ],
)
def test_an_answer_that_does_not_fit_is_found(recording: Recording, change: Callable[[dict[str, Any]], Any]) -> None:
    exchange = of(recording.sdk, "list")[0]
    assert not faults_of_answer(exchange)
    assert faults_of_answer(changed_answer(exchange, change))


def test_a_429_without_retry_after_is_found(recording: Recording) -> None:
    exchange = next(x for x in recording.collection if x.status == 429)
    assert not faults_of_answer(exchange)
    headers = {name: value for name, value in exchange.answer_headers.items() if name != "retry-after"}
    assert faults_of_answer(replace(exchange, answer_headers=headers))
