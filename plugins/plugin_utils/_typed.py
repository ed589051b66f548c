# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The values of a stored dataclass, which somebody may have edited: each is of the type that its field says."""

from __future__ import annotations

import functools
import math
import typing as t
from collections.abc import Mapping
from dataclasses import fields

# By the first word of the annotation; a field of any other type is not looked at here.
_TYPES: dict[str, tuple[type[t.Any], ...]] = {"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float)}
_ARTICLES = {"str": "text: put it into quotes", "bool": "true or false", "int": "an integer", "float": "a number"}


def typed(
    kind: type[t.Any], data: Mapping[str, t.Any], where: str = "", needed: tuple[str, ...] = ()
) -> dict[str, t.Any]:
    """What ``data`` says for the fields of ``kind``; what it does not say, or says is nothing, is left out.

    ``where`` names the data in a message, ``needed`` are the fields that must say something. Raises ValueError, which
    shows no value.
    """
    found: dict[str, t.Any] = {}
    for name, what in _fields(t.cast(t.Hashable, kind)):
        value = data.get(name)
        if value is None and name not in needed:
            continue
        if what in _TYPES and not _is(value, what):
            raise ValueError(f"{_named(name, where)} is not {_ARTICLES[what]}")
        if name == "psk" and not value:
            raise ValueError(f"{_named(name, where)} is empty")
        found[name] = value
    return found


@functools.cache
def _fields(kind: t.Hashable) -> tuple[tuple[str, str], ...]:
    return tuple((x.name, str(x.type).split(" ", 1)[0]) for x in fields(t.cast(t.Any, kind)))


def _is(value: t.Any, what: str) -> bool:
    if not isinstance(value, _TYPES[what]):
        return False
    return what != "float" or math.isfinite(value)


def _named(name: str, where: str) -> str:
    shown = "PSK" if name == "psk" else name
    return f"the {shown} of its {where}" if where else f"its {shown}"
