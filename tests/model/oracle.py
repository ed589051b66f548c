# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must always be true, checked at every write, every request and every end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import (
    TIME_PRECISION,
    TIME_TOLERANCE,
    same_time,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import FRESH
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import IDLE, PREPARED, STUCK, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Result

if TYPE_CHECKING:
    from tests.model.runs import Run
    from tests.model.world import Tunnel, World

# ASSUMPTION PSK-CLOCK: how far the time of somebody else's PSK may be from that of ours, and not be told from it.
UNSEEN = TIME_TOLERANCE + TIME_PRECISION
KEPT, ALONE, AGREED, ENDED, BLAMED, SOUND = (
    "1: every key of ours that Cloudflare or a device holds is in its record",
    "2: one run works on a tunnel, and one tunnel of a group is in flight at most",
    "3: a run that ends well leaves no tunnel of its own with different keys",
    "4: plain re-runs end the trouble, or say what a person must do",
    "5: nothing is called changed by somebody else when nobody else has changed it",
    "6: no step fails by an unforeseen exception, and a check run writes nothing",
)


class Violation(NamedTuple):
    """An invariant that does not hold, and how."""

    invariant: str
    text: str


class Oracle:
    """The invariants over one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.violations: list[Violation] = []
        self._flying: set[str] = set()

    def fail(self, invariant: str, text: str) -> None:
        """Notes a violation."""
        self._world.say("!!", f"invariant {invariant[0]}: {text}")
        self.violations.append(Violation(invariant, text))

    # -- 1 ----------------------------------------------------------------------------------------------------------

    def key_set(self, tunnel: Tunnel) -> None:
        """Cloudflare, or the device, holds another key now."""
        stored = self._world.records.get(tunnel.id)
        self._is_kept(tunnel, stored.record if stored else None)

    def _is_kept(self, tunnel: Tunnel, record: Record | None) -> None:
        keys = record.keys() if record else set()
        for where, key in (("Cloudflare", tunnel.psk), ("the device", tunnel.device)):
            if key[0] == "K" and key not in keys and tunnel.exists:
                self.fail(KEPT, f"{where} holds {key} for {tunnel.name}, and its record only {sorted(keys)}")

    # -- 1, 2, 5 ----------------------------------------------------------------------------------------------------

    def written(self, writer: str, tunnel: Tunnel, before: Record | None, record: Record) -> None:
        """The store has another record now."""
        if self._world.lines is not None:
            self._world.say(writer, f"wrote {tunnel.name}: {described(record)}")
        self._is_kept(tunnel, record)
        if not record.unresolved:
            self._flying.discard(tunnel.id)
        elif record.state != PREPARED and not self._is_repaired(tunnel):
            self._flying.add(tunnel.id)
        was, now = before.lease if before else None, record.lease
        if was and (now is None or was.owner != now.owner) and self._lives_beside(writer, was.owner):
            self.fail(ALONE, f"{writer} takes {tunnel.name} from {was.owner}, which is still alive")
        became_stuck = record.state == STUCK and (before is None or before.state != STUCK)
        if became_stuck and not self._may_be_blamed(tunnel):
            self.fail(BLAMED, f"{tunnel.name} is stuck: {record.reason}")

    def _lives_beside(self, writer: str, owner: str) -> bool:
        runs = self._world.runs
        other = next((x for x in runs.values() if x.owner == owner), None)
        mine = runs.get(writer)
        if other is None or mine is None or other is mine:
            return False
        return mine.machine == other.machine and not (other.dead or other.over)

    def _may_be_blamed(self, tunnel: Tunnel) -> bool:
        """Whether its time can't be known to be ours: nor can it where ASSUMPTION PSK-CLOCK leaves it open."""
        return bool(tunnel.foreign or tunnel.late or tunnel.lied) or (self._world.hasty and self._world.skew != 0)

    def sending(self, run: Run, ids: list[str]) -> None:
        """A run sends keys for these tunnels.

        One that is in flight already is finished. So are two of a group of which somebody else has set the keys of
        both, and that a person has then unstuck. One that is deleted is in nobody's way, and the group of one that was
        made meanwhile is not known to the run. Another run may have ended its rotation since the run's last look, if
        that is fresh.
        """
        for tunnel_id in ids:
            lease = self._world.records[tunnel_id].record.lease
            fresh = self._world.now - run.read_on.get(tunnel_id, 0.0) <= FRESH
            if not fresh and (lease is None or lease.owner != run.owner):
                self.fail(ALONE, f"{run.name} sends for {tunnel_id}, and has lost it, or never looked")
        there = [x for x in map(self._world.tunnels.__getitem__, ids) if x.exists]
        for tunnel in there:
            if tunnel.id in self._flying or self._is_repaired(tunnel) or self._has_just_ended(run, tunnel):
                continue
            for other in self._world.siblings(tunnel):
                if (other.id in self._flying or other.id in ids) and other.made_on <= run.looked.get(tunnel.id, 0.0):
                    self.fail(ALONE, f"{run.name} begins {tunnel.name} while {other.name} is in flight")
        self._flying.update(x.id for x in there if not self._is_repaired(x) and not self._has_just_ended(run, x))

    def _has_just_ended(self, run: Run, tunnel: Tunnel) -> bool:
        stored, looked = self._world.records[tunnel.id], run.read_on.get(tunnel.id, 0.0)
        return stored.record.state == IDLE and self._world.now - looked <= FRESH

    def _is_repaired(self, tunnel: Tunnel) -> bool:
        """Whether it gets its current key once more: its device has that one already."""
        record = self._world.records[tunnel.id].record
        current, pending = record.current, record.pending
        return current is not None and pending is not None and current.psk == pending.psk

    # -- 3 ----------------------------------------------------------------------------------------------------------

    def ended(self, run: Run) -> None:
        """A run has ended; what it calls fine must be fine."""
        for tunnel_id, result in run.results.items():
            reason = result.reason or ""
            tunnel = self._world.tunnels[tunnel_id]
            if "by somebody else" in reason and not self._may_be_blamed(tunnel):
                self.fail(BLAMED, f"{run.name} says of {tunnel.name}: {reason}")
            if run.rc == 0 and not run.wish.check and run.wish.mode != "report" and tunnel.exists:
                self._agrees(run, tunnel, result)

    def _agrees(self, run: Run, tunnel: Tunnel, result: Result) -> None:
        stored = self._world.records.get(tunnel.id)
        if stored is None or (stored.record.current is None and stored.record.state == IDLE):
            return
        record = stored.record
        writer, version = self._world.writers[tunnel.id]
        moved_on = writer != run.name and version > run.reads.get(tunnel.id, 0)
        shown = f"{run.name} ends well, and shows {tunnel.name} as {result.status}"
        want = record.psk_of_device()
        if moved_on and (record.state != IDLE or want is None):
            return
        if record.state != IDLE and result.status != _status.WAITING:
            self.fail(AGREED, f"{shown}; its record is {record.state}")
            return
        if tunnel.psk != want and not self.is_excused(run, tunnel, record):
            self.fail(AGREED, f"{shown}; Cloudflare has {tunnel.psk}, its record {want}")
        elif tunnel.device != want and not self._is_late(tunnel) and run.wish.hooks[tunnel.host].device:
            self.fail(AGREED, f"{shown}; its device has {tunnel.device}, its record {want}")

    def _is_late(self, tunnel: Tunnel) -> bool:
        """Whether its device got its key from a run that had lost the tunnel, and that sleeps or has died since.

        Nobody but that run knows; when it wakes up, it says so.
        """
        giver = self._world.runs.get(tunnel.giver)
        return giver is not None and tunnel.id in giver.unsettled

    def is_excused(self, run: Run, tunnel: Tunnel, record: Record) -> bool:
        """Whether the run could not know that Cloudflare holds another key.

        It can't where Cloudflare shows no time, or did not say since when it has our key; nor of a change that
        ASSUMPTION PSK-CLOCK hides, or one after the run's last look at the tunnel.
        """
        if tunnel.sender == run.name:
            return False
        expected = record.expected()
        honest = tunnel.by == "ours" and not tunnel.lied
        if not honest and (self._world.hidden or expected is None or same_time(tunnel.shown, expected.on, UNSEEN)):
            return True
        return tunnel.set_on > run.looked.get(tunnel.id, 0.0)

    # -- 4, 6 -------------------------------------------------------------------------------------------------------

    def settled(self, run: Run) -> None:
        """The last of some plain runs has ended: it was fine, or says what a person must do."""
        if run.rc == 0:
            return
        if not run.results:
            self.fail(ENDED, f"{run.name} has failed: {run.error}")
        waits = {x.group for x in run.results.values() if x.status == _status.STUCK}
        for tunnel_id, result in run.results.items():
            status = result.status
            loud = status == _status.STUCK or (status == _status.SKIPPED and result.group in waits)
            if status not in _status.HARMLESS and not (loud and result.reason):
                name = self._world.tunnels[tunnel_id].name
                self.fail(ENDED, f"{run.name} still shows {name} as {status}: {result.reason}")

    def crashed(self, run: Run, exc: Exception) -> None:
        """A step has ended by an exception that no code has foreseen."""
        self.fail(SOUND, f"{run.name}: {type(exc).__name__}: {exc}")

    def wrote_in_check(self, run: Run) -> None:
        """A check run has changed something."""
        self.fail(SOUND, f"{run.name} is a check run, and writes")


def described(record: Record) -> str:
    """A record in a line, keys included."""
    parts = [record.state]
    for name in ("current", "previous", "pending"):
        key = getattr(record, name)
        if key is not None:
            on = f"@{key.applied_on[14:23]}" if key.applied_on else ""
            parts.append(f"{name}={key.psk}{on}{'+' if key.at_least else ''}")
    if record.pending is not None and record.state != PREPARED:
        parts.append(f"attempt={record.pending.attempt}")
    if record.discarded:
        parts.append("discarded=" + ",".join(x.psk for x in record.discarded))
    if record.rollback is not None:
        on = (record.rollback.applied_on or "")[14:23]
        parts.append(f"rollback={f'@{on}' if record.rollback.applied else 'open'}")
    if record.lease is not None:
        parts.append(f"lease={record.lease.owner}")
    if record.reason:
        parts.append(f"({record.reason})")
    return " ".join(parts)
