# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""FortiOS: how the answers of its REST API are read, as the modules of fortinet.fortios hand them over."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import (
    NOT_SHOWN,
    Answer,
    Finding,
    Platform,
    PskRule,
    Sa,
    Tunnel,
    Unreadable,
    by_object,
    problem_of,
)

_LOCAL_ID_LENGTH = 63


def _meta(answer: Answer, count: int) -> list[Mapping[str, t.Any]]:
    """The answers to `count` selectors."""
    problem = problem_of(answer)
    if problem:
        raise Unreadable(problem)
    meta = answer["meta"]
    found = meta if isinstance(meta, list) else [meta]
    if len(found) != count:
        raise Unreadable("its answer does not have the expected form")
    return found


def ready(answers: Sequence[Answer], entry: str) -> str:
    """Whether this is not the passive member, and a write is taken."""
    if entry == "compare":
        return ""
    # A unit that is in no cluster may not know this selector.
    if len(answers) > 1 and not problem_of(answers[1]):
        (sums,) = _meta(answers[1], 1)
        for member in sums.get("results") or []:
            primary = member.get("is_manage_primary", member.get("is_manage_master", 1))
            if member.get("serial_no") == sums.get("serial") and not int(primary):
                return "this is the passive member of its cluster"
    for written in answers[2].get("results", []) if len(answers) > 2 else []:
        if not written.get("skipped") and problem_of(written):
            return f"the configuration cannot be changed: {problem_of(written)}"
    return ""


def inspect(answers: Sequence[Answer], tunnel: Tunnel, entry: str) -> Finding:
    """Whether phase 1 and its phase 2 are there and go to the endpoint."""
    phase1, phase2 = _meta(answers[0], 2)
    there = {x["name"]: x for x in phase1["results"]}
    if entry == "main":
        found = there.get(tunnel.object)
        if found and found.get("remote-gw") != tunnel.endpoint:
            return Finding(f"the phase 1 {tunnel.object} is there and goes to {found.get('remote-gw')}")
        return Finding()
    found = there.get(tunnel.object)
    if found is None:
        return Finding(f"the device has no phase 1 interface {tunnel.object}")
    if found.get("remote-gw") != tunnel.endpoint:
        return Finding(f"the phase 1 {tunnel.object} does not go to {tunnel.endpoint}")
    if str(found.get("ike-version")) != "2":
        return Finding(f"the phase 1 {tunnel.object} is not IKEv2")
    if found.get("localid") != tunnel.ike_id:
        return Finding(
            f"the phase 1 {tunnel.object} does not present the identity {tunnel.ike_id} (ike_id: {tunnel.ike_id_type})"
        )
    child = tunnel.names["child"]
    if not any(x["name"] == child and x.get("phase1name") == tunnel.object for x in phase2["results"]):
        return Finding(f"the device has no phase 2 {child} of {tunnel.object} (option child)")
    return Finding(key=NOT_SHOWN)


def sas(answer: Answer, tunnel: Tunnel) -> Sequence[Sa]:
    """The tunnel's entry; the others may be in the same answer."""
    (meta,) = _meta(answer, 1)
    results = meta["results"]
    if not isinstance(results, list):
        raise Unreadable("its list of tunnels does not have the expected form")
    return [found for x in results if x.get("name") == tunnel.object and (found := _sa(x))]


def _sa(entry: Mapping[str, t.Any]) -> Sa | None:
    up = any(x.get("status") == "up" for x in entry.get("proxyid") or [])
    age = entry.get("creation_time")
    if not up and not age:
        return None
    return Sa(identity="", age=int(age) if age is not None else None, up=up)


def limits(tunnel: Mapping[str, t.Any], _settings: Mapping[str, t.Any]) -> Sequence[str]:
    """What `localid` takes."""
    length = len(tunnel["ike_id"])
    if length <= _LOCAL_ID_LENGTH:
        return []
    return [
        f"the identity {tunnel['ike_id_type']} has {length} characters, and localid takes {_LOCAL_ID_LENGTH}; "
        "the identity fqdn fits"
    ]


PLATFORM = Platform(
    title="FortiOS",
    collections=("fortinet.fortios",),
    probe={"type": "httpapi", "name": "fortinet.fortios.fortios", "option": "persistent_command_timeout"},
    names={"child": "{object}"},
    # A phase 1 interface is a network interface, and its name is no longer.
    name_length=15,
    psk=PskRule(6, 128, "^0x", "a leading 0x means that it is hexadecimal"),
    table={
        "ike_cipher": "aes256-gcm",
        "ike_prf": "sha512",
        "ike_lifetime": 86400,
        "esp_cipher": "aes256-gcm",
        "esp_lifetime": 28800,
    },
    words={
        "ike_cipher": {"aes256-cbc": "aes256", "aes256-gcm": "aes256gcm-prf", "aes128-gcm": "aes128gcm-prf"},
        "ike_prf": {"sha256": "sha256", "sha384": "sha384", "sha512": "sha512"},
        "ike_group": {"20": "20", "14": "14", "5": "5"},
        "esp_cipher": {
            "aes256-cbc": "aes256-sha256",
            "aes128-cbc": "aes128-sha256",
            "aes256-gcm": "aes256gcm",
            "aes128-gcm": "aes128gcm",
        },
        "esp_group": {"20": "20", "14": "14", "5": "5"},
    },
    ready=ready,
    inspect=inspect,
    sas=sas,
    clear=by_object,
    limits=limits,
)
