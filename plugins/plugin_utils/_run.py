# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The run's own memory: the outcome of its tunnels, over all batches of hosts of one ansible-playbook process.

No variable can change it, and no other run sees it: it is a file in the folder that ansible-playbook makes for itself
and removes at its end. It holds no secret.
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._owner import run_id
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Result


@dataclass
class Memory:
    """What earlier batches have left.

    ``claims`` are the tunnels of each host of the play, ``sites`` the sites of those that have one. ``tunnels`` says
    the outcome of each by id: ``{name, host, status, reason, excused, exposure}``. ``waves`` counts the waves so far.
    ``places`` are host and group of each tunnel as the escrow had them at the beginning; None before. ``plans`` are
    those of a check run, as a reviewer gets them. ``silent`` are hosts that have not reported back, and so may take no
    further part although they are in the play; ``unclaimed`` tunnels that no host of the play has. ``due`` are the
    failures of each host that it has not reported: a host that has left the play can't, so that one of a later batch
    does. ``postponed`` are failures for which a host does not fail before the last batch: if all hosts of a batch
    failed, Ansible would end the play before what they wait for is finished.
    ``began`` is the beginning of the run, in seconds since 1970, ``batches`` are the hosts and the beginning of
    each batch of the ``play`` that goes on; ``last`` is the latest rotation by the escrow, in a run that only reports.
    """

    claims: dict[str, t.Any] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    tunnels: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    waves: int = 0
    places: dict[str, list[str | None]] | None = None
    plans: list[dict[str, t.Any]] = field(default_factory=list)
    due: dict[str, str] = field(default_factory=dict)
    postponed: dict[str, str] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)
    began: float = 0.0
    play: str = ""
    batches: list[tuple[list[str], float]] = field(default_factory=list)
    last: dict[str, t.Any] | None = None

    def begin_batch(self, play: str, hosts: Iterable[str], now: float) -> None:
        """Remembers which hosts begin."""
        self.began = self.began or now
        self.batches = [x for x in self.batches if set(x[0]).isdisjoint(hosts)] if play == self.play else []
        self.play = play
        self.batches.append((list(hosts), now))

    def later(self, left: Iterable[str]) -> frozenset[str]:
        """The hosts of those that are left in the play whose batch comes later."""
        return frozenset(left).difference(*(hosts for hosts, dummy in self.batches))

    def is_over(self, left: Iterable[str]) -> bool:
        """Whether all hosts that are left in the play have had their batch."""
        return not self.later(left)

    def failed(self, but: Iterable[str], mode: str) -> int:
        """How many tunnels of other hosts have failed; one that waits for another is no failure of its own."""
        mine, counted = set(but), _status.counted_in(mode)
        return sum(1 for x in self.tunnels.values() if x["host"] not in mine and x["status"] in counted)

    def keep(self, results: Mapping[str, Iterable[Result]]) -> None:
        """Remembers the outcome of these tunnels."""
        for own in results.values():
            for x in own:
                self.tunnels[x.id] = {
                    "name": x.name,
                    "host": x.host,
                    "status": x.status,
                    "reason": x.reason,
                    "excused": x.excused,
                    "exposure": x.exposure_seconds,
                }


def rotation_id(folder: str, owner: str) -> str:
    """The id of the run's rotation, as its first task has found it: a clock that is set later does not change it."""
    path = Path(folder) / "psk_rotation-id"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8")
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(run_id(owner), encoding="utf-8")
    with contextlib.suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()
    return path.read_text(encoding="utf-8")


def recall(folder: str, rotation_id: str) -> Memory:
    """What the run remembers; nothing at its beginning."""
    try:
        found = Memory(**json.loads(_path(folder, rotation_id).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Memory()
    try:
        told = set(_reports(folder, rotation_id).read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return found
    found.due = {host: text for host, text in found.due.items() if json.dumps(text) not in told}
    return found


def remember(folder: str, rotation_id: str, memory: Memory) -> None:
    """Keeps the memory for the run's next step."""
    path = _path(folder, rotation_id)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps({x.name: getattr(memory, x.name) for x in fields(memory)}))
    temporary.replace(path)


def reported(folder: str, rotation_id: str, failures: Iterable[str]) -> None:
    """Keeps that a host has failed for these. It costs the same however much the run remembers."""
    failures = list(failures)
    if not failures:
        return
    descriptor = os.open(_reports(folder, rotation_id), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(x)}\n" for x in failures)


def write_plan(path: str, plan: Mapping[str, t.Any]) -> None:
    """Writes a plan for its reviewer. It holds no secret. Raises InputError."""
    place = Path(path)
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o640)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(plan, file, indent=2)
            file.write("\n")
        temporary.replace(place)
    except OSError as exc:
        raise InputError(f"psk_rotation_plan_path: {path} can't be written ({os.strerror(exc.errno or 0)})") from None


def _path(folder: str, rotation_id: str) -> Path:
    return Path(folder) / f"psk_rotation-{rotation_id}.json"


def _reports(folder: str, rotation_id: str) -> Path:
    return Path(folder) / f"psk_rotation-{rotation_id}.reported"
