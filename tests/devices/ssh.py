# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An SSH server with a shell or a subsystem a session."""

from __future__ import annotations

import re
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

import paramiko

from .device import PASSWORD, USER

_KEY = paramiko.RSAKey.generate(2048)


class Server:
    """Serves each channel of each client by `serve`."""

    def __init__(self, serve: Callable[[paramiko.Channel], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Close everything."""
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
            transport.add_server_key(_KEY)
            self._transports.append(transport)
            try:
                transport.start_server(server=_Door(self._serve))
            except paramiko.SSHException:
                continue


class _Door(paramiko.ServerInterface):
    def __init__(self, serve: Callable[[paramiko.Channel], None]) -> None:
        self._serve = serve

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
        threading.Thread(target=self._serve, args=(channel,), daemon=True).start()
        return True

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        if name != "netconf":
            return False
        threading.Thread(target=self._serve, args=(channel,), daemon=True).start()
        return True


class Shell(ABC):
    """A command line: prompts, echoes, answers."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    @abstractmethod
    def prompt(self) -> str:
        """What stands before the cursor."""

    @abstractmethod
    def answer(self, line: str) -> str | None:
        """What the line prints; None ends the session."""

    def run(self) -> None:
        """Serve until the client goes."""
        self._channel.sendall(("\r\n" + self.prompt()).encode())
        waiting = b""
        while data := self._channel.recv(65536):
            waiting += data
            while match := re.search(rb"[\r\n]", waiting):
                raw, waiting = waiting[: match.start()], waiting[match.end() :]
                line = raw.decode().strip()
                self._channel.sendall(raw + b"\r\n")
                said = self.answer(line) if line else ""
                if said is None:
                    self._channel.close()
                    return
                text = said.replace("\n", "\r\n") + ("\r\n" if said else "")
                self._channel.sendall((text + self.prompt()).encode())
