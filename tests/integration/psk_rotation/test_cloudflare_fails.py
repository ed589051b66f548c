# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Cloudflare may do to a rotation: it refuses, it is silent, it changes keys; and the next run that heals it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.psk_rotation.stage import Run, Stage

pytestmark = pytest.mark.fleet(tunnels=8)
REAL = {"route": "psk_set", "validate_only": False}
ONCE_ONLY = {"psk_rotation_retries": 0}
FOREIGN_PSK = "ForeignKeyThatSomebodyElseHasSetOnTheDashboard42"


def assert_healed(stage: Stage, variables: dict[str, Any] | None = None) -> Run:
    """A plain run brings everything in order: Cloudflare and the escrow agree, nothing is pending."""
    stage.simulator.clear_faults()
    run = stage.rotate(variables, then=()).ok()
    assert stage.current() == stage.psks()
    assert {x["state"] for x in stage.escrow().values()} == {"idle"}
    return run


def arm(stage: Stage, **fault: Any) -> None:
    """Arm a fault for real requests that set PSKs."""
    stage.simulator.arm({**REAL, **fault})


def first_site(stage: Stage) -> tuple[str, str]:
    """The ids of the first site's tunnels, which are a group."""
    one, other = stage.sites()[0]
    return one["id"], other["id"]


def test_a_refused_tunnel_keeps_its_psk_and_is_named(stage: Stage) -> None:
    refused, _other = first_site(stage)
    arm(stage, unapplied=[refused])
    run = stage.rotate(then=()).failed()
    assert refused not in run.rotated
    assert run.statuses()[refused] == "refused"
    assert run.before[refused]["name"] in run.failures[-1]
    assert "failed to persist PSK" in run.failures[-1]


def test_the_others_of_a_partly_refused_wave_are_rotated(stage: Stage) -> None:
    refused, sibling = first_site(stage)
    arm(stage, unapplied=[refused])
    run = stage.rotate(then=()).failed()
    assert run.rotated == set(run.before) - {refused, sibling}
    assert stage.current() == {i: run.after[i]["psk"] for i in run.rotated}


def test_the_sibling_of_a_refused_tunnel_is_left_alone(stage: Stage) -> None:
    refused, sibling = first_site(stage)
    arm(stage, unapplied=[refused])
    run = stage.rotate(then=()).failed()
    assert run.statuses()[sibling] == "skipped"
    assert run.before[refused]["name"] in run.reasons()[sibling]


def test_the_next_run_rotates_what_was_refused(stage: Stage) -> None:
    pair = first_site(stage)
    arm(stage, unapplied=[pair[0]])
    stage.rotate(then=()).failed()
    assert assert_healed(stage).rotated == set(pair)


def test_too_many_failures_stop_the_later_waves(stage: Stage) -> None:
    arm(stage, unapplied=2)
    run = stage.rotate({"psk_rotation_max_failures": 1}, then=()).failed()
    assert len(run.waves) == 1
    assert sorted(run.statuses().values()).count("stopped") == len(run.before) - len(run.waves[0]) - 2


def test_as_many_failures_as_allowed_stop_nothing(stage: Stage) -> None:
    arm(stage, unapplied=2)
    run = stage.rotate({"psk_rotation_max_failures": "25%"}, then=()).failed()
    assert len(run.waves) == 2
    assert "stopped" not in run.statuses().values()


def test_a_rotation_that_was_stopped_goes_on_with_the_next_run(stage: Stage) -> None:
    arm(stage, unapplied="all")
    assert stage.rotate({"psk_rotation_max_failures": 0}, then=()).failed().rotated == set()
    assert assert_healed(stage).rotated == set(stage.psks())


def test_a_lost_answer_is_asked_for_again_with_the_same_psks(stage: Stage) -> None:
    arm(stage, drop=True, when="after")
    run = stage.rotate(then=()).ok()
    assert run.waves[0] == run.waves[1]
    assert stage.current() == stage.psks()


def test_an_answer_that_is_lost_for_good_leaves_the_tunnels_in_doubt_whatever_time_they_show(stage: Stage) -> None:
    arm(stage, drop=True, when="after", count=0)
    run = stage.rotate(ONCE_ONLY, then=()).failed()
    assert {run.statuses()[i] for i in run.rotated} == {"in_doubt"}
    assert_healed(stage)


def go_silent(stage: Stage) -> None:
    """From the first write on nothing answers, although it is carried out. One list comes before it."""
    arm(stage, drop=True, when="after", count=0)
    stage.simulator.arm({"route": "list", "drop": True, "skip": 1, "count": 0})


def test_what_is_in_doubt_is_in_the_escrow(stage: Stage) -> None:
    go_silent(stage)
    run = stage.rotate(ONCE_ONLY, then=()).failed()
    escrow = stage.escrow()
    assert run.rotated
    assert {i: escrow[i]["pending"]["psk"] for i in run.rotated} == {i: run.after[i]["psk"] for i in run.rotated}
    assert {run.statuses()[i] for i in run.rotated} == {"in_doubt"}


def test_the_next_run_ends_the_doubt_with_the_same_psks(stage: Stage) -> None:
    go_silent(stage)
    lost = stage.rotate(ONCE_ONLY, then=()).failed()
    healed = assert_healed(stage)
    assert {i: healed.after[i]["psk"] for i in lost.rotated} == {i: lost.after[i]["psk"] for i in lost.rotated}


def test_a_token_that_is_revoked_in_the_middle(stage: Stage) -> None:
    arm(stage, status=401, skip=1, count=0)
    run = stage.rotate(then=()).failed()
    assert len(run.waves) == 1
    assert run.rotated == set(run.waves[0])
    assert stage.current() == {i: run.after[i]["psk"] for i in run.rotated}
    assert "Authentication error" in run.failures[-1]
    assert assert_healed(stage).rotated == set(run.before) - run.rotated


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 502, "html": True, "when": "after", "count": 0},
        {"truncate": "closed", "count": 0},
        {"omit": 1, "count": 0},
        {"success_false": True, "when": "after", "count": 0},
    ],
    ids=["html", "truncated", "omitted", "success_false"],
)
def test_an_answer_that_says_nothing_loses_no_psk(stage: Stage, fault: dict[str, Any]) -> None:
    arm(stage, **fault)
    run = stage.rotate(ONCE_ONLY, then=())
    escrow = stage.escrow()
    assert run.rotated
    for i in run.rotated:
        assert run.after[i]["psk"] in [part["psk"] for part in (escrow[i]["pending"], escrow[i]["current"]) if part]
    assert_healed(stage)


def test_a_refusal_of_the_preflight_stops_before_the_first_write(stage: Stage) -> None:
    stage.simulator.arm({"route": "psk_set", "validate_only": True, "unapplied": 1})
    run = stage.rotate(then=()).failed()
    assert run.waves == []
    assert not stage.escrow_path.exists()


def test_a_refusal_of_validate_only_fails_the_check_run(stage: Stage) -> None:
    stage.simulator.arm({"route": "psk_set", "validate_only": True, "unapplied": 1, "count": 0})
    run = stage.rotate(check=True, then=()).failed()
    assert run.waves == []
    assert not stage.escrow_path.parent.exists()


def with_a_foreign_change(stage: Stage) -> str:
    """Rotate all, then let somebody else change a tunnel; returns its id."""
    stage.rotate(then=()).ok()
    tunnel, _other = first_site(stage)
    later = datetime.now(UTC) + timedelta(minutes=1)
    stage.simulator.patch_tunnel(tunnel, psk=FOREIGN_PSK, last_generated_on=later.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return tunnel


def test_a_foreign_change_is_reported_and_not_overwritten(stage: Stage) -> None:
    tunnel = with_a_foreign_change(stage)
    run = stage.rotate({"psk_rotation_max_age": "0"}, then=()).failed()
    assert run.after[tunnel]["psk"] == FOREIGN_PSK
    assert run.statuses()[tunnel] == "stuck"
    assert run.before[tunnel]["name"] in run.failures[-1]
    assert "somebody else" in run.failures[-1]


def test_nobody_is_given_the_psk_that_a_foreign_change_has_replaced(stage: Stage) -> None:
    tunnel = with_a_foreign_change(stage)
    keep = {"path": str(stage.folder / "results.json"), "value": "{{ psk_rotation_results }}"}
    rotate = {"name": "Rotate", "ansible.builtin.include_role": {"name": "magicwan.cloudflare.psk_rotation"}}
    rescued = {"name": "Try", "block": [rotate], "rescue": [{"name": "Keep", "keep": keep, "no_log": True}]}
    stage.rotate(play={"hosts": "all", "gather_facts": False, "tasks": [rescued]}, then=())
    results = json.loads((stage.folder / "results.json").read_text(encoding="utf-8"))
    (found,) = [x for x in results if x["id"] == tunnel]
    assert (found["status"], found["psk"]) == ("stuck", None)
    assert "somebody else" in found["reason"]


def test_the_sibling_of_a_foreign_change_is_left_alone(stage: Stage) -> None:
    tunnel = with_a_foreign_change(stage)
    run = stage.rotate({"psk_rotation_max_age": "0"}, then=()).failed()
    assert run.statuses()[first_site(stage)[1]] == "skipped"
    assert run.rotated == set(run.before) - set(first_site(stage))
    assert run.before[tunnel]["name"] in run.reasons()[first_site(stage)[1]]


def test_a_foreign_change_stays_reported(stage: Stage) -> None:
    tunnel = with_a_foreign_change(stage)
    stage.rotate(then=()).failed()
    run = stage.rotate(then=()).failed()
    assert run.statuses()[tunnel] == "stuck"
    assert run.after[tunnel]["psk"] == FOREIGN_PSK


def test_force_overrides_a_foreign_change(stage: Stage) -> None:
    tunnel = with_a_foreign_change(stage)
    stage.rotate(then=()).failed()
    run = assert_healed(stage, {"psk_rotation_force": True})
    assert run.after[tunnel]["psk"] != FOREIGN_PSK
    assert assert_healed(stage).waves == []
