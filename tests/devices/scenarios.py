# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a device while it gets a PSK, and what the role must say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .device import State
from .model import Clearing, Ike

OLD = "Old1dP9sQ7xT1vB5nM8cW2eR6yU4iO0pLzHgFjDk"
NEW = "New1dP9sQ7xT1vB5nM8cW2eR6yU4iO0pLzHgFjDk"
WRONG = "Wrong1P9sQ7xT1vB5nM8cW2eR6yU4iO0pLzHgFjDk"
CONFIRMED, FAILED = "confirmed", "failed"


def nothing(_ike: Ike) -> None:
    """IKE does what it should."""


def clearing(how: Clearing) -> Callable[[Ike], None]:
    """Clearing SAs does this."""

    def prepare(ike: Ike) -> None:
        ike.clearing = how

    return prepare


def rekeyed(ike: Ike) -> None:
    """The device says that it cleared, has not, and its child SA is rekeyed."""
    ike.clearing, ike.rekeys_child = Clearing.IGNORED, True


def half_open(ike: Ike) -> None:
    """The device says that it cleared, has not, and begins another attempt that never ends."""
    ike.clearing, ike.attempts_first = Clearing.IGNORED, True


@dataclass(frozen=True)
class Scenario:
    """One column of the matrix."""

    title: str
    expected: str
    # What the reason must have in it, as a regular expression.
    reason: str = ""
    peer_key: str = NEW
    prepare: Callable[[Ike], None] = nothing
    state: State = field(default_factory=State)
    entry: str = "psk"
    entries: dict[str, str] = field(default_factory=dict)  # another one on some platforms
    there: bool = True  # whether the tunnel is on the device
    names_differ: bool = False
    other: bool = False  # whether another tunnel goes to the same address
    twice: bool = False
    timeout: int = 8
    # What it has to be on some platforms: expected, reason.
    elsewhere: dict[str, tuple[str, str]] = field(default_factory=dict)
    # The platforms on which it can't happen, with the reason.
    impossible: dict[str, str] = field(default_factory=dict)


_NO_HA = "the platform has no passive member that answers"
_NO_LOCK = "the platform has no lock"
_NO_PENDING = "the platform has no uncommitted changes of others"
# OPNsense says that it did it, whatever came of it, and is believed only when the SA is gone.
_NOT_GONE = {"opnsense": (FAILED, "did not clear its SA: it still has one")}
_LINUX = ("strongswan", "strongswan_stroke", "libreswan")

SCENARIOS: dict[str, Scenario] = {
    "right": Scenario("right key", CONFIRMED),
    "wrong": Scenario("wrong key at the peer", FAILED, "no new IKE_AUTH|AUTHENTICATION_FAILED", peer_key=WRONG),
    "refused": Scenario(
        "clear refused",
        FAILED,
        "did not clear its SA: .*not permitted",
        prepare=clearing(Clearing.REFUSED),
        elsewhere=_NOT_GONE,
    ),
    "late": Scenario("clear late by 8 s", CONFIRMED, prepare=clearing(Clearing.LATE), timeout=25),
    "ignored": Scenario(
        "clear without effect",
        FAILED,
        "its SA is older",
        prepare=clearing(Clearing.IGNORED),
        elsewhere=_NOT_GONE,
    ),
    "unreadable": Scenario(
        "before unreadable", FAILED, "could not be read before", state=State(before_unreadable=True)
    ),
    "rekeyed": Scenario("child rekeyed meanwhile", FAILED, "its SA is older", prepare=rekeyed, elsewhere=_NOT_GONE),
    "other": Scenario(
        "other tunnel to the address up", FAILED, "no new IKE_AUTH|AUTHENTICATION_FAILED", peer_key=WRONG, other=True
    ),
    "other_right": Scenario("other tunnel there, right key", CONFIRMED, other=True),
    "half_open": Scenario("half-open first", FAILED, "its SA is older", prepare=half_open, elsewhere=_NOT_GONE),
    "missing": Scenario("object missing", FAILED, "is left alone: .*has no", there=False, entry="reach"),
    "names": Scenario("gateway and tunnel of different names", CONFIRMED, names_differ=True),
    "read_only": Scenario("read-only user", FAILED, "is left alone", state=State(read_only=True), entry="reach"),
    "passive": Scenario(
        "passive member",
        FAILED,
        "is left alone: .*passive|secondary|backup",
        state=State(passive=True),
        entry="reach",
        impossible=dict.fromkeys(("cisco_iosxe", "vyos", *_LINUX), _NO_HA),
    ),
    "locked": Scenario(
        "commit lock",
        FAILED,
        "is left alone: .*lock",
        state=State(locked=True),
        entry="reach",
        entries={"vyos": "psk"},
        # Its lock lasts as long as another's commit, and shows at the own commit only.
        elsewhere={"vyos": (FAILED, "refused the configuration: .*lock")},
        impossible=dict.fromkeys(("fortios", "opnsense", *_LINUX), _NO_LOCK),
    ),
    "pending": Scenario(
        "another admin's pending change",
        CONFIRMED,
        state=State(pending=True),
        elsewhere={"junos": (FAILED, "is left alone: .*modified")},
        impossible=dict.fromkeys(("cisco_iosxe", "fortios", "opnsense", *_LINUX), _NO_PENDING),
    ),
    "twice": Scenario("psk twice", CONFIRMED, twice=True),
    "main": Scenario("main twice", CONFIRMED, entry="main", there=False, twice=True, timeout=15),
}
