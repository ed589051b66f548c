# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Cisco IOS XE: how its running configuration and its table of IKEv2 SAs are read."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import (
    MATCH,
    MISMATCH,
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
    text_of,
)

_SA = re.compile(r"^\s*(\d+)\s+(?:(\S+)/\d+\s+(\S+)/\d+\s+)?\S+/\S+\s+([A-Z][A-Z-]*)\s*$")
# A release without one of these commands has no lock that could be seen.
_LOCKED = re.compile(r"^\s*State\s*:\s*LOCKED", re.MULTILINE)


def sections(text: str) -> dict[str, dict[str, t.Any]]:
    """A configuration as nested mappings of its lines, by their indentation."""
    top: dict[str, dict[str, t.Any]] = {}
    stack: list[tuple[int, dict[str, t.Any]]] = [(-1, top)]
    for line in text.splitlines():
        if not line.strip() or line.strip() == "!":
            continue
        depth = len(line) - len(line.lstrip())
        while stack[-1][0] >= depth:
            stack.pop()
        inner: dict[str, t.Any] = stack[-1][1].setdefault(line.strip(), {})
        stack.append((depth, inner))
    return top


def ready(answers: Sequence[Answer], entry: str) -> str:
    """Whether the user may configure, and nobody holds the configuration."""
    privilege = outputs_of(answers[0], 3)[0]
    level = re.search(r"privilege level is (\d+)", privilege)
    if not level:
        raise Unreadable("it does not show the user's privilege level")
    if int(level[1]) < 15 and entry != "compare":
        return f"the user has privilege level {level[1]}, and configuring takes 15"
    if entry != "compare" and not problem_of(answers[1]) and _LOCKED.search(text_of(answers[1])):
        holder = re.search(r"^\s*User\s*:\s*(\S+)", text_of(answers[1]), re.MULTILINE)
        return f"the configuration is locked by {holder[1] if holder else 'another user'}"
    return ""


def inspect(answers: Sequence[Answer], tunnel: Tunnel, entry: str) -> Finding:
    """Whether the keyring's peer and the profile that uses it are there."""
    _privilege, ikev2, interfaces = outputs_of(answers[0], 3)
    config = sections(ikev2)
    if entry == "main":
        return Finding(_stranger(sections(interfaces), tunnel))
    names = tunnel.names
    keyring = config.get(f"crypto ikev2 keyring {names['keyring']}")
    if keyring is None:
        return Finding(f"the device has no keyring {names['keyring']}")
    peer = keyring.get(f"peer {names['peer']}")
    if peer is None:
        return Finding(f"the keyring {names['keyring']} has no peer {names['peer']}")
    if not any(x.split()[:2] == ["address", tunnel.endpoint] for x in peer):
        return Finding(f"the peer {names['peer']} of the keyring {names['keyring']} is not {tunnel.endpoint}")
    users = [x for x in _profiles(config) if f"keyring local {names['keyring']}" in x]
    if not users:
        return Finding(f"no IKEv2 profile uses the keyring {names['keyring']}")
    if not any(line.startswith("identity local ") and line.split()[-1] == tunnel.ike_id for x in users for line in x):
        return Finding(
            f"no IKEv2 profile with the keyring {names['keyring']} presents the identity {tunnel.ike_id} "
            f"(ike_id: {tunnel.ike_id_type})"
        )
    keys = [line.split() for line in peer if line.startswith("pre-shared-key")]
    if any(x[1] in ("local", "remote") for x in keys):
        return Finding(f"the peer {names['peer']} has one key for each direction; the tunnel has one key for both")
    if len(keys) == 1 and len(keys[0]) == 2:
        return Finding(key=MATCH if keys[0][1] == tunnel.psk else MISMATCH)
    if len(keys) == 1 and len(keys[0]) == 3 and keys[0][1] == "0":
        return Finding(key=MATCH if keys[0][2] == tunnel.psk else MISMATCH)
    return Finding(key=NOT_SHOWN)


def _profiles(config: Mapping[str, Mapping[str, t.Any]]) -> Iterator[Mapping[str, t.Any]]:
    return (inner for line, inner in config.items() if line.startswith("crypto ikev2 profile "))


def _stranger(interfaces: Mapping[str, Mapping[str, t.Any]], tunnel: Tunnel) -> str:
    """What else has the tunnel's interface number: the whole tunnel would overwrite it."""
    there = interfaces.get(f"interface Tunnel{tunnel.number}")
    if there and f"tunnel protection ipsec profile {tunnel.object}" not in there:
        return (
            f"the interface Tunnel{tunnel.number} exists and does not belong to this tunnel; give the tunnel another"
            " number by customer_device_tunnel_options"
        )
    return ""


def sas(answer: Answer, tunnel: Tunnel) -> Sequence[Sa]:
    """The tunnel's IKEv2 SAs: its own identity, to its endpoint."""
    text = outputs_of(answer, 1)[0]
    if text.strip() and not re.search(r"Crypto IKEv2\s+SA|There are no .*IKEv2", text):
        raise Unreadable("its table of IKEv2 SAs does not have the expected form")
    blocks: list[dict[str, str]] = []
    for line in text.splitlines():
        if head := _SA.match(line):
            blocks.append({"id": head[1], "local": head[2] or "", "remote": head[3] or "", "state": head[4]})
        elif blocks:
            blocks[-1] |= _facts(line)
    remotes = [x["remote"] for x in blocks]
    return [_sa(x, remotes) for x in blocks if x["remote"] == tunnel.endpoint and x.get("Local id") == tunnel.ike_id]


def _facts(line: str) -> dict[str, str]:
    found = {}
    if match := re.match(r"\s*(Local|Remote)\s+(\S+)/\d+\s*$", line):  # IPv6 has these on lines of their own
        found[match[1].lower()] = match[2]
    if match := re.match(r"\s*Local id:\s*(\S+)\s*$", line):
        found["Local id"] = match[1]
    if match := re.search(r"Life/Active Time:\s*\d+/(\d+) sec", line):
        found["age"] = match[1]
    if match := re.search(r"Local spi:\s*([0-9A-Fa-f]+)\s+Remote spi:\s*([0-9A-Fa-f]+)", line):
        found["spis"] = f"{match[1]}-{match[2]}"
    return found


def _sa(block: Mapping[str, str], remotes: Sequence[str]) -> Sa:
    # `remote` takes down all SAs to an address. ASSUMPTION IOS-PSH: `psh` takes the SA's Tunnel-id.
    alone = remotes.count(block["remote"]) == 1
    return Sa(
        identity=block.get("spis", ""),
        age=int(block["age"]) if "age" in block else None,
        up=block["state"] == "READY",
        handle=f"remote {block['remote']}" if alone else f"psh {block['id']}",
    )


def limits(_tunnel: Mapping[str, t.Any], settings: Mapping[str, t.Any]) -> Sequence[str]:
    """What `dpd` takes."""
    found = []
    if not 10 <= int(settings["dpd_interval"]) <= 3600:
        found.append("the DPD interval is not within 10 to 3600 seconds (customer_device_dpd_interval)")
    if not 2 <= int(settings["dpd_retries"]) <= 60:
        found.append("the DPD retry interval is not within 2 to 60 seconds (customer_device_dpd_retries)")
    return found


PLATFORM = Platform(
    title="Cisco IOS XE",
    collections=("cisco.ios", "ansible.netcommon"),
    probe={"type": "cliconf", "name": "cisco.ios.ios", "option": "config_commands"},
    names={"keyring": "{object}", "peer": "{object}"},
    psk=PskRule(
        1,
        127,
        r'[\s?"\x00-\x1f]|^[06]$',
        "the command line takes no spaces or quotes in it, and a question mark calls for help",
    ),
    table={
        "ike_cipher": "aes256-cbc",
        "ike_prf": "sha256",
        "ike_lifetime": 86400,
        "esp_cipher": "aes256-gcm",
        "esp_lifetime": 3600,
    },
    words={
        "ike_cipher": {"aes256-cbc": "aes-cbc-256", "aes256-gcm": "aes-gcm-256", "aes128-gcm": "aes-gcm-128"},
        "ike_prf": {"sha256": "sha256", "sha384": "sha384", "sha512": "sha512"},
        "ike_group": {"20": "20", "14": "14", "5": "5"},
        "esp_cipher": {
            "aes256-gcm": "esp-gcm 256",
            "aes128-gcm": "esp-gcm",
            "aes256-cbc": "esp-aes 256 esp-sha256-hmac",
            "aes128-cbc": "esp-aes esp-sha256-hmac",
        },
        "esp_group": {"20": "group20", "14": "group14", "5": "group5"},
    },
    ready=ready,
    inspect=inspect,
    sas=sas,
    clear=by_handle,
    limits=limits,
)
