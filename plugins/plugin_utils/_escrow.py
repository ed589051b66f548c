# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""An escrow record and its transitions: pure functions over plain dicts.

A record holds every PSK that Cloudflare may hold for one tunnel, and where the rotation stands::

    idle -> prepared -> applied -> confirmed (idle, generation + 1)
    prepared, refused -> idle            prepared, outcome unknown -> in_doubt -> (same PSK again) -> applied
    applied -> rolling_back -> idle      seen a change that was not ours -> stuck

Each function takes a record and returns a new one, or raises Refused. Times are RFC 3339 texts as the API shows
them; ``now`` and ``until`` are seconds since 1970.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, format_time, parse_time, same_time

IDLE, PREPARED, IN_DOUBT = "idle", "prepared", "in_doubt"
APPLIED, ROLLING_BACK, STUCK = "applied", "rolling_back", "stuck"
UNRESOLVED = (PREPARED, IN_DOUBT, APPLIED, ROLLING_BACK)
STATES = (IDLE, *UNRESOLVED, STUCK)
HISTORY_LENGTH = 20
DISCARDED_LENGTH = 5

Record = dict[str, t.Any]


class Refused(Exception):
    """The transition is not allowed; the text says why and holds no secret."""


@dataclass(frozen=True)
class Claim:
    """Who works on a tunnel: the run, the lease's owner, until when (seconds since 1970), and in which wave, from 1."""

    rotation_id: str
    owner: str
    now: float
    until: float
    is_dead: Callable[[str], bool] = lambda owner: False
    wave: int | None = None


def new_record(name: str | None) -> Record:
    """The record of a tunnel of which the escrow knows nothing yet."""
    return {
        "name": name,
        "ipsec_id": None,
        "state": IDLE,
        "generation": 0,
        "revision": 0,
        "current": None,
        "previous": None,
        "pending": None,
        "discarded": [],
        "rollback": None,
        "lease": None,
        "reason": None,
        "history": [],
    }


def complete(record: t.Any) -> Record:
    """A stored record, which somebody may have edited, with what it lacks. Raises ValueError, without a secret."""
    if not isinstance(record, dict):
        raise ValueError("it is not a mapping")
    found = {**new_record(None), **record}
    if found["state"] not in STATES:
        raise ValueError(f"its state must be one of {', '.join(STATES)}")
    for field, kind in (("generation", int), ("revision", int), ("history", list), ("discarded", list)):
        if not isinstance(found[field], kind):
            raise ValueError(f"its {field} is not a{'n integer' if kind is int else ' list'}")
    for field, needed in _PARTS.items():
        parts = found[field] if isinstance(found[field], list) else [found[field]]
        for part in parts:
            if part is not None and not (isinstance(part, dict) and all(x in part for x in needed)):
                raise ValueError(f"its {field} must be a mapping with {', '.join(needed)}")
            if part and not isinstance(part.get("psk", ""), str):
                raise ValueError(f"the PSK of its {field} is not text: put it into quotes")
    if (found["state"] in UNRESOLVED) != bool(found["pending"]) and found["state"] != STUCK:
        raise ValueError(f"it is {found['state']} and has {'a' if found['pending'] else 'no'} pending PSK")
    if found["state"] == ROLLING_BACK and not (found["rollback"] and found["current"]):
        raise ValueError("it is rolling_back and has nothing to roll back to")
    return found


_PARTS = {
    "current": ("psk",),
    "previous": ("psk",),
    "pending": ("psk", "rotation_id", "baseline", "reported", "attempt", "applied_on"),
    "discarded": ("psk",),
    "rollback": ("applied", "applied_on"),
    "lease": ("owner", "until"),
}


def same_content(one: Mapping[str, t.Any], other: Mapping[str, t.Any]) -> bool:
    """Whether two records say the same, whatever revision a backend gave them."""
    return {**one, "revision": None} == {**other, "revision": None}


def _copied(value: t.Any) -> t.Any:
    """A copy of what JSON can hold, several times as fast as copy.deepcopy."""
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def view(record: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The record without its secrets."""
    current, pending, lease = record["current"] or {}, record["pending"] or {}, record["lease"] or {}
    return {
        "name": record["name"],
        "ipsec_id": record["ipsec_id"],
        "state": record["state"],
        "generation": record["generation"],
        "has_current": bool(current),
        "has_previous": bool(record["previous"]),
        "applied_on": current.get("applied_on"),
        "made_on": current.get("made_on"),
        "confirmed": current.get("confirmed"),
        "confirmed_on": current.get("confirmed_on"),
        "pending_applied_on": pending.get("applied_on"),
        "rollback_applied": bool((record["rollback"] or {}).get("applied")),
        "rollback_applied_on": (record["rollback"] or {}).get("applied_on"),
        "rotation_id": pending.get("rotation_id") or current.get("rotation_id"),
        "wave": (pending or current).get("wave"),
        "exposure_seconds": None if pending else current.get("exposure_seconds"),
        "lease_owner": lease.get("owner"),
        "lease_until": lease.get("until"),
        "reason": record["reason"],
    }


def expected_time(shown: Mapping[str, t.Any]) -> str | None:
    """The last_generated_on that a tunnel must report if nobody else set a PSK; None when that is not known.

    It is not known while a PSK may be on its way. ``shown`` is a view.
    """
    if shown["state"] == IDLE:
        return t.cast("str | None", shown["applied_on"])
    if shown["state"] == APPLIED:
        return t.cast("str | None", shown["pending_applied_on"])
    if shown["state"] == ROLLING_BACK:
        return t.cast("str | None", shown["rollback_applied_on"])
    return None


def is_foreign(shown: Mapping[str, t.Any], reported: str | None) -> bool:
    """Whether somebody else set a PSK after us. An older time than ours is a stale read, not a foreign change."""
    expected = expected_time(shown)
    if expected is None or reported is None or same_time(expected, reported):
        return False
    ours, theirs = parse_time(expected), parse_time(reported)
    return ours is None or theirs is None or theirs > ours


def is_outdated(shown: Mapping[str, t.Any], reported: str | None) -> bool:
    """Whether the tunnel was listed before the PSK that the record knows was set: by another run, or a stale read."""
    ours, theirs = parse_time(expected_time(shown)), parse_time(reported)
    return ours is not None and theirs is not None and theirs < ours


def held_by(shown: Mapping[str, t.Any], claim: Claim) -> str | None:
    """The other run that works on the tunnel now, if there is one: its lease is unexpired and its process not dead."""
    owner, until = shown["lease_owner"], shown["lease_until"]
    if not owner or owner == claim.owner or until <= claim.now or claim.is_dead(owner):
        return None
    return t.cast(str, owner)


def prepare(
    record: Record | None, *, name: str | None, reported: str | None, new_psk: str, claim: Claim, force: bool = False
) -> Record:
    """Takes the tunnel and makes sure that there is exactly one PSK to go on with.

    An unresolved rotation is resumed with its own PSK, and an unfinished rollback turns forward again; ``new_psk`` is
    used only when there is none. A foreign change makes the record stuck, which stays stuck without ``force``.
    """
    record = _copied(record) if record else new_record(name)
    shown = view(record)
    owner = held_by(shown, claim)
    if owner:
        raise Refused(f"another run works on it ({owner})")
    record["name"] = name or record["name"]
    foreign = is_foreign(shown, reported)
    if foreign and not force:
        return stick(record, f"its PSK was changed on {reported} by somebody else", claim)
    if record["state"] == STUCK and not force:
        raise Refused(f"stuck: {record['reason']}")
    if record["state"] == IDLE and is_outdated(shown, reported) and not force:
        raise Refused(f"another run has rotated it on {shown['applied_on']}")
    if (foreign or record["state"] == STUCK) and record["current"]:
        record["current"]["superseded"] = True
    record["lease"] = {"owner": claim.owner, "until": claim.until}
    if record["state"] == APPLIED and not foreign:
        return _note(record, "resumed", claim)
    pending = record["pending"]
    if pending:
        _keep_rollback_time(record)
        pending.update(attempt=pending["attempt"] + 1, reported=reported, applied_on=None)
        record["state"] = IN_DOUBT if record["state"] != PREPARED else PREPARED
        record["rollback"] = None
        return _note(record, "resumed", claim)
    record["pending"] = _pending(new_psk, reported, claim)
    record.update(state=PREPARED, reason=None)
    return _note(record, "prepared", claim)


def psk_to_send(record: Mapping[str, t.Any]) -> str | None:
    """The PSK that the API must be given next; None when it has it already."""
    if record["state"] in (PREPARED, IN_DOUBT):
        return t.cast(str, record["pending"]["psk"])
    if record["state"] == ROLLING_BACK and not record["rollback"]["applied"]:
        return t.cast(str, record["current"]["psk"])
    return None


def psk_of_device(record: Mapping[str, t.Any]) -> str | None:
    """The PSK that the device should hold, as far as this is known: the one that Cloudflare holds."""
    if record["state"] == APPLIED:
        return t.cast(str, record["pending"]["psk"])
    if record["state"] == ROLLING_BACK and not record["rollback"]["applied"]:
        return t.cast(str, record["pending"]["psk"])
    if record["current"] and not record["current"].get("superseded"):
        return t.cast(str, record["current"]["psk"])
    return None


def holds(record: Mapping[str, t.Any], claim: Claim) -> bool:
    """Whether the tunnel's lease is this run's, expired or not: nobody else has taken the tunnel since."""
    return bool(record["lease"]) and record["lease"]["owner"] == claim.owner


def applied(record: Record, applied_on: str | None, claim: Claim, ipsec_id: str | None = None) -> Record:
    """The API has set the PSK that psk_to_send gave."""
    record = _held(record, claim)
    if record["state"] == ROLLING_BACK:
        record["rollback"] = {"applied": True, "applied_on": applied_on}
    elif record["state"] in (PREPARED, IN_DOUBT, APPLIED):
        record["pending"]["applied_on"] = applied_on
        record["state"] = APPLIED
        record["reason"] = None
    else:
        raise Refused(f"the record is {record['state']}, so no PSK can have been applied")
    record["ipsec_id"] = ipsec_id or record["ipsec_id"]
    record["lease"]["until"] = max(record["lease"]["until"], claim.until)
    return _note(record, "applied", claim)


def applied_late(record: Record, psk: str | None, applied_on: str | None, claim: Claim) -> Record:
    """A run whose lease another has taken over meanwhile did have ``psk`` set: what Cloudflare holds is known by that.

    Raises Refused if the record learns nothing from it.
    """
    record, state = _copied(record), record["state"]
    current, pending, rollback = record["current"] or {}, record["pending"] or {}, record["rollback"] or {}
    discarded = [x for x in record["discarded"] if x["psk"] == psk]
    if psk and state == APPLIED and pending["psk"] == psk:
        pending["applied_on"] = _later(pending["applied_on"], applied_on)
    elif psk and state == ROLLING_BACK and pending["psk"] == psk:
        rollback.update(applied=False, applied_on=None)
    elif psk and state == ROLLING_BACK and current["psk"] == psk and rollback["applied"]:
        rollback["applied_on"] = _later(rollback["applied_on"], applied_on)
    elif psk and state == IDLE and current.get("psk") == psk:
        current["applied_on"] = _later(current["applied_on"], applied_on)
    elif psk and state == APPLIED and current.get("psk") == psk:
        current["applied_on"] = applied_on
        pending["applied_on"] = None
        record["state"] = IN_DOUBT
    elif state == IDLE and discarded:
        record["discarded"] = [x for x in record["discarded"] if x["psk"] != psk]
        record["pending"] = {**discarded[0], "applied_on": applied_on}
        record["state"] = APPLIED
    else:
        raise Refused("another run has taken it over")
    return _note(record, "applied late", claim)


def unapplied(record: Record, reason: str | None, claim: Claim) -> Record:
    """The API has refused the PSK.

    A PSK that was sent for the first time is dropped. One that may have been sent before is dropped only when the
    tunnel still reports the time of before, and is then kept as ``discarded``; otherwise the tunnel is in doubt.
    """
    record = _held(record, claim)
    record["reason"] = f"refused: {reason}"
    if record["state"] == ROLLING_BACK:
        record["lease"] = None
        return _note(record, "rollback refused", claim)
    pending = record["pending"]
    if record["state"] not in (PREPARED, IN_DOUBT) or not pending:
        raise Refused(f"the record is {record['state']}, so no PSK can have been refused")
    record["lease"] = None
    if pending["attempt"] > 1:
        if not same_time(pending["reported"], pending["baseline"]):
            record["state"] = IN_DOUBT
            return _note(record, "refused, still in doubt", claim)
        _discard(record, pending)
    record.update(state=IDLE, pending=None)
    return _note(record, "refused", claim)


def in_doubt(record: Record, reason: str | None, claim: Claim) -> Record:
    """Nobody knows whether the API has set the PSK."""
    record = _held(record, claim)
    if record["state"] in (PREPARED, IN_DOUBT):
        record["state"] = IN_DOUBT
    elif record["state"] != ROLLING_BACK:
        raise Refused(f"the record is {record['state']}, so nothing is in doubt")
    record.update(reason=reason, lease=None)
    return _note(record, "in doubt", claim)


def confirm(record: Record, claim: Claim, *, seen: bool, exposure: float | None = None) -> Record:
    """The rotation, or the rollback, is done. ``seen``: the new PSK was seen to work in an IKE_AUTH.

    ``exposure`` are the seconds from Cloudflare's answer to the end of the device's tasks.
    """
    record = _mine(record, claim)
    when = format_time(int(claim.now * NANO))
    if record["state"] == ROLLING_BACK and record["rollback"]["applied"]:
        _keep_rollback_time(record)
        _discard(record, record["pending"])
        record.update(pending=None, rollback=None, state=IDLE, lease=None)
        return _note(record, "rolled back", claim)
    if record["state"] != APPLIED:
        raise Refused(f"the record is {record['state']}, so there is nothing to confirm")
    pending = record["pending"]
    record["previous"] = record["current"]
    record["current"] = {
        "psk": pending["psk"],
        "applied_on": pending["applied_on"],
        "made_on": pending["applied_on"] or when,
        "rotation_id": pending["rotation_id"],
        "wave": pending.get("wave"),
        "exposure_seconds": exposure,
        "confirmed": seen,
        "confirmed_on": when if seen else None,
    }
    record.update(state=IDLE, pending=None, rollback=None, lease=None, reason=None, generation=record["generation"] + 1)
    return _note(record, "confirmed" if seen else "promoted unconfirmed", claim)


def roll_back(record: Record, reason: str | None, claim: Claim, reported: str | None = None) -> Record:
    """Turns back to the PSK before. Refused when there is none that both sides knew: then only forward is possible.

    A rotation that was confirmed already is turned back by a rotation to its previous PSK.
    """
    record = _mine(record, claim)
    if is_foreign(view(record), reported):
        raise Refused(f"its PSK was changed on {reported} by somebody else")
    record["lease"] = {"owner": claim.owner, "until": claim.until}
    if record["state"] == ROLLING_BACK:
        return _note(record, "resumed", claim)
    if record["state"] == IDLE and record["previous"]:
        if is_outdated(view(record), reported):
            raise Refused(f"another run has rotated it on {record['current']['applied_on']}")
        record["pending"] = _pending(record["previous"]["psk"], reported, claim)
        record.update(state=PREPARED, reason=None)
        return _note(record, "prepared", claim)
    if record["state"] not in (PREPARED, IN_DOUBT, APPLIED):
        raise Refused(f"the record is {record['state']}, so there is nothing to roll back")
    if not record["current"] or record["current"].get("superseded"):
        raise Refused("no earlier PSK is known, so the rotation can only go forward")
    record.update(state=ROLLING_BACK, rollback={"applied": False, "applied_on": None}, reason=reason)
    return _note(record, "rolling back", claim)


def release(record: Record, reason: str | None, claim: Claim) -> Record:
    """Leaves the record where it is, for another run to go on with."""
    record = _mine(record, claim)
    record.update(lease=None, reason=reason or record["reason"])
    return _note(record, "released", claim)


def stick(record: Record, reason: str, claim: Claim) -> Record:
    """Somebody has to look at this tunnel. All PSKs stay in the record."""
    record = _mine(record, claim)
    _keep_rollback_time(record)
    record.update(state=STUCK, reason=reason, lease=None)
    return _note(record, "stuck", claim)


def _pending(psk: str, reported: str | None, claim: Claim) -> dict[str, t.Any]:
    return {
        "psk": psk,
        "rotation_id": claim.rotation_id,
        "wave": claim.wave,
        "baseline": reported,
        "reported": reported,
        "attempt": 1,
        "applied_on": None,
    }


def _mine(record: Record, claim: Claim) -> Record:
    """A copy to change, if no other run has taken the tunnel meanwhile."""
    owner = held_by(view(record), claim)
    if owner:
        raise Refused(f"another run has taken it over ({owner})")
    return _copied(record)


def _held(record: Record, claim: Claim) -> Record:
    """A copy to change, if the tunnel's lease is still this run's."""
    if not holds(record, claim):
        raise Refused("another run has taken it over")
    return _copied(record)


def _keep_rollback_time(record: Record) -> None:
    """The PSK that was rolled back to is the one that the tunnel has, since the time that the API gave for it."""
    if record["rollback"] and record["rollback"]["applied"]:
        record["current"]["applied_on"] = record["rollback"]["applied_on"]
        record["pending"]["baseline"] = record["rollback"]["applied_on"]


def _discard(record: Record, pending: dict[str, t.Any]) -> None:
    """A PSK that was sent is kept: it may turn out that Cloudflare holds it."""
    record["discarded"] = [pending, *record["discarded"]][:DISCARDED_LENGTH]


def _later(one: str | None, other: str | None) -> str | None:
    first, second = parse_time(one), parse_time(other)
    return one if first is not None and (second is None or first > second) else other


def _note(record: Record, event: str, claim: Claim) -> Record:
    entry = {"on": format_time(int(claim.now * NANO)), "event": event, "rotation_id": claim.rotation_id}
    if record["reason"]:
        entry["reason"] = record["reason"]
    record["history"] = [*record["history"], entry][-HISTORY_LENGTH:]
    return record
