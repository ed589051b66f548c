# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs, and where a secret might be left by each.

Told apart is what ansible-runner, and so AWX, stores of its own accord: ``artifacts/<ident>/command`` is the command
with the whole environment of the run, the API token in it, since that is where the token is given. AWX replaces secrets
of custom credentials there before it stores the file's content, and a receptor node keeps it for the time of the job.
Facts are gathered without ``ansible_env``, which for a host with the connection local is that environment again, and
would be cached with it.
The escrow itself, the devices' own configuration and the input of the runs are no leaks and not searched; the folder
of the escrow is, since only ciphertext may be in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.faults.rows_kill import SET
from tests.faults.scene import DEADLINE, PASSWORD, ROTATE, Bench, Scene, settled
from tests.harness.playbook import MARK, core_bin
from tests.harness.secrets_scan import Hit, find_secrets
from tests.leaks.watch import PROOF, Arguments, SystemLog

TOKEN = "sim-token-Zq4vT7mLx2Rk9WbN"
HIGHEST_VERBOSITY = 5
FACTS = {
    "name": "Have facts to cache",
    "hosts": "all",
    "gather_facts": True,
    "gather_subset": ["!all", "!min", "distribution"],
    "tasks": [
        {"name": "Show the summary", "ansible.builtin.debug": {"var": "psk_rotation_summary"}},
        {"name": "Publish it", "ansible.builtin.set_stats": {"data": {"rotation": "{{ psk_rotation_summary }}"}}},
    ],
}
PLANTED = {
    "name": "Show what nobody may see",
    "hosts": "all",
    "gather_facts": False,
    "tasks": [{"name": "Show it", "ansible.builtin.debug": {"msg": "{{ psk_rotation_results[0].psk | b64encode }}"}}],
}


@dataclass
class Find:
    """What a search of one place of one run came to."""

    place: str
    size: int = 0
    hits: list[Hit] = field(default_factory=list)
    skipped: str = ""


@dataclass(frozen=True)
class Way:
    """How a run goes: `prepare` arms what goes wrong, `ends` are the exit statuses that it may have."""

    name: str
    ends: Collection[int]
    prepare: Callable[[Scene], Mapping[str, str] | None] = lambda scene: None
    devices: bool = True
    killed: bool = False


def _arm(**fault: Any) -> Callable[[Scene], None]:
    def prepare(scene: Scene) -> None:
        scene.simulator.arm({**SET, "count": 0, **fault})

    return prepare


def _trouble(word: str) -> Callable[[Scene], None]:
    return lambda scene: scene.trouble("dev01", word)


def _point(*arguments: Any) -> Callable[[Scene], Mapping[str, str]]:
    return lambda scene: scene.point(*arguments)


SUCCESS = Way("success", (0,))
FAILING = (
    Way("unapplied", (2,), _arm(unapplied=1)),
    Way("dropped after apply", (0, 2), _arm(drop=True, when="after"), devices=False),
    Way("401", (2,), _arm(status=401), devices=False),
    Way("HTML", (0, 2), _arm(html=True, when="after"), devices=False),
    Way("device refuses", (2,), _trouble("refuse")),
    Way("device not proven", (2,), _trouble("no-reauth")),
    Way("store full", (2,), _point("os.fsync", r"\.tmp$", "before", 2, "errno:28"), devices=False),
    Way("exception in the module", (2,), _point("http", "POST .*/psk$", "after", 1, "show"), devices=False),
    Way("exception in preflight", (2,), _point("http", "POST .*/psk[?]", "after", 1, "show"), devices=False),
    Way("killed in the request", (-9,), _arm(hang=True, when="after"), devices=False, killed=True),
)
QUICK = ("exception in the module", "killed in the request")
WITH_RUNNER = ("success", "unapplied", "device refuses", "exception in the module", "killed in the request")


class Search:
    """Runs rotations on one ansible-core and searches what they leave."""

    def __init__(self, bench: Bench, no_log: str) -> None:
        self._bench, self._no_log = bench, no_log

    def plain(self, way: Way, verbosity: int, *, then: Sequence[Mapping[str, Any]] = ()) -> Iterator[Find]:
        """By ansible-playbook, with --diff and a log file."""
        with self._bench.scene(devices=way.devices) as scene:
            log, temporary = scene.folder / "ansible.log", _folder(scene.folder / "tmp")
            env = {"ANSIBLE_LOG_PATH": str(log), "TMPDIR": str(temporary), **(way.prepare(scene) or {})}
            options: dict[str, Any] = {"env": env, "verbosity": verbosity, "diff": True, "play": [*ROTATE, *then]}
            with Arguments() as arguments:
                run = (
                    scene.play_until(settled, lambda x: x.kill_all(), **options)
                    if way.killed
                    else scene.play(**options)
                )
            _check_end(way, run.rc, run.result.output)
            secrets = _secrets(scene)
            yield _search("stdout and stderr", [run.result.stdout, run.result.stderr], secrets)
            yield _search("ansible log", [log] if log.exists() else [], secrets)
            yield _search("temporary folders", [*_homes(scene), temporary], secrets)
            yield _search("folder of the escrow", [scene.folder / "escrow"], secrets)
            yield _search("process arguments", [arguments.text()], secrets)

    def runner(self, way: Way) -> Iterator[Find]:
        """By ansible-runner, as AWX does, with a fact cache and a system log of its own."""
        with self._bench.scene(devices=way.devices) as scene:
            home, temporary = _folder(scene.folder / "home"), _folder(scene.folder / "tmp")
            private = _folder(scene.folder / "private")
            env = {**self._runner_env(scene, home, temporary), **(way.prepare(scene) or {})}
            _write_private_data(private, scene, env)
            command = [str(Path(sys.executable).parent / "ansible-runner"), "run", str(private)]
            command += ["-p", "play.yml", "--ident", "job", "-vvv"]
            log = SystemLog(scene.folder / "log")
            with Arguments() as arguments, log:
                since = scene.last_entry()
                with (scene.folder / "out").open("wb") as out:
                    process = subprocess.Popen(
                        command if self._no_log else log.command(command),
                        env=env,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                try:
                    if way.killed:
                        _kill_when_settled(scene, since, env[MARK])
                    process.wait(DEADLINE)
                finally:
                    _kill_marked(env[MARK])
            artifacts = private / "artifacts" / "job"
            rc = (artifacts / "rc").read_text(encoding="ascii") if (artifacts / "rc").exists() else "none"
            status = -9 if way.killed else int(rc) if rc.isdigit() else 99
            _check_end(way, status, (scene.folder / "out").read_text(encoding="utf-8", errors="replace"))
            secrets = _secrets(scene)
            yield _search("runner: what it prints", [scene.folder / "out"], secrets)
            own = [x for x in sorted(artifacts.iterdir()) if x.name not in ("command", "job_events", "fact_cache")]
            yield _search("runner: stdout and others", own, secrets)
            yield _search("runner: job events", [artifacts / "job_events"], secrets)
            yield _search("runner: fact cache", [artifacts / "fact_cache"], secrets)
            yield _search("stored by ansible-runner", [artifacts / "command"], secrets)
            yield _search("runner: temporary folders", [home, temporary], secrets)
            yield _search("runner: process arguments", [arguments.text()], secrets)
            found = _search("syslog", [log.text()], secrets)
            found.skipped = self._no_log
            if not found.skipped and PROOF not in log.text():
                found.hits.append(Hit("its own message is missing: the listener does not work", 0, 0, "none"))
            yield found

    def _runner_env(self, scene: Scene, home: Path, temporary: Path) -> dict[str, str]:
        commands = core_bin(self._bench.core)
        password = scene.folder / "password"
        password.touch(mode=0o600)
        password.write_text(PASSWORD, encoding="ascii")
        return {
            **scene.simulator.env(),
            **{name: value for name, value in scene.env().items() if "CALLBACK" not in name},
            "PATH": f"{commands}:{os.environ['PATH']}",
            "HOME": str(home),
            "TMPDIR": str(temporary),
            "LC_ALL": "C.UTF-8",
            "NO_PROXY": "127.0.0.1,localhost",
            "ANSIBLE_HOME": str(home / ".ansible"),
            "ANSIBLE_LOCAL_TEMP": str(home / "local-tmp"),
            "ANSIBLE_REMOTE_TEMP": str(home / "remote-tmp"),
            "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(_collections())),
            "ANSIBLE_PYTHON_INTERPRETER": str(commands / "python"),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(password),
            MARK: uuid.uuid4().hex,
        }


def _collections() -> Path:
    return Path(__file__).resolve().parents[2] / ".venv" / "collections"


def _write_private_data(private: Path, scene: Scene, env: Mapping[str, str]) -> None:
    project, inventory, settings = (_folder(private / x) for x in ("project", "inventory", "env"))
    (project / "play.yml").write_text(yaml.safe_dump([*ROTATE, FACTS]), encoding="utf-8")
    hosts = scene.own_inventory()
    text = hosts if isinstance(hosts, str) else yaml.safe_dump(hosts)
    (inventory / ("hosts" if isinstance(hosts, str) else "hosts.yml")).write_text(text, encoding="utf-8")
    (settings / "extravars").write_text(json.dumps(scene.extra_vars()), encoding="utf-8")
    (settings / "envvars").write_text(json.dumps(dict(env)), encoding="utf-8")
    (settings / "settings").write_text(json.dumps({"fact_cache_type": "jsonfile"}), encoding="utf-8")


def _kill_when_settled(scene: Scene, since: int, mark: str) -> None:
    entries = scene.simulator.journal(since=since, wait=DEADLINE)
    while not any(settled(x) for x in entries):
        since = entries[-1]["n"] if entries else since
        entries = scene.simulator.journal(since=since, wait=DEADLINE)
    _kill_marked(mark)


def _kill_marked(mark: str) -> None:
    """What AWX's time-out does, and a container's end after it."""
    wanted = f"{MARK}={mark}".encode()
    for _round in range(3):
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in environ.read_bytes().split(b"\0"):
                    os.kill(int(environ.parent.name), 9)
            except OSError:
                continue


def _check_end(way: Way, rc: int, output: str) -> None:
    if rc not in way.ends:
        raise AssertionError(f"{way.name}: the run ended with {rc}, not {way.ends}:\n{output[-3000:]}")


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _homes(scene: Scene) -> list[Path]:
    return [scene.folder / "plays" / "home"]


def _secrets(scene: Scene) -> list[str]:
    return [scene.simulator.token, *sorted(scene.all_psks())]


def _search(place: str, haystacks: Sequence[str | bytes | Path], secrets: Sequence[str]) -> Find:
    present = [x for x in haystacks if not isinstance(x, Path) or x.exists()]
    return Find(place, sum(_size(x) for x in present), find_secrets(present, secrets))


def _size(haystack: str | bytes | Path) -> int:
    if isinstance(haystack, Path):
        files = [haystack] if haystack.is_file() else [x for x in haystack.rglob("*") if x.is_file()]
        return sum(x.stat().st_size for x in files)
    return len(haystack)
