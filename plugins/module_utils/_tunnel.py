# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""An IPsec tunnel as the user and the API see it: pure functions over plain dicts.

ASSUMPTION TARGET-STRING: a health target given as a string equals the computed default while none is saved, because
the API's older format shows both as the same string.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
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
HEALTH_DEFAULTS: dict[str, t.Any] = {"enabled": True, "rate": "mid", "type": "reply", "direction": None}
ASN_MAX = 4294967295
# Each of these takes all tunnels, whatever a tunnel is named.
ALL = ("all", "*")
# How many texts of addresses are kept with their canonical form; the same ones come again in every step.
CANONICAL_KEPT = 65536
# How many names or problems a message lists.
SHOWN = 5
MD5_REFUSED = frozenset('"?\n\r\t\v\f')
EMPTY: tuple[t.Any, ...] = (None, "", [], {})
# What Ansible makes of an empty list or dictionary where an option is a text.
NO_TEXTS = ("[]", "{}")


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


def view(tunnel: Mapping[str, t.Any]) -> Tunnel:
    """The tunnel with all keys that modules return, values in canonical form, null where the API says nothing."""
    bgp, health = tunnel.get("bgp"), tunnel.get("health_check") or {}
    fqdn = (tunnel.get("custom_remote_identities") or {}).get("fqdn_id")
    identities = tunnel.get("remote_identities") or {}
    metadata = tunnel.get("psk_metadata")
    generated_on = metadata.get("last_generated_on") if isinstance(metadata, Mapping) else None
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
        "psk_metadata": {"last_generated_on": generated_on},
        "bgp_status": tunnel.get("bgp_status") or None,
        "created_on": tunnel.get("created_on"),
        "modified_on": tunnel.get("modified_on"),
    }


def options(tunnel: Mapping[str, t.Any]) -> Tunnel:
    """The writable part of a tunnel, as options of the module ipsec_tunnel: what was read can be given back.

    Holds neither null nor what is empty, because an empty value asks for the removal of a field.
    """
    shown = view(tunnel)
    told = tunnel.get("health_check") or {}
    health = {key: value for key, value in shown["health_check"].items() if told.get(key) is not None}
    if "target" in health:
        health["target"] = {"saved": health["target"]["saved"]}
    return t.cast(Tunnel, without_empties({**{key: shown[key] for key in WRITABLE}, "health_check": health}))


def without_empties(value: t.Any) -> t.Any:
    """A copy of plain data without null and what is empty, at any depth."""
    if isinstance(value, Mapping):
        cleaned = {key: without_empties(inner) for key, inner in value.items()}
        return {key: inner for key, inner in cleaned.items() if inner not in EMPTY}
    return [without_empties(x) for x in value] if isinstance(value, (list, tuple)) else value


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
    for field in REQUIRED:
        if wanted.get(field) == "":
            raise InputError(f"{where}{field} can't be removed; leave it out to keep it")
    identities = wanted.get("custom_remote_identities") or {}
    _check_texts({x: wanted.get(x) for x in ("name", "description")}, where)
    _check_texts({"custom_remote_identities.fqdn_id": identities.get("fqdn_id")}, where)
    _check_bgp(wanted.get("bgp") or {}, where)
    health = wanted.get("health_check")
    if health is not None:
        _check_health(health, where)


def _check_texts(texts: Mapping[str, t.Any], where: str) -> None:
    for field, value in texts.items():
        if value in NO_TEXTS:
            raise InputError(f'{where}{field} must be a text, not {value}; an empty one is written ""')


def _check_bgp(bgp: Mapping[str, t.Any], where: str) -> None:
    _check_texts({f"bgp.{x}": bgp.get(x) for x in ("md5_key", "import_filter_id", "export_filter_id")}, where)
    asn = bgp.get("customer_asn")
    if asn is not None and (isinstance(asn, bool) or not 0 <= asn <= ASN_MAX):
        raise InputError(f"{where}bgp.customer_asn must be 0 to {ASN_MAX}, not {asn}")
    for prefix in bgp.get("extra_prefixes") or ():
        if not _parses(lambda text: ip_network(text, strict=False), prefix):
            raise InputError(f"{where}bgp.extra_prefixes must hold networks in CIDR notation, not {prefix!r}")
    key = bgp.get("md5_key")
    if key and (MD5_REFUSED.intersection(key) or not all(" " <= c <= "~" for c in key)):
        raise InputError(
            f"{where}bgp.md5_key may hold printable ASCII characters except the quotation mark and the question mark"
        )


def _check_health(health: Mapping[str, t.Any], where: str) -> None:
    if all(value is None for value in health.values()):
        raise InputError(f"{where}health_check can't be removed; leave it out to keep it, or set enabled to false")
    target = health.get("target")
    shaped = isinstance(target, str) or (isinstance(target, Mapping) and _saves(target))
    if target is not None and not shaped:
        raise InputError(f"{where}health_check.target must be an address, or a dictionary with the key saved")
    saved = target_saved(target)
    if saved and not _parses(ip_address, saved):
        raise InputError(f"{where}health_check.target must be an IP address, not {saved!r}")


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
    """The tunnels that ``patterns`` name, in the account's order: ``all``, ids, exact names, or globs over names.

    ``all`` and ``*`` take every tunnel, even where one has that name; see only_by_id. Raises InputError naming the
    first pattern that names no tunnel, a name that several tunnels have, or one that is a glob over others, too.
    """
    by_id = {x["id"]: x for x in tunnels}
    by_name: dict[str, list[str]] = {}
    for tunnel in tunnels:
        by_name.setdefault(tunnel.get("name") or "", []).append(tunnel["id"])
    chosen: set[str] = set()
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise InputError(f"{pattern!r} is no text: put the names and ids of tunnels into quotes")
        if pattern in ALL and (tunnels or pattern == "all"):
            chosen.update(by_id)
            continue
        if pattern in by_id:
            chosen.add(pattern)
            continue
        is_glob = any(c in pattern for c in "*?[")
        others = [i for name, ids in by_name.items() if is_glob and fnmatchcase(name, pattern) for i in ids]
        named = by_name.get(pattern, [])
        if len(named) > 1:
            raise InputError(f"{len(named)} tunnels are named {pattern!r} ({', '.join(named)}); name it by its id")
        if named and set(others) - set(named):
            raise InputError(
                f"{pattern!r} is the name of the tunnel {named[0]}, and as a glob it matches"
                f" {len(set(others) - set(named))} others; name that tunnel by its id, or the others by another glob"
            )
        if not named and not others:
            raise InputError(f"no tunnel of the account has the id or name {pattern!r}, or matches it")
        chosen.update(named or others)
    return [x for x in tunnels if x["id"] in chosen]


def only_by_id(tunnels: Sequence[Mapping[str, t.Any]]) -> list[tuple[str, str]]:
    """The tunnels, as ``(name, id)``, that only their id can name, because their name means something else: the words
    for all tunnels, or another tunnel's id."""
    ids = {x["id"] for x in tunnels}
    return [
        (x["name"], x["id"])
        for x in tunnels
        if x.get("name") in ALL or (x.get("name") in ids and x.get("name") != x["id"])
    ]


def hidden_names(tunnels: Sequence[Mapping[str, t.Any]], patterns: Iterable[str]) -> str | None:
    """Warnings about ``patterns`` that name a tunnel, but were taken for something else."""
    given = set(patterns)
    hidden = [f"{name!r} ({tunnel_id})" for name, tunnel_id in only_by_id(tunnels) if name in given]
    if not hidden:
        return None
    return f"the name of a tunnel was taken for all tunnels or for an id: {few(hidden)}; select that tunnel by its id"


def few(texts: Sequence[str], separator: str = ", ", shown: int = SHOWN) -> str:
    """The first of many texts, and how many more there are."""
    more = f"{separator}and {len(texts) - shown} more" if len(texts) > shown else ""
    return separator.join(texts[:shown]) + more


def inside_addresses(interface: str | None) -> tuple[str | None, str | None, int | None]:
    """Cloudflare's address, the customer's address and the prefix length of a tunnel's inside network.

    The given address is Cloudflare's; the customer's is the other usable one of the /31, /30 or /127.
    """
    cloudflare = _parsed_interface(interface) if interface else None
    if cloudflare is None:
        return None, None, None
    other = next((host for host in cloudflare.network.hosts() if host != cloudflare.ip), None)
    return str(cloudflare.ip), str(other) if other else None, cloudflare.network.prefixlen


def target_saved(target: t.Any) -> str | None:
    """The saved address of a health target, in either of its forms."""
    if isinstance(target, Mapping):
        saved = target.get("saved")
        return saved if saved is None or isinstance(saved, str) else str(saved)
    return target if isinstance(target, str) else None


def canonical_address(text: str | None) -> str | None:
    """An IP address in its one spelling; what is none as it is."""
    return _address(text)


@lru_cache(maxsize=CANONICAL_KEPT)
def network_of(interface: str | None) -> t.Any:
    """The network of an inside address, as an IPv4Network or IPv6Network; None without one."""
    parsed = _parsed_interface(interface) if interface else None
    return parsed.network if parsed else None


@lru_cache(maxsize=CANONICAL_KEPT)
def _parsed_interface(text: str) -> t.Any:
    """As an IPv4Interface or IPv6Interface; None for what is none."""
    try:
        return ip_interface(text)
    except ValueError:
        return None


def same_address(one: str | None, other: str | None) -> bool:
    """Whether two addresses are the same, however they are written; none and an empty one are."""
    return (_address(one) or "") == (_address(other) or "")


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
    shown["target"] = {"saved": _address(target_saved(target)) or "", "effective": _address(effective)}
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
    return str(_parsed_interface(text) or text) if text else None


@lru_cache(maxsize=CANONICAL_KEPT)
def _network(text: str) -> str:
    return _canonical(lambda x: ip_network(x, strict=False), text)


def _canonical(parse: t.Callable[[str], t.Any], text: str) -> str:
    """One spelling of what can be parsed; anything else as it is, for the API to judge."""
    try:
        return str(parse(text))
    except ValueError:
        return text


def _saves(target: Mapping[str, t.Any]) -> bool:
    """Whether a target in the form of a dictionary says what to save; one of nulls only says: nothing."""
    return target.get("saved") is not None or all(x is None for x in target.values())
