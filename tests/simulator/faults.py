# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults: what may go wrong, with which requests, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter, field_validator, model_validator

Operation = Literal[
    "list", "get", "create", "update", "bulk_update", "delete", "psk_generate", "psk_set", "graphql", "any"
]
Share = Annotated[float, Field(gt=0, le=1)]
READS = frozenset({"list", "get"})
WRITES = frozenset({"create", "update", "bulk_update", "delete", "psk_generate", "psk_set"})
EVERY = READS | WRITES | {"graphql"}

KINDS: dict[str, frozenset[str]] = {
    "status": EVERY,
    "html": EVERY,
    "drop": EVERY,
    "reset_mid_body": EVERY,
    "truncate": EVERY,
    "delay": EVERY,
    "hang": EVERY,
    "redirect": EVERY,
    "success_false": EVERY,
    "modified_false": frozenset({"update", "bulk_update", "delete"}),
    "unapplied": frozenset({"psk_set"}),
    "omit": frozenset({"psk_set"}),
    "echo_other_psk": frozenset({"psk_set"}),
    "metadata": frozenset({"list", "get", "create", "update", "bulk_update", "psk_generate", "psk_set"}),
    "stale_reads": WRITES,
    "empty_list": frozenset({"list"}),
    "duplicate_names": frozenset({"list"}),
    "duplicate_ids": frozenset({"list"}),
}
"""Each kind of fault, and the operations it makes sense for."""


class Fault(BaseModel):
    """One armed fault: which requests it meets, and exactly one kind of what happens to them."""

    model_config = ConfigDict(strict=True, extra="forbid")

    route: Operation = "any"
    validate_only: bool | None = None
    tunnel: str | None = None
    count: int | None = Field(default=1, ge=0)
    skip: int = Field(default=0, ge=0)
    when: Literal["before", "after"] = "before"

    status: int | None = Field(default=None, ge=400, le=599)
    code: int | None = None
    message: str | None = None
    headers: dict[str, str] = {}
    html: Literal[True] | None = None
    drop: Literal[True] | None = None
    reset_mid_body: Literal[True] | None = None
    truncate: Literal["announced", "closed"] | None = None
    delay: float | None = Field(default=None, ge=0)
    hang: Literal[True, "late"] | None = None
    redirect: str | None = None
    success_false: Literal[True] | None = None
    modified_false: Literal[True] | None = None
    unapplied: Annotated[int, Field(ge=1)] | Share | Literal["all"] | list[str] | None = None
    omit: Annotated[int, Field(ge=1)] | list[str] | None = None
    echo_other_psk: Literal[True] | None = None
    metadata: str | None = Field(default=None, pattern=r"^(missing|absent|unchanged|backwards|skew:[+-]?\d+)$")
    stale_reads: int | None = Field(default=None, ge=1)
    empty_list: Literal[True] | None = None
    duplicate_names: Literal[True] | None = None
    duplicate_ids: Literal[True] | None = None

    _kind: str = PrivateAttr(default="")
    _matched: int = PrivateAttr(default=0)
    _hits: int = PrivateAttr(default=0)

    @field_validator("truncate", mode="before")
    @classmethod
    def _truncate_default(cls, value: Any) -> Any:
        return "announced" if value is True else value

    @model_validator(mode="after")
    def _one_kind(self) -> Fault:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if kinds == ["status", "html"]:
            kinds = ["html"]
        if len(kinds) != 1:
            raise ValueError(f"expected exactly one kind of fault, got {', '.join(kinds) or 'none'}")
        self._kind = kinds[0]
        if self.route != "any" and self.route not in KINDS[self._kind]:
            raise ValueError(f"{self._kind} does not go with {self.route}")
        if self._kind not in ("status", "html", "success_false") and (self.code or self.message):
            raise ValueError("code and message go with status and success_false only")
        return self

    @property
    def kind(self) -> str:
        return self._kind

    @property
    def before(self) -> bool:
        return self.when == "before"

    @property
    def skew(self) -> int:
        """Seconds of `metadata: skew:SECONDS`."""
        return int((self.metadata or "").partition(":")[2] or 0)

    def meets(self, operation: str, validate_only: bool, tunnels: frozenset[str]) -> bool:
        """Whether the request is one of this fault's, spent or not."""
        return (
            self.route in (operation, "any")
            and operation in KINDS[self._kind]
            and self.validate_only in (None, validate_only)
            and (self.tunnel is None or self.tunnel in tunnels)
        )

    def strike(self) -> bool:
        """Count a request that the fault meets; whether the fault hits it."""
        if self.count and self._hits >= self.count:
            return False
        self._matched += 1
        if self._matched <= self.skip:
            return False
        self._hits += 1
        return True

    def shown(self) -> dict[str, Any]:
        return {
            **self.model_dump(exclude_defaults=True),
            "route": self.route,
            "kind": self._kind,
            "hits": self._hits,
            "spent": bool(self.count) and self._hits >= (self.count or 0),
        }


_MANY = TypeAdapter(list[Fault])


class FaultBook:
    """The armed faults, in order, and the gate that hanging requests wait at."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._gate = asyncio.Event()

    def arm(self, raw: str | bytes) -> None:
        """Add one fault or a list of them, given as JSON; ValueError when one is not a fault."""
        text = raw.decode() if isinstance(raw, bytes) else raw
        self._faults += _MANY.validate_json(text if text.lstrip().startswith("[") else f"[{text}]")

    def clear(self) -> None:
        self._faults.clear()
        self.release()

    def release(self) -> None:
        """Let all requests go on that hang now."""
        self._gate.set()
        self._gate = asyncio.Event()

    @property
    def gate(self) -> asyncio.Event:
        return self._gate

    @property
    def by_tunnel(self) -> bool:
        """Whether any fault looks at the tunnels of a request."""
        return any(fault.tunnel is not None for fault in self._faults)

    def pick(self, operation: str, validate_only: bool, tunnels: Iterable[str]) -> Fault | None:
        """The first fault in order that hits this request."""
        if not self._faults:
            return None
        touched = frozenset(tunnels)
        for fault in self._faults:
            if fault.meets(operation, validate_only, touched) and fault.strike():
                return fault
        return None

    def shown(self) -> list[dict[str, Any]]:
        return [fault.shown() for fault in self._faults]
