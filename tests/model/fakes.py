# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API client and the store as the rotation sees them. Each call may fail, and its run may die around it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import PskAnswer
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    AnswerError,
    ApiError,
    CloudflareError,
    ServerError,
    StoppedError,
    TransportError,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import LATE_REQUEST, NANO, TIME_TOLERANCE
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import (
    CHANGED_MEANWHILE,
    EscrowError,
    Stored,
    Written,
)

from tests.model.world import LATE, OURS

if TYPE_CHECKING:
    from tests.model.runs import Run

ATTEMPTS = 3
LONGEST_DELAY = LATE_REQUEST / NANO
TOLERANCE = TIME_TOLERANCE / NANO


def time_of(shown: Mapping[str, Any]) -> str:
    """Minutes and seconds of the time that the list shows."""
    return str((shown.get("psk_metadata") or {}).get("last_generated_on"))[14:23]


class FakeClient:
    """One run's way to Cloudflare: the two methods that a rotation uses."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world

    def list_tunnels(self) -> list[dict[str, Any]]:
        """The account's tunnels, maybe as they were some time ago."""
        run, world = self.run, self.world
        run.pause("list")
        if run.hit("list lost", "list"):
            raise TransportError("listing the IPsec tunnels: no answer")
        seen = world.now
        if run.hit("list stale", "list"):
            seen -= world.faults.between(0, world.faults.pick((10, 100, 1000)))
        found = world.shown_at(seen)
        for shown in found:
            if shown["id"] in run.looking:
                run.looked[str(shown["id"])] = seen
        if world.lines is not None:
            world.say(run.name, "lists " + ", ".join(f"{x['name']}@{time_of(x)}" for x in found))
        run.pause("list answered")
        return found

    def set_psks(
        self,
        psks: Mapping[str, str],
        *,
        validate_only: bool = False,
        before_each: Callable[[], None] | None = None,
    ) -> PskAnswer:
        """As the client's: some attempts, each after a look at the leases."""
        run, world = self.run, self.world
        if validate_only:
            run.pause("validation")
            if run.hit("validation lost", "validation"):
                raise TransportError("validating PSKs: no answer")
            unknown = {i: "tunnel not found" for i in psks if not world.tunnels[i].exists}
            return PskAnswer({}, dict.fromkeys(unknown, "tunnel not found"), False)
        maybe_done = False
        for attempt in range(1, ATTEMPTS + 1):
            run.pause("request")
            if before_each is not None:
                try:
                    before_each()
                except StoppedError as exc:
                    exc.outcome_unknown = maybe_done
                    raise
            try:
                answer = self._attempt(psks)
            except CloudflareError as exc:
                exc.outcome_unknown = exc.outcome_unknown or maybe_done
                if isinstance(exc, ServerError) and attempt < ATTEMPTS and world.faults.switches(run.name, "retry"):
                    maybe_done = True
                    continue
                raise
            return PskAnswer(answer.applied, answer.unapplied, maybe_done)
        raise AssertionError("unreachable")

    def _attempt(self, psks: Mapping[str, str]) -> PskAnswer:
        run, world = self.run, self.world
        doing = f"setting {len(psks)} PSKs"
        if run.wish.check:
            world.oracle.wrote_in_check(run)
        if run.hit("request unsent", "request"):
            raise TransportError(f"{doing}: the connection was refused")
        world.oracle.sending(run, list(psks))
        if world.lines is not None:
            world.say(run.name, "sends " + ", ".join(f"{world.tunnels[i].name}={psk}" for i, psk in psks.items()))
        sent = world.now
        run.pause("request on its way", longest=LONGEST_DELAY)
        if world.now - sent > LONGEST_DELAY or run.hit("request lost", "request"):
            raise ServerError(f"{doing}: HTTP 503", outcome_unknown=True)
        if run.hit("answer refuses", "request"):
            raise ApiError(f"{doing}: refused (HTTP 400, code 1000)")
        by = LATE if world.now - sent > TOLERANCE else OURS
        if run.hit("request late", "request"):
            for tunnel_id, psk in psks.items():
                delay = world.faults.between(0, world.faults.pick((10, 100, LONGEST_DELAY - (world.now - sent))))
                world.send_late(world.tunnels[tunnel_id], psk, delay)
            run.pause("no answer")
            raise ServerError(f"{doing}: no answer within 60 s", outcome_unknown=True)
        answer = self._carried_out(psks, by, sent)
        run.pause("answer")
        if run.hit("answer lost", "answer"):
            raise AnswerError(f"{doing}: HTTP 403 with HTML instead of the API's answer", outcome_unknown=True)
        return answer

    def _carried_out(self, psks: Mapping[str, str], by: str, sent: float) -> PskAnswer:
        """Cloudflare takes the keys, and says so, more or less."""
        run, world = self.run, self.world
        applied: dict[str, dict[str, Any]] = {}
        unapplied: dict[str, str | None] = {}
        for tunnel_id, psk in psks.items():
            tunnel = world.tunnels[tunnel_id]
            if not tunnel.exists:
                unapplied[tunnel_id] = "tunnel not found"
                continue
            if run.hit("answer refuses some", f"the request for {tunnel.name}"):
                unapplied[tunnel_id] = "failed to persist PSK"
                continue
            if run.hit("answer omits some", f"the request for {tunnel.name}"):
                if world.faults.pick((True, False)):
                    world.set_key(tunnel, psk, by, run.name)
                continue
            if run.hit("stranger just before", f"the request for {tunnel.name}"):
                world.foreign_change(tunnel)
            world.set_key(tunnel, psk, by, run.name)
            if by == LATE:
                tunnel.late += 1
            if run.hit("request doubled", f"the request for {tunnel.name}"):
                longest = LONGEST_DELAY - (world.now - sent)
                world.send_late(tunnel, psk, world.faults.between(0, world.faults.pick((10, 100, longest))))
            if run.hit("answer lies", f"the answer for {tunnel.name}"):
                tunnel.lied += 1
                unapplied[tunnel_id] = "failed to persist PSK"
                continue
            other = run.hit("answer names another key", f"the answer for {tunnel.name}")
            timeless = run.hit("answer without its time", f"the answer for {tunnel.name}")
            applied[tunnel_id] = {
                "psk": "another" if other else psk,
                "ipsec_id": f"1_{tunnel_id}",
                "psk_metadata": {} if timeless else {"last_generated_on": tunnel.answered},
            }
            if run.hit("stranger just after", f"the answer for {tunnel.name}"):
                world.advance(world.faults.between(0, 2))
                world.foreign_change(tunnel)
        return PskAnswer(applied, unapplied, False)


class FakeStore:
    """One run's way to the records."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world

    def load(self, ids: Sequence[str] | None = None) -> dict[str, Stored]:
        """The records of these tunnels, or of all."""
        run, world, records = self.run, self.world, self.world.records
        run.pause("read")
        if run.hit("read lost", "read"):
            raise EscrowError("the escrow does not answer")
        found = {i: records[i] for i in (records if ids is None else ids) if i in records}
        for tunnel_id, stored in found.items():
            if tunnel_id in run.unread:
                run.unread.discard(tunnel_id)
                run.reads[tunnel_id] = stored.version
        run.pause("read done")
        run.read_on.update(dict.fromkeys(found, world.now))
        return found

    def others(self, ids: Collection[str]) -> dict[str, Stored]:
        """The records of all tunnels but these."""
        return self.load([i for i in self.world.records if i not in ids])

    def store(self, changes: Mapping[str, Stored]) -> Written:
        """Writes the records whose version is still the one they were loaded with."""
        run, world = self.run, self.world
        run.pause("write")
        if run.wish.check:
            world.oracle.wrote_in_check(run)
        if run.hit("write lost", "write"):
            raise EscrowError("the escrow does not answer")
        result = Written({}, {})
        for tunnel_id in sorted(changes):
            record, version = changes[tunnel_id]
            if run.hit("record touched", f"the write of {world.tunnels[tunnel_id].name}"):
                world.touch(tunnel_id)
            if not world.atomic:
                run.pause(f"write of {world.tunnels[tunnel_id].name}")
            present = world.records.get(tunnel_id)
            if (present.version if present else 0) != version:
                result.conflicts[tunnel_id] = CHANGED_MEANWHILE
                continue
            world.write(run.name, tunnel_id, record, version + 1)
            run.read_on[tunnel_id] = world.now
            result.versions[tunnel_id] = version + 1
            if world.writers[tunnel_id] == (run.name, version + 1):
                run.reads[tunnel_id] = version + 1
        run.pause("write done")
        if run.hit("write's answer lost", "write"):
            raise EscrowError("the escrow does not answer")
        return result

    def forget(self, records: Mapping[str, Stored]) -> dict[str, str]:
        """Nobody forgets a record here."""
        raise NotImplementedError

    def check(self) -> None:
        """Fails as a read does."""
        if self.run.hit("read lost", "check"):
            raise EscrowError("the escrow does not answer")

    def close(self) -> None:
        """Nothing is held."""
