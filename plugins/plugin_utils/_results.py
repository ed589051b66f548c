# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""What a rotation tells: the results that device tasks use, and the summary that anybody may read. Pure functions."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import few, inside_addresses, view
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status, _transitions
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._copies import replace
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._end import percentile
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Moves
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import Options, Plan
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import (
    OPERATIONS,
    PREPARE,
    Outcome,
    Progress,
    Result,
    State,
    new_token,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import Planned

NAMES_SHOWN = 10


def first_state(
    rotation_id: str,
    options: Options,
    plan: Plan,
    tunnels: Sequence[Mapping[str, t.Any]],
    records: Mapping[str, Record],
) -> State:
    """The state of a rotation that has not begun."""
    entries = {x.id: x for x in plan.entries()}
    results: dict[str, list[Result]] = {host: [] for host in options.hosts}
    for tunnel in tunnels:
        entry = entries.get(tunnel["id"])
        if entry is not None:
            results[entry.host].append(first_result(view(tunnel), entry, records.get(entry.id)))
    planned = [x.id for wave in plan.waves for x in wave]
    return State(
        rotation_id=rotation_id,
        owner=options.owner,
        mode=options.mode,
        operation=OPERATIONS.get(options.mode, PREPARE),
        confirmation=options.confirmation,
        devices=options.devices,
        verifying=options.verifying,
        first_wave=options.first_wave,
        hooks=options.hooks,
        reach=options.reach,
        waves=plan.waves,
        siblings={i: plan.groups.siblings(i) for i in planned},
        limit=plan.limit,
        failed_before=plan.failed_before,
        token=new_token(),
        run_token=new_token(),
        progress=Progress("", time.time()),
        results=results,
    )


def members(plan: Plan, tunnels: Sequence[Mapping[str, t.Any]]) -> dict[str, list[dict[str, t.Any]]]:
    """The tunnels of each group that the rotation touches, as the health gate needs them."""
    by_id = {x["id"]: x for x in tunnels}
    touched = dict.fromkeys(x.group for x in (*(x for wave in plan.waves for x in wave), *plan.left))
    return {
        name: [
            {"id": i, "name": by_id[i]["name"], "health_check": by_id[i].get("health_check") or {}}
            for i in plan.groups.members[name]
        ]
        for name in touched
    }


def first_result(tunnel: Mapping[str, t.Any], entry: Planned, record: Record | None) -> Result:
    """What is known of a tunnel before anything is done: its result if nothing is. ``tunnel`` is a view of it."""
    cloudflare, customer, prefix_length = inside_addresses(tunnel["interface_address"])
    cloudflare6, customer6, prefix_length6 = inside_addresses(tunnel["interface_address6"])
    ipsec_id = (record.ipsec_id if record else None) or _ipsec_id(tunnel)
    current = record.current if record else None
    expected = record.expected() if record else None
    return Result(
        id=tunnel["id"],
        name=tunnel["name"],
        host=entry.host,
        group=entry.group,
        status=entry.status,
        reason=entry.reason,
        excused=entry.excused,
        postponed=entry.postponed,
        psk=record.psk_of_device() if record and entry.status != _status.STUCK else None,
        ipsec_id=ipsec_id,
        ike_ids={
            **_ike_ids(tunnel["remote_identities"]["fqdn_id"], tunnel["remote_identities"]["user_id"], ipsec_id),
            "custom_fqdn": (tunnel["custom_remote_identities"] or {}).get("fqdn_id"),
        },
        addresses={
            "cloudflare_endpoint": tunnel["cloudflare_endpoint"],
            "customer_endpoint": tunnel["customer_endpoint"],
            "interface_address": tunnel["interface_address"],
            "cloudflare_inside_address": cloudflare,
            "customer_inside_address": customer,
            "inside_prefix_length": prefix_length,
            "cloudflare_inside_address6": cloudflare6,
            "customer_inside_address6": customer6,
            "inside_prefix_length6": prefix_length6,
        },
        replay_protection=tunnel["replay_protection"],
        bgp=tunnel["bgp"],
        applied_on=expected.on if expected else current.applied_on if current else None,
        confirmed_on=current.confirmed_on if current else None,
        generation=record.generation if record else None,
    )


def after(state: State, outcomes: Sequence[Outcome], *, changed: bool) -> State:
    """The state once these outcomes are known, the latest of a tunnel counting."""
    latest: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        latest.setdefault(outcome.id, []).append(outcome)
    results = {host: [_told(x, latest.get(x.id, ())) for x in own] for host, own in state.results.items()}
    statuses = {**state.statuses, **{x.id: x.status for x in outcomes}}
    return replace(state, results=results, statuses=statuses, changed=changed)


def _told(result: Result, outcomes: Sequence[Outcome]) -> Result:
    for outcome in outcomes:
        told = {key: getattr(outcome, key) for key in _TOLD if getattr(outcome, key) is not None}
        psk = outcome.psk if outcome.known else result.psk
        changed = outcome.status in _status.CHANGED
        result = replace(result, **told, psk=psk, excused=outcome.excused, postponed=False, changed=changed)
        if outcome.ipsec_id:
            known = result.ike_ids
            ids = _ike_ids(known.get("fqdn"), known.get("user_fqdn"), outcome.ipsec_id)
            result = replace(result, ike_ids={**known, **ids})
    return result


# What an outcome may update, beside the PSK.
_TOLD = ("status", "reason", "ipsec_id", "applied_on", "confirmed_on", "generation", "exposure_seconds")


def outcomes(
    moves: Moves,
    places: Mapping[str, tuple[str, str]],
    exposures: Mapping[str, float | None] | None = None,
    recorded_at: float | None = None,
) -> list[Outcome]:
    """What the results are told of the tunnels of an operation. ``places`` are their names and hosts."""
    found = []
    for tunnel_id, (record, status) in moves.moved.items():
        told = Outcome(tunnel_id, *places[tunnel_id], status, reason=record.reason, rotation_id=record.rotation_id)
        exposure = (exposures or {}).get(tunnel_id)
        found.append(_as_recorded(replace(told, exposure_seconds=exposure, recorded_at=recorded_at), record))
    for tunnel_id, refused in moves.refused.items():
        told = Outcome(tunnel_id, *places[tunnel_id], refused.status, reason=str(refused), excused=refused.excused)
        found.append(_as_recorded(told, refused.record) if refused.record else told)
    return found


def _as_recorded(outcome: Outcome, record: Record) -> Outcome:
    """With what the record says of the PSK, which another run may have changed meanwhile."""
    expected, current = record.expected(), record.current
    return replace(
        outcome,
        known=True,
        psk=record.psk_of_device(),
        ipsec_id=record.ipsec_id,
        applied_on=expected.on if expected else None,
        confirmed_on=current.confirmed_on if current else None,
        generation=record.generation,
    )


def in_check(result: Result) -> Result:
    """The result as a check run shows it: no PSK was made, and nothing has happened."""
    if not result.changed and result.status != _status.FAILED:
        return result
    status = _status.PLANNED if result.changed else result.status
    return replace(result, status=status, psk=None, applied_on=None, confirmed_on=None, exposure_seconds=None)


def _ipsec_id(tunnel: Mapping[str, t.Any]) -> str | None:
    """``<account number>_<tunnel id>``. The number is found in the generated FQDN only, not in the account id."""
    labels = (tunnel["remote_identities"]["fqdn_id"] or "").split(".")
    return f"{labels[1]}_{labels[0]}" if len(labels) > 2 and labels[0] == tunnel["id"] else None


def _ike_ids(fqdn: str | None, user_fqdn: str | None, ipsec_id: str | None) -> dict[str, str | None]:
    """The identities by which the device may present itself; those that the API does not show follow from another."""
    number, dummy, suffix = (ipsec_id or "").partition("_")
    fqdn = fqdn or (f"{suffix}.{number}.ipsec.cloudflare.com" if suffix else None)
    return {"fqdn": fqdn, "user_fqdn": user_fqdn or (f"ipsec@{fqdn}" if fqdn else None), "key_id": ipsec_id}


def summary(found: Sequence[Result], waves: int, rotation_id: str, mode: str = "rotate") -> dict[str, t.Any]:
    """Counts by status and a line a tunnel, without any secret: safe for logs, set_stats and reports."""
    harmless = _status.harmless_in(mode)
    exposures = sorted(x.exposure_seconds for x in found if x.exposure_seconds is not None)
    return {
        "rotation_id": rotation_id,
        "tunnels": len(found),
        "waves": waves,
        "changed": sum(1 for x in found if x.changed),
        "failed": sum(1 for x in found if not x.is_fine(harmless)),
        "statuses": counts(found),
        "message": told_counts(found) or "no tunnels",
        "failures": failures(found, mode),
        "left_alone": left_alone(found, mode),
        "exposure_p50_seconds": round(percentile(exposures, 50), 3) if exposures else None,
        "exposure_p95_seconds": round(percentile(exposures, 95), 3) if exposures else None,
        "by_tunnel": {x.id: {key: getattr(x, key) for key in _BY_TUNNEL} for x in found},
    }


def counts(found: Sequence[Result]) -> dict[str, int]:
    """How many tunnels have each status."""
    number: dict[str, int] = {}
    for result in found:
        number[result.status] = number.get(result.status, 0) + 1
    return dict(sorted(number.items()))


_BY_TUNNEL = ("name", "host", "status", "reason", "applied_on", "confirmed_on", "generation")


def told_counts(found: Sequence[Result]) -> str:
    """The same in words: ``9 confirmed, 1 failed``."""
    return ", ".join(f"{n} {status}" for status, n in counts(found).items())


def failures(found: Sequence[Result], mode: str = "rotate") -> str:
    """One line that names the tunnels that are not done; empty when all are."""
    harmless = _status.harmless_in(mode)
    bad = [x for x in found if not x.is_fine(harmless)]
    return f"{len(bad)} of {len(found)} tunnels are not done: {_each(bad)}" if bad else ""


def postponed(found: Sequence[Result], mode: str = "rotate") -> bool:
    """Whether all tunnels that are not done wait for one that a later batch of this run finishes."""
    harmless = _status.harmless_in(mode)
    bad = [x for x in found if not x.is_fine(harmless)]
    return bool(bad) and all(x.postponed for x in bad)


def left_alone(found: Sequence[Result], mode: str = "rotate") -> str:
    """One line that names the tunnels which are no failure, and were not touched; empty when there are none."""
    harmless = _status.harmless_in(mode)
    alone = [x for x in found if x.status in _status.LEFT_ALONE and x.is_fine(harmless)]
    return f"{len(alone)} of {len(found)} tunnels were left alone: {_each(alone)}" if alone else ""


def unproven_again(found: Sequence[Result]) -> str:
    """One line that names the tunnels that were rolled back to a PSK that was never seen to work."""
    names = [x.name for x in found if x.status == _status.ROLLED_BACK and _transitions.UNPROVEN in (x.reason or "")]
    return f"{_transitions.UNPROVEN}: {few(names)}" if names else ""


def _each(found: Sequence[Result]) -> str:
    named = "; ".join(f"{x.name} {x.status}: {x.reason}" for x in found[:NAMES_SHOWN])
    return f"{named}; and {len(found) - NAMES_SHOWN} more" if len(found) > NAMES_SHOWN else named
