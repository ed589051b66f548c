# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the snippets of README and guides. Each block of code has a line before it that says what a test does with it:

.. snippet: file rotate.yml        write it to this file (in Markdown: <!-- snippet: file rotate.yml -->)
.. snippet: run                    run it by bash, in the folder with the files before
.. snippet: tasks                  run it as the tasks of a play on localhost
.. snippet: syntax play.yml        write it to this file, and check it as a playbook without running it
.. snippet: shown REASON           it can't be run here, because
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ACTIONS = ("file", "run", "tasks", "syntax", "shown")
# Pictures and messages.
FREE = ("text", "console", "none", "")
MARK = re.compile(r"^(?:\.\. snippet: |<!-- snippet: )(\w+) ?(.*?)(?: -->)?$")
BLOCK = re.compile(r"^( *)\.\. code-block:: *(\S*)$")


@dataclass(frozen=True)
class Snippet:
    """One block of code; `action` is None when nobody has said what to do with it."""

    line: int
    language: str
    action: str | None
    argument: str
    text: str


def documents() -> list[Path]:
    """README and all guides."""
    return [ROOT / "README.md", *sorted((ROOT / "docs" / "docsite" / "rst").glob("*.rst"))]


def snippets(path: Path) -> list[Snippet]:
    """The blocks of a document, in their order, without those that are no code."""
    found = _markdown if path.suffix == ".md" else _rst
    return [x for x in found(path.read_text(encoding="utf-8").splitlines()) if x.language not in FREE or x.action]


def _mark(lines: list[str], before: int) -> tuple[str | None, str]:
    """The mark in the last line with text before this one."""
    while before > 0 and not lines[before - 1].strip():
        before -= 1
    match = MARK.match(lines[before - 1].strip()) if before else None
    return (match[1], match[2]) if match else (None, "")


def _markdown(lines: list[str]) -> Iterator[Snippet]:
    begun: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if begun is None:
            begun = number
            continue
        text = "\n".join(lines[begun + 1 : number]) + "\n"
        yield Snippet(begun + 1, lines[begun][3:].strip(), *_mark(lines, begun), text)
        begun = None


def _rst(lines: list[str]) -> Iterator[Snippet]:
    for number, line in enumerate(lines):
        match = BLOCK.match(line)
        if not match:
            continue
        indent, body = len(match[1]), []
        for inner in lines[number + 1 :]:
            if inner.strip() and len(inner) - len(inner.lstrip()) <= indent:
                break
            body.append(inner)
        while body and (not body[0].strip() or body[0].strip().startswith(":")):
            body.pop(0)
        text = textwrap.dedent("\n".join(body)).rstrip() + "\n"
        yield Snippet(number + 1, match[2], *_mark(lines, number), text)
