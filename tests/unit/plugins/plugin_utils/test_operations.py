# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of psk_escrow over a backend in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Claim
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_backend import (
    EscrowError,
    NoEscrow,
    Stored,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._operations import Escrow

from tests.unit.plugins.plugin_utils.memory import MemoryEscrow

T0, T1, T2 = (f"2026-09-01T0{hour}:00:00Z" for hour in range(3))
NOW = 1_790_000_000.0
ENTRIES = [{"id": f"t{n}", "name": f"tunnel {n}", "reported": T0, "host": f"host{n}"} for n in range(3)]


def claim(owner: str = "me", now: float = NOW) -> Claim:
    return Claim(f"rotation of {owner}", owner, now, now + 900)


def applied(entry: Mapping[str, Any], psk: str | None = None, on: str = T1) -> dict[str, Any]:
    return {"id": entry["id"], "status": "applied", "applied_on": on, "psk": psk, "reason": None}


def ids(entries: list[dict[str, Any]]) -> list[str]:
    return [x["id"] for x in entries]


def test_a_wave_with_every_outcome() -> None:
    backend = MemoryEscrow()
    escrow = Escrow(backend, claim())
    prepared = escrow.prepare(ENTRIES, force=False)
    assert prepared["changed"] is True
    assert all(x["sends"] and x["rotation_id"] == "rotation of me" for x in prepared["tunnels"])
    assert len({x["psk"] for x in prepared["psks"]}) == 3
    stored = {i: record.record["pending"]["psk"] for i, record in backend.records.items()}
    assert stored == {x["id"]: x["psk"] for x in prepared["psks"]}
    results = [applied(ENTRIES[0]), {"id": "t1", "status": "unapplied", "reason": "no"}]
    recorded = escrow.record(prepared["tunnels"], results, "cut off")
    assert [(x["status"], x["reason"]) for x in recorded["tunnels"]] == [
        ("applied", None),
        ("unapplied", "refused: no"),
        ("in_doubt", "cut off"),
    ]
    assert recorded["tunnels"][0]["psk"] == stored["t0"]
    assert recorded["tunnels"][0]["host"] == "host0"
    confirmed = escrow.confirm([{**recorded["tunnels"][0], "seen": True}])
    assert [(x["status"], x["generation"]) for x in confirmed["tunnels"]] == [("confirmed", 1)]
    read = escrow.read(None, with_psks=True)["tunnels"]
    assert [(x["state"], x["psk"]) for x in read] == [("idle", stored["t0"]), ("idle", None), ("in_doubt", None)]


def test_open_checks_and_a_dry_one_does_not() -> None:
    backend = MemoryEscrow()
    Escrow(backend, claim(), dry=True).open(None)
    assert backend.checked == 0
    Escrow(backend, claim()).open(None)
    assert backend.checked == 1


def test_a_dry_run_writes_nothing_and_makes_no_psk() -> None:
    backend = MemoryEscrow()
    dry = Escrow(backend, claim(), dry=True)
    prepared = dry.prepare(ENTRIES, force=False)
    assert [x["psk"] for x in prepared["psks"]] == [None] * 3
    dry.record(prepared["tunnels"], [], None)
    dry.confirm(ENTRIES)
    assert backend.records == {}


def test_another_run_gets_no_tunnel_that_is_held() -> None:
    backend = MemoryEscrow()
    Escrow(backend, claim()).prepare(ENTRIES[:1], force=False)
    found = Escrow(backend, claim("other")).prepare(ENTRIES, force=False)
    assert ids(found["tunnels"]) == ["t1", "t2"]
    assert [(x["id"], x["status"]) for x in found["refused"]] == [("t0", "skipped")]
    assert "another run works on it (me)" in found["refused"][0]["reason"]


def test_of_two_runs_that_prepare_at_once_one_gets_the_tunnel() -> None:
    backend = MemoryEscrow()
    backend.meanwhile = lambda: winners.append(Escrow(backend, claim("other")).prepare(ENTRIES[:1], force=False))
    winners: list[dict[str, Any]] = []
    loser = Escrow(backend, claim()).prepare(ENTRIES[:1], force=False)
    assert ids(winners[0]["tunnels"]) == ["t0"]
    assert loser["psks"] == []
    assert ids(loser["refused"]) == ["t0"]


def taken_over(promote: bool) -> tuple[MemoryEscrow, dict[str, Any], Escrow]:
    """A run prepares and stops; another takes its tunnel over, and finishes or goes on to the device."""
    backend = MemoryEscrow()
    slow, quick = Escrow(backend, claim("slow")), Escrow(backend, claim("quick", NOW + 1000))
    prepared = slow.prepare(ENTRIES[:1], force=False)
    resumed = quick.prepare(ENTRIES[:1], force=False)
    assert resumed["psks"] == prepared["psks"]
    quick.record(resumed["tunnels"], [applied(ENTRIES[0])], None, promote=promote)
    return backend, prepared, slow


@pytest.mark.parametrize("promote", [True, False])
def test_an_answer_that_comes_too_late_is_learnt_from_and_moves_nothing(promote: bool) -> None:
    backend, prepared, slow = taken_over(promote)
    before = backend.records["t0"].record
    found = slow.record(prepared["tunnels"], [applied(ENTRIES[0], prepared["psks"][0]["psk"], T2)], None)
    assert found["tunnels"] == []
    assert found["refused"][0]["reason"] == "another run has taken it over"
    after = backend.records["t0"].record
    assert (after["state"], after["lease"]) == (before["state"], before["lease"])
    assert after["current" if promote else "pending"]["applied_on"] == T2


@pytest.mark.parametrize("operation", ["confirm", "roll_back", "release"])
def test_a_step_of_a_rotation_that_another_run_has_ended_is_refused(operation: str) -> None:
    backend, _prepared, slow = taken_over(promote=True)
    later = Escrow(backend, claim("later", NOW + 2000))
    prepared = later.prepare([{**ENTRIES[0], "reported": T1}], force=False)
    outcome = later.record(prepared["tunnels"], [applied(ENTRIES[0], on=T2)], None, release=True)["tunnels"][0]
    entry = {**outcome, "rotation_id": "rotation of slow", "seen": True, "reason": "failed"}
    found = getattr(slow, operation)([entry])
    assert found["refused"][0]["reason"] == "another run has ended its rotation meanwhile"
    assert backend.records["t0"].record["state"] == "applied"
    assert later.confirm([{**outcome, "seen": True}])["tunnels"][0]["status"] == "confirmed"


def test_without_an_escrow_failures_are_no_successes() -> None:
    escrow = Escrow(NoEscrow(), claim())
    prepared = escrow.prepare(ENTRIES, force=False)
    recorded = escrow.record(prepared["tunnels"], [applied(x) for x in ENTRIES[:2]], "cut off")
    assert [x["status"] for x in recorded["tunnels"]] == ["applied", "applied", "in_doubt"]
    assert escrow.confirm(ENTRIES[:1])["tunnels"][0]["status"] == "promoted"
    failed = [{**ENTRIES[1], "reason": "the device failed"}]
    found = escrow.roll_back(failed)
    assert {x["status"] for x in found["tunnels"] + found["refused"]} == {"applied"}
    assert escrow.release(failed)["tunnels"][0]["status"] == "applied"
    assert escrow.stick(failed)["tunnels"][0]["status"] == "stuck"


class Broken(MemoryEscrow):
    """A store that fails, or gives back something else."""

    fault = ""

    def store(self, changes: Mapping[str, Stored]) -> dict[str, str]:
        if self.fault == "down":
            raise EscrowError("the escrow is down")
        conflicts = super().store(changes)
        for i in changes:
            if self.fault == "drops":
                del self.records[i]
            if self.fault == "alters":
                self.records[i].record["pending"] = None
        return conflicts


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("down", "is down; it is not known if this was written for tunnel 0, tunnel 1, tunnel 2: run again"),
        ("drops", "gives back another record of tunnel t0"),
        ("alters", "gives back another record of tunnel t0"),
    ],
)
def test_what_cannot_be_read_back_is_not_sent(fault: str, message: str) -> None:
    backend = Broken()
    backend.fault = fault
    with pytest.raises(EscrowError, match=message):
        Escrow(backend, claim()).prepare(ENTRIES, force=False)


def test_another_run_may_go_on_before_ours_has_read_back() -> None:
    class Busy(MemoryEscrow):
        """Another run prepares as soon as this one has let go."""

        def store(self, changes: Mapping[str, Stored]) -> dict[str, str]:
            conflicts = super().store(changes)
            stored = self.records["t0"]
            if stored.record["state"] == "idle":
                self.records["t0"] = Stored({**stored.record, "name": "renamed"}, stored.version + 1)
            return conflicts

    escrow = Escrow(Busy(), claim())
    prepared = escrow.prepare(ENTRIES[:1], force=False)
    recorded = escrow.record(prepared["tunnels"], [applied(ENTRIES[0])], None, promote=True)
    assert [x["status"] for x in recorded["tunnels"]] == ["promoted"]
