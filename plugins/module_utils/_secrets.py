# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""PSKs: making them, checking the user's own, keeping them out of texts.

Rules from the vendors' documentation: AWS 8-64 characters without a leading 0, FortiOS and strongSwan read a leading
0x as hexadecimal, strongSwan 0s as base64, IOS takes ? as help, Junos $9$ as obfuscated text; quotes, blanks,
backslash, ! and # mean something on one command line or another.
"""

from __future__ import annotations

import html
import json
import secrets
import shlex
import string
import typing as t
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError

try:
    from ansible.module_utils.secrets import register_secret as _register_secret  # ansible-core 2.22+
except ImportError:
    _register_secret = None

PSK_LENGTH = 48
PSK_MIN, PSK_MAX = 20, 64
ANY_PSK_MIN, ANY_PSK_MAX = 8, 128
CHARSETS = ("safe", "any")
REFUSED_CHARACTERS = frozenset("\"'`\\?$#! ")

_FIRST = string.ascii_letters
_REST = string.ascii_letters + string.digits


def generate_psk(length: int = PSK_LENGTH) -> str:
    """A PSK of letters and digits, first a letter: 5.95 bits a character, and accepted by every known device."""
    return _drawn(_FIRST, 1) + _drawn(_REST, length - 1)


def _drawn(alphabet: str, count: int) -> str:
    """So many characters, each as likely as any other: bytes that would prefer some are thrown away."""
    table, uneven = _table(alphabet)
    found = b""
    while len(found) < count:
        found += secrets.token_bytes(2 * count).translate(table, uneven)
    return found[:count].decode("ascii")


@lru_cache(maxsize=2)
def _table(alphabet: str) -> tuple[bytes, bytes]:
    """The character of each byte, and the bytes that are too many for all characters to be equal."""
    even = 256 - 256 % len(alphabet)
    return bytes(ord(alphabet[x % len(alphabet)]) for x in range(256)), bytes(range(even, 256))


def check_psk(psk: str, where: str, charset: str = "safe") -> None:
    """Raises InputError, which names ``where`` and never the PSK, when a device could mangle this PSK.

    Charset ``any`` accepts all printable ASCII characters and lengths from 8 to 128. Less would harm: Ansible masks
    a secret wherever it occurs, so a short one destroys unrelated results.
    """
    low, high = (PSK_MIN, PSK_MAX) if charset == "safe" else (ANY_PSK_MIN, ANY_PSK_MAX)
    if not low <= len(psk) <= high:
        raise InputError(f"{where}: the PSK has {len(psk)} characters; {low} to {high} are accepted")
    if not all(" " <= c <= "~" for c in psk):
        raise InputError(f"{where}: the PSK holds a character that is not printable ASCII")
    if charset != "safe":
        return
    bad = sorted(REFUSED_CHARACTERS.intersection(psk))
    if bad:
        names = " ".join("blank" if c == " " else c for c in bad)
        raise InputError(
            f"{where}: the PSK holds characters that some devices mangle: {names} (psk_charset=any accepts them)"
        )
    if psk.startswith("0"):
        raise InputError(f"{where}: the PSK starts with 0, which some devices refuse or read as a number")
    if len(set(psk)) < 8:
        raise InputError(f"{where}: the PSK has fewer than 8 different characters, which is too easy to guess")


def mark_as_secret(values: Iterable[str]) -> None:
    """Tells ansible-core 2.22 and newer to censor these values wherever it renders them; older cores cannot."""
    if _register_secret is not None:
        for value in values:
            _register_secret(value)


def redact(text: str, values: Iterable[str]) -> str:
    """``text`` with each of ``values`` replaced, also where it is written as JSON, HTML, part of a URL or a command.

    The longest come first, so that no part of a longer one stays.
    """
    present = {form for value in values if value for form in _forms(value) if form in text}
    for value in sorted(present, key=len, reverse=True):
        text = text.replace(value, "********")
    return text


@lru_cache(maxsize=4096)
def _forms(value: str) -> frozenset[str]:
    """How others write a text, in quotes or not: letters and digits always as they are."""
    if value.isalnum():
        return frozenset([value])
    quoted = json.dumps(value)[1:-1]
    plain = {value, quoted, json.dumps(quoted)[1:-1], repr(value)[1:-1], shlex.quote(value).strip("'")}
    return frozenset([*plain, *map(html.escape, plain), quote(value, safe=""), quote(value), quote_plus(value)])


def censor(value: t.Any, secrets: Iterable[str]) -> t.Any:
    """A copy of plain data with every occurrence of a secret in its texts replaced.

    Ansible compares each secret with each text; this looks at each text once, so that many of both cost no more.
    """
    known = set(secrets)
    lengths = sorted({len(x) for x in known}, reverse=True)

    def clean(part: t.Any) -> t.Any:
        if isinstance(part, Mapping):
            return {key: clean(inner) for key, inner in part.items()}
        if isinstance(part, (list, tuple)):
            return [clean(inner) for inner in part]
        if not isinstance(part, str) or len(part) < lengths[-1]:
            return part
        found = {part[i : i + n] for n in lengths for i in range(len(part) - n + 1)} & known
        return redact(part, found) if found else part

    return clean(value) if lengths else value


def psks_in(entries: Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """The PSKs of a list of entries that may have a ``psk``."""
    return [entry["psk"] for entry in entries if entry.get("psk")]
