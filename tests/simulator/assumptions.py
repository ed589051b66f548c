# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no source answers about the real API, in one place, each answer switchable with --assume NAME=VALUE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints


def _assumed(default: Any, question: str) -> Any:
    return field(default=default, metadata={"question": question})


@dataclass(frozen=True)
class Assumptions:
    """The simulator's answer to each open question; `question` in the field's metadata says which one."""

    partial_put: bool = _assumed(
        False,
        "Does PUT accept a body without the required fields? true: omitted fields are kept; "
        "false: they are demanded, and omitted optional ones fall back to their defaults",
    )
    rename_allowed: bool = _assumed(True, "May PUT change the name of a tunnel?")
    bgp_update_allowed: bool = _assumed(True, "May PUT change bgp?")
    max_psks: int | None = _assumed(None, "How many entries may one POST /psk hold? (none: no limit)")
    psk_min_length: int = _assumed(1, "What is the shortest PSK?")
    psk_max_length: int | None = _assumed(None, "What is the longest PSK? (none: no limit)")
    psk_charset: Literal["any", "printable_ascii", "alphanumeric"] = _assumed("any", "Which characters may a PSK hold?")
    duplicate_psk_ids: Literal["refuse", "last"] = _assumed(
        "refuse", "What happens when one POST /psk names a tunnel twice?"
    )
    put_keeps_psk: bool = _assumed(True, "Does PUT without psk keep the PSK?")
    put_moves_last_generated_on: bool = _assumed(False, "Does a PUT without psk move last_generated_on?")
    psk_put_moves_last_generated_on: bool = _assumed(True, "Does a PUT with psk move last_generated_on?")
    bulk_put_body: Literal["ipsec_tunnels", "list"] = _assumed(
        "ipsec_tunnels", "What wraps the tunnels of a bulk PUT: an object with ipsec_tunnels, or a bare list?"
    )
    create_response: Literal["single", "list"] = _assumed(
        "single", "Is the result of create the tunnel itself, or {ipsec_tunnels: [tunnel]}?"
    )
    bidirectional_target_ignored: bool = _assumed(
        True, "Is a saved health check target ignored when the check is bidirectional?"
    )
    default_direction: Literal["bidirectional", "unidirectional"] = _assumed(
        "bidirectional", "Which direction has a health check that names none? (docs: bidirectional on WAN accounts)"
    )
    coupler_integration: bool = _assumed(
        False, "Does the account have the flag that automatic_return_routing: true needs?"
    )
    validate_only_result: Literal["full", "empty"] = _assumed(
        "full", "What does validate_only answer: what a real call would (full), or an empty object?"
    )
    put_answer: Literal["tunnel", "modified"] = _assumed(
        "tunnel", "What does PUT answer: the tunnel too, or {modified: true} alone?"
    )
    write_shows_identities: bool = _assumed(
        False, "Does the answer to a create or an update hold remote_identities? false: they are empty, as documented"
    )
    custom_fqdn_account: Literal["either", "id", "number"] = _assumed(
        "either",
        "Which account stands in a custom IKE identity: the hexadecimal id (documentation), or the number that the "
        "generated identities have (a field report says that the id is refused)?",
    )
    customer_asn: Literal["uint32", "int32"] = _assumed(
        "uint32", "Which AS numbers may bgp hold: all of 32 bits, or those of the schema's int32?"
    )
    inside_addresses_overlap: bool = _assumed(True, "May the inside networks of two tunnels overlap?")
    read_only_extras: bool = _assumed(
        False,
        "Do tunnels have version and bgp.as_no, which the schema does not know and a request must not hold?",
    )
    unknown_fields: Literal["none", "writable", "refused", "refused_and_reset"] = _assumed(
        "none",
        "Do tunnels have traffic_class and health_check.probe_interval, for fields that the schema does not know yet? "
        "writable: a PUT takes them, and resets them when they are left out; refused: a PUT refuses and keeps them; "
        "refused_and_reset: a PUT refuses them, and resets them all the same",
    )
    unapplied_unknown_reason: str = _assumed("tunnel not found", "Which text does an unknown id get in unapplied_psks?")
    unapplied_fault_reason: str = _assumed(
        "failed to persist PSK", "Which text does an entry get that the `unapplied` fault picks?"
    )

    def with_overrides(self, pairs: Iterable[str]) -> Assumptions:
        """Apply NAME=VALUE pairs; ValueError names the bad one."""
        hints = get_type_hints(type(self))
        changes: dict[str, Any] = {}
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals or name not in hints:
                known = ", ".join(f.name for f in fields(self))
                raise ValueError(f"--assume {pair}: expected NAME=VALUE with NAME one of {known}")
            changes[name] = _parse(name, text, hints[name])
        return replace(self, **changes)


def _parse(name: str, text: str, hint: Any) -> Any:
    if hint is bool:
        if text not in ("true", "false"):
            raise ValueError(f"--assume {name}: expected true or false")
        return text == "true"
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ValueError(f"--assume {name}: expected one of {', '.join(get_args(hint))}")
        return text
    if hint is str:
        return text
    if text == "none" and type(None) in get_args(hint):
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--assume {name}: expected a number") from None
