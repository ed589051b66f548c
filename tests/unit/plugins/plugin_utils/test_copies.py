# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of frozen dataclasses."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    Claim,
    Key,
    Lease,
    Pending,
    Record,
    Rollback,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Outcome, Result, State
from hypothesis import given

from tests.unit.plugins.plugin_utils.strategies import records


@given(records())
def test_a_copy_is_what_the_standard_library_makes(record: Record) -> None:
    changes = {"state": "stuck", "reason": "why", "lease": None}
    before = dataclasses.asdict(record)
    assert replace(record, **changes) == dataclasses.replace(record, **changes)
    assert dataclasses.asdict(record) == before


def test_a_field_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(TypeError, match="Key has no field applied"):
        replace(Key("psk"), applied="2026-06-14T05:20:00Z")


@pytest.mark.parametrize("kind", [Claim, Key, Lease, Pending, Record, Rollback, Outcome, Result, State])
def test_what_is_copied_has_neither_slots_nor_anything_to_do_after_it_was_made(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    assert not {"__slots__", "__post_init__"} & {name for part in kind.__mro__ for name in vars(part)}
