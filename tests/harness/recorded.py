# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records which options of modules, roles and plugins the tests really set; `tools/untested` names the others.

HARNESS_RECORDED names a folder with the options that there are, and gets an empty file for each one that was set. Such
a file needs no lock, however many tests run at once, and a killed run leaves no half of it. No value is ever recorded.
The callback `harness_recorded` loads this file in Ansible's process, so it needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

VARIABLE = "HARNESS_RECORDED"
CALLBACK = "harness_recorded"
EXPECTED = "expected.json"
SEEN = "seen"
# The options of an option, by name; empty for one that has none.
Options = Mapping[str, Any]


def entry_name(kind: str, name: str, option: str = "") -> str:
    """The file that says that this option was set; without an option, that the plugin was used."""
    return f"{kind} {name} {option}".strip()


def paths(options: Options, before: str = "") -> Iterator[str]:
    """The dotted names of options and of what is inside them."""
    for key, inside in options.items():
        yield f"{before}{key}"
        yield from paths(inside, f"{before}{key}.")


def given(options: Options, values: Any, before: str = "") -> Iterator[str]:
    """The dotted names of those options that a dictionary, or one of a list, has."""
    for one in values if isinstance(values, list | tuple) else [values]:
        if isinstance(one, Mapping):
            for key in options.keys() & one.keys():
                yield f"{before}{key}"
                if options[key]:
                    yield from given(options[key], one[key], f"{before}{key}.")


class Recorder:
    """Writes into one folder; what is there already is not written again."""

    def __init__(self, folder: Path) -> None:
        self._seen = folder / SEEN
        self._expected = json.loads((folder / EXPECTED).read_text(encoding="utf-8"))
        self._known = {entry.name for entry in self._seen.iterdir()}

    def options(self, kind: str, name: str) -> Options | None:
        """The options of a plugin or role of the collection; None if it has none of this name."""
        found: Options | None = self._expected.get(kind, {}).get(name)
        return found

    def used(self, kind: str, name: str, values: Any = None) -> None:
        """A test has used it, with these values."""
        options = self.options(kind, name)
        if options is not None:
            self.add(kind, name, ["", *given(options, values)])

    def add(self, kind: str, name: str, found: Iterable[str]) -> None:
        """Note that these options were set."""
        new = {entry_name(kind, name, option) for option in found} - self._known
        for entry in new:
            (self._seen / entry).touch()
        self._known |= new


@cache
def recorder() -> Recorder | None:
    """This process's recorder; None when nothing is to be recorded."""
    folder = os.environ.get(VARIABLE)
    return Recorder(Path(folder)) if folder else None


def used(kind: str, name: str, values: Any = None) -> None:
    """Note a use by this process itself."""
    found = recorder()
    if found:
        found.used(kind, name, values)


def callbacks(*others: str) -> dict[str, str]:
    """The environment of a run of Ansible in which these callbacks of the harness work, and the recording one."""
    folder = os.environ.get(VARIABLE)
    enabled = [*others, CALLBACK] if folder else others
    return {"ANSIBLE_CALLBACKS_ENABLED": ",".join(enabled), **({VARIABLE: folder} if folder else {})}
