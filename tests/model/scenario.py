# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenarios out of a seed: an account, some runs at once with everything that may go wrong, then plain re-runs."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, TIME_TOLERANCE, format_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _upkeep
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import STUCK, Key, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Stored
from greenlet import getcurrent, greenlet

from tests.model.fakes import FakeStore
from tests.model.faults import KINDS, Faults, RandomFaults
from tests.model.oracle import ENDED, Violation
from tests.model.runs import Hooks, Run, Wish
from tests.model.sandbox import simulated
from tests.model.world import DAY, START, Tunnel, World

MONTH = 30 * 86400
# Plain runs after which nothing is to be left; with manual confirmation a group's tunnels go one by one.
PLAIN_RUNS, MANUAL_RUNS = 4, 7
TURNS = 150
FAREST_CLOCK = 1200.0
WORDS = ("alpha", "bravo", "charlie", "delta")


@dataclass(frozen=True)
class Outcome:
    """What became of a scenario."""

    seed: int
    violations: tuple[Violation, ...]
    lines: tuple[str, ...]
    struck: int
    met: frozenset[str]
    runs: int


@dataclass
class Scenario:
    """One scenario. ``without`` are the numbers of faults that are left out."""

    seed: int
    traced: bool = False
    without: frozenset[int] = frozenset()
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self.world = World(traced=self.traced)
        self._all: Wish
        self._plain_number = 0

    def play(self) -> Outcome:
        """Plays it to its end, or to the first violation."""
        world = self.world
        with simulated(world):
            self._set_up()
            self._chaos()
            faults, world.faults = world.faults, Faults()
            if not world.oracle.violations:
                self._plain()
        assert isinstance(faults, RandomFaults)
        return Outcome(
            self.seed,
            tuple(world.oracle.violations),
            tuple(world.lines or ()),
            faults.struck,
            frozenset(faults.met),
            len(world.runs),
        )

    # -- the account ------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        chance, world = self._chance, self.world
        for machine in ("m1", "m2", "m3"):
            world.offsets[machine] = chance.choice((0.0, chance.uniform(0, FAREST_CLOCK)))
        world.atomic = chance.random() < 0.5
        world.carries = chance.random() < 0.2
        world.hidden = chance.random() < 0.05
        most = TIME_TOLERANCE / NANO
        world.skew = chance.choice((0.0, 0.0, 1.0, -1.0, most, -most))
        sites = chance.choice((1, 1, 1, 2))
        size = chance.choice((2, 2, 2, 3))
        alone = chance.random() < 0.35
        shape = chance.choice(("names", "endpoint", "device", "mapping", "pattern"))
        if alone and shape == "device":
            shape = "endpoint"
        claims: dict[str, list[str]] = {}
        group_by: object = "auto"
        mapping: dict[str, list[str]] = {}
        for site in (f"s{x + 1}" for x in range(sites)):
            for index in range(size):
                letter = "abc"[index]
                name = f"{site}-{letter}" if shape in ("names", "pattern") else f"{WORDS[index]}{site[1:] * 3}x"
                host = "localhost" if alone else site if shape == "device" else f"{site}{letter}"
                claims.setdefault(host, []).append(f"{name}*")
                mapping.setdefault(site, []).append(f"{name}*")
                endpoint = {"endpoint": f"192.0.2.{site[1:]}"}.get(shape)
                self._add(f"{site}{letter}", name, site, host, endpoint)
        if shape == "mapping":
            group_by = mapping
        elif shape == "pattern":
            group_by = "(?P<group>[^-]+)-"
        with_device, verifies = not alone and chance.random() < 0.9, chance.random() < 0.4
        self._all = Wish(
            hosts=tuple(claims),
            claims={"localhost": ["all"]} if alone else claims,
            hooks={x: Hooks(with_device, with_device and verifies) for x in claims},
            confirmation=chance.choice(("none", "none", "manual")),
            group_by=group_by,
            max_age=MONTH,
            lease=chance.choice((900, 900, 120)),
        )

    def _add(self, tunnel_id: str, name: str, site: str, host: str, endpoint: str | None) -> None:
        chance, world = self._chance, self.world
        set_on = START - 90 * DAY
        on = format_time(int(set_on * NANO))
        known = chance.random() < 0.85
        psk = world.new_psk() if known else f"F-{name}"
        world.add(Tunnel(tunnel_id, name, site, host, endpoint, psk, psk, set_on, on, world.shown(set_on)))
        world.tunnels[tunnel_id].versions[0].since = 0.0
        if known:
            previous = Key(world.new_psk(), applied_on=on) if chance.random() < 0.5 else None
            current = Key(psk, applied_on=on, made_on=on, rotation_id="rot-0")
            record = Record(name=name, generation=1, revision=1, current=current, previous=previous)
            world.records[tunnel_id] = Stored(record, 1)
            world.writers[tunnel_id] = "rot-0", 1

    # -- everything goes wrong --------------------------------------------------------------------------------------

    def _chaos(self) -> None:
        chance, world = self._chance, self.world
        number = chance.choice((1, 2, 3, 4, 6, 9))
        rates = {x: chance.choice((0.02, 0.1, 0.1, 0.4)) for x in chance.sample(KINDS, number)}
        for kind in ("killed", "left behind", "stopped", "machine asleep"):
            if kind in rates:
                rates[kind] *= 0.2
        world.faults = RandomFaults(
            chance,
            rates,
            pace=chance.choice((0.5, 5.0, 50.0, 400.0)),
            switching=chance.choice((0.0, 0.02, 0.1, 0.3)),
            without=self.without,
            say=world.say if self.traced else None,
        )
        if self.traced:
            world.say("", f"may go wrong: {', '.join(f'{x} {rate:g}' for x, rate in rates.items())}")
        left = chance.choice((1, 2, 2, 3, 3, 4))
        at_once = chance.choice((1, 2, 3))
        force = chance.choice((0.0, 0.0, 0.3))
        modes = chance.choice((("rotate",), ("rotate", "rollback"), ("rotate", "reconcile", "rollback", "confirm")))
        active: list[Run] = []
        hub = getcurrent()
        for _turn in range(TURNS):
            if world.oracle.violations or not (left or active):
                break
            self._people()
            if left and (not active or (len(active) < at_once and chance.random() < 0.3)):
                left -= 1
                if not active and chance.random() < 0.3:
                    world.advance(chance.choice((60, 1000, 4000)))
                active.append(self._start(self._wish(modes, force), hub))
            awake = [x for x in active if x.asleep_until <= world.now]
            if not awake:
                earliest = min(x.asleep_until for x in active)
                if left and len(active) < at_once and chance.random() < 0.7:
                    continue
                world.advance(max(0.0, earliest - world.now))
                continue
            run = awake[int(chance.random() * len(awake))]
            world.running = run
            assert run.greenlet is not None
            run.greenlet.switch()
            if run.greenlet.dead:
                active.remove(run)
        for run in active:
            run.over = run.dead = True
            world.say(run.name, "dies")
            assert run.greenlet is not None
            run.greenlet.switch()
        world.running = None

    def _start(self, wish: Wish, hub: greenlet) -> Run:
        world = self.world
        machine = self._chance.choice(("m1", "m1", "m2", "m3"))
        run = self._run(wish, machine)
        run.hub = hub
        if world.slept.get(machine):
            run.asleep_until = max(x.asleep_until for x in world.runs.values() if x.machine == machine)
        run.greenlet = greenlet(run.play)
        return run

    def _run(self, wish: Wish, machine: str) -> Run:
        world = self.world
        run = Run(world, f"r{len(world.runs) + 1}", machine, wish)
        world.runs[run.name] = run
        return run

    def _wish(self, modes: tuple[str, ...], force: float) -> Wish:
        chance, wish = self._chance, self._all
        mode = chance.choice(modes)
        if wish.confirmation == "manual" and chance.random() < 0.3:
            mode = "confirm"
        hosts = wish.hosts
        if len(hosts) > 1 and chance.random() < 0.3:
            hosts = tuple(x for x in hosts if chance.random() < 0.5) or hosts[:1]
        claims = wish.claims
        if hosts == ("localhost",) and chance.random() < 0.3:
            existing = [x for x in self.world.tunnels.values() if x.exists]
            claims = {"localhost": [chance.choice(existing).id]}
        rollback_id = ""
        if mode == "rollback" and self.world.runs and chance.random() < 0.6:
            rollback_id = self.world.runs[chance.choice(list(self.world.runs))].rotation_id
        return replace(
            wish,
            mode=mode,
            hosts=hosts,
            claims=claims,
            rollback_id=rollback_id,
            force=mode == "rotate" and chance.random() < force,
            max_age=chance.choice((MONTH, MONTH, 600)),
            serial=chance.choice((1000, 1)),
            wave_size=chance.choice((1000, 1)),
            canary=chance.choice((0, 1)),
            max_failures=chance.choice(("0", "100%")),
            check=chance.random() < 0.04,
        )

    def _people(self) -> None:
        world, faults = self.world, self.world.faults
        for kind in ("stranger", "renamed", "made again", "record touched by hand", "unstuck"):
            if not faults.hit(kind, "", "the dashboard"):
                continue
            tunnel = faults.pick([x for x in world.tunnels.values() if x.exists])
            if kind == "stranger":
                world.foreign_change(tunnel)
            elif kind == "renamed":
                world.rename(tunnel, f"{tunnel.name}x")
            elif kind == "made again":
                world.recreate(tunnel)
            elif kind == "record touched by hand":
                world.touch(tunnel.id)
            else:
                self._unstick()

    def _unstick(self) -> bool:
        """A person decides that the escrow's keys count."""
        world = self.world
        ids = [i for i, x in world.records.items() if x.record.state == STUCK]
        if not ids:
            return False
        person, world.running = self._run(self._all, "m1"), None
        faults, world.faults = world.faults, Faults()
        mover = Mover(FakeStore(person), lambda: person.claim("person"))
        moves = _upkeep.unstick(mover, ids)
        world.faults, person.over = faults, True
        for tunnel_id, exc in moves.refused.items():
            world.say(person.name, f"can't unstick {world.tunnels[tunnel_id].name}: {exc}")
        return bool(moves.moved)

    # -- and ends ---------------------------------------------------------------------------------------------------

    def _plain(self) -> None:
        """Plain re-runs without faults, then what a person does about what is stuck, then nothing is left to do."""
        world, chance = self.world, self._chance
        world.say("", "-- plain re-runs --")
        if chance.random() < 0.4:
            self._plain_run("rotate")
        world.advance(2.5 * 3600)
        last = self._settle()
        if world.oracle.violations:
            return
        # What is decided about one tunnel may show that another one is stuck, but each at most once.
        for _tunnel in world.tunnels:
            if last.rc == 0 or world.oracle.violations:
                return
            self._unstick()
            last = self._settle()
        if last.rc != 0 and not world.oracle.violations:
            world.oracle.fail(ENDED, f"{last.name} does not end what a person has decided: {last.error}")

    def _settle(self) -> Run:
        """Plain runs until one finds nothing to do; with manual confirmation, each is followed by one that confirms."""
        world, manual = self.world, self._all.confirmation == "manual"
        for _number in range(MANUAL_RUNS if manual else PLAIN_RUNS):
            last = self._plain_run("rotate")
            changed = last.changed
            if world.oracle.violations or (last.rc == 0 and not changed and not self._unresolved()):
                return last
            if manual:
                changed = self._plain_run("confirm").changed or changed
            if not changed:
                break
            world.advance(300.0)
        world.oracle.settled(last)
        return last

    def _unresolved(self) -> bool:
        return any(x.record.unresolved and self.world.tunnels[i].exists for i, x in self.world.records.items())

    def _plain_run(self, mode: str) -> Run:
        """A run of the whole account by which nothing goes wrong."""
        wish = replace(self._all, mode=mode, serial=1 if self.seed % 3 == 0 else 1000, plain=True)
        run = self._run(wish, self._chance.choice(("m1", "m2")))
        run.play()
        self.world.running = None
        return run


def play(seed: int, *, traced: bool = False, without: frozenset[int] = frozenset()) -> Outcome:
    """Plays the scenario of this seed."""
    return Scenario(seed, traced, without).play()
