# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records, claims and targets for tests. Times are minutes from one moment, on Cloudflare's clock and on ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, Trace, format_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import (
    APPLIED,
    IDLE,
    IN_DOUBT,
    PREPARED,
    ROLLING_BACK,
    STUCK,
    Claim,
    Record,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._transitions import Moved, Target

START = 1_790_000_000
LEASE = 15
# When the PSK "old" of `known` was set: so long ago that no request of that time can still be carried out.
LONG_AGO = -1000


def at(minutes: float) -> str:
    """A time as the API shows it."""
    return format_time(int((START + minutes * 60) * NANO))


def seconds(minutes: float) -> float:
    """The same moment in seconds since 1970."""
    return START + minutes * 60.0


def trace(minutes: float | None) -> Trace:
    """What the account shows of a tunnel whose PSK was set then; None: it has none."""
    return Trace(None if minutes is None else at(minutes))


def claim(
    owner: str = "me",
    minutes: float = 0,
    lease: float = LEASE,
    lives: Callable[[str], bool | None] = lambda owner: None,
    wave: int | None = None,
) -> Claim:
    """The claim of a run as of then. Its rotation is named after it."""
    now = seconds(minutes)
    return Claim(f"rotation of {owner}", owner, now, now + lease * 60, lives, wave)


ME = claim()
# Another run, while the lease of ME lasts and after its end.
OTHER, LATER = claim("other", 1), claim("later", LEASE + 5)


def target(minutes: float | None = LONG_AGO, **fields: Any) -> Target:
    """A tunnel of a rotation, as the account shows it."""
    return Target(**{"name": "one", "trace": trace(minutes), **fields})


def prepare(
    record: Record | None,
    minutes: float | None,
    psk: str,
    by: Claim = ME,
    *,
    force: bool = False,
    finish: bool = False,
) -> Moved:
    """Prepares a record for `psk`, the account showing a PSK of then."""
    return _transitions.prepare(record, target(minutes, finish=finish), psk, by, force=force)


def known(psk: str = "old", minutes: float = LONG_AGO) -> Record:
    """An idle record with a current PSK."""
    then = claim("before", minutes)
    record = prepare(None, None, psk, then).record
    record = _transitions.applied(record, at(minutes), then).record
    return _transitions.confirm(record, _status.CONFIRMED, then).record


def record_in(state: str) -> Record:
    """A record with the current PSK `old` and the pending one `new`, held by ME unless its transition let go of it.

    In the state APPLIED `new` was set at minute 1.
    """
    record = known()
    if state == IDLE:
        return record
    record = prepare(record, LONG_AGO, "new").record
    if state == PREPARED:
        return record
    if state == IN_DOUBT:
        return _transitions.in_doubt(record, "no answer", ME).record
    if state == STUCK:
        return _transitions.stick(record, at(30), ME).record
    record = _transitions.applied(record, at(1), ME).record
    return record if state == APPLIED else _transitions.roll_back(record, "the device failed", ME).record


def rolled_back_at_cloudflare(minutes: float = 2) -> Record:
    """A record in ROLLING_BACK whose previous PSK Cloudflare has again, and the device not yet."""
    record = record_in(ROLLING_BACK)
    return _transitions.applied(record, at(minutes), claim(minutes=minutes)).record


def keys(record: Record) -> dict[str, Any]:
    """Which PSK is where."""
    found = {name: part.psk if part else None for name, part in parts(record).items()}
    return {**found, "discarded": [x.psk for x in record.discarded]}


def parts(record: Record) -> dict[str, Any]:
    return {"current": record.current, "previous": record.previous, "pending": record.pending}
