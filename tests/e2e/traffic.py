# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic on every tunnel, and which of it was lost; SAs where no traffic can be.

`python -m tests.e2e.traffic CONFIG OUT` sends a small UDP packet through each tunnel in every slot of time, has the
other end send it back, and writes a line a slot: the slot's time, and 1 or 0 for each tunnel.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INTERVAL = 0.05
# On a busy machine an answer may take long; what was lost is never answered, however long one waits.
REPLY_SECONDS = 5.0
PORT = 7007
FORMAT = struct.Struct("!Q")
# When a tunnel came up or went down.
Changes = Sequence[tuple[float, bool]]


def socket_in(netns: str, address: str, port: int) -> socket.socket:
    """A UDP socket that lives in a network namespace; it stays there when this process has left it."""
    with Path("/proc/self/ns/net").open() as here, Path(f"/run/netns/{netns}").open() as there:
        os.setns(there.fileno(), os.CLONE_NEWNET)
        try:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        finally:
            os.setns(here.fileno(), os.CLONE_NEWNET)
    made.setblocking(False)
    made.bind((address, port))
    return made


def main(config_path: str, out_path: str) -> None:
    """Run until it is killed."""
    config = json.loads(Path(config_path).read_text(encoding="utf-8"))
    selector = selectors.DefaultSelector()
    for edge in config["edges"]:
        for address in edge["addresses"]:
            selector.register(socket_in(edge["netns"], address, PORT), selectors.EVENT_READ, None)
    senders = []
    for index, tunnel in enumerate(config["tunnels"]):
        sender = socket_in(tunnel["netns"], tunnel["source"], 0)
        selector.register(sender, selectors.EVENT_READ, index)
        senders.append((sender, (tunnel["target"], PORT)))
    start = time.time()
    number = 0
    open_slots: dict[int, list[bool]] = {}
    with Path(out_path).open("w", encoding="utf-8") as out:
        while True:
            now = time.time()
            due = start + number * INTERVAL
            if now >= due:
                open_slots[number] = [False] * len(senders)
                for sender, target in senders:
                    with contextlib.suppress(OSError):
                        sender.sendto(FORMAT.pack(number), target)
                number += 1
                continue
            for key, _events in selector.select(due - now):
                receive(key.fileobj, key.data, open_slots)
            for slot, seen in list(open_slots.items()):
                if not all(seen) and start + slot * INTERVAL + REPLY_SECONDS > now:
                    break  # in the order in which they were sent
                out.write(f"{start + slot * INTERVAL:.3f} {''.join('01'[x] for x in seen)}\n")
                out.flush()
                del open_slots[slot]


def receive(listener: Any, index: int | None, open_slots: dict[int, list[bool]]) -> None:
    """Answer (index None) or note an answer."""
    while True:
        try:
            data, sender = listener.recvfrom(64)
        except OSError:
            return
        if index is None:
            with contextlib.suppress(OSError):
                listener.sendto(data, sender)
        elif (slot := FORMAT.unpack(data)[0]) in open_slots:
            open_slots[slot][index] = True


@dataclass(frozen=True)
class Loss:
    """What was lost between two moments. Gaps in seconds, by tunnel; lost probes by site.

    Where a device's tunnels carry no traffic, a slot of time in which a tunnel has no SA stands for a lost probe.
    """

    slots: int
    gaps: dict[str, float]
    dark_slots: dict[str, int]
    dark_gaps: dict[str, float]

    @property
    def longest_dark(self) -> float:
        """The longest time that any site was without a working tunnel."""
        return max(self.dark_gaps.values())


def read_loss(out: Path, tunnels: Mapping[str, str], sas: Mapping[str, Changes], start: float, end: float) -> Loss:
    """What the prober wrote for the time from start to end.

    `tunnels` names the site of each tunnel. `sas` has those that carry no traffic, with the changes of their SAs; the
    others are the prober's, in its order.
    """
    probed = [name for name in tunnels if name not in sas]
    rows = []
    for line in out.read_text(encoding="utf-8").splitlines():
        moment, _, seen = line.partition(" ")
        if len(seen) == len(probed) and start <= float(moment) <= end:
            rows.append((float(moment), seen))
    columns = {name: [seen[i] == "1" for _moment, seen in rows] for i, name in enumerate(probed)}
    columns |= {name: [is_up(changes, moment) for moment, _seen in rows] for name, changes in sas.items()}
    sites = {
        site: [any(both) for both in zip(*(columns[n] for n in tunnels if tunnels[n] == site), strict=True)]
        for site in dict.fromkeys(tunnels.values())
    }
    return Loss(
        slots=len(rows),
        gaps={name: longest_gap(column) for name, column in columns.items()},
        dark_slots={site: column.count(False) for site, column in sites.items()},
        dark_gaps={site: longest_gap(column) for site, column in sites.items()},
    )


def is_up(changes: Changes, moment: float) -> bool:
    """Whether a tunnel was up at a moment."""
    before = bisect.bisect_right(changes, (moment, True))
    return before > 0 and changes[before - 1][1]


def longest_gap(seen: list[bool]) -> float:
    """The longest run of lost probes, in seconds."""
    longest = run = 0
    for answered in seen:
        run = 0 if answered else run + 1
        longest = max(longest, run)
    return round(longest * INTERVAL, 3)


if __name__ == "__main__":
    main(*sys.argv[1:])
