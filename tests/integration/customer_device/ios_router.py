# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A router that behaves like Cisco IOS XE towards Ansible: SSH, modes, a running configuration, IKEv2 SAs.

It proves how the collection speaks to such a device, not what IOS does. Its IKEv2 is a table: `clear crypto ikev2 sa
remote` makes a new SA when the keyring's PSK for that peer is the one that the peer has, and none otherwise.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

import paramiko

USER, PASSWORD = "ansible", "device-password"
VERSION = """Cisco IOS XE Software, Version 17.09.04a
Cisco IOS Software [Cupertino], Virtual XE Software (X86_64_LINUX_IOSD-UNIVERSALK9-M), Version 17.9.4a
r1 uptime is 1 day
cisco C8000V (VXE) processor (revision VXE) with 1K bytes of memory."""
# What opens a section, how deep it stands, and the prompt in it.
SECTIONS = (
    (r"crypto ikev2 keyring \S+$", 0, "config-ikev2-keyring"),
    (r"peer \S+$", 1, "config-ikev2-keyring-peer"),
    (r"crypto ikev2 proposal \S+$", 0, "config-ikev2-proposal"),
    (r"crypto ikev2 policy \S+$", 0, "config-ikev2-policy"),
    (r"crypto ikev2 profile \S+$", 0, "config-ikev2-profile"),
    (r"crypto ipsec transform-set .+$", 0, "cfg-crypto-trans"),
    (r"crypto ipsec profile \S+$", 0, "ipsec-profile"),
    (r"interface \S+$", 0, "config-if"),
)
# Settings of which a section has one; the rest of the line is its value.
SINGLE = (
    "pre-shared-key", "address", "lifetime", "dpd", "ip address", "ip mtu", "ip tcp adjust-mss", "tunnel source",
    "tunnel destination", "set pfs", "set transform-set", "identity local", "keyring local",
)  # fmt: skip


@dataclass
class Router:
    """The device; a context manager that listens on `port`."""

    peer_psks: dict[str, str] = field(default_factory=dict)
    rejects: str = ""
    config: dict[str, dict] = field(default_factory=dict)
    sas: dict[str, float] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> Router:
        self._key = paramiko.RSAKey.generate(2048)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # close() alone would leave accept() waiting for one more client
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transport.add_server_key(self._key)
            self._transports.append(transport)
            try:
                transport.start_server(server=_Door(self))
            except paramiko.SSHException:
                continue

    def configured(self) -> list[str]:
        """The commands that were given in a configuration mode."""
        return [line for mode, _, line in (entry.partition("|") for entry in self.commands) if mode.startswith("conf")]

    def running(self) -> str:
        """The running configuration."""
        return "\n".join(["hostname r1", "!", *_lines(self.config, 0), "!", "end"])

    def psk_of(self, endpoint: str) -> str | None:
        """The PSK of the keyring's peer with this address."""
        for name, section in self.config.items():
            if name.startswith("crypto ikev2 keyring "):
                for peer in section.values():
                    if f"address {endpoint}" in peer:
                        return next((line.split()[1] for line in peer if line.startswith("pre-shared-key ")), None)
        return None

    def clear(self, endpoint: str) -> None:
        """Take the peer's SA down, and make a new one when both ends have one PSK."""
        self.sas.pop(endpoint, None)
        if self.psk_of(endpoint) and self.psk_of(endpoint) == self.peer_psks.get(endpoint):
            self.sas[endpoint] = time.time()

    def show_sa(self, endpoint: str) -> str:
        """The peer's SA, in the words of IOS XE."""
        if endpoint not in self.sas:
            return ""
        age = int(time.time() - self.sas[endpoint])
        return f"""IPv4 Crypto IKEv2  SA

Tunnel-id Local                 Remote                fvrf/ivrf            Status
1         192.0.2.10/4500       {endpoint}/4500      none/none            READY
      Encr: AES-CBC, keysize: 256, PRF: SHA256, Hash: SHA256, DH Grp:20, Auth sign: PSK, Auth verify: PSK
      Life/Active Time: 86400/{age} sec"""


def _lines(section: dict[str, dict], depth: int) -> list[str]:
    found = []
    for line, inner in section.items():
        found += [" " * depth + line, *_lines(inner, depth + 1)]
    return found


class _Door(paramiko.ServerInterface):
    def __init__(self, router: Router) -> None:
        self._router = router

    def check_auth_password(self, username: str, password: str) -> int:
        good = (username, password) == (USER, PASSWORD)
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_pty_request(self, *arguments: object) -> bool:
        return True

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        threading.Thread(target=_Shell(self._router, channel).run, daemon=True).start()
        return True


class _Shell:
    """One session."""

    def __init__(self, router: Router, channel: paramiko.Channel) -> None:
        self._router = router
        self._channel = channel
        self._mode = "enable"
        self._path: list[str] = []

    def run(self) -> None:
        self._channel.sendall(("\r\n" + self._prompt()).encode())
        pending = b""
        while data := self._channel.recv(65536):
            pending += data
            while match := re.search(rb"[\r\n]", pending):
                raw, pending = pending[: match.start()], pending[match.end() :]
                line = raw.decode().strip()
                self._router.commands.append(f"{self._mode}|{line}")
                self._channel.sendall(raw + b"\r\n")
                answer = self._answer(line) if line else ""
                if answer is None:
                    self._channel.close()
                    return
                text = answer.replace("\n", "\r\n") + ("\r\n" if answer else "")
                self._channel.sendall((text + self._prompt()).encode())

    def _prompt(self) -> str:
        return "r1#" if self._mode == "enable" else f"r1({self._mode})#"

    def _answer(self, line: str) -> str | None:
        return self._exec(line) if self._mode == "enable" else self._configure(line)

    def _exec(self, line: str) -> str | None:
        router = self._router
        if line in ("exit", "quit"):
            return None
        if line == "configure terminal":
            self._mode, self._path = "config", []
            return "Enter configuration commands, one per line.  End with CNTL/Z."
        if line.startswith("show version"):
            return VERSION
        if line.startswith("show running-config"):
            return f"Building configuration...\n\nCurrent configuration : 100 bytes\n!\n{router.running()}"
        if line == "show privilege":
            return "Current privilege level is 15"
        if line == "show clock":
            return "*12:00:00.000 UTC Mon Nov 2 2026"
        if match := re.match(r"clear crypto ikev2 sa remote (\S+)$", line):
            router.clear(match[1])
            return ""
        if match := re.match(r"show crypto ikev2 sa remote (\S+) detailed$", line):
            return router.show_sa(match[1])
        if line.startswith("copy running-config startup-config"):
            return "[OK]"
        if line.startswith(("terminal ", "enable")):
            return ""
        return "% Invalid input detected at '^' marker."

    def _configure(self, line: str) -> str:
        if line == "end":
            self._mode, self._path = "enable", []
            return ""
        if line == "exit":
            self._path = self._path[:-1]
            self._mode = self._mode_of_path()
            return ""
        if self._router.rejects and line.startswith(self._router.rejects):
            return f"{line}\n                ^\n% Invalid input detected at '^' marker.\n"
        for pattern, depth, _mode in SECTIONS:
            if re.match(pattern, line) and depth <= len(self._path):
                self._path = [*self._path[:depth], line]
                self._mode = self._mode_of_path()
                self._section()
                return ""
        if line.startswith("crypto ") and self._path:
            self._path, self._mode = [], "config"
        self._put(line)
        return ""

    def _mode_of_path(self) -> str:
        if not self._path:
            return "config"
        return next(mode for pattern, _depth, mode in SECTIONS if re.match(pattern, self._path[-1]))

    def _section(self) -> dict[str, dict]:
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
