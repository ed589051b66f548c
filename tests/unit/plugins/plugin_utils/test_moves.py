# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving records of a store: with check-and-set, and anew on a record that somebody else has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import ATTEMPTS, Mover, present
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Claim, Record, Refused
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Stored, Written
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved

from tests.unit.plugins.plugin_utils.memory import MemoryStore
from tests.unit.plugins.plugin_utils.records import ME, claim, known

NAMES = {f"t{n}": f"tunnel {n}" for n in range(7)}


def mover(store: MemoryStore) -> Mover:
    return Mover(store, lambda: ME, NAMES)


def rename(tunnel_id: str, record: Record | None) -> Moved:
    return Moved(replace(present(record), name="renamed"), "unchanged")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore({"t1": known(), "t2": known()})


def test_any_number_of_records_is_one_load_and_one_write(store: MemoryStore) -> None:
    moves = mover(store).move(["t1", "t2"], rename)
    assert {i: x.name for i, x in store.records.items()} == {"t1": "renamed", "t2": "renamed"}
    assert (store.loads, store.writes, moves.changed) == ([["t1", "t2"]], 1, True)


def test_what_was_read_or_written_before_is_not_loaded_again(store: MemoryStore) -> None:
    moving = mover(store)
    moving.read(["t1", "t2"])
    moving.move(["t1"], rename)
    moving.move(["t1"], lambda i, record: Moved(replace(present(record), host="router"), "unchanged"))
    assert store.loads == [["t1", "t2"]]
    assert (store["t1"].name, store["t1"].host) == ("renamed", "router")


def test_a_record_that_does_not_change_is_not_written(store: MemoryStore) -> None:
    moves = mover(store).move(["t1"], lambda i, record: Moved(present(record), "unchanged"))
    assert (store.writes, moves.changed) == (0, False)


def test_one_that_is_refused_holds_nobody_else_up(store: MemoryStore) -> None:
    def move(tunnel_id: str, record: Record | None) -> Moved:
        if tunnel_id == "t1":
            raise Refused("no")
        return rename(tunnel_id, record)

    moves = mover(store).move(["t1", "t2"], move)
    assert moves.refused["t1"].record == store["t1"]
    assert (list(moves.moved), {i: str(x) for i, x in moves.refused.items()}) == (["t2"], {"t1": "no"})


def test_a_tunnel_without_a_record_is_refused_where_it_needs_one(store: MemoryStore) -> None:
    moves = mover(store).move(["t3"], rename)
    assert {i: str(x) for i, x in moves.refused.items()} == {"t3": "the escrow has no record of it"}


def test_a_new_record_is_written_only_if_there_is_still_none(store: MemoryStore) -> None:
    seen: list[Record | None] = []

    def move(tunnel_id: str, record: Record | None) -> Moved:
        seen.append(record)
        return Moved(replace(record or Record(), host="router"), "unchanged")

    store.meanwhile = lambda: store.put("t3", Record(name="somebody else's"))
    mover(store).move(["t3"], move)
    assert [x.name if x else None for x in seen] == [None, "somebody else's"]
    assert (store["t3"].name, store["t3"].host) == ("somebody else's", "router")


def test_a_record_that_somebody_changed_is_judged_anew(store: MemoryStore) -> None:
    store.meanwhile = lambda: store.put("t1", replace(known(), state="stuck"))

    def move(tunnel_id: str, record: Record | None) -> Moved:
        if present(record).state == "stuck":
            raise Refused("stuck", status="stuck")
        return rename(tunnel_id, record)

    moves = mover(store).move(["t1", "t2"], move)
    assert (list(moves.moved), moves.refused["t1"].status) == (["t2"], "stuck")
    assert store["t1"].name == "one"


def test_what_could_not_be_written_down_is_in_doubt(store: MemoryStore) -> None:
    class Busy(MemoryStore):
        """Somebody else is always faster."""

        def store(self, changes: Mapping[str, Stored]) -> Written:
            self.put("t1", replace(self["t1"], host=f"host {self.writes}"))
            return super().store(changes)

    busy = Busy({"t1": known(), "t2": known()})
    moves = mover(busy).move(["t1", "t2"], rename)
    assert (list(moves.moved), moves.refused["t1"].status, busy.writes) == (["t2"], "in_doubt", ATTEMPTS)
    assert "nothing could be recorded" in str(moves.refused["t1"])


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (
            "store",
            "is down; it is not known whether this was written for tunnel 0, .*tunnel 4 and 2 more: run again",
        ),
        (
            "load",
            "is down; nothing could be recorded for tunnel 0, .*tunnel 4 and 2 more: run again",
        ),
    ],
)
def test_a_store_that_fails_names_the_tunnels_and_what_to_do(breaks: str, message: str) -> None:
    def down(*dummy: object) -> None:
        raise EscrowError("the escrow is down")

    store = MemoryStore({i: known() for i in NAMES})
    setattr(store, breaks, down)
    with pytest.raises(EscrowError, match=message):
        mover(store).move(NAMES, rename)


def ended() -> Claim:
    raise EscrowError("the run that asked for this has ended")


def test_a_run_that_has_ended_claims_nothing_more() -> None:
    with pytest.raises(EscrowError, match="has ended"):
        Mover(MemoryStore(), ended).claim()


def test_a_run_that_has_ended_writes_down_what_it_has_done_in_its_own_name() -> None:
    claims: list[Callable[[], Claim]] = [lambda: claim("me", 0), ended]
    moving = Mover(MemoryStore(), lambda: claims.pop(0)())
    moving.claim()
    found = moving.claim_anyway(ME.now + 60)
    assert (found.owner, found.now, found.until) == ("me", ME.now + 60, ME.until + 60)


def test_a_run_that_never_claimed_anything_has_nothing_to_write_down() -> None:
    with pytest.raises(EscrowError, match="has ended"):
        Mover(MemoryStore(), ended).claim_anyway(ME.now)


def test_a_claim_knows_its_wave() -> None:
    moving = mover(MemoryStore())
    moving.wave = 3
    assert moving.claim().wave == 3


def test_opening_makes_sure_that_the_escrow_can_be_written(store: MemoryStore) -> None:
    assert list(mover(store).open(None)) == ["t1", "t2"]
    assert store.checked == 1
