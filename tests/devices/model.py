# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IKE on a device: gateways with their keys, the peer's keys, SAs, and what may go wrong between them.

It knows the truth: with which key each gateway has authenticated, and when. Stand-ins show and change it in a vendor's
words.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

LATE_SECONDS = 8.0
# A gateway without SA tries again after so long.
RETRY_SECONDS = 2.0


class Clearing(Enum):
    """What a command does that clears SAs."""

    WORKS = "works"
    REFUSED = "refused"  # the device says no
    LATE = "late"  # the device says yes, and does it after LATE_SECONDS
    IGNORED = "ignored"  # the device says yes, and does nothing


class Refused(Exception):
    """The device says no, in these words."""


@dataclass
class Sa:
    """An IKE SA with one child SA."""

    gateway: str
    number: int
    established: float
    up: bool = True
    cookies: tuple[str, str] = field(default_factory=lambda: (secrets.token_hex(8), secrets.token_hex(8)))
    child_spis: tuple[str, str] = field(default_factory=lambda: (secrets.token_hex(4), secrets.token_hex(4)))
    child_number: int = 1
    lifetime: int = 28800
    nat: bool = False

    @property
    def age(self) -> int:
        """Seconds since it was established."""
        return int(time.time() - self.established)


@dataclass
class Gateway:
    """One end of a tunnel on the device; `key` reads its PSK out of the running configuration."""

    name: str
    tunnel: str
    endpoint: str
    local_id: str
    key: Callable[[], str | None]
    local_address: str = "192.0.2.10"


@dataclass(frozen=True)
class Authentication:
    """An IKE_AUTH that succeeded."""

    gateway: str
    key: str
    at: float


@dataclass
class Ike:
    """The device's IKE. `peer_keys` are Cloudflare's, by the identity that the device presents."""

    peer_keys: dict[str, str]
    clearing: Clearing = Clearing.WORKS
    rekeys_child: bool = False
    attempts_first: bool = False
    begins_anew: bool = True  # whether a gateway without SA authenticates by itself, or only when it is told to
    gateways: dict[str, Gateway] = field(default_factory=dict)
    sas: list[Sa] = field(default_factory=list)
    history: list[Authentication] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._numbers = 66
        self._due: list[tuple[float, str]] = []
        self._tried: dict[str, float] = {}

    def add(self, gateway: Gateway, age: float | None = 7200) -> None:
        """A gateway, with an SA of this age unless None."""
        self.gateways[gateway.name] = gateway
        if age is not None:
            self._establish(gateway, time.time() - age)

    def of(self, gateway: str) -> list[Sa]:
        """The gateway's SAs."""
        return [x for x in self.all() if x.gateway == gateway]

    def all(self) -> list[Sa]:
        """All SAs as they are now, half-open ones first."""
        with self._lock:
            now = time.time()
            due, self._due = [x for x in self._due if x[0] <= now], [x for x in self._due if x[0] > now]
            for _at, name in due:
                self._take_down(name)
            for gateway in self.gateways.values():
                down = self.begins_anew and not any(x.up for x in self.sas if x.gateway == gateway.name)
                if down and now - self._tried.get(gateway.name, 0) >= RETRY_SECONDS:
                    self._authenticate(gateway)
            return sorted(self.sas, key=lambda x: x.up)

    def clear(self, gateway: str) -> None:
        """A command that takes the gateway's SAs down; most devices start over by themselves.

        Raises:
            Refused: the device says no.
        """
        with self._lock:
            self.cleared.append(gateway)
            if self.clearing is Clearing.REFUSED:
                raise Refused("the operation is not permitted now")
            if self.clearing is Clearing.LATE:
                self._due.append((time.time() + LATE_SECONDS, gateway))
            elif self.clearing is Clearing.WORKS:
                self._take_down(gateway)
            if self.rekeys_child:
                for sa in self.of(gateway):
                    sa.child_number += 1
                    sa.child_spis = (secrets.token_hex(4), secrets.token_hex(4))
            if self.attempts_first:
                self.sas.append(Sa(gateway, self._next(), time.time(), up=False))

    def initiate(self, gateway: str) -> bool:
        """Authenticate unless there is an SA; whether there is one now."""
        with self._lock:
            if not any(x.up for x in self.of(gateway)):
                self._authenticate(self.gateways[gateway])
            return any(x.up for x in self.of(gateway))

    def proven(self, gateway: str, key: str, since: float) -> bool:
        """The truth: whether the gateway has authenticated with this key since then."""
        return any(x.gateway == gateway and x.key == key and x.at >= since for x in self.history)

    def _take_down(self, gateway: str) -> None:
        self.sas = [x for x in self.sas if x.gateway != gateway]
        if self.begins_anew:
            self._authenticate(self.gateways[gateway])

    def _authenticate(self, gateway: Gateway) -> None:
        key = gateway.key()
        if key is None:
            return
        self._tried[gateway.name] = time.time()
        if key == self.peer_keys.get(gateway.local_id):
            self._establish(gateway, time.time())
            self.history.append(Authentication(gateway.name, key, time.time()))
        else:
            self.sas = [x for x in self.sas if x.gateway != gateway.name or x.up]
            self.sas.append(Sa(gateway.name, self._next(), time.time(), up=False))

    def _establish(self, gateway: Gateway, at: float) -> None:
        self.sas.append(Sa(gateway.name, self._next(), at))

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers
