# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons with a command `ipsec`: strongSwan by ipsec.conf, and Libreswan.

The role's scripts run here, on files in a folder, and call a command that hands its arguments over to the stand-in. It
prints what strongSwan 5.9.8 and Libreswan 4.10 were seen to print, and takes the words of ipsec.conf that they know.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import socketserver
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from .device import Device, Wanted
from .model import Gateway, Refused, Sa

COMMAND = """#!{python} -I
import json, socket, sys
with socket.create_connection(("127.0.0.1", {port})) as link:
    link.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    said = json.loads(link.makefile().readline())
sys.stdout.write(said["text"])
sys.exit(said["rc"])
"""
DENIED = 1
NAME = r"[A-Za-z][A-Za-z0-9_.-]*"
Said = tuple[int, str]


def words_of(text: str) -> frozenset[str]:
    """The words of ipsec.conf."""
    return frozenset(text.split())


@dataclass(frozen=True)
class Conn:
    """A connection as the daemon has loaded it."""

    name: str
    remote: str
    local_id: str


@dataclass
class Ipsec(Device):
    """What both have."""

    platform = ""
    words: ClassVar[frozenset[str]] = frozenset()
    secrets: dict[str, str] = field(default_factory=dict)
    conns: dict[str, Conn] = field(default_factory=dict)
    looks: int = 0

    def __post_init__(self) -> None:
        self.ike.begins_anew = False
        self._folder = Path(tempfile.mkdtemp(prefix="ipsec-"))
        self.etc = self._folder / "etc"
        (self.etc / "ipsec.d").mkdir(parents=True)
        (self.etc / "strongswan.d").mkdir()
        self._put("ipsec.conf", f"config setup\n\ninclude {self.etc}/ipsec.d/*.conf\n", 0o644)
        self._put("ipsec.secrets", "include ipsec.d/*.secrets\n", 0o600)

    def start(self) -> None:
        owner = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                rc, text = owner.called(json.loads(self.rfile.readline()))
                self.wfile.write(json.dumps({"rc": rc, "text": text}).encode() + b"\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._command = self._folder / "ipsec"
        self._command.write_text(COMMAND.format(python=sys.executable, port=self.port), encoding="utf-8")
        self._command.chmod(0o700)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._folder)

    def variables(self) -> dict[str, object]:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "customer_device_platform": self.platform,
            f"customer_device_{self.platform}_command": str(self._command),
            f"customer_device_{self.platform}_directory": str(self.etc),
        }

    def names(self, gateway: str) -> dict[str, str]:
        return {"secret": f"{gateway}.secrets"}

    def configure(self, tunnel: Wanted) -> None:
        self._put(f"ipsec.d/{tunnel.object}.conf", self.conf(tunnel), 0o644)
        self._put(
            f"ipsec.d/{tunnel.gateway}.secrets", f'@{tunnel.local_id} {tunnel.endpoint} : PSK "{tunnel.key}"\n', 0o600
        )
        self._reread()
        self._load(tunnel.object)

    def conf(self, tunnel: Wanted) -> str:
        """The connection's section, as an administrator wrote it."""
        raise NotImplementedError

    def key_of(self, tunnel: Wanted) -> str | None:
        return self.secrets.get(tunnel.local_id) if tunnel.object in self.conns else None

    def running(self) -> str:
        found = [f"{x}: {x.read_text(encoding='utf-8')}" for x in sorted(self.etc.rglob("*")) if x.is_file()]
        return "\n".join([*found, *map(str, sorted(self.conns)), json.dumps(self.secrets, sort_keys=True)])

    def called(self, arguments: list[str]) -> Said:
        """What the command prints, and exits with."""
        self.received.append(" ".join(arguments))
        if self.state.read_only:
            return DENIED, self.denial()
        said = self.answer(arguments)
        if said is None:
            self.refused.append(" ".join(arguments))
            return 2, f"ipsec: unknown command: {' '.join(arguments)}\n"
        return said

    def denial(self) -> str:
        """What is said to users who are not root."""
        raise NotImplementedError

    def answer(self, arguments: list[str]) -> Said | None:
        """The same for a user who may; None: there is no such command."""
        raise NotImplementedError

    def gateway_of(self, name: str) -> Gateway | None:
        """IKE's end of a connection."""
        return next((x for x in self.ike.gateways.values() if x.tunnel == name), None)

    def sas_of(self, name: str) -> list[Sa]:
        """Its SAs."""
        gateway = self.gateway_of(name)
        return self.ike.of(gateway.name) if gateway else []

    def unreadable_now(self) -> bool:
        """Whether this look at SAs, the first one, shows nothing."""
        self.looks += 1
        return self.state.before_unreadable and self.looks == 1

    def _put(self, name: str, text: str, mode: int) -> None:
        path = self.etc / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    def _files(self, main: str, kind: str) -> list[Path]:
        """A file and those that it includes."""
        start = self.etc / main
        found = [start]
        for line in start.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"include\s+(\S+)", line):
                pattern = str(self.etc / match[1])
                found += sorted(x for x in (self.etc / "ipsec.d").iterdir() if fnmatch.fnmatch(str(x), pattern))
        return [x for x in found if x.name.endswith(kind)]

    def _reread(self) -> list[str]:
        """Read the secrets; the lines that are none."""
        self.secrets, bad = {}, []
        for path in self._files("ipsec.secrets", "secrets"):
            if path.stat().st_mode & 0o077:
                self.refused.append(f"{path.name} can be read by others")
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if not line.strip() or line.startswith(("include ", "#")):
                    continue
                match = re.fullmatch(r'(\S+) ((?:\d+\.){3}\d+) : PSK "([^"]{1,255})"', line)
                if match is None:
                    bad.append(f'003 "{path}" line {number}: malformed')
                else:
                    self.secrets[match[1].removeprefix("@")] = match[3]
        return bad

    def _load(self, name: str = "") -> str:
        """Load the connections in the files; what is wrong in the first of them that is bad."""
        found: dict[str, dict[str, str]] = {}
        current: dict[str, str] = {}
        for path in self._files("ipsec.conf", "conf"):
            for line in path.read_text(encoding="utf-8").splitlines():
                if not line.strip() or line.startswith(("#", "include ", "config ")):
                    continue
                if match := re.fullmatch(rf"conn ({NAME})", line):
                    current = found.setdefault(match[1], {})
                    continue
                match = re.fullmatch(r"\s+([a-z0-9_-]+)=(.*)", line)
                if match is None or match[1] not in self.words:
                    self.refused.append(line)
                    return f"{path}: syntax error [{line.strip()}]"
                current[match[1]] = match[2].strip('"')
        for conn, words in found.items():
            if name in ("", conn):
                self.conns[conn] = Conn(conn, words["right"], words["leftid"].removeprefix("@"))
                if words.get("auto") == "start" and (gateway := self.gateway_of(conn)):
                    self.ike.initiate(gateway.name)
        return ""


class StrongSwan(Ipsec):
    """strongSwan's starter and charon, with the plugin stroke."""

    platform = "strongswan_stroke"
    words = words_of(
        "auto type keyexchange left leftauth leftid leftsubnet leftupdown right rightauth rightid rightsubnet ike esp"
        " ikelifetime lifetime reauth rekey fragmentation mobike keyingtries dpdaction dpddelay closeaction"
        " replay_window mark mark_in mark_out authby"
    )

    def conf(self, tunnel: Wanted) -> str:
        return (
            f"conn {tunnel.object}\n    keyexchange=ikev2\n    leftauth=psk\n    leftid=@{tunnel.local_id}\n"
            f"    right={tunnel.endpoint}\n    rightauth=psk\n"
        )

    def denial(self) -> str:
        return (
            "connecting to 'unix:///var/run/charon.ctl' failed: Permission denied\n"
            "failed to connect to stroke socket 'unix:///var/run/charon.ctl'\n"
        )

    def answer(self, arguments: list[str]) -> Said | None:
        match arguments:
            case ["statusall"]:
                return 0, self._connections() + "".join(self._block(x) for x in self.conns)
            case ["status", name]:
                if self.unreadable_now():
                    return 1, "failed to connect to stroke socket 'unix:///var/run/charon.ctl'\n"
                up = sum(x.up for x in self.sas_of(name))
                head = f"Security Associations ({up} up, 0 connecting):\n"
                return 0, head + (self._block(name) or "  no match\n")
            case ["rereadsecrets"]:
                self._reread()
                return 0, ""
            case ["update"]:
                self._load()
                return 0, "Updating strongSwan IPsec configuration...\n"
            case ["down", name] if name.endswith("[*]"):
                return self._down(name.removesuffix("[*]"))
            case ["up", name]:
                return 0, self._up(name)
        return None

    def _connections(self) -> str:
        lines = ["Status of IKE charon daemon (strongSwan 5.9.8, Linux 6.1.0, x86_64):", "Connections:"]
        for conn in self.conns.values():
            lines += [
                f"{conn.name:>12}:  %any...{conn.remote}  IKEv2, dpddelay=10s",
                f"{conn.name:>12}:   local:  [{conn.local_id}] uses pre-shared key authentication",
                f"{conn.name:>12}:   remote: [{conn.remote}] uses pre-shared key authentication",
                f"{conn.name:>12}:   child:  0.0.0.0/0 === 0.0.0.0/0 TUNNEL, dpdaction=start",
            ]
        return "\n".join([*lines, ""])

    def _block(self, name: str) -> str:
        text = ""
        for sa in self.sas_of(name):
            gateway = self.ike.gateways[sa.gateway]
            if not sa.up:
                text += (
                    f"{name:>12}[{sa.number}]: CONNECTING, {gateway.local_address}[%any]...{gateway.endpoint}[%any]\n"
                )
                continue
            text += (
                f"{name:>12}[{sa.number}]: ESTABLISHED {sa.age} seconds ago,"
                f" {gateway.local_address}[{gateway.local_id}]...{gateway.endpoint}[{gateway.endpoint}]\n"
                f"{name:>12}{{{sa.number + sa.child_number}}}:  INSTALLED, TUNNEL, reqid 1, ESP in UDP SPIs:"
                f" {sa.child_spis[0]}_i {sa.child_spis[1]}_o\n"
            )
        return text

    def _down(self, name: str) -> Said:
        gateway, old = self.gateway_of(name), self.sas_of(name)
        try:
            if gateway:
                self.ike.clear(gateway.name)
        except Refused as exc:
            return 1, f"{exc}\n"
        return 0, "".join(f"IKE_SA [{x.number}] closed successfully\n" for x in old)

    def _up(self, name: str) -> str:
        gateway = self.gateway_of(name)
        if gateway is None or name not in self.conns:
            return f"no config named '{name}'\n"
        if any(x.up for x in self.sas_of(name)):
            return (
                f"not establishing CHILD_SA {name}{{2}} due to existing duplicate {{1}} with SPIs a_i b_o\n"
                f"establishing connection '{name}' failed\n"
            )
        good = self.ike.initiate(gateway.name)
        if not self.sas_of(name):
            return f"no shared key found for '{gateway.local_id}' - '{gateway.endpoint}'\n"
        sa = self.sas_of(name)[-1]
        text = (
            f"initiating IKE_SA {name}[{sa.number}] to {gateway.endpoint}\n"
            f"authentication of '{gateway.local_id}' (myself) with pre-shared key\n"
        )
        if not good:
            return f"{text}received AUTHENTICATION_FAILED notify error\nestablishing connection '{name}' failed\n"
        return (
            f"{text}authentication of '{gateway.endpoint}' with pre-shared key successful\n"
            f"IKE_SA {name}[{sa.number}] established between {gateway.local_address}[{gateway.local_id}]..."
            f"{gateway.endpoint}[{gateway.endpoint}]\nconnection '{name}' established successfully\n"
        )


class Libreswan(Ipsec):
    """Libreswan's pluto."""

    platform = "libreswan"
    words = words_of(
        "auto type ikev2 authby left leftid leftnexthop leftsubnet leftupdown right rightid rightsubnet ike esp pfs esn"
        " ikelifetime salifetime fragmentation mobike keyingtries overlapip dpdaction dpddelay dpdtimeout"
        " retransmit-timeout replay-window ipsec-interface mark vti-interface vti-routing"
    )

    def conf(self, tunnel: Wanted) -> str:
        return (
            f"conn {tunnel.object}\n    ikev2=insist\n    authby=secret\n    leftid=@{tunnel.local_id}\n"
            f"    right={tunnel.endpoint}\n"
        )

    def denial(self) -> str:
        return 'whack: no right to communicate with pluto (access("/run/pluto/pluto.ctl"))\n'

    def answer(self, arguments: list[str]) -> Said | None:
        match arguments:
            case ["auto", "--status"]:
                return 0, self._connections() + self._states()
            case ["showstates"]:
                if self.unreadable_now():
                    return 33, 'whack: Pluto is not running (no "/run/pluto/pluto.ctl")\n'
                return 0, self._states()
            case ["auto", "--rereadsecrets"]:
                bad = self._reread()
                return 0, "\n".join(["002 forgetting secrets", *bad, ""])
            case ["auto", "--add", name]:
                bad_line = self._load(name)
                return 0, f"{bad_line}\nconn {name} did not load properly\n" if bad_line else ""
            case ["auto", "--down", name]:
                return self._down(name)
            case ["auto", "--up", name]:
                return self._up(name)
        return None

    def _connections(self) -> str:
        lines = ["000 Connection list:"]
        for conn in self.conns.values():
            name = f'000 "{conn.name}"'
            lines += [
                f"{name}: 0.0.0.0/0===192.0.2.10[@{conn.local_id}]...{conn.remote}===0.0.0.0/0; erouted;",
                f"{name}:   our auth:secret, their auth:secret, our autheap:none, their autheap:none;",
                f"{name}:   our idtype: ID_FQDN; our id=@{conn.local_id}; their idtype: ID_IPV4_ADDR;",
            ]
        return "\n".join([*lines, ""])

    def _states(self) -> str:
        lines = []
        for sa in self.ike.all():
            name = self.ike.gateways[sa.gateway].tunnel
            if not sa.up:
                lines.append(f'000 #{sa.number}: "{name}":500 STATE_V2_PARENT_I1 (sent IKE_SA_INIT request); idle;')
                continue
            child = sa.number + 1000 + sa.child_number
            lines += [
                f'000 #{sa.number}: "{name}":4500 STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); newest; idle;',
                f'000 #{child}: "{name}":4500 STATE_V2_ESTABLISHED_CHILD_SA (established Child SA); newest; eroute'
                f" owner; IKE SA #{sa.number}; idle;",
            ]
        return "\n".join([*lines, ""])

    def _down(self, name: str) -> Said:
        gateway = self.gateway_of(name)
        try:
            if gateway:
                self.ike.clear(gateway.name)
        except Refused as exc:
            return 1, f"003 {exc}\n"
        return 0, f'002 "{name}": terminating SAs using this connection\n'

    def _up(self, name: str) -> Said:
        gateway = self.gateway_of(name)
        if gateway is None or name not in self.conns:
            return 21, f'021 no connection named "{name}"\n'
        old = [x for x in self.sas_of(name) if x.up]
        if old:
            old[-1].child_number += 1
            return 0, f'002 "{name}" #9: initiating Child SA using IKE SA #{old[-1].number}\n'
        good = self.ike.initiate(gateway.name)
        if not self.sas_of(name):
            return 32, f"003 \"{name}\" #9: authentication failed: no PSK found for '@{gateway.local_id}'\n"
        sa = self.sas_of(name)[-1]
        start = f'181 "{name}" #{sa.number}: initiating IKEv2 connection\n'
        if not good:
            return 36, (
                f'{start}003 "{name}" #{sa.number}: IKE SA authentication request rejected by peer:'
                f' AUTHENTICATION_FAILED\n036 "{name}" #{sa.number}: encountered fatal error in state'
                " STATE_V2_PARENT_I2\n"
            )
        return 0, (
            f'{start}003 "{name}" #{sa.number}: initiator established IKE SA; authenticated peer using authby=secret'
            f" and ID_IPV4_ADDR '{gateway.endpoint}'\n"
            f'004 "{name}" #{sa.number + 1001}: initiator established Child SA using #{sa.number}; IPsec tunnel\n'
        )
