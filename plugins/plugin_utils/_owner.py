# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Who holds a lease, and whether that process still lives.

An owner is ``host/boot/pid namespace/pid/start time``: a run that was killed is told from one that goes on wherever
both saw the same process table. Anywhere else only the lease's end tells.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import time
from pathlib import Path

_PID = re.compile(r"[0-9]{1,9}")


def this_run() -> str | None:
    """The owner that stands for this ansible-playbook process: action plugins run in forks of it.

    None if that process has ended, so that this one was left behind and must not begin anything.
    """
    parent = os.getppid()
    try:
        if os.readlink(f"/proc/{parent}/exe") != os.readlink("/proc/self/exe"):
            return None
    except PermissionError:
        return None  # somebody else's process, and so not the one that this one is a fork of
    except OSError:
        pass  # no /proc: then there is no telling
    return _owner(parent)


def run_id(owner: str) -> str:
    """The rotation id of this owner's run, such as ``20261124T060000Z-1f2e3d4c``: one for all tasks of the process.

    Its time is the one at which the process has begun.
    """
    pid, ticks = owner.split("/")[3:]
    try:
        began = _boot_time() + int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        began = 0.0
    text = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began)) if began else f"pid{pid}"
    return f"{text}-{hashlib.sha256(owner.encode()).hexdigest()[:8]}"


def _boot_time() -> float:
    """In seconds since 1970."""
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    return float(next(x.split()[1] for x in lines if x.startswith("btime ")))


def lives(owner: str) -> bool | None:
    """Whether the owner's process is seen to live on this machine; None if that can't be seen from here."""
    parts = owner.split("/")
    if len(parts) != 5 or parts[:3] != _machine() or not _PID.fullmatch(parts[3]) or not all(parts):
        return None
    start, pid = _start_time(int(parts[3])), int(parts[3])
    if start is not None:
        return start == parts[4]
    return None if _exists(pid) else False


def _owner(pid: int) -> str:
    return "/".join([*_machine(), str(pid), _start_time(pid) or ""])


def _machine() -> list[str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return [platform.node(), "", ""]
    return [platform.node(), boot, namespace]


def _exists(pid: int) -> bool:
    """Whether there is such a process, be it one that /proc hides from this user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _start_time(pid: int) -> str | None:
    """In clock ticks since the boot; empty for a zombie, None if /proc shows no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
