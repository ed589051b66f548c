# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can only be seen while a run goes on: the arguments of processes, and the system's log."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType

INTERVAL = 0.01
# Logged before anything else, so that a log without it was not listened to.
PROOF = b"this log is listened to"
MOUNTS = f"""
for device in null zero full random urandom tty; do
    : > "$0/$device" && mount --bind "/dev/$device" "$0/$device" || exit 97
done
for folder in shm pts; do
    mkdir -p "$0/$folder" && mount --rbind "/dev/$folder" "$0/$folder" || exit 97
done
ln -sf pts/ptmx "$0/ptmx" && ln -sfn /proc/self/fd "$0/fd" || exit 97
mount --rbind "$0" /dev || exit 97
logger "{PROOF.decode()}" || exit 97
exec "$@"
"""


class Arguments:
    """Looks at the command line of every process, again and again."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Arguments:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        known: set[str] = set()
        while not self._end.wait(INTERVAL):
            present = {name for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208 - the fastest
            for name in present - known:
                with contextlib.suppress(OSError):
                    line = Path("/proc", name, "cmdline").read_bytes()
                    self._seen.add(line)
                    # Right after a fork the child still shows its parent's: looked at again until it has its own.
                    if line and b"ansible-playbook" not in line:
                        known.add(name)
            known &= present

    def text(self) -> bytes:
        """All of them, but the simulator's, which is told the token in that way."""
        return b"\n".join(sorted(x for x in self._seen if b"tests.simulator" not in x))


class SystemLog:
    """A /dev/log of our own in a private mount namespace: needs root."""

    def __init__(self, folder: Path) -> None:
        self._dev = folder / "dev"
        self._parts: list[bytes] = []
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> SystemLog:
        self._dev.mkdir(parents=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # A socket's path may have 107 characters only, so it is named by a descriptor of its folder.
        descriptor = os.open(self._dev, os.O_PATH)
        try:
            listener.bind(f"/proc/self/fd/{descriptor}/log")
        finally:
            os.close(descriptor)
        listener.settimeout(0.1)
        self._socket = listener
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        listener, self._socket = self._socket, None
        self._thread.join()
        if listener is not None:
            listener.close()

    def _listen(self) -> None:
        while (listener := self._socket) is not None:
            with contextlib.suppress(TimeoutError):
                self._parts.append(listener.recv(1 << 20))

    def command(self, command: list[str]) -> list[str]:
        """The command with this as its /dev/log."""
        unshare = str(shutil.which("unshare"))
        return [unshare, "--mount", "--propagation", "private", "sh", "-c", MOUNTS, str(self._dev), *command]

    def text(self) -> bytes:
        """What was logged."""
        return b"\n".join(self._parts)


def can_have_a_log(folder: Path) -> str:
    """Empty, or why there can be no private /dev/log."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("logger")):
        return "a private /dev/log needs root, unshare and logger"
    with SystemLog(folder) as log:
        tried = subprocess.run(log.command(["true"]), capture_output=True, text=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    return "" if tried.returncode == 0 else f"no private /dev/log: {shlex.quote(tried.stderr.strip()[:100])}"
