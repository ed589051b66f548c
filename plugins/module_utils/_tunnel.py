# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""An IPsec tunnel as the user, the API and a diff see it: pure functions over plain dicts.

What the API's sources leave open is decided here and named:
ASSUMPTION PUT-FULL: an update replaces the whole writable object, so the unmanaged part is sent along. Safe, too, if
the API should merge.
ASSUMPTION PUT-KEEPS-PSK: an update without psk keeps the PSK.
ASSUMPTION TARGET-STRING: a health target given as a string equals the computed default while none is saved, because
the API's older format shows both as the same string.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address, ip_interface, ip_network

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError

Tunnel = dict[str, t.Any]

READ_ONLY = frozenset(
    {"id", "created_on", "modified_on", "psk_metadata", "remote_identities", "bgp_status", "allow_null_cipher"}
)
WRITABLE = (
    "name",
    "description",
    "cloudflare_endpoint",
    "customer_endpoint",
    "interface_address",
    "interface_address6",
    "replay_protection",
    "automatic_return_routing",
    "bgp",
    "custom_remote_identities",
    "health_check",
)
REQUIRED = ("name", "cloudflare_endpoint", "interface_address")
BGP_FIELDS = ("customer_asn", "extra_prefixes", "md5_key", "import_filter_id", "export_filter_id")
HEALTH_DEFAULTS = {"enabled": True, "rate": "mid", "type": "reply", "direction": None}
# How many texts of addresses are kept with their canonical form; the same ones come again in every step.
CANONICAL_KEPT = 65536
MD5_REFUSED = frozenset('"?\n\r\t\v\f')


def tunnel_spec() -> dict[str, t.Any]:
    """The argument spec of a tunnel's writable fields, without psk."""
    return {
        "name": {"type": "str"},
        "description": {"type": "str"},
        "cloudflare_endpoint": {"type": "str"},
        "customer_endpoint": {"type": "str"},
        "interface_address": {"type": "str"},
        "interface_address6": {"type": "str"},
        "replay_protection": {"type": "bool"},
        "automatic_return_routing": {"type": "bool"},
        "bgp": {
            "type": "dict",
            "options": {
                "customer_asn": {"type": "int"},
                "extra_prefixes": {"type": "list", "elements": "str"},
                "md5_key": {"type": "str", "no_log": False},
                "import_filter_id": {"type": "str"},
                "export_filter_id": {"type": "str"},
            },
        },
        "custom_remote_identities": {"type": "dict", "options": {"fqdn_id": {"type": "str"}}},
        "health_check": {
            "type": "dict",
            "options": {
                "enabled": {"type": "bool"},
                "rate": {"type": "str", "choices": ["low", "mid", "high"]},
                "type": {"type": "str", "choices": ["reply", "request"]},
                "direction": {"type": "str", "choices": ["unidirectional", "bidirectional"]},
                "target": {"type": "raw"},
            },
        },
    }


@dataclass(frozen=True)
class Plan:
    """What has to be done. ``body`` is the request, without psk; ``after`` the tunnel as it will be (see view)."""

    action: str  # none, create, update, delete
    before: Tunnel | None
    after: Tunnel | None
    body: Tunnel | None
    tunnel_id: str | None

    @property
    def changed(self) -> bool:
        return self.action != "none"


def view(tunnel: Mapping[str, t.Any]) -> Tunnel:
    """The tunnel with all keys that modules return, values in canonical form, null where the API says nothing."""
    bgp, health = tunnel.get("bgp"), tunnel.get("health_check") or {}
    fqdn = (tunnel.get("custom_remote_identities") or {}).get("fqdn_id")
    identities = tunnel.get("remote_identities") or {}
    return {
        "id": tunnel.get("id"),
        "name": tunnel.get("name"),
        "description": tunnel.get("description") or None,
        "cloudflare_endpoint": _address(tunnel.get("cloudflare_endpoint")),
        "customer_endpoint": _address(tunnel.get("customer_endpoint")),
        "interface_address": _interface(tunnel.get("interface_address")),
        "interface_address6": _interface(tunnel.get("interface_address6")),
        "replay_protection": bool(tunnel.get("replay_protection")),
        "automatic_return_routing": bool(tunnel.get("automatic_return_routing")),
        "allow_null_cipher": bool(tunnel.get("allow_null_cipher")),
        "bgp": _bgp(bgp) if bgp else None,
        "custom_remote_identities": {"fqdn_id": fqdn} if fqdn else None,
        "health_check": _health_check(health),
        "remote_identities": {key: identities.get(key) or None for key in ("fqdn_id", "user_id", "hex_id")},
        "psk_metadata": {"last_generated_on": (tunnel.get("psk_metadata") or {}).get("last_generated_on")},
        "bgp_status": tunnel.get("bgp_status") or None,
        "created_on": tunnel.get("created_on"),
        "modified_on": tunnel.get("modified_on"),
    }


def options(tunnel: Mapping[str, t.Any]) -> Tunnel:
    """The writable part of a tunnel, as options of the module ipsec_tunnel: what was read can be given back."""
    shown = view(tunnel)
    return {key: shown[key] for key in WRITABLE if shown[key] is not None}


def check_options(wanted: Mapping[str, t.Any], where: str | None = None) -> None:
    """Raises InputError naming the option when a value can't be right; leaves all else to the API to judge.

    ``where`` stands before the message; by default the tunnel's name, if there is one.
    """
    name = wanted.get("name")
    where = f"{where}: " if where else f"tunnel {name!r}: " if name else ""
    if name is not None and not name.strip():
        raise InputError(f"{where if name else ''}name must not be empty")
    for field in ("cloudflare_endpoint", "customer_endpoint"):
        value = wanted.get(field)
        if value and not _parses(ip_address, value):
            raise InputError(f"{where}{field} must be an IP address, not {value!r}")
    for field, versions in (("interface_address", (4,)), ("interface_address6", (6,))):
        value = wanted.get(field)
        if value and not ("/" in value and _parses(ip_interface, value, versions)):
            raise InputError(
                f"{where}{field} must be an IPv{versions[0]} address with its prefix length, not {value!r}"
            )
    bgp = wanted.get("bgp") or {}
    for prefix in bgp.get("extra_prefixes") or ():
        if not _parses(lambda text: ip_network(text, strict=False), prefix):
            raise InputError(f"{where}bgp.extra_prefixes must hold networks in CIDR notation, not {prefix!r}")
    key = bgp.get("md5_key")
    if key is not None and not key:
        raise InputError(f"{where}bgp.md5_key must not be empty")
    if key is not None and (MD5_REFUSED.intersection(key) or not all(" " <= c <= "~" for c in key)):
        raise InputError(
            f"{where}bgp.md5_key may hold printable ASCII characters except the quotation mark and the question mark"
        )
    target = (wanted.get("health_check") or {}).get("target")
    if target is not None and not isinstance(target, str) and not (isinstance(target, Mapping) and "saved" in target):
        raise InputError(f"{where}health_check.target must be an address, or a dictionary with the key saved")
    saved = _target_saved(target)
    if saved and not _parses(ip_address, saved):
        raise InputError(f"{where}health_check.target must be an IP address, not {saved!r}")


def plan(current: Mapping[str, t.Any] | None, wanted: Mapping[str, t.Any], *, update_psk: str, where: str) -> Plan:
    """The way from ``current`` (an API tunnel or None) to the options of a module, ``state`` and ``psk`` among them.

    A PSK is sent to a new tunnel, and to an existing one only if ``update_psk`` is ``always``.
    """
    if wanted["state"] == "absent":
        return plan_absent(current)
    if current is None and wanted.get("id"):
        raise InputError(
            f"{where}: no tunnel of the account has the id {wanted['id']!r}; leave id out to create a tunnel"
        )
    send_psk = wanted.get("psk") is not None and (current is None or update_psk == "always")
    found = plan_present(current, wanted, force=send_psk, where=where)
    if send_psk and found.body is not None:
        found.body["psk"] = wanted["psk"]
    return found


def plan_present(
    current: Mapping[str, t.Any] | None, wanted: Mapping[str, t.Any], *, force: bool = False, where: str | None = None
) -> Plan:
    """The way from ``current`` (an API tunnel or None) to ``wanted`` (options; None means: not managed).

    ``force`` makes an update of a tunnel that is already as wanted: for a value that can't be read back.
    """
    wanted = {key: wanted[key] for key in WRITABLE if wanted.get(key) is not None}
    if current is None:
        missing = [key for key in REQUIRED if not wanted.get(key)]
        if missing:
            where = where or f"tunnel {wanted.get('name')!r}"
            raise InputError(f"{where} does not exist; to create it, set {', '.join(missing)}")
        body = _merge({}, wanted)
        return Plan("create", None, view(body), body, None)
    before = view(current)
    body = _merge(current, wanted)
    after = {**view(body), **{key: before[key] for key in READ_ONLY}}
    if after["health_check"]["target"]["saved"] == before["health_check"]["target"]["saved"]:
        after["health_check"]["target"] = before["health_check"]["target"]
    if not force and all(_same(key, before[key], after[key], wanted[key]) for key in wanted):
        return Plan("none", before, before, None, current["id"])
    return Plan("update", before, after, body, current["id"])


def plan_absent(current: Mapping[str, t.Any] | None) -> Plan:
    """The way to no tunnel."""
    if current is None:
        return Plan("none", None, None, None, None)
    return Plan("delete", view(current), None, None, current["id"])


class Index:
    """An account's tunnels by id and by name: made once, it finds each of many without a walk over all."""

    def __init__(self, tunnels: Iterable[Mapping[str, t.Any]]) -> None:
        self._by_id: dict[str, Mapping[str, t.Any]] = {}
        self._by_name: dict[str | None, list[Mapping[str, t.Any]]] = {}
        for tunnel in tunnels:
            self._by_id[tunnel["id"]] = tunnel
            self._by_name.setdefault(tunnel.get("name"), []).append(tunnel)

    def find(self, *, tunnel_id: str | None = None, name: str | None = None) -> Mapping[str, t.Any] | None:
        """The tunnel of this id, or else of exactly this name. Raises InputError when several have the name."""
        if tunnel_id:
            return self._by_id.get(tunnel_id)
        same = self._by_name.get(name, [])
        if len(same) > 1:
            ids = ", ".join(x["id"] for x in same)
            raise InputError(f"{len(same)} tunnels are named {name!r} ({ids}); name the tunnel by its id")
        return same[0] if same else None


def find(
    tunnels: Sequence[Mapping[str, t.Any]], *, tunnel_id: str | None = None, name: str | None = None
) -> Mapping[str, t.Any] | None:
    """The tunnel of this id, or else of exactly this name. Raises InputError when several have the name."""
    return Index(tunnels).find(tunnel_id=tunnel_id, name=name)


def select(tunnels: Sequence[Mapping[str, t.Any]], patterns: Iterable[str]) -> list[Mapping[str, t.Any]]:
    """The tunnels that ``patterns`` name, in the account's order: ids, exact names, globs over names, or ``all``.

    Raises InputError naming the first pattern that names no tunnel, or a name that several tunnels have.
    """
    by_id = {x["id"]: x for x in tunnels}
    by_name: dict[str, list[str]] = {}
    for tunnel in tunnels:
        by_name.setdefault(tunnel.get("name") or "", []).append(tunnel["id"])
    chosen: set[str] = set()
    for pattern in patterns:
        if pattern in by_id:
            chosen.add(pattern)
        elif pattern in by_name:
            ids = by_name[pattern]
            if len(ids) > 1:
                raise InputError(f"{len(ids)} tunnels are named {pattern!r} ({', '.join(ids)}); name it by its id")
            chosen.add(ids[0])
        elif pattern == "all":
            chosen.update(by_id)
        else:
            found = []
            if any(c in pattern for c in "*?["):
                found = [i for name, ids in by_name.items() if fnmatchcase(name, pattern) for i in ids]
            if not found:
                raise InputError(f"no tunnel of the account has the id or name {pattern!r}, or matches it")
            chosen.update(found)
    return [x for x in tunnels if x["id"] in chosen]


def diff(plan: Plan) -> dict[str, Tunnel]:
    """``before`` and ``after`` for Ansible's diff mode: the writable part, without what is not set."""

    def writable(tunnel: Tunnel | None) -> Tunnel:
        return {key: tunnel[key] for key in WRITABLE if tunnel[key] is not None} if tunnel else {}

    return {"before": writable(plan.before), "after": writable(plan.after)}


def inside_addresses(interface: str | None) -> tuple[str | None, str | None, int | None]:
    """Cloudflare's address, the customer's address and the prefix length of a tunnel's inside network.

    The given address is Cloudflare's; the customer's is the other usable one of the /31, /30 or /127.
    """
    try:
        cloudflare = ip_interface(interface or "")
    except ValueError:
        return None, None, None
    other = next((host for host in cloudflare.network.hosts() if host != cloudflare.ip), None)
    return str(cloudflare.ip), str(other) if other else None, cloudflare.network.prefixlen


def _merge(current: Mapping[str, t.Any], wanted: Mapping[str, t.Any]) -> Tunnel:
    """The request body: what is there and not managed, overlaid with what is wanted. Holds no null."""
    body: Tunnel = {}
    for key, value in current.items():
        if key not in READ_ONLY and value not in (None, "", {}, []):
            body[key] = value
    for key, value in wanted.items():
        if isinstance(value, Mapping):
            kept = current.get(key) or {}
            inner = {k: v for k, v in kept.items() if v is not None}
            inner.update({k: v for k, v in value.items() if v is not None})
            body[key] = inner
        else:
            body[key] = value
    if body.get("bgp"):
        body["bgp"] = {k: v for k, v in body["bgp"].items() if v not in (None, "")}
    if "health_check" in body:
        check = {k: v for k, v in body["health_check"].items() if v is not None}
        if "target" in check:
            check["target"] = {"saved": _target_saved(check["target"]) or ""}
        body["health_check"] = check
    return body


def _same(key: str, before: t.Any, after: t.Any, wanted: t.Any) -> bool:
    """Whether a managed field is already as wanted, both sides being in canonical form."""
    if key != "health_check":
        return bool(before == after)
    for field in ("enabled", "rate", "type", "direction"):
        if before[field] != after[field]:
            return False
    target = wanted.get("target")
    if target is None:
        return True
    shown = before["target"]
    if isinstance(target, str) and not shown["saved"] and target == (shown["effective"] or ""):
        return True
    return bool((shown["saved"] or "") == (_address(_target_saved(target)) or ""))


def _target_saved(target: t.Any) -> str | None:
    if isinstance(target, Mapping):
        saved = target.get("saved")
        return saved if saved is None or isinstance(saved, str) else str(saved)
    return target if isinstance(target, str) else None


def _bgp(bgp: Mapping[str, t.Any]) -> Tunnel:
    return {
        "customer_asn": bgp.get("customer_asn"),
        "extra_prefixes": sorted({_network(x) for x in bgp.get("extra_prefixes") or ()}),
        "md5_key": bgp.get("md5_key") or None,
        "import_filter_id": bgp.get("import_filter_id") or None,
        "export_filter_id": bgp.get("export_filter_id") or None,
    }


def _health_check(check: Mapping[str, t.Any]) -> Tunnel:
    shown: Tunnel = {}
    for key, default in HEALTH_DEFAULTS.items():
        value = check.get(key)
        shown[key] = default if value is None else value
    target = check.get("target")
    effective = target.get("effective") if isinstance(target, Mapping) else None
    shown["target"] = {"saved": _address(_target_saved(target)) or "", "effective": _address(effective)}
    return shown


def _parses(parse: t.Callable[[str], t.Any], text: str, versions: Sequence[int] = (4, 6)) -> bool:
    try:
        return getattr(parse(text), "version", 4) in versions
    except ValueError:
        return False


@lru_cache(maxsize=CANONICAL_KEPT)
def _address(text: str | None) -> str | None:
    return _canonical(ip_address, text) if text else None


@lru_cache(maxsize=CANONICAL_KEPT)
def _interface(text: str | None) -> str | None:
    return _canonical(ip_interface, text) if text else None


@lru_cache(maxsize=CANONICAL_KEPT)
def _network(text: str) -> str:
    return _canonical(lambda x: ip_network(x, strict=False), text)


def _canonical(parse: t.Callable[[str], t.Any], text: str) -> str:
    """One spelling of what can be parsed; anything else as it is, for the API to judge."""
    try:
        return str(parse(text))
    except ValueError:
        return text
