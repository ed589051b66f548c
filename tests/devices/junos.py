# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Junos by NETCONF over SSH: candidate and running configuration, locks, commands.

The statements that it takes are written from Juniper's public YANG models of `security` and `interfaces`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

import paramiko
from lxml import etree

from .device import PASSWORD, USER, Device, Wanted
from .iosxe import takes
from .model import Refused, Sa
from .ssh import Server

BASE = "urn:ietf:params:xml:ns:netconf:base:1.0"
END = b"]]>]]>"
IP = r"(?:\d{1,3}\.){3}\d{1,3}"
NAME = r"[A-Za-z0-9_.-]{1,32}"
GROUP = r"group(?:1|2|5|14|15|16|19|20|21|24)"
RULES = (
    rf"security ike policy {NAME} pre-shared-key ascii-text \S.{{0,254}}",
    rf"security ike policy {NAME} proposals {NAME}",
    rf"security ike proposal {NAME} authentication-method pre-shared-keys",
    rf"security ike proposal {NAME} dh-group {GROUP}",
    rf"security ike proposal {NAME} authentication-algorithm (?:md5|sha1|sha-256|sha-384|sha-512)",
    rf"security ike proposal {NAME} encryption-algorithm (?:aes-(?:128|192|256)-cbc|aes-(?:128|256)-gcm)",
    rf"security ike proposal {NAME} lifetime-seconds (?P<n180_86400>\d+)",
    rf"security ike gateway {NAME} ike-policy {NAME}",
    rf"security ike gateway {NAME} address {IP}",
    rf"security ike gateway {NAME} dead-peer-detection interval (?P<n2_60>\d+)",
    rf"security ike gateway {NAME} dead-peer-detection threshold (?P<n1_5>\d+)",
    rf"security ike gateway {NAME} local-identity (?:hostname|user-at-hostname|key-id) \S{{1,255}}",
    rf"security ike gateway {NAME} external-interface [a-z]+-?[\d/.]+",
    rf"security ike gateway {NAME} version (?:v1-only|v2-only)",
    rf"security ipsec proposal {NAME} protocol (?:ah|esp)",
    rf"security ipsec proposal {NAME} authentication-algorithm hmac-sha-256-128",
    rf"security ipsec proposal {NAME} encryption-algorithm (?:aes-(?:128|192|256)-(?:cbc|gcm))",
    rf"security ipsec proposal {NAME} lifetime-seconds (?P<n180_86400>\d+)",
    rf"security ipsec policy {NAME} perfect-forward-secrecy keys {GROUP}",
    rf"security ipsec policy {NAME} proposals {NAME}",
    rf"security ipsec vpn {NAME} bind-interface st0\.(?P<n0_16385>\d+)",
    rf"security ipsec vpn {NAME} ike (?:gateway|ipsec-policy) {NAME}",
    rf"security ipsec vpn {NAME} ike no-anti-replay",
    rf"security ipsec vpn {NAME} establish-tunnels (?:immediately|on-traffic)",
    r"interfaces st0 unit (?P<n0_16385>\d+) family inet mtu \d{3,4}",
    rf"interfaces st0 unit (?P<n0_16385>\d+) family inet address {IP}/\d+",
    rf"security zones security-zone {NAME} interfaces st0\.\d+ host-inbound-traffic system-services ping",
    r"security flow tcp-mss ipsec-vpn mss (?P<n64_65535>\d+)",
    rf"routing-options static route {IP}/\d+ next-hop \S+",
)
# Of these there may be several values.
LISTS = re.compile(r" (?:address|proposals|ping|no-anti-replay)$")


class RpcError(Exception):
    """The device's error."""


def canonical(words: list[str]) -> str:
    """A statement in the form in which the device keeps it."""
    return " ".join(words)


@dataclass
class Junos(Device):
    """The firewall."""

    config: list[str] = field(default_factory=list)
    candidate: list[str] = field(default_factory=list)
    looks: int = 0

    def start(self) -> None:
        self._server = Server(lambda channel: _Session(self, channel).run())
        self.port = self._server.port
        self.candidate = list(self.config)
        if self.state.pending:
            self.candidate.append("system host-name changed-by-another")

    def stop(self) -> None:
        self._server.stop()

    def variables(self) -> dict[str, object]:
        return {
            "ansible_connection": "ansible.netcommon.netconf",
            "ansible_network_os": "junipernetworks.junos.junos",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": USER,
            "ansible_password": PASSWORD,
            "customer_device_platform": "junos",
            "customer_device_wan_interface": "ge-0/0/0.0",
        }

    def names(self, gateway: str) -> dict[str, str]:
        return {"gateway": gateway}

    def configure(self, tunnel: Wanted) -> None:
        self.config += [
            f"security ike policy {tunnel.object} pre-shared-key ascii-text {tunnel.key}",
            f"security ike gateway {tunnel.gateway} ike-policy {tunnel.object}",
            f"security ike gateway {tunnel.gateway} address {tunnel.endpoint}",
            f"security ike gateway {tunnel.gateway} local-identity hostname {tunnel.local_id}",
            f"security ike gateway {tunnel.gateway} version v2-only",
            f"security ipsec vpn {tunnel.object} ike gateway {tunnel.gateway}",
        ]

    def key_of(self, tunnel: Wanted) -> str | None:
        start = f"security ike policy {tunnel.object} pre-shared-key ascii-text "
        return next((x.removeprefix(start) for x in self.config if x.startswith(start)), None)

    def running(self) -> str:
        return "\n".join(sorted(self.config))

    def others_change_committed(self) -> bool:
        return any("changed-by-another" in x for x in self.config)

    def shown(self) -> str:
        """`show configuration security | display set`: keys are obfuscated."""
        lines = [re.sub(r"(ascii-text) .*", r'\1 "$9$obfuscated"', x) for x in self.config if x.startswith("security")]
        return "\n".join(f"set {x}" for x in lines)

    def load(self, text: str) -> None:
        """Load set commands into the candidate.

        Raises:
            RpcError: a statement is refused.
        """
        for line in filter(None, map(str.strip, text.splitlines())):
            verb, *words = shlex.split(line)
            statement = canonical(words)
            if self.state.read_only:
                raise RpcError("permission denied")
            if verb == "set":
                if not any(takes(rule, statement) for rule in RULES):
                    self.refused.append(re.sub(r"(ascii-text) .*", r"\1 ***", line))
                    raise RpcError(f"syntax error: {words[-2] if len(words) > 1 else ''}")
                self._set(statement)
            elif verb == "delete":
                if statement not in self.candidate:
                    raise RpcError("warning: statement not found")
                self.candidate.remove(statement)
            else:
                raise RpcError("unknown command")

    def _set(self, statement: str) -> None:
        head, _space, _value = statement.rpartition(" ")
        if head.endswith(("local-identity hostname", "local-identity user-at-hostname", "local-identity key-id")):
            head = head.rpartition(" ")[0]
        if not LISTS.search(head) and not statement.endswith(("ping", "no-anti-replay")):
            self.candidate = [x for x in self.candidate if not x.startswith(head + " ")]
        if statement not in self.candidate:
            self.candidate.append(statement)

    def commit(self) -> None:
        """Make the candidate the running configuration, when it fits together.

        Raises:
            RpcError: it does not.
        """
        gateways = {x.split()[3] for x in self.candidate if x.startswith("security ike gateway ")}
        for gateway in gateways:
            policies = [
                x.split()[-1] for x in self.candidate if x.startswith(f"security ike gateway {gateway} ike-policy")
            ]
            if not policies:
                raise RpcError(f"gateway {gateway}: Missing mandatory statement: 'ike-policy'")
        self.config = list(self.candidate)

    def table(self, detail: bool) -> str:
        """`show security ike security-associations [detail]`."""
        if self.state.passive:
            return "error: the ipsec-key-management subsystem is not running"
        if detail:
            self.looks += 1
            if self.looks == 1 and self.state.before_unreadable:
                raise RpcError("timeout communicating with ipsec-key-management daemon")
        sas = self.ike.all()
        if not detail:
            head = "Index   State  Initiator cookie  Responder cookie  Mode           Remote Address\n"
            return head + "\n".join(f"{x.number} {'UP' if x.up else 'DOWN'}" for x in sas) if sas else "\n"
        return "\n".join(self._block(x) for x in sas) or "\n"

    def _block(self, sa: Sa) -> str:
        gateway = self.ike.gateways[sa.gateway]
        port = 4500 if sa.nat else 500
        return (
            f"IKE peer {gateway.endpoint}, Index {sa.number}, Gateway Name: {gateway.name}\n"
            f"  Role: Initiator, State: {'UP' if sa.up else 'DOWN'}\n"
            f"  Initiator cookie: {sa.cookies[0]}, Responder cookie: {sa.cookies[1] if sa.up else '0' * 16}\n"
            "  Exchange type: IKEv2, Authentication method: Pre-shared-keys\n"
            f"  Local: {gateway.local_address}:{port}, Remote: {gateway.endpoint}:{port}\n"
            f"  Lifetime: Expires in {max(0, sa.lifetime - sa.age)} seconds\n"
            "  Reauth Lifetime: Disabled\n"
            f"  Peer ike-id: {gateway.endpoint}\n"
            f"  IPSec security associations: {sa.child_number} created, {sa.child_number - 1} deleted\n"
        )

    def clear(self, words: str) -> str:
        """`clear security ike security-associations WORDS`."""
        kind, _space, what = words.partition(" ")
        chosen = [x for x in self.ike.all() if kind == "index" and str(x.number) == what]
        if not chosen:
            raise RpcError("no such security association")
        try:
            self.ike.clear(chosen[0].gateway)
        except Refused as exc:
            raise RpcError(str(exc)) from None
        return ""


class _Session:
    """One NETCONF session."""

    def __init__(self, device: Junos, channel: paramiko.Channel) -> None:
        self._device = device
        self._channel = channel

    def run(self) -> None:
        capabilities = "".join(
            f"<capability>{x}</capability>"
            for x in (
                "urn:ietf:params:netconf:base:1.0",
                "urn:ietf:params:netconf:capability:candidate:1.0",
                "urn:ietf:params:netconf:capability:validate:1.0",
                "http://xml.juniper.net/netconf/junos/1.0",
            )
        )
        self._send(
            f'<hello xmlns="{BASE}"><capabilities>{capabilities}</capabilities><session-id>7</session-id></hello>'
        )
        waiting = b""
        while data := self._channel.recv(65536):
            waiting += data
            while END in waiting:
                raw, _end, waiting = waiting.partition(END)
                if raw.strip() and not self._serve(raw.strip()):
                    return

    def _send(self, text: str) -> None:
        self._channel.sendall(text.encode() + END)

    def _serve(self, raw: bytes) -> bool:
        tree = etree.fromstring(raw)
        if etree.QName(tree).localname == "hello":
            return True
        operation = tree[0]
        name = etree.QName(operation).localname
        try:
            inner = self._answer(name, operation)
        except RpcError as exc:
            inner = (
                "<rpc-error><error-type>protocol</error-type><error-tag>operation-failed</error-tag>"
                f"<error-severity>error</error-severity><error-message>{exc}</error-message></rpc-error>"
            )
        message = tree.get("message-id")
        self._send(f'<rpc-reply xmlns="{BASE}" message-id="{message}">{inner}</rpc-reply>')
        if name == "close-session":
            self._channel.close()
            return False
        return True

    def _answer(self, name: str, operation: etree._Element) -> str:
        device = self._device
        device.received.append(name)
        if name == "get-software-information":
            return (
                "<software-information><host-name>fw1</host-name><product-model>srx320</product-model>"
                "<junos-version>23.4R2</junos-version></software-information>"
            )
        if name == "lock":
            if device.state.read_only:
                raise RpcError("permission denied")
            if device.state.locked:
                raise RpcError(
                    "configuration database locked by: night-job terminal p0 (pid 4711) on since now exclusive"
                )
            if device.state.pending:
                raise RpcError("configuration database modified")
            return "<ok/>"
        if name in ("unlock", "discard-changes", "close-session", "validate"):
            if name == "discard-changes":
                device.candidate = list(device.config)
            return "<ok/>"
        if name == "load-configuration":
            device.load("\n".join(operation.itertext()))
            return "<load-configuration-results><ok/></load-configuration-results>"
        if name == "commit-configuration":
            device.commit()
            return "<ok/>"
        if name == "get-configuration":
            return self._compared(operation)
        if name == "command":
            return self._command(operation)
        raise RpcError(f"syntax error, unknown operation {name}")

    def _compared(self, operation: etree._Element) -> str:
        device = self._device
        if operation.get("compare") != "rollback":
            return f"<configuration-text>{_escaped(device.shown())}</configuration-text>"
        changed = [f"+ {x}" for x in device.candidate if x not in device.config]
        changed += [f"- {x}" for x in device.config if x not in device.candidate]
        text = "\n".join(re.sub(r"(ascii-text) .*", r"\1 ***", x) for x in changed)
        inner = f"<configuration-output>{_escaped(text) or chr(10)}</configuration-output>"
        return f"<configuration-information>{inner}</configuration-information>"

    def _command(self, operation: etree._Element) -> str:
        device = self._device
        line = (operation.text or "").strip()
        device.received.append(line)
        if line == "show cli authorization":
            allowed = ("view",) if device.state.read_only else ("clear", "configure", "security-control", "view")
            text = f"Current user: '{USER}' login: '{USER}' class ''\nPermissions:\n"
            text += "\n".join(f"    {x:<12}-- Can do {x}" for x in allowed)
        elif line.startswith("show configuration security"):
            if operation.get("format") == "set":
                return f"<configuration-set>{_escaped(device.shown()) or chr(10)}</configuration-set>"
            raise RpcError("syntax error")
        elif line == "show security ike security-associations":
            text = device.table(detail=False)
        elif line == "show security ike security-associations detail":
            text = device.table(detail=True)
        elif line.startswith("clear security ike security-associations "):
            device.clear(line.removeprefix("clear security ike security-associations "))
            return "<ok/>"
        else:
            device.refused.append(line)
            raise RpcError(f"syntax error: {line}")
        return f"<output>{_escaped(text)}</output>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
