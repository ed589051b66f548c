# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tunnel must still be when a run takes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import APPLIED, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._targets import not_to_confirm

from tests.unit.plugins.plugin_utils.records import record_in, trace

WAITING = record_in(APPLIED)
assert WAITING.pending is not None
REPEATED = replace(WAITING, pending=replace(WAITING.pending, at_least=True))


def test_what_cloudflare_shows_as_it_was_set_may_be_confirmed() -> None:
    assert not_to_confirm(WAITING, trace(1)) is None


@pytest.mark.parametrize(
    ("record", "shown", "why"),
    [(None, 1, "no record"), (WAITING, None, "reconcile_psks first"), (REPEATED, 30, "reconcile_psks first")],
    ids=["no record", "no PSK", "an older request came late"],
)
def test_what_is_gone_or_replaced_is_not_confirmed(record: Record | None, shown: float | None, why: str) -> None:
    assert why in (not_to_confirm(record, trace(shown)) or "")
