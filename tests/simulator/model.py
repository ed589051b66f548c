# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel: what the simulator keeps, and how the API shows it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface
from typing import Any

from .answers import dumps

# The defaults of fields that the schema does not know, see the assumption unknown_fields; seeded tunnels have others.
TRAFFIC_CLASS, PROBE_INTERVAL = "standard", 10


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """`target` is what was saved; empty means the computed default."""

    enabled: bool = True
    rate: str = "mid"
    type: str = "reply"
    direction: str = "bidirectional"
    target: str = ""
    probe_interval: int = PROBE_INTERVAL


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One tunnel. Never changed in place: a change is a new Tunnel, so that an older view stays what it was."""

    id: str
    name: str
    cloudflare_endpoint: str
    interface_address: str
    created_on: str
    modified_on: str
    interface_address6: str | None = None
    customer_endpoint: str | None = None
    description: str | None = None
    psk: str | None = None
    psk_generation: int = 0
    last_generated_on: str | None = None
    replay_protection: bool = False
    automatic_return_routing: bool = False
    allow_null_cipher: bool = False
    bgp: dict[str, Any] | None = None
    bgp_status: dict[str, Any] | None = None
    fqdn_id: str | None = None
    health_check: HealthCheck = field(default_factory=HealthCheck)
    hides_false: bool = False
    version: int = 1
    traffic_class: str = TRAFFIC_CLASS
    plain: dict[str, Any] = field(default_factory=dict)
    health: dict[str, float] = field(default_factory=dict)
    _rendered: dict[bool, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def psk_metadata(self) -> dict[str, str]:
        return {} if self.last_generated_on is None else {"last_generated_on": self.last_generated_on}

    def with_psk(self, psk: str, last_generated_on: str | None, modified_on: str) -> Tunnel:
        """The tunnel after its PSK was set."""
        return replace(
            self,
            psk=psk,
            psk_generation=self.psk_generation + 1,
            last_generated_on=last_generated_on,
            modified_on=modified_on,
        )


def customer_inside_address(interface_address: str) -> str:
    """The other usable host of a /31 or /30."""
    interface = IPv4Interface(interface_address)
    return next(str(host) for host in interface.network.hosts() if host != interface.ip)


@dataclass(frozen=True)
class Renderer:
    """Shows tunnels as the API does."""

    account_number: int
    bidirectional_target_ignored: bool
    read_only_extras: bool = False
    unknown_fields: bool = False

    def ipsec_id(self, tunnel_id: str) -> str:
        return f"{self.account_number}_{tunnel_id}"

    def effective_target(self, tunnel: Tunnel) -> str:
        check = tunnel.health_check
        bidirectional = check.direction == "bidirectional"
        if check.target and not (bidirectional and self.bidirectional_target_ignored):
            return check.target
        if bidirectional:
            return customer_inside_address(tunnel.interface_address)
        return tunnel.customer_endpoint or ""

    def show(self, tunnel: Tunnel, new_target: bool, identities: bool = True) -> dict[str, Any]:
        """The tunnel as the API answers it; identities are still empty in the answer to a write."""
        check = tunnel.health_check
        effective = self.effective_target(tunnel)
        shown: dict[str, Any] = {
            "id": tunnel.id,
            "name": tunnel.name,
            "cloudflare_endpoint": tunnel.cloudflare_endpoint,
            "interface_address": tunnel.interface_address,
            "created_on": tunnel.created_on,
            "modified_on": tunnel.modified_on,
            "psk_metadata": tunnel.psk_metadata(),
            "allow_null_cipher": tunnel.allow_null_cipher,
            "health_check": {
                "enabled": check.enabled,
                "rate": check.rate,
                "type": check.type,
                "direction": check.direction,
                "target": {"saved": check.target, "effective": effective} if new_target else effective,
            },
            "remote_identities": self._identities(tunnel.id) if identities else dict.fromkeys(_IDENTITIES, ""),
        }
        for name in ("replay_protection", "automatic_return_routing"):
            if getattr(tunnel, name) or not tunnel.hides_false:
                shown[name] = getattr(tunnel, name)
        for name in ("interface_address6", "customer_endpoint", "description", "bgp_status"):
            if getattr(tunnel, name) is not None:
                shown[name] = getattr(tunnel, name)
        if tunnel.bgp is not None:
            shown["bgp"] = {"extra_prefixes": [], **tunnel.bgp}
        if tunnel.fqdn_id is not None:
            shown["custom_remote_identities"] = {"fqdn_id": tunnel.fqdn_id}
        shown |= tunnel.plain
        if self.read_only_extras:
            shown["version"] = tunnel.version
            if tunnel.bgp is not None:
                shown["bgp"]["as_no"] = tunnel.bgp["customer_asn"]
        if self.unknown_fields:
            shown["traffic_class"] = tunnel.traffic_class
            shown["health_check"]["probe_interval"] = check.probe_interval
        return shown

    def show_bytes(self, tunnel: Tunnel, new_target: bool) -> bytes:
        """The same as JSON, made once a tunnel and form."""
        text = tunnel._rendered.get(new_target)
        if text is None:
            text = tunnel._rendered[new_target] = dumps(self.show(tunnel, new_target))
        return text

    def truth(self, tunnel: Tunnel) -> dict[str, Any]:
        """Everything, the PSK included; only /_sim shows it."""
        return {
            **self.show(tunnel, new_target=True),
            "replay_protection": tunnel.replay_protection,
            "automatic_return_routing": tunnel.automatic_return_routing,
            "psk": tunnel.psk,
            "psk_generation": tunnel.psk_generation,
            "ipsec_id": self.ipsec_id(tunnel.id),
            "health": tunnel.health,
        }

    def _identities(self, tunnel_id: str) -> dict[str, str]:
        fqdn = f"{tunnel_id}.{self.account_number}.ipsec.cloudflare.com"
        return {"hex_id": self.ipsec_id(tunnel_id).encode().hex(), "fqdn_id": fqdn, "user_id": f"ipsec@{fqdn}"}


_IDENTITIES = ("hex_id", "fqdn_id", "user_id")
