# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Daemons with a command ``ipsec`` and a file ``ipsec.secrets``: which secrets they read, and what ipsec.sh printed."""

from __future__ import annotations

import binascii
import fnmatch
import functools
import os
import re
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import (
    MATCH,
    MISMATCH,
    NOT_SHOWN,
    Answer,
    Finding,
    Platform,
    PskRule,
    Tunnel,
    Unreadable,
    one_line,
    outputs_of,
    problem_of,
)

MAIN = "ipsec.secrets"
# What timeout(1) exits with.
TIMED_OUT = 124
_PREFIX = re.compile(r"^(?:(?:fqdn|email|rfc822|userfqdn|keyid):|@+)", re.IGNORECASE)
_PSK = re.compile(r"""^(?P<ids>.*?):\s*PSK\s+(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>\S+))""", re.I)
_INCLUDE = re.compile(r'^include\s+"?([^"\s]+)', re.MULTILINE)
# Of what a daemon printed while it read its secrets, ipsec.sh leaves the place of what it did not understand.
_COMPLAINT = re.compile(r'"([^"]+)" line (\d+)')


@dataclass(frozen=True)
class Secret:
    """A PSK in a file: its section, empty for a line, the identities that it is for. ``lines``: how many it takes."""

    file: str
    name: str
    ids: frozenset[str]
    key: str
    lines: int = 1


@dataclass(frozen=True)
class Connection:
    """A connection as the daemon has loaded it: where it goes, the identity that it presents, and whether by a PSK."""

    remote: str
    local_id: str
    by_psk: bool


@dataclass(frozen=True)
class Daemon:
    """How a daemon's answers are read; all take the connection's name and the text.

    ``established`` has the numbers of its IKE SAs that are up, ``carrying`` those that have a child SA beside, and
    ``proven`` those whose peer has authenticated, in what the command printed that has brought the connection up.
    ``reasons`` are what such commands say when they fail, the most telling first, each as group 1 of a pattern.
    """

    connection: Callable[[str, str], Connection | None]
    established: Callable[[str, str], frozenset[str]]
    carrying: Callable[[str, str], frozenset[str]]
    proven: Callable[[str, str], frozenset[str]]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One command that ipsec.sh has run for a connection."""

    name: str
    connection: str
    rc: int
    text: str


def plain(identity: str) -> str:
    """An identity without what says its type."""
    text = _PREFIX.sub("", identity.strip().strip('"'))
    if text.startswith("[") and text.endswith("]"):
        return text[1:-1]
    if identity.startswith("@#"):
        try:
            return binascii.unhexlify(text[1:].removeprefix("0x")).decode()
        except ValueError:
            return text
    return text


def files(text: str) -> dict[str, str]:
    """The files in what look.sh printed, with their text."""
    found = {}
    for part in re.split(r"^== (?=/)", text, flags=re.MULTILINE)[1:]:
        name, dummy, body = part.partition("\n")
        found[name.strip()] = body
    return found


def of_lines(file: str, text: str) -> Iterator[Secret]:
    """The PSKs in a file of the form of ipsec.secrets. An entry goes on where a line is indented and it has no end."""
    record, lines = "", 0
    for line in [*text.splitlines(), ""]:
        stripped = line.strip()
        if stripped.startswith("#"):
            continue
        if stripped and record and line[0].isspace() and not _PSK.match(record):
            record, lines = f"{record} {stripped}", lines + 1
            continue
        if match := _PSK.match(record):
            ids = frozenset(plain(x) for x in match["ids"].split())
            key = match["double"] or match["single"] or match["bare"] or ""
            yield Secret(file, "", ids, key, lines)
        record, lines = stripped, 1


def own_file(main: str, secret: str) -> str:
    """Where a tunnel's secret stands: in ipsec.secrets itself, or in a file of the folder ipsec.d beside it."""
    folder = os.path.dirname(main)
    return main if secret == MAIN else f"{folder}/ipsec.d/{secret}"


def _is_read(read: Mapping[str, str], path: str) -> bool:
    """Whether the daemon reads this file, or would when it were there."""
    if path in read:
        return True
    for name, text in read.items():
        for pattern in _INCLUDE.findall(text):
            if fnmatch.fnmatchcase(path, os.path.join(os.path.dirname(name), pattern)):
                return True
    return False


def ready(answers: Sequence[Answer], entry: str) -> str:
    """Whether the daemon answers this user, and the folders can be written."""
    problem = problem_of(answers[0])
    if problem:
        said = one_line(str(answers[0].get("stderr") or answers[0].get("stdout") or problem))
        return f"the daemon does not answer: {said}"
    text = outputs_of(answers[1], 1)[0]
    if entry != "compare" and not re.search(r"^writable yes$", text, re.MULTILINE):
        return "the folder of its secrets cannot be written"
    return ""


def inspect(daemon: Daemon, answers: Sequence[Answer], tunnel: Tunnel, entry: str) -> Finding:
    """Whether the connection is loaded, and the secret that the daemon would take is the one that is written."""
    read = files(outputs_of(answers[1], 1)[0])
    main = next((x for x in read if os.path.basename(x) == MAIN), "")
    own = own_file(main, tunnel.names["secret"])
    found = [x for name, body in read.items() for x in of_lines(name, body) if tunnel.ike_id in x.ids]
    if entry != "compare":
        problem = _in_the_way(read, main, own, found, entry)
        if problem:
            return Finding(problem)
    if entry != "main":
        problem = _other_connection(daemon, outputs_of(answers[0], 1)[0], tunnel)
        if problem:
            return Finding(problem)
    keys = {x.key for x in found if x.file == own}
    if len(keys) != 1:
        return Finding(key=NOT_SHOWN)
    return Finding(key=MATCH if keys == {tunnel.psk} else MISMATCH)


def _in_the_way(read: Mapping[str, str], main: str, own: str, found: Sequence[Secret], entry: str) -> str:
    others = [x for x in found if x.file != own]
    if others:
        return (
            f"an entry in {others[0].file} has a secret for the same identity, and may take precedence (option secret)"
        )
    if len(found) > 1:
        return f"{own} has {len(found)} entries with a secret for the same identity, and either may be used"
    if any(x.lines > 1 for x in found):
        return f"the entry with its secret in {own} has several lines, and only one can be replaced"
    if entry != "main" and not main:
        return "the device has no ipsec.secrets"
    if entry != "main" and not _is_read(read, own):
        return f"{main} does not include {own} (option secret)"
    return ""


def _other_connection(daemon: Daemon, text: str, tunnel: Tunnel) -> str:
    """What keeps the daemon's connection from being this tunnel's."""
    name = tunnel.object
    connection = daemon.connection(name, text)
    if connection is None:
        return f"the daemon has no connection {name}"
    if connection.remote != tunnel.endpoint:
        return f"the connection {name} does not go to {tunnel.endpoint}"
    if plain(connection.local_id) != tunnel.ike_id:
        return f"the connection {name} does not present the identity {tunnel.ike_id} (ike_id: {tunnel.ike_id_type})"
    return "" if connection.by_psk else f"the connection {name} does not authenticate by a PSK"


def transcript(text: str) -> list[Step]:
    """What ipsec.sh printed: before each command's output "== STEP CONNECTION RC".

    Raises:
        Unreadable: it has another form.
    """
    steps = []
    for part in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, dummy, body = part.partition("\n")
        words = head.split()
        if len(words) != 3 or not words[2].isdigit():
            raise Unreadable("its answer does not have the expected form")
        steps.append(Step(words[0], words[1], int(words[2]), body))
    return steps


def proof(daemon: Daemon, tunnel: Tunnel, text: str, timeout: int) -> str:
    """Why the daemon has not authenticated with the secret that it has just read; empty: it has.

    A proof is that the daemon has read its secrets, that the connection was seen to be down, that the peer was said to
    have authenticated while it was brought up, by an IKE SA that was not there before, and that this one has a child
    SA after.
    """
    name = tunnel.object
    steps = transcript(text)
    own = [x for x in steps if x.connection == name]
    if not own or own[0].name != "before":
        return "the device said nothing"
    if own[0].rc:
        return f"the device's SAs could not be read before the authentication was forced: {_why(daemon, own[0])}"
    if not any(x.name == "reread" and x.rc == 0 for x in steps):
        return "the daemon did not read its secrets"
    old = daemon.established(name, own[0].text)
    refused = [x for x in own if x.name == "down" and x.rc not in (0, TIMED_OUT)]
    if refused:
        return f"the device did not clear its SA: {_why(daemon, refused[0])}"
    last = {x.name: x for x in own[_last_round(own) :]}
    between, up, after = last.get("between"), last.get("up"), last.get("after")
    if between is None or between.rc:
        return "the device's SAs could not be read after they were cleared"
    if up is None or daemon.established(name, between.text):
        return f"timeout: no new IKE_AUTH within {timeout} s; its SA is older"
    proven = daemon.proven(name, up.text) - old
    if up.rc or not proven:
        late = f"timeout: no new IKE_AUTH within {timeout} s, the daemon last said: " if up.rc == TIMED_OUT else ""
        return f"{late}{_why(daemon, up)}{_complaints(steps)}"
    if after is None or after.rc:
        return "the device's SAs could not be read after the authentication"
    if not proven & daemon.carrying(name, after.text):
        return f"the peer has authenticated, but there is no child SA: {_why(daemon, up)}"
    return ""


def _last_round(steps: Sequence[Step]) -> int:
    return max((n for n, x in enumerate(steps) if x.name == "down"), default=0)


def _why(daemon: Daemon, step: Step) -> str:
    """The daemon's reason, in one line."""
    for pattern in daemon.reasons:
        found = re.findall(pattern, step.text, re.MULTILINE)
        if found:
            return one_line(found[-1], 200)
    lines = [x for x in step.text.splitlines() if x.strip()]
    return one_line(lines[-1], 200) if lines else "the device gave no reason"


def _complaints(steps: Sequence[Step]) -> str:
    """The places in its secrets that the daemon did not understand."""
    found = [y for x in steps if x.name == "reread" for y in _COMPLAINT.findall(x.text)]
    return "".join(f"; it did not understand {file} line {line}" for file, line in found)


def platform_of(
    daemon: Daemon, title: str, table: Mapping[str, t.Any], words: Mapping[str, Mapping[str, str]]
) -> Platform:
    """The platform of a daemon: where its secrets stand and how they are judged is the same for all of them."""
    return Platform(
        title=title,
        names={"secret": "{object}.secrets"},
        needs_wan_interface=False,
        psk=PskRule(1, 255, r'["\x00-\x1f]', "it stands in double quotes, on one line"),
        table=table,
        words=words,
        ready=ready,
        inspect=functools.partial(inspect, daemon),
        watch=functools.partial(proof, daemon),
    )
