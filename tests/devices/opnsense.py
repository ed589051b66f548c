# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OPNsense by its REST API: what is saved, what IPsec has loaded, and its sessions.

Paths, fields and answers are written from the public sources of opnsense/core, IPsec and its models.
"""

from __future__ import annotations

import base64
import copy
import ipaddress
import json
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from .device import Device, Wanted
from .model import Refused, Sa
from .web import Reply, Request, WebServer

KEY, SECRET = "api-key-of-the-tests", "api-secret-of-the-tests"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
SWITCH, TIME = "[01]", r"|\d{1,6}"
IDENTITY = r"[0-9a-zA-Z.\-,_:=@%*\s]{0,1024}"
GROUPS = r"(?:modp(?:2048|3072|4096|6144|8192)|ecp(?:224|256|384|521)(?:bp)?|x25519|x448)"
HASHES = r"sha(?:256|384|512)"
TEXT = r".{0,255}"


def _address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


# By the name under which the API takes a part: its path, and its fields. Those with "!" must not be empty.
PARTS: dict[str, tuple[str, dict[str, str]]] = {
    "preSharedKey": (
        "pre_shared_keys/{}_item",
        {
            "ident": r"![a-zA-Z0-9@.:\-_]*.*",
            "remote_ident": ".*",
            "keyType": "!PSK|EAP",
            "Key": ".*",
            "description": TEXT,
        },
    ),
    "connection": (
        "connections/{}_connection",
        {
            "enabled": f"!{SWITCH}",
            "proposals": rf"!default|aes(?:128|192|256)(?:gcm16)?-{HASHES}-{GROUPS}",
            "unique": "!no|never|keep|replace",
            "aggressive": f"!{SWITCH}",
            "version": "![012]",
            "mobike": f"!{SWITCH}",
            "local_addrs": "address",
            "local_port": "|4500",
            "remote_addrs": "address",
            "remote_port": "|4500",
            "encap": f"!{SWITCH}",
            "reauth_time": TIME,
            "rekey_time": TIME,
            "over_time": TIME,
            "dpd_delay": TIME,
            "dpd_timeout": TIME,
            "send_certreq": f"!{SWITCH}",
            "send_cert": "|ifasked|never|always",
            "keyingtries": r"|\d{1,4}",
            "description": f"!{TEXT}",
        },
    ),
    **{
        part: (
            f"connections/{{}}_{part}",
            {
                "enabled": f"!{SWITCH}",
                "connection": "!connection",
                "round": r"!\d|10",
                "auth": "!psk|pubkey|eap-tls|eap-mschapv2|xauth-pam|eap-radius",
                "id": IDENTITY,
                "description": TEXT,
            },
        )
        for part in ("local", "remote")
    },
    "child": (
        "connections/{}_child",
        {
            "enabled": f"!{SWITCH}",
            "connection": "!connection",
            "reqid": r"|\d{1,5}",
            "esp_proposals": rf"!default|aes(?:128|192|256)-{HASHES}-{GROUPS}|aes(?:128|192|256)gcm16(?:-{GROUPS})?",
            "sha256_96": f"!{SWITCH}",
            "start_action": r"!none|trap\|start|route|start|trap",
            "close_action": "!none|trap|start",
            "dpd_action": "!clear|trap|start",
            "mode": "!tunnel|transport|pass|drop",
            "policies": f"!{SWITCH}",
            "local_ts": r"[0-9a-f.:/,]*",
            "remote_ts": r"[0-9a-f.:/,]*",
            "rekey_time": r"!\d{1,6}",
            "description": TEXT,
        },
    ),
    "vti": (
        "vti/{}",
        {
            "enabled": f"!{SWITCH}",
            "reqid": r"!\d{1,5}",
            "local": "address",
            "remote": "address",
            "tunnel_local": "!address",
            "tunnel_remote": "!address",
            "tunnel_local2": "address",
            "tunnel_remote2": "address",
            "skip_fw": f"|{SWITCH}",
            "description": TEXT,
        },
    ),
}
DEFAULTS = {
    "enabled": "1", "proposals": "default", "unique": "no", "aggressive": "0", "version": "0", "mobike": "1",
    "encap": "0", "send_certreq": "1", "round": "0", "auth": "psk", "esp_proposals": "default", "sha256_96": "0",
    "start_action": "start", "close_action": "none", "dpd_action": "clear", "mode": "tunnel", "policies": "1",
    "rekey_time": "3600", "keyType": "PSK",
}  # fmt: skip
Rows = dict[str, dict[str, str]]


@dataclass
class OpnSense(Device):
    """The firewall. A part is by its UUID; `loaded` is what IPsec works with since it was reconfigured."""

    saved: dict[str, Rows] = field(default_factory=lambda: {part: {} for part in PARTS})
    loaded: dict[str, Rows] = field(default_factory=lambda: {part: {} for part in PARTS})
    enabled: bool = True
    looks: int = 0

    def start(self) -> None:
        # A connection that was terminated waits until it is told to connect.
        self.ike.begins_anew = False
        self._installed: dict[tuple[str, str], float] = {}
        self._server = WebServer(self._serve)
        self.port = self._server.port

    def stop(self) -> None:
        self._server.stop()

    def variables(self) -> dict[str, object]:
        return {
            "customer_device_platform": "opnsense",
            "customer_device_opnsense_provider": {
                "url": f"http://127.0.0.1:{self.port}/",
                "key": KEY,
                "secret": SECRET,
            },
            "customer_device_anti_replay": "on",  # the API can't turn it off, and `main` would be refused
        }

    def names(self, gateway: str) -> dict[str, str]:
        return {"object": gateway}

    def configure(self, tunnel: Wanted) -> None:
        connection = str(uuid.uuid4())
        parts: dict[str, dict[str, str]] = {
            "connection": {"description": tunnel.gateway, "version": "2", "remote_addrs": tunnel.endpoint},
            "local": {"connection": connection, "id": tunnel.local_id},
            "remote": {"connection": connection, "id": tunnel.endpoint},
            "child": {"connection": connection, "description": "to Cloudflare", "start_action": "start"},
            "preSharedKey": {"ident": tunnel.local_id, "remote_ident": tunnel.endpoint, "Key": tunnel.key},
        }
        for part, given in parts.items():
            made = connection if part == "connection" else str(uuid.uuid4())
            self.saved[part][made] = {**_empty(part), **given}
        self.loaded = copy.deepcopy(self.saved)

    def key_of(self, tunnel: Wanted) -> str | None:
        found = [x["Key"] for x in self.loaded["preSharedKey"].values() if x["ident"] == tunnel.local_id]
        return found[0] if found else None

    def running(self) -> str:
        return json.dumps([self.saved, self.loaded, self.enabled], sort_keys=True)

    def _serve(self, request: Request) -> Reply:
        self.received.append(f"{request.method} {request.path}")
        wanted = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {wanted}":
            return _reply(401, {"status": 401, "message": "Authentication Failed"})
        path = request.path.removeprefix("/api/")
        if path == "diagnostics/interface/get_vip_status":
            state = "BACKUP" if self.state.passive else "MASTER"
            return _rows([{"vhid": "1", "subnet": "192.0.2.10", "mode": "carp", "status": state, "interface": "WAN"}])
        if not path.startswith("ipsec/"):
            return self._unknown(request)
        return self._ipsec(request, path.removeprefix("ipsec/"))

    def _unknown(self, request: Request) -> Reply:
        self.refused.append(request.path)
        return _reply(404, {"errorMessage": "Endpoint not found"})

    def _ipsec(self, request: Request, path: str) -> Reply:
        if path == "sessions/search_phase1":
            return self._sessions()
        for part, (form, _fields) in PARTS.items():
            if path == form.format("search"):
                return _rows([{"uuid": name, **row} for name, row in self.saved[part].items()])
            action, _slash, name = path.rpartition("/")
            if action == form.format("get"):
                row = self.saved[part].get(name)
                return _reply(200, {part: row} if row else [])
            if action == form.format("set"):
                return self._set(request, part, name)
        if request.method != "POST":
            return _reply(200, {"status": "failed"})
        if path == "connections/toggle/1":
            return self._denied() or self._toggle()
        if path == "service/reconfigure":
            return self._reconfigure()
        action, _slash, name = path.rpartition("/")
        if action in ("sessions/connect", "sessions/disconnect"):
            return self._session(action, name)
        return self._unknown(request)

    def _denied(self) -> Reply | None:
        if not self.state.read_only:
            return None
        words = "User ansible denied for write access (user-config-readonly set)"
        return _reply(500, {"errorMessage": words, "errorTitle": "General access", "errorLevel": "error"})

    def _toggle(self) -> Reply:
        self.enabled = True
        return _reply(200, {"status": "ok"})

    def _set(self, request: Request, part: str, name: str) -> Reply:
        """Fields that the model does not know are left aside, as the API does; the test learns of them."""
        given = json.loads(request.body or b"{}").get(part)
        if request.method != "POST" or given is None or not re.fullmatch(UUID, name):
            return _reply(200, {"result": "failed"})
        fields = PARTS[part][1]
        self.refused += [f"{part}.{x} is unknown" for x in given if x not in fields]
        row = self.saved[part].get(name, _empty(part))
        row = {**row, **{x: str(y) for x, y in given.items() if x in fields}}
        problems = self._problems(part, name, row)
        if problems:
            self.refused += problems
            return _reply(200, {"result": "failed", "validations": problems})
        denied = self._denied()
        if denied is None:
            self.saved[part][name] = row
        return denied or _reply(200, {"result": "saved"})

    def _problems(self, part: str, name: str, row: dict[str, str]) -> dict[str, str]:
        found = {}
        for key, value in row.items():
            rule = PARTS[part][1][key]
            if rule.startswith("!") and not value:
                found[f"{part}.{key}"] = "A value is required."
            elif value and not self._valid(rule.removeprefix("!"), value):
                found[f"{part}.{key}"] = "Option not in list."
        unique = {"vti": ("reqid",), "preSharedKey": ("ident", "remote_ident")}.get(part, ())
        others = [x for y, x in self.saved[part].items() if y != name]
        if unique and any(all(x[z] == row[z] for z in unique) for x in others):
            found[f"{part}.{unique[0]}"] = "Another entry with the same identifier already exists."
        if part == "vti" and bool(row["local"]) != bool(row["remote"]):
            found["vti.local"] = "A local and remote address should be provided or both should be left empty"
        return found

    def _valid(self, rule: str, value: str) -> bool:
        if rule == "address":
            return _address(value)
        if rule == "connection":
            return value in self.saved["connection"]
        return re.fullmatch(rule, value) is not None

    def _reconfigure(self) -> Reply:
        known = set(self.loaded["connection"])
        self.loaded = copy.deepcopy(self.saved) if self.enabled else {part: {} for part in PARTS}
        for name in set(self.loaded["connection"]) - known:
            self._initiate(name)
        return _reply(200, {"status": "ok"})

    def _children(self, connection: str) -> list[dict[str, str]]:
        return [x for x in self.loaded["child"].values() if x["connection"] == connection and x["enabled"] == "1"]

    def _initiate(self, connection: str) -> None:
        gateway = self.loaded["connection"][connection]["description"]
        if self._children(connection) and gateway in self.ike.gateways:
            self.ike.initiate(gateway)

    def _session(self, action: str, name: str) -> Reply:
        """It always says that it has done so: what the daemon's command ends with is not looked at."""
        if name in self.loaded["connection"]:
            gateway = self.loaded["connection"][name]["description"]
            if action == "sessions/connect":
                if any(x.up for x in self.ike.of(gateway)):
                    self.refused.append(f"{gateway} was connected and has got a second child SA")
                self._initiate(name)
            elif self.ike.of(gateway):
                try:
                    self.ike.clear(gateway)
                except Refused:
                    return _reply(200, {"result": "ok"})
        return _reply(200, {"result": "ok"})

    def _sessions(self) -> Reply:
        """What the daemon has loaded, each with whether it has an IKE SA, and the age of its oldest child SA."""
        if any("reconfigure" in x for x in self.received):
            self.looks += 1
        if self.state.before_unreadable and self.looks == 1:
            return _reply(500, {"errorMessage": "Unexpected error, check log for details"})
        sas = self.ike.all()
        rows = []
        for name, row in self.loaded["connection"].items():
            own = [x for x in sas if x.gateway == row["description"]]
            ages = [self._child_age(x) for x in own if x.up]
            ends = {part: self._end(part, name) for part in ("local", "remote")}
            rows.append(
                {
                    "local-addrs": row["local_addrs"] or "%any",
                    "remote-addrs": row["remote_addrs"],
                    "local-id": ends["local"].get("id", ""),
                    "remote-id": ends["remote"].get("id", ""),
                    "version": {"0": "IKEv1/2", "1": "IKEv1", "2": "IKEv2"}[row["version"]],
                    "routed": True,
                    "local-class": "pre-shared key" if ends["local"].get("auth") == "psk" else "any",
                    "remote-class": "pre-shared key" if ends["remote"].get("auth") == "psk" else "any",
                    "ikeid": name,
                    "phase1desc": row["description"],
                    "name": name,
                    "connected": bool(own),
                    "install-time": str(max(ages)) if ages else None,
                    "bytes-in": 0,
                    "bytes-out": 0,
                    "packets-in": 0,
                    "packets-out": 0,
                }
            )
        return _rows(rows)

    def _end(self, part: str, connection: str) -> dict[str, str]:
        return next((x for x in self.loaded[part].values() if x["connection"] == connection), {})

    def _child_age(self, sa: Sa) -> int:
        since = self._installed.setdefault(sa.child_spis, sa.established if sa.child_number == 1 else time.time())
        return int(time.time() - since)


def _empty(part: str) -> dict[str, str]:
    return {name: DEFAULTS.get(name, "") for name in PARTS[part][1]}


def _rows(rows: list[dict[str, Any]]) -> Reply:
    return _reply(200, {"total": len(rows), "rowCount": len(rows), "current": 1, "rows": rows})


def _reply(status: int, body: object) -> Reply:
    return status, "application/json; charset=UTF-8", json.dumps(body).encode()
