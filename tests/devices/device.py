# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every stand-in has: how it is set up, and what it keeps of what it was sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

from .model import Gateway, Ike

USER, PASSWORD = "ansible", "device-password-of-the-tests"


@dataclass(frozen=True)
class Wanted:
    """A tunnel that is configured on the device already, with its names there."""

    id: str
    object: str
    gateway: str
    endpoint: str
    local_id: str
    key: str


@dataclass
class State:
    """How a device is when the role comes to it."""

    before_unreadable: bool = False
    read_only: bool = False
    passive: bool = False
    locked: bool = False
    pending: bool = False  # another admin has changes that are not committed


@dataclass
class Device:
    """A stand-in; a context manager that listens on `port` of 127.0.0.1."""

    ike: Ike
    state: State = field(default_factory=State)
    port: int = 0
    received: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __enter__(self) -> Device:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        raise NotImplementedError

    def stop(self) -> None:
        """Listen no longer."""
        raise NotImplementedError

    def configure(self, tunnel: Wanted) -> None:
        """Have the tunnel configured, as an earlier run or an administrator has."""
        raise NotImplementedError

    def key_of(self, tunnel: Wanted) -> str | None:
        """The tunnel's PSK in the running configuration."""
        raise NotImplementedError

    def running(self) -> str:
        """The running configuration."""
        raise NotImplementedError

    def others_change_committed(self) -> bool:
        """Whether the other admin's pending change has been committed."""
        return False

    def variables(self) -> dict[str, object]:
        """The inventory's variables for the device."""
        raise NotImplementedError

    def names(self, gateway: str) -> dict[str, str]:
        """The options of a tunnel whose gateway has another name than its object."""
        raise NotImplementedError

    def know(self, tunnel: Wanted, age: float | None) -> None:
        """Give IKE the tunnel's gateway."""
        gateway = Gateway(
            name=tunnel.gateway,
            tunnel=tunnel.object,
            endpoint=tunnel.endpoint,
            local_id=tunnel.local_id,
            key=lambda: self.key_of(tunnel),
        )
        self.ike.add(gateway, age)
