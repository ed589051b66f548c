# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What has to be done to a tunnel: pure functions over plain dicts.

An option that is null or left out keeps its field. An empty one removes it, "" a text, [] a list, {} a dictionary. The
API has no word for a removal, so it is sent as an empty value where the schema takes one, and by leaving the key out
where it does not; what came of it has to be read.

What the API's sources leave open is decided here and named:
ASSUMPTION PUT-FULL: an update replaces the whole writable object, so the unmanaged part is sent along, and what is left
out is removed. Nothing is lost if the API should merge instead, but then not all that is left out goes away.
ASSUMPTION PUT-KEEPS-PSK: an update without psk keeps the PSK.
ASSUMPTION UNKNOWN-FIELDS: a field that the API shows and the schema does not know is writable, so it goes back as it
was read, but for those of NEVER_SENT_BACK and READ_ONLY_PARTS.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import (
    BGP_FIELDS,
    EMPTY,
    HEALTH_DEFAULTS,
    READ_ONLY,
    REQUIRED,
    WRITABLE,
    Tunnel,
    same_address,
    target_saved,
    view,
)

# What an empty option removes.
REMOVABLE = (
    "description",
    "customer_endpoint",
    "interface_address6",
    "bgp",
    "bgp.md5_key",
    "bgp.extra_prefixes",
    "bgp.import_filter_id",
    "bgp.export_filter_id",
    "custom_remote_identities",
    "health_check.target",
)
# What was read of these is in no request. Tunnels were seen to have version and bgp.as_no, and updates to refuse them,
# though no schema knows them. A PSK that the API should ever show would be a mask.
NEVER_SENT_BACK = READ_ONLY | {"version", "psk"}
READ_ONLY_PARTS = {"bgp": frozenset({"as_no"}), "health_check/target": frozenset({"effective"})}
KNOWN_PARTS = {
    "bgp": frozenset(BGP_FIELDS),
    "custom_remote_identities": frozenset({"fqdn_id"}),
    "health_check": frozenset({*HEALTH_DEFAULTS, "target"}),
    "health_check/target": frozenset({"saved"}),
}


@dataclass(frozen=True)
class Plan:
    """What has to be done. ``body`` is the request; ``before`` and ``after`` are the tunnel as it is and as it will be
    (see view), ``removed`` names what goes away, as REMOVABLE does."""

    action: str  # none, create, update, delete
    before: Tunnel | None
    after: Tunnel | None
    body: Tunnel | None
    tunnel_id: str | None
    removed: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything has to be done."""
        return self.action != "none"

    @property
    def sends_psk(self) -> bool:
        """Whether the request holds a PSK."""
        return "psk" in (self.body or {})


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
    where = where or f"tunnel {wanted.get('name')!r}"
    managed = {key: _managed(wanted[key]) for key in WRITABLE if wanted.get(key) is not None}
    if current is None:
        missing = [key for key in REQUIRED if not managed.get(key)]
        if missing:
            raise InputError(f"{where} does not exist; to create it, set {', '.join(missing)}")
        body = _merge({}, managed, where)
        return Plan("create", None, view(body), body, None)
    before = view(current)
    body = _merge(current, managed, where)
    after = {**view(body), **{key: before[key] for key in READ_ONLY}}
    if after["bgp"] is None:
        after["bgp_status"] = None
    if after["health_check"]["target"]["saved"] == before["health_check"]["target"]["saved"]:
        after["health_check"]["target"] = before["health_check"]["target"]
    if not force and all(_same(key, before[key], after[key], managed[key]) for key in managed):
        return Plan("none", before, before, None, current["id"])
    removed = tuple(path for path in REMOVABLE if is_set(before, path) and not is_set(after, path))
    removed = tuple(path for path in removed if path.partition(".")[0] not in removed or "." not in path)
    return Plan("update", before, after, body, current["id"], removed)


def plan_absent(current: Mapping[str, t.Any] | None) -> Plan:
    """The way to no tunnel."""
    if current is None:
        return Plan("none", None, None, None, None)
    return Plan("delete", view(current), None, None, current["id"])


def is_set(tunnel: Mapping[str, t.Any], path: str) -> bool:
    """Whether a tunnel (see view) has the field that ``path`` names as REMOVABLE does."""
    value: t.Any = tunnel
    for part in ("health_check.target.saved" if path == "health_check.target" else path).split("."):
        value = (value or {}).get(part)
    return value not in EMPTY


def diff(plan: Plan) -> dict[str, Tunnel]:
    """``before`` and ``after`` for Ansible's diff mode: the writable part, without what is not set."""

    def writable(tunnel: Tunnel | None) -> Tunnel:
        return {key: tunnel[key] for key in WRITABLE if tunnel[key] is not None} if tunnel else {}

    return {"before": writable(plan.before), "after": writable(plan.after)}


def changes(plan: Plan) -> list[str]:
    """The fields that an update changes, by name; the PSK is one of them."""
    if plan.action != "update":
        return []
    found = differs(plan.before, plan.after)
    return [*found, "psk"] if plan.sends_psk else found


def differs(one: Mapping[str, t.Any] | None, other: Mapping[str, t.Any] | None) -> list[str]:
    """The writable fields, by name, in which two tunnels (see view) differ."""
    return [key for key in WRITABLE if (one or {}).get(key) != (other or {}).get(key)]


def unknown_fields(body: Mapping[str, t.Any]) -> list[str]:
    """JSON pointers to the fields of a request that the schema does not know."""
    found = [f"/{key}" for key in body if key not in WRITABLE and key != "psk"]
    for path, known in KNOWN_PARTS.items():
        part = value_at(body, f"/{path}")
        if isinstance(part, Mapping):
            found += [f"/{path}/{key}" for key in part if key not in known]
    return found


def value_at(tunnel: t.Any, pointer: str) -> t.Any:
    """What a JSON pointer of unknown_fields points at, without any null; None if it is not there."""
    value = tunnel
    for part in pointer[1:].split("/"):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return _without_nulls(value)


def without_field(body: Mapping[str, t.Any], pointer: str) -> Tunnel:
    """A copy of a request without the field that the pointer names."""
    first, dummy, rest = pointer[1:].partition("/")
    if not rest:
        return {key: value for key, value in body.items() if key != first}
    return {**body, first: without_field(body[first], f"/{rest}")}


def _managed(value: t.Any) -> t.Any:
    """An option without its null members."""
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value


def _merge(current: Mapping[str, t.Any], managed: Mapping[str, t.Any], where: str) -> Tunnel:
    """The request body: what is there and not managed, overlaid with what is wanted. Holds no null."""
    body = _as_read(current)
    for key, value in managed.items():
        if key == "bgp":
            merged = _merged_bgp(body.get("bgp") or {}, value, where)
        elif key == "custom_remote_identities":
            merged = {**body.get(key, {}), **value} if value.get("fqdn_id") else {}
        elif key == "health_check":
            merged = _merged_health_check(body.get(key) or {}, value)
        else:
            # The schema takes an empty description; every other text it wants to have a form.
            merged = value if value != "" or (key == "description" and key in body) else None
        if merged is None or merged == {}:
            body.pop(key, None)
        else:
            body[key] = merged
    return body


def _as_read(current: Mapping[str, t.Any]) -> Tunnel:
    """The part of a tunnel that an update sends back: not what is read only, and of what is known only what is set."""
    body: Tunnel = {}
    for key, value in _without_nulls(current).items():
        if key in NEVER_SENT_BACK:
            continue
        part = {k: v for k, v in value.items() if _goes_back(key, k, v)} if isinstance(value, Mapping) else value
        if key == "health_check" and "target" in value:
            part["target"] = _target_as_read(value["target"])
        if key not in WRITABLE or part not in EMPTY:
            body[key] = part
    return body


def _goes_back(part: str, key: str, value: t.Any) -> bool:
    if key in READ_ONLY_PARTS.get(part, ()):
        return False
    return value not in ("", {}) or key not in KNOWN_PARTS.get(part, ())


def _target_as_read(target: t.Any) -> Tunnel:
    read_only = READ_ONLY_PARTS["health_check/target"]
    rest = {k: v for k, v in target.items() if k not in read_only} if isinstance(target, Mapping) else {}
    return {**rest, "saved": target_saved(target) or ""}


def _merged_bgp(kept: Mapping[str, t.Any], wanted: Mapping[str, t.Any], where: str) -> Tunnel | None:
    """None when there shall be no BGP, or none to remove anything from."""
    if not wanted:
        return None
    merged = {key: value for key, value in {**kept, **wanted}.items() if value != ""}
    if not merged.get("extra_prefixes") and "extra_prefixes" not in kept:
        merged.pop("extra_prefixes", None)
    if merged and "customer_asn" not in merged:
        raise InputError(f"{where}: the tunnel has no BGP yet; to set it up, set bgp.customer_asn")
    return merged


def _merged_health_check(kept: Mapping[str, t.Any], wanted: Mapping[str, t.Any]) -> Tunnel:
    merged = {**kept, **wanted}
    if "target" in wanted:
        saved = target_saved(wanted["target"]) or ""
        merged["target"] = {**kept.get("target", {}), "saved": saved}
        if not saved and "target" not in kept:
            del merged["target"]
    return merged


def _same(key: str, before: t.Any, after: t.Any, wanted: t.Any) -> bool:
    """Whether a managed field is already as wanted, both sides being in canonical form."""
    if key != "health_check":
        return bool(before == after)
    if any(before[field] != after[field] for field in HEALTH_DEFAULTS):
        return False
    if "target" not in wanted:
        return True
    target, shown = wanted["target"], before["target"]
    if isinstance(target, str) and not shown["saved"] and same_address(target, shown["effective"]):
        return True
    return same_address(shown["saved"], target_saved(target))


def _without_nulls(value: t.Any) -> t.Any:
    """A copy of plain data without null, at any depth."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(x) for x in value if x is not None] if isinstance(value, list) else value
