# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any record that can be, for hypothesis."""

from __future__ import annotations

from typing import Any

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    ROLLING_BACK,
    STATES,
    STUCK,
    UNRESOLVED,
    Key,
    Lease,
    Pending,
    Record,
    Rollback,
)
from hypothesis import strategies as st

from tests.unit.plugins.plugin_utils.records import at, seconds

# Each PSK begins with this, so that a search finds it wherever it is.
MARK = "S3cret"

psks = st.sampled_from([f"{MARK}{number:02d}" for number in range(12)])
minutes = st.sampled_from([-2000, -61, -59, -1, 0, 1, 2, 59, 61, 2000])
times = st.sampled_from([None, *(at(x) for x in (-2000, -59, 0, 1, 59, 2000))])
texts = st.sampled_from(["", "a", "b", "\u00e9 \"'{", "null", "2026-01-01"])
names = st.none() | texts
keys = st.builds(
    Key,
    psk=psks,
    applied_on=times,
    made_on=times,
    rotation_id=names,
    wave=st.none() | st.integers(1, 9),
    exposure_seconds=st.none() | st.floats(0, 100),
    confirmed=st.none() | st.booleans(),
    confirmed_on=times,
    at_least=st.booleans(),
    superseded=st.booleans(),
    discarded_on=times,
)
pendings = st.builds(
    Pending,
    psk=psks,
    rotation_id=texts,
    wave=st.none() | st.integers(1, 9),
    baseline=times,
    reported=times,
    attempt=st.integers(1, 5),
    applied_on=times,
    at_least=st.booleans(),
)
rollbacks = st.builds(Rollback, applied=st.booleans(), applied_on=times, at_least=st.booleans())
leases = st.builds(Lease, owner=texts, until=minutes.map(seconds))
events = st.fixed_dictionaries({"on": minutes.map(at), "event": texts})
others = st.dictionaries(st.sampled_from(["of_a_later_version", "note"]), texts, max_size=2)


@st.composite
def records(draw: Any) -> Record:
    """A record as a store may hold it."""
    state = draw(st.sampled_from(STATES))
    has_pending = state in UNRESOLVED or (state == STUCK and draw(st.booleans()))
    return Record(
        name=draw(names),
        ipsec_id=draw(names),
        host=draw(names),
        group=draw(names),
        device=draw(st.none() | st.booleans()),
        state=state,
        generation=draw(st.integers(0, 9)),
        revision=draw(st.integers(0, 9)),
        current=draw(keys if state == ROLLING_BACK else st.none() | keys),
        previous=draw(st.none() | keys),
        pending=draw(pendings) if has_pending else None,
        discarded=tuple(draw(st.lists(keys, max_size=3))),
        rollback=draw(rollbacks if state == ROLLING_BACK else st.none()),
        lease=draw(st.none() | leases),
        reason=draw(names),
        seen=draw(times),
        gone=draw(st.booleans()),
        history=tuple(draw(st.lists(events, max_size=3))),
        other=draw(others),
    )
