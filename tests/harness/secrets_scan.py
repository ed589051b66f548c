# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search outputs and files for secrets, in the forms in which secrets leak."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

SHORTEST = 8
WINDOW = 8
LONGEST_STEP = 16

Haystack = bytes | str | Path


@dataclass(frozen=True, order=True)
class Hit:
    """A secret that was found; says which one and where, never the secret itself."""

    where: str
    offset: int
    secret: int
    form: str


def find_secrets(haystacks: Haystack | Iterable[Haystack], secrets: Iterable[str]) -> list[Hit]:
    """Find each place where a secret shows.

    haystacks: bytes, text, files, folders (searched in full, file names too), or several of them.
    """
    needles = _Needles(secrets)
    if isinstance(haystacks, bytes | str | Path):
        haystacks = [haystacks]
    return sorted(
        Hit(where, offset, secret, form)
        for number, haystack in enumerate(haystacks)
        for where, data in _read(haystack, number)
        for offset, secret, form in needles.search(data)
    )


def forms(secret: str) -> dict[bytes, str]:
    """The forms of a secret, each with a name; a form that is equal to an earlier one is left out."""
    raw = secret.encode()
    named: list[tuple[str, bytes]] = [("raw", raw)]
    for name, text in (("url", quote(secret, safe="")), ("url-plus", quote_plus(secret))):
        named += [(name, text.encode()), (f"{name}-lower", _lower_escapes(text).encode())]
    once, once_ascii = json.dumps(secret, ensure_ascii=False)[1:-1], json.dumps(secret)[1:-1]
    named += [("json", once.encode()), ("json-ascii", once_ascii.encode())]
    named += [("json-twice", json.dumps(once_ascii)[1:-1].encode())]
    named += [("hex", raw.hex().encode()), ("hex-upper", raw.hex().upper().encode())]
    for shift in range(3):
        # What stands before and after the secret decides the characters at its edges: they are left out.
        first, last = (0, 2, 3)[shift], (shift + len(raw)) * 8 // 6
        padded = b"\0" * shift + raw
        named += [(f"base64-{shift}", base64.b64encode(padded)[first:last])]
        named += [(f"base64url-{shift}", base64.urlsafe_b64encode(padded)[first:last])]
    found: dict[bytes, str] = {}
    for name, value in named:
        found.setdefault(value, name)
    return found


def _lower_escapes(text: str) -> str:
    parts = text.split("%")
    return "%".join(parts[:1] + [part[:2].lower() + part[2:] for part in parts[1:]])


class _Needles:
    """All forms of all secrets, indexed so that only every n-th position of a haystack is looked at.

    A form of length L holds, at one of its first L-W+1 offsets, the W bytes found at some position that is a
    multiple of n, when n is no larger than L-W+1. So each form is indexed under its first n windows.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._needles: list[tuple[bytes, int, str]] = []
        for number, secret in enumerate(secrets):
            if len(secret.encode()) < SHORTEST:
                raise ValueError(f"secret {number} has fewer than {SHORTEST} bytes: it would be found by chance")
            self._needles += [(value, number, form) for value, form in forms(secret).items()]
        shortest = min((len(value) for value, _number, _form in self._needles), default=WINDOW)
        self._step = min(shortest - WINDOW + 1, LONGEST_STEP)
        self._index: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
        for position, (value, _number, _form) in enumerate(self._needles):
            for shift in range(self._step):
                self._index[value[shift : shift + WINDOW]].append((position, shift))

    def search(self, data: bytes) -> Iterator[tuple[int, int, str]]:
        """Offset, secret and form of each hit."""
        index = self._index
        for position in range(0, len(data) - WINDOW + 1, self._step):
            for needle, shift in index.get(data[position : position + WINDOW], ()):
                value, number, form = self._needles[needle]
                if position >= shift and data.startswith(value, position - shift):
                    yield position - shift, number, form


def _read(haystack: Haystack, number: int) -> Iterator[tuple[str, bytes]]:
    if isinstance(haystack, bytes):
        yield f"haystack {number}", haystack
    elif isinstance(haystack, str):
        yield f"haystack {number}", haystack.encode("utf-8", "surrogateescape")
    elif haystack.is_dir():
        for path in sorted(haystack.rglob("*")):
            yield f"name of a file in {haystack}", str(path).encode()
            if path.is_file():
                yield str(path), path.read_bytes()
    else:
        yield str(haystack), haystack.read_bytes()
