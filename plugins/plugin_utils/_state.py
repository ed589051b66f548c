# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""What the steps of a rotation hand on to each other, and how it is carried: as JSON, in one place.

Ansible carries a step's result to the next task and looks at each value in it, so that the whole state is one text. It
holds PSKs. What must survive a crash is in the escrow.
"""

from __future__ import annotations

import json
import secrets
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import Trace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import Planned

PREPARE, ROLL_BACK, CONFIRM = "prepare", "roll_back", "confirm"
OPERATIONS = {"rollback": ROLL_BACK, "confirm": CONFIRM}


@dataclass(frozen=True)
class Outcome:
    """What a step has come to for one tunnel; what it does not say stays as it was.

    ``excused``: it is skipped, and that needs nobody. ``known``: ``psk`` is what the record says, also if it is None.
    ``recorded_at`` are seconds since 1970.
    """

    id: str
    name: str
    host: str
    status: str
    reason: str | None = None
    excused: bool = False
    known: bool = False
    psk: str | None = field(default=None, repr=False)
    ipsec_id: str | None = None
    rotation_id: str | None = None
    applied_on: str | None = None
    confirmed_on: str | None = None
    generation: int | None = None
    exposure_seconds: float | None = None
    recorded_at: float | None = None


@dataclass(frozen=True)
class Flying:
    """A tunnel whose device has to act: Cloudflare has another PSK than before since ``recorded_at``."""

    id: str
    name: str
    host: str
    rotation_id: str
    recorded_at: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Result:
    """What is published of one tunnel. ``ike_ids``, ``addresses`` and ``bgp`` are as device tasks use them."""

    id: str
    name: str
    host: str
    group: str
    status: str
    reason: str | None
    changed: bool = False
    excused: bool = False
    postponed: bool = False
    psk: str | None = field(default=None, repr=False)
    ipsec_id: str | None = None
    ike_ids: Mapping[str, str | None] = field(default_factory=dict)
    addresses: Mapping[str, t.Any] = field(default_factory=dict)
    replay_protection: bool = False
    bgp: t.Any = None
    applied_on: str | None = None
    confirmed_on: str | None = None
    generation: int | None = None
    exposure_seconds: float | None = None

    def to_dict(self) -> dict[str, t.Any]:
        """As Ansible's users get it: the addresses stand beside the other keys."""
        found = _plain(self)
        del found["addresses"], found["excused"], found["postponed"]
        return {**found, **self.addresses}

    def is_fine(self, harmless: frozenset[str]) -> bool:
        """Whether the tunnel needs nobody's attention."""
        return self.status in harmless or (self.status == _status.SKIPPED and self.excused)


@dataclass(frozen=True)
class Progress:
    """What goes on, for the line that tells its end: which tunnels, and since when (seconds since 1970)."""

    what: str
    since: float
    ids: Sequence[str] = ()


@dataclass(frozen=True)
class State:
    """Where the rotation of a batch of hosts stands.

    ``owner`` is the run that has made it. ``devices`` are the hosts with tasks of their own, ``verifying`` those whose
    tasks prove the PSK, ``proven`` those that were done in the wave before; ``hooks`` are the task files of each,
    ``reach`` the one that finds out if it can be managed, where somebody has to ask. ``first_wave`` is the number of
    the first wave in the run, from 0, ``turn`` the index of the next one. ``token`` is what evidence of this wave must
    carry, ``run_token`` what a host must report, with the wave's index, whose device was reached before it.
    ``siblings`` are the other tunnels of each planned tunnel's group, ``members`` what the health gate needs of each
    group, ``overlay`` what a check run would have written.
    """

    rotation_id: str
    owner: str
    mode: str
    operation: str
    confirmation: str
    devices: frozenset[str]
    verifying: frozenset[str]
    waves: Sequence[Sequence[Planned]]
    siblings: Mapping[str, Sequence[str]]
    limit: int
    failed_before: int
    token: str
    run_token: str
    progress: Progress
    results: Mapping[str, Sequence[Result]]
    statuses: Mapping[str, str] = field(default_factory=dict)
    in_flight: Sequence[Flying] = ()
    to_roll_back: Sequence[Flying] = ()
    members: Mapping[str, Sequence[Mapping[str, t.Any]]] = field(default_factory=dict)
    overlay: Mapping[str, t.Any] = field(default_factory=dict, repr=False)
    hooks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reach: Mapping[str, str] = field(default_factory=dict)
    proven: frozenset[str] = frozenset()
    first_wave: int = 0
    turn: int = 0
    changed: bool = False

    def to_reach(self) -> dict[str, str]:
        """The hosts of the next wave whose devices somebody has to reach before it, with the task file of each."""
        if self.turn >= len(self.waves):
            return {}
        hosts = {x.host for x in self.waves[self.turn]}
        return {host: path for host, path in self.reach.items() if host in hosts and host not in self.proven}

    def reach_token(self, index: int) -> str:
        """What a host must report to say that its device was reached before the wave of this index."""
        return f"{self.run_token}/{index}"

    def all_results(self) -> list[Result]:
        """The results of all hosts."""
        return [x for own in self.results.values() for x in own]

    def dump(self) -> str:
        """The state as a text, with PSKs in it."""
        found = {x.name: getattr(self, x.name) for x in fields(self)}
        for name in _SETS:
            found[name] = sorted(getattr(self, name))
        found["waves"] = [[_plain(x) for x in wave] for wave in self.waves]
        found["progress"] = _plain(self.progress)
        found["results"] = {host: [_plain(x) for x in own] for host, own in self.results.items()}
        for name in ("in_flight", "to_roll_back"):
            found[name] = [_plain(x) for x in getattr(self, name)]
        return json.dumps(found, default=_plain)


_SETS = ("devices", "verifying", "proven")


def new_token() -> str:
    """What nobody can have said before."""
    return secrets.token_hex(8)


def load(text: str) -> State:
    """The state that a step before has dumped."""
    found = json.loads(text)
    for name in _SETS:
        found[name] = frozenset(found[name])
    found["waves"] = [[Planned(**{**x, "trace": Trace(**x["trace"])}) for x in wave] for wave in found["waves"]]
    found["progress"] = Progress(**found["progress"])
    found["results"] = {host: [Result(**x) for x in own] for host, own in found["results"].items()}
    for name in ("in_flight", "to_roll_back"):
        found[name] = [Flying(**x) for x in found[name]]
    return State(**found)


def _plain(part: t.Any) -> dict[str, t.Any]:
    """The fields of a dataclass, not copied."""
    return {name: getattr(part, name) for name in part.__dataclass_fields__}
