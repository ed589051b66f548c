# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""FortiOS by its REST API: cmdb objects, and the monitor of IPsec.

The attributes that it takes are written from the public schema that fortinet.fortios documents.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .device import Device, Wanted
from .model import Refused
from .web import Reply, Request, WebServer

TOKEN = "device-token-of-the-tests"
IP = r"(?:\d{1,3}\.){3}\d{1,3}"
SWITCH = r"enable|disable"
GROUPS = r"(?:1|2|5|14|15|16|17|18|19|20|21|27|28|29|30|31|32)"
RULES: dict[str, dict[str, str]] = {
    "vpn.ipsec/phase1-interface": {
        "name": r".{1,15}",
        "comments": r".{0,255}",
        "psksecret": r"(?!0x).{6,128}",
        "authmethod": "psk|signature",
        "auto-negotiate": SWITCH,
        "dhgrp": GROUPS,
        "dpd": "disable|on-idle|on-demand",
        "dpd-retrycount": r"[1-9]|10",
        "dpd-retryinterval": r"\d{1,4}",
        "ike-version": "1|2",
        "interface": r".{1,35}",
        "keylife": r"\d{3,6}",
        "localid": r".{0,63}",
        "localid-type": "auto|fqdn|user-fqdn|keyid|address|asn1dn",
        "nattraversal": "enable|disable|forced",
        "net-device": SWITCH,
        "peertype": "any|one|dialup|peer|peergrp",
        "proposal": r"aes(?:128|192|256)-sha(?:1|256|384|512)|aes(?:128|256)gcm-prfsha(?:1|256|384|512)",
        "remote-gw": IP,
        "type": "static|dynamic|ddns",
        "add-gw-route": SWITCH,
    },
    "vpn.ipsec/phase2-interface": {
        "name": r".{1,35}",
        "phase1name": r".{1,15}",
        "auto-negotiate": SWITCH,
        "dhgrp": GROUPS,
        "keepalive": SWITCH,
        "keylife-type": "seconds|kbs|both",
        "keylifeseconds": r"\d{3,6}",
        "pfs": SWITCH,
        "proposal": r"aes(?:128|192|256)-sha(?:1|256|384|512)|aes(?:128|256)gcm",
        "replay": SWITCH,
    },
    "system/interface": {
        "name": r".{1,15}",
        "vdom": r".{1,31}",
        "allowaccess": "ping|https|ssh|snmp|http|telnet|fgfm",
        "interface": r".{1,15}",
        "ip": rf"{IP} {IP}",
        "mtu": r"\d{2,5}",
        "mtu-override": SWITCH,
        "remote-ip": rf"{IP} {IP}",
        "tcp-mss": r"\d{2,5}",
        "type": "physical|vlan|tunnel|loopback",
    },
    "system/settings": {"asymroute-icmp": SWITCH},
}


@dataclass
class FortiOs(Device):
    """The firewall."""

    tables: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {name: {} for name in RULES})
    looks: int = 0

    def start(self) -> None:
        self._server = WebServer(self._serve)
        self.port = self._server.port

    def stop(self) -> None:
        self._server.stop()

    def variables(self) -> dict[str, object]:
        return {
            "ansible_connection": "ansible.netcommon.httpapi",
            "ansible_network_os": "fortinet.fortios.fortios",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,  # the persistent connection is known by it
            "ansible_httpapi_port": self.port,
            "ansible_httpapi_use_ssl": False,
            "ansible_httpapi_session_key": {"access_token": TOKEN},
            "customer_device_platform": "fortios",
            "customer_device_wan_interface": "wan1",
        }

    def names(self, gateway: str) -> dict[str, str]:
        return {"object": gateway, "child": "phase-2"}

    def configure(self, tunnel: Wanted) -> None:
        self.tables["vpn.ipsec/phase1-interface"][tunnel.gateway] = {
            "name": tunnel.gateway,
            "ike-version": "2",
            "psksecret": tunnel.key,
            "remote-gw": tunnel.endpoint,
            "localid": tunnel.local_id,
            "comments": "to Cloudflare",
        }
        child = tunnel.object if tunnel.gateway == tunnel.object else "phase-2"
        self.tables["vpn.ipsec/phase2-interface"][child] = {"name": child, "phase1name": tunnel.gateway}

    def key_of(self, tunnel: Wanted) -> str | None:
        return self.tables["vpn.ipsec/phase1-interface"].get(tunnel.gateway, {}).get("psksecret")

    def running(self) -> str:
        return json.dumps(self.tables, sort_keys=True)

    def _serve(self, request: Request) -> Reply:
        self.received.append(f"{request.method} {request.path}")
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _reply(401, {"status": "error", "error": 401})
        if request.path == "/logout":
            return _reply(200, {})
        if request.path.startswith("/api/v2/cmdb/"):
            return self._cmdb(request, request.path.removeprefix("/api/v2/cmdb/"))
        return self._monitor(request, request.path.removeprefix("/api/v2/monitor/"))

    def _cmdb(self, request: Request, path: str) -> Reply:
        table = "/".join(path.split("/")[:2])
        name = unquote(path[len(table) + 1 :])
        if table not in RULES:
            self.refused.append(request.path)
            return _reply(404, {"status": "error", "error": -3, "cli_error": f"unknown path {table}"})
        rows = self.tables[table]
        if request.method == "GET":
            if table == "system/settings":
                return _reply(200, {"results": rows.get("", {})})
            if name and name not in rows:
                return _reply(404, {"status": "error", "error": -3})
            found = [rows[name]] if name else list(rows.values())
            return _reply(200, {"results": [_shown(x) for x in found]})
        if self.state.read_only:
            return _reply(403, {"status": "error", "error": -37, "cli_error": "permission denied, insufficient rights"})
        given = json.loads(request.body or b"{}")
        problem = _problem(table, given)
        if problem:
            self.refused.append(f"{table}: {problem}")
            return _reply(500, {"status": "error", "error": -651, "cli_error": problem})
        key = "" if table == "system/settings" else name or str(given.get("name"))
        before = dict(rows.get(key, {}))
        if (
            table == "vpn.ipsec/phase2-interface"
            and given.get("phase1name") not in self.tables["vpn.ipsec/phase1-interface"]
        ):
            return _reply(500, {"status": "error", "error": -3, "cli_error": "phase1name not found"})
        rows[key] = {**before, **given}
        if table == "vpn.ipsec/phase1-interface":
            self.tables["system/interface"].setdefault(key, {"name": key, "type": "tunnel"})
        return _reply(200, {"revision_changed": rows[key] != before, "mkey": key})

    def _monitor(self, request: Request, path: str) -> Reply:
        if path == "system/status":
            return _reply(200, {"results": {"hostname": "fw1"}})
        if path == "system/ha-checksums":
            return _reply(
                200,
                {
                    "results": [
                        {"serial_no": "FGT-1", "is_manage_primary": int(not self.state.passive)},
                        {"serial_no": "FGT-2", "is_manage_primary": int(self.state.passive)},
                    ]
                },
            )
        if path == "vpn/ipsec" and request.method == "GET":
            self.looks += 1
            if self.state.before_unreadable and self.looks == 1:
                return _reply(503, {"status": "error", "error": 503, "cli_error": "the daemon is busy"})
            return _reply(200, {"results": self._tunnels()})
        if self.state.read_only:
            return _reply(403, {"status": "error", "error": -37, "cli_error": "permission denied, insufficient rights"})
        given = json.loads(request.body or b"{}")
        if path == "vpn/ike/clear":
            if given.get("mkey") not in self.ike.gateways:
                return _reply(404, {"status": "error", "error": -3})
            try:
                self.ike.clear(given["mkey"])
            except Refused as exc:
                return _reply(500, {"status": "error", "error": -1, "cli_error": str(exc)})
            return _reply(200, {"results": {}})
        if path == "vpn/ipsec/tunnel_up":
            children = {x["name"]: x["phase1name"] for x in self.tables["vpn.ipsec/phase2-interface"].values()}
            if children.get(given.get("p2name")) != given.get("p1name"):
                return _reply(404, {"status": "error", "error": -3})
            self.ike.initiate(given["p1name"])
            return _reply(200, {"results": {}})
        self.refused.append(request.path)
        return _reply(404, {"status": "error", "error": -3})

    def _tunnels(self) -> list[dict[str, Any]]:
        found = []
        sas = self.ike.all()
        for name in self.tables["vpn.ipsec/phase1-interface"]:
            own = [x for x in sas if x.gateway == name and x.up]
            entry: dict[str, Any] = {
                "proxyid": [
                    {
                        "status": "up" if own else "down",
                        "p2name": name,
                        "expire": 28800,
                        "incoming_bytes": 1200,
                        "outgoing_bytes": 1300,
                    }
                ],
                "name": name,
                "wizard-type": "custom",
                "type": "automatic",
                "rgwy": self.tables["vpn.ipsec/phase1-interface"][name].get("remote-gw"),
            }
            if own:
                entry["creation_time"] = own[-1].age
            found.append(entry)
        return found


def _problem(table: str, given: dict[str, Any]) -> str:
    for name, value in given.items():
        rule = RULES[table].get(name)
        if rule is None:
            return f"unknown attribute {name}"
        words = [value] if name in ("ip", "remote-ip", "comments", "psksecret") else str(value).split()
        for word in words:
            if not re.fullmatch(rule, str(word)):
                return f"value of {name} is invalid" if name == "psksecret" else f"value of {name} is invalid: {word}"
    return ""


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: "ENC XXXX" if name == "psksecret" else value for name, value in row.items()}


def _reply(status: int, body: dict[str, Any]) -> Reply:
    whole = {
        "http_method": "GET",
        "status": "success",
        "vdom": "root",
        "serial": "FGT-1",
        "version": "v7.4.1",
        "build": 2463,
        **body,
        "http_status": status,
    }
    return status, "application/json", json.dumps(whole).encode()
