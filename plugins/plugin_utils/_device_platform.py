# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the role customer_device has to know of a platform, and where the platforms are found.

A platform is a module ``_device_on_NAME`` with a constant ``PLATFORM``. Nothing else lists them.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import re
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError

# What a module returned: its registered result, a loop's under `results`.
Answer = Mapping[str, t.Any]
MATCH, MISMATCH, NOT_SHOWN = "match", "mismatch", "not shown"
_PREFIX = "_device_on_"
_REFUSAL = r"(?im)^\s*(% ?.*|error:.*|.*(permission denied|unknown command|invalid (input|command|value)).*)$"


class Unreadable(Exception):
    """A device's answer can't be read; the text says why, without secrets."""


@dataclass(frozen=True)
class PskRule:
    """The PSKs that a platform takes."""

    min_length: int
    max_length: int
    refused: str
    because: str


@dataclass(frozen=True)
class Tunnel:
    """A tunnel as the device knows it.

    ``names`` are its names on the device by option, ``ike_id`` is the identity that the device presents.
    """

    id: str
    name: str
    status: str
    psk: str = field(repr=False)
    names: Mapping[str, str]
    number: int
    ike_id_type: str
    ike_id: str
    endpoint: str
    wan_interface: str = ""
    unproven: bool = True

    @property
    def object(self) -> str:
        """The name that the others follow where the user names no other."""
        return self.names["object"]


@dataclass(frozen=True)
class Sa:
    """An IKE SA of one tunnel.

    ``identity`` tells it from every other (SPIs, cookies, serial number and time); empty where the device shows none.
    ``age`` is in seconds since its establishment; None where the device does not show it. ``handle`` is what the
    device's command for clearing it calls it.
    """

    identity: str
    age: int | None
    up: bool
    handle: str = ""


@dataclass(frozen=True)
class Finding:
    """Why a tunnel can't be changed on the device (one line, empty: nothing), and its key there.

    ``handles`` are what the device calls the tunnel's parts where their names don't say it.
    """

    problem: str = ""
    key: str = NOT_SHOWN
    handles: Mapping[str, str] = field(default_factory=dict)


# What the device said when it was looked at, the tunnel, and the entry point (reach, psk, main, compare).
Inspect = Callable[[Sequence[Answer], Tunnel, str], Finding]
# The same without a tunnel: why nothing can be changed; one line, empty: nothing.
Ready = Callable[[Sequence[Answer], str], str]
# One tunnel's SAs in the answer to the platform's command.
ReadSas = Callable[[Answer, Tunnel], Sequence[Sa]]
# Why what a script on the device has printed is no proof for a tunnel, of the seconds that it had; empty: it is one.
Watch = Callable[[Tunnel, str, int], str]
# What has to be cleared: an argument a command.
Clear = Callable[[Tunnel, Sequence[Sa]], Sequence[str]]
# What the platform's template needs to know beside the names, by a tunnel's identifier.
Derive = Callable[[str], Mapping[str, t.Any]]


def by_handle(_tunnel: Tunnel, sas: Sequence[Sa]) -> Sequence[str]:
    """Each SA is cleared by what the device calls it."""
    return [sa.handle for sa in sas]


def by_object(tunnel: Tunnel, _sas: Sequence[Sa]) -> Sequence[str]:
    """One command clears all SAs of the tunnel, by the name of its object."""
    return [tunnel.object]


def no_table(_answer: Answer, _tunnel: Tunnel) -> Sequence[Sa]:
    """The platform's proof is no table of SAs."""
    raise Unreadable("the platform's proof is its log")


def nothing_more(_tunnel_id: str) -> Mapping[str, t.Any]:
    """The names are all that the template needs."""
    return {}


def no_limits(_tunnel: Mapping[str, t.Any], _parameters: Mapping[str, t.Any]) -> Sequence[str]:
    """No limits but the common ones."""
    return ()


@dataclass(frozen=True)
class Platform:
    """A platform: its words for the neutral parameters, its limits, and how its answers are read."""

    title: str
    psk: PskRule
    table: Mapping[str, t.Any]
    words: Mapping[str, Mapping[str, str]]
    ready: Ready
    inspect: Inspect
    sas: ReadSas = no_table
    clear: Clear = by_handle
    # Where a script on the device forces the authentication and prints what the daemon says: how that is judged,
    # instead of by a table of SAs.
    watch: Watch | None = None
    collections: tuple[str, ...] = ()
    # A plugin of the vendor's collection and one of its settings: loading it shows that the collection is there.
    probe: Mapping[str, str] = field(default_factory=dict)
    # The options of a tunnel that name things on the device beside `object`; what they are by default, with {object}.
    names: Mapping[str, str] = field(default_factory=dict)
    name_length: int = 60
    name_pattern: str = r"[A-Za-z][A-Za-z0-9_.-]*"
    needs_wan_interface: bool = True
    # Further limits, for the whole tunnel: messages that go on with "of TUNNEL".
    limits: Callable[[Mapping[str, t.Any], Mapping[str, t.Any]], Sequence[str]] = no_limits
    # Whether a tunnel without SA has to be cleared, too, because clearing makes the device start over.
    clears_always: bool = False
    # Whether the table tells an IKE SA from the next one by nothing. Then the proof is that it was read without one
    # after the clear, as __customer_device_between.
    needs_gap: bool = False
    derive: Derive = nothing_more
    # The logger of a library that writes what it sends, the PSK too, into Ansible's own log where there is one.
    logger: str = ""
    # The collection that goes on with the same modules under another name, taken where it is installed.
    successor: str = ""
    # What a command prints although its module takes it for done.
    refusal: str = _REFUSAL
    # What a module quotes although the device has done what it was told; empty: nothing.
    done: str = ""


def names() -> list[str]:
    """The platforms that there are."""
    files = os.listdir(os.path.dirname(__file__))
    return sorted(x[len(_PREFIX) : -3] for x in files if x.startswith(_PREFIX) and x.endswith(".py"))


def load(name: str) -> Platform:
    """The platform of this name.

    Raises:
        InputError: there is none.
    """
    known = names()
    if name not in known:
        raise InputError(f"customer_device_platform {name} is unknown; known are {', '.join(known)}")
    return t.cast(Platform, importlib.import_module(f"{__package__}.{_PREFIX}{name}").PLATFORM)


def problem_of(answer: Answer | None, platform: Platform | None = None) -> str:
    """Why a task has not done what it should, in the device's words; empty when it has.

    A task that was skipped or never ran has not.
    """
    if not answer:
        return "it was never asked"
    if answer.get("skipped"):
        return "it was skipped"
    if refused := _of_rest(answer):
        return one_line(refused)
    said = str(answer.get("msg") or "")
    if platform is not None and platform.done and re.search(platform.done, said, re.DOTALL):
        return ""
    if answer.get("failed") or "failed_when_suppressed_exception" in answer or answer.get("unreachable"):
        said = _in_meta(answer.get("meta")) or said or str(answer.get("stderr") or "")
        return _said(said or "the device gave no reason", platform)
    if answer.get("rc") not in (None, 0):
        return _said(str(answer.get("stderr") or answer.get("stdout") or said), platform)
    if said and not answer.get("changed") and not _says_done(answer):
        return _said(said, platform)
    if platform is not None:
        match = re.search(platform.refusal, text_of(answer))
        if match:
            return one_line(match[0])
    return ""


def _said(text: str, platform: Platform | None) -> str:
    """The device's words out of a module's message, which may quote bytes with the command and the prompt in them."""
    if re.match(r"b(['\"]).*\1$", text, re.DOTALL):
        with contextlib.suppress(ValueError, SyntaxError):
            text = ast.literal_eval(text).decode("utf-8", "replace")
    if match := re.search(r"<error-message>(.*?)</error-message>", text, re.DOTALL):
        return one_line(match[1])
    match = re.search(platform.refusal if platform else _REFUSAL, text)
    return one_line(match[0] if match else text)


def _in_meta(meta: t.Any) -> str:
    """The device's words in the answer of a REST API that a module hands over."""
    answers = meta if isinstance(meta, list) else [meta]
    for answer in answers:
        if isinstance(answer, Mapping) and str(answer.get("http_status", 200)) != "200":
            said = (
                answer.get("cli_error") or answer.get("error_description") or answer.get("error") or "no reason given"
            )
            return f"{said} (HTTP {answer['http_status']})"
    return ""


def _of_rest(answer: Answer) -> str:
    """The device's words in what ansible.builtin.uri hands over; empty when it is no refusal.

    An API may refuse what it was sent with HTTP 200, and say so in its answer alone.
    """
    status = answer.get("status")
    if not isinstance(status, int):
        return ""
    body = answer["json"] if isinstance(answer.get("json"), Mapping) else {}
    words = body.get("errorMessage") or body.get("message")
    if status != 200:
        return f"{words} (HTTP {status})" if words else str(answer.get("msg") or f"HTTP {status}")
    if not body:
        return "its answer is not a JSON object"
    if "failed" in (body.get("result"), body.get("status")):
        found = body.get("validations")
        return "; ".join(f"{x}: {y}" for x, y in found.items()) if found else words or "the device gave no reason"
    return ""


def _says_done(answer: Answer) -> bool:
    """Whether a message comes with what a module returns after success."""
    return any(name in answer for name in ("stdout", "stdout_lines", "meta", "json", "output", "status"))


def text_of(answer: Answer) -> str:
    """All that the device printed."""
    stdout = answer.get("stdout", "")
    if isinstance(stdout, str):
        return stdout
    return "\n".join(str(x) for x in stdout)


def outputs_of(answer: Answer, count: int) -> list[str]:
    """What each of `count` commands printed, whatever ends its lines.

    Raises:
        Unreadable: it is another number, or the task failed.
    """
    problem = problem_of(answer)
    if problem:
        raise Unreadable(problem)
    stdout = answer.get("stdout")
    if isinstance(stdout, str):
        stdout = [stdout]
    if not isinstance(stdout, list) or len(stdout) != count:
        raise Unreadable("its answer does not have the expected form")
    # Over SSH a script has a terminal, which ends lines in its own way.
    return [str(x).replace("\r\n", "\n") for x in stdout]


def one_line(text: str, limit: int = 240) -> str:
    """The text in one line."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
