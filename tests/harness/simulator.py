# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator of the Cloudflare API as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.harness.server import Server

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "sim-token"
ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
START_SECONDS = 90.0


class Simulator(Server):
    """A running simulator; a context manager, or start() and stop()."""

    def __init__(
        self,
        tunnels: int = 24,
        seed: int = 7,
        *,
        journal: Path | None = None,
        args: Sequence[str] = (),
        token: str = TOKEN,
        account: str = ACCOUNT,
    ) -> None:
        super().__init__()
        self.tunnels = tunnels
        self.seed = seed
        self.token = token
        self.account = account
        self.base_url = ""
        self.sim_url = ""
        self._args = ["--listen", "127.0.0.1:0", "--tunnels", str(tunnels), "--seed", str(seed)]
        self._args += ["--token", token, "--account", account]
        if journal is not None:
            self._args += ["--journal", str(journal)]
        self._args += args
        self._journal_start = 0

    def start(self) -> Self:
        """Start it and wait until it is ready; an exception shows what it said when it does not start."""
        folder = Path(self._files.enter_context(tempfile.TemporaryDirectory(prefix="simulator-")))
        stdout, stderr = folder / "stdout", folder / "stderr"
        with stdout.open("wb") as out, stderr.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.simulator", *self._args],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        try:
            self.base_url = self._wait_ready(stdout, stderr)
        except BaseException:
            self.stop()
            raise
        self.sim_url = self.base_url.removesuffix("/client/v4") + "/_sim"
        return self

    def _wait_ready(self, stdout: Path, stderr: Path) -> str:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            code = self._process.poll()
            first, newline, _rest = stdout.read_text(encoding="utf-8").partition("\n")
            if newline and first.startswith("ready "):
                return first.removeprefix("ready ").strip().rstrip("/")
            if code is not None:
                break
            time.sleep(0.02)
        why = "took too long" if code is None else f"ended with {code}"
        raise RuntimeError(f"the simulator did not start, it {why}:\n{stderr.read_text(encoding='utf-8')}")

    def env(self) -> dict[str, str]:
        """The environment that points the collection at this simulator."""
        return {
            "CLOUDFLARE_BASE_URL": self.base_url,
            "CLOUDFLARE_API_TOKEN": self.token,
            "CLOUDFLARE_ACCOUNT_ID": self.account,
        }

    def state(self) -> dict[str, Any]:
        """The truth: tunnels with their PSKs, and how many requests and writes there were."""
        return dict(self._call("GET", "/state"))

    def tunnels_by_name(self) -> dict[str, dict[str, Any]]:
        """The tunnels of state() by their name."""
        return {tunnel["name"]: tunnel for tunnel in self.state()["tunnels"]}

    def psks(self) -> list[str]:
        """Every PSK that the simulator holds now."""
        return [tunnel["psk"] for tunnel in self.state()["tunnels"] if tunnel.get("psk")]

    def writes(self) -> int:
        """How many requests changed something."""
        return int(self.state()["writes"])

    def counters(self) -> dict[str, int]:
        """How many requests, writes, PSKs that were set, refusals by the rate limit, and bytes there were."""
        return dict(self._call("GET", "/counters"))

    def arm(self, *faults: dict[str, Any]) -> Any:
        """Add faults."""
        return self._call("POST", "/faults", json=list(faults))

    def faults(self) -> Any:
        """The faults that are armed."""
        return self._call("GET", "/faults")

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._call("DELETE", "/faults")

    def reset(self, tunnels: int | None = None, seed: int | None = None) -> None:
        """A fresh fleet, as at the start unless said otherwise; counters at zero, no faults, journal() starts here."""
        wanted = {"tunnels": self.tunnels if tunnels is None else tunnels, "seed": self.seed if seed is None else seed}
        self._call("POST", "/reset", json=wanted)
        self._journal_start = int(self._call("GET", "/journal")["last"])

    def journal(self, since: int | None = None, wait: float = 0) -> list[dict[str, Any]]:
        """The journal's entries after number `since`, or after the last reset; waits up to `wait` seconds for one."""
        start = self._journal_start if since is None else since
        answer = self._call("GET", "/journal", params={"since": start, "wait": wait}, timeout=wait + 10)
        return list(answer["entries"])

    def patch_tunnel(self, tunnel_id: str, **fields: Any) -> Any:
        """Change a tunnel behind the API's back."""
        return self._call("PATCH", f"/tunnels/{tunnel_id}", json=fields)

    def _call(self, method: str, path: str, timeout: float = 10, **arguments: Any) -> Any:
        answer = self._session.request(method, self.sim_url + path, timeout=timeout, **arguments)
        if not answer.ok:
            raise RuntimeError(f"{method} /_sim{path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None
