# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the virtual environments under .venv. Called by tools/setup, core-venv, compat-venv, tool-venv."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
NEEDS = {"demo": ("demo.txt",), "test": ("demo.txt", "test.txt")}
CORE_NEEDS = ("core-extras.txt", "cores.txt")
COMPAT_NEEDS = ("compat.txt", "cores.txt")
OLDEST_OF_TESTS = "3.12"


def wanted_stamp(names: tuple[str, ...]) -> dict[str, str]:
    """What the stamp of an up-to-date environment says. Its scripts name the folder, so a move outdates it."""
    text = b"\0".join((REQUIREMENTS / name).read_bytes() for name in names)
    return {"root": str(ROOT), "requirements": hashlib.sha256(text).hexdigest()}


def read_stamp(path: Path) -> dict[str, str]:
    """The stamp at this path, empty when there is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def is_ready(kind: str) -> bool:
    """Is .venv up to date for this kind? An environment for the tests serves the demo too."""
    kinds = ("demo", "test") if kind == "demo" else (kind,)
    return any(read_stamp(VENV / f"{name}.stamp") == wanted_stamp(NEEDS[name]) for name in kinds)


def runs(python: Path) -> bool:
    """Does this Python still start?"""
    try:
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def create(python: str, folder: Path) -> None:
    """Make an empty virtual environment, whatever is in its place."""
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)


def install(folder: Path, *arguments: str | Path) -> None:
    """Install packages into an environment; what pip says is shown only when it fails."""
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *arguments], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        done.check_returncode()


def link_collection() -> None:
    """Make the checkout importable as a collection, whatever its folder is called."""
    link = VENV / "collections" / "ansible_collections" / "magicwan" / "cloudflare"
    link.parent.mkdir(parents=True, exist_ok=True)
    target = Path(os.path.relpath(ROOT, link.parent))
    if not link.is_symlink() or link.readlink() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target, target_is_directory=True)


def make(kind: str) -> None:
    """Bring .venv up to date, from nothing when it is broken or was moved here."""
    stamp = VENV / f"{kind}.stamp"
    roots = {read_stamp(VENV / f"{name}.stamp").get("root") for name in NEEDS} - {None}
    if not runs(VENV / "bin" / "python") or roots != {str(ROOT)}:
        print(f"setup: making .venv with {sys.executable}", flush=True)
        create(sys.executable, VENV)
    link_collection()
    print(f"setup: installing requirements/{NEEDS[kind][-1]}", flush=True)
    stamp.unlink(missing_ok=True)
    install(VENV, "-r", REQUIREMENTS / NEEDS[kind][-1])
    stamp.write_text(json.dumps(wanted_stamp(NEEDS[kind])), encoding="utf-8")


def core_table() -> dict[str, tuple[str, str, str]]:
    """Minor version -> full version, oldest Python, newest Python."""
    table = {}
    for line in (REQUIREMENTS / "cores.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            version, oldest, newest = line.split()
            table[".".join(version.split(".")[:2])] = (version, oldest, newest)
    return table


def core_of(minor: str) -> tuple[str, str, str]:
    """The full version of an ansible-core, and the oldest and newest Python that it runs on."""
    table = core_table()
    if minor not in table:
        sys.exit(f"setup: no ansible-core {minor} in requirements/cores.txt, there are {', '.join(table)}")
    return table[minor]


def find_python(oldest: str, newest: str) -> str | None:
    """The path of such a Python."""
    command = [ROOT / "tools" / "find-python", oldest, newest]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def make_core(minor: str) -> None:
    """Make .venv/cores/MINOR. Without a Python that it supports, say so and leave a note for the tests."""
    version, oldest, newest = core_of(minor)
    folder = VENV / "cores" / minor
    stamp, note = folder / "core.stamp", folder.with_name(f"{minor}.unavailable")
    wanted = wanted_stamp(CORE_NEEDS)
    if read_stamp(stamp) == wanted and runs(folder / "bin" / "python"):
        return
    python = find_python(oldest, newest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if python is None:
        reason = f"ansible-core {minor} supports Python {oldest} to {newest}, and none of these was found"
        note.write_text(reason, encoding="utf-8")
        print(f"core-venv: {reason}: tests on it are skipped", file=sys.stderr)
        return
    note.unlink(missing_ok=True)
    print(f"setup: making .venv/cores/{minor} with {python}", flush=True)
    create(python, folder)
    install(folder, "-r", REQUIREMENTS / "core-extras.txt", f"ansible-core=={version}")
    stamp.write_text(json.dumps(wanted), encoding="utf-8")


def make_compat(minor: str) -> None:
    """Make .venv/compat/MINOR, in which the tests themselves run on another ansible-core."""
    version, oldest, newest = core_of(minor)
    folder = VENV / "compat" / minor
    stamp, wanted = folder / "compat.stamp", wanted_stamp(COMPAT_NEEDS)
    if read_stamp(stamp) == wanted and runs(folder / "bin" / "python"):
        return
    python = find_python(max(oldest, OLDEST_OF_TESTS), newest)
    if python is None:
        sys.exit(f"setup: the tests on ansible-core {minor} need Python {OLDEST_OF_TESTS} to {newest}; none was found")
    print(f"setup: making .venv/compat/{minor} with {python}", flush=True)
    create(python, folder)
    install(folder, "-r", REQUIREMENTS / "compat.txt", f"ansible-core=={version}")
    stamp.write_text(json.dumps(wanted), encoding="utf-8")


def make_tool(name: str) -> None:
    """Make .venv/tools/NAME out of requirements/NAME.txt."""
    folder, needs = VENV / "tools" / name, f"{name}.txt"
    stamp, wanted = folder / "tool.stamp", wanted_stamp((needs,))
    if read_stamp(stamp) == wanted and runs(folder / "bin" / "python"):
        return
    print(f"setup: making .venv/tools/{name}", flush=True)
    create(sys.executable, folder)
    install(folder, "-r", REQUIREMENTS / needs)
    stamp.write_text(json.dumps(wanted), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Do as told: ready KIND, make KIND, core MINOR..., compat MINOR..., tool NAME..."""
    action, *names = arguments
    if action == "ready":
        return 0 if is_ready(names[0]) else 1
    lock = os.open(ROOT / "tools", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if action == "make" and not is_ready(names[0]):
        make(names[0])
    else:
        one = {"core": make_core, "compat": make_compat, "tool": make_tool}[action]
        for name in names:
            one(name)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as failed:
        sys.exit(f"setup: {' '.join(map(str, failed.cmd))} ended with {failed.returncode}")
