# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cisco IOS XE's command line, over SSH: modes, a running configuration, and the lines that its IKEv2 takes.

The rules for lines are written from Cisco's public YANG model of crypto and its command reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import paramiko

from .device import PASSWORD, USER, Device, Wanted
from .model import Refused, Sa
from .ssh import Server, Shell

VERSION = """Cisco IOS XE Software, Version 17.09.04a
Cisco IOS Software [Cupertino], Virtual XE Software (X86_64_LINUX_IOSD-UNIVERSALK9-M), Version 17.9.4a
r1 uptime is 1 day
cisco C8000V (VXE) processor (revision VXE) with 1K bytes of memory."""
INVALID = "                ^\n% Invalid input detected at '^' marker."
IP = r"(?:\d{1,3}\.){3}\d{1,3}"
NAME = r"\S{1,64}"
Section = dict[str, "Section"]


def numbers(low: int, high: int) -> str:
    """What the table of rules calls a number in a range."""
    return rf"(?P<n{low}_{high}>\d+)"


# Each section's first line with its depth and the prompt in it, and the lines that it takes.
SECTIONS: tuple[tuple[str, int, str, tuple[str, ...]], ...] = (
    (rf"crypto ikev2 keyring {NAME}", 0, "config-ikev2-keyring", ()),
    (
        rf"peer {NAME}",
        1,
        "config-ikev2-keyring-peer",
        (rf"address {IP}(?: {IP})?", r"description .+", r"pre-shared-key (?:[06] )?[^\s?\"]{1,128}"),
    ),
    (
        rf"crypto ikev2 proposal {NAME}",
        0,
        "config-ikev2-proposal",
        (
            r"encryption (?:aes-cbc-(?:128|192|256)|aes-gcm-(?:128|256))",
            r"(?:integrity|prf) sha(?:1|256|384|512)",
            r"group (?:5|14|15|16|19|20|21)",
        ),
    ),
    (rf"crypto ikev2 policy {NAME}", 0, "config-ikev2-policy", (rf"proposal {NAME}",)),
    (
        rf"crypto ikev2 profile {NAME}",
        0,
        "config-ikev2-profile",
        (
            rf"match identity remote address {IP}(?: {IP})?",
            r"identity local (?:fqdn|email|key-id) \S{1,255}",
            rf"identity local address {IP}",
            r"authentication (?:local|remote) pre-share",
            rf"keyring local {NAME}",
            rf"lifetime {numbers(120, 86400)}",
            rf"dpd {numbers(10, 3600)} {numbers(2, 60)} (?:periodic|on-demand)",
            r"no config-exchange request",
        ),
    ),
    (
        rf"crypto ipsec transform-set {NAME} (?:esp-gcm(?: (?:128|192|256))?"
        r"|esp-aes(?: (?:128|192|256))? esp-sha(?:256|384|512)?-hmac)",
        0,
        "cfg-crypto-trans",
        (r"mode tunnel",),
    ),
    (
        rf"crypto ipsec profile {NAME}",
        0,
        "ipsec-profile",
        (
            r"set security-association lifetime kilobytes disable",
            rf"set security-association lifetime seconds {numbers(120, 2592000)}",
            r"set security-association replay (?:disable|window-size (?:64|128|256|512|1024))",
            rf"set transform-set {NAME}",
            r"set pfs group(?:5|14|15|16|19|20|21)",
            rf"set ikev2-profile {NAME}",
        ),
    ),
    (
        r"interface [A-Z][A-Za-z]+ ?[\d/.]+",
        0,
        "config-if",
        (
            rf"ip address {IP} {IP}",
            rf"ip mtu {numbers(68, 9216)}",
            rf"ip tcp adjust-mss {numbers(500, 1460)}",
            r"tunnel source \S+",
            r"tunnel mode ipsec ipv4",
            rf"tunnel destination {IP}",
            rf"tunnel protection ipsec profile {NAME}",
            r"tunnel path-mtu-discovery",
        ),
    ),
)
GLOBAL = (r"crypto isakmp invalid-spi-recovery", rf"ip route {IP} {IP} .+")
# Settings of which a section has one; the rest of the line is its value.
SINGLE = (
    "pre-shared-key", "address", "lifetime", "dpd", "ip address", "ip mtu", "ip tcp adjust-mss", "tunnel source",
    "tunnel destination", "set pfs", "set transform-set", "identity local", "keyring local", "set ikev2-profile",
    "set security-association lifetime seconds", "set security-association replay", "authentication local",
    "authentication remote", "tunnel protection",
)  # fmt: skip


def takes(rule: str, line: str) -> bool:
    """Whether a line fits a rule, with its numbers in their ranges."""
    match = re.fullmatch(rule, line)
    if not match:
        return False
    for name, value in match.groupdict().items():
        low, high = (int(x) for x in name[1:].split("_"))
        if not low <= int(value) <= high:
            return False
    return True


@dataclass
class IosXe(Device):
    """The router."""

    config: Section = field(default_factory=dict)
    startup: str = ""
    unreadable_left: int = 0

    def start(self) -> None:
        self._server = Server(lambda channel: _IosShell(self, channel).run())
        self.port = self._server.port
        self.unreadable_left = int(self.state.before_unreadable)

    def stop(self) -> None:
        self._server.stop()

    def variables(self) -> dict[str, object]:
        return {
            "ansible_connection": "ansible.netcommon.network_cli",
            "ansible_network_cli_ssh_type": "libssh",
            "ansible_network_os": "cisco.ios.ios",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": USER,
            "ansible_password": PASSWORD,
            "customer_device_platform": "cisco_iosxe",
            "customer_device_wan_interface": "GigabitEthernet1",
        }

    def names(self, gateway: str) -> dict[str, str]:
        return {"keyring": gateway}

    def configure(self, tunnel: Wanted) -> None:
        self.config.setdefault(f"crypto ikev2 keyring {tunnel.gateway}", {})[f"peer {tunnel.object}"] = {
            f"address {tunnel.endpoint}": {},
            f"pre-shared-key {tunnel.key}": {},
        }
        self.config[f"crypto ikev2 profile {tunnel.object}"] = {
            f"match identity remote address {tunnel.endpoint} 255.255.255.255": {},
            f"identity local fqdn {tunnel.local_id}": {},
            "authentication remote pre-share": {},
            "authentication local pre-share": {},
            f"keyring local {tunnel.gateway}": {},
        }

    def key_of(self, tunnel: Wanted) -> str | None:
        peer = self.config.get(f"crypto ikev2 keyring {tunnel.gateway}", {}).get(f"peer {tunnel.object}", {})
        return next((x.split()[-1] for x in peer if x.startswith("pre-shared-key ")), None)

    def running(self) -> str:
        return "\n".join(["hostname r1", "!", *_lines(self.config, 0), "!", "end"])

    def configured(self) -> list[str]:
        """The lines that were given in a configuration mode."""
        parts = [entry.partition("|") for entry in self.received]
        return [
            line for mode, _bar, line in parts if mode.startswith(("conf", "cfg", "ipsec")) and line not in ("", "end")
        ]

    def section(self, pattern: str) -> str:
        """What `| section PATTERN` prints."""
        chosen = {line: inner for line, inner in self.config.items() if pattern in line}
        return "\n".join(_lines(chosen, 0))

    def lock(self) -> str:
        """`show configuration lock`."""
        held = self.state.locked
        return (
            "Parser Configure Lock\n---------------------\n"
            f"Owner PID         : {3 if held else -1}\nUser              : {'night-job' if held else 'unknown'}\n"
            f"TTY               : {2 if held else -1}\nType              : {'EXCLUSIVE' if held else 'NO LOCK'}\n"
            f"State             : {'LOCKED' if held else 'FREE'}"
        )

    def show_sas(self) -> str:
        """`show crypto ikev2 sa detailed`."""
        sas = self.ike.all()
        if not sas:
            return ""
        head = (
            " IPv4 Crypto IKEv2  SA \n\n"
            "Tunnel-id Local                 Remote                fvrf/ivrf            Status \n"
        )
        return head + "\n".join(self._block(sa) for sa in sas) + "\n\n IPv6 Crypto IKEv2  SA \n"

    def _block(self, sa: Sa) -> str:
        gateway = self.ike.gateways[sa.gateway]
        port = 4500 if sa.nat else 500
        status = "READY" if sa.up else "IN-NEG"
        done = "Negotiation done" if sa.up else "Initiator waiting for AUTH response"
        return (
            f"{sa.number:<9} {gateway.local_address}/{port:<12} {gateway.endpoint}/{port:<10} "
            f"none/none            {status}  \n"
            "      Encr: AES-CBC, keysize: 256, PRF: SHA256, Hash: SHA256, DH Grp:20, "
            "Auth sign: PSK, Auth verify: PSK\n"
            f"      Life/Active Time: {sa.lifetime}/{sa.age} sec\n"
            f"      CE id: {1000 + sa.number}, Session-id: {sa.number}\n"
            f"      Local spi: {sa.cookies[0].upper()}       Remote spi: {sa.cookies[1].upper()}\n"
            f"      Status Description: {done}\n"
            f"      Local id: {gateway.local_id}\n"
            f"      Remote id: {gateway.endpoint}\n"
            "      Local req msg id:  2              Remote req msg id:  0         \n"
            "      DPD configured for 10 seconds, retry 3\n"
            f"      NAT-T is {'' if sa.nat else 'not '}detected  \n"
            "      Initiator of SA : Yes\n"
        )

    def clear(self, words: str) -> str:
        """`clear crypto ikev2 sa WORDS`."""
        kind, _space, what = words.partition(" ")
        chosen = {
            sa.gateway
            for sa in self.ike.all()
            if (kind == "remote" and self.ike.gateways[sa.gateway].endpoint == what)
            or (kind == "psh" and str(sa.number) == what)
        }
        if kind not in ("remote", "psh"):
            return INVALID
        if not chosen:
            return "% No matching IKEv2 SA"
        try:
            for gateway in sorted(chosen):
                self.ike.clear(gateway)
        except Refused as exc:
            return f"% Command rejected: {exc}"
        return ""


def _lines(section: Section, depth: int) -> list[str]:
    found = []
    for line, inner in section.items():
        found += [" " * depth + line, *_lines(inner, depth + 1)]
    return found


class _IosShell(Shell):
    """One session."""

    def __init__(self, router: IosXe, channel: paramiko.Channel) -> None:
        super().__init__(channel)
        self._router = router
        self._mode = "exec" if router.state.read_only else "enable"
        self._path: list[str] = []

    def prompt(self) -> str:
        return {"exec": "r1>", "enable": "r1#"}.get(self._mode, f"r1({self._mode})#")

    def answer(self, line: str) -> str | None:
        self._router.received.append(f"{self._mode}|{line}")
        said = self._exec(line) if self._mode in ("exec", "enable") else self._configure(line)
        if said and "% " in said:
            self._router.refused.append(line)
        return said

    def _exec(self, line: str) -> str | None:
        router = self._router
        if line in ("exit", "quit"):
            return None
        if line.startswith("show version"):
            return VERSION
        if line == "show privilege":
            return f"Current privilege level is {1 if router.state.read_only else 15}"
        if line.startswith(("terminal ", "enable", "show vlan")):
            return ""
        if router.state.read_only and line.startswith("show running-config"):
            return INVALID
        if match := re.fullmatch(r"show running-config \| section (?:\^)?(.+)", line):
            return router.section(match[1])
        if line.startswith("show running-config"):
            return f"Building configuration...\n\nCurrent configuration : 100 bytes\n!\n{router.running()}"
        if line == "show configuration lock":
            return router.lock()
        if line == "show crypto ikev2 sa detailed":
            if router.unreadable_left:
                router.unreadable_left -= 1
                return "% Unable to get the IKEv2 SAs: process busy"
            return router.show_sas()
        if self._mode == "exec":
            return INVALID
        if line == "configure terminal":
            if router.state.locked:
                return "% Configuration mode is locked by process '3' user 'night-job' from terminal '2'"
            self._mode, self._path = "config", []
            return "Enter configuration commands, one per line.  End with CNTL/Z."
        if match := re.fullmatch(r"clear crypto ikev2 sa (.+)", line):
            return router.clear(match[1])
        if line.startswith("copy running-config startup-config"):
            router.startup = router.running()
            return "[OK]"
        return INVALID

    def _configure(self, line: str) -> str:
        if line == "end":
            self._mode, self._path = "enable", []
            return ""
        if line == "exit":
            self._path = self._path[:-1]
            self._mode = self._prompt_of(self._path)
            return ""
        for pattern, depth, mode, _lines_of in SECTIONS:
            if depth <= len(self._path) and re.fullmatch(pattern, line):
                self._path, self._mode = [*self._path[:depth], line], mode
                self._section()
                return ""
        if any(takes(rule, line) for rule in GLOBAL):
            self._path, self._mode = [], "config"
            self._router.config[line] = {}
            return ""
        while self._path:
            if any(takes(rule, line) for rule in self._rules()):
                self._put(line)
                return ""
            self._path.pop()
            self._mode = self._prompt_of(self._path)
        return INVALID

    def _rules(self) -> tuple[str, ...]:
        depth = len(self._path) - 1
        return next(x[3] for x in SECTIONS if x[1] == depth and re.fullmatch(x[0], self._path[-1]))

    def _prompt_of(self, path: list[str]) -> str:
        if not path:
            return "config"
        return next(x[2] for x in SECTIONS if x[1] == len(path) - 1 and re.fullmatch(x[0], path[-1]))

    def _section(self) -> Section:
        section = self._router.config
        for name in self._path:
            section = section.setdefault(name, {})
        return section

    def _put(self, line: str) -> None:
        section = self._section()
        for setting in SINGLE:
            if line.startswith(setting + " "):
                for other in [x for x in section if x.startswith(setting + " ")]:
                    del section[other]
        section[line] = {}
