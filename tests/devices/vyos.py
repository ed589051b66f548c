# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VyOS's command line, over SSH: a session's working configuration, commit, and its table of IKE SAs.

The paths that it takes are written from the public interface definitions of vyos-1x.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

import paramiko

from .device import PASSWORD, USER, Device, Wanted
from .iosxe import takes
from .model import Refused, Sa
from .ssh import Server, Shell

VERSION = """Version:          VyOS 1.4.1
Release train:    sagitta
Hardware model:   KVM"""
IP = r"(?:\d{1,3}\.){3}\d{1,3}"
NAME = r"[-_a-zA-Z0-9|@]+"
GROUP = r"(?:1|2|5|14|15|16|17|18|19|20|21|31|32)"
CIPHER = r"(?:aes(?:128|192|256)(?:gcm(?:64|96|128))?)"
HASH = r"(?:md5|sha1|sha256|sha384|sha512)"
PEER = rf"vpn ipsec site-to-site peer {NAME}"
RULES = (
    rf"vpn ipsec authentication psk {NAME} id \S{{1,255}}",
    rf"vpn ipsec authentication psk {NAME} secret \S.{{0,254}}",
    rf"vpn ipsec ike-group {NAME} close-action (?:none|trap|start)",
    rf"vpn ipsec ike-group {NAME} dead-peer-detection action (?:trap|clear|restart)",
    rf"vpn ipsec ike-group {NAME} dead-peer-detection interval (?P<n2_86400>\d+)",
    rf"vpn ipsec ike-group {NAME} dead-peer-detection timeout (?P<n2_86400>\d+)",
    rf"vpn ipsec ike-group {NAME} disable-mobike",
    rf"vpn ipsec ike-group {NAME} key-exchange ikev[12]",
    rf"vpn ipsec ike-group {NAME} lifetime (?P<n0_86400>\d+)",
    rf"vpn ipsec ike-group {NAME} proposal \d+ dh-group {GROUP}",
    rf"vpn ipsec ike-group {NAME} proposal \d+ encryption {CIPHER}",
    rf"vpn ipsec ike-group {NAME} proposal \d+ (?:hash|prf) {HASH}",
    rf"vpn ipsec esp-group {NAME} lifetime (?P<n30_86400>\d+)",
    rf"vpn ipsec esp-group {NAME} mode (?:tunnel|transport)",
    rf"vpn ipsec esp-group {NAME} pfs (?:enable|disable|dh-group{GROUP})",
    rf"vpn ipsec esp-group {NAME} proposal \d+ encryption {CIPHER}",
    rf"vpn ipsec esp-group {NAME} proposal \d+ hash {HASH}",
    r"vpn ipsec options disable-route-autoinstall",
    rf"{PEER} authentication (?:local-id|remote-id) \S{{1,255}}",
    rf"{PEER} authentication mode (?:pre-shared-secret|x509|rsa)",
    rf"{PEER} connection-type (?:initiate|respond|none)",
    rf"{PEER} (?:default-esp-group|ike-group) {NAME}",
    rf"{PEER} local-address (?:{IP}|any)",
    rf"{PEER} remote-address (?:{IP}|any)",
    rf"{PEER} replay-window (?P<n0_2040>\d+)",
    rf"{PEER} vti (?:bind vti\d+|esp-group {NAME})",
    rf"interfaces vti vti\d+ address {IP}/\d+",
    r"interfaces vti vti\d+ ip adjust-mss (?:clamp-mss-to-pmtu|\d{3,5})",
    r"interfaces vti vti\d+ mtu (?P<n68_16000>\d+)",
    rf"protocols static route {IP}/\d+ interface vti\d+",
)
LISTS = re.compile(r" (?:id|address|remote-address)$")
VALUELESS = ("disable-mobike", "disable-route-autoinstall")


@dataclass
class VyOs(Device):
    """The router."""

    config: list[str] = field(default_factory=lambda: ["system host-name vyos"])
    saved: str = ""
    looks: int = 0

    def start(self) -> None:
        self._server = Server(lambda channel: _VyosShell(self, channel).run())
        self.port = self._server.port

    def stop(self) -> None:
        self._server.stop()

    def variables(self) -> dict[str, object]:
        return {
            "ansible_connection": "ansible.netcommon.network_cli",
            "ansible_network_cli_ssh_type": "libssh",
            "ansible_network_os": "vyos.vyos.vyos",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": USER,
            "ansible_password": PASSWORD,
            "customer_device_platform": "vyos",
        }

    def names(self, gateway: str) -> dict[str, str]:
        return {"secret": gateway}

    def configure(self, tunnel: Wanted) -> None:
        peer = f"vpn ipsec site-to-site peer {tunnel.object}"
        self.config += [
            f"vpn ipsec authentication psk {tunnel.gateway} id {tunnel.local_id}",
            f"vpn ipsec authentication psk {tunnel.gateway} id {tunnel.endpoint}",
            f"vpn ipsec authentication psk {tunnel.gateway} secret {tunnel.key}",
            f"{peer} authentication local-id {tunnel.local_id}",
            f"{peer} authentication mode pre-shared-secret",
            f"{peer} remote-address {tunnel.endpoint}",
        ]

    def key_of(self, tunnel: Wanted) -> str | None:
        start = f"vpn ipsec authentication psk {tunnel.gateway} secret "
        return next((x.removeprefix(start) for x in self.config if x.startswith(start)), None)

    def running(self) -> str:
        return "\n".join(sorted(self.config))

    def commands(self) -> str:
        """`show configuration commands`."""
        return "\n".join(_quoted(x) for x in sorted(self.config))

    def table(self) -> str:
        """`show vpn ike sa`."""
        self.looks += 1
        if self.state.before_unreadable and self.looks == 1:
            return "\n  Invalid command: [show vpn ike sa] - IPsec process is not running"
        return "\n\n".join(self._block(x) for x in self.ike.all())

    def _block(self, sa: Sa) -> str:
        gateway = self.ike.gateways[sa.gateway]
        peer = f"{gateway.endpoint} {gateway.endpoint}"
        local = f"{gateway.local_address} {gateway.local_id}"
        return (
            "Peer ID / IP                            Local ID / IP\n"
            "------------                            -------------\n"
            f"{peer:39} {local}\n\n\n"
            "    State  IKEVer  Encrypt      Hash          D-H Group      NAT-T  A-Time  L-Time\n"
            "    -----  ------  -------      ----          ---------      -----  ------  ------\n"
            f"    {'up' if sa.up else 'down':6} IKEv2   AES_GCM_16_256 n/a           ECP_384        "
            f"{'yes' if sa.nat else 'no':6} {sa.age:<7} {max(0, sa.lifetime - sa.age):<7} "
        )

    def reset(self, peer: str) -> str:
        """`reset vpn ipsec site-to-site peer PEER`."""
        chosen = [x for x in self.ike.gateways.values() if x.tunnel == peer]
        if not chosen:
            return f"Peer {peer} not found, aborting"
        try:
            self.ike.clear(chosen[0].name)
            self.ike.initiate(chosen[0].name)
        except Refused as exc:
            return f"Error: {exc}"
        return f"Peer {peer} reset result: success"


def _quoted(statement: str) -> str:
    if statement.endswith(VALUELESS):
        return f"set {statement}"
    head, _space, value = statement.rpartition(" ")
    return f"set {head} '{value}'"


class _VyosShell(Shell):
    """One session."""

    def __init__(self, device: VyOs, channel: paramiko.Channel) -> None:
        super().__init__(channel)
        self._device = device
        self._working: list[str] | None = None

    def prompt(self) -> str:
        return "vyos@vyos:~$ " if self._working is None else "[edit]\r\nvyos@vyos# "

    def answer(self, line: str) -> str | None:
        self._device.received.append(re.sub(r"(secret) .*", r"\1 ***", line))
        said = self._operate(line) if self._working is None else self._configure(line)
        if said and re.search(r"Invalid command: \[[a-z]+ [^s]|Set failed", said) and not self._device.state.read_only:
            self._device.refused.append(re.sub(r"(secret) .*", r"\1 ***", line))
        return said

    def _operate(self, line: str) -> str | None:
        device = self._device
        if line in ("exit", "quit"):
            return None
        if line.startswith("set terminal "):
            return ""
        if line == "show version":
            return VERSION
        if line == "show host name":
            return "vyos"
        if line == "show configuration commands":
            return device.commands()
        if line == "show vpn ike sa":
            return device.table()
        if device.state.read_only:
            return f"\n  Invalid command: [{line.split()[0]}]"
        if line == "configure":
            self._working = list(device.config)
            return ""
        if match := re.fullmatch(r"reset vpn ipsec site-to-site peer (\S+)", line):
            return device.reset(match[1])
        return f"\n  Invalid command: [{line}]"

    def _configure(self, line: str) -> str:
        device = self._device
        working = self._working if self._working is not None else []
        if line == "compare saved":
            same = device.saved == device.running()
            return "No changes between working and saved configurations.\n" if same else "+ vpn"
        if line == "compare":
            changed = [x for x in working if x not in device.config] + [x for x in device.config if x not in working]
            text = "\n".join(f"+ {re.sub('(secret) .*', 'secret ***', x)}" for x in changed)
            return f"[edit]\n{text}" if changed else "No changes between working and active configurations"
        if line.startswith("commit"):
            if device.state.locked:
                return "Configuration system temporarily locked due to another commit in progress\nCommit failed"
            device.config = list(working)
            return ""
        if line == "save":
            device.saved = device.running()
            return "Saving configuration to '/config/config.boot'...\nDone"
        if line in ("exit", "exit discard"):
            self._working = None
            return ""
        try:
            verb, *words = shlex.split(line)
        except ValueError:
            return "\n  Invalid command: quotes"
        statement = " ".join(words)
        if verb == "set":
            if not any(takes(rule, statement) for rule in RULES):
                return "\n  Configuration path is not valid\n  Set failed\n"
            self._put(working, statement)
            return ""
        if verb == "delete":
            working[:] = [x for x in working if x != statement and not x.startswith(statement + " ")]
            return ""
        return f"\n  Invalid command: [{verb}]"

    def _put(self, working: list[str], statement: str) -> None:
        if statement not in working:
            head = statement.rpartition(" ")[0]
            if not statement.endswith(VALUELESS) and not LISTS.search(head):
                working[:] = [x for x in working if not x.startswith(head + " ")]
            working.append(statement)
