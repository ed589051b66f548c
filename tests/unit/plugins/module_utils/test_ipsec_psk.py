# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ipsec_psk does around its requests: lost answers are settled, and every entry has a result."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _ipsec_psk, _module
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError

from tests.harness.simulator import Simulator

ClientOf = Callable[..., Client]
PSK = "Zk3VtYq0sWn8RbX2mLd7uHc5"


def set_psks(client: Client, psks: dict[str, str], check: bool = False, **options: Any) -> dict[str, Any]:
    """The module ipsec_psk without Ansible; a failure gives its result, with `failure` in it."""
    entries = [{"id": tunnel_id, "name": None, "psk": psk, "applied_on": None} for tunnel_id, psk in psks.items()]
    params = {"psks": entries, "state": "rotated", "max_age": None, "batch_size": 1000, "psk_charset": "safe"}
    module: Any = SimpleNamespace(params={**params, **options}, check_mode=check, _diff=False)
    try:
        return _ipsec_psk.ensure_psks(module, client)
    except _module.PartialFailure as exc:
        return {**exc.result, "failure": exc.failure, "msg": exc.message}


def statuses(result: dict[str, Any]) -> list[str]:
    return [entry["status"] for entry in result["psks"]]


@pytest.fixture
def psks(simulator: Simulator) -> dict[str, str]:
    """New PSKs for four tunnels."""
    return {tunnel["id"]: f"{PSK}{number}" for number, tunnel in enumerate(simulator.state()["tunnels"][:4])}


def held(simulator: Simulator, psks: dict[str, str]) -> dict[str, str]:
    return {tunnel["id"]: tunnel["psk"] for tunnel in simulator.state()["tunnels"] if tunnel["id"] in psks}


def test_every_psk_is_applied_with_one_request(simulator: Simulator, client: Client, psks: dict[str, str]) -> None:
    assert statuses(set_psks(client, psks)) == ["applied"] * 4
    assert held(simulator, psks) == psks
    assert simulator.writes() == 1


def test_batches_are_requests(simulator: Simulator, client: Client, psks: dict[str, str]) -> None:
    assert statuses(set_psks(client, psks, batch_size=3)) == ["applied"] * 4
    assert [len(entry["tunnels"]) for entry in simulator.journal() if entry["changed"]] == [3, 1]


def test_the_result_never_holds_a_psk_of_its_own(client: Client, psks: dict[str, str]) -> None:
    assert [entry["psk"] for entry in set_psks(client, psks)["psks"]] == [None] * 4


def test_an_entry_without_a_psk_is_refused_before_anything_is_written(simulator: Simulator, client: Client) -> None:
    tunnel = simulator.state()["tunnels"][0]
    psks: dict[str, Any] = {tunnel["id"]: None}
    with pytest.raises(InputError, match="its PSK is missing"):
        set_psks(client, psks)
    assert simulator.writes() == 0


def test_check_mode_plans_and_has_the_api_validate(simulator: Simulator, client: Client, psks: dict[str, str]) -> None:
    assert statuses(set_psks(client, psks, check=True)) == ["planned"] * 4
    assert [entry["validate_only"] for entry in simulator.journal() if entry["operation"] == "psk_set"] == [True]
    assert simulator.writes() == 0


def test_a_check_run_has_the_keys_of_a_real_one(client: Client, psks: dict[str, str]) -> None:
    checked, done = set_psks(client, psks, check=True), set_psks(client, psks)
    assert set(checked) == set(done)
    assert [set(entry) for entry in checked["psks"]] == [set(entry) for entry in done["psks"]]


@pytest.mark.parametrize(
    "fault",
    [{"status": 502}, {"status": 502, "html": True}, {"drop": True}, {"truncate": "closed"}, {"reset_mid_body": True}],
    ids=str,
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_is_settled_by_sending_the_same_keys_again(
    simulator: Simulator, client_of: ClientOf, psks: dict[str, str], fault: dict[str, Any], when: str
) -> None:
    simulator.arm({"route": "psk_set", "when": when, **fault})
    assert statuses(set_psks(client_of(simulator, retries=0), psks)) == ["applied"] * 4
    assert held(simulator, psks) == psks


@pytest.mark.parametrize("when", ["before", "after"])
def test_keys_that_no_answer_confirms_are_in_doubt_whatever_time_the_tunnels_report(
    simulator: Simulator, client_of: ClientOf, psks: dict[str, str], when: str
) -> None:
    simulator.arm({"route": "psk_set", "when": when, "drop": True, "count": 0})
    result = set_psks(client_of(simulator, retries=0), psks)
    assert statuses(result) == ["in_doubt"] * 4
    assert result["changed"]
    assert result["failure"]["outcome_unknown"]


def test_keys_are_in_doubt_when_nothing_can_be_read_any_more(
    simulator: Simulator, client_of: ClientOf, psks: dict[str, str]
) -> None:
    simulator.arm(
        {"route": "psk_set", "when": "after", "drop": True, "count": 0}, {"route": "list", "skip": 1, "status": 401}
    )
    assert statuses(set_psks(client_of(simulator, retries=0), psks)) == ["in_doubt"] * 4


def test_a_refusal_after_a_lost_answer_does_not_make_keys_unapplied(
    simulator: Simulator, client_of: ClientOf, psks: dict[str, str]
) -> None:
    simulator.arm({"route": "psk_set", "drop": True}, {"route": "psk_set", "status": 400, "message": "no"})
    assert statuses(set_psks(client_of(simulator, retries=0), psks)) == ["in_doubt"] * 4


def test_a_refused_request_leaves_every_key_unapplied(
    simulator: Simulator, client: Client, psks: dict[str, str]
) -> None:
    simulator.arm({"route": "psk_set", "status": 403, "message": "Forbidden"})
    result = set_psks(client, psks)
    assert statuses(result) == ["unapplied"] * 4
    assert not result["changed"]
    assert (result["failure"]["kind"], result["failure"]["status"]) == ("AuthError", 403)


def test_some_refused_keys_do_not_hide_the_others(simulator: Simulator, client: Client, psks: dict[str, str]) -> None:
    second = list(psks)[1]
    simulator.arm({"route": "psk_set", "unapplied": [second]})
    result = set_psks(client, psks)
    assert statuses(result) == ["applied", "unapplied", "applied", "applied"]
    assert result["psks"][1]["reason"] == "failed to persist PSK"
    assert "1 unapplied" in result["msg"]


def test_a_key_that_the_answer_leaves_out_is_in_doubt(
    simulator: Simulator, client: Client, psks: dict[str, str]
) -> None:
    simulator.arm({"route": "psk_set", "omit": [list(psks)[2]]})
    assert statuses(set_psks(client, psks)) == ["applied", "applied", "in_doubt", "applied"]


def test_a_confirmed_key_that_is_not_ours_is_in_doubt(
    simulator: Simulator, client: Client, psks: dict[str, str]
) -> None:
    simulator.arm({"route": "psk_set", "echo_other_psk": True})
    assert statuses(set_psks(client, psks)) == ["in_doubt"] * 4


def test_after_a_failed_batch_no_other_is_sent(simulator: Simulator, client: Client, psks: dict[str, str]) -> None:
    simulator.arm({"route": "psk_set", "skip": 1, "status": 400, "message": "no"})
    result = set_psks(client, psks, batch_size=1)
    assert statuses(result) == ["applied", "unapplied", "unapplied", "unapplied"]
    assert result["psks"][3]["reason"] == "not sent, because an earlier batch failed"
    assert simulator.writes() == 1


def test_an_unforeseen_exception_leaves_its_batch_in_doubt(
    client: Client, psks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"the keys are {psks}")

    monkeypatch.setattr(Client, "set_psks", broken)
    result = set_psks(client, psks)
    assert statuses(result) == ["in_doubt"] * 4
    assert PSK not in str(result)


def test_a_refused_validation_is_unapplied_and_not_in_doubt(
    simulator: Simulator, client_of: ClientOf, psks: dict[str, str]
) -> None:
    simulator.arm({"route": "psk_set", "status": 502, "count": 0})
    result = set_psks(client_of(simulator, retries=0), psks, check=True)
    assert statuses(result) == ["unapplied"] * 4
    assert not result["failure"]["outcome_unknown"]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_one_is_refused(client: Client, psks: dict[str, str], size: int) -> None:
    with pytest.raises(InputError, match="batch_size must be 1 or more"):
        set_psks(client, psks, batch_size=size)
