# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleets that look like real ones. The same seed gives the same fleet; a larger one begins with the smaller."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from .clock import NANOSECONDS, to_text
from .model import HealthCheck, Tunnel

CLOUDFLARE_ENDPOINTS = ("203.0.113.1", "198.51.100.1")
COLOS = ("AMS", "FRA", "IAD", "LHR", "SIN")
DAY = 86_400

_CITIES = (
    "Amsterdam", "Austin", "Bergen", "Berlin", "Bogota", "Boston", "Brno", "Cape Town", "Chennai", "Chicago",
    "Denver", "Dublin", "Frankfurt", "Geneva", "Hamburg", "Helsinki", "Jakarta", "Kyoto", "Lagos", "Leeds",
    "Lima", "Lisbon", "London", "Lyon", "Madrid", "Melbourne", "Milan", "Munich", "Nairobi", "New York",
    "Osaka", "Oslo", "Paris", "Porto", "Prague", "Riga", "Rome", "San Jose", "Seoul", "Singapore",
    "Sofia", "Sydney", "Tallinn", "Tokyo", "Toronto", "Turin", "Utrecht", "Vienna", "Warsaw", "Zurich",
)  # fmt: skip
_AGES = ((0, 1), (5, 25), (31, 85), (95, 300), (370, 900))  # days; the last category is: never had a PSK
_LETTERS = string.ascii_letters + string.digits
_INSIDE4 = int(IPv4Address("10.64.0.0"))
_INSIDE4_OTHER = int(IPv4Address("172.20.0.0"))
_LINK_LOCAL = int(IPv4Address("169.254.240.0"))
_INSIDE6 = int(IPv6Address("2606:54c1:7:0:a9fe:12d2:1:0"))
_OUTSIDE = int(IPv4Address("198.18.0.1"))


def fleet(count: int, seed: int, account_id: str, now: int) -> Iterator[Tunnel]:
    """`count` tunnels, two a site; all times lie before `now` (nanoseconds)."""
    shift = random.Random(f"magicwan:{seed}").randrange(60)
    for site in range((count + 1) // 2):
        rng = random.Random(f"magicwan:{seed}:{site}")
        style = _Site(rng, site, (site + shift), account_id, now)
        for side in range(min(2, count - 2 * site)):
            yield style.tunnel(side)


class _Site:
    """What the two tunnels of a site share."""

    def __init__(self, rng: random.Random, index: int, kind: int, account_id: str, now: int) -> None:
        self.rng = rng
        self.index = index
        self.kind = kind
        self.account_id = account_id
        self.now = now
        self.city = rng.choice(_CITIES)
        self.dynamic = kind % 10 == 7
        self.bgp = kind % 3 == 1
        # As large as the schema's int32 allows; see the assumption customer_asn.
        self.asn = 64512 + index % 1000 if kind % 2 else 2100000000 + index

    def tunnel(self, side: int) -> Tunnel:
        rng, kind = self.rng, self.kind
        created = self.now - rng.randint(1000 * DAY, 1500 * DAY) * NANOSECONDS - rng.randrange(NANOSECONDS)
        psk, rotated = self._psk(side)
        modified = max(created, rotated or 0, self.now - rng.randint(1, 900 * DAY) * NANOSECONDS)
        number = 2 * self.index + side
        bgp = self._bgp(side) if self.bgp else None
        label = f"site{self.index}-{'ab'[side]}"
        return Tunnel(
            id=f"{rng.getrandbits(128):032x}",
            name=self._name(side),
            cloudflare_endpoint=CLOUDFLARE_ENDPOINTS[side],
            interface_address=_interface_address(number),
            interface_address6=f"{IPv6Address(_INSIDE6 + 2 * number)}/127" if kind % 4 == 2 else None,
            customer_endpoint=None if self.dynamic else str(IPv4Address(_OUTSIDE + self.index)),
            description=f"{self.city} uplink {side + 1}" if kind % 3 else None,
            created_on=to_text(created),
            modified_on=to_text(modified),
            psk=psk,
            psk_generation=0 if psk is None else 1,
            last_generated_on=None if rotated is None else to_text(rotated),
            replay_protection=kind % 8 == 3,
            bgp=bgp,
            bgp_status=self._bgp_status(psk, number) if bgp else None,
            fqdn_id=f"{label}.{self.account_id}.custom.ipsec.cloudflare.com" if kind % 9 == 4 else None,
            health_check=self._health_check(number),
            hides_false=kind % 2 == 0,
            traffic_class="gold",
            health=self._health(psk, side),
        )

    def _name(self, side: int) -> str:
        code = self.city[:3].lower()
        number = self.index + 1
        return (
            f"{code}-{number:04d}-{'ab'[side]}",
            f"BR{number:05d}-WAN{side + 1}",
            f"{self.city} {number} uplink {side + 1}",
            f"vpn{side + 1}.{code}{number}.branch.example",
            f"{self.city.replace(' ', '_')}_{number}_{('primary', 'backup')[side]}",
        )[self.kind % 5]

    def _psk(self, side: int) -> tuple[str | None, int | None]:
        category = self.kind % (len(_AGES) + 1)
        if category == len(_AGES):
            return None, None
        youngest, oldest = _AGES[category]
        age = self.rng.randint(youngest * DAY + 60, oldest * DAY)
        text = "".join(self.rng.choices(_LETTERS, k=32 + 16 * side))
        return text, self.now - age * NANOSECONDS - self.rng.randrange(NANOSECONDS)

    def _bgp(self, side: int) -> dict[str, Any]:
        bgp: dict[str, Any] = {"customer_asn": self.asn}
        if self.kind % 2:
            bgp["md5_key"] = f"{self.city} #{self.index}"
        if side == 0:
            bgp["extra_prefixes"] = [f"10.{self.index % 60}.{self.index // 60 % 256}.0/24"]
        return bgp

    def _bgp_status(self, psk: str | None, number: int) -> dict[str, Any]:
        up = psk is not None
        return {
            "state": "BGP_UP" if up else "BGP_DOWN",
            "tcp_established": up,
            "updated_at": to_text(self.now - (60 + number) * NANOSECONDS),
        }

    def _health_check(self, number: int) -> HealthCheck:
        direction = "bidirectional" if self.dynamic or self.kind % 2 else "unidirectional"
        return HealthCheck(
            enabled=self.kind % 11 != 10,
            rate=("mid", "low", "high")[self.kind % 3],
            type=("reply", "request")[number % 2],
            direction=direction,
            target=f"192.0.2.{1 + self.index % 254}" if self.kind % 4 == 1 or self.kind % 6 == 2 else "",
            probe_interval=3,
        )

    def _health(self, psk: str | None, side: int) -> dict[str, float]:
        if psk is None:
            return dict.fromkeys(COLOS, 0.0)
        health = dict.fromkeys(COLOS, 1.0)
        if self.kind % 12 == 9 and side:
            health[COLOS[self.index % len(COLOS)]] = 0.5
        return health


def _interface_address(number: int) -> str:
    """One block of four addresses a tunnel, from three of the allowed ranges."""
    if number % 16 == 5 and number // 16 < 1024:
        start = _LINK_LOCAL + 4 * (number // 16)
    elif number % 4 == 2:
        start = _INSIDE4_OTHER + 4 * number
    else:
        start = _INSIDE4 + 4 * number
    if number % 5 == 3:
        return f"{IPv4Address(start + 1 + number % 2)}/30"
    return f"{IPv4Address(start + (number % 7 == 6))}/31"
