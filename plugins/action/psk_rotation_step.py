# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a step of the role psk_rotation."""

from __future__ import annotations

import functools
import json
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from ansible import constants as C
from ansible.module_utils.basic import missing_required_lib
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import (
    ArgumentSpec,
    connection_of,
    connection_spec,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import REQUESTS_IMPORT_ERROR, Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import NANO, format_time, parse_age
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import redact
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._controller import (
    DEFAULT_LEASE,
    Arguments,
    ControllerAction,
    Result,
    check_lease,
    printable,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._end import LastRun, ended, last_run, not_done, totals
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._gate import HealthGate, parse_gate
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._guards import (
    ACTING_MODES,
    OF_BATCH,
    OF_HOST,
    complaints,
    hooks_of,
    of_handlers,
    patterns,
    refuse,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._hook_files import acting, chain, text_of
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._names import misspelt
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import (
    DAY,
    MODES,
    NAMES_SHOWN,
    UNKNOWN_PSK,
    Account,
    Options,
    Plan,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._play import PlayOfTask
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._report import merged, plan_lines, report_of
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import in_check, postponed, summary
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._rotation import Rotation
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._run import (
    Memory,
    recall,
    remember,
    reported,
    write_plan,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Result as Published
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import State, load
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError

OPERATIONS = ("begin", "wave", "roll_back", "settle", "report")
STEPS = ("wave", "roll_back", "settle")
SITE = "ipsec_tunnels_site"
NO_STATE = "the state of this rotation is missing: start the role from the beginning"
# What a run of each mode is called.
WORDS = {"rotate": "rotation", "reconcile": "reconciliation", "confirm": "confirmation", "rollback": "rollback"}


class ActionModule(ControllerAction):
    """One step for all tunnels of a batch of hosts; the result is the state for the next one."""

    def spec(self) -> ArgumentSpec:
        """See the module's documentation."""
        own = {
            "operation": {"type": "str", "choices": list(OPERATIONS), "required": True},
            "state": {"type": "dict"},
            "escrow": {"type": "dict", "required": True},
            "lease": {"type": "int", "default": DEFAULT_LEASE},
            "force": {"type": "bool", "default": False},
            "health": {"type": "dict", "default": {}},
            "mode": {"type": "str", "choices": list(MODES), "default": "rotate"},
            "unknown_psk": {"type": "str", "choices": list(UNKNOWN_PSK), "default": "refuse"},
            "max_age": {"type": "str"},
            "wave_size": {"type": "int", "default": 1000},
            "canary": {"type": "int", "default": 0},
            "group_by": {"type": "raw", "default": "auto"},
            "max_failures": {"type": "str", "default": "0"},
            "rollback_id": {"type": "str", "default": ""},
            "rollback_within": {"type": "str", "default": "24h"},
            "plan_path": {"type": "path"},
            "preflight": {"type": "bool", "default": True},
            "index": {"type": "int", "default": 0},
        }
        return connection_spec().merge(ArgumentSpec(own, required_if=[("operation", x, ("state",)) for x in STEPS]))

    def about(self, message: str, arguments: Arguments) -> str:
        """Names the option as the role's users know it."""
        return f"psk_rotation_{message}" if message.startswith("escrow") else message

    def work(self, arguments: Arguments) -> Result:
        """Takes the step."""
        if arguments["operation"] == "report":
            return self._report(arguments)
        if arguments["operation"] == "begin" and PlayOfTask(self._task, self._templar).within_itself():
            return self._not_within()
        if REQUESTS_IMPORT_ERROR is not None:
            raise InputError(missing_required_lib("requests"))
        check_lease(arguments["lease"])
        state = _state_of(arguments, self.owner())
        options, memory = self._planned(arguments) if state is None else (None, self._memory())
        client, gate = (
            Client(connection_of(arguments), say=self.say_at_once),
            parse_gate(arguments["health"], arguments["lease"]),
        )
        with self.store(arguments, state.overlay if state else None) as store:
            rotation = Rotation(
                client=client,
                store=store,
                claim=lambda rotation_id: self.claim(rotation_id, arguments["lease"]),
                say=self.say,
                gate=HealthGate(client, gate, self.say_at_once) if gate else None,
                planned=self._reviewer(arguments, options, memory),
                force=arguments["force"],
                validate_only=self._task.check_mode,
            )
            if options is not None:
                after = rotation.begin(self.rotation_id(), options, memory, preflight=arguments["preflight"])
                memory.waves += len(after.waves)
            else:
                after = self._step(rotation, t.cast(State, state), arguments, memory)
        results = after.results
        if self._task.check_mode:
            results = {host: [in_check(x) for x in own] for host, own in results.items()}
        others = {"unclaimed": len(memory.unclaimed), "unclaimed_names": memory.unclaimed[:NAMES_SHOWN]}
        summaries = {
            host: {**summary(own, len(after.waves), after.rotation_id, after.mode), **others}
            for host, own in results.items()
        }
        if memory.is_over(self.variables.get("ansible_play_hosts") or ()):
            memory.due, memory.postponed = {**memory.due, **memory.postponed}, {}
        else:
            for host, own in summaries.items():
                memory.postponed.pop(host, None)
                if postponed(results[host], after.mode):
                    memory.postponed[host] = own["failures"]
                    own.update(failures="", left_alone=own["failures"])
        before = {host: {"failures": due, "left_alone": ""} for host, due in memory.due.items() if host not in results}
        memory.keep(results)
        memory.due = {host: failures for host, failures in memory.due.items() if host not in results}
        memory.due.update({host: x["failures"] for host, x in summaries.items() if x["failures"]})
        remember(C.DEFAULT_LOCAL_TMP, after.rotation_id, memory)
        return {**_shown(after, results, {**summaries, **before}), "silent": memory.silent}

    def _report(self, arguments: Arguments) -> Result:
        """The outcome of the host's tunnels. A task of each host: what it costs counts."""
        state: t.Any = self.variables.get("__psk_rotation_state")
        summaries = state.get("summaries") if isinstance(state, Mapping) else None
        host = str(self.variables["inventory_hostname"])
        if not isinstance(summaries, Mapping) or host not in summaries:
            raise InputError(NO_STATE)
        silent = state.get("silent") or ()
        here = [x for x in self.variables.get("ansible_play_batch") or () if x not in silent]
        # Whoever fails for others also shows how the batch has ended.
        first = not here or here[0] == host
        others = [x for x in summaries if x != host and x not in here] if first else []
        found = _reported([json.loads(summaries[x]) for x in [host, *others]], host)
        reported(C.DEFAULT_LOCAL_TMP, self.rotation_id(), found.pop("failures"))
        lines = [*found.pop("left_alone"), *(self._end(arguments) if first else ())]
        if lines:
            # In one piece: other hosts are reporting, too.
            self._display.display("\n".join(printable(x) for x in lines))
        return found

    def _memory(self) -> Memory:
        return recall(C.DEFAULT_LOCAL_TMP, self.rotation_id())

    def _step(self, rotation: Rotation, state: State, arguments: Arguments, memory: Memory) -> State:
        if arguments["operation"] == "wave":
            index, batch = arguments["index"], list(self.variables.get("ansible_play_batch") or ())
            said = _told(self._variables(batch), "__psk_rotation_reached")
            wanted = state.reach_token(index)
            asked = {x: y for x, y in said.items() if isinstance(y, Mapping) and y.get("asked") == wanted}
            return rotation.wave(state, index, batch, self._without_keys(asked, state, arguments))
        if arguments["operation"] == "roll_back":
            return rotation.roll_back(state)
        everybody = self._variables({x.host for x in state.in_flight})
        evidence = _told(everybody, "__psk_rotation_evidence")
        heard = {x for x, said in evidence.items() if isinstance(said, Mapping) and said.get("wave") == state.token}
        memory.silent = sorted({*memory.silent, *everybody} - heard)
        handlers = list(of_handlers(PlayOfTask(self._task, self._templar).keywords()))
        for host, said in evidence.items():
            wrong = [*handlers, *(f"its tasks have set a variable: {x}" for x in misspelt(everybody[host]))]
            if wrong and isinstance(said, Mapping) and said.get("done"):
                evidence[host] = {**said, "done": False, "reason": "; ".join(wrong)}
        return rotation.settle(state, evidence)

    def _without_keys(self, asked: Mapping[str, t.Any], state: State, arguments: Arguments) -> dict[str, str]:
        """Why each device that was asked is left alone, in a line and without PSKs; empty where it has answered."""
        reasons = {x: str(y["reason"] or "its tasks failed") for x, y in asked.items() if "reason" in y}
        if reasons:
            own = [x for x in state.all_results() if x.host in reasons]
            records = self._held(arguments, [x.id for x in own])
            if records is None:
                return {x: "its tasks failed" if x in reasons else "" for x in asked}
            keys = {x.psk for x in own if x.psk}.union(*(x.keys() for x in records.values()))
            lines = {x: " ".join(redact(y, keys).split()) for x, y in reasons.items()}
            reasons = {x: y.removeprefix(f"{x} is left alone: ")[:300] for x, y in lines.items()}
        return {x: reasons.get(x, "") for x in asked}

    def _not_within(self) -> Result:
        """Fails, and keeps the state of the rotation around it, which needs it to settle what is in flight."""
        self.say("psk_rotation: a task file of a rotation has begun another one, or has included a file of the role's")
        return {**(self.variables.get("__psk_rotation_state") or {}), "failed": True}

    def _planned(self, arguments: Arguments) -> tuple[Options, Memory]:
        """Looks at the play and at the hosts of this batch, before anything is asked of anybody. Raises InputError."""
        mode, play = arguments["mode"], PlayOfTask(self._task, self._templar)
        batch = list(self.variables.get("ansible_play_batch") or ())
        hosts = play.hosts(batch, (*OF_HOST, *OF_BATCH))
        wrong_with = functools.cache(lambda path: play.wrong_with(path, mode))
        refuse(complaints(play.keywords(), hosts, mode, wrong_with))
        hooks = {host.name: hooks_of(host) for host in hosts}
        memory = self._memory()
        memory.silent = []
        memory.begin_batch(play.play_id(), batch, time.time())
        everybody = self.variables.get("ansible_play_hosts_all") or batch
        others = play.hosts(
            [x for x in everybody if x not in hooks and x not in memory.claims], ("psk_rotation_tunnels", SITE)
        )
        memory.claims.update({x.name: patterns(x.values.get("psk_rotation_tunnels"), x.name) for x in others})
        memory.claims.update({name: own.tunnels for name, own in hooks.items()})
        memory.sites.update({x.name: str(x.values[SITE]) for x in (*hosts, *others) if x.values.get(SITE)})
        keeps = arguments["escrow"]["backend"] != "none"
        if not keeps and mode == "rotate":
            self._display.warning("psk_rotation: without an escrow, a crash between Cloudflare and a device loses keys")
        manual = any(own.confirmation == "manual" for own in hooks.values() if own.tunnels)
        within = parse_age(arguments["rollback_within"], "psk_rotation_rollback_within")
        options = Options(
            hosts=frozenset(batch),
            owner=self.owner(),
            devices=frozenset(name for name, own in hooks.items() if own.acts),
            verifying=frozenset(name for name, own in hooks.items() if own.verifies(mode)),
            chosen=frozenset(name for name, own in hooks.items() if own.chosen),
            hooks={name: own.files(mode, text_of) for name, own in hooks.items() if own.acts},
            reach={x: own.reach for x, own in hooks.items() if own.acts and own.reach and mode != "confirm"},
            failed_before=memory.failed(batch, mode),
            first_wave=memory.waves,
            later=memory.later(self.variables.get("ansible_play_hosts") or ()),
            max_age=parse_age(arguments["max_age"], "psk_rotation_max_age"),
            force=arguments["force"],
            wave_size=arguments["wave_size"],
            canary=arguments["canary"],
            group_by=arguments["group_by"],
            confirmation="manual" if manual else "none",
            max_failures=arguments["max_failures"],
            sites=memory.sites,
            unknown_psk=arguments["unknown_psk"] if keeps else "",
            mode=mode,
            rollback_id=arguments["rollback_id"],
            rollback_within=DAY if within is None else within,
            now=time.time_ns(),
        )
        return options, memory

    def _reviewer(
        self, arguments: Arguments, options: Options | None, memory: Memory
    ) -> Callable[[Plan, Account], None] | None:
        """Shows the plan of a check run, and writes it for a reviewer; a report looks for the last rotation."""

        def look(plan: Plan, account: Account) -> None:
            found = last_run(account.records)
            memory.last = memory.last or (found.to_dict() if found else None)

        if options is not None and options.mode == "report":
            return look
        if options is None or not self._task.check_mode or options.mode not in ACTING_MODES:
            return None

        def show(plan: Plan, account: Account) -> None:
            found = report_of(plan, account, options)
            for line in plan_lines(found):
                self.say(line)
            memory.plans.append(found.to_dict())
            if arguments["plan_path"]:
                about = {"version": 1, "rotation_id": self.rotation_id(), "mode": options.mode}
                write_plan(arguments["plan_path"], {**about, **merged(memory.plans)})

        return show

    def _end(self, arguments: Arguments) -> list[str]:
        """The totals of the batch, and of the run after its last one; the tunnels that are not done where there are."""
        memory, mode, now = self._memory(), arguments["mode"], time.time()
        hosts, began = memory.batches[-1]
        what = "report" if mode == "report" else f"{WORDS[mode]} {self.rotation_id()}"
        what = f"check run of a {WORDS[mode]}" if self._task.check_mode and mode in WORDS else what
        is_last = memory.is_over(self.variables.get("ansible_play_hosts") or ())
        found = ended(memory.tunnels, mode, None if is_last else hosts)
        lines = []
        if len(memory.batches) > 1 or not is_last:
            batch = list(ended(memory.tunnels, mode, hosts).values())
            lines.append(totals(f"batch {len(memory.batches)} of {what}", batch, now - began))
        if is_last:
            lines.append(totals(what, list(found.values()), now - memory.began))
        if is_last and memory.last:
            last = LastRun.from_dict(memory.last)
            when = format_time(int(last.began * NANO))[:19].replace("T", " ")
            lines.append(
                totals(f"last rotation {last.rotation_id}, {when} UTC", list(last.tunnels.values()), last.seconds)
            )
            found.update({i: x for i, x in last.tunnels.items() if not x.fine and i in found and found[i].fine})
        return [*lines, *not_done(found, self._held(arguments, [i for i, x in found.items() if not x.fine]), mode)]

    def _held(self, arguments: Arguments, ids: Sequence[str]) -> dict[str, Record] | None:
        """The records of these tunnels as the escrow has them now; None if it can't be read."""
        if not ids:
            return {}
        try:
            with self.store(arguments) as store:
                return {i: x.record for i, x in store.load(ids).items()}
        except EscrowError:
            return None

    def _variables(self, hosts: Iterable[str]) -> dict[str, Mapping[str, t.Any]]:
        """All variables of these hosts, which Ansible gathers each time it is asked."""
        everybody = self.variables["hostvars"]
        return {host: everybody[host] for host in hosts}


def _told(variables: Mapping[str, Mapping[str, t.Any]], name: str) -> dict[str, t.Any]:
    """What hosts have reported. Hosts that have not are left out."""
    found = {host: own.get(name) for host, own in variables.items()}
    return {host: said for host, said in found.items() if said is not None}


def _reported(summaries: Sequence[Mapping[str, t.Any]], host: str) -> Result:
    """The outcome of a host's tunnels: the first summary is its own, others are of hosts that have left the play."""
    failures = [str(x["failures"]) for x in summaries if x["failures"]]
    message = "; ".join(failures) or f"{host}: {summaries[0]['message']}"
    # Ansible sets no fact of a task that fails, and would only print it. The arguments it prints with -vvv.
    told: Result = {"ansible_facts": {"psk_rotation_summary": summaries[0]}}
    if failures:
        told = {"invocation": {"module_args": {"operation": "report", "summaries": list(summaries)}}}
    return {
        **told,
        "changed": False,
        "failed": bool(failures),
        "failures": failures,
        "left_alone": [str(x["left_alone"]) for x in summaries if x["left_alone"]],
        "msg": printable(message),
        "_ansible_no_log": False,
    }


def _state_of(arguments: Arguments, owner: str) -> State | None:
    """The state that this run's step before has made; None at the beginning. Raises InputError."""
    if arguments["operation"] == "begin":
        return None
    try:
        state = load(arguments["state"]["memory"])
    except (KeyError, TypeError, ValueError):
        raise InputError(NO_STATE) from None
    if state.owner != owner:
        raise InputError("this state is another run's: start the role from the beginning")
    return state


def _shown(
    state: State, results: Mapping[str, Sequence[Published]], summaries: Mapping[str, Mapping[str, t.Any]]
) -> Result:
    """The state as Ansible carries it: what is large as JSON, because Ansible looks at each value that it carries."""
    flying = {x.id for x in state.in_flight}
    told = {host: [x.to_dict() for x in own] for host, own in results.items()}
    wave_results = {host: [x for x in own if x["id"] in flying] for host, own in told.items()} if flying else {}
    wave_hosts = [sorted({x.host for x in wave}) for wave in state.waves] if state.devices else []
    last = state.first_wave + len(wave_hosts)
    labels = [f"wave {number} of {last}" for number in range(state.first_wave + 1, last + 1)]
    inside = sum(len(x) for x in wave_hosts)
    # A host outside of a wave costs three skipped tasks or, at the price of one more for the others, one.
    apart = (len(state.results) * len(wave_hosts) - inside) * 2 > inside
    to_reach = state.to_reach()
    reach_first = "wave_reached.yml" if to_reach else "wave.yml"
    together = [reach_first, *["wave.yml"] * (len(wave_hosts) - 1)] if wave_hosts else ["nothing.yml"]
    following = dict.fromkeys(() if apart else to_reach, "reach.yml")
    if state.to_roll_back:
        following = dict.fromkeys(state.results, "roll_back.yml")
    return {
        "rotation_id": state.rotation_id,
        "wave_hosts": wave_hosts,
        # Where there is no wave, an include of nothing shows less than a skipped one does.
        "wave_labels": labels or ["nothing for devices to do"],
        "wave_tasks": ["wave_of_some.yml"] * len(wave_hosts) if wave_hosts and apart else together,
        "tasks_inside": reach_first,
        "results": {host: json.dumps(own) for host, own in told.items()},
        "wave_results": {host: json.dumps(own) for host, own in wave_results.items() if own},
        "hooks": {host: chain(files) for host, files in state.hooks.items()},
        "acting": acting(state.hooks, [host for host, own in wave_results.items() if own]),
        "reach": to_reach,
        "reach_token": state.reach_token(state.turn),
        "next": following,
        "summaries": {host: json.dumps(found) for host, found in summaries.items()},
        "rolling_back": len(state.to_roll_back),
        "token": state.token,
        "changed": state.changed,
        "memory": state.dump() if state.devices else "",
    }
