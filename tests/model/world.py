# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is true: Cloudflare's tunnels, the devices' PSKs, the escrow's records, requests on their way, and the time.

All of it happens in simulated time. The runs see it only through `tests.model.fakes`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import (
    NANO,
    TIME_PRECISION,
    TIME_TOLERANCE,
    format_time,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Stored

from tests.model.faults import Faults
from tests.model.oracle import Oracle

if TYPE_CHECKING:
    from tests.model.runs import Run

START = 1_790_000_000.0
DAY = 86400.0
# ASSUMPTION PSK-CLOCK
UNSEEN_SECONDS = (TIME_TOLERANCE + TIME_PRECISION) / NANO
# Who has set the PSK that Cloudflare holds: a request of ours, one of ours that was carried out late, somebody else.
OURS, LATE, FOREIGN = "ours", "late", "foreign"


@dataclass
class Version:
    """What the account shows of a tunnel from ``since`` on (simulated seconds); ``shown`` is last_generated_on."""

    since: float
    name: str
    shown: str | None
    exists: bool = True


@dataclass
class Tunnel:
    """A tunnel, and the device at its other end. ``answered`` is POST /psk's time, ``shown`` the list's."""

    id: str
    name: str
    site: str
    host: str
    endpoint: str | None
    psk: str
    device: str
    set_on: float
    answered: str
    shown: str
    by: str = FOREIGN
    sender: str = ""
    # The run that has brought the device its key.
    giver: str = ""
    exists: bool = True
    versions: list[Version] = field(default_factory=list)
    made_on: float = 0.0
    # What has ever happened to it.
    foreign: int = 0
    late: int = 0
    lied: int = 0


@dataclass(order=True)
class Request:
    """A PSK on its way to Cloudflare, to arrive at ``due``. ``sent`` is when it left."""

    due: float
    number: int
    tunnel_id: str = field(compare=False)
    psk: str = field(compare=False)
    sent: float = field(compare=False)


class World:
    """Everything that runs share."""

    def __init__(self, *, traced: bool = False) -> None:
        self.now = START
        self.running: Run | None = None
        self.tunnels: dict[str, Tunnel] = {}
        self.records: dict[str, Stored] = {}
        # Who has moved a record last, and under which version.
        self.writers: dict[str, tuple[str, int]] = {}
        self.runs: dict[str, Run] = {}
        self.offsets: dict[str, float] = {}
        self.slept: dict[str, float] = {}
        self.faults = Faults()
        self.atomic = True
        self.carries = True
        self.requests: list[Request] = []
        self.made = 0
        self.tokens = 0
        self.strangers = 0
        self.hidden = False
        self.skew: float = 0.0
        # Whether a tunnel got two keys so soon after each other that times can't tell them apart.
        self.hasty = False
        self.lines: list[str] | None = [] if traced else None
        self.oracle = Oracle(self)
        self._numbers = 0

    # -- time and keys ----------------------------------------------------------------------------------------------

    def say(self, who: str, text: str) -> None:
        """A line of the trace."""
        if self.lines is not None:
            self.lines.append(f"{self.now - START:9.1f}  {who:<4} {text}")

    def advance(self, seconds: float) -> None:
        """Time passes, and requests arrive."""
        end = self.now + seconds
        while self.requests and self.requests[0].due <= end:
            request = heapq.heappop(self.requests)
            self.now = max(self.now, request.due)
            tunnel = self.tunnels[request.tunnel_id]
            if tunnel.exists:
                tunnel.late += 1
                self.set_key(tunnel, request.psk, LATE)
        self.now = end

    def fall_asleep(self, machine: str, seconds: float) -> None:
        """A machine stops, and its monotonic clock with it."""
        self.slept[machine] = self.slept.get(machine, 0.0) + seconds
        for run in self.runs.values():
            if run.machine == machine:
                run.asleep_until = max(run.asleep_until, self.now + seconds)

    def new_psk(self) -> str:
        """A key of ours."""
        self.made += 1
        return f"K{self.made}"

    def new_token(self) -> str:
        """What nobody has said before."""
        self.tokens += 1
        return f"token{self.tokens}"

    def shown(self, when: float) -> str:
        """A time as the list shows it: ``skew`` is how far it is from the answer's, for the whole account."""
        return format_time(int((when + self.skew) * NANO))

    # -- Cloudflare -------------------------------------------------------------------------------------------------

    def add(self, tunnel: Tunnel) -> None:
        """A tunnel is made."""
        self.tunnels[tunnel.id] = tunnel
        tunnel.versions.append(Version(self.now, tunnel.name, tunnel.shown))

    def set_key(self, tunnel: Tunnel, psk: str, by: str, sender: str = "") -> None:
        """Cloudflare holds this key from now on."""
        self.hasty = self.hasty or self.now - tunnel.set_on <= UNSEEN_SECONDS
        tunnel.psk, tunnel.by, tunnel.sender, tunnel.set_on = psk, by, sender, self.now
        tunnel.answered = format_time(int(self.now * NANO))
        tunnel.shown = self.shown(self.now)
        tunnel.versions.append(Version(self.now, tunnel.name, tunnel.shown))
        if by != OURS:
            self.say("", f"{tunnel.name} := {psk} ({by})")
        self.oracle.key_set(tunnel)

    def send_late(self, tunnel: Tunnel, psk: str, delay: float) -> None:
        """A request arrives after this many seconds."""
        self._numbers += 1
        heapq.heappush(self.requests, Request(self.now + delay, self._numbers, tunnel.id, psk, self.now))

    def shown_at(self, when: float) -> list[dict[str, object]]:
        """The account's tunnels as they were at that time."""
        found: list[dict[str, object]] = []
        for tunnel in self.tunnels.values():
            version = next((x for x in reversed(tunnel.versions) if x.since <= when), None)
            if version is not None and version.exists:
                shown: dict[str, object] = {
                    "id": tunnel.id,
                    "name": version.name,
                    "customer_endpoint": tunnel.endpoint,
                }
                if not self.hidden:
                    shown["psk_metadata"] = {"last_generated_on": version.shown}
                found.append(shown)
        return found

    def siblings(self, tunnel: Tunnel) -> Iterable[Tunnel]:
        """The tunnels that back it up."""
        return [x for x in self.tunnels.values() if x.site == tunnel.site and x.id != tunnel.id and x.exists]

    # -- people -----------------------------------------------------------------------------------------------------

    def foreign_change(self, tunnel: Tunnel, *, device: bool = False) -> None:
        """Somebody sets a key in the dashboard, and maybe on the device, too."""
        self.strangers += 1
        tunnel.foreign += 1
        if device:
            tunnel.device = f"F{self.strangers}"
        self.set_key(tunnel, f"F{self.strangers}", FOREIGN)

    def rename(self, tunnel: Tunnel, name: str) -> None:
        """Somebody gives the tunnel another name."""
        self.say("", f"{tunnel.name} is renamed {name}")
        tunnel.name = name
        tunnel.versions.append(Version(self.now, name, tunnel.versions[-1].shown))

    def recreate(self, tunnel: Tunnel) -> None:
        """Somebody deletes the tunnel and makes it again, under the same name and with another id and key."""
        self.say("", f"{tunnel.name} is deleted, and made again")
        tunnel.exists = False
        tunnel.versions.append(Version(self.now, tunnel.name, None, exists=False))
        self.strangers += 1
        key, on = f"F{self.strangers}", format_time(int(self.now * NANO))
        new = replace(
            tunnel, id=f"{tunnel.id}x", psk=key, device=key, by=FOREIGN, sender="", set_on=self.now, made_on=self.now
        )
        new = replace(new, answered=on, shown=on, exists=True, versions=[], foreign=0, late=0, lied=0)
        self.add(new)

    # -- the store --------------------------------------------------------------------------------------------------

    def write(self, writer: str, tunnel_id: str, record: Record, version: int) -> None:
        """The store keeps this record under this version, as a file would."""
        kept = replace(record, revision=version)
        if self.carries:
            kept = Record.from_dict(kept.to_dict())
        before = self.records.get(tunnel_id)
        self.records[tunnel_id] = Stored(kept, version)
        if before is None or _moved(before.record, kept):
            self.writers[tunnel_id] = writer, version
        self.oracle.written(writer, self.tunnels[tunnel_id], before.record if before else None, kept)

    def touch(self, tunnel_id: str) -> None:
        """Somebody saves a record without changing it."""
        stored = self.records.get(tunnel_id)
        if stored is not None:
            self.say("", f"the record of {self.tunnels[tunnel_id].name} is touched")
            record, version = stored.record, stored.version + 1
            self.records[tunnel_id] = Stored(replace(record, revision=version), version)


def _moved(before: Record, after: Record) -> bool:
    """Whether more than the name of the tunnel was written."""
    return replace(before, name=after.name, history=(), revision=0) != replace(after, history=(), revision=0)
