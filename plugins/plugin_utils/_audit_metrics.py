# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The audit as OpenMetrics text, which Prometheus' textfile collector reads, too: gauges alone. Pure functions."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, parse_time
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._audit import DAY, FINDINGS
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import STATES

PREFIX = "magicwan_psk_"
# A tunnel without a record in the escrow.
NO_RECORD = "none"


@dataclass(frozen=True)
class Sample:
    """One value. Label values are any text."""

    labels: Mapping[str, str]
    value: float


def to_metrics(report: Mapping[str, t.Any]) -> str:
    """The report of an audit as text. Times are seconds since 1970."""
    account = {"account": str(report["account"] or "")}
    tunnels = [({**account, **_labels(x)}, x) for x in report["tunnels"]]
    lines: list[str] = []

    def family(name: str, told: str, samples: Iterable[Sample]) -> None:
        lines.append(f"# TYPE {PREFIX}{name} gauge")
        lines.append(f"# HELP {PREFIX}{name} {told}")
        lines.extend(f"{PREFIX}{name}{{{_told(x.labels)}}} {_number(x.value)}" for x in samples)

    family(
        "age_seconds",
        "How old the PSK of a tunnel is.",
        [Sample(own, x["age_days"] * DAY) for own, x in tunnels if x["age_days"] is not None],
    )
    family("due_timestamp_seconds", "When the PSK of a tunnel is due.", _times(tunnels, "due_on"))
    family(
        "last_success_timestamp_seconds",
        "When Cloudflare took the PSK that the last finished rotation of a tunnel has set.",
        _times([x for x in tunnels if x[1]["state"] == "idle"], "last_rotation_on"),
    )
    family(
        "state",
        "The state of the record of a tunnel: 1 for the one that it is in.",
        [
            Sample({**own, "state": state}, (x["state"] or NO_RECORD) == state)
            for own, x in tunnels
            for state in (*STATES, NO_RECORD)
        ],
    )
    family("broken", "Whether a tunnel breaks the policy.", [Sample(own, bool(x["breaks"])) for own, x in tunnels])
    found = report["counts"]["findings"]
    family(
        "findings", "How many tunnels have a finding.", [Sample({**account, "finding": x}, found[x]) for x in FINDINGS]
    )
    family("tunnels", "How many tunnels were looked at.", [Sample(account, report["counts"]["tunnels"])])
    made = parse_time(report["generated_on"]) or 0
    family(
        "audit_last_success_timestamp_seconds",
        "When the account and the escrow were last read, whatever the policy says to them.",
        [Sample(account, made / NANO)],
    )
    return "\n".join([*lines, "# EOF", ""])


def _labels(tunnel: Mapping[str, t.Any]) -> dict[str, str]:
    return {
        "id": tunnel["id"],
        "tunnel": tunnel["name"],
        "device": tunnel["device"] or "",
        "site": tunnel["site"] or "",
    }


def _times(tunnels: Iterable[tuple[dict[str, str], Mapping[str, t.Any]]], key: str) -> Iterable[Sample]:
    for own, tunnel in tunnels:
        on = parse_time(tunnel[key])
        if on is not None:
            yield Sample(own, on / NANO)


def _told(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(round(float(value), 3))
