# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""VyOS: how its configuration commands and its table of IKE SAs are read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

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
    by_object,
    outputs_of,
    problem_of,
)

_STATE = re.compile(r"^\s*(up|down)\s+IKEv\d.*?\s(\d+|n/a)\s+(\d+|n/a)\s*$", re.MULTILINE)


def statements(text: str) -> list[list[str]]:
    """The words of each `set` command."""
    found = []
    for line in text.splitlines():
        if line.strip().startswith("set "):
            try:
                found.append(shlex.split(line)[1:])
            except ValueError:
                found.append(line.split()[1:])
    return found


def _values(config: Sequence[Sequence[str]], *path: str) -> list[str]:
    """The values of a leaf."""
    length = len(path)
    return [x[length] for x in config if tuple(x[:length]) == path and len(x) > length]


def _tags(config: Sequence[Sequence[str]], *path: str) -> set[str]:
    """The names under a node."""
    return set(_values(config, *path))


def ready(answers: Sequence[Answer], entry: str) -> str:
    """Whether the user may enter the configuration mode; the change that was tried there has been discarded."""
    if entry == "compare":
        return ""
    problem = problem_of(answers[1])
    return f"the configuration cannot be changed now: {problem}" if problem else ""


def inspect(answers: Sequence[Answer], tunnel: Tunnel, entry: str) -> Finding:
    """Whether peer and secret are there, and no other secret has the same identity."""
    config = statements(outputs_of(answers[0], 1)[0])
    if not config:
        raise Unreadable("the device does not show its configuration")
    base = ("vpn", "ipsec", "site-to-site", "peer")
    peer, secret = tunnel.object, tunnel.names["secret"]
    if entry == "main":
        vti = f"vti{tunnel.number}"
        users = [x for x in _tags(config, *base) if vti in _values(config, *base, x, "vti", "bind") and x != peer]
        if users:
            return Finding(f"{vti} belongs to the peer {users[0]}; give the tunnel another number")
        return Finding(_second_secret(config, tunnel))
    if peer not in _tags(config, *base):
        return Finding(f"the device has no peer {peer}")
    if tunnel.endpoint not in _values(config, *base, peer, "remote-address"):
        return Finding(f"the peer {peer} does not go to {tunnel.endpoint}")
    presented = [x.removeprefix("keyid:") for x in _values(config, *base, peer, "authentication", "local-id")]
    if presented != [tunnel.ike_id]:
        return Finding(f"the peer {peer} does not present the identity {tunnel.ike_id} (ike_id: {tunnel.ike_id_type})")
    psk = ("vpn", "ipsec", "authentication", "psk")
    if secret not in _tags(config, *psk):
        return Finding(f"the device has no secret {secret} (option secret)")
    ids = [x.removeprefix("keyid:") for x in _values(config, *psk, secret, "id")]
    if tunnel.ike_id not in ids:
        return Finding(f"the secret {secret} is not that of the identity {tunnel.ike_id}")
    problem = _second_secret(config, tunnel)
    if problem:
        return Finding(problem)
    keys = _values(config, *psk, secret, "secret")
    if len(keys) != 1 or set(keys[0]) == {"*"} or _values(config, *psk, secret, "secret-type") == ["base64"]:
        return Finding(key=NOT_SHOWN)
    return Finding(key=MATCH if keys[0] == tunnel.psk else MISMATCH)


def _second_secret(config: Sequence[Sequence[str]], tunnel: Tunnel) -> str:
    """strongSwan, underneath, takes the secret that it loaded last: which one that is can't be seen."""
    psk = ("vpn", "ipsec", "authentication", "psk")
    secret = tunnel.names["secret"]
    for other in sorted(_tags(config, *psk) - {secret}):
        if tunnel.ike_id in [x.removeprefix("keyid:") for x in _values(config, *psk, other, "id")]:
            return f"the secret {other} has the same identity, and may take precedence (option secret)"
    return ""


def sas(answer: Answer, tunnel: Tunnel) -> Sequence[Sa]:
    """The IKE SAs with the tunnel's identity and endpoint."""
    text = outputs_of(answer, 1)[0]
    blocks = re.split(r"^\s*Peer ID / IP.*$", text, flags=re.MULTILINE)
    if len(blocks) == 1 and text.strip():
        raise Unreadable("its table of IKE SAs does not have the expected form")
    found = []
    for block in blocks[1:]:
        row = next((x for x in block.splitlines() if x.strip() and not set(x.strip()) <= set("- ")), "")
        words = [x.removeprefix("keyid:") for x in row.split()]
        if tunnel.ike_id in words and tunnel.endpoint in words:
            found += [
                Sa(identity="", age=int(age) if age.isdigit() else None, up=state == "up")
                for state, age, _left in _STATE.findall(block)
            ]
    return found


PLATFORM = Platform(
    title="VyOS",
    collections=("vyos.vyos", "ansible.netcommon"),
    probe={"type": "cliconf", "name": "vyos.vyos.vyos", "option": "config_commands"},
    names={"secret": "{object}"},
    name_pattern=r"[-_a-zA-Z0-9|@]+",
    needs_wan_interface=False,
    psk=PskRule(
        1,
        255,
        r"^0[xs]|['\"\\\x00-\x1f]",
        "it stands in quotes, and a leading 0x or 0s means an encoding",
    ),
    table={
        "ike_cipher": "aes256-gcm",
        "ike_prf": "sha512",
        "ike_lifetime": 28800,
        "esp_cipher": "aes256-gcm",
        "esp_lifetime": 28800,
    },
    words={
        "ike_cipher": {"aes256-cbc": "aes256", "aes256-gcm": "aes256gcm128", "aes128-gcm": "aes128gcm128"},
        "ike_prf": {"sha256": "sha256", "sha384": "sha384", "sha512": "sha512"},
        "ike_group": {"20": "20", "14": "14", "5": "5"},
        "esp_cipher": {
            "aes256-cbc": "aes256",
            "aes128-cbc": "aes128",
            "aes256-gcm": "aes256gcm128",
            "aes128-gcm": "aes128gcm128",
        },
        "esp_group": {"20": "dh-group20", "14": "dh-group14", "5": "dh-group5"},
    },
    ready=ready,
    inspect=inspect,
    sas=sas,
    clear=by_object,
    # Resetting a peer also initiates it.
    clears_always=True,
    refusal=r"(?im)^\s*((error|invalid command|command not found).*|.*(not found|not permitted|aborting|failed).*)$",
)
