# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings PSKs that are in use already into the escrow."""

from __future__ import annotations

import functools
import json
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible.errors import AnsibleError
from ansible.module_utils.basic import missing_required_lib
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import (
    ArgumentSpec,
    connection_of,
    connection_spec,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import REQUESTS_IMPORT_ERROR, Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import trace_of
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import mark_as_secret
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _adopt, _upkeep
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adopt_verify import (
    MODE,
    Asked,
    judged,
    load,
    of_hosts,
    results_of,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adoption import ADOPTED, Candidate, report
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._claims import owners_of
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._controller import (
    DEFAULT_LEASE,
    Arguments,
    ControllerAction,
    Result,
    printable,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._guards import (
    OF_BATCH,
    OF_HOST,
    complaints,
    hooks_of,
    of_escrow,
    of_names,
    patterns,
    refuse,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._hook_files import acting, text_of
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._names import misspelt
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._play import Host, PlayOfTask
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Flying, new_token
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_overlay import OverlayStore

# adopt does all at once; ask hands over what devices are to verify, and end adopts what they have not contradicted.
OPERATIONS = ("adopt", "ask", "end")


class ActionModule(ControllerAction):
    """One adoption, of any number of tunnels. Nothing is written to the API."""

    def spec(self) -> ArgumentSpec:
        """See the module's documentation."""
        own = {
            "operation": {"type": "str", "choices": list(OPERATIONS), "default": "adopt"},
            "state": {"type": "dict", "no_log": True},
            "escrow": {"type": "dict", "required": True},
            "source": {"type": "raw", "no_log": True},
            "overwrite": {"type": "bool", "default": False},
            "readable": {"type": "bool", "default": False},
        }
        needed = [
            ("operation", "adopt", ("source",)),
            ("operation", "ask", ("source",)),
            ("operation", "end", ("state",)),
        ]
        return connection_spec().merge(ArgumentSpec(own, required_if=needed))

    def work(self, arguments: Arguments) -> Result:
        """Adopts what can be adopted, and tells of the rest."""
        if REQUESTS_IMPORT_ERROR is not None:
            raise InputError(missing_required_lib("requests"))
        if arguments["operation"] == "end":
            return self._ended(arguments, self._asked(arguments))
        hosts = self._check(arguments)
        kind, content = _adopt.source_of(arguments["source"])
        path = content if kind in _adopt.FILES else "adopt_psks_from.psks"
        if kind in _adopt.FILES:
            content = _adopt.read_file(content, self._decrypt, readable=arguments["readable"])
        tunnels = Client(connection_of(arguments), say=self.say_at_once).list_tunnels()
        given = _adopt.parse(kind, content, tunnels, path)
        mark_as_secret(x.psk for x in given)
        matched = _adopt.match(given, tunnels, path)
        if arguments["operation"] == "ask":
            return self._ask(arguments, tunnels, hosts, Asked(self.owner(), new_token(), path, given))
        candidates = _candidates(matched, tunnels)
        return self._adopted(arguments, matched, tunnels, candidates, None)

    # -- with proof ---------------------------------------------------------------------------------------------------

    def _ask(
        self, arguments: Arguments, tunnels: Sequence[Mapping[str, t.Any]], hosts: Sequence[Host], asked: Asked
    ) -> Result:
        """What the verify tasks of the devices need. Nothing is written."""
        hooks = {host.name: hooks_of(host) for host in hosts}
        play = PlayOfTask(self._task, self._templar)
        everybody = list(self.variables.get("ansible_play_hosts_all") or hooks)
        others = play.hosts([x for x in everybody if x not in hooks], ("psk_rotation_tunnels",))
        claims = {x.name: patterns(x.values.get("psk_rotation_tunnels"), x.name) for x in others}
        owners = owners_of(tunnels, {**claims, **{name: own.tunnels for name, own in hooks.items()}})
        candidates = _candidates(_adopt.match(asked.given, tunnels, asked.path), tunnels)
        names = {x["id"]: x["name"] for x in tunnels}
        with self.store(arguments) as store:
            mover = self._mover(OverlayStore(store), names)
            mover.open(list(names))
            moves = _upkeep.adopt(mover, candidates, overwrite=arguments["overwrite"])
            records = mover.known()
        present = set(self.variables.get("ansible_play_hosts") or hooks)
        wanted = {i: owners[i] for i in moves.moved if i in owners}
        asked = replace(
            asked,
            in_flight=[Flying(i, names[i], host, "") for i, host in wanted.items() if host in hooks],
            lost={i: host for i, host in wanted.items() if host not in hooks and host not in present},
            others=[i for i in candidates if owners.get(i, "") in present.difference(hooks)],
        )
        results = results_of(tunnels, owners, records, frozenset(hooks))
        flying = {x.id for x in asked.in_flight}
        told = {host: [x.to_dict() for x in own] for host, own in results.items()}
        in_wave = {host: [x for x in own if x["id"] in flying] for host, own in told.items()}
        return {
            "changed": False,
            "results": {host: json.dumps(own) for host, own in told.items()},
            "wave_results": {host: json.dumps(own) for host, own in in_wave.items() if own},
            "acting": acting(
                {name: own.files(MODE, text_of) for name, own in hooks.items()},
                [host for host, own in in_wave.items() if own],
            ),
            "token": asked.token,
            "memory": asked.dump(),
        }

    def _asked(self, arguments: Arguments) -> Asked:
        """What this run's step before has asked of the devices. Raises InputError."""
        try:
            asked = load(arguments["state"]["memory"])
        except (KeyError, TypeError, ValueError):
            raise InputError("the state of this adoption is missing: start the role from the beginning") from None
        if asked.owner != self.owner():
            raise InputError("this state is another run's: start the role from the beginning")
        return asked

    def _ended(self, arguments: Arguments, asked: Asked) -> Result:
        """Adopts what no device has contradicted."""
        tunnels = Client(connection_of(arguments), say=self.say).list_tunnels()
        matched = _adopt.match(asked.given, tunnels, asked.path)
        mark_as_secret(x.psk for x in asked.given)
        everybody = self.variables["hostvars"]
        evidence: dict[str, t.Any] = {}
        for host in {x.host for x in asked.in_flight}:
            own = everybody[host]
            said = own.get("__psk_rotation_evidence")
            wrong = [f"its tasks have set a variable: {x}" for x in misspelt(own)]
            if wrong and isinstance(said, Mapping):
                said = {**said, "done": False, "reason": "; ".join(wrong)}
            evidence[host] = said
        candidates, proven = judged(asked, evidence, _candidates(matched, tunnels))
        return self._adopted(arguments, matched, tunnels, candidates, proven)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _adopted(
        self,
        arguments: Arguments,
        matched: _adopt.Matched,
        tunnels: Sequence[Mapping[str, t.Any]],
        candidates: Mapping[str, Candidate],
        proven: Mapping[str, bool] | None,
    ) -> Result:
        names = {x["id"]: x["name"] for x in tunnels}
        traces = {x["id"]: trace_of(x) for x in tunnels}
        with self.store(arguments) as store:
            mover = self._mover(store, names)
            records = mover.open(list(names))
            moves = _upkeep.adopt(mover, candidates, overwrite=arguments["overwrite"])
        unknown = [
            names[i]
            for i, trace in traces.items()
            if i not in matched.found and not trace.missing and not (i in records and records[i].keys())
        ]
        found = report(moves, names, matched.without_tunnel, unknown, proven)
        message = found.message(check=self._task.check_mode)
        if not found.failed:
            self.say(f"PSKs: {message}")
        return {
            "changed": moves.changed,
            "failed": found.failed,
            "msg": printable(message),
            "adopted": found.names(ADOPTED),
            "tunnels": list(found.tunnels),
            "proven": list(found.proven),
            "unproven": list(found.unproven),
            "without_tunnel": list(found.without_tunnel),
            "without_key": list(found.without_key),
            "_ansible_no_log": False,
        }

    def _mover(self, store: Store, names: Mapping[str, str]) -> Mover:
        rotation_id = self.rotation_id()
        return Mover(store, lambda: self.claim(rotation_id, DEFAULT_LEASE), names)

    def _check(self, arguments: Arguments) -> list[Host]:
        """The hosts whose devices may be asked. Raises InputError for what must be put right before that."""
        play = PlayOfTask(self._task, self._templar)
        if arguments["operation"] == "ask":
            batch = list(self.variables.get("ansible_play_batch") or ())
            hosts = play.hosts(batch, (*OF_HOST, *OF_BATCH))
            wrong_with = functools.cache(lambda path: play.wrong_with(path, MODE))
            found = complaints(play.keywords(), hosts, MODE, wrong_with)
            refuse(found or list(of_hosts(hosts)))
        else:
            hosts = play.hosts([str(self.variables["inventory_hostname"])], ())
            refuse([*of_names(play.keywords(), hosts), *of_escrow(arguments["escrow"])])
        if arguments["escrow"]["backend"] == "none":
            raise InputError("psk_rotation_escrow.backend is none, which keeps nothing: PSKs can't be adopted")
        return hosts

    def _decrypt(self, content: bytes) -> bytes:
        try:
            return t.cast(bytes, self._loader._vault.decrypt(content))
        except AnsibleError:
            raise InputError("the source is encrypted, and can't be opened with the vault secret of this run") from None


def _candidates(matched: _adopt.Matched, tunnels: Sequence[Mapping[str, t.Any]]) -> dict[str, Candidate]:
    by_id = {x["id"]: x for x in tunnels}
    return {
        i: Candidate(by_id[i]["name"], trace_of(by_id[i]), given.psk, given.set_on)
        for i, given in matched.found.items()
    }
