# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store whose writes stay in memory: over a real one, or over nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_overlay import OverlayStore

from tests.unit.plugins.plugin_utils.memory import MemoryStore
from tests.unit.plugins.plugin_utils.records import known


@pytest.fixture
def base() -> MemoryStore:
    return MemoryStore({"t1": known("one"), "t2": known("two")})


def write(store: OverlayStore, tunnel_id: str, record: Record) -> dict[str, str]:
    """Writes a record over the one that is there; returns the conflicts."""
    found = store.load([tunnel_id]).get(tunnel_id)
    return store.store({tunnel_id: Stored(record, found.version if found else 0)}).conflicts


def test_what_was_not_written_is_read_from_below(base: MemoryStore) -> None:
    assert {i: x.record.keys() for i, x in OverlayStore(base).load().items()} == {"t1": {"one"}, "t2": {"two"}}


def test_what_was_written_covers_what_is_below(base: MemoryStore) -> None:
    store = OverlayStore(base)
    assert write(store, "t1", known("newer")) == {}
    assert {i: x.record.keys() for i, x in store.load().items()} == {"t1": {"newer"}, "t2": {"two"}}
    assert store.load(["t1"])["t1"].record.keys() == {"newer"}


def test_nothing_is_written_below(base: MemoryStore) -> None:
    before = base.records
    store = OverlayStore(base)
    write(store, "t1", known("newer"))
    write(store, "t3", known("new"))
    store.forget(store.load(["t2"]))
    store.check()
    assert (base.records, base.writes, base.checked) == (before, 0, 0)


def test_a_version_that_is_outdated_is_a_conflict(base: MemoryStore) -> None:
    store = OverlayStore(base)
    before = store.load(["t1"])["t1"]
    write(store, "t1", known("newer"))
    assert list(store.store({"t1": before}).conflicts) == ["t1"]


def test_a_record_that_is_there_already_is_no_new_one(base: MemoryStore) -> None:
    assert list(OverlayStore(base).store({"t1": Stored(known(), 0)}).conflicts) == ["t1"]


def test_a_record_that_somebody_wrote_below_is_a_conflict_too(base: MemoryStore) -> None:
    store = OverlayStore(base)
    before = store.load(["t1"])["t1"]
    base.put("t1", known("somebody else's"))
    assert list(store.store({"t1": before}).conflicts) == ["t1"]


def test_over_nothing_there_is_what_was_written() -> None:
    store = OverlayStore(None)
    assert (store.load(), list(store.others(()))) == ({}, [])
    write(store, "t1", known("one"))
    assert (list(store.load()), list(store.others(())), list(store.load(["t1", "t2"]))) == (["t1"], ["t1"], ["t1"])


def test_what_was_forgotten_is_gone_for_this_run(base: MemoryStore) -> None:
    store = OverlayStore(base)
    store.forget(store.load(["t1"]))
    assert (list(store.load()), list(store.load(["t1"])), list(store.others(()))) == (["t2"], [], ["t2"])


def test_the_next_step_goes_on_with_what_one_has_written(base: MemoryStore) -> None:
    store = OverlayStore(base)
    write(store, "t1", replace(known("newer"), host="router"))
    store.forget(store.load(["t2"]))
    following = OverlayStore(base, json.loads(json.dumps(store.dump())))
    assert following.load() == store.load()
    assert following.dump() == store.dump()


def test_closing_closes_what_is_below(base: MemoryStore) -> None:
    OverlayStore(base).close()
    OverlayStore(None).close()
    assert base.closed == 1


def test_a_check_run_makes_sure_that_records_can_be_read(base: MemoryStore) -> None:
    OverlayStore(base).check()
    assert base.loads == [[]]
