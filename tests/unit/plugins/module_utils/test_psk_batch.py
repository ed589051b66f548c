# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One batch of PSKs, against the simulator: what became of each, and what a lost answer proves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk, _psk_batch
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import StoppedError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import generate_psk

from tests.harness.simulator import Simulator

pytestmark = pytest.mark.fleet(tunnels=4)
SET = {"route": "psk_set", "validate_only": False}


@pytest.fixture
def once(simulator: Simulator, client_of: Callable[..., Client]) -> Client:
    """A client that repeats no request."""
    return client_of(simulator, retries=0)


@pytest.fixture
def psks(simulator: Simulator) -> dict[str, str]:
    return {x["id"]: generate_psk() for x in simulator.state()["tunnels"]}


def truth(simulator: Simulator) -> dict[str, str]:
    return {x["id"]: x["psk"] for x in simulator.state()["tunnels"]}


def statuses(answers: _psk_batch.Answers) -> set[str]:
    return {x.status for x in answers.values()}


def test_psks_are_set_in_one_request_and_have_their_times(
    simulator: Simulator, once: Client, psks: dict[str, str]
) -> None:
    answers, error = _psk_batch.send_batch(once, psks, validate_only=False)
    assert (statuses(answers), error, truth(simulator), simulator.writes()) == ({"applied"}, None, psks, 1)
    assert all(x.applied_on and x.ipsec_id and not x.repeated for x in answers.values())


def test_psks_that_are_only_validated_are_planned(simulator: Simulator, once: Client, psks: dict[str, str]) -> None:
    answers, error = _psk_batch.send_batch(once, psks, validate_only=True)
    assert (statuses(answers), error, simulator.writes()) == ({"planned"}, None, 0)


def test_a_psk_that_the_api_refuses_says_why(simulator: Simulator, once: Client, psks: dict[str, str]) -> None:
    first = next(iter(psks))
    simulator.arm({**SET, "unapplied": [first]})
    answers, _error = _psk_batch.send_batch(once, psks, validate_only=False)
    assert (answers[first].status, answers[first].reason) == ("unapplied", "failed to persist PSK")
    assert truth(simulator)[first] != psks[first]


LOST = [
    pytest.param({"status": 503}, id="503"),
    pytest.param({"status": 403, "html": True}, id="403 with HTML"),
    pytest.param({"status": 451, "html": True}, id="451 with HTML"),
    pytest.param({"drop": True}, id="a dropped connection"),
    pytest.param({"truncate": "closed"}, id="half an answer"),
    pytest.param({"redirect": "https://elsewhere.example/"}, id="a redirect"),
]


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("when", ["before", "after"])
def test_after_a_lost_answer_the_same_psks_are_sent_again_which_settles_it(
    simulator: Simulator, once: Client, psks: dict[str, str], fault: dict[str, Any], when: str
) -> None:
    simulator.arm({**SET, **fault, "when": when, "count": 1})
    answers, error = _psk_batch.send_batch(once, psks, validate_only=False)
    assert (statuses(answers), error, truth(simulator)) == ({"applied"}, None, psks)
    assert all(x.repeated for x in answers.values())


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_no_answer_settles_is_in_doubt_whatever_time_the_tunnels_report(
    simulator: Simulator, once: Client, psks: dict[str, str], fault: dict[str, Any], when: str
) -> None:
    simulator.arm({**SET, **fault, "when": when, "count": 0})
    answers, error = _psk_batch.send_batch(once, psks, validate_only=False)
    assert statuses(answers) == {"in_doubt"}
    assert error is not None and error.outcome_unknown
    assert not [psk for psk in psks.values() if psk in repr(answers) + str(error)]


def test_a_refusal_of_the_second_request_says_nothing_of_the_first(
    simulator: Simulator, once: Client, psks: dict[str, str]
) -> None:
    simulator.arm({**SET, "status": 503, "when": "after"}, {**SET, "status": 400, "code": 1000, "message": "no"})
    answers, _error = _psk_batch.send_batch(once, psks, validate_only=False)
    assert (statuses(answers), truth(simulator)) == ({"in_doubt"}, psks)


def test_a_refusal_by_code_is_one(simulator: Simulator, once: Client, psks: dict[str, str]) -> None:
    before = truth(simulator)
    simulator.arm({**SET, "status": 400, "code": 1000, "message": "no"})
    answers, error = _psk_batch.send_batch(once, psks, validate_only=False)
    assert (statuses(answers), truth(simulator)) == ({"unapplied"}, before)
    assert error is not None and error.code == 1000


# -- the guard --------------------------------------------------------------------------------------------------------


def stopping(after: int) -> tuple[Callable[[], None], list[int]]:
    """A guard that lets so many requests pass, and how often it was asked."""
    asked: list[int] = []

    def guard() -> None:
        asked.append(1)
        if len(asked) > after:
            raise StoppedError("another run has taken it over; nothing was sent")

    return guard, asked


def test_what_the_guard_stops_was_never_sent(simulator: Simulator, once: Client, psks: dict[str, str]) -> None:
    guard, _asked = stopping(0)
    answers, _error = _psk_batch.send_batch(once, psks, validate_only=False, guard=guard)
    assert (statuses(answers), simulator.writes()) == ({"unsent"}, 0)
    assert all((x.reason or "").endswith("another run has taken it over; nothing was sent") for x in answers.values())


def test_the_guard_is_asked_before_each_request(simulator: Simulator, once: Client, psks: dict[str, str]) -> None:
    simulator.arm({**SET, "status": 503, "when": "before"})
    guard, asked = stopping(2)
    answers, _error = _psk_batch.send_batch(once, psks, validate_only=False, guard=guard)
    assert (statuses(answers), len(asked)) == ({"applied"}, 2)


def test_the_guard_is_asked_before_a_request_is_repeated_on_the_wire(
    simulator: Simulator, client: Client, psks: dict[str, str]
) -> None:
    simulator.arm({**SET, "status": 503, "when": "before", "count": 0})
    guard, asked = stopping(1)
    answers, _error = _psk_batch.send_batch(client, psks, validate_only=False, guard=guard)
    assert statuses(answers) == {"in_doubt"}
    assert simulator.writes() == 0
    assert len(asked) > 1


def test_what_was_sent_before_the_guard_stopped_it_is_in_doubt(
    simulator: Simulator, once: Client, psks: dict[str, str]
) -> None:
    simulator.arm({**SET, "status": 503, "when": "after"})
    guard, _asked = stopping(1)
    answers, _error = _psk_batch.send_batch(once, psks, validate_only=False, guard=guard)
    assert (statuses(answers), truth(simulator)) == ({"in_doubt"}, psks)


@pytest.mark.parametrize("place", ["sent", "judged"])
def test_an_unforeseen_exception_leaves_an_answer_for_each_and_no_secret(
    once: Client, psks: dict[str, str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def breaks(*_given: object, **_named: object) -> None:
        raise KeyError(next(iter(psks.values())))

    if place == "sent":
        monkeypatch.setattr(once, "set_psks", breaks)
    else:
        monkeypatch.setattr(_psk, "classify", breaks)
    answers, error = _psk_batch.send_batch(once, psks, validate_only=False)
    assert (set(answers), statuses(answers)) == (set(psks), {"in_doubt"})
    assert "internal error: KeyError" in str(error)
    assert not [psk for psk in psks.values() if psk in repr(answers) + str(error)]


def test_a_module_gets_the_same_as_plain_outcomes(once: Client, psks: dict[str, str]) -> None:
    outcomes, _error = _psk_batch.set_batch(
        once, [{"id": i, "psk": psk} for i, psk in psks.items()], validate_only=False
    )
    assert {x["status"] for x in outcomes.values()} == {"applied"}
    assert set(next(iter(outcomes.values()))) == {"status", "reason", "applied_on", "ipsec_id"}
