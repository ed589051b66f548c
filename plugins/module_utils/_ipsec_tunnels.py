# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the module ipsec_tunnels does: one list, all refusals before the first write, one result a tunnel."""

from __future__ import annotations

import threading
import typing as t
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import connection_of
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    AuthError,
    CloudflareError,
    InputError,
    RateLimitError,
    ServerError,
    TransportError,
    internal_error,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import PartialFailure, Result
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import censor, check_psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_apply import apply_plan

MAX_CONCURRENCY = 16
GIVE_UP_AFTER = 3
SHOWN = 5

Wanted = Mapping[str, t.Any]


@dataclass(frozen=True)
class Step:
    """What has to be done for one tunnel. ``where`` names it in messages."""

    where: str
    tunnel_id: str | None
    name: str | None
    purged: bool
    plan: _tunnel.Plan


@dataclass(frozen=True)
class Done:
    """What came of a step: its part of the result, and the error when the API, or the way to it, failed."""

    step: Step
    result: Result
    error: CloudflareError | None


def ensure_tunnels(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_tunnels: fetch once, plan all, write (or ask the API to validate) what differs, normalise."""
    params = module.params
    wanted = params["tunnels"]
    check_fleet(wanted, params)
    steps = plan_fleet(wanted, client.list_tunnels(), params)
    psks = [item.pop("psk") for item in wanted if item.get("psk") is not None]
    concurrency = params["concurrency"]

    def new_client() -> Client:
        return client if concurrency == 1 else Client(connection_of(params), reserve=concurrency)

    done = carry_out(steps, new_client, validate_only=module.check_mode, concurrency=concurrency)
    result: Result = {
        "changed": any(x.result["changed"] for x in done),
        "ipsec_tunnels": [x.result for x in done],
    }
    if module._diff:
        result["diff"] = [_diff(x.step) for x in done if x.result["changed"]]
    result = censor(result, psks)
    module.no_log_values.difference_update(psks)
    failed = [x for x in done if x.result["failed"]]
    message = censor(summary(done), psks)
    if failed:
        raise PartialFailure(message, result, next((x.error for x in failed if x.error is not None), None))
    return {**result, "msg": message}


def check_fleet(wanted: Sequence[Wanted], params: Wanted) -> None:
    """Raises InputError for everything that is wrong whatever the account holds."""
    if not 1 <= params["concurrency"] <= MAX_CONCURRENCY:
        raise InputError(f"concurrency must be 1 to {MAX_CONCURRENCY}")
    if params["purge_max"] < 0:
        raise InputError("purge_max must not be negative")
    if params["purge"] and not wanted:
        raise InputError("tunnels is empty, so that purge would delete every tunnel; name at least one")
    problems: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    psks: dict[str, str] = {}
    for index, item in enumerate(wanted):
        where = _where(index, item)
        with _collected(problems):
            if not (item.get("id") or item.get("name")):
                raise InputError(f"{where}: id or name is missing")
            _tunnel.check_options(item, where)
            for key in ("id", "name"):
                if item.get(key):
                    other = seen.setdefault((key, item[key]), where)
                    if other is not where:
                        raise InputError(f"{where}: {other} has this {key}, too")
            psk = item.get("psk")
            if psk is not None:
                check_psk(psk, where, params["psk_charset"])
                if psks.setdefault(psk, where) is not where:
                    raise InputError(f"{where}: {psks[psk]} has the same PSK; each tunnel needs its own")
    _refuse(problems)


def plan_fleet(wanted: Sequence[Wanted], tunnels: Sequence[Wanted], params: Wanted) -> list[Step]:
    """A step for each item, in their order, then one for each tunnel to purge, in the account's. Raises InputError."""
    account = _tunnel.Index(tunnels)
    steps: list[Step] = []
    problems: list[str] = []
    named: dict[str, str] = {}
    for index, item in enumerate(wanted):
        where = _where(index, item)
        with _collected(problems):
            try:
                current = account.find(tunnel_id=item.get("id"), name=item.get("name"))
            except InputError as exc:
                raise InputError(f"{where}: {exc.message}") from None
            if current is not None and named.setdefault(current["id"], where) is not where:
                raise InputError(f"{where}: {named[current['id']]} is the same tunnel ({current['id']})")
            plan = _tunnel.plan(current, item, update_psk=params["update_psk"], where=where)
            known = current or item
            steps.append(Step(where, known.get("id"), known.get("name"), False, plan))
    _refuse(problems)
    if params["purge"]:
        surplus = [x for x in tunnels if x["id"] not in named]
        if len(surplus) > params["purge_max"]:
            raise InputError(
                f"purge would delete {len(surplus)} tunnels ({_few([str(x.get('name')) for x in surplus], ', ')}), but "
                f"purge_max is {params['purge_max']}; nothing was done. Name them in tunnels, or raise purge_max"
            )
        steps += [
            Step(f"tunnel {x.get('name')!r}", x["id"], x.get("name"), True, _tunnel.plan_absent(x)) for x in surplus
        ]
    return steps


def carry_out(
    steps: Sequence[Step], new_client: t.Callable[[], Client], *, validate_only: bool, concurrency: int
) -> list[Done]:
    """Does all steps, in their order unless several at a time; what is purged comes last. A failed step does not stop
    the others, but for an error that every further one would meet."""
    own = threading.local()
    brake = _Brake()

    def do(step: Step) -> Done:
        if step.plan.changed and brake.reason is not None:
            return _done(step, None, None, reason=f"not tried: {brake.reason}")
        try:
            if step.plan.changed and not hasattr(own, "client"):
                own.client = new_client()
            after = apply_plan(getattr(own, "client", t.cast(Client, None)), step.plan, validate_only=validate_only)
        except CloudflareError as exc:
            done = _done(step, None, exc, reason=exc.message)
        except Exception as exc:  # pylint: disable=broad-exception-caught
            error = internal_error(exc)
            done = _done(step, None, error, reason=error.message)
        else:
            done = _done(step, after, None, reason=None)
        if step.plan.changed:
            brake.note(done.error)
        return done

    if concurrency == 1:
        return [do(step) for step in steps]
    found: list[Done] = []
    with ThreadPoolExecutor(concurrency) as pool:
        for purged in (False, True):
            found += pool.map(do, [x for x in steps if x.purged is purged])
    return found


def summary(done: Sequence[Done]) -> str:
    """One line for ``msg``: how many of each action, and the first failures."""
    failed = [x for x in done if x.result["failed"]]
    counts = Counter(x.step.plan.action for x in done if not x.result["failed"])
    parts = [f"{counts[action]} {action}" for action in ("create", "update", "delete", "none") if counts[action]]
    if not failed:
        return f"{len(done)} tunnels: {', '.join(parts) or 'nothing to do'}"
    tried = [f"{x.step.where}: {x.result['reason']}" for x in failed if x.error is not None]
    parts.append(f"{len(failed)} failed")
    if len(tried) < len(failed):
        parts[-1] += f", {len(failed) - len(tried)} of them not tried"
    return f"{len(done)} tunnels: {', '.join(parts)} ({_few(tried, '; ')})"


class _Brake:
    """Whether going on makes sense: not once our credentials or our rate are refused, nor when nothing answers."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._in_a_row = 0

    def note(self, error: CloudflareError | None) -> None:
        """What came of the latest request."""
        self._in_a_row = self._in_a_row + 1 if isinstance(error, (ServerError, TransportError)) else 0
        if error is None or self.reason is not None:
            return
        if isinstance(error, (AuthError, RateLimitError)):
            self.reason = error.detail or error.message
        elif self._in_a_row >= GIVE_UP_AFTER:
            self.reason = f"{GIVE_UP_AFTER} tunnels in a row had no usable answer"


def _done(step: Step, after: Result | None, error: CloudflareError | None, *, reason: str | None) -> Done:
    """The result of a step. ``changed`` is also true when the write may have been carried out."""
    failed = reason is not None
    plan = step.plan
    shown = plan.before if failed else after
    result = {
        "id": (shown or {}).get("id") or step.tunnel_id,
        "name": (shown or {}).get("name") or step.name,
        "action": plan.action,
        "changed": error is not None and error.outcome_unknown if failed else plan.changed,
        "failed": failed,
        "purged": step.purged,
        "reason": reason,
        "failure": None if error is None else error.failure,
        "ipsec_tunnel": shown,
    }
    return Done(step, result, error)


def _diff(step: Step) -> Result:
    header = f"ipsec_tunnel {(step.plan.after or step.plan.before or {}).get('name')}"
    return {**_tunnel.diff(step.plan), "before_header": header, "after_header": header}


def _where(index: int, item: Wanted) -> str:
    named = item.get("name") or item.get("id")
    return f"tunnels[{index}] {named!r}" if named else f"tunnels[{index}]"


@contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except InputError as exc:
        problems.append(exc.message)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise InputError(_few(problems, "; "))


def _few(texts: Sequence[str], separator: str) -> str:
    """The first of many texts."""
    more = f"{separator}and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return separator.join(texts[:SHOWN]) + more
