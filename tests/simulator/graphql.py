# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""POST /graphql: the one dataset that tells tunnel health, by tunnel name and data centre.

Understands one query operation with variables, aliases and nested selections; no fragments, no directives.
Failures are `errors` inside HTTP 200, as Cloudflare answers them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .answers import Answer, Problem, dumps
from .clock import NANOSECONDS, to_text
from .operations import Call

DATASET = "magicTransitTunnelHealthChecksAdaptiveGroups"
MAX_LIMIT = 10_000
_CHECKS = 30
_OLDEST = timedelta(days=92)
_LONGEST = timedelta(days=7)
_TOKEN = re.compile(r'\s+|,|#[^\n]*|(?P<token>[{}()\[\]:!$=]|"(?:\\.|[^"\\])*"|-?\d+(?:\.\d+)?|[_A-Za-z]\w*)')
_STATUS = {1.0: "healthy", 0.5: "degraded", 0.0: "down"}
_CITIES = {
    "AMS": ("Amsterdam", "NL"),
    "FRA": ("Frankfurt", "DE"),
    "IAD": ("Ashburn", "US"),
    "LHR": ("London", "GB"),
    "SIN": ("Singapore", "SG"),
}
_DIMENSIONS = frozenset(
    {
        "tunnelName",
        "edgeColoName",
        "edgeColoCity",
        "edgeColoCountry",
        "edgePopName",
        "remoteTunnelIPv4",
        "resultStatus",
        "siteName",
        "active",
        "tunnelState",
        "datetime",
        "datetimeFiveMinutes",
    }
)
_TIMES = ("datetime_geq", "datetime_gt", "datetime_leq", "datetime_lt")


class _Wrong(Exception):
    """What is wrong with the query."""


@dataclass
class _Field:
    name: str
    key: str
    arguments: dict[str, Any] = field(default_factory=dict)
    selection: list[_Field] = field(default_factory=list)


def answer(call: Call) -> Answer:
    """Run the query of a request."""
    try:
        body = call.body()
    except Problem as problem:
        return _failed(str(problem.errors[0]["message"]))
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        return _failed("query is required")
    try:
        root = _Parser(body["query"], body.get("variables") or {}).document()
        return Answer(dumps({"data": _run(call, root), "errors": None}))
    except _Wrong as wrong:
        return _failed(str(wrong))


def _failed(message: str) -> Answer:
    return Answer(dumps({"data": None, "errors": [{"message": message, "path": None, "extensions": {}}]}))


class _Parser:
    """Recursive descent over the tokens of one query operation."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._tokens: list[str] = []
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise _Wrong(f"syntax error at character {place}")
            if match["token"]:
                self._tokens.append(match["token"])
            place = match.end()
        self._tokens.reverse()

    def document(self) -> list[_Field]:
        if self._at("query"):
            self._next()
            if not self._at("(") and not self._at("{"):
                self._next()
            if self._at("("):
                while self._next() != ")":
                    pass
        fields = self._selection()
        if self._tokens:
            raise _Wrong("syntax error: only one query is understood")
        return fields

    def _selection(self) -> list[_Field]:
        self._expect("{")
        fields = []
        while not self._at("}"):
            name = key = self._name()
            if self._at(":"):
                self._next()
                name = self._name()
            arguments = self._pairs("(", ")") if self._at("(") else {}
            fields.append(_Field(name, key, arguments, self._selection() if self._at("{") else []))
        self._next()
        return fields

    def _pairs(self, opening: str, closing: str) -> dict[str, Any]:
        self._expect(opening)
        pairs = {}
        while not self._at(closing):
            name = self._name()
            self._expect(":")
            pairs[name] = self._value()
        self._next()
        return pairs

    def _value(self) -> Any:
        if self._at("{"):
            return self._pairs("{", "}")
        token = self._next()
        if token == "$":
            name = self._name()
            if name not in self._variables:
                raise _Wrong(f"variable {name} is not given")
            return self._variables[name]
        if token == "[":
            items = []
            while not self._at("]"):
                items.append(self._value())
            self._next()
            return items
        if token.startswith('"'):
            return re.sub(r"\\(.)", r"\1", token[1:-1])
        if token in ("true", "false"):
            return token == "true"
        return int(token) if re.fullmatch(r"-?\d+", token) else token

    def _name(self) -> str:
        token = self._next()
        if not re.fullmatch(r"[_A-Za-z]\w*", token):
            raise _Wrong(f"syntax error: expected a name, got {token[:1]}")
        return token

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise _Wrong(f"syntax error: expected {token}")

    def _at(self, token: str) -> bool:
        return bool(self._tokens) and self._tokens[-1] == token

    def _next(self) -> str:
        if not self._tokens:
            raise _Wrong("syntax error: unexpected end of the query")
        return self._tokens.pop()


def _run(call: Call, root: list[_Field]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for viewer in _known(root, {"viewer"}):
        data[viewer.key] = {}
        for accounts in _known(viewer.selection, {"accounts"}):
            tag = accounts.arguments.get("filter", {}).get("accountTag")
            if tag != call.store.account_id:
                raise _Wrong("not authorized for that account")
            groups = {item.key: _groups(call, item) for item in _known(accounts.selection, {DATASET})}
            data[viewer.key][accounts.key] = [groups]
    return data


def _groups(call: Call, dataset: _Field) -> list[dict[str, Any]]:
    """Rows averaged over every dimension that is not asked for."""
    limit = dataset.arguments.get("limit")
    if not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise _Wrong(f"limit must be between 1 and {MAX_LIMIT}")
    wanted: list[_Field] = []
    for part in _known(dataset.selection, {"count", "avg", "dimensions"}):
        if part.name == "dimensions":
            wanted = _known(part.selection, _DIMENSIONS)
        elif part.name == "avg":
            _known(part.selection, {"tunnelState"})
    states: dict[tuple[Any, ...], list[float]] = {}
    for row in _rows(call, _conditions(dataset.arguments.get("filter"))):
        states.setdefault(tuple(row[item.name] for item in wanted), []).append(row["tunnelState"])
    groups = []
    for values, group in list(states.items())[:limit]:
        shown: dict[str, Any] = {}
        for part in dataset.selection:
            if part.name == "count":
                shown[part.key] = _CHECKS * len(group)
            elif part.name == "avg":
                shown[part.key] = {item.key: sum(group) / len(group) for item in part.selection}
            else:
                shown[part.key] = {item.key: value for item, value in zip(wanted, values, strict=True)}
        groups.append(shown)
    return groups


def _conditions(given: Any) -> dict[str, list[Any]]:
    """The filter as dimension -> allowed values; the time range is checked and then holds everything."""
    if not isinstance(given, dict):
        raise _Wrong("filter is required")
    times = {name: _time(value) for name, value in given.items() if name in _TIMES}
    start = times.get("datetime_geq", times.get("datetime_gt"))
    now = datetime.now(UTC)
    end = times.get("datetime_leq", times.get("datetime_lt", now))
    if start is None:
        raise _Wrong("filter must hold datetime_geq or datetime_gt")
    if end - start > _LONGEST:
        raise _Wrong("query time range is too large: at most 1 week")
    if start < now - _OLDEST:
        raise _Wrong("cannot request data older than 3 months")
    conditions = {}
    for name, value in given.items():
        dimension = name.removesuffix("_in")
        if name in _TIMES:
            continue
        if dimension not in _DIMENSIONS:
            raise _Wrong(f"unknown filter {name}")
        if name.endswith("_in") and not isinstance(value, list):
            raise _Wrong(f"{name} must be a list")
        conditions[dimension] = value if name.endswith("_in") else [value]
    return conditions


def _rows(call: Call, conditions: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """One row a tunnel and data centre; a disabled check counts as down."""
    now = call.store.clock.nanoseconds()
    five_minutes = to_text(now - now % (300 * NANOSECONDS))[:19] + "Z"
    rows = []
    for tunnel in call.store.tunnels.values():
        if tunnel.name not in conditions.get("tunnelName", [tunnel.name]):
            continue
        for colo, measured in tunnel.health.items():
            state = measured if tunnel.health_check.enabled else 0.0
            city, country = _CITIES.get(colo, (colo, ""))
            row = {
                "tunnelName": tunnel.name,
                "edgeColoName": colo,
                "edgeColoCity": city,
                "edgeColoCountry": country,
                "edgePopName": colo.lower(),
                "remoteTunnelIPv4": call.renderer.effective_target(tunnel),
                "resultStatus": _STATUS[state],
                "siteName": "",
                "active": 1,
                "tunnelState": state,
                "datetime": to_text(now)[:19] + "Z",
                "datetimeFiveMinutes": five_minutes,
            }
            if all(row[name] in allowed for name, allowed in conditions.items()):
                rows.append(row)
    return rows


def _known(fields: list[_Field], names: set[str] | frozenset[str]) -> list[_Field]:
    for item in fields:
        if item.name not in names:
            raise _Wrong(f"unknown field {item.name}")
    if not fields:
        raise _Wrong("a selection is missing")
    return fields


def _time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Wrong("a time must be RFC 3339") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
