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

import os
import platform
from pathlib import Path


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


def is_dead(owner: str) -> bool:
    """True only if the owner's process is known to be gone."""
    parts = owner.split("/")
    if len(parts) != 5 or parts[:3] != _machine() or not parts[3].isdigit() or not all(parts[:4]):
        return False
    start, pid = _start_time(int(parts[3])), int(parts[3])
    return start != parts[4] if start is not None else not _exists(pid)


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
