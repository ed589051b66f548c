# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's envelope, and the exception that becomes one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def dumps(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def error(code: int, message: str, pointer: str | None = None) -> dict[str, Any]:
    """One entry of the envelope's errors."""
    entry: dict[str, Any] = {"code": code, "message": message}
    if pointer is not None:
        entry["source"] = {"pointer": pointer}
    return entry


def success(result: Any) -> dict[str, Any]:
    return {"result": result, "success": True, "errors": [], "messages": []}


def failure(errors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"result": None, "success": False, "errors": list(errors), "messages": []}


def success_bytes(result: bytes) -> bytes:
    """The success envelope around a result that is JSON already."""
    return b'{"result":' + result + b',"success":true,"errors":[],"messages":[]}'


class Problem(Exception):
    """A request the API refuses."""

    def __init__(
        self, status: int, errors: Sequence[Mapping[str, Any]], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.errors = errors
        self.headers = dict(headers or {})

    @classmethod
    def single(cls, status: int, code: int, message: str, pointer: str | None = None) -> Problem:
        return cls(status, [error(code, message, pointer)])


@dataclass
class Answer:
    """What one operation replies, and what it changed."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    psk_changed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, result: Any, changed: Sequence[str] = (), psk_changed: Sequence[str] = ()) -> Answer:
        return cls(dumps(success(result)), changed=list(changed), psk_changed=list(psk_changed))

    @classmethod
    def refused(cls, problem: Problem) -> Answer:
        return cls(dumps(failure(problem.errors)), problem.status, problem.headers)
