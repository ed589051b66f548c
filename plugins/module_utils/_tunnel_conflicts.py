# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which plans for tunnels contradict each other or the account: pure functions, for one tunnel as for a whole fleet.

A run may die after any of its writes, so each state in between has to be a sound one, too: a name or an inside address
that a tunnel has now is free only for a later run. The one exception is a replacement, whose old tunnel is deleted when
the new one is there.
ASSUMPTION INSIDE: two tunnels must not share an inside network, because routes name the next hop by its address.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import check_psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_plan import Plan

INSIDE = ("interface_address", "interface_address6")

Owner = t.TypeVar("Owner")
Account = Mapping[str, t.Any]


@dataclass(frozen=True)
class Item:
    """What is planned for one tunnel. ``where`` names it in messages; ``psk`` is the user's, sent or not."""

    where: str
    plan: Plan
    psk: str | None = None

    def takes(self, field: str) -> t.Any:
        """The value of a field that the tunnel gets by this plan and has not had before; None otherwise."""
        if self.plan.action not in ("create", "update"):
            return None
        after = (self.plan.after or {}).get(field)
        return after if after != (self.plan.before or {}).get(field) else None


def check(items: Sequence[Item], tunnels: Sequence[Account], *, psk_charset: str) -> None:
    """Raises InputError naming what can't be, and what to do instead. ``tunnels`` is the whole account."""
    found = [
        *_names(items, tunnels),
        *_inside(items, tunnels),
        *_identities(items, tunnels),
        *_psks(items, psk_charset),
    ]
    if found:
        raise InputError(_tunnel.few(found, "; "))


def replacements(items: Iterable[Item]) -> dict[str, Item]:
    """The items that make a new tunnel in the place of one that is deleted, by the old one's id.

    A new tunnel is in an old one's place when their inside networks overlap, or their two endpoints are the same.
    """
    networks: _Networks[Item] = _Networks()
    endpoints: dict[t.Any, list[Item]] = {}
    gone = []
    for item in items:
        if item.plan.action == "create":
            for network in _networks_of(item.plan.after or {}):
                networks.add(network, item)
            endpoints.setdefault(_endpoints_of(item.plan.after or {}), []).append(item)
        elif item.plan.action == "delete":
            gone.append((item, item.plan.before or {}))
    endpoints.pop(None, None)
    found: dict[str, Item] = {}
    claimed: set[int] = set()
    for item, old in gone:
        near = [x for network in _networks_of(old) for x in networks.overlapping(network)]
        new = next((x for x in [*near, *endpoints.get(_endpoints_of(old), [])] if id(x) not in claimed), None)
        if new is not None:
            claimed.add(id(new))
            found[item.plan.tunnel_id or ""] = new
    return found


def _networks_of(tunnel: Account) -> list[t.Any]:
    found = [_tunnel.network_of(tunnel.get(field)) for field in INSIDE]
    return [x for x in found if x is not None]


def _endpoints_of(tunnel: Account) -> tuple[str, str] | None:
    """Both endpoints of a tunnel (see _tunnel.view); None when the customer's is not known."""
    customer = tunnel.get("customer_endpoint")
    return (tunnel["cloudflare_endpoint"], customer) if customer else None


# -- names ------------------------------------------------------------------------------------------------------------


def _names(items: Sequence[Item], tunnels: Sequence[Account]) -> Iterator[str]:
    renamed = [x for x in items if x.takes("name") is not None]
    if not renamed:
        return
    holders: dict[str, list[Account]] = {}
    for tunnel in tunnels:
        holders.setdefault(tunnel.get("name") or "", []).append(tunnel)
    of_tunnel = {x.plan.tunnel_id: x for x in items if x.plan.tunnel_id}
    rings = _Rings()
    for item in renamed:
        for holder in holders.get(item.takes("name"), []):
            rings.add(item, of_tunnel.get(holder["id"]), "name")
    for ring in rings.found():
        yield (
            f"{_all_of(ring)} would swap their names, which takes a temporary name, and a run that is killed would"
            f" leave it behind; rename one of them to a third name in a separate run, then {_rest_of(ring, 'name')},"
            " then the first"
        )
    for item in renamed:
        for holder in holders.get(item.takes("name"), []):
            other = of_tunnel.get(holder["id"])
            if holder["id"] == item.plan.tunnel_id or item in rings:
                continue
            if other is None or (other.plan.action != "delete" and other.takes("name") is None):
                yield f"{item.where}: the tunnel {holder['id']} is named {holder['name']!r}, and names are unique"
            elif other.plan.action == "delete":
                yield (
                    f"{item.where}: the tunnel {holder['id']} is named {holder['name']!r} until the end of the run,"
                    " which deletes it last; delete it first, in a separate run"
                )
            else:
                yield (
                    f"{item.where}: the tunnel {holder['id']} is named {holder['name']!r} until {other.where} renames"
                    " it; rename that one first, in a separate run"
                )


class _Rings:
    """Items that each wait for what the next one gives up, and the last one for the first."""

    def __init__(self) -> None:
        self._next: dict[int, Item] = {}
        self._items: dict[int, Item] = {}
        self._in_ring: set[int] = set()

    def __contains__(self, item: Item) -> bool:
        return id(item) in self._in_ring

    def add(self, item: Item, holder: Item | None, field: str) -> None:
        """The item takes what the holder has; that counts only where the holder gives it up."""
        if holder is not None and holder is not item and holder.takes(field) is not None:
            self._items[id(item)] = item
            self._next[id(item)] = holder

    def found(self) -> list[list[Item]]:
        """Each ring once."""
        rings = []
        seen: set[int] = set()
        for item in self._items.values():
            path: list[Item] = []
            at: Item | None = item
            while at is not None and id(at) not in seen:
                seen.add(id(at))
                path.append(at)
                at = self._next.get(id(at))
            ring = path[next((n for n, x in enumerate(path) if x is at), len(path)) :]
            if ring:
                self._in_ring.update(map(id, ring))
                rings.append(ring)
        return rings


def _all_of(ring: Sequence[Item]) -> str:
    return ", ".join(x.where for x in ring[:-1]) + f" and {ring[-1].where}"


def _rest_of(ring: Sequence[Item], what: str) -> str:
    return "the other" if len(ring) == 2 else f"each of the others when the {what} that it gets is free"


# -- inside addresses -------------------------------------------------------------------------------------------------


class _Networks(t.Generic[Owner]):
    """Networks with their owners; finds those that overlap one without a walk over all."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, int], list[tuple[t.Any, Owner]]] = {}
        self._wide: list[tuple[t.Any, Owner]] = []

    def add(self, network: t.Any, owner: Owner) -> None:
        block = self._block(network)
        (self._wide if block is None else self._blocks.setdefault(block, [])).append((network, owner))

    def overlapping(self, network: t.Any) -> list[Owner]:
        block = self._block(network)
        near = [y for x in self._blocks.values() for y in x] if block is None else self._blocks.get(block, [])
        return [x for other, x in [*near, *self._wide] if other.version == network.version and other.overlaps(network)]

    @staticmethod
    def _block(network: t.Any) -> tuple[int, int] | None:
        """The four addresses that the network is part of; None if it has more."""
        if network.num_addresses > 4:
            return None
        return network.version, int(network.network_address) >> 2


def _inside(items: Sequence[Item], tunnels: Sequence[Account]) -> Iterator[str]:
    for field in INSIDE:
        moving = [
            (x, network)
            for x in items
            if (network := _tunnel.network_of(x.takes(field))) is not None
            and network != _tunnel.network_of((x.plan.before or {}).get(field))
        ]
        if not moving:
            continue
        account: _Networks[Account] = _Networks()
        for tunnel in tunnels:
            network = _tunnel.network_of(tunnel.get(field))
            if network is not None:
                account.add(network, tunnel)
        of_tunnel = {x.plan.tunnel_id: x for x in items if x.plan.tunnel_id}
        rings = _Rings()
        for item, network in moving:
            for holder in account.overlapping(network):
                rings.add(item, of_tunnel.get(holder["id"]), field)
        for ring in rings.found():
            yield (
                f"{_all_of(ring)} would swap their {field}, and a run that is killed would leave one of them in"
                f" between; give one of them a third {field} in a separate run, then {_rest_of(ring, field)}, then"
                " the first"
            )
        new: _Networks[Item] = _Networks()
        for item, network in moving:
            for other_item in new.overlapping(network):
                yield f"{item.where}: {field} is in the inside network {network} that {other_item.where} gets, too"
            new.add(network, item)
            for holder in account.overlapping(network):
                if holder["id"] != item.plan.tunnel_id and item not in rings:
                    yield from _held(item, field, holder, of_tunnel.get(holder["id"]))


def _held(item: Item, field: str, holder: Account, other: Item | None) -> Iterator[str]:
    """What is wrong with an item that takes an inside network which a tunnel of the account has."""
    deleted = other is not None and other.plan.action == "delete"
    named = f"the tunnel {holder.get('name')!r} ({holder['id']})"
    if (other is None or deleted) and _looks_renamed(item, holder):
        yield (
            f"{item.where}: {named} has the same cloudflare_endpoint and interface_address, so this looks like a new"
            f" name for it; give id: {holder['id']} to rename it, or delete it first, in a separate run"
        )
    elif other is not None and other.takes(field) is not None:
        yield (
            f"{item.where}: {named} has this {field} until {other.where} changes it; change that one first, in a"
            " separate run"
        )
    elif not deleted:
        yield f"{item.where}: {named} has this {field}, or one in the same inside network"


def _looks_renamed(item: Item, holder: Account) -> bool:
    after = item.plan.after or {}
    return (
        item.plan.action == "create"
        and _tunnel.same_address(after["cloudflare_endpoint"], holder.get("cloudflare_endpoint"))
        and _tunnel.network_of(after["interface_address"]) == _tunnel.network_of(holder.get("interface_address"))
    )


# -- identities and PSKs ----------------------------------------------------------------------------------------------


def _identities(items: Sequence[Item], tunnels: Sequence[Account]) -> Iterator[str]:
    """A custom IKE identity may be that of several tunnels, but not with one cloudflare_endpoint."""
    changing = [
        x
        for x in items
        if x.takes("custom_remote_identities") is not None
        or (x.takes("cloudflare_endpoint") is not None and (x.plan.after or {}).get("custom_remote_identities"))
    ]
    if not changing:
        return
    holders: dict[t.Any, list[Account]] = {}
    for tunnel in tunnels:
        holders.setdefault(_identity(tunnel), []).append(tunnel)
    of_tunnel = {x.plan.tunnel_id: x for x in items if x.plan.tunnel_id}
    takers: dict[t.Any, Item] = {}
    for item in changing:
        identity = _identity(item.plan.after or {})
        what = "custom_remote_identities.fqdn_id with the same cloudflare_endpoint"
        first = takers.setdefault(identity, item)
        if first is not item:
            yield f"{item.where}: {first.where} gets this {what}, too, so Cloudflare could not tell them apart"
        for holder in holders.get(identity, []):
            other = of_tunnel.get(holder["id"])
            has = f"{item.where}: the tunnel {holder.get('name')!r} ({holder['id']}) has this {what}"
            if holder["id"] == item.plan.tunnel_id:
                continue
            if other is not None and _identity(other.plan.after or {}) != identity:
                yield f"{has} until {other.where} gives it up; remove it there first, in a separate run"
            else:
                yield f"{has}, so Cloudflare could not tell them apart"


def _identity(tunnel: Account) -> tuple[str, str | None] | None:
    fqdn = (tunnel.get("custom_remote_identities") or {}).get("fqdn_id")
    return (fqdn.lower(), _tunnel.canonical_address(tunnel.get("cloudflare_endpoint"))) if fqdn else None


def _psks(items: Sequence[Item], charset: str) -> Iterator[str]:
    """Only what would be sent is judged: a tunnel that has its PSK is left alone, whatever the list says of it."""
    owners: dict[str, list[Item]] = {}
    for item in items:
        if item.psk is not None:
            owners.setdefault(item.psk, []).append(item)
    for item in items:
        if not item.plan.sends_psk or item.psk is None:
            continue
        try:
            check_psk(item.psk, item.where, charset)
        except InputError as exc:
            yield exc.message
        other = next((x for x in owners[item.psk] if x is not item), None)
        if other is not None and (not other.plan.sends_psk or owners[item.psk][0] is other):
            yield f"{item.where}: {other.where} has the same PSK; each tunnel needs its own"
