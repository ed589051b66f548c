# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as AWX runs them: ansible-runner, AWX's own engine, in a private data folder that is laid out as AWX does it.

Credentials arrive in the environment, the vault password at a prompt, the inventory as a script, the time-out as a
setting, a cancellation as SIGINT to the runner, which then sends SIGKILL to Ansible's process group. The container's
end, which takes what is left, is kill_rest(). What is not there: the container itself, and AWX's database.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.playbook import INHERITED, MARK, ROOT, VENV
from tests.harness.secrets_scan import Hit, find_secrets

PROJECT = ROOT / "playbooks" / "awx"
BIN = Path(sys.executable).parent
VAULT_PROMPT = r"Vault password:\s*?$"
# The one file of an artifact folder that holds the whole environment, the credentials too: AWX never keeps it.
COMMAND = "command"
# The variables of a host that stands for a device on this machine.
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}


@dataclass
class JobResult:
    """What a job left: its status as AWX takes it, and the artifact folder."""

    status: str
    rc: int
    artifacts: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stdout(self) -> str:
        """What the job printed."""
        return (self.artifacts / "stdout").read_text(encoding="utf-8", errors="replace")

    @property
    def stats(self) -> dict[str, Any]:
        """The data of set_stats, which AWX shows and hands to the next node; empty for a job that was killed."""
        found = [x for x in self.events if x["event"] == "playbook_on_stats"]
        return dict(found[-1]["event_data"].get("artifact_data") or {}) if found else {}

    def succeeded(self) -> JobResult:
        """This result, when the job succeeded."""
        assert self.status == "successful", f"the job ended {self.status}:\n{self.stdout}"
        return self

    def hits(self, secrets: Sequence[str]) -> list[Hit]:
        """Where these secrets show in what the job left, but for the file COMMAND."""
        files = [x for x in self.artifacts.rglob("*") if x.is_file() and x.name != COMMAND]
        return find_secrets([*files, *(str(x) for x in files)], secrets)


class Job:
    """A job on its way."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], mark: str) -> None:
        self.folder = folder
        self.process = process
        self._mark = f"{MARK}={mark}".encode()

    def cancel(self) -> JobResult:
        """As AWX cancels: SIGINT to the runner, which sends SIGKILL to Ansible's process group."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self, timeout: float = 200) -> JobResult:
        """Wait for the job's end, and then for the container's."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.close()
            raise AssertionError(f"the job took more than {timeout} s") from None
        self.kill_rest()
        artifacts = self.folder / "artifacts" / "job"
        events = []
        for path in sorted((artifacts / "job_events").glob("*.json"), key=lambda x: int(x.name.partition("-")[0])):
            with contextlib.suppress(ValueError):  # one that was being written
                events.append(json.loads(path.read_text(encoding="utf-8")))
        status, rc = (
            (artifacts / x).read_text(encoding="utf-8") if (artifacts / x).exists() else "" for x in ("status", "rc")
        )
        assert status, f"ansible-runner left no status:\n{(self.folder / 'log').read_text(encoding='utf-8')}"
        return JobResult(status, int(rc), artifacts, events)

    def kill_rest(self) -> None:
        """SIGKILL to every process of the job that is left."""
        while alive := self._alive():
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Leave no process behind."""
        self.process.kill()
        self.process.wait()
        self.kill_rest()

    def _alive(self) -> list[int]:
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if self._mark in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
        return [pid for pid in found if pid != self.process.pid]


class Controller:
    """Runs jobs in folders under `workdir`; `env` is what the credentials put into each job's environment."""

    def __init__(self, workdir: Path, env: Mapping[str, str]) -> None:
        self.workdir = workdir
        self.env = dict(env)
        self.collections = VENV / "collections"
        self._jobs: list[Job] = []
        self._numbers = itertools.count(1)

    def run(self, playbook: str, **options: Any) -> JobResult:
        """Run a job to its end; the options are those of start()."""
        return self.start(playbook, **options).wait()

    def start(
        self,
        playbook: str,
        *,
        inventory: Mapping[str, Mapping[str, Any]] | None = None,
        extra_vars: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        vault_password: str | None = None,
        check: bool = False,
        job_timeout: int = 0,
        limit: str = "",
        project: Mapping[str, str] | None = None,
        source: Path = PROJECT,
    ) -> Job:
        """Launch a playbook of the sample project, or of another one in `source`.

        inventory: variables by host, or all that an inventory script prints; AWX never lists localhost by itself, so a
        play on it gets the implicit one.
        project: more files of the project, text by path.
        """
        number = next(self._numbers)
        folder = self.workdir / f"awx_{number}"
        mark = uuid.uuid4().hex
        shutil.copytree(source, folder / "project")
        for name, text in (project or {}).items():
            (folder / "project" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "project" / name).write_text(text, encoding="utf-8")
        for name in ("env", "inventory", "home"):
            (folder / name).mkdir(mode=0o700)
        hosts: dict[str, Any] = dict(inventory or {})
        if "_meta" not in hosts:
            hosts = {"all": {"hosts": list(hosts)}, "_meta": {"hostvars": hosts}}
        script = _private(folder / "inventory" / "hosts", f"#!{sys.executable}\nprint({json.dumps(hosts)!r})\n")
        script.chmod(0o700)
        job_env = {
            "AWX_HOST": "https://awx.example.com",
            "JOB_ID": str(number),
            "INVENTORY_ID": "1",
            "PROJECT_REVISION": "0" * 40,
            "MAX_EVENT_RES": "700000",
            "ANSIBLE_FORCE_COLOR": "True",
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "HOME": str(folder / "home"),
            MARK: mark,
            **self.env,
            **(env or {}),
        }
        _private(folder / "env" / "envvars", json.dumps(job_env))
        _private(folder / "env" / "extravars", json.dumps(dict(extra_vars or {})))
        settings = {
            "job_timeout": job_timeout,
            "idle_timeout": 0,
            "pexpect_timeout": 0.1,
            "suppress_ansible_output": True,
        }
        _private(folder / "env" / "settings", json.dumps(settings))
        arguments = ["--check"] * check + ["--ask-vault-pass"] * (vault_password is not None)
        arguments += ["--limit", limit] * bool(limit)
        _private(folder / "env" / "cmdline", " ".join(arguments))
        if vault_password is not None:
            _private(folder / "env" / "passwords", json.dumps({VAULT_PROMPT: vault_password}))
        base = {name: os.environ[name] for name in INHERITED if name in os.environ}
        base |= {"PATH": f"{BIN}:{base['PATH']}", "LC_ALL": "C.UTF-8", "NO_PROXY": "127.0.0.1,localhost"}
        base |= {"HOME": str(folder / "home")}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [BIN / "ansible-runner", "run", folder, "-p", playbook, "-i", "job"],
                env=base,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        job = Job(folder, process, mark)
        self._jobs.append(job)
        return job

    def close(self) -> None:
        """Leave no process behind."""
        for job in self._jobs:
            job.close()

    @property
    def folders(self) -> list[Path]:
        """The folders of all jobs, oldest first."""
        return [job.folder for job in self._jobs]


def sliced(inventory: Mapping[str, Mapping[str, Any]], count: int) -> list[dict[str, Mapping[str, Any]]]:
    """An inventory cut as AWX cuts it for a sliced job: every count-th host in the order of the names."""
    names = sorted(inventory)
    return [{name: inventory[name] for name in names[number::count]} for number in range(count)]


def _private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path
