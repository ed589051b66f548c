# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the module ipsec_tunnels does: one list, all refusals before the first write, one result a tunnel."""

from __future__ import annotations

import threading
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _tunnel, _tunnel_conflicts, _tunnel_plan
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
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import censor
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_apply import (
    KeptError,
    UnknownFields,
    Written,
    read_back,
    settled,
    warnings_of,
    write,
)

MAX_CONCURRENCY = 16
GIVE_UP_AFTER = 3
# How many tunnels of each action the message names.
NAMED = 10

Wanted = Mapping[str, t.Any]


@dataclass(frozen=True)
class Step(_tunnel_conflicts.Item):
    """What has to be done for one tunnel, which ``name`` and ``tunnel_id`` identify in the result."""

    tunnel_id: str | None = None
    name: str | None = None
    purged: bool = False


@dataclass(frozen=True)
class Done:
    """What came of a step: what was written, or why not. ``error`` is None for what was not tried."""

    step: Step
    written: Written | None = None
    reason: str | None = None
    error: CloudflareError | None = None

    @property
    def failed(self) -> bool:
        """Whether the step failed, or was not tried."""
        return self.reason is not None


def ensure_tunnels(module: AnsibleModule, client: Client) -> Result:
    """The module ipsec_tunnels: fetch once, plan all, write (or ask the API to validate) what differs, normalise."""
    params = module.params
    wanted = params["tunnels"]
    check_fleet(wanted, params)
    steps = plan_fleet(wanted, client.list_tunnels(), params)
    psks = [item.pop("psk") for item in wanted if item.get("psk") is not None]
    done = Run(client, params, validate_only=module.check_mode).carry_out(steps)
    told = Told(done, _tunnel_conflicts.replacements(steps))
    result: Result = {
        "changed": any(told.changed(x) for x in done),
        "ipsec_tunnels": [told.result(x) for x in done],
    }
    if module._diff:
        result["diff"] = [told.diff(x.step) for x in done if told.changed(x)]
    result = censor(result, psks)
    module.no_log_values.difference_update(psks)
    for warning in warnings_of(x.written for x in done if x.written is not None):
        module.warn(censor(warning, psks))
    message = censor(told.summary(), psks)
    if any(x.failed for x in done):
        raise PartialFailure(message, result, next((x.error for x in done if x.error is not None), None))
    return {**result, "msg": message}


# -- before the first write -------------------------------------------------------------------------------------------


def check_fleet(wanted: Sequence[Wanted], params: Wanted) -> None:
    """Raises InputError for everything that is wrong whatever the account holds."""
    if not 1 <= params["concurrency"] <= MAX_CONCURRENCY:
        raise InputError(f"concurrency must be 1 to {MAX_CONCURRENCY}")
    if params["purge_max"] < 0:
        raise InputError("purge_max must not be negative")
    if params["purge"] and not wanted:
        raise InputError("tunnels is empty, so purge would delete every tunnel; name at least one")
    problems: list[str] = []
    seen: dict[tuple[str, str], str] = {}
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
            plan = _tunnel_plan.plan(current, item, update_psk=params["update_psk"], where=where)
            known = current or item
            steps.append(Step(where, plan, item.get("psk"), known.get("id"), known.get("name")))
    _refuse(problems)
    if params["purge"]:
        surplus = [x for x in tunnels if x["id"] not in named]
        if len(surplus) > params["purge_max"]:
            raise InputError(
                f"purge would delete {len(surplus)} tunnels ({_tunnel.few([str(x.get('name')) for x in surplus])}), but"
                f" purge_max is {params['purge_max']}; nothing was done. Name them in tunnels, or raise purge_max"
            )
        for x in surplus:
            gone = _tunnel_plan.plan_absent(x)
            steps.append(Step(f"tunnel {x.get('name')!r}", gone, None, x["id"], x.get("name"), purged=True))
    _tunnel_conflicts.check(steps, tunnels, psk_charset=params["psk_charset"])
    return steps


# -- the writes -------------------------------------------------------------------------------------------------------


class Run:
    """Does all steps: creations and updates, then a read of what they leave open, then deletions, and a purge last.

    A failed step does not stop the others, but for an error that every further one would meet. A tunnel stays when the
    one that replaces it could not be made, and nothing is purged when anything has failed.
    """

    def __init__(self, client: Client, params: Wanted, *, validate_only: bool) -> None:
        self._client = client
        self._params = params
        self._concurrency: int = params["concurrency"]
        self._validate_only = validate_only
        self._own = threading.local()
        self._brake = _Brake()
        self._unknown = UnknownFields()

    def carry_out(self, steps: Sequence[Step]) -> list[Done]:
        """What came of each step, in the order of the steps."""
        done: dict[int, Done] = {}

        def take(numbers: Iterable[int], held: t.Callable[[Step], str | None]) -> None:
            chosen = list(numbers)
            done.update(zip(chosen, self._all(lambda step: self._do(step, held(step)), [steps[i] for i in chosen])))

        deleting = [i for i, x in enumerate(steps) if x.plan.action == "delete"]
        take((i for i, x in enumerate(steps) if x.plan.action != "delete"), lambda step: None)
        done = dict(zip(done, self._settled(list(done.values()))))
        not_made = {id(x.step): x.step.where for x in done.values() if x.failed}
        new = {old: not_made.get(id(x)) for old, x in _tunnel_conflicts.replacements(steps).items()}

        def for_lack_of_its_replacement(step: Step) -> str | None:
            where = new.get(step.tunnel_id or "")
            return None if where is None else f"{where}, which replaces it, has failed"

        take((i for i in deleting if not steps[i].purged), for_lack_of_its_replacement)
        any_failed = any(x.failed for x in done.values())
        take(
            (i for i in deleting if steps[i].purged),
            lambda step: "nothing is purged when anything has failed" if any_failed else None,
        )
        return [done[number] for number in range(len(steps))]

    def _all(self, work: t.Callable[[Step], Done], steps: Sequence[Step]) -> list[Done]:
        if self._concurrency == 1 or not steps:
            return [work(step) for step in steps]
        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(work, steps))

    def _do(self, step: Step, held: str | None) -> Done:
        reason = held or self._brake.reason
        if step.plan.changed and reason is not None:
            return Done(step, reason=f"not tried: {reason}")
        try:
            client = self._own_client() if step.plan.changed else self._client
            written = write(client, step.plan, validate_only=self._validate_only, unknown=self._unknown)
        except Exception as exc:  # pylint: disable=broad-exception-caught
            done = _failed(step, exc)
        else:
            done = Done(step, written)
        if step.plan.changed:
            self._brake.note(done.error)
        return done

    def _own_client(self) -> Client:
        """A client of this thread."""
        if self._concurrency == 1:
            return self._client
        if not hasattr(self._own, "client"):
            self._own.client = Client(connection_of(self._params), reserve=self._concurrency)
        client: Client = self._own.client
        return client

    def _settled(self, done: Sequence[Done]) -> list[Done]:
        """The same after one read of all that the answers leave open."""
        written = [x.written for x in done if x.written is not None and x.written.must_read]
        if not written:
            return list(done)
        found = read_back(lambda: {x["id"]: x for x in self._client.list_tunnels()}, written)

        def settle(one: Done) -> Done:
            if one.written is None:
                return one
            try:
                return replace(one, written=settled(one.written, found))
            except CloudflareError as exc:
                return _failed(one.step, exc)

        return [settle(x) for x in done]


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


def _failed(step: Step, exc: Exception) -> Done:
    error = exc if isinstance(exc, CloudflareError) else internal_error(exc)
    return Done(step, reason=error.message, error=error)


# -- what is told -----------------------------------------------------------------------------------------------------


class Told:
    """Results, diffs and the message. ``replaced`` has what replaces a tunnel, by its id."""

    def __init__(self, done: Sequence[Done], replaced: Mapping[str, _tunnel_conflicts.Item]) -> None:
        self._done = done
        self._new_of = {old: str((new.plan.after or {}).get("name")) for old, new in replaced.items()}
        self._old_of = {new: str(x.step.name) for x in done if (new := self._new_of.get(x.step.tunnel_id or ""))}

    @staticmethod
    def changed(done: Done) -> bool:
        """Whether the tunnel was changed, would be, or may have been although the step failed."""
        if not done.failed:
            return done.step.plan.changed
        if isinstance(done.error, KeptError):
            return done.error.changed
        return done.error is not None and done.error.outcome_unknown

    def result(self, done: Done) -> Result:
        """One entry of the module's result."""
        step = done.step
        shown = done.written.tunnel if done.written is not None else step.plan.before
        if isinstance(done.error, KeptError):
            shown = done.error.tunnel
        return {
            "id": (shown or {}).get("id") or step.tunnel_id,
            "name": (shown or {}).get("name") or step.name,
            "action": step.plan.action,
            "changed": self.changed(done),
            "failed": done.failed,
            "purged": step.purged,
            "replaces": self._old_of.get(str(step.name)) if step.plan.action == "create" else None,
            "replaced_by": self._new_of.get(step.tunnel_id or "") if step.plan.action == "delete" else None,
            "reason": done.reason,
            "failure": None if done.error is None else done.error.failure,
            "ipsec_tunnel": shown,
        }

    def diff(self, step: Step) -> Result:
        """The diff of one tunnel, under its name and, for a replacement, that of the other."""
        header = f"ipsec_tunnel {self._called(step)}"
        return {**_tunnel_plan.diff(step.plan), "before_header": header, "after_header": header}

    def summary(self) -> str:
        """One line for ``msg``: what was done to which tunnels, and the first failures."""
        parts = []
        for action in ("create", "update", "delete"):
            names = [self._named(x.step) for x in self._done if x.step.plan.action == action and not x.failed]
            if names:
                parts.append(f"{len(names)} {action} ({_tunnel.few(names, '; ', NAMED)})")
        unchanged = sum(1 for x in self._done if not x.step.plan.changed and not x.failed)
        if unchanged:
            parts.append(f"{unchanged} none")
        failed = [x for x in self._done if x.failed]
        if failed:
            tried = [f"{x.step.where}: {x.reason}" for x in failed if x.error is not None]
            left = len(failed) - len(tried)
            count = f"{len(failed)} failed" + (f", {left} of them not tried" if left else "")
            parts.append(f"{count} ({_tunnel.few(tried, '; ')})")
        return f"{len(self._done)} tunnels: {', '.join(parts) or 'nothing to do'}"

    def _named(self, step: Step) -> str:
        fields = _tunnel_plan.changes(step.plan)
        return f"{self._called(step)}: {', '.join(fields)}" if fields else self._called(step)

    def _called(self, step: Step) -> str:
        plan = step.plan
        name = str((plan.after or plan.before or {}).get("name"))
        if plan.action == "create" and name in self._old_of:
            psk = "" if plan.sends_psk else " and without a PSK"
            return f"{name}, which replaces {self._old_of[name]} as a new tunnel with another id{psk}"
        if plan.action == "delete" and self._new_of.get(step.tunnel_id or ""):
            return f"{name}, which is replaced by {self._new_of[step.tunnel_id or '']}"
        return name


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
        raise InputError(_tunnel.few(problems, "; "))
