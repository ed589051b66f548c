# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios share: a simulator, an AWX that was set up, and both rulebooks in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.awx_stand_in.app import AwxStandIn
from tests.awx_stand_in.jobs import Launch, Outcome, World
from tests.harness.playbook import INHERITED, Playbooks
from tests.harness.playbook import VENV as MAIN_VENV
from tests.harness.runner import PROJECT
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator
from tests.integration.awx.story import URL, Story

VENV = MAIN_VENV / "tools" / "eda"
DEADLINE = 90.0
TUNNELS = 48
# So long nothing may be launched where nothing is to be: several looks at the tunnels.
QUIET_LOOKS = 4
ROLLBACK = "Magic WAN - roll back a tunnel"
ROTATION = "Magic WAN - scheduled rotation"
WEBHOOK_TOKEN = "the-token-of-the-webhook"


class Lab:
    """A context manager; everything runs when it is entered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.simulator = Simulator(TUNNELS)
        self.world = World(projects={URL: PROJECT}, run=self._run)
        self.awx = AwxStandIn(self.world)
        self.held = threading.Event()
        self.held.set()
        self.running: list[Launch] = []
        self._port = _free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Lab:
        self._stack.enter_context(self.simulator)
        self._stack.enter_context(self.awx)
        self._tunnels = [x for x in self.simulator.state()["tunnels"] if x["psk"] and _healthy(x)]
        playbooks = Playbooks(self.folder / "playbooks")
        self._stack.callback(playbooks.close)
        url = f"http://127.0.0.1:{self._port}/awx"
        headers = {"Authorization": f"Bearer {WEBHOOK_TOKEN}"}
        Story(self.awx, playbooks).load(magicwan_awx_eda_url=url, magicwan_awx_eda_headers=headers)
        variables = {
            "magicwan_interval": 1,
            "magicwan_retries": 1,
            "magicwan_port": self._port,
            "magicwan_webhook_token": WEBHOOK_TOKEN,
        }
        (self.folder / "vars.yml").write_text(json.dumps(variables), encoding="utf-8")
        self._stack.callback(self._stop)
        for name in ("tunnel_down", "audit_psks"):
            self._start(name)
        self.looks(1)
        self.until(self._listens, "the webhook does not listen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held.set()
        self._stack.close()

    # -- what scenarios do --------------------------------------------------------------------------------------------

    def tunnel(self, number: int) -> dict[str, Any]:
        """A tunnel that was healthy at the start, with a PSK and a health check; each scenario has its own."""
        return self._tunnels[number]

    def set_psk(self, number: int) -> None:
        """A rotation's trace: a PSK that was set just now."""
        self.simulator.patch_tunnel(self.tunnel(number)["id"], psk=f"the-psk-{number}-{time.monotonic_ns()}")

    def health(self, number: int, state: str) -> None:
        """Change what the probes see."""
        self.simulator.patch_tunnel(self.tunnel(number)["id"], health=state)

    def audit(self, status: str = "failed", template: str = "Magic WAN - audit", **findings: int) -> requests.Response:
        """AWX's notification of an audit's end, as the setup playbook's hook sends it."""
        hook = self.awx.store.named("notification_templates", "Magic WAN - events")
        counts = {
            "findings": dict.fromkeys(("overdue", "no_psk", "unfinished", "stuck", "unknown", "foreign"), 0) | findings
        }
        artifacts = {"magicwan_psk_audit": {"message": "1 of 12 tunnels break the policy", "counts": counts}}
        job = {"id": 99, "name": template, "status": status, "artifacts": artifacts}
        body = self.awx.jobs.message(hook, "error", job)
        session = requests.Session()
        session.trust_env = False
        configuration = hook["notification_configuration"]
        return session.post(configuration["url"], json=body, headers=configuration["headers"], timeout=10)

    def launched(self, template: str) -> list[dict[str, Any]]:
        """The extra variables of each job or workflow of a template, since the start."""
        found = [x for x in self.awx.jobs.all.values() if x["name"] == template and x["type"] != "workflow_approval"]
        return [json.loads(x["extra_vars"]) for x in found]

    def rolled_back(self, number: int) -> int:
        """How many jobs were launched to roll a tunnel back."""
        return sum(x["magicwan_tunnel"] == self.tunnel(number)["id"] for x in self.launched(ROLLBACK))

    def looks(self, count: int) -> None:
        """Wait until the source has looked at the tunnels so many times more, whatever the API has answered."""
        last = self.simulator.journal()[-1]["n"] if self.simulator.journal() else 0

        def seen() -> bool:
            entries = self.simulator.journal(last)
            return sum(x["operation"] == "list" and x["event"] == "settled" for x in entries) > count

        self.until(seen, f"the source did not look {count} times")

    def until(self, condition: Callable[[], bool], problem: str) -> None:
        """Poll a condition; a rulebook that has ended is the problem."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert all(x.poll() is None for x in self._processes), f"a rulebook has ended: {self.tail()}"
            assert time.monotonic() < deadline, problem
            time.sleep(0.05)

    def said(self, text: str) -> int:
        """How often a text stands in the rulebooks' output."""
        return self._output().count(text)

    def secrets_shown(self) -> int:
        """How many secrets the rulebooks have printed; a planted one proves that they would be found."""
        history = self.simulator.state()["psk_history"].values()
        psks = {x["psk"] for entries in history for x in entries if x["psk"]}
        secrets = [*sorted(psks), self.simulator.token, self.awx.token, WEBHOOK_TOKEN]
        output = self._output()
        assert find_secrets(output + self.simulator.token, secrets), "the search finds nothing"
        return len(find_secrets(output, secrets))

    def printed(self) -> int:
        """The size of the rulebooks' output."""
        return len(self._output())

    def tail(self) -> str:
        """The end of what each rulebook has printed."""
        return "\n".join(x.read_text(encoding="utf-8")[-4000:] for x in sorted(self.folder.glob("*.log")))

    # -- what is behind -----------------------------------------------------------------------------------------------

    def _run(self, launch: Launch) -> Outcome:
        self.running.append(launch)
        self.held.wait(DEADLINE)
        self.running.remove(launch)
        return Outcome()

    def _start(self, rulebook: str) -> None:
        env = {name: os.environ[name] for name in INHERITED if name in os.environ}
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        env |= {
            "PATH": f"{VENV / 'bin'}:{env['PATH']}",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "NO_PROXY": "127.0.0.1,localhost",
            "ANSIBLE_COLLECTIONS_PATH": str(MAIN_VENV / "collections"),
            "EDA_CONTROLLER_URL": self.awx.url,
            "EDA_CONTROLLER_TOKEN": self.awx.token,
            "EDA_JOB_TEMPLATE_REFRESH_DELAY": "1",
            "PYTHONUNBUFFERED": "1",
            **self.simulator.env(),
        }
        command = [str(VENV / "bin" / "ansible-rulebook"), "--rulebook", f"magicwan.cloudflare.{rulebook}"]
        command += ["--vars", str(self.folder / "vars.yml"), "--verbose", "--print-events"]
        with (self.folder / f"{rulebook}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)

    def _stop(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False

    def _output(self) -> str:
        return "".join(x.read_text(encoding="utf-8", errors="replace") for x in self.folder.glob("*.log"))


def _healthy(tunnel: Mapping[str, Any]) -> bool:
    return tunnel["health_check"]["enabled"] and set(tunnel["health"].values()) == {1.0}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
