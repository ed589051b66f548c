# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to records outside of a rotation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _upkeep
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import IN_DOUBT, STUCK

from tests.unit.plugins.plugin_utils.memory import MemoryStore
from tests.unit.plugins.plugin_utils.records import ME, known, record_in


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore({"t1": replace(known(), name="one"), "t2": replace(known(), name="two")})


@pytest.fixture
def mover(store: MemoryStore) -> Mover:
    mover = Mover(store, lambda: ME)
    mover.read(None)
    return mover


def named(store: MemoryStore) -> dict[str, tuple[str | None, bool]]:
    return {i: (x.name, x.gone) for i, x in store.records.items()}


def test_an_account_that_is_as_it_was_costs_no_write(store: MemoryStore, mover: Mover) -> None:
    assert not _upkeep.notice(mover, {"t1": "one", "t2": "two"}).changed
    assert store.writes == 0


def test_a_tunnel_that_the_account_has_no_more_is_gone_and_keeps_its_psk(store: MemoryStore, mover: Mover) -> None:
    assert _upkeep.notice(mover, {"t1": "one"}).changed
    assert named(store) == {"t1": ("one", False), "t2": ("two", True)}
    assert store["t2"].keys() == {"old"}


def test_a_tunnel_that_is_gone_is_told_once_by_its_name(mover: Mover) -> None:
    first, second = (_upkeep.told(_upkeep.notice(mover, {"t1": "new"})) for _ in range(2))
    assert first == ["the account shows 1 tunnel of the escrow no more, kept as gone with all PSKs: two"]
    assert second == []


def test_of_a_tunnel_that_is_gone_half_way_its_state_is_told_too() -> None:
    mover = Mover(MemoryStore({"t1": known(), "t2": replace(record_in(IN_DOUBT), name="two")}), lambda: ME)
    assert _upkeep.told(_upkeep.notice(mover, {})) == [
        "the account shows 2 tunnels of the escrow no more, kept as gone with all PSKs: one, two (left in_doubt)"
    ]


def test_a_tunnel_that_is_gone_is_noticed_whatever_the_run_is_about(store: MemoryStore) -> None:
    mover = Mover(store, lambda: ME)
    mover.read(["t1"])
    _upkeep.notice(mover, {"t1": "one"})
    assert named(store)["t2"] == ("two", True)


def test_a_tunnel_that_is_there_again_is_not_gone(store: MemoryStore, mover: Mover) -> None:
    _upkeep.notice(mover, {"t1": "one"})
    _upkeep.notice(mover, {"t1": "one", "t2": "two"})
    assert named(store)["t2"] == ("two", False)


def test_what_is_gone_already_costs_no_write(store: MemoryStore, mover: Mover) -> None:
    _upkeep.notice(mover, {"t1": "one"})
    writes = store.writes
    assert not _upkeep.notice(mover, {"t1": "one"}).changed
    assert store.writes == writes


def test_two_tunnels_that_swapped_their_names_have_them_in_the_escrow(store: MemoryStore, mover: Mover) -> None:
    _upkeep.notice(mover, {"t1": "two", "t2": "one"})
    assert named(store) == {"t1": ("two", False), "t2": ("one", False)}


def test_a_tunnel_without_a_record_gets_none(store: MemoryStore, mover: Mover) -> None:
    _upkeep.notice(mover, {"t1": "one", "t2": "two", "t3": "three"})
    assert list(store.records) == ["t1", "t2"]


def test_only_records_of_tunnels_that_are_gone_are_forgotten(store: MemoryStore, mover: Mover) -> None:
    _upkeep.mark_gone(mover, ["t2"])
    kept = _upkeep.forget(mover, ["t1", "t2", "t3"])
    assert kept == {"t1": "it is not marked as gone", "t3": "the escrow has no record of it"}
    assert list(store.records) == ["t1"]


def test_unsticking_leaves_the_rest_to_the_next_run(store: MemoryStore, mover: Mover) -> None:
    store.put("t1", record_in(STUCK))
    moves = _upkeep.unstick(Mover(store, lambda: ME), ["t1", "t2"])
    assert (store.states, str(moves.refused["t2"])) == (
        {"t1": "in_doubt", "t2": "idle"},
        "the record is idle, not stuck",
    )
