# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a rotation hand on to each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Trace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import (
    Flying,
    Outcome,
    Progress,
    Result,
    State,
    load,
    new_token,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import Planned
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugins.plugin_utils.records import known
from tests.unit.plugins.plugin_utils.strategies import MARK, psks, texts, times

texts_or_none = st.none() | texts
statuses = st.sampled_from(sorted(_status.TABLE))
traces = st.builds(Trace, on=times, shown=st.booleans(), skew=st.integers(-9, 9))
planned = st.builds(
    Planned, texts, texts, texts, texts, traces, statuses, texts, generation=st.integers(0, 9), excused=st.booleans()
)
flying = st.builds(Flying, texts, texts, texts, texts, st.none() | st.floats(0, 1e9), texts_or_none)
results = st.builds(
    Result,
    id=texts,
    name=texts,
    host=texts,
    group=texts,
    status=statuses,
    reason=texts_or_none,
    changed=st.booleans(),
    excused=st.booleans(),
    psk=st.none() | psks,
    ipsec_id=texts_or_none,
    ike_ids=st.dictionaries(texts, texts_or_none, max_size=2),
    addresses=st.dictionaries(texts, texts_or_none, max_size=2),
    bgp=st.none() | st.fixed_dictionaries({"customer_asn": st.integers()}),
    generation=st.none() | st.integers(0, 9),
    exposure_seconds=st.none() | st.floats(0, 100),
)
states = st.builds(
    State,
    rotation_id=texts,
    owner=texts,
    mode=texts,
    operation=texts,
    confirmation=texts,
    devices=st.frozensets(texts, max_size=3),
    verifying=st.frozensets(texts, max_size=3),
    proven=st.frozensets(texts, max_size=3),
    hooks=st.dictionaries(texts, st.lists(texts, max_size=2), max_size=2),
    reach=st.dictionaries(texts, texts, max_size=2),
    first_wave=st.integers(0, 9),
    waves=st.lists(st.lists(planned, max_size=2), max_size=2),
    siblings=st.dictionaries(texts, st.lists(texts, max_size=2), max_size=2),
    limit=st.integers(0, 9),
    failed_before=st.integers(0, 9),
    token=texts,
    run_token=texts,
    progress=st.builds(Progress, texts, st.floats(0, 1e9), st.lists(texts, max_size=2)),
    results=st.dictionaries(texts, st.lists(results, max_size=2), max_size=2),
    statuses=st.dictionaries(texts, statuses, max_size=2),
    in_flight=st.lists(flying, max_size=2),
    to_roll_back=st.lists(flying, max_size=2),
    overlay=st.dictionaries(texts, psks.map(lambda psk: [known(psk).to_dict(), 1]), max_size=2),
    changed=st.booleans(),
)


@given(states)
def test_the_next_step_goes_on_with_the_state_of_the_one_before(state: State) -> None:
    assert load(state.dump()) == state


@given(states)
def test_no_repr_of_a_state_holds_a_psk(state: State) -> None:
    assert MARK not in repr(state)
    assert MARK not in repr(state.all_results())


@given(psks)
def test_no_repr_of_an_outcome_holds_a_psk(psk: str) -> None:
    assert psk not in repr(Outcome("t1", "one", "a", "applied", psk=psk))


def result(**fields: Any) -> Result:
    given = {"id": "t1", "name": "one", "host": "a", "group": "g", "status": "confirmed", "reason": None}
    return Result(**{**given, **fields})


def test_a_published_result_has_its_addresses_beside_the_other_keys() -> None:
    found = result(psk="key", addresses={"customer_endpoint": "192.0.2.1"}).to_dict()
    assert (found["customer_endpoint"], found["psk"], found["status"]) == ("192.0.2.1", "key", "confirmed")
    assert not {"addresses", "excused"} & set(found)
    json.dumps(found)


@pytest.mark.parametrize(
    ("status", "excused", "fine"),
    [("confirmed", False, True), ("in_doubt", True, False), ("skipped", False, False), ("skipped", True, True)],
)
def test_a_tunnel_is_fine_if_its_status_is_harmless_or_a_living_run_does_the_work(
    status: str, excused: bool, fine: bool
) -> None:
    assert result(status=status, excused=excused).is_fine(_status.harmless_in("rotate")) is fine


def test_no_token_was_ever_said_before() -> None:
    assert len({new_token() for dummy in range(100)}) == 100
