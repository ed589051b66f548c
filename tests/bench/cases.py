# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured: the cases, each a process that does a known amount of work against the simulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import requests

from tests.bench.measure import Row, Run, Table, measured
from tests.harness.between import Between
from tests.harness.openbao import OpenBao
from tests.harness.playbook import Playbooks
from tests.harness.simulator import Simulator

SCRIPTS = Path(__file__).resolve().parent / "scripts"
COLLECTIONS = Path(__file__).resolve().parents[2] / ".venv" / "collections"
PASSWORD = "vault-password-of-the-benchmark"
LIMIT_SECONDS = 3600.0
SIZES = (100, 1000, 10000)
LOOPED = 100
DEVICES = (100, 200, 400, 1600)
SERIAL = 50
FORKS = {"ANSIBLE_FORKS": "50"}
COUNTED = 100
WAVE = 100
# Cloudflare allows 1,200 requests in 300 s and then refuses all for 300 s; here a second stands for 50. Where a run is
# to start while all is refused, few requests must do to bring that about.
RATE_LIMIT = "1200/6/6"
RATE_BLOCKED = "20/15/15"
RATE_CHANGES = 3000

Play = list[dict[str, Any]]


class Failed(Exception):
    """A measured process failed, or did not do its work."""


def play(*tasks: Mapping[str, Any], roles: Sequence[Mapping[str, Any]] = (), **keywords: Any) -> Play:
    """A play on localhost unless said otherwise."""
    found = {"name": "Bench", "hosts": "localhost", "gather_facts": False, **keywords}
    if roles:
        found["roles"] = list(roles)
    return [{**found, "tasks": list(tasks)}]


@dataclass(frozen=True)
class Work:
    """One run to measure. `psks` and `writes` are what the simulator must have counted afterwards.

    `extra` is asked for more figures when it has ended.
    """

    play: Play | None = None
    script: Sequence[str] = ()
    inventory: Any = None
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    args: Sequence[str] = ()
    psks: int | None = None
    writes: int | None = None
    extra: Callable[[], dict[str, Any]] = dict


class Place:
    """One simulator with its latency, a folder, and, when it is asked for, an OpenBao server."""

    def __init__(self, folder: Path, latency_ms: int, args: Sequence[str] = ()) -> None:
        self.latency_ms = latency_ms
        self._folder = folder
        self._stack = ExitStack()
        self.simulator = Simulator(0, args=["--latency", str(latency_ms), *args])
        self._bao: OpenBao | None = None
        self._counting: Between | None = None

    def __enter__(self) -> Place:
        self._stack.enter_context(self.simulator)
        return self

    def __exit__(self, *_details: object) -> None:
        self._stack.close()

    @property
    def bao(self) -> OpenBao:
        """The server, started once."""
        if self._bao is None:
            self._bao = self._stack.enter_context(OpenBao())
        return self._bao

    @property
    def counting(self) -> Between:
        """What counts the requests to the server of `bao` on their way to it; that takes time."""
        if self._counting is None:
            target = cast(Simulator, SimpleNamespace(base_url=self.bao.url))
            self._counting = self._stack.enter_context(Between(target))
        return self._counting

    def new_folder(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self._folder))

    def script(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A script of this benchmark on its way; its output is in the working folder."""
        folder = Path(arguments[-1]).parent
        whole = {
            **{name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ},
            **self.simulator.env(),
            "LC_ALL": "C.UTF-8",
            "VAULT_PASSWORD": PASSWORD,
            "PYTHONPATH": str(COLLECTIONS),
            **(env or {}),
        }
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, str(SCRIPTS / name), *arguments],
                env=whole,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def fleet(self, size: int) -> None:
        """A fresh fleet, and counters at zero."""
        self.simulator.reset(tunnels=size)

    def wanted(self, size: int, changes: int) -> Path:
        """The inventory whose variable `fleet` describes a fleet of this size with so many changes."""
        self.fleet(size)
        folder = self.new_folder()
        target = folder / "inventory"
        target.mkdir()
        environment = {**os.environ, **self.simulator.env(), "PYTHONPATH": str(COLLECTIONS)}
        subprocess.run(
            [sys.executable, str(SCRIPTS / "wanted.py"), str(target), str(changes)], env=environment, check=True
        )
        return target / "hosts"

    def run(self, work: Work, what: str) -> Run:
        """Do the work once. Raises Failed when it fails, or did something else."""
        folder = self.new_folder()
        before = self.simulator.counters()
        if work.play is not None:
            used, output = self._play(folder, work)
        else:
            name, *arguments = work.script
            used = measured(lambda: self.script(name, *arguments, str(folder / "file"), env=work.env), LIMIT_SECONDS)
            output = "".join((folder / x).read_text(encoding="utf-8") for x in ("stdout", "stderr"))
        after = self.simulator.counters()
        counted = {key: after[key] - before[key] for key in after}
        wrong = [
            f"{counted[key]} {key} instead of {wanted}"
            for key, wanted in (("psks", work.psks), ("writes", work.writes))
            if wanted is not None and counted[key] != wanted
        ]
        if used.code or wrong:
            raise Failed(f"{what}: ended with {used.code} {' '.join(wrong)}\n{output[-3000:]}")
        extra = json.loads(output) if work.play is None else _exposure(output)
        extra |= work.extra()
        return Run(
            seconds=used.seconds,
            cpu_seconds=used.cpu_seconds,
            peak_mib=used.peak_mib,
            requests=counted["requests"],
            writes=counted["writes"],
            bytes=counted["bytes_received"] + counted["bytes_sent"],
            rate_limited=counted["rate_limited"],
            extra=extra,
        )

    def _play(self, folder: Path, work: Work) -> tuple[Any, str]:
        assert work.play is not None
        playbooks = Playbooks(folder, {**self.simulator.env(), **work.env})
        started = []

        def start() -> subprocess.Popen[bytes]:
            started.append(
                playbooks.start(
                    work.play or [],
                    inventory=work.inventory,
                    extra_vars=work.extra_vars or None,
                    vault_password=PASSWORD,
                    env={"ANSIBLE_CALLBACKS_ENABLED": None, "ANSIBLE_CALLBACK_PLUGINS": None},
                    args=work.args,
                )
            )
            return started[-1].process

        try:
            used = measured(start, LIMIT_SECONDS)
            return used, started[0].output()
        finally:
            playbooks.close()


def _exposure(output: str) -> dict[str, Any]:
    """From the API's answer to the device's own evidence, as the role tells it at its end; in seconds."""
    found = re.findall(r"exposure ([0-9.]+) s median, ([0-9.]+) s at 95 %", output)
    return {"exposure_p50": float(found[-1][0]), "exposure_p95": float(found[-1][1])} if found else {}


@dataclass(frozen=True)
class Case:
    """One way of doing something. `prepare` makes the work for a size; what it does is not measured.

    The `sizes` are measured, larger ones are extrapolated from them, with `base` as what no tunnel costs; a `fixed`
    case has its own sizes only. A `slow` case makes a request for each tunnel: with a latency it runs once, and not at
    the largest size. One that runs `once` takes minutes, in which thousands of tasks make their own mean.
    """

    group: str
    name: str
    prepare: Callable[[Place, int], Callable[[Place], Work]]
    sizes: Sequence[int] = SIZES
    fixed: bool = False
    slow: bool = False
    once: bool = False
    latencies: Sequence[int] | None = None
    base: str | None = "empty play"


def _always(make: Callable[[Place, int], Work]) -> Callable[[Place, int], Callable[[Place], Work]]:
    """A case that only needs a fresh fleet before each repetition."""

    def prepare(_place: Place, size: int) -> Callable[[Place], Work]:
        def again(place: Place) -> Work:
            place.fleet(size)
            return make(place, size)

        return again

    return prepare


# -- a: the role -----------------------------------------------------------------------------------------------------

ROLE = [{"role": "magicwan.cloudflare.psk_rotation"}]
# The fleet's PSKs are those of the simulator, which no escrow knows.
ROTATE = {"psk_rotation_force": True, "psk_rotation_unknown_psk": "rotate"}


def _role(
    escrow: Callable[[Place], dict[str, Any]], **variables: Any
) -> Callable[[Place, int], Callable[[Place], Work]]:
    def make(place: Place, size: int) -> Work:
        extra = {**ROTATE, "psk_rotation_tunnels": ["all"], "psk_rotation_escrow": escrow(place), **variables}
        return Work(play(roles=ROLE), extra_vars=extra, psks=size)

    return _always(make)


def _file(place: Place) -> dict[str, Any]:
    return {"backend": "file", "path": str(place.new_folder() / "psks.yml")}


def _kv2(place: Place, url: str = "") -> dict[str, Any]:
    path = f"bench/{place.new_folder().name}"
    return {"backend": "vault_kv2", "url": url or place.bao.url, "token": place.bao.token, "path": path}


def _kv2_again(place: Place, size: int) -> Callable[[Place], Work]:
    """A rotation of tunnels that the engine knows. The one before is not measured."""
    first = _role(_kv2)(place, size)(place)
    place.run(first, "the first rotation")
    return lambda _place: replace(first)


def _kv2_counted(place: Place, size: int) -> Callable[[Place], Work]:
    """How many requests a tunnel takes in its first rotation and in another one."""
    heard, counted = place.counting.heard, {}

    def requests_a_tunnel() -> float:
        found = len(heard) / size
        heard.clear()
        return found

    def again(place: Place) -> Work:
        url = f"http://{place.counting.address}"
        first = _role(lambda place: _kv2(place, url))(place, size)(place)
        heard.clear()
        place.run(first, "the first rotation")
        counted["kv2_requests_first"] = requests_a_tunnel()
        return replace(first, extra=lambda: {**counted, "kv2_requests_again": requests_a_tunnel()})

    return again


def _kv2_script(place: Place, size: int) -> Work:
    path = f"{place.bao.url}/v1/secret/data/bench/{place.new_folder().name}"
    return Work(script=["kv2.py", path, str(size)], env={"VAULT_TOKEN": place.bao.token}, psks=0)


# -- c: what users write today ---------------------------------------------------------------------------------------

TUNNELS = (
    "{{ lookup('ansible.builtin.env', 'CLOUDFLARE_BASE_URL') }}/accounts/"
    "{{ lookup('ansible.builtin.env', 'CLOUDFLARE_ACCOUNT_ID') }}/magic/ipsec_tunnels"
)
HEADERS = {"Authorization": "Bearer {{ lookup('ansible.builtin.env', 'CLOUDFLARE_API_TOKEN') }}"}
PSK = "{{ lookup('ansible.builtin.password', '/dev/null', length=48, chars=['ascii_letters', 'digits']) }}"


def _uri_loop(place: Place, size: int) -> Work:
    """A list, a request for each tunnel, and one encrypted file with the keys."""
    tasks = [
        {
            "name": "List the tunnels",
            "ansible.builtin.uri": {"url": TUNNELS, "headers": HEADERS, "return_content": True},
            "register": "listed",
        },
        {
            "name": "Set a PSK",
            "ansible.builtin.uri": {
                "url": TUNNELS + "/psk",
                "method": "POST",
                "headers": HEADERS,
                "body_format": "json",
                "body": {"psks": [{"id": "{{ item.id }}", "psk": PSK}]},
            },
            "loop": "{{ listed.json.result.ipsec_tunnels }}",
            "loop_control": {"label": "{{ item.name }}"},
            "no_log": True,
            "register": "answers",
        },
        {
            "name": "Keep the PSKs",
            "ansible.builtin.copy": {
                "content": "{{ answers.results | map(attribute='json') | to_json | ansible.builtin.vault(password) }}",
                "dest": str(place.new_folder() / "psks.yml"),
                "mode": "0600",
            },
            "no_log": True,
        },
    ]
    return Work(play(*tasks), extra_vars={"password": PASSWORD}, psks=size, writes=size)


# -- e: the fleet's desired state ------------------------------------------------------------------------------------

SHARES = {"nothing": 0.0, "1 %": 0.01, "everything": 1.0}
ALL_AT_ONCE = {"magicwan.cloudflare.ipsec_tunnels": {"tunnels": "{{ fleet }}"}}
ONE_BY_ONE = {
    "magicwan.cloudflare.ipsec_tunnel": "{{ item }}",
    "loop": "{{ fleet }}",
    "loop_control": {"label": "{{ item.name }}"},
}


def _state(task: Mapping[str, Any], share: float) -> Callable[[Place, int], Callable[[Place], Work]]:
    def prepare(place: Place, size: int) -> Callable[[Place], Work]:
        changes = round(size * share)
        inventory = place.wanted(size, changes)

        def again(place: Place) -> Work:
            place.fleet(size)
            return Work(play({"name": "Keep", **task}), inventory=inventory, writes=changes)

        return again

    return prepare


# -- f: devices as hosts ---------------------------------------------------------------------------------------------


def _hosts(place: Place, size: int) -> Path:
    """An inventory of hosts that terminate two tunnels each."""
    place.fleet(2 * size)
    ids = _ids(place)
    hosts = {
        f"device{n}": {"ansible_connection": "local", "psk_rotation_tunnels": ids[2 * n : 2 * n + 2]}
        for n in range(size)
    }
    inventory = place.new_folder() / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    return inventory


def _four_facts(place: Place, size: int) -> Callable[[Place], Work]:
    """The least that Ansible does with the same hosts: four small tasks on each."""
    inventory = _hosts(place, size)
    tasks = [{"name": f"Fact {n}", "ansible.builtin.set_fact": {f"fact{n}": n}} for n in range(4)]
    return lambda _place: Work(play(*tasks, hosts="all", serial=SERIAL), inventory=inventory, env=FORKS, writes=0)


def _devices(place: Place, size: int) -> Callable[[Place], Work]:
    """The role on such hosts; bringing a key to a device is a task that does nothing."""
    inventory = _hosts(place, size)
    hook = place.new_folder() / "device.yml"
    hook.write_text("- name: Configure the device\n  ansible.builtin.meta: noop\n", encoding="utf-8")

    def again(place: Place) -> Work:
        place.fleet(2 * size)
        extra = {
            **ROTATE,
            "psk_rotation_escrow": _file(place),
            "psk_rotation_device_tasks": str(hook),
            "psk_rotation_reach_tasks": str(hook),
        }
        roles = play(roles=ROLE, hosts="all", serial=SERIAL)
        return Work(roles, inventory=inventory, extra_vars=extra, env=FORKS, psks=2 * size)

    return again


def _ids(place: Place) -> list[str]:
    url = f"{place.simulator.base_url}/accounts/{place.simulator.account}/magic/ipsec_tunnels"
    headers = {"Authorization": f"Bearer {place.simulator.token}"}
    return [x["id"] for x in requests.get(url, headers=headers, timeout=60).json()["result"]["ipsec_tunnels"]]


EMPTY = Case("-", "empty play", _always(lambda _place, _size: Work(play(), writes=0)), sizes=(0,))
CASES = (
    Case("a", "role, file escrow", _role(_file)),
    Case("a", "role, KV v2 escrow", _role(_kv2), latencies=(0,)),
    Case("a", "role, KV v2 escrow, again", _kv2_again, sizes=(1000,), fixed=True, latencies=(0,)),
    Case("a", "role, KV v2 escrow, counted", _kv2_counted, sizes=(COUNTED,), fixed=True, once=True, latencies=(0,)),
    Case("b", "KV v2 script, four threads", _always(_kv2_script), sizes=(1000,), fixed=True, latencies=(0,)),
    Case("a", "role, no escrow", _role(lambda _place: {"backend": "none"})),
    Case(
        "a",
        f"role, no escrow, waves of {WAVE}",
        _role(lambda _place: {"backend": "none"}, psk_rotation_wave_size=WAVE),
        sizes=(1000,),
        fixed=True,
    ),
    Case("b", "floor script", _always(lambda _place, n: Work(script=["floor.py"], psks=n, writes=-(-n // 1000)))),
    Case("c", "uri loop", _always(_uri_loop), sizes=(LOOPED,), slow=True),
    Case(
        "d",
        "SDK script, bulk",
        _always(lambda _place, n: Work(script=["sdk.py", "bulk"], psks=n, writes=-(-n // 1000))),
    ),
    Case(
        "d",
        "SDK script, per tunnel",
        _always(lambda _place, n: Work(script=["sdk.py", "single"], psks=n, writes=n)),
        slow=True,
        base=None,
    ),
    *(
        Case("e", f"ipsec_tunnels, {what} to change", _state(ALL_AT_ONCE, share))
        for what, share in SHARES.items()
        if what != "everything"
    ),
    Case(
        "e",
        "ipsec_tunnels, everything to change",
        _state(ALL_AT_ONCE, 1.0),
        slow=True,
    ),
    *(
        Case(
            "e",
            f"ipsec_tunnel loop, {what} to change",
            _state(ONE_BY_ONE, SHARES[what]),
            sizes=(LOOPED,),
            latencies=(0,),
        )
        for what in ("nothing", "everything")
    ),
    Case("f", "four set_fact on the hosts", _four_facts, sizes=DEVICES, fixed=True, once=True, latencies=(0,)),
    Case("f", "devices as hosts, 50 at a time", _devices, sizes=DEVICES, fixed=True, once=True, latencies=(0,)),
)


def plan(groups: Sequence[str], sizes: Sequence[int], latency_ms: int) -> list[tuple[Case, list[int], list[int]]]:
    """Which cases are measured at this latency at which sizes, and at which they are extrapolated."""
    found: list[tuple[Case, list[int], list[int]]] = [(EMPTY, [0], [])]
    for case in CASES:
        if case.group not in groups or (case.latencies is not None and latency_ms not in case.latencies):
            continue
        if case.fixed:
            found.append((case, list(dict.fromkeys(min(n, max(sizes)) for n in case.sizes)), []))
            continue
        left_out = {max(SIZES)} if case.slow and latency_ms else set()
        here = [n for n in sizes if n <= max(case.sizes) and n not in left_out]
        found.append((case, here, [n for n in sizes if n not in here]))
    return found


def measure(
    table: Table, place: Place, groups: Sequence[str], sizes: Sequence[int], repeat: int, show: Callable[[Row], None]
) -> None:
    """Measure at the latency of `place`, and add rows to the table."""
    for case, here, further in plan(groups, sizes, place.latency_ms):
        for size in here:
            again = case.prepare(place, size)
            row = Row(case.group, case.name, size, place.latency_ms)
            for _number in range(1 if case.once or (case.slow and place.latency_ms) else repeat):
                row.runs.append(place.run(again(place), f"{case.name}, {size}"))
            table.rows.append(row)
            show(row)
        for size in further:
            extrapolated = table.extrapolate(case.name, size, place.latency_ms, case.base)
            if extrapolated is not None:
                show(extrapolated)


# -- g: the rate limit -----------------------------------------------------------------------------------------------


def rate_limit(folder: Path, tunnels: int, changes: int, show: Callable[[Row], None]) -> Iterator[Row]:
    """A rotation and a change of many tunnels under the limiter, and a rotation that starts while all is refused."""

    def done(place: Place, case: str, size: int, work: Work) -> Row:
        row = Row("g", case, size, 0, [place.run(work, case)])
        show(row)
        return row

    with Place(folder, 0, ["--rate-limit", RATE_LIMIT]) as place:
        yield done(place, "role under the rate limit", tunnels, _role(_file)(place, tunnels)(place))
        change = _state(ALL_AT_ONCE, 1.0)(place, changes)
        yield done(place, "ipsec_tunnels under the rate limit", changes, change(place))
    with Place(folder, 0, ["--rate-limit", RATE_BLOCKED]) as place:
        work = _role(_file)(place, LOOPED)(place)
        _block(place)
        yield done(place, "role that starts while blocked", LOOPED, work)


def _block(place: Place) -> None:
    """Use the rate up, until all is refused."""
    url = f"{place.simulator.base_url}/accounts/{place.simulator.account}/magic/ipsec_tunnels/none"
    headers = {"Authorization": f"Bearer {place.simulator.token}"}
    with requests.Session() as session:
        while session.get(url, headers=headers, timeout=60).status_code != 429:
            pass
