# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""OPNsense: how the answers of its REST API are read, as ansible.builtin.uri hands them over.

Its table of sessions says of a connection whether it has an IKE SA, and how old its child SA is: nothing that tells one
IKE SA from the next. So a new one is proven by a look in between that shows none.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

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
    problem_of,
)

Row = Mapping[str, t.Any]
_PARTS = ("connection", "local", "remote", "child", "vti", "preSharedKey")
# A connection of the earlier user interface has another name, and its key is not among the pre-shared keys.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PREFIX = re.compile(r"^(?:fqdn:|email:|userfqdn:|keyid:|@+)")
_PSK = "pre-shared key"


def uuids(tunnel_id: str) -> dict[str, str]:
    """What the parts of a tunnel are called that the role makes: UUIDs of version 4, as the API demands."""
    x = tunnel_id.replace("-", "").lower()
    return {part: f"{x[:8]}-{x[8:12]}-4{n}{x[14:16]}-8{x[17:20]}-{x[20:]}" for n, part in enumerate(_PARTS)}


def derive(tunnel_id: str) -> dict[str, t.Any]:
    """What the template needs: the parts refer to each other by their UUIDs."""
    return {"uuids": uuids(tunnel_id)}


def _rows(answer: Answer, what: str) -> list[Row]:
    problem = problem_of(answer)
    if problem:
        raise Unreadable(f"{what} cannot be read: {problem}")
    rows = answer["json"]["rows"]
    if not isinstance(rows, list):
        raise Unreadable(f"{what} do not have the expected form")
    return rows


def _looks(answers: Sequence[Answer]) -> dict[str, Answer]:
    return {x["__customer_device_item"]["id"]: x for x in answers[0]["results"]}


def _sessions(answers: Sequence[Answer]) -> list[Row]:
    return _rows(_looks(answers)["sessions"], "its IPsec sessions")


def _virtual_addresses(answers: Sequence[Answer]) -> dict[str, str]:
    """The state of each address that a cluster shares; none in a comparison."""
    found = _looks(answers).get("addresses")
    if found is None:
        return {}
    rows = _rows(found, "whether this is the active member of a cluster (its virtual addresses)")
    return {str(x["subnet"]): str(x["status"]) for x in rows}


def ready(answers: Sequence[Answer], entry: str) -> str:
    """Whether it answers, is not the passive member, and a write is taken."""
    _rows(_looks(answers)["keys"], "its pre-shared keys")
    _sessions(answers)
    states = _virtual_addresses(answers)
    if states and "MASTER" not in states.values():
        return f"this is the passive member of its cluster: {_states(states)}"
    for written in answers[1]["results"] if len(answers) > 1 else []:
        if problem_of(written):
            return f"the configuration cannot be changed: {problem_of(written)}"
    return ""


def _states(states: Mapping[str, str]) -> str:
    return ", ".join(f"{address} is {state}" for address, state in states.items())


def inspect(answers: Sequence[Answer], tunnel: Tunnel, entry: str) -> Finding:
    """Whether connection and key are there and belong together; for the whole tunnel, whether nothing else is."""
    keys = [x for x in _rows(_looks(answers)["keys"], "its pre-shared keys") if _fits(x, tunnel)]
    connections = [x for x in _sessions(answers) if x.get("phase1desc") == tunnel.object]
    if entry == "main":
        return _whole(answers, tunnel, keys, connections)
    name = tunnel.object
    if len(connections) != 1:
        found = f"{len(connections)} connections" if connections else "no connection"
        return Finding(f"the device has {found} with the description {name} that IPsec has loaded (option object)")
    problem = _connection_problem(connections[0], tunnel)
    if problem:
        return Finding(f"the connection {name} {problem}")
    local = str(connections[0].get("local-addrs")).split(",")
    passive = {x: y for x, y in _virtual_addresses(answers).items() if x in local and y != "MASTER"}
    if passive:
        return Finding(f"this is the passive member of its cluster: {_states(passive)}")
    if len(keys) != 1:
        found = f"{len(keys)} pre-shared keys" if keys else "no pre-shared key"
        return Finding(f"the device has {found} for the identity {tunnel.ike_id} (ike_id: {tunnel.ike_id_type})")
    handles = {"connection": str(connections[0]["name"]), "preSharedKey": str(keys[0]["uuid"])}
    return Finding(key=_compared(keys[0], tunnel), handles=handles)


def _connection_problem(row: Row, tunnel: Tunnel) -> str:
    if not _UUID.fullmatch(str(row["name"])):
        return "is one of the legacy tunnel settings, whose key the API does not set"
    if tunnel.endpoint not in str(row["remote-addrs"]).split(","):
        return f"does not go to {tunnel.endpoint}"
    if row["version"] == "IKEv1":
        return "is not IKEv2"
    if row["local-class"] != _PSK or row["remote-class"] != _PSK:
        return "does not authenticate both ends with a pre-shared key"
    if _plain(row["local-id"]) != tunnel.ike_id:
        return f"does not present the identity {tunnel.ike_id} (ike_id: {tunnel.ike_id_type})"
    return ""


def _whole(answers: Sequence[Answer], tunnel: Tunnel, keys: Sequence[Row], connections: Sequence[Row]) -> Finding:
    own = uuids(tunnel.id)
    if any(x["name"] != own["connection"] for x in connections):
        return Finding(f"a connection {tunnel.object} exists that this role did not create; psk changes its key")
    if any(x["uuid"] != own["preSharedKey"] for x in keys):
        return Finding(f"a pre-shared key for {tunnel.ike_id} exists that this role did not create")
    for row in _rows(_looks(answers)["interfaces"], "its tunnel interfaces"):
        if str(row["reqid"]) == str(tunnel.number) and row["uuid"] != own["vti"]:
            return Finding(
                f"ipsec{tunnel.number} exists and does not belong to this tunnel; give the tunnel another number"
            )
    return Finding(handles=own)


def _plain(identity: t.Any) -> str:
    """An identity without the prefix that says its type."""
    return _PREFIX.sub("", str(identity or ""))


def _fits(row: Row, tunnel: Tunnel) -> bool:
    """Whether the daemon may take this key for the tunnel: the order of its two identities does not matter to it."""
    ids = {_plain(row["ident"]), _plain(row.get("remote_ident"))}
    return row["keyType"] != "EAP" and tunnel.ike_id in ids and ids <= {tunnel.ike_id, tunnel.endpoint, ""}


def _compared(row: Row, tunnel: Tunnel) -> str:
    key = row.get("Key")
    if not key:
        return NOT_SHOWN
    if key == tunnel.psk:
        return MATCH
    # Earlier releases write these as HTML does.
    return NOT_SHOWN if re.search("[&<>]", tunnel.psk) else MISMATCH


def sas(answer: Answer, tunnel: Tunnel) -> Sequence[Sa]:
    """The connection's IKE SA. The age is that of its child SA, which no IKE SA has before it has authenticated.

    Raises:
        Unreadable: the connection is not listed, as when the daemon did not answer.
    """
    rows = [x for x in _rows(answer, "its IPsec sessions") if x.get("phase1desc") == tunnel.object]
    if len(rows) != 1:
        raise Unreadable(f"the connection {tunnel.object} is not listed once")
    if not isinstance(rows[0]["connected"], bool):
        raise Unreadable("it does not say whether the connection has an SA")
    if not rows[0]["connected"]:
        return []
    age = rows[0]["install-time"]
    age = int(age) if age is not None else None
    return [Sa(identity="", age=age, up=age is not None, handle=str(rows[0]["name"]))]


def limits(tunnel: Mapping[str, t.Any], _settings: Mapping[str, t.Any]) -> Sequence[str]:
    """What its API has no setting for."""
    if tunnel["anti_replay"]:
        return []
    return [
        "its API cannot turn anti-replay off (by hand: replay_window = 0 of charon in "
        "/usr/local/etc/strongswan.opnsense.d, and customer_device_anti_replay: on, which leaves it alone); "
        "turn on the replay_protection"
    ]


PLATFORM = Platform(
    title="OPNsense",
    name_length=255,
    # It is the connection's description.
    name_pattern=r'[^"\\\x00-\x1f]+',
    needs_wan_interface=False,
    psk=PskRule(1, 255, r"[^\x20-\x7e]|^ | $", "it takes printable ASCII characters, without blanks around them"),
    table={
        "ike_cipher": "aes256-cbc",
        "ike_prf": "sha256",
        "ike_lifetime": 86400,
        "esp_cipher": "aes256-cbc",
        "esp_lifetime": 28800,
    },
    words={
        "ike_cipher": {"aes256-cbc": "aes256", "aes256-gcm": "aes256gcm16", "aes128-gcm": "aes128gcm16"},
        "ike_prf": {"sha256": "sha256", "sha384": "sha384", "sha512": "sha512"},
        "ike_group": {"20": "ecp384", "14": "modp2048"},
        "esp_cipher": {
            "aes256-cbc": "aes256-sha256",
            "aes128-cbc": "aes128-sha256",
            "aes256-gcm": "aes256gcm16",
            "aes128-gcm": "aes128gcm16",
        },
        "esp_group": {"20": "ecp384", "14": "modp2048"},
    },
    ready=ready,
    inspect=inspect,
    sas=sas,
    needs_gap=True,
    derive=derive,
    limits=limits,
)
