# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How records are found: by id, or by the name that the escrow has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, find

from tests.unit.plugins.plugin_utils.memory import MemoryStore
from tests.unit.plugins.plugin_utils.records import known

ONE, TWO, OLD, UNKNOWN = "1" * 32, "2" * 32, "3" * 32, "9" * 32


def record(name: str, *, gone: bool = False) -> Record:
    return replace(known(), name=name, gone=gone)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore({ONE: record("berlin-a"), TWO: record("berlin-b"), OLD: record("berlin-a", gone=True)})


def test_an_id_costs_no_look_at_the_other_records(store: MemoryStore) -> None:
    assert list(find(store, [TWO])) == [TWO]
    assert store.loads == [[TWO]]


def test_a_name_finds_the_tunnel_that_has_it(store: MemoryStore) -> None:
    assert list(find(store, ["berlin-b"])) == [TWO]


def test_the_records_come_in_the_order_of_the_terms(store: MemoryStore) -> None:
    assert list(find(store, ["berlin-b", ONE])) == [TWO, ONE]


def test_a_tunnel_that_is_gone_is_found_by_its_id(store: MemoryStore) -> None:
    assert list(find(store, [OLD])) == [OLD]


def test_a_tunnel_that_is_gone_is_found_by_a_name_that_no_other_has(store: MemoryStore) -> None:
    store.put(ONE, record("rome-a"))
    assert list(find(store, ["berlin-a"])) == [OLD]


def test_a_name_that_two_tunnels_have_is_refused_with_their_ids(store: MemoryStore) -> None:
    store.put(TWO, record("berlin-a"))
    with pytest.raises(EscrowError, match=f"'berlin-a' is the name of 2 tunnels: give the id, {ONE} or {TWO}"):
        find(store, ["berlin-a"])


def test_a_name_that_no_tunnel_has_is_told_with_those_near_it(store: MemoryStore) -> None:
    with pytest.raises(EscrowError, match="no tunnel with the id or name 'berlin-c'; near it are berlin-") as caught:
        find(store, ["berlin-c"])
    assert "\n" not in str(caught.value)


def test_an_id_that_the_escrow_does_not_know_is_refused(store: MemoryStore) -> None:
    with pytest.raises(EscrowError, match="no tunnel with the id or name '9999"):
        find(store, [UNKNOWN])


def test_what_may_be_missing_is_left_out(store: MemoryStore) -> None:
    assert list(find(store, [UNKNOWN, ONE, "nowhere"], missing_ok=True)) == [ONE]


def test_ids_that_may_be_missing_cost_no_look_at_the_other_records(store: MemoryStore) -> None:
    find(store, [UNKNOWN, ONE], missing_ok=True)
    assert store.loads == [[UNKNOWN, ONE]]
