# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a playbook: the steps that the role psk_rotation takes, with its devices, its clock and its death."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import Options
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Claim
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import postponed
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._run import Memory
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Result, State, load
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_overlay import OverlayStore
from greenlet import greenlet

from tests.model.fakes import FakeClient, FakeStore
from tests.model.world import World

LEASE = 900
SHORT_WHILE = 2.0


class Killed(BaseException):
    """The run ends here, whatever it was doing."""


class _StepFailed(Exception):
    """The task of a step has failed: the play ends for all hosts."""


@dataclass(frozen=True)
class Hooks:
    """Which tasks a host has."""

    device: bool = False
    verify: bool = False


@dataclass(frozen=True)
class Wish:
    """What a run is asked for. ``hosts`` are those of the play, ``claims`` the tunnels of each as glob patterns."""

    hosts: tuple[str, ...]
    claims: Mapping[str, list[str]]
    hooks: Mapping[str, Hooks]
    confirmation: str = "none"
    group_by: Any = "auto"
    sites: Mapping[str, str] = field(default_factory=dict)
    mode: str = "rotate"
    force: bool = False
    max_age: int | None = None
    serial: int = 1000
    wave_size: int = 1000
    canary: int = 0
    max_failures: str = "0"
    rollback_id: str = ""
    check: bool = False
    lease: int = LEASE
    plain: bool = False

    def __str__(self) -> str:
        parts = [self.mode, *(["check run"] if self.check else []), f"on {','.join(self.hosts)}"]
        if self.force:
            parts.append("forced")
        if self.rollback_id:
            parts.append(f"of {self.rollback_id}")
        if self.serial < len(self.hosts):
            parts.append(f"serial {self.serial}")
        if self.confirmation == "manual":
            parts.append("manual")
        parts.append(f"max_age {self.max_age}")
        return ", ".join(parts)


class Run:
    """A run. ``offset`` is how much its machine's clock is ahead, in seconds."""

    def __init__(self, world: World, name: str, machine: str, wish: Wish) -> None:
        self.world = world
        self.name = name
        self.machine = machine
        self.owner = f"{machine}/{name}"
        self.rotation_id = f"rot-{name}"
        self.wish = wish
        self.asleep_until = 0.0
        self.dead = False
        self.over = False
        self.rc: int | None = None
        self.error = ""
        self.results: dict[str, Result] = {}
        self.changed = False
        self.reads: dict[str, int] = {}
        # When its last look at a record has ended.
        self.read_on: dict[str, float] = {}
        # The tunnels on which a step judges, and those of them whose record it has not read yet.
        self.looking: set[str] = set()
        self.unread: set[str] = set()
        self.looked: dict[str, float] = {}
        self.hub: greenlet | None = None
        self.greenlet: greenlet | None = None
        # The tunnels that it had lost when it brought their devices keys, and of which no record says so yet.
        self.unsettled: set[str] = set()
        self._lost: set[str] = set()
        self._begun: set[str] = set()
        # Whether a host has not failed yet for what waits for a later batch.
        self._postponed = False
        self._evidence: dict[str, Mapping[str, Any]] = {}
        self._memory = Memory()

    # -- what the rotation sees of the machine ----------------------------------------------------------------------

    def time(self) -> float:
        """By the clock of its machine."""
        return self.world.now + self.world.offsets[self.machine]

    def monotonic(self) -> float:
        """By the clock that stops while the machine sleeps."""
        return self.world.now - self.world.slept.get(self.machine, 0.0)

    def claim(self, rotation_id: str) -> Claim:
        """As the action plugin's."""
        if self.dead:
            raise EscrowError("the run that asked for this has ended")
        now = self.time()
        return Claim(rotation_id, self.owner, now, now + self.wish.lease, self._lives)

    def _lives(self, owner: str) -> bool | None:
        machine, name = owner.split("/")
        if machine != self.machine:
            return None
        other = self.world.runs[name]
        return not (other.dead or other.over)

    # -- what may happen to it at any moment -------------------------------------------------------------------------

    def hit(self, kind: str, where: str) -> bool:
        """Whether this fault strikes now."""
        return self.world.faults.hit(kind, self.name, where)

    def pause(self, where: str, longest: float = 86400.0) -> None:
        """Between two calls: time passes, others go on, and the run may sleep or die."""
        world, faults = self.world, self.world.faults
        world.advance(faults.takes(where))
        if self.hub is None:
            return
        if self.hit("killed", where):
            self.dead = True
            raise Killed
        if not self.dead and self.hit("left behind", where):
            self.dead = True
        if self.hit("stopped", where):
            self.asleep_until = world.now + min(longest, faults.between(0, faults.pick((60, 1000, 10000))))
        elif self.hit("machine asleep", where):
            duration = min(longest, faults.between(0, faults.pick((60, 1000, 10000))))
            world.fall_asleep(self.machine, duration)
        elif not faults.switches(self.name, where):
            return
        self.hub.switch()
        world.running = self
        if self.over:
            raise Killed

    def _say(self, text: str) -> None:
        self.world.say(self.name, text)

    # -- the role ---------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Runs the playbook."""
        world = self.world
        world.running = self
        self._say(f"begins on {self.machine}: {self.wish}")
        try:
            self._play()
        except Killed:
            self._say("is dead")
            self.over = self.dead = True
            return
        except _StepFailed as exc:
            self.rc, self.error = 2, str(exc)
        self.over = True
        shown = ", ".join(f"{world.tunnels[i].name} {x.status}" for i, x in self.results.items())
        self._say(f"ends with rc {self.rc}: {self.error or shown}")
        world.oracle.ended(self)

    def _play(self) -> None:
        hosts, failed = self.wish.hosts, False
        for start in range(0, len(hosts), self.wish.serial):
            batch = hosts[start : start + self.wish.serial]
            self._begun |= set(batch)
            bad = self._batch(batch)
            failed = failed or bool(bad) or self._postponed
            if len(bad) == len(batch):
                break
        self.rc = 2 if failed else 0

    def _batch(self, batch: Sequence[str]) -> set[str]:
        """One batch of hosts; returns the hosts that have failed, or were lost."""
        self.looking = {i for i, x in self.world.tunnels.items() if x.host in batch or "localhost" in batch}
        state = self._step(lambda rotation: self._begin(rotation, batch))
        for index, wave in enumerate(state.waves if state.devices else ()):
            hosts = sorted({x.host for x in wave})
            self.looking = {x.id for x in wave}
            asked = {x: "" for x in hosts if x not in self._lost and self._reach(x)}
            present = [x for x in batch if x not in self._lost]
            state = self._next(state, partial(Rotation.wave, index=index, hosts=present, asked=asked))
            if state.in_flight:
                state = self._devices(state, batch)
        bad = set(self._lost)
        harmless = _status.harmless_in(self.wish.mode)
        self._memory.keep(state.results)
        for host, own in state.results.items():
            if postponed(own, self.wish.mode) and self._begun < set(self.wish.hosts):
                self._postponed = True
            elif any(not x.is_fine(harmless) for x in own):
                bad.add(host)
            self.results.update({x.id: x for x in own})
        return bad

    def _begin(self, rotation: Rotation, batch: Sequence[str]) -> State:
        wish = self.wish
        acting = frozenset(x for x in batch if wish.hooks[x].device or wish.hooks[x].verify)
        options = Options(
            hosts=frozenset(batch),
            owner=self.owner,
            devices=acting,
            verifying=frozenset(x for x in batch if wish.hooks[x].verify),
            chosen=frozenset(batch),
            reach={x: "reach.yml" for x in batch if wish.hooks[x].device and wish.mode != "confirm"},
            failed_before=self._memory.failed(batch, wish.mode),
            first_wave=self._memory.waves,
            later=frozenset(wish.hosts) - self._begun,
            max_age=wish.max_age,
            force=wish.force,
            wave_size=wish.wave_size,
            canary=wish.canary,
            group_by=wish.group_by,
            confirmation="manual" if wish.confirmation == "manual" else "none",
            max_failures=wish.max_failures,
            sites={x: wish.sites[x] for x in wish.hosts if x in wish.sites},
            unknown_psk="rotate",
            mode=wish.mode,
            rollback_id=wish.rollback_id,
            now=int(self.time() * NANO),
        )
        self._memory.claims.update({x: wish.claims[x] for x in wish.hosts})
        state = rotation.begin(self.rotation_id, options, self._memory, preflight=True)
        self._memory.waves += len(state.waves)
        return state

    def _next(self, state: State, step: Callable[..., State]) -> State:
        """A step that gets what the one before has left."""
        carried = load(state.dump()) if self.world.carries else state
        return self._step(lambda rotation: step(rotation, state=carried), carried.overlay)

    def _step(self, step: Callable[[Rotation], State], overlay: Mapping[str, Any] | None = None) -> State:
        """One task of the role, in a process of its own."""
        self.unread = set(self.looking)
        self.pause("step")
        store: Any = OverlayStore(FakeStore(self), overlay) if self.wish.check else FakeStore(self)
        client: Any = FakeClient(self)
        rotation = Rotation(client, store, self.claim, self._say, force=self.wish.force, validate_only=self.wish.check)
        try:
            state = step(rotation)
        except CloudflareError as exc:
            if exc.message.startswith("internal error"):
                self.world.oracle.crashed(self, exc)
            raise _StepFailed(exc.message) from None
        except EscrowError as exc:
            raise _StepFailed(str(exc)) from None
        except Exception as exc:
            self.world.oracle.crashed(self, exc)
            raise _StepFailed(f"internal error: {exc}") from None
        if self.dead:
            raise Killed
        self.changed = self.changed or state.changed
        return state

    # -- devices ----------------------------------------------------------------------------------------------------

    def _reach(self, host: str) -> bool:
        return not (self.wish.hooks[host].device and self.hit("device not reached", f"the device {host}"))

    def _devices(self, state: State, batch: Sequence[str]) -> State:
        """The tasks of the devices in flight, and what follows from how they end."""
        flying = {x.id for x in state.in_flight}
        for host in sorted({x.host for x in state.in_flight}):
            if host in self._lost:
                continue
            self._evidence.pop(host, None)
            reason = None if self.wish.check else self._act(host, [x for x in state.results[host] if x.id in flying])
            if host not in self._lost:
                self._evidence[host] = {
                    "wave": state.token,
                    "done": reason is None,
                    "verified": self.wish.hooks[host].verify,
                    "finished": self.time(),
                    "reason": reason,
                }
        if all(x in self._lost for x in batch):
            raise _StepFailed("all hosts of the batch are unreachable")
        evidence = dict(self._evidence)
        state = self._next(state, partial(Rotation.settle, evidence=evidence))
        self.unsettled -= flying
        if state.to_roll_back:
            state = self._next(state, Rotation.roll_back)
            if state.in_flight:
                state = self._devices(state, batch)
        return state

    def _act(self, host: str, results: Sequence[Result]) -> str | None:
        """The host's own tasks; why they have failed, or None."""
        hooks, world, where = self.wish.hooks[host], self.world, f"the device {host}"
        if hooks.device and self.wish.mode != "confirm":
            self.pause("device")
            if self.hit("device lost", where):
                self._lost.add(host)
                return "unreachable"
            if self.hit("device refuses", where):
                return "the device refuses"
            half = self.hit("device fails half-way", where)
            for result in results:
                tunnel = world.tunnels[result.id]
                if result.psk is None:
                    return f"no PSK for {result.name}"
                tunnel.device, tunnel.giver = result.psk, self.name
                lease = world.records[tunnel.id].record.lease
                if lease is None or lease.owner != self.owner:
                    self.unsettled.add(tunnel.id)
                if world.lines is not None:
                    self._say(f"the device {host} has {tunnel.device} for {tunnel.name}")
                world.oracle.key_set(tunnel)
                self.pause("device done")
                if self.hit("device lost half-way", where):
                    self._lost.add(host)
                    return "unreachable"
                if half:
                    return "the device fails half-way"
        if hooks.verify:
            self.pause("verification")
            for result in results:
                tunnel = world.tunnels[result.id]
                if tunnel.device != tunnel.psk:
                    return f"{result.name} does not authenticate"
        return None
