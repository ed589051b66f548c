# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""PAN-OS: how the answers of its XML API are read, as the modules of paloaltonetworks.panos hand them over."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Sequence
from xml.etree import ElementTree

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import (
    NOT_SHOWN,
    Answer,
    Finding,
    Platform,
    PskRule,
    Sa,
    Tunnel,
    Unreadable,
    problem_of,
)

_DATE = r"[A-Z][a-z]{2}\.\d{2} \d\d:\d\d:\d\d"
_ROW = re.compile(
    rf"^\s*\d+\s+(?P<peer>\S+)\s+(?P<gateway>\S+)\s+(?:Init|Resp)\s+(?P<sn>\d+)\s+\S.*?\s+(?P<made>{_DATE})\s+"
    rf"(?:{_DATE})\s.*?(?P<state>\S+)\s*$"
)


def _tree(answer: Answer) -> ElementTree.Element:
    """The answer's `result`."""
    problem = problem_of(answer)
    if problem:
        raise Unreadable(problem)
    try:
        tree = ElementTree.fromstring(answer["stdout_xml"])  # noqa: S314 (the firewall's own answer)
    except ElementTree.ParseError:
        raise Unreadable("its answer is not XML") from None
    if tree.tag == "response" and tree.get("status") != "success":
        raise Unreadable("its answer does not report success")
    found = tree if tree.tag == "result" else tree.find("result")
    if found is None:
        raise Unreadable("its answer has no result")
    return found


def _looks(answers: Sequence[Answer]) -> dict[str, Answer]:
    return {x["__customer_device_item"]["id"]: x for x in answers[0]["results"]}


def ready(answers: Sequence[Answer], entry: str) -> str:
    """Whether this is the active member, nobody holds a lock, and the user may take one."""
    found = _looks(answers)
    if entry == "compare" or "ha" not in found:  # nor is a lock taken in a check run
        return ""
    group = _tree(found["ha"])
    state = group.findtext(".//local-info/state") or ""
    if group.findtext("enabled") == "yes" and not state.startswith("active"):
        return f"this is the {state or 'unknown'} member of its cluster, not the active one"
    holders = [x.get("name") or "another user" for x in _tree(found["commit-locks"]).iter("entry")]
    if holders:
        return f"commits are locked by {', '.join(holders)}"
    problem = problem_of(found["lock"])
    if problem:
        return f"the configuration cannot be locked: {problem}"
    if problem_of(found["unlock"]):
        return f"the lock that was taken cannot be released: {problem_of(found['unlock'])}"
    return ""


def inspect(answers: Sequence[Answer], tunnel: Tunnel, entry: str) -> Finding:
    """Whether gateway and tunnel are there and belong together."""
    found = _looks(answers)
    gateways = {str(x.get("name")): x for x in _entries(found["gateways"], "gateway")}
    tunnels = {str(x.get("name")): x for x in _entries(found["tunnels"], "ipsec")}
    gateway, name = tunnel.names["gateway"], tunnel.names["tunnel"]
    if entry == "main":
        unit = f"tunnel.{tunnel.number}"
        users = [x for x, y in tunnels.items() if y.findtext("tunnel-interface") == unit and x != name]
        return Finding(f"{unit} belongs to the tunnel {users[0]}; give this one another number" if users else "")
    if gateway not in gateways:
        return Finding(
            f"the device has no IKE gateway {gateway} of its own; one from a template is changed in Panorama"
        )
    peer = gateways[gateway].findtext("peer-address/ip")
    if peer != tunnel.endpoint:
        return Finding(f"the IKE gateway {gateway} does not go to {tunnel.endpoint}")
    wanted = tunnel.ike_id.encode().hex() if tunnel.ike_id_type == "key_id" else tunnel.ike_id
    if (gateways[gateway].findtext("local-id/id") or "").lower() != wanted.lower():
        return Finding(
            f"the IKE gateway {gateway} does not present the identity {tunnel.ike_id} (ike_id: {tunnel.ike_id_type})"
        )
    if gateways[gateway].find("authentication/pre-shared-key") is None:
        return Finding(f"the IKE gateway {gateway} has no pre-shared key")
    if name not in tunnels:
        return Finding(f"the device has no IPsec tunnel {name} (option tunnel)")
    if gateway not in [x.get("name") for x in tunnels[name].findall("auto-key/ike-gateway/entry")]:
        return Finding(f"the IPsec tunnel {name} is not that of the IKE gateway {gateway}")
    return Finding(key=NOT_SHOWN)


def _entries(answer: Answer, tag: str) -> list[ElementTree.Element]:
    """The entries of a part of the configuration; none when it is not there."""
    problem = problem_of(answer)
    if "No such node" in problem or "doesn't exist" in problem:
        return []
    tree = _tree(answer)
    found = tree.find(tag)
    return list(found if found is not None else tree.findall("entry"))


def sas(answer: Answer, tunnel: Tunnel) -> Sequence[Sa]:
    """The gateway's own IKEv2 SAs: a child SA that was rekeyed is no other IKE SA."""
    tree = _tree(answer)
    text = "".join(tree.itertext())
    if not re.search(r"IKEv2 SAs|SA found|gateways? found", text, re.IGNORECASE):
        raise Unreadable("its table of IKE SAs does not have the expected form")
    part = re.split(r"IKEv2 IPSec Child SAs", text, flags=re.IGNORECASE)[0]
    found = []
    for line in part.splitlines():
        row = _ROW.match(line)
        if row and row["gateway"] == tunnel.names["gateway"] and row["peer"] == tunnel.endpoint:
            found.append(Sa(identity=f"{row['sn']} {row['made']}", age=None, up=row["state"] == "Established"))
    return found


def clear(tunnel: Tunnel, _sas: Sequence[Sa]) -> Sequence[str]:
    """One command clears all IKE SAs of the gateway."""
    return [tunnel.names["gateway"]]


def limits(tunnel: t.Mapping[str, t.Any], _settings: t.Mapping[str, t.Any]) -> Sequence[str]:
    """What a unit of `tunnel` takes."""
    return [] if 1 <= int(tunnel["number"]) <= 9999 else ["the number is not within 1 to 9999"]


PLATFORM = Platform(
    title="PAN-OS",
    collections=("paloaltonetworks.panos",),
    probe={"type": "httpapi", "name": "paloaltonetworks.panos.panos", "option": "api_key"},
    names={"gateway": "{object}", "tunnel": "{object}"},
    name_length=31,
    psk=PskRule(1, 255, r"[^\x20-\x7e]", "it takes printable ASCII characters only"),
    table={
        "ike_cipher": "aes256-cbc",
        "ike_prf": "sha256",
        "ike_lifetime": 28800,
        "esp_cipher": "aes256-cbc",
        "esp_lifetime": 28800,
    },
    words={
        "ike_cipher": {"aes256-cbc": "aes-256-cbc"},
        "ike_prf": {"sha256": "sha256", "sha384": "sha384", "sha512": "sha512"},
        "ike_group": {"20": "group20", "14": "group14", "5": "group5"},
        "esp_cipher": {
            "aes256-cbc": "aes-256-cbc",
            "aes128-cbc": "aes-128-cbc",
            "aes256-gcm": "aes-256-gcm",
            "aes128-gcm": "aes-128-gcm",
        },
        "esp_group": {"20": "group20", "14": "group14", "5": "group5"},
    },
    ready=ready,
    inspect=inspect,
    sas=sas,
    clear=clear,
    limits=limits,
    refusal=r"(?im)^\s*((?:error|server error).*|.*(?:not permitted|permission denied|unauthorized).*)$",
)
