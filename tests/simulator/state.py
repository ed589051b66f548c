# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The truth: which tunnels exist, and the views that lag behind it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .clock import Clock
from .model import Tunnel
from .seed import fleet


@dataclass
class _StaleView:
    """Tunnels as they were before a write, shown to the next few reads; None: there was none."""

    remaining: int
    before: dict[str, Tunnel | None]


@dataclass
class Counters:
    """What was asked since the start or the last reset; bytes are those of the bodies."""

    requests: int = 0
    writes: int = 0
    psks: int = 0
    rate_limited: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0


class Store:
    """All tunnels by id. Used from one event loop, never across an await: every change is atomic."""

    def __init__(self, account_id: str, count: int, seed: int) -> None:
        self.clock = Clock()
        self.account_id = account_id
        self.count = Counters()
        self._born = self.clock.nanoseconds()
        self._count = count
        self._seed = seed
        self.reset()

    def reset(self, count: int | None = None, seed: int | None = None) -> None:
        """Back to a seeded fleet, the same one unless told otherwise; counters at zero."""
        self._count = self._count if count is None else count
        self._seed = self._seed if seed is None else seed
        self.tunnels = {t.id: t for t in fleet(self._count, self._seed, self.account_id, self._born)}
        self._ids_by_name = {tunnel.name: tunnel.id for tunnel in self.tunnels.values()}
        self._stale: list[_StaleView] = []
        self.count = Counters()
        self.psk_history: dict[str, list[dict[str, Any]]] = {}
        for tunnel in self.tunnels.values():
            self._remember_psk(tunnel)

    def put(self, tunnel: Tunnel) -> None:
        """Add or replace."""
        old = self.tunnels.get(tunnel.id)
        if old is not None and old.name != tunnel.name:
            self._forget_name(old)
        self.tunnels[tunnel.id] = tunnel
        self._ids_by_name[tunnel.name] = tunnel.id
        self._remember_psk(tunnel)

    def _remember_psk(self, tunnel: Tunnel) -> None:
        known = self.psk_history.setdefault(tunnel.id, [])
        if tunnel.psk is not None and (not known or known[-1]["generation"] != tunnel.psk_generation):
            known.append({"generation": tunnel.psk_generation, "psk": tunnel.psk, "on": self.clock.stamp()})

    def remove(self, tunnel_id: str) -> None:
        self._forget_name(self.tunnels.pop(tunnel_id))

    def id_of(self, name: str) -> str | None:
        return self._ids_by_name.get(name)

    def fqdn_taken(self, fqdn_id: str, cloudflare_endpoint: str, but: str) -> bool:
        """Whether another tunnel has this custom IKE id at this endpoint."""
        return any(
            tunnel.fqdn_id == fqdn_id and tunnel.cloudflare_endpoint == cloudflare_endpoint and tunnel.id != but
            for tunnel in self.tunnels.values()
        )

    def lag(self, reads: int, before: dict[str, Tunnel], changed: Iterable[str]) -> None:
        """Let the next reads see `changed` as it was in `before`."""
        self._stale.append(_StaleView(reads, {tunnel_id: before.get(tunnel_id) for tunnel_id in changed}))

    def read(self) -> dict[str, Tunnel]:
        """What a GET sees; counts as a read for the stale views."""
        if not self._stale:
            return self.tunnels
        seen = dict(self.tunnels)
        for view in reversed(self._stale):
            view.remaining -= 1
            for tunnel_id, tunnel in view.before.items():
                if tunnel is None:
                    seen.pop(tunnel_id, None)
                else:
                    seen[tunnel_id] = tunnel
        self._stale = [view for view in self._stale if view.remaining > 0]
        return seen

    def _forget_name(self, tunnel: Tunnel) -> None:
        if self._ids_by_name.get(tunnel.name) == tunnel.id:
            del self._ids_by_name[tunnel.name]
