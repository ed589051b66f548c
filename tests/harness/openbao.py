# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real OpenBao server in development mode as a process of its own.

It keeps everything in memory: after stop() it is gone for good, and a sealed server is opened again with unseal().
pause() and resume() stand for a server that is there and does not answer.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import requests

from tests.harness.server import Server

MOUNT = "secret"
START_SECONDS = 30.0
START_ATTEMPTS = 3
ALL_OF_IT = ("create", "read", "update", "delete", "list")


class OpenBao(Server):
    """A running server; a context manager, or start() and stop()."""

    def __init__(self) -> None:
        super().__init__()
        self.token = f"root-{secrets.token_hex(12)}"
        self.url = ""
        self._unseal_key = ""
        self._names = 0

    def start(self) -> Self:
        """Start it and wait until it is ready; an exception shows what it said when it does not start."""
        for attempt in range(START_ATTEMPTS):
            folder = Path(self._files.enter_context(tempfile.TemporaryDirectory(prefix="openbao-")))
            address = f"127.0.0.1:{_free_port()}"
            self.url = f"http://{address}"
            command = [str(Path(sys.executable).parent / "bao"), "server", "-dev", "-dev-no-store-token"]
            command += [f"-dev-root-token-id={self.token}", f"-dev-listen-address={address}"]
            log = folder / "log"
            with log.open("wb") as out:
                self._process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "SKIP_CHOWN": "1"},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                )
            try:
                self._unseal_key = self._wait_ready(log)
                return self
            except RuntimeError:
                self.stop()
                if attempt == START_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _wait_ready(self, log: Path) -> str:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            text = log.read_text(encoding="utf-8", errors="replace")
            key = re.search(r"Unseal Key: (\S+)", text)
            # The engine at secret/ is upgraded to version 2 a moment after the server listens.
            if key is not None and f"Root Token: {self.token}" in text:
                with contextlib.suppress(requests.RequestException, RuntimeError):
                    self.call("GET", f"sys/internal/ui/mounts/{MOUNT}")
                    self.call("LIST", f"{MOUNT}/metadata/", missing_ok=True)
                    return key.group(1)
            time.sleep(0.02)
        raise RuntimeError(f"openbao did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")

    def pause(self) -> None:
        """From here on it accepts connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        states = [Path(f"/proc/{self._process.pid}/stat"), *Path(f"/proc/{self._process.pid}/task").glob("*/stat")]
        while not all(_is_stopped(x) for x in states):
            time.sleep(0.005)

    def resume(self) -> None:
        """Ends pause()."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def seal(self) -> None:
        """Seal it: it answers 503 until unseal()."""
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        """Open it again."""
        self.call("PUT", "sys/unseal", {"key": self._unseal_key})
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeError):
                self.call("GET", "auth/token/lookup-self")
                return
            time.sleep(0.02)
        raise RuntimeError("openbao stays sealed")

    def env(self) -> dict[str, str]:
        """The environment that points the escrow at this server, as root."""
        return {"VAULT_ADDR": self.url, "VAULT_TOKEN": self.token}

    def policy(self, path: str, capabilities: Sequence[str], *, metadata: Sequence[str] = ALL_OF_IT) -> str:
        """Make a policy for the secrets below a path of the engine `secret`; returns its name."""
        self._names += 1
        name = f"policy-{self._names}"
        rules = f'path "{MOUNT}/data/{path}/*" {{ capabilities = {_hcl(capabilities)} }}\n'
        rules += f'path "{MOUNT}/metadata/{path}/*" {{ capabilities = {_hcl(metadata)} }}\n' if metadata else ""
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": rules})
        return name

    def make_token(self, *policies: str, ttl: str = "1h", default_policy: bool = True) -> str:
        """Make a token with these policies."""
        body = {"policies": list(policies), "ttl": ttl, "no_default_policy": not default_policy}
        return str(self.call("POST", "auth/token/create", body)["auth"]["client_token"])

    def revoke(self, token: str) -> None:
        """Make a token invalid, as its expiry does."""
        self.call("POST", "auth/token/revoke", {"token": token})

    def approle(self, *policies: str, ttl: str = "1h", uses: int = 0, mount: str = "approle") -> tuple[str, str]:
        """Make a role for AppRole; returns its role_id and a secret_id. `uses`: how often one of its tokens may be."""
        if f"{mount}/" not in self.call("GET", "sys/auth")["data"]:
            self.call("POST", f"sys/auth/{mount}", {"type": "approle"})
        self._names += 1
        role = f"auth/{mount}/role/role-{self._names}"
        self.call("POST", role, {"token_policies": list(policies), "token_ttl": ttl, "token_num_uses": uses})
        role_id = self.call("GET", f"{role}/role-id")["data"]["role_id"]
        return str(role_id), str(self.call("POST", f"{role}/secret-id")["data"]["secret_id"])

    def namespace(self, name: str) -> None:
        """Make a namespace with an engine `secret` of its own."""
        self.call("POST", f"sys/namespaces/{name}")
        self.call("POST", f"sys/mounts/{MOUNT}", {"type": "kv", "options": {"version": "2"}}, namespace=name)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeError):
                self.call("LIST", f"{MOUNT}/metadata/", namespace=name, missing_ok=True)
                return
            time.sleep(0.02)

    def secret(self, path: str) -> dict[str, Any]:
        """A secret of the engine `secret`: `data` and `metadata` of its latest version."""
        return dict(self.call("GET", f"{MOUNT}/data/{path}")["data"])

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        namespace: str | None = None,
        missing_ok: bool = False,
    ) -> Any:
        """One request to the server's own API, as root."""
        headers = {"X-Vault-Token": self.token, **({"X-Vault-Namespace": namespace} if namespace else {})}
        answer = self._session.request(method, f"{self.url}/v1/{path}", json=body, headers=headers, timeout=10)
        if not answer.ok and not (missing_ok and answer.status_code == 404):
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None


def _hcl(capabilities: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{x}"' for x in capabilities) + "]"


def _is_stopped(stat: Path) -> bool:
    return stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "Tt"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
