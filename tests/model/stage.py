# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A world whose faults a test writes down, one by one, and runs that stop where the test says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, format_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Key, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Stored
from greenlet import getcurrent, greenlet

from tests.model.faults import Faults
from tests.model.runs import Hooks, Run, Wish
from tests.model.sandbox import simulated
from tests.model.world import DAY, START, Tunnel, World

MONTH = 30 * 86400
PLACES = ("step", "list", "list answered", "read", "read done", "write", "write done", "request", "answer", "device")


class Script(Faults):
    """What a test has written down: each fault strikes once, at the first place where it can."""

    def __init__(self) -> None:
        self.due: list[tuple[str, str]] = []
        self.stops: dict[str, str] = {}
        self.delay = 600.0

    def hit(self, kind: str, who: str, where: str) -> bool:
        """Whether the test has named this fault for this run."""
        if (who, kind) in self.due:
            self.due.remove((who, kind))
            return True
        return False

    def switches(self, who: str, where: str) -> bool:
        """Whether the run stops here."""
        return self.stops.get(who) == where

    def between(self, low: float, high: float) -> float:
        """The delay that the test has set."""
        return min(self.delay, high)

    def pick(self, choices: Any) -> Any:
        """The most."""
        return max(choices)


class Stage:
    """One site with the tunnels ``s-a`` and ``s-b``, each at a device of its own.

    The keys at the beginning are K1 and K2; a run makes the next ones. ``hooks`` are the devices'; ``unknown`` are the
    tunnels whose key the escrow does not know.
    """

    def __init__(self, **wish: Any) -> None:
        self.script = Script()
        self.world = World(traced=True)
        self.world.faults = self.script
        self.world.offsets = {"m1": 0.0, "m2": 0.0, "m3": 0.0}
        hooks, unknown = wish.pop("hooks", Hooks(device=True)), wish.pop("unknown", ())
        hosts = ("a", "b")
        for host in hosts:
            on = format_time(int((START - 90 * DAY) * NANO))
            psk = f"F-{host}" if host in unknown else self.world.new_psk()
            self.world.add(Tunnel(host, f"s-{host}", "s", host, None, psk, psk, START - 90 * DAY, on, on))
            if host in unknown:
                continue
            record = Record(name=f"s-{host}", generation=1, revision=1, current=Key(psk, on, on, "rot-0"))
            self.world.records[host] = Stored(record, 1)
            self.world.writers[host] = "rot-0", 1
        self.wish = Wish(
            hosts=hosts,
            claims={x: [x] for x in hosts},
            hooks=dict.fromkeys(hosts, hooks),
            **{"max_age": MONTH, **wish},
        )

    @property
    def a(self) -> Tunnel:
        """The tunnel s-a."""
        return self.world.tunnels["a"]

    @property
    def b(self) -> Tunnel:
        """The tunnel s-b."""
        return self.world.tunnels["b"]

    def record(self, tunnel: Tunnel) -> Record:
        """What the escrow holds of it."""
        return self.world.records[tunnel.id].record

    def start(self, *faults: str, machine: str = "m1", **wish: Any) -> Run:
        """A run that has not begun. The faults strike it once each."""
        wish = {"hosts": self.wish.hosts, **wish}
        run = Run(self.world, f"r{len(self.world.runs) + 1}", machine, replace(self.wish, **wish))
        self.world.runs[run.name] = run
        self.script.due += [(run.name, x) for x in faults]
        run.hub = getcurrent()
        run.greenlet = greenlet(run.play)
        return run

    def go(self, run: Run, until: str | None = None) -> Run:
        """Lets the run go on: to the end, or until it comes to this place."""
        assert run.greenlet is not None
        self.script.stops[run.name] = until or ""
        self.world.running = run
        run.greenlet.switch()
        assert run.greenlet.dead == (until is None), f"{run.name} does not come to {until!r}"
        self.world.running = None
        return run

    def run(self, *faults: str, machine: str = "m1", **wish: Any) -> Run:
        """A run, from its beginning to its end."""
        run = self.go(self.start(*faults, machine=machine, **wish))
        assert not [x for x in self.script.due if x[0] == run.name], "a fault has found no place to strike"
        return run

    def kill(self, run: Run) -> None:
        """The run is dead."""
        run.over = run.dead = True
        self.go(run)

    def status(self, run: Run, tunnel: Tunnel) -> str:
        """What the run says of the tunnel."""
        return run.results[tunnel.id].status

    def agree(self, tunnel: Tunnel) -> bool:
        """Whether Cloudflare, the device and the escrow have one key, and nothing is unresolved."""
        record = self.record(tunnel)
        assert record.current is not None
        return not record.unresolved and tunnel.psk == tunnel.device == record.current.psk


@contextlib.contextmanager
def stage(**wish: Any) -> Iterator[Stage]:
    """A stage, whose invariants hold at the end."""
    made = Stage(**wish)
    with simulated(made.world):
        yield made
    told = "\n".join(made.world.lines or ())
    assert not made.world.oracle.violations, f"\n{told}"
