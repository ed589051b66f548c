# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The eight operations: check the whole request, then change the truth in one step, then answer."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from typing import Any

from . import schema
from .answers import Answer, Problem, error, success_bytes
from .assumptions import Assumptions
from .clock import NANOSECONDS, to_nanoseconds, to_text
from .faults import Fault
from .model import PROBE_INTERVAL, TRAFFIC_CLASS, HealthCheck, Renderer, Tunnel
from .seed import COLOS
from .state import Store

NOT_FOUND = 1032


@dataclass(frozen=True)
class Call:
    """One request, as an operation sees it. `dry` (validate_only, or a fault) changes nothing."""

    store: Store
    assumptions: Assumptions
    renderer: Renderer
    raw: bytes
    content_type: str
    tunnel_id: str = ""
    new_target: bool = False
    validate_only: bool = False
    dry: bool = False
    fault: Fault | None = None

    def has_fault(self, kind: str) -> bool:
        return self.fault is not None and self.fault.kind == kind

    def body(self) -> Any:
        return schema.parse_json(self.raw, self.content_type)

    def tunnel(self) -> Tunnel:
        """The tunnel the path names."""
        return self._found(self.store.tunnels)

    def tunnel_read(self) -> Tunnel:
        """The same, as reads see it."""
        return self._found(self.store.read())

    def _found(self, tunnels: dict[str, Tunnel]) -> Tunnel:
        if self.tunnel_id not in tunnels:
            raise Problem.single(404, NOT_FOUND, "IPsec tunnel not found")
        return tunnels[self.tunnel_id]

    def show(self, tunnel: Tunnel) -> dict[str, Any]:
        return self.renderer.show(tunnel, self.new_target)

    def show_written(self, tunnel: Tunnel) -> dict[str, Any]:
        """The tunnel in the answer to a create or an update."""
        return self.renderer.show(tunnel, self.new_target, self.assumptions.write_shows_identities)


def list_tunnels(call: Call) -> Answer:
    tunnels = list(call.store.read().values())
    if call.fault is None:
        texts = b",".join(call.renderer.show_bytes(tunnel, call.new_target) for tunnel in tunnels)
        return Answer(success_bytes(b'{"ipsec_tunnels":[' + texts + b"]}"))
    shown = [_distorted(call, call.show(tunnel)) for tunnel in tunnels]
    if call.has_fault("empty_list"):
        shown = []
    if call.has_fault("duplicate_names") and len(shown) > 1:
        shown[1]["name"] = shown[0]["name"]
    if call.has_fault("duplicate_ids") and shown:
        shown.append(shown[0])
    return Answer.of({"ipsec_tunnels": shown})


def get_tunnel(call: Call) -> Answer:
    return Answer.of({"ipsec_tunnel": _distorted(call, call.show(call.tunnel_read()))})


def create_tunnel(call: Call) -> Answer:
    body = schema.check_tunnel(call.body(), call.assumptions, new_target=call.new_target, whole=True)
    stamp = call.store.clock.stamp()
    blank = Tunnel(
        id=uuid.uuid4().hex,
        name="",
        cloudflare_endpoint="",
        interface_address="",
        created_on=stamp,
        modified_on=stamp,
        health=dict.fromkeys(COLOS, 0.0),
    )
    tunnel = _merged(call, blank, body, "", new=True)
    if not call.dry:
        call.store.put(tunnel)
    shown = call.show_written(tunnel)
    result = {"ipsec_tunnels": [shown]} if call.assumptions.create_response == "list" else shown
    return _answer(call, result, [tunnel.id], [tunnel.id] if body.psk is not None else [])


def update_tunnel(call: Call) -> Answer:
    old = call.tunnel()
    whole = not call.assumptions.partial_put
    body = schema.check_tunnel(call.body(), call.assumptions, new_target=call.new_target, whole=whole)
    tunnel = _merged(call, old, body, "")
    if not call.dry:
        call.store.put(tunnel)
    result: dict[str, Any] = {"modified": not call.has_fault("modified_false")}
    if call.assumptions.put_answer == "tunnel":
        result["modified_ipsec_tunnel"] = call.show_written(tunnel)
    return _answer(call, result, [tunnel.id], [tunnel.id] if body.psk is not None else [])


def bulk_update(call: Call) -> Answer:
    entries = schema.check_bulk(call.body(), call.assumptions, new_target=call.new_target)
    unknown = [at for tunnel_id, _, at in entries if tunnel_id not in call.store.tunnels]
    if unknown:
        raise Problem(404, [error(NOT_FOUND, "IPsec tunnel not found", f"{at}/id") for at in unknown])
    if len({tunnel_id for tunnel_id, _, _ in entries}) < len(entries):
        raise Problem(400, [schema.invalid("a tunnel is named twice", "")])
    before = {tunnel_id: call.store.tunnels[tunnel_id] for tunnel_id, _, _ in entries}
    tunnels = []
    try:
        for tunnel_id, body, at in entries:
            tunnels.append(_merged(call, before[tunnel_id], body, at))
            call.store.put(tunnels[-1])
    except Problem:
        _put_back(call.store, before)
        raise
    if call.dry:
        _put_back(call.store, before)
    result = {
        "modified": not call.has_fault("modified_false"),
        "modified_ipsec_tunnels": [call.show_written(tunnel) for tunnel in tunnels],
    }
    psk_changed = [tunnel_id for tunnel_id, body, _ in entries if body.psk is not None]
    return _answer(call, result, list(before), psk_changed)


def delete_tunnel(call: Call) -> Answer:
    tunnel = call.tunnel()
    if call.raw and call.body() != {}:
        raise Problem(400, [schema.invalid("the body must be empty", "")])
    if not call.dry:
        call.store.remove(tunnel.id)
    result = {"deleted": not call.has_fault("modified_false"), "deleted_ipsec_tunnel": call.show(tunnel)}
    return _answer(call, result, [tunnel.id])


def psk_generate(call: Call) -> Answer:
    tunnel = call.tunnel()
    if call.raw and call.body() != {}:
        raise Problem(400, [schema.invalid("the body must be empty", "")])
    result: dict[str, Any] = {"ipsec_tunnel_id": tunnel.id, "ipsec_id": call.renderer.ipsec_id(tunnel.id)}
    if not call.dry:
        tunnel = _with_psk(call, tunnel, secrets.token_urlsafe(32))
        call.store.put(tunnel)
        result["psk"] = tunnel.psk
    result["psk_metadata"] = tunnel.psk_metadata()
    return _answer(call, result, [tunnel.id], [tunnel.id])


def psk_set(call: Call) -> Answer:
    entries = schema.check_psks(call.body(), call.assumptions)
    chosen = {entry.id: entry.psk for entry in entries}
    tunnels = call.store.tunnels
    unapplied = {i: call.assumptions.unapplied_unknown_reason for i in chosen if i not in tunnels}
    known = [i for i in chosen if i not in unapplied]
    if call.fault is not None and call.fault.unapplied is not None:
        unapplied |= dict.fromkeys(_picked(known, call.fault.unapplied), call.assumptions.unapplied_fault_reason)
    omitted: set[str] = set()
    if call.fault is not None and call.fault.omit is not None:
        omitted = set(_picked(known, call.fault.omit))
    left_out = omitted if call.fault is not None and call.fault.before else set()
    applied: dict[str, Any] = {}
    changed: list[str] = []
    for tunnel_id in known:
        if tunnel_id in unapplied:
            continue
        tunnel = tunnels[tunnel_id]
        if not call.dry and tunnel_id not in left_out:
            tunnel = _with_psk(call, tunnel, chosen[tunnel_id])
            call.store.put(tunnel)
            changed.append(tunnel_id)
        if tunnel_id not in omitted:
            applied[tunnel_id] = {
                "ipsec_id": call.renderer.ipsec_id(tunnel_id),
                "ipsec_tunnel_id": tunnel_id,
                "psk": secrets.token_hex(16) if call.has_fault("echo_other_psk") else chosen[tunnel_id],
                "psk_metadata": tunnel.psk_metadata(),
            }
    result = {"successfully_applied_psks": applied, "unapplied_psks": unapplied}
    return _answer(call, result, changed, changed)


OPERATIONS: dict[str, Callable[[Call], Answer]] = {
    "list": list_tunnels,
    "get": get_tunnel,
    "create": create_tunnel,
    "update": update_tunnel,
    "bulk_update": bulk_update,
    "delete": delete_tunnel,
    "psk_generate": psk_generate,
    "psk_set": psk_set,
}


def _answer(call: Call, result: dict[str, Any], changed: list[str], psk_changed: list[str] | None = None) -> Answer:
    if call.validate_only and call.assumptions.validate_only_result == "empty":
        result = {}
    if call.dry:
        return Answer.of(result)
    return Answer.of(result, changed, psk_changed or [])


def _put_back(store: Store, before: dict[str, Tunnel]) -> None:
    """Undo a bulk change, the names too: swapped names need all of them free first."""
    for tunnel in before.values():
        store.put(tunnel)


def _picked(ids: list[str], choice: int | float | str | list[str]) -> list[str]:
    """Which ids a fault means: a list of them, so many from the end, a share, or all."""
    if choice == "all":
        return ids
    if isinstance(choice, list):
        return [i for i in ids if i in choice]
    number = round(choice * len(ids)) if isinstance(choice, float) else int(choice)
    return ids[len(ids) - number :] if number < len(ids) else ids


def _with_psk(call: Call, tunnel: Tunnel, psk: str, moves: bool = True) -> Tunnel:
    """Set the PSK; a `metadata` fault decides what last_generated_on becomes."""
    old = tunnel.last_generated_on
    stamp = call.store.clock.stamp()
    generated: str | None = stamp if moves or old is None else old
    if call.fault is not None and call.fault.metadata is not None:
        generated = _skewed(call.fault, old, stamp)
    return tunnel.with_psk(psk, generated, stamp)


def _skewed(fault: Fault, old: str | None, stamp: str) -> str | None:
    if fault.metadata in ("missing", "absent"):
        return None
    if fault.metadata == "unchanged":
        return old
    if fault.metadata == "backwards":
        return to_text(to_nanoseconds(old or stamp) - 3600 * NANOSECONDS)
    return to_text(to_nanoseconds(stamp) + fault.skew * NANOSECONDS)


def _distorted(call: Call, shown: dict[str, Any]) -> dict[str, Any]:
    """A `metadata` fault on a read changes what is shown, not the truth."""
    if call.fault is not None and call.fault.metadata is not None:
        old = shown["psk_metadata"].get("last_generated_on")
        if call.fault.metadata == "absent":
            del shown["psk_metadata"]
        elif old is not None:
            seen = _skewed(call.fault, old, old)
            shown["psk_metadata"] = {} if seen is None else {"last_generated_on": seen}
    return shown


def _merged(call: Call, old: Tunnel, body: schema.TunnelBody, at: str, new: bool = False) -> Tunnel:
    """`old` with the body's fields. In a whole body, fields left out fall back to their defaults."""
    keeps = call.assumptions.partial_put and not new
    given = body.model_fields_set
    fields = schema.TunnelBody.model_fields.keys() - {"psk", "bgp", "custom_remote_identities", "traffic_class"}
    changes: dict[str, Any] = {}
    for name in fields:
        if name in given:
            changes[name] = getattr(body, name)
        elif not keeps:
            changes[name] = False if name in ("replay_protection", "automatic_return_routing") else None
    if "bgp" in given or not keeps:
        changes["bgp"] = body.bgp.model_dump(exclude_unset=True) if body.bgp is not None else None
    if "custom_remote_identities" in given or not keeps:
        custom = body.custom_remote_identities
        changes["fqdn_id"] = custom.fqdn_id if custom is not None else None
    plain = body.model_dump(include=schema.PLAIN_FIELDS.keys() & given)
    changes["plain"] = {**old.plain, **plain} if keeps else plain
    changes["health_check"] = _health_check(call, old, body, keeps)
    if body.traffic_class is not None:
        changes["traffic_class"] = body.traffic_class
    elif not _keeps_unknown(call, keeps):
        changes["traffic_class"] = TRAFFIC_CLASS
    tunnel = replace(old, **changes, modified_on=call.store.clock.stamp(), version=old.version + (not new))
    tunnel = replace(tunnel, bgp_status=_bgp_status(tunnel))
    _check_against_others(call, None if new else old, tunnel, at)
    return _psk_of_put(call, tunnel, body)


def _psk_of_put(call: Call, tunnel: Tunnel, body: schema.TunnelBody) -> Tunnel:
    if body.psk is not None:
        return _with_psk(call, tunnel, body.psk, call.assumptions.psk_put_moves_last_generated_on)
    if tunnel.psk is None:
        return tunnel
    if not call.assumptions.put_keeps_psk:
        return replace(tunnel, psk=None, last_generated_on=None)
    if call.assumptions.put_moves_last_generated_on:
        return replace(tunnel, last_generated_on=call.store.clock.stamp())
    return tunnel


def _health_check(call: Call, old: Tunnel, body: schema.TunnelBody, keeps: bool) -> HealthCheck:
    base = old.health_check if keeps else HealthCheck(direction=call.assumptions.default_direction)
    if not keeps and _keeps_unknown(call, keeps):
        base = replace(base, probe_interval=old.health_check.probe_interval)
    elif not _keeps_unknown(call, keeps):
        base = replace(base, probe_interval=PROBE_INTERVAL)
    given = getattr(body, "health_check", None)
    if given is None:
        return base
    changes = given.model_dump(exclude_unset=True)
    target = changes.get("target")
    if isinstance(target, dict):
        changes["target"] = target.get("saved", "")
    return replace(base, **changes)


def _keeps_unknown(call: Call, keeps: bool) -> bool:
    """Whether a PUT that leaves out the fields that the schema does not know keeps them."""
    if call.assumptions.unknown_fields == "writable":
        return keeps
    return call.assumptions.unknown_fields != "refused_and_reset"


def _bgp_status(tunnel: Tunnel) -> dict[str, Any] | None:
    if tunnel.bgp is None:
        return None
    return tunnel.bgp_status or {"state": "BGP_DOWN", "tcp_established": False, "updated_at": tunnel.modified_on}


def _check_against_others(call: Call, old: Tunnel | None, tunnel: Tunnel, at: str) -> None:
    """The rules that need the account: unique names and custom IKE ids, and what a PUT may change."""
    errors = []
    if old is not None and tunnel.name != old.name and not call.assumptions.rename_allowed:
        errors.append(schema.invalid("the name can not be changed", f"{at}/name"))
    if old is not None and tunnel.bgp != old.bgp and not call.assumptions.bgp_update_allowed:
        errors.append(schema.invalid("bgp can not be changed", f"{at}/bgp"))
    if call.store.id_of(tunnel.name) not in (None, tunnel.id):
        errors.append(schema.invalid("the name is that of another tunnel", f"{at}/name"))
    if not call.assumptions.inside_addresses_overlap and _overlaps(call, old, tunnel):
        errors.append(schema.invalid("another tunnel has this inside network", f"{at}/interface_address"))
    if tunnel.fqdn_id is not None:
        pointer = f"{at}/custom_remote_identities/fqdn_id"
        if not schema.is_custom_fqdn(tunnel.fqdn_id, _accounts(call)):
            form = "<label>.<account>.custom.ipsec.cloudflare.com"
            errors.append(schema.invalid(f"must be of the form {form}", pointer))
        elif call.store.fqdn_taken(tunnel.fqdn_id, tunnel.cloudflare_endpoint, tunnel.id):
            message = "another tunnel has this identity with the same cloudflare_endpoint"
            errors.append(schema.invalid(message, pointer))
    if errors:
        raise Problem(400, errors)


def _accounts(call: Call) -> list[str]:
    """What may stand for the account in a custom IKE id."""
    known = {"id": call.store.account_id, "number": str(call.renderer.account_number)}
    chosen = call.assumptions.custom_fqdn_account
    return list(known.values()) if chosen == "either" else [known[chosen]]


def _overlaps(call: Call, old: Tunnel | None, tunnel: Tunnel) -> bool:
    """Whether a new inside network overlaps that of another tunnel."""
    network = IPv4Interface(tunnel.interface_address).network
    if old is not None and network == IPv4Interface(old.interface_address).network:
        return False
    others = (x for x in call.store.tunnels.values() if x.id != tunnel.id)
    return any(IPv4Interface(x.interface_address).network.overlaps(network) for x in others)
