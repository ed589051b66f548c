# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The operations of psk_escrow: each loads the records of its tunnels, moves them, and stores them with check-and-set.

One load and one store an operation, whatever the number of tunnels. Entries come and go as plain dicts; those that
hold a PSK never reach a display.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import generate_psk
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _escrow
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Claim, Record, Refused
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_backend import (
    Backend,
    EscrowError,
    Stored,
)

Entry = dict[str, t.Any]
Result = dict[str, t.Any]

NAMES_SHOWN = 5

_STATUS = {
    _escrow.IDLE: "confirmed",
    _escrow.PREPARED: "prepared",
    _escrow.IN_DOUBT: "in_doubt",
    _escrow.APPLIED: "applied",
    _escrow.ROLLING_BACK: "rolling_back",
    _escrow.STUCK: "stuck",
}


@dataclass(frozen=True)
class Escrow:
    """The operations over one backend. With ``dry`` nothing is written, and no PSK is made."""

    backend: Backend
    claim: Claim
    dry: bool = False

    def open(self, ids: Sequence[str] | None) -> Result:
        """Makes sure that the escrow can be written, and reads with PSKs. A dry run only reads."""
        if not self.dry:
            self.backend.check()
        return self.read(ids, with_psks=True)

    def read(self, ids: Sequence[str] | None, *, with_psks: bool) -> Result:
        """The records without secrets, and with ``with_psks`` the PSK that each tunnel's device should hold."""
        tunnels = []
        for tunnel_id, (record, dummy) in self.backend.load(ids).items():
            entry = {"id": tunnel_id, **_escrow.view(record)}
            if with_psks:
                entry["psk"] = _escrow.psk_of_device(record)
            tunnels.append(entry)
        return {"changed": False, "tunnels": tunnels}

    def prepare(self, tunnels: Sequence[Entry], *, force: bool) -> Result:
        """Takes the tunnels and makes their next PSKs durable, read back, before anybody may send them.

        Returns ``tunnels`` to go on with, ``psks`` to send, and ``refused``.
        """
        loaded = self.backend.load([x["id"] for x in tunnels])
        moved: dict[str, Stored] = {}
        refused: list[Entry] = []
        for entry in tunnels:
            record, version = loaded.get(entry["id"]) or Stored({}, 0)
            try:
                after = _escrow.prepare(
                    record or None,
                    name=entry["name"],
                    reported=entry["reported"],
                    new_psk=generate_psk(),
                    claim=self.claim,
                    force=force,
                )
            except Refused as exc:
                status = "stuck" if record and record["state"] == _escrow.STUCK else "skipped"
                refused.append(_refusal(entry, status, str(exc)))
                continue
            moved[entry["id"]] = Stored(after, version)
        conflicts = self._store(moved)
        refused += [_refusal(x, "skipped", conflicts[x["id"]]) for x in tunnels if x["id"] in conflicts]
        ready, psks = [], []
        for entry in tunnels:
            if entry["id"] not in moved or entry["id"] in conflicts:
                continue
            record = moved[entry["id"]].record
            if record["state"] == _escrow.STUCK:
                refused.append(_refusal(entry, "stuck", record["reason"]))
                continue
            psk = _escrow.psk_to_send(record)
            ready.append({**_named(entry), "sends": psk is not None, "rotation_id": record["pending"]["rotation_id"]})
            if psk is not None:
                psks.append({"id": entry["id"], "psk": None if self.dry else psk})
        return {"changed": bool(moved), "tunnels": ready, "psks": psks, "refused": refused}

    def record(
        self,
        tunnels: Sequence[Entry],
        results: Sequence[Mapping[str, t.Any]],
        failure: str | None,
        *,
        promote: bool = False,
        release: bool = False,
    ) -> Result:
        """Writes down what the API said of prepared tunnels. One of which nothing was said is in doubt.

        ``promote``: there is no device step, so that an applied PSK counts at once, unconfirmed. ``release``: another
        run will take the device step.
        """
        said = {x["id"]: x for x in results}
        late: set[str] = set()

        def go_on(record: Record) -> Record:
            if promote:
                return _escrow.confirm(record, self.claim, seen=False)
            return _escrow.release(record, None, self.claim) if release else record

        def move(record: Record, entry: Entry) -> Record:
            found = said.get(entry["id"]) or {}
            if entry["sends"] and found.get("status") == "applied":
                if not _escrow.holds(record, self.claim):
                    record = _escrow.applied_late(record, found.get("psk"), found["applied_on"], self.claim)
                    late.add(entry["id"])
                    return record
                record = _escrow.applied(record, found["applied_on"], self.claim, found.get("ipsec_id"))
                return go_on(record)
            if not entry["sends"]:
                return go_on(record)
            if found.get("status") == "unapplied":
                return _escrow.unapplied(record, found["reason"], self.claim)
            return _escrow.in_doubt(record, found.get("reason") or failure or "no result", self.claim)

        if self.dry or not self.backend.keeps:
            return {
                "changed": False,
                "tunnels": [
                    _unkept(x, said.get(x["id"]) or {}, failure, promote, recorded_at=self.claim.now) for x in tunnels
                ],
                "refused": [],
            }
        moved, refused = self._move(tunnels, move)
        done = []
        for entry in tunnels:
            record = moved.get(entry["id"])
            if record is None:
                continue
            if entry["id"] in late:
                refused.append(_refusal(entry, "skipped", "another run has taken it over"))
                continue
            status = _STATUS[record["state"]]
            if record["state"] == _escrow.IDLE:
                status = {"promoted unconfirmed": "promoted", "rolled back": "rolled_back"}.get(
                    record["history"][-1]["event"], "unapplied"
                )
            elif record["state"] == _escrow.ROLLING_BACK and not record["rollback"]["applied"]:
                status = "rollback_failed"
            if release and _has_applied(record):
                status = "waiting"
            done.append(_outcome(entry, status, record, recorded_at=self.claim.now))
        return {"changed": bool(moved), "tunnels": done, "refused": refused}

    def confirm(self, tunnels: Sequence[Entry]) -> Result:
        """Ends rotations and rollbacks whose device has the key. An entry's ``seen`` says if an IKE_AUTH proved it."""

        def move(record: Record, entry: Entry) -> Record:
            return _escrow.confirm(
                record, self.claim, seen=bool(entry.get("seen")), exposure=entry.get("exposure_seconds")
            )

        def status_of(record: Record, entry: Entry) -> str:
            if record["history"][-1]["event"] == "rolled back":
                return "rolled_back"
            return "confirmed" if entry.get("seen") else "promoted"

        return self._simple(tunnels, move, status_of, unkept=lambda entry: "promoted")

    def roll_back(self, tunnels: Sequence[Entry]) -> Result:
        """Turns tunnels back. Returns the same as ``prepare``; one without an earlier PSK stays, and says so."""
        without: dict[str, str] = {}

        def move(record: Record, entry: Entry) -> Record:
            _check_rotation(record, entry)
            try:
                return _escrow.roll_back(record, entry.get("reason"), self.claim, entry.get("reported"))
            except Refused as exc:
                without[entry["id"]] = f"{entry.get('reason')}; {exc}"
                return _escrow.release(record, without[entry["id"]], self.claim)

        if self.dry or not self.backend.keeps:
            going, refused = list(tunnels) if self.dry else [], []
            if not self.dry:
                refused = [
                    _refusal(x, "applied", f"{x.get('reason')}; without an escrow no PSK is known") for x in tunnels
                ]
            psks = [{"id": x["id"], "psk": None} for x in going]
            return {
                "changed": self.dry and bool(going),
                "tunnels": [{**_named(x), "sends": True} for x in going],
                "psks": psks,
                "refused": refused,
            }
        moved, refused = self._move(tunnels, move)
        ready, psks = [], []
        for entry in tunnels:
            record = moved.get(entry["id"])
            if record is None:
                continue
            if entry["id"] in without:
                refused.append({**_outcome(entry, _STATUS[record["state"]], record), "reason": without[entry["id"]]})
                continue
            psk = _escrow.psk_to_send(record)
            ready.append({**_named(entry), "sends": psk is not None, "rotation_id": record["pending"]["rotation_id"]})
            if psk is not None:
                psks.append({"id": entry["id"], "psk": psk})
        return {"changed": bool(moved), "tunnels": ready, "psks": psks, "refused": refused}

    def release(self, tunnels: Sequence[Entry]) -> Result:
        """Lets go of tunnels that another run, or a later step, has to finish."""

        def move(record: Record, entry: Entry) -> Record:
            return _escrow.release(record, entry.get("reason"), self.claim)

        def status_of(record: Record, entry: Entry) -> str:
            return "waiting" if _has_applied(record) and not entry.get("reason") else _STATUS[record["state"]]

        return self._simple(
            tunnels, move, status_of, unkept=lambda entry: "applied" if entry.get("reason") else "waiting"
        )

    def stick(self, tunnels: Sequence[Entry]) -> Result:
        """Marks tunnels that a person has to look at."""

        def move(record: Record, entry: Entry) -> Record:
            return _escrow.stick(record, entry["reason"], self.claim)

        return self._simple(tunnels, move, lambda record, entry: "stuck", unkept=lambda entry: "stuck")

    def _simple(
        self,
        tunnels: Sequence[Entry],
        move: Callable[[Record, Entry], Record],
        status_of: Callable[[Record, Entry], str],
        unkept: Callable[[Entry], str],
    ) -> Result:
        """``unkept`` gives the status where no record is kept."""
        if self.dry or not self.backend.keeps:
            done = [{**x, "status": "planned" if self.dry else unkept(x)} for x in tunnels]
            return {"changed": self.dry, "tunnels": done, "refused": []}

        def checked_move(record: Record, entry: Entry) -> Record:
            _check_rotation(record, entry)
            return move(record, entry)

        moved, refused = self._move(tunnels, checked_move)
        done = [_outcome(x, status_of(moved[x["id"]], x), moved[x["id"]]) for x in tunnels if x["id"] in moved]
        return {"changed": bool(moved), "tunnels": done, "refused": refused}

    def _move(
        self, tunnels: Sequence[Entry], move: Callable[[Record, Entry], Record]
    ) -> tuple[dict[str, Record], list[Entry]]:
        """Moves and stores the records; returns those that were moved, and the entries that could not be."""
        try:
            loaded = self.backend.load([x["id"] for x in tunnels])
        except EscrowError as exc:
            names = _shown([x["name"] or x["id"] for x in tunnels])
            raise EscrowError(f"{exc}; nothing could be written down for {names}: run again, nothing is lost") from None
        changes: dict[str, Stored] = {}
        unchanged: dict[str, Record] = {}
        refused: list[Entry] = []
        for entry in tunnels:
            if entry["id"] not in loaded:
                refused.append(_refusal(entry, "skipped", "the escrow has no record of it"))
                continue
            record, version = loaded[entry["id"]]
            try:
                after = move(record, entry)
            except Refused as exc:
                refused.append(_refusal(entry, "skipped", str(exc)))
                continue
            if after is record:
                unchanged[entry["id"]] = record
            else:
                changes[entry["id"]] = Stored(after, version)
        conflicts = self._store(changes)
        refused += [_refusal(x, "skipped", conflicts[x["id"]]) for x in tunnels if x["id"] in conflicts]
        kept = {i: stored.record for i, stored in changes.items() if i not in conflicts}
        return {**unchanged, **kept}, refused

    def _store(self, changes: Mapping[str, Stored]) -> dict[str, str]:
        """Stores, then reads back and compares: what is not there afterwards was not stored.

        A later version is another run's, which went on from ours.
        """
        if self.dry or not changes or not self.backend.keeps:
            return {}
        try:
            conflicts = self.backend.store(changes)
            written = [i for i in changes if i not in conflicts]
            back = self.backend.load(written)
        except EscrowError as exc:
            names = _shown([change.record["name"] or i for i, change in changes.items()])
            raise EscrowError(
                f"{exc}; it is not known if this was written for {names}: run again, nothing is lost"
            ) from None
        for tunnel_id in written:
            record, version = back.get(tunnel_id) or Stored({}, 0)
            stored = changes[tunnel_id]
            ours = version == stored.version + 1 and _escrow.same_content(record, stored.record)
            if not ours and version <= stored.version + 1:
                raise EscrowError(f"the escrow gives back another record of tunnel {tunnel_id} than was stored")
        return conflicts


def _shown(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _check_rotation(record: Record, entry: Entry) -> None:
    """An entry that names its rotation is about that one, and no other that began since."""
    wanted, pending = entry.get("rotation_id"), record["pending"] or {}
    if wanted and pending.get("rotation_id") != wanted:
        raise Refused("another run has ended its rotation meanwhile")


def _has_applied(record: Record) -> bool:
    """Whether Cloudflare holds what it should, so that only the device's side is missing."""
    if record["state"] == _escrow.ROLLING_BACK:
        return bool(record["rollback"]["applied"])
    return bool(record["state"] == _escrow.APPLIED)


def _named(entry: Entry) -> Entry:
    return {"id": entry["id"], "name": entry["name"], "host": entry.get("host")}


def _outcome(entry: Entry, status: str, record: Record, recorded_at: float | None = None) -> Entry:
    shown = _escrow.view(record)
    return {
        **_named(entry),
        "status": status,
        "recorded_at": recorded_at,
        "exposure_seconds": entry.get("exposure_seconds"),
        "reason": record["reason"],
        "psk": _escrow.psk_of_device(record),
        "applied_on": _escrow.expected_time(shown),
        "confirmed_on": shown["confirmed_on"],
        "generation": record["generation"],
        "ipsec_id": record["ipsec_id"],
        "rotation_id": shown["rotation_id"],
    }


def _refusal(entry: Entry, status: str, reason: str) -> Entry:
    return {**_named(entry), "status": status, "reason": reason}


def _unkept(entry: Entry, found: Mapping[str, t.Any], failure: str | None, promote: bool, recorded_at: float) -> Entry:
    """The outcome where nothing is written, in a check run or without an escrow: what the API said is all there is."""
    status = found.get("status", "in_doubt" if entry["sends"] else "planned")
    return {
        **_named(entry),
        "recorded_at": recorded_at,
        "exposure_seconds": None,
        "status": "promoted" if promote and status == "applied" else status,
        "reason": found.get("reason") or failure,
        "psk": found.get("psk"),
        "applied_on": found.get("applied_on"),
        "confirmed_on": None,
        "generation": None,
        "ipsec_id": found.get("ipsec_id"),
        "rotation_id": entry.get("rotation_id"),
    }
