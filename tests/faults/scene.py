# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet that is rotated while something goes wrong: the account, the escrow, the devices, and the oracle.

A bench has a simulator and is set up once: a real first rotation gives every tunnel a PSK that account, escrow and
device know. Each scene begins with that state, 200 days later, so that everything is due again.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from ansible.parsing.vault import VaultLib, VaultSecret

from tests.harness import recorded
from tests.harness.openbao import OpenBao
from tests.harness.playbook import CALLBACKS, Playbooks, Result, Running
from tests.harness.simulator import TOKEN, Simulator

HERE = Path(__file__).resolve().parent
PLUGINS, HOOKS = HERE / "plugins", HERE / "hooks"
PASSWORD = "vault-password-of-the-tests"
ROTATE = [{"name": "Rotate", "import_playbook": "magicwan.cloudflare.rotate_psks"}]
LOCALHOST = "localhost ansible_connection=local psk_rotation_tunnels=all\n"
DEADLINE = 300.0
POLL = 0.01
AGE_SECONDS = 200 * 86400
ID_LENGTH = 32
STATE_ORDER = ("idle", "prepared", "in_doubt", "applied", "rolling_back", "stuck")

Records = dict[str, dict[str, Any]]
Entry = dict[str, Any]


class Store(Protocol):
    """Where the records of a scene are."""

    def read(self) -> Records:
        """All records by tunnel id."""

    def write(self, records: Records) -> None:
        """Begin with these records."""

    def variable(self) -> dict[str, Any]:
        """psk_rotation_escrow."""

    def env(self) -> dict[str, str]:
        """What a run needs in its environment."""


@dataclass
class FileStore:
    """The vault file."""

    path: Path
    account: str

    def read(self) -> Records:
        """All records by tunnel id."""
        if not self.path.exists():
            return {}
        vault = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
        return dict(json.loads(vault.decrypt(self.path.read_bytes()))["tunnels"])

    def write(self, records: Records) -> None:
        """Begin with these records."""
        secret = VaultSecret(PASSWORD.encode())
        document = {"version": 1, "account_id": self.account, "tunnels": records}
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        self.path.write_bytes(VaultLib([("default", secret)]).encrypt(json.dumps(document), secret=secret))

    def variable(self) -> dict[str, Any]:
        """psk_rotation_escrow."""
        return {"backend": "file", "path": str(self.path)}

    def env(self) -> dict[str, str]:
        """Nothing."""
        return {}


@dataclass
class BaoStore:
    """Secrets of a real OpenBao."""

    server: OpenBao
    path: str
    account: str
    token: str | None = None

    def secret(self, tunnel: str, kind: str = "data") -> str:
        """The API's path of a record."""
        return f"secret/{kind}/{self.path}/{self.account}/{tunnel}"

    def read(self) -> Records:
        """All records by tunnel id."""
        listed = self.server.call("LIST", f"secret/metadata/{self.path}/{self.account}", missing_ok=True)
        keys = [x for x in ((listed or {}).get("data") or {}).get("keys") or [] if len(x) == ID_LENGTH]
        return {key: self.server.call("GET", self.secret(key))["data"]["data"] for key in keys}

    def write(self, records: Records) -> None:
        """Begin with these records."""
        for tunnel, record in records.items():
            self.server.call("POST", self.secret(tunnel), {"data": {**record, "revision": 1}})

    def variable(self) -> dict[str, Any]:
        """psk_rotation_escrow."""
        return {"backend": "vault_kv2", "path": self.path, "timeout": 2, "retries": 0}

    def env(self) -> dict[str, str]:
        """The address, and root's token unless there is another."""
        return {**self.server.env(), **({"VAULT_TOKEN": self.token} if self.token else {})}


@dataclass(frozen=True)
class Snapshot:
    """What the first rotation led to, aged."""

    records: Records
    tunnels: dict[str, tuple[str, str]]


@dataclass
class Bench:
    """What a worker needs for its scenes, one after another."""

    folder: Path
    tunnels: int
    seed: int = 7
    core: str | None = None
    token: str = TOKEN
    collections: Path | None = None
    simulator: Simulator = field(init=False)
    snapshot: Snapshot = field(init=False)
    events: int = 0
    seconds: float = 0.0
    _bao: OpenBao | None = None
    _scenes: int = 0

    def __post_init__(self) -> None:
        self.simulator = Simulator(self.tunnels, self.seed, token=self.token)

    def __enter__(self) -> Bench:
        self.folder.mkdir(mode=0o700, parents=True)
        self._start_simulator()
        with self.scene(adopt=True) as scene:
            counter = scene.folder / "events"
            run = scene.play(env={"COUNT_EVENTS": str(counter)}).result.ok()
            self.events, self.seconds = int(counter.read_text(encoding="ascii")), run.seconds
            problems = scene.converged()
            if problems:
                raise RuntimeError(f"the first rotation is not in order: {problems}")
            self.snapshot = _aged(scene.store.read(), scene.truth())
        return self

    def _start_simulator(self) -> None:
        """On a busy machine the first attempt may take too long."""
        for _attempt in range(2):
            with contextlib.suppress(RuntimeError):
                self.simulator.start()
                return
        self.simulator.start()

    def __exit__(self, *_exception: object) -> None:
        if self._bao is not None:
            self._bao.stop()
        self.simulator.stop()

    @property
    def bao(self) -> OpenBao:
        """The worker's OpenBao, started when it is first needed."""
        if self._bao is None:
            self._bao = OpenBao().start()
        return self._bao

    @contextlib.contextmanager
    def scene(self, *, devices: bool = True, adopt: bool = False, bao: bool = False) -> Iterator[Scene]:
        """A scene of its own, cleaned up in the end."""
        self._scenes += 1
        folder = self.folder / f"scene-{self._scenes}"
        scene = Scene(self, folder, devices, adopt, bao)
        try:
            yield scene
        finally:
            scene.close()
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Run:
    """One run, and what it asked of the API."""

    result: Result
    requests: list[Entry]

    @property
    def rc(self) -> int:
        """Its exit status; negative after a signal."""
        return self.result.rc

    @property
    def sets(self) -> list[Entry]:
        """The requests that wanted to change PSKs."""
        return [x for x in self.requests if x["operation"] == "psk_set" and not x["validate_only"]]

    @property
    def done(self) -> bool:
        """Whether it ended well."""
        return self.rc == 0


class Scene:
    """One fleet, and all that is known of it."""

    def __init__(self, bench: Bench, folder: Path, devices: bool, adopt: bool, bao: bool) -> None:
        self.bench, self.folder, self.has_devices = bench, folder, devices
        self.simulator = bench.simulator
        self.simulator.reset()
        self.devices_folder = folder / "devices"
        self.devices_folder.mkdir(mode=0o700, parents=True)
        self.books = Playbooks(folder / "plays", self.simulator.env())
        self.lost: dict[str, str] = {}
        self.mismatched: dict[str, str] = {}
        self.excused: set[str] = set()
        self.foreign: set[str] = set()
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.runs: list[Run] = []
        self.after_crash = self.after_rerun = ""
        self._armed = False
        self.fired = folder / "fired"
        self.go = folder / "go"
        self.variables: dict[str, Any] = {"psk_rotation_retries": 0, "psk_rotation_lease": 900}
        self.inventory: Any = None
        self.store: Store = FileStore(folder / "escrow" / "psks.yml", self.simulator.account)
        if bao:
            self.store = BaoStore(bench.bao, f"scene-{bench.folder.name}-{folder.name}", self.simulator.account)
        tunnels = self.tunnels()
        self.names = {i: x["name"] for i, x in tunnels.items()}
        ids = list(tunnels)
        self.groups = {f"dev{n:02d}": ids[2 * n : 2 * n + 2] for n in range((len(ids) + 1) // 2)}
        self.sites = dict(self.groups)
        if not adopt:
            self._restore(bench.snapshot)
        self.seeds: set[str | None] = set(self.truth().values()) if adopt else set()
        truth = self.truth()
        self._make_devices()
        self.begun = time.time_ns()
        self._begin = dict(truth)

    def _make_devices(self) -> None:
        truth = self.truth()
        for host, own in self.groups.items():
            self._device(host).write_text(json.dumps({i: truth[i] for i in own}), encoding="ascii")

    def split_devices(self) -> None:
        """Every tunnel gets a device of its own; those that back each other up stay a site."""
        self.groups = {f"{host}{'ab'[n]}": [i] for host, own in self.groups.items() for n, i in enumerate(own)}
        self._make_devices()

    def _restore(self, snapshot: Snapshot) -> None:
        for tunnel, (psk, made_on) in snapshot.tunnels.items():
            self.simulator.patch_tunnel(tunnel, psk=psk, last_generated_on=made_on)
        self.store.write(copy.deepcopy(snapshot.records))

    # -- what is there ----------------------------------------------------------------------------------------------

    def _device(self, host: str) -> Path:
        return self.devices_folder / f"{host}.json"

    def tunnels(self) -> dict[str, Entry]:
        """The account's tunnels by id."""
        return {x["id"]: x for x in self.simulator.state()["tunnels"]}

    def truth(self) -> dict[str, str]:
        """The PSKs that Cloudflare holds."""
        return {i: x["psk"] for i, x in self.tunnels().items()}

    def device_psks(self) -> dict[str, str]:
        """The PSKs that the devices hold."""
        found: dict[str, str] = {}
        for host in self.groups:
            found |= json.loads(self._device(host).read_text(encoding="ascii"))
        return found

    def all_psks(self) -> set[str]:
        """Every PSK that the account or the escrow has had in this scene."""
        history = self.simulator.state()["psk_history"]
        found = {x["psk"] for entries in history.values() for x in entries}
        return found | {psk for record in self.store.read().values() for psk in keys_of(record)}

    def states(self) -> str:
        """Such as ``4 idle 2 applied``."""
        counts = Counter(x["state"] for x in self.store.read().values())
        return " ".join(f"{counts[x]} {x}" for x in STATE_ORDER if counts[x]) or "no records"

    def trouble(self, host: str, *words: str) -> None:
        """What goes wrong with a device from now on; nothing ends it."""
        path = self.devices_folder / f"{host}.trouble"
        if words:
            path.write_text(" ".join(words), encoding="ascii")
        else:
            path.unlink(missing_ok=True)

    # -- runs -------------------------------------------------------------------------------------------------------

    def start(
        self,
        *,
        env: Mapping[str, str] | None = None,
        variables: Mapping[str, Any] | None = None,
        play: Any = None,
        inventory: Any = None,
        **options: Any,
    ) -> Running:
        """Begin the run that every row repeats."""
        return self.books.start(
            play or ROTATE,
            inventory=inventory or self.inventory or self.own_inventory(),
            extra_vars=self.extra_vars(variables),
            env={**self.env(), **(env or {})},
            core=options.pop("core", self.bench.core),
            **options,
        )

    def extra_vars(self, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The variables of a run."""
        found: dict[str, Any] = {
            "psk_rotation_escrow": self.store.variable(),
            "devices_folder": str(self.devices_folder),
            "sim_url": self.simulator.sim_url,
            "psk_rotation_unknown_psk": "rotate",
        }
        if self.has_devices:
            found |= {f"psk_rotation_{x}_tasks": str(HOOKS / f"{x}.yml") for x in ("reach", "device", "verify")}
        return {**found, **self.variables, **(variables or {})}

    def env(self) -> dict[str, str]:
        """What a run has in its environment beside what every playbook of the tests has."""
        return {
            "ANSIBLE_ACTION_PLUGINS": str(PLUGINS / "action"),
            "ANSIBLE_CALLBACK_PLUGINS": f"{CALLBACKS}:{PLUGINS / 'callback'}",
            **recorded.callbacks("harness_json", "kill_at"),
            "ANSIBLE_FORKS": "10",
            "PYTHONPATH": str(PLUGINS / "site"),
            **({"ANSIBLE_COLLECTIONS_PATH": str(self.bench.collections)} if self.bench.collections else {}),
            **self.store.env(),
        }

    def own_inventory(self, hosts: Collection[str] | None = None, **host_vars: Any) -> Any:
        """The devices, or some of them; localhost alone where there are none."""
        if not self.has_devices:
            return LOCALHOST
        found = {
            host: {
                "ansible_connection": "local",
                "psk_rotation_tunnels": [self.names[i] for i in own],
                **host_vars,
            }
            for host, own in self.groups.items()
            if hosts is None or host in hosts
        }
        return {"all": {"hosts": found}}

    def finish(self, running: Running, since: int, *, store: bool = True) -> Run:
        """Wait for a run's end, and look at what it left. ``store`` false: another run is still on its way."""
        result = running.wait(DEADLINE)
        self._settle_logs()
        run = Run(result, self.simulator.journal(since=since))
        self.runs.append(run)
        if store:
            self.check_kept()
        if store and run.done:
            self.check_matched()
        return run

    def play(self, *, store: bool = True, **options: Any) -> Run:
        """One whole run, as `start`. ``store`` false: the store can't be read now."""
        since = self.last_entry()
        return self.finish(self.start(**options), since, store=store)

    def play_until(
        self,
        wanted: Callable[[Entry], bool],
        then: Callable[[Running], None],
        *,
        store: bool = True,
        **options: Any,
    ) -> Run:
        """A run in which something happens as soon as the journal has such an entry."""
        since = self.last_entry()
        running = self.start(**options)
        self.await_entry(running, wanted, since)
        then(running)
        return self.finish(running, since, store=store)

    def await_entry(self, running: Running, wanted: Callable[[Entry], bool], since: int) -> None:
        """Wait for a journal entry while the run goes on."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            entries = self.simulator.journal(since=since, wait=0.5)
            if any(wanted(x) for x in entries):
                return
            since = entries[-1]["n"] if entries else since
            if running.process.poll() is not None:
                break
        raise AssertionError(f"the request never came:\n{running.output()[-3000:]}")

    def await_fired(self, running: Running) -> None:
        """Wait until the armed point is reached."""
        while not self.fired.exists():
            if running.process.poll() is not None:
                raise AssertionError(f"the point was never reached:\n{running.output()[-3000:]}")
            time.sleep(POLL)

    def await_store(self, wanted: Callable[[Records], bool]) -> None:
        """Wait until the escrow's records are so, for what a process that was left behind writes."""
        deadline = time.monotonic() + DEADLINE
        while not wanted(self.store.read()):
            if time.monotonic() > deadline:
                raise AssertionError("the escrow never came to hold what was expected")
            time.sleep(POLL)

    def _settle_logs(self) -> None:
        """A device that was killed before its commit did not change, whatever its log says."""
        for host in self.groups:
            log = self.devices_folder / f"{host}.log"
            if not log.exists():
                continue
            last = {x["tunnel"]: x["print"] for x in map(json.loads, log.read_text(encoding="ascii").splitlines())}
            config = json.loads(self._device(host).read_text(encoding="ascii"))
            for tunnel in [i for i in last if last[i] != _print(config[i])]:
                entry = {"time": time.time_ns(), "tunnel": tunnel, "print": _print(config[tunnel])}
                with log.open("a", encoding="ascii") as file:
                    file.write(json.dumps(entry) + "\n")

    def last_entry(self) -> int:
        """The number of the journal's last entry."""
        entries = self.simulator.journal(since=0)
        return int(entries[-1]["n"]) if entries else 0

    def kill_at(self, task: str, when: str = "start", nth: int = 1, how: str = "all") -> dict[str, str]:
        """An environment in which the run dies at a task."""
        return {"KILL_AT": self._spec(task=task, when=when, nth=nth, how=how)}

    def point(self, call: str, match: str, when: str = "before", nth: int = 1, do: str = "kill") -> dict[str, str]:
        """An environment in which something happens at the n-th such call."""
        return {"FAULT_POINT": self._spec(call=call, match=match, when=when, nth=nth, do=do)}

    def _spec(self, **parts: Any) -> str:
        for leftover in (self.fired, self.go, self.fired.with_name("fired.count")):
            leftover.unlink(missing_ok=True)
        self._armed = True
        return json.dumps({**parts, "fired": str(self.fired), "go": str(self.go)})

    # -- the two acts -----------------------------------------------------------------------------------------------

    def crash(self, expected: str = "killed", **options: Any) -> Run:
        """The run that the fault hits. expected: killed, failed, ok, or any."""
        return self.crashed(self.play(**options), expected)

    def crashed(self, run: Run, expected: str = "killed", *, keep: bool = False) -> Run:
        """Look at what the fault has left, and remove it, unless it is to ``keep``."""
        wanted = {"killed": (-9,), "failed": (2, 4), "ok": (0,), "any": (-9, 0, 2, 4)}[expected]
        self.expect(run.rc in wanted, f"the first run ended with {run.rc}, and should have been {expected}")
        self.expect("Traceback" not in run.result.output, "the first run shows a traceback")
        self.expect(not self._armed or self.fired.exists(), "the fault was never met")
        for fault in self.simulator.faults():
            self.expect(fault["hits"], f"the fault {fault['kind']} was never met")
        self._armed = False
        self.after_crash = self.states()
        if not keep:
            self.simulator.clear_faults()
        return run

    def rerun(self, expected: str = "ok", *, same_key: bool = True, but: Collection[str] = (), **options: Any) -> Run:
        """The plain run after it: everything must be in order, but for some tunnels, and with the keys of before."""
        pending = self.pending()
        run = self.play(**options)
        wanted = {"failed": (2, 4), "ok": (0,), "any": (0, 2, 4)}[expected]
        self.expect(run.rc in wanted, f"the re-run ended with {run.rc}, and should have been {expected}")
        self.expect("Traceback" not in run.result.output, "the re-run shows a traceback")
        self.after_rerun = self.states()
        self.problems += self.converged(but=but)
        truth = self.truth()
        if same_key:
            for tunnel, psk in pending.items():
                ours = truth.get(tunnel) == psk or tunnel in but
                self.expect(ours, f"{self.names[tunnel]}: the re-run made another key")
            for tunnel, made in self.generations().items():
                self.expect(len(made) <= 1 or tunnel in but, f"{self.names[tunnel]} got {len(made)} keys")
        return run

    def close(self) -> None:
        """Leave no process and no fault behind."""
        self.books.close()
        self.simulator.clear_faults()

    # -- the oracle -------------------------------------------------------------------------------------------------

    def expect(self, condition: object, otherwise: str) -> None:
        """Note a problem unless the condition holds."""
        if not condition:
            self.problems.append(otherwise)

    def check_kept(self) -> None:
        """Every PSK that a run has set at Cloudflare must be in the escrow now."""
        records = self.store.read()
        for tunnel, psk in self.truth().items():
            if psk in self.seeds or psk in self.foreign:
                continue
            if psk not in keys_of(records.get(tunnel)):
                self.lost[tunnel] = self.names.get(tunnel, tunnel)

    def check_matched(self) -> None:
        """After a run that ended well, Cloudflare, the device and the escrow must have one PSK of each tunnel."""
        records, truth, held = self.store.read(), self.truth(), self.device_psks()
        for tunnel, psk in truth.items():
            record = records.get(tunnel)
            if record is None or tunnel in self.excused:
                continue
            waits = (record.get("pending") or {}).get("delivered") is True
            wanted = record["pending" if waits else "current"] or {}
            if wanted.get("psk") != psk or (self.has_devices and held.get(tunnel) != psk):
                self.mismatched[tunnel] = self.names.get(tunnel, tunnel)

    def rename(self, tunnel: str, name: str, **fields: Any) -> None:
        """Somebody changes its name, or other fields, in the dashboard."""
        self.simulator.patch_tunnel(tunnel, name=name, **fields)
        self.names[tunnel] = name

    def console_sets(
        self,
        tunnel: str,
        psk: str = "somebody-else-has-set-this-key-in-the-dashboard",
        later: float = 0.0,
        host: str = "",
    ) -> None:
        """Somebody sets a PSK by hand; ``later`` in seconds than now; at the same moment on its device, ``host``."""
        self.foreign.add(psk)
        on = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + later))
        self.simulator.patch_tunnel(tunnel, psk=psk, **({"last_generated_on": on} if later else {}))
        if host:
            device = self.devices_folder / f"{host}.json"
            device.write_text(json.dumps({**json.loads(device.read_text(encoding="ascii")), tunnel: psk}), "ascii")
            moment = _nanoseconds(self.simulator.state()["psk_history"][tunnel][-1]["on"])
            entry = {"time": moment, "tunnel": tunnel, "print": _print(psk)}
            with device.with_suffix(".log").open("a", encoding="ascii") as log:
                log.write(json.dumps(entry) + "\n")

    def converged(self, but: Collection[str] = (), devices: bool | None = None) -> list[str]:
        """What is not in order: Cloudflare's PSK, the escrow's current one and the device's must be one, all idle."""
        records, truth, held = self.store.read(), self.truth(), self.device_psks()
        found = []
        for tunnel, psk in truth.items():
            if tunnel in but:
                continue
            record = records.get(tunnel) or {}
            name = self.names[tunnel]
            if record.get("state") != "idle" or record.get("pending") or record.get("lease"):
                found.append(f"{name} is {record.get('state')}")
            if (record.get("current") or {}).get("psk") != psk:
                found.append(f"{name}: Cloudflare does not hold the escrow's current PSK")
            if (self.has_devices if devices is None else devices) and held.get(tunnel) != psk:
                found.append(f"{name}: the device does not hold Cloudflare's PSK")
        return found

    def pending(self) -> dict[str, str]:
        """The PSKs that are on their way, by tunnel id."""
        return {
            i: x["pending"]["psk"]
            for i, x in self.store.read().items()
            if x["state"] in ("prepared", "in_doubt", "applied")
        }

    def generations(self) -> dict[str, list[str]]:
        """The distinct PSKs that Cloudflare was given in this scene, by tunnel id."""
        found: dict[str, list[str]] = {}
        for tunnel, entries in self.simulator.state()["psk_history"].items():
            later = [x["psk"] for x in entries if _nanoseconds(x["on"]) > self.begun]
            found[tunnel] = list(dict.fromkeys(later))
        return found

    def dark(self) -> list[str]:
        """The groups of which all tunnels were mismatched at one moment, by the account's history and devices' logs."""
        if not self.has_devices:
            return []
        history = self.simulator.state()["psk_history"]
        found = []
        for site, own in self.sites.items():
            cloudflare = {i: _print(self._begin[i]) for i in own}
            device = dict(cloudflare)
            events = [
                (_nanoseconds(x["on"]), cloudflare, i, _print(x["psk"]))
                for i in own
                for x in history[i]
                if _nanoseconds(x["on"]) > self.begun
            ]
            logs = [self.devices_folder / f"{x}.log" for x, ids in self.groups.items() if set(ids) & set(own)]
            lines = [x for log in logs if log.exists() for x in log.read_text(encoding="ascii").splitlines()]
            events += [(x["time"], device, x["tunnel"], x["print"]) for x in map(json.loads, lines)]
            for _time, moment in groupby(sorted(events, key=lambda x: x[0]), key=lambda x: x[0]):
                for _same, side, tunnel, value in moment:
                    side[tunnel] = value
                if len(own) > 1 and all(cloudflare[i] != device[i] for i in own):
                    found.append(site)
                    break
        return found


def keys_of(record: Mapping[str, Any] | None) -> set[str]:
    """Every PSK in a record."""
    if not record:
        return set()
    parts = [record.get("current"), record.get("previous"), record.get("pending"), *(record.get("discarded") or ())]
    return {x["psk"] for x in parts if x}


def wants_psks(entry: Entry) -> bool:
    """A request that wants to set PSKs."""
    return bool(entry["operation"] == "psk_set" and not entry["validate_only"])


def held(entry: Entry) -> bool:
    """Such a request is held before the change."""
    return wants_psks(entry) and entry["event"] == "held"


def settled(entry: Entry) -> bool:
    """Such a request has changed PSKs."""
    return wants_psks(entry) and entry["event"] == "settled" and bool(entry["changed"])


def _aged(records: Records, truth: Mapping[str, str]) -> Snapshot:
    """The same, rotated AGE_SECONDS earlier."""
    made_on = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - AGE_SECONDS))
    for record in records.values():
        for part in ("applied_on", "made_on", "confirmed_on"):
            record["current"][part] = made_on
    return Snapshot(records, {i: (psk, made_on) for i, psk in truth.items()})


def _print(psk: str | None) -> str | None:
    return psk and hashlib.sha256(psk.encode()).hexdigest()


def _nanoseconds(text: str) -> int:
    from tests.simulator.clock import to_nanoseconds

    return to_nanoseconds(text)


def first_hosts(scene: Scene, count: int) -> Sequence[str]:
    """The first devices."""
    return list(scene.groups)[:count]
