# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""An escrow record: every PSK that Cloudflare may hold for one tunnel, and where its rotation stands.

Times are RFC 3339 texts as the API shows them; ``now`` and ``until`` are seconds since 1970. Records are frozen: the
transitions make new ones. Fields of records that version 1.0.0 wrote keep name and meaning; new ones are written only
where they say something.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Known
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._typed import typed

IDLE, PREPARED, IN_DOUBT = "idle", "prepared", "in_doubt"
APPLIED, ROLLING_BACK, STUCK = "applied", "rolling_back", "stuck"
UNRESOLVED = (PREPARED, IN_DOUBT, APPLIED, ROLLING_BACK)
STATES = (IDLE, *UNRESOLVED, STUCK)

# A lease that ends further ahead than the longest, in seconds, and than the clocks of two machines may be apart, is the
# work of a wrong clock, and is not believed.
LONGEST_LEASE = 86400.0
CLOCKS_APART = 3600.0

Data = dict[str, t.Any]


class Refused(Exception):
    """The transition is not allowed; the text says why and holds no secret.

    ``excused``: a run that is seen to live does what is to be done, so that the tunnel needs nobody's attention.
    ``record`` is the one that was judged, if there is one.
    """

    record: Record | None = None

    def __init__(self, reason: str, *, status: str = "skipped", excused: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.excused = excused


@dataclass(frozen=True)
class Claim:
    """Who works on a tunnel: the run, the lease's owner, until when (seconds since 1970), and in which wave, from 1.

    ``lives`` says whether an owner's process is seen to live on this machine; None if that can't be seen from here.
    """

    rotation_id: str
    owner: str
    now: float
    until: float
    lives: Callable[[str], bool | None] = lambda owner: None
    wave: int | None = None


@dataclass(frozen=True)
class Key:
    """A PSK that Cloudflare has, had, or may have.

    ``applied_on`` is Cloudflare's time; with ``at_least`` only the earliest one possible, because an earlier request
    with the same PSK may be carried out late. ``made_on`` is when the PSK was new. ``superseded``: somebody else has
    set another one since. ``restored``: a finished rotation was rolled back to it.
    """

    psk: str = field(repr=False)
    applied_on: str | None = None
    made_on: str | None = None
    rotation_id: str | None = None
    wave: int | None = None
    exposure_seconds: float | None = None
    confirmed: bool | None = None
    confirmed_on: str | None = None
    at_least: bool = False
    superseded: bool = False
    restored: bool = False
    discarded_on: str | None = None


@dataclass(frozen=True)
class Pending:
    """The PSK that a rotation is bringing about.

    ``baseline`` is the time that Cloudflare showed when the rotation began, ``reported`` the one that it showed before
    the latest attempt; ``attempt`` counts how often the PSK was to be sent, from 1. ``delivered``: since Cloudflare has
    it, its device's tasks have succeeded. ``disturbed``: a run that was late may have brought the device another one.
    """

    psk: str = field(repr=False)
    rotation_id: str = ""
    wave: int | None = None
    baseline: str | None = None
    reported: str | None = None
    attempt: int = 1
    applied_on: str | None = None
    at_least: bool = False
    delivered: bool = False
    disturbed: bool = False


@dataclass(frozen=True)
class Rollback:
    """Whether Cloudflare has the previous PSK again, and since when; and whether the device's tasks have succeeded.

    ``at_least``, while it is not applied: a request with an unknown outcome may have decided what Cloudflare has.
    """

    applied: bool = False
    applied_on: str | None = None
    at_least: bool = False
    delivered: bool = False


@dataclass(frozen=True)
class Lease:
    """A run's hold on a record. ``until`` is in seconds since 1970, by the clock of the owner's machine."""

    owner: str
    until: float


@dataclass(frozen=True)
class Record:
    """What the escrow holds of one tunnel.

    ``device`` says whether its last step had a device that has to act; None (as in 1.0.0) counts as yes. ``seen`` is
    the time for which the record became stuck. ``gone``: the account has no such tunnel any more. ``other`` are fields
    that this version does not know.
    """

    name: str | None = None
    ipsec_id: str | None = None
    host: str | None = None
    group: str | None = None
    device: bool | None = None
    state: str = IDLE
    generation: int = 0
    revision: int = 0
    current: Key | None = None
    previous: Key | None = None
    pending: Pending | None = None
    discarded: tuple[Key, ...] = ()
    rollback: Rollback | None = None
    lease: Lease | None = None
    reason: str | None = None
    seen: str | None = None
    gone: bool = False
    history: tuple[Data, ...] = ()
    other: Mapping[str, t.Any] = field(default_factory=dict, repr=False)

    def of_state(self, state: str, **changes: t.Any) -> Record:
        """This record in another state."""
        return replace(self, state=state, **changes)

    @property
    def unresolved(self) -> bool:
        """Whether Cloudflare and the device may have different keys."""
        return self.state in UNRESOLVED

    @property
    def begins(self) -> bool:
        """Whether its PSK was never sent."""
        return self.state == PREPARED and self.pending is not None and self.pending.attempt == 1

    @property
    def rotation_id(self) -> str | None:
        """The rotation that is under way, or else the one that has set the current PSK."""
        if self.pending:
            return self.pending.rotation_id
        return self.current.rotation_id if self.current else None

    @property
    def made_on(self) -> str | None:
        """When the current PSK was new."""
        return self.current.made_on if self.current else None

    def expected(self) -> Known | None:
        """The time that the tunnel must report if nobody else has set a PSK; None while that is not known."""
        found: Key | Pending | Rollback | None = None
        if self.state == IDLE:
            found = self.current
        elif self.state == APPLIED:
            found = self.pending
        elif self.state == ROLLING_BACK and self.rollback and self.rollback.applied:
            found = self.rollback
        return Known(found.applied_on, found.at_least) if found and found.applied_on else None

    def psk_to_send(self) -> str | None:
        """The PSK that the API must be given next; None when it has it already."""
        if self.state in (PREPARED, IN_DOUBT) and self.pending:
            return self.pending.psk
        if self.state == ROLLING_BACK and self.current and not (self.rollback and self.rollback.applied):
            return self.current.psk
        return None

    def psk_of_device(self) -> str | None:
        """The PSK that the device should hold: the one that Cloudflare holds; None while nobody knows it."""
        if self.pending and self.state == APPLIED:
            return self.pending.psk
        if self.pending and self.state == ROLLING_BACK and not (self.rollback and self.rollback.applied):
            return None if self.rollback and self.rollback.at_least else self.pending.psk
        if self.state == STUCK or not self.current or self.current.superseded:
            return None
        if self.state == IN_DOUBT and self.pending and self.pending.psk != self.current.psk:
            return None
        return self.current.psk

    def keys(self) -> set[str]:
        """Every PSK in the record."""
        parts = (self.current, self.previous, self.pending, *self.discarded)
        return {x.psk for x in parts if x is not None}

    def holder(self, claim: Claim) -> str | None:
        """The other run that holds the tunnel now, if there is one.

        One whose process is seen here holds it as long as it lives, and no longer; any other until its lease ends.
        """
        lease = self.lease
        if lease is None or lease.owner == claim.owner:
            return None
        lives = claim.lives(lease.owner)
        if lives is not None:
            return lease.owner if lives else None
        believed = claim.now < lease.until <= claim.now + LONGEST_LEASE + CLOCKS_APART
        return lease.owner if believed else None

    def believed_until(self, claim: Claim) -> float:
        """The end of its lease, as far as that can be right: from now to the longest lease."""
        until = self.lease.until if self.lease else claim.now
        return min(max(claim.now, until), claim.now + LONGEST_LEASE + CLOCKS_APART)

    def same_content(self, other: Record) -> bool:
        """Whether two records say the same, whatever revision a store gave them."""
        return replace(self, revision=0) == replace(other, revision=0)

    def is_held_by(self, claim: Claim) -> bool:
        """Whether the lease is this run's, expired or not: nobody else has taken the tunnel since."""
        return self.lease is not None and self.lease.owner == claim.owner

    # -- as stored --------------------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, data: t.Any) -> Record:
        """A stored record, which somebody may have edited. Raises ValueError, without a secret."""
        if not isinstance(data, dict):
            raise ValueError("it is not a mapping")
        given = {**typed(cls, data), "other": {key: value for key, value in data.items() if key not in _FIELDS}}
        for key in ("history", "discarded"):
            if not isinstance(given.get(key, []), list):
                raise ValueError(f"its {key} is not a list")
        for key, part in _PARTS.items():
            if key in given:
                given[key] = part(key, given[key])
        given["discarded"] = tuple(_key("discarded", x) for x in given.get("discarded", ()))
        given["history"] = tuple(x for x in given.get("history", ()) if isinstance(x, dict))
        record = cls(**given)
        record._check()
        return record

    def _check(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"its state must be one of {', '.join(STATES)}")
        if self.unresolved != (self.pending is not None) and self.state != STUCK:
            raise ValueError(f"it is {self.state} and has {'a' if self.pending else 'no'} pending PSK")
        if self.state == ROLLING_BACK and not (self.rollback and self.current):
            raise ValueError("it is rolling_back and has nothing to roll back to")

    def to_dict(self) -> Data:
        """The record as it is stored."""
        found: Data = {
            **self.other,
            "name": self.name,
            "ipsec_id": self.ipsec_id,
            "state": self.state,
            "generation": self.generation,
            "revision": self.revision,
            "current": _plain(self.current),
            "previous": _plain(self.previous),
            "pending": _plain(self.pending, attempt=1, applied_on=None, reported=None, baseline=None),
            "discarded": [_plain(x) for x in self.discarded],
            "rollback": _plain(self.rollback, applied=False, applied_on=None),
            "lease": _plain(self.lease),
            "reason": self.reason,
            "history": list(self.history),
        }
        for key in ("host", "group", "device", "seen"):
            value = getattr(self, key)
            if value is not None:
                found[key] = value
        if self.gone:
            found["gone"] = True
        return found


# False is not the same as nothing here: the PSK is known not to have been seen to work.
_TOLD_IF_FALSE = ("confirmed",)
_FIELDS = tuple(x.name for x in fields(Record) if x.name != "other")
_NAMES: dict[type[t.Any], tuple[str, ...]] = {
    kind: tuple(x.name for x in fields(kind)) for kind in (Key, Pending, Rollback, Lease)
}


def _plain(part: Key | Pending | Rollback | Lease | None, **always: t.Any) -> Data | None:
    """A part of the record as it is stored; what says nothing is left out, but for what 1.0.0 demands."""
    if part is None:
        return None
    found: Data = always
    for name in _NAMES[type(part)]:
        value = getattr(part, name)
        if value is not None and (value is not False or name in _TOLD_IF_FALSE):
            found[name] = value
    return found


def _part(key: str, kind: type[t.Any], needed: tuple[str, ...], data: t.Any) -> t.Any:
    if not (isinstance(data, dict) and all(x in data for x in needed)):
        raise ValueError(f"its {key} must be a mapping with {', '.join(needed)}")
    return kind(**typed(kind, data, key, needed))


def _key(key: str, data: t.Any) -> Key:
    return t.cast(Key, _part(key, Key, ("psk",), data))


_PARTS: dict[str, Callable[[str, t.Any], t.Any]] = {
    "current": _key,
    "previous": _key,
    "pending": lambda key, data: _part(key, Pending, ("psk", "rotation_id"), data),
    "rollback": lambda key, data: _part(key, Rollback, (), data),
    "lease": lambda key, data: _part(key, Lease, ("owner", "until"), data),
}
