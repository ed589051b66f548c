# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Junos: how its set commands and its detailed table of IKE SAs are read."""

from __future__ import annotations

import re
import shlex
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
    by_handle,
    outputs_of,
    problem_of,
)

_PERMISSIONS = ("all", "super-user")
_NEEDED = ("configure", "clear")


def settings(text: str) -> dict[str, dict[str, list[str]]]:
    """What is set under `security`: by `ike gateway NAME` and the like, each setting's values."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        words = _words(line)
        if words[:2] == ["set", "security"] and len(words) >= 7 and words[2] in ("ike", "ipsec"):
            found.setdefault(" ".join(words[2:5]), {}).setdefault(words[5], []).append(" ".join(words[6:]))
    return found


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def ready(answers: Sequence[Answer], entry: str) -> str:
    """Whether the user may configure and clear, IKE runs here, and the configuration can be locked."""
    authorization, _config, table = outputs_of(answers[0], 3)
    if entry == "compare":
        return ""
    permissions = set(re.findall(r"^\s+([a-z-]+)\s+-- ", authorization, re.MULTILINE))
    if not permissions:
        raise Unreadable("it does not show the user's permissions")
    missing = [x for x in _NEEDED if x not in permissions]
    if missing and not permissions & set(_PERMISSIONS):
        return f"the user lacks the permission {' and '.join(missing)}"
    if "not running" in table:
        return "IKE is not running, this may be the passive member of a cluster"
    locked = problem_of(answers[1])
    if locked:
        return f"the configuration cannot be changed now: {locked}"
    return ""


def inspect(answers: Sequence[Answer], tunnel: Tunnel, entry: str) -> Finding:
    """Whether gateway and policy are there, belong together, and the policy's key is this tunnel's alone."""
    config = outputs_of(answers[0], 3)[1]
    found = settings(config)
    if entry == "main":
        return Finding(_stranger(found, tunnel))
    names = tunnel.names
    gateway = found.get(f"ike gateway {names['gateway']}")
    if gateway is None:
        return Finding(f"the device has no IKE gateway {names['gateway']}")
    if tunnel.endpoint not in gateway.get("address", ()):
        return Finding(f"the IKE gateway {names['gateway']} does not go to {tunnel.endpoint}")
    if not any(x.split()[-1:] == [tunnel.ike_id] for x in gateway.get("local-identity", ())):
        return Finding(
            f"the IKE gateway {names['gateway']} does not present the identity {tunnel.ike_id} "
            f"(ike_id: {tunnel.ike_id_type})"
        )
    policy = f"ike policy {names['policy']}"
    if gateway.get("ike-policy") != [names["policy"]]:
        used = ", ".join(gateway.get("ike-policy", ())) or "none"
        return Finding(f"the IKE gateway {names['gateway']} has the policy {used}, not {names['policy']}")
    if "pre-shared-key" not in found.get(policy, {}):
        return Finding(f"the IKE policy {names['policy']} has no pre-shared key")
    users = [x.split()[2] for x, y in found.items() if y.get("ike-policy") == [names["policy"]]]
    if len(users) > 1:
        return Finding(f"the IKE policy {names['policy']} is that of several gateways: {', '.join(users)}")
    return Finding(key=NOT_SHOWN)


def _stranger(found: Mapping[str, Mapping[str, Sequence[str]]], tunnel: Tunnel) -> str:
    """What else has the tunnel's interface number."""
    unit = f"st0.{tunnel.number}"
    others = [
        x.split()[2]
        for x, y in found.items()
        if x.startswith("ipsec vpn ")
        and unit in y.get("bind-interface", ())
        and x != f"ipsec vpn {tunnel.names['vpn']}"
    ]
    if others:
        return (
            f"{unit} belongs to the VPN {others[0]}; give the tunnel another number by customer_device_tunnel_options"
        )
    return ""


def sas(answer: Answer, tunnel: Tunnel) -> Sequence[Sa]:
    """The IKE SAs of the tunnel's gateway, of all nodes of a cluster."""
    text = outputs_of(answer, 1)[0]
    if "not running" in text or re.search(r"^error:", text, re.MULTILINE):
        raise Unreadable("the device does not show its IKE SAs")
    blocks = re.split(r"^\s*(?=IKE peer )", text, flags=re.MULTILINE)
    if len(blocks) == 1 and re.search(r"[A-Za-z]", re.sub(r"node\d+:", "", text)):
        raise Unreadable("its table of IKE SAs does not have the expected form")
    return [found for block in blocks[1:] if (found := _sa(block, tunnel))]


def _sa(block: str, tunnel: Tunnel) -> Sa | None:
    head = re.match(r"IKE peer (\S+), Index (\d+), Gateway Name: (\S+)", block)
    if not head or head[3] != tunnel.names["gateway"] or head[1] != tunnel.endpoint:
        return None
    state = re.search(r"State: (\S+)", block)
    cookies = re.search(r"Initiator cookie: (\w+), Responder cookie: (\w+)", block)
    up = bool(state and state[1].rstrip(",") == "UP")
    return Sa(identity=f"{cookies[1]}-{cookies[2]}" if cookies else "", age=None, up=up, handle=f"index {head[2]}")


def limits(tunnel: Mapping[str, t.Any], _settings: Mapping[str, t.Any]) -> Sequence[str]:
    """What an st0 unit takes."""
    return ["the number is not within 0 to 16385"] if int(tunnel["number"]) > 16385 else []


PLATFORM = Platform(
    title="Junos",
    collections=("junipernetworks.junos", "ansible.netcommon"),
    logger="ncclient",
    # The name under which the same modules go on; it is taken where it is installed.
    successor="juniper.device",
    probe={"type": "cliconf", "name": "junipernetworks.junos.junos", "option": "config_commands"},
    names={"gateway": "{object}", "policy": "{object}", "vpn": "{object}"},
    name_length=31,
    psk=PskRule(
        1,
        255,
        r'["\\\x00-\x1f]|^\$[0-9]',
        "it stands in quotes, and a leading $9$ means that it is obfuscated already",
    ),
    table={
        "ike_cipher": "aes256-cbc",
        "ike_prf": "sha256",
        "ike_lifetime": 28800,
        "esp_cipher": "aes256-cbc",
        "esp_lifetime": 28800,
    },
    words={
        "ike_cipher": {"aes256-cbc": "aes-256-cbc"},
        "ike_prf": {"sha256": "sha-256", "sha384": "sha-384", "sha512": "sha-512"},
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
    clear=by_handle,
    limits=limits,
    # A command that prints nothing: the module takes that for a failure, and quotes the whole reply.
    done=r"<rpc-reply(?!.*rpc-error)",
)
