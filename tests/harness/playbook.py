# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks as a user does, in an environment of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.harness import recorded

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
CALLBACKS = Path(__file__).resolve().parent / "callback_plugins"
INHERITED = ("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
MARK = "HARNESS_RUN_ID"
FQCN = re.compile(r"\w+\.\w+\.\w+")

Play = str | list[Any] | Path
Inventory = str | Path | Mapping[str, Any] | None


class CoreUnavailable(Exception):
    """No Python here can run that ansible-core."""


@dataclass
class Result:
    """What a run left behind."""

    rc: int
    stdout: str
    stderr: str
    seconds: float
    stats: dict[str, dict[str, int]] = field(default_factory=dict)
    custom: dict[str, Any] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def output(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts."""
        return sum(host["changed"] for host in self.stats.values())

    @property
    def failures(self) -> int:
        """How many hosts' tasks failed or could not be reached."""
        return sum(host["failures"] + host["unreachable"] for host in self.stats.values())

    def results(self, task: str, host: str | None = None) -> list[dict[str, Any]]:
        """The results of the tasks whose name ends so, in the order they came, censored when they had no_log."""
        return [
            dict(entry["result"], _status=entry["status"], _host=entry["host"])
            for entry in self.tasks
            if entry["task"].endswith(task) and host in (None, entry["host"])
        ]

    def result(self, task: str, host: str | None = None) -> dict[str, Any]:
        """The result of the one such task."""
        found = self.results(task, host)
        assert len(found) == 1, f"{len(found)} results of {task!r}, the tasks are {[t['task'] for t in self.tasks]}"
        return found[0]

    def ok(self) -> Result:
        """This result, when the run succeeded; otherwise its output becomes the test's failure."""
        assert self.rc == 0, f"ansible-playbook ended with {self.rc}:\n{self.output}"
        return self

    def failed(self) -> Result:
        """This result, when the run failed by a task or a host, and not by a crash or a syntax error."""
        assert self.rc == 2 and self.failures, f"ansible-playbook ended with {self.rc}:\n{self.output}"
        return self


class Running:
    """A playbook on its way."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self._folder = folder
        self._run_id = env[MARK]
        self._started = time.monotonic()
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, and at the same time the id of its process group."""
        return self.process.pid

    def output(self) -> str:
        """What it has printed so far."""
        return "".join(self._read(name) for name in ("stdout", "stderr"))

    def _read(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="utf-8", errors="replace")

    def kill_group(self, number: int = signal.SIGKILL) -> None:
        """Signal the process group, as AWX does at a time-out.

        Since core 2.19 workers and their modules are in groups of their own: they live on, see kill_all.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def descendants(self) -> list[int]:
        """Every process of this run that is alive, found by its environment (Linux)."""
        mark = f"{MARK}={self._run_id}".encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
        return found

    def kill_all(self) -> None:
        """SIGKILL to every process of this run, as a container's end does."""
        self.kill_group()
        for _round in range(50):
            alive = self.descendants()
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            if not alive:
                break
            time.sleep(0.01)
        self.process.wait()

    def wait(self, timeout: float = 120) -> Result:
        """Wait for its end; what takes longer is killed and fails the test."""
        try:
            rc = self.process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"ansible-playbook took more than {timeout} s:\n{self.output()}") from None
        report: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            report = json.loads(self._read("result.json"))
        return Result(rc, self._read("stdout"), self._read("stderr"), time.monotonic() - self._started, **report)


def core_bin(core: str | None) -> Path:
    """The folder with this ansible-core's commands; the test environment's own without a version."""
    if core is None:
        return Path(sys.executable).parent
    note = VENV / "cores" / f"{core}.unavailable"
    if note.exists():
        raise CoreUnavailable(note.read_text(encoding="utf-8"))
    folder = VENV / "cores" / core / "bin"
    if not (folder / "ansible-playbook").exists():
        raise FileNotFoundError(f"no ansible-core {core}: run tools/core-venv {core}")
    return folder


class Playbooks:
    """Runs playbooks in folders under `workdir`; `env` is added to every run's clean environment."""

    def __init__(self, workdir: Path, env: Mapping[str, str] | None = None) -> None:
        self.workdir = workdir
        self.env = dict(env or {})
        self._running: list[Running] = []

    def run(self, play: Play, *, timeout: float = 120, **options: Any) -> Result:
        """Run a playbook to its end; the options are those of start()."""
        return self.start(play, **options).wait(timeout)

    def start(
        self,
        play: Play,
        *,
        inventory: Inventory = None,
        extra_vars: Mapping[str, Any] | None = None,
        check: bool = False,
        diff: bool = False,
        verbosity: int = 0,
        env: Mapping[str, str | None] | None = None,
        vault_password: str | None = "vault-password-of-the-tests",
        core: str | None = None,
        args: Sequence[str] = (),
    ) -> Running:
        """Start a playbook.

        play: YAML text, a list of plays, a path, or the full name of a collection's playbook.
        inventory: YAML or INI text, a mapping, or a path; without one there is only the implicit localhost.
        env: added to the environment; None removes a variable.
        core: such as "2.19", made by tools/core-venv; the test environment's own by default.
        """
        folder = self.workdir / f"run-{len(self._running)}"
        folder.mkdir(mode=0o700, parents=True)
        commands = core_bin(core)
        command = [str(commands / "ansible-playbook"), self._play(folder, play)]
        if inventory is not None:
            command += ["-i", self._inventory(folder, inventory)]
        if extra_vars is not None:
            command += ["-e", "@" + self._private(folder / "extra-vars.json", json.dumps(extra_vars))]
        command += ["--check"] * check + ["--diff"] * diff + ["-" + "v" * verbosity] * bool(verbosity) + list(args)
        full_env = self._environment(folder, commands, vault_password)
        for name, value in {**self.env, **(env or {})}.items():
            if value is None:
                full_env.pop(name, None)
            else:
                full_env[name] = value
        running = Running(command, folder, full_env)
        self._running.append(running)
        return running

    def close(self) -> None:
        """Leave no process behind."""
        for running in self._running:
            running.kill_all()

    def outputs(self) -> list[str]:
        """What every run has printed."""
        return [running.output() for running in self._running]

    def _environment(self, folder: Path, commands: Path, vault_password: str | None) -> dict[str, str]:
        home = self.workdir / "home"
        home.mkdir(mode=0o700, exist_ok=True)
        env = {name: os.environ[name] for name in INHERITED if name in os.environ}
        env |= {
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "NO_PROXY": "127.0.0.1,localhost",
            "ANSIBLE_HOME": str(home / ".ansible"),
            "ANSIBLE_CONFIG": self._private(folder / "ansible.cfg", "[defaults]\n"),
            "ANSIBLE_COLLECTIONS_PATH": str(VENV / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(home / "local-tmp"),
            "ANSIBLE_REMOTE_TEMP": str(home / "remote-tmp"),
            "ANSIBLE_PYTHON_INTERPRETER": str(commands / "python"),
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            **recorded.callbacks("harness_json", "harness_files"),
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
            "ANSIBLE_NOCOLOR": "1",
            "HARNESS_RESULT_FILE": str(folder / "result.json"),
            MARK: uuid.uuid4().hex,
        }
        if vault_password is not None:
            env["ANSIBLE_VAULT_PASSWORD_FILE"] = self._private(folder / "vault-password", vault_password)
        return env

    def _play(self, folder: Path, play: Play) -> str:
        if isinstance(play, Path) or (isinstance(play, str) and FQCN.fullmatch(play)):
            return str(play)
        text = play if isinstance(play, str) else yaml.safe_dump(play, sort_keys=False, allow_unicode=True)
        return self._private(folder / "play.yml", text)

    def _inventory(self, folder: Path, inventory: str | Path | Mapping[str, Any]) -> str:
        if isinstance(inventory, Path):
            return str(inventory)
        if isinstance(inventory, str):
            return self._private(folder / "inventory", inventory)
        return self._private(folder / "inventory.yml", yaml.safe_dump(dict(inventory), sort_keys=False))

    @staticmethod
    def _private(path: Path, text: str) -> str:
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return str(path)
