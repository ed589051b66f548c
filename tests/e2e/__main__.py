# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations against real devices: `python -m tests.e2e`, as root on Debian.

Five sites with a device and two tunnels each, strongSwan by swanctl and by ipsec.conf and Libreswan, an edge that
follows the simulator, and traffic on every tunnel of strongSwan all the time. Each scenario runs playbooks as a user
does, and then asks the edge's log and the traffic.
`python -m tests.e2e NAME...` runs some scenarios only, `E2E_KEEP=1` keeps the folder with all logs.

Everything runs in namespaces of its own, files included. The kernel ends all of it together with this process, even
when that is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

from tests.e2e.nodes import CHARON, SSHD, SWANCTL, UNPACKED
from tests.harness.playbook import ROOT

INSIDE = "--inside"
# A process of its own in each of these; the one outside is told by prctl(2), so that it dies with this one.
SEAL = ["setpriv", "--pdeathsig", "KILL"]
SEAL += ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
# Folders that every Debian has, for the files of a run; one of them is not above the checkout.
PLACES = ("/srv", "/media", "/mnt")
COMMANDS = ("ip", "nsenter", "unshare", "setpriv", "nc", "ssh", "ssh-keygen", "stdbuf")


def obstacle() -> str | None:
    """Why this machine can't run it, or None."""
    missing = [path for path in (CHARON, SWANCTL, SSHD, UNPACKED / "xfrm_shim.so") if not Path(path).exists()]
    missing += [name for name in COMMANDS if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} missing, though the packages are installed"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is missing, which user space ESP needs"
    probe = subprocess.run([*SEAL, "ip", "link", "add", "probe", "type", "bridge"], capture_output=True, check=False)
    return "namespaces and interfaces may not be made here" if probe.returncode else None


def main(names: list[str]) -> int:
    """Install what is missing, and run the suite sealed off."""
    if subprocess.run([Path(__file__).parent / "install"], check=False).returncode:
        return 1
    why = obstacle()
    if why is not None:
        print(f"e2e: can't run here: {why}", file=sys.stderr)
        return 1
    kept = tempfile.mkdtemp(prefix="e2e-") if os.environ.get("E2E_KEEP") else ""
    command = [*SEAL, sys.executable, "-m", "tests.e2e", INSIDE, kept, *names]
    sealed = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "LC_ALL": "C.UTF-8"})

    def stop(number: int, _frame: FrameType | None) -> None:
        sealed.kill()
        sys.exit(128 + number)

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    code = sealed.wait()
    if kept:
        print(f"e2e: everything is in {kept}", file=sys.stderr)
    return code


def inside(kept: str, names: list[str]) -> int:
    """The sealed part: files in memory, unless they are to be kept."""
    from tests.e2e.scenarios import run

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process outside decides
    workdir = Path(kept or next(place for place in PLACES if not ROOT.is_relative_to(place)))
    mounts = ["/run"] if kept else ["/run", str(workdir)]
    for folder in mounts:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder], check=True)
    for path in (workdir / "tmp", Path("/run/lock"), Path("/run/netns")):
        path.mkdir()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    tempfile.tempdir = os.environ["TMPDIR"] = str(workdir / "tmp")
    return run(workdir, names)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(inside(arguments[1], arguments[2:]) if arguments[:1] == [INSIDE] else main(arguments))
