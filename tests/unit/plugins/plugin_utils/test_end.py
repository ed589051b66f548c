# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the end of a run is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._end import (
    AGAIN,
    LEGEND,
    Ended,
    LastRun,
    ended,
    holds,
    last_run,
    not_done,
    percentile,
    totals,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IN_DOUBT,
    PREPARED,
    STUCK,
    Record,
    Rollback,
)

from tests.unit.plugins.plugin_utils.records import LATER, LONG_AGO, ME, at, known, prepare, record_in

ROTATED = _transitions.confirm(record_in(APPLIED), "confirmed", ME).record
BACK = _transitions.roll_back(record_in(APPLIED), "the device failed", ME, None).record
FAILED = Ended("berlin-1", "router", "applied", "the device failed", fine=False)


# -- which key is where ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "cloudflare", "device"),
    [
        (known(), "current", "current"),
        (ROTATED, "current", "current"),
        (record_in(PREPARED), "current", "current"),
        (record_in(IN_DOUBT), "current or pending", "current"),
        (record_in(APPLIED), "pending", "current or pending"),
        (BACK, "pending", "current or pending"),
        (replace(BACK, rollback=Rollback(at_least=True)), "current or pending", "current or pending"),
        (replace(BACK, rollback=Rollback(applied=True)), "current", "current or pending"),
        (replace(BACK, rollback=Rollback(applied=True, delivered=True)), "current", "current"),
        (known().of_state(STUCK), "somebody else's", "current"),
        (Record(), "not known", "not known"),
        (replace(record_in(APPLIED), current=None), "pending", "not known or pending"),
    ],
)
def test_the_record_tells_which_psk_is_where(record: Record, cloudflare: str, device: str) -> None:
    assert holds(record) == (cloudflare, device)


def test_a_psk_that_was_sent_again_may_have_arrived() -> None:
    sent = prepare(record_in(IN_DOUBT), None, "new").record
    assert holds(sent) == ("current or pending", "current")


def test_a_device_that_was_configured_has_the_pending_psk() -> None:
    applied = record_in(APPLIED)
    assert applied.pending is not None
    assert holds(replace(applied, pending=replace(applied.pending, delivered=True))) == ("pending", "pending")


def test_a_psk_that_somebody_else_has_replaced_is_not_cloudflares() -> None:
    current = known().current
    assert current is not None
    assert holds(replace(known(), current=replace(current, superseded=True)))[0] == "somebody else's"


# -- the table -------------------------------------------------------------------------------------------------------


def test_a_tunnel_that_is_not_done_has_one_line_with_all_that_is_to_be_known() -> None:
    head, line, legend = not_done({"t1": FAILED}, {"t1": record_in(APPLIED)}, "rotate")
    assert head.split()[:3] == ["tunnel", "device", "status"] and legend == LEGEND
    assert [x.strip() for x in line.split("  ") if x.strip()] == [
        "berlin-1",
        "router",
        "applied",
        "pending",
        "current or pending",
        "the device failed; next: fix router, then rotate_psks --limit router: it goes on with the pending PSK",
    ]


def test_what_is_done_has_no_line() -> None:
    assert not_done({"t1": replace(FAILED, fine=True)}, {}, "rotate") == []


def test_an_escrow_that_can_not_be_read_leaves_the_keys_unknown() -> None:
    assert "not known       not known" in not_done({"t1": FAILED}, None, "rotate")[1]


@pytest.mark.parametrize("mode", sorted(AGAIN))
def test_the_next_command_is_that_of_the_run(mode: str) -> None:
    assert f"{AGAIN[mode]} --limit router" in not_done({"t1": FAILED}, {}, mode)[1]


def test_a_run_on_localhost_needs_no_limit() -> None:
    assert "--limit" not in not_done({"t1": replace(FAILED, host="localhost")}, {}, "rotate")[1]


@pytest.mark.parametrize("status", sorted(set(_status.TABLE) - _status.HARMLESS | {_status.DUE}))
def test_every_status_that_is_not_done_says_what_to_do_next(status: str) -> None:
    assert "{again}" in _status.TABLE[status].then


# -- totals ----------------------------------------------------------------------------------------------------------


def test_totals_count_by_status_and_have_duration_and_exposure() -> None:
    found = [replace(FAILED, exposure=float(n), status="confirmed") for n in range(1, 21)] + [FAILED]
    assert totals("rotation r1", found, 12.34) == (
        "rotation r1: 21 tunnels, 1 applied, 20 confirmed, 12.3 s; exposure 11.0 s median, 20.0 s at 95 %"
    )


def test_totals_without_devices_have_no_exposure() -> None:
    assert totals("rotation r1", [FAILED], 1.0) == "rotation r1: 1 tunnel, 1 applied, 1.0 s"


def test_a_percentile_is_one_of_the_values() -> None:
    assert [percentile([1.0, 2.0, 3.0, 4.0], x) for x in (0, 50, 95, 100)] == [1.0, 3.0, 4.0, 4.0]


def test_what_a_run_remembers_is_judged_in_its_mode() -> None:
    told = {"name": "a", "host": "h", "status": "rolled_back", "reason": None, "excused": False, "exposure": None}
    assert not ended({"t1": told}, "rotate")["t1"].fine
    assert ended({"t1": told}, "rollback")["t1"].fine
    assert ended({"t1": {**told, "status": "skipped", "excused": True}}, "rotate")["t1"].fine
    assert ended({"t1": told}, "rotate", ["other"]) == {}


# -- the last run ----------------------------------------------------------------------------------------------------


def test_the_escrow_tells_of_the_last_rotation() -> None:
    found = last_run({"t1": ROTATED, "t2": known()})
    assert found is not None
    assert (found.rotation_id, {i: x.status for i, x in found.tunnels.items()}) == (
        "rotation of me",
        {"t1": "confirmed"},
    )
    assert found.tunnels["t1"].fine


def test_what_it_has_not_finished_is_not_fine() -> None:
    found = last_run({"t1": record_in(APPLIED)})
    assert found is not None
    assert (found.tunnels["t1"].status, found.tunnels["t1"].fine) == ("applied", False)


def test_what_was_rolled_back_says_why() -> None:
    record = _transitions.applied(_transitions.roll_back(record_in(APPLIED), "it failed", ME).record, at(9), ME).record
    found = last_run({"t1": _transitions.confirm(record, "delivered", ME).record})
    assert found is not None
    tunnel = found.tunnels["t1"]
    assert (tunnel.status, tunnel.reason, tunnel.fine) == ("rolled_back", "it failed", False)


def test_a_later_rotation_is_the_last_one() -> None:
    later = prepare(known(), LONG_AGO, "new", LATER).record
    found = last_run({"t1": ROTATED, "t2": later})
    assert found is not None
    assert (found.rotation_id, list(found.tunnels)) == ("rotation of later", ["t2"])


def test_without_a_history_there_is_no_last_rotation() -> None:
    assert last_run({"t1": Record(name="one")}) is None


def test_the_last_rotation_survives_its_way_through_json() -> None:
    found = last_run({"t1": ROTATED})
    assert found is not None
    assert LastRun.from_dict(json.loads(json.dumps(found.to_dict()))) == found
