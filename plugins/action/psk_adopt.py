# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings PSKs that are in use already into the escrow."""

from __future__ import annotations

import typing as t

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
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adoption import ADOPTED, Candidate, Report, report
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._controller import (
    DEFAULT_LEASE,
    Arguments,
    ControllerAction,
    Result,
    printable,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._guards import of_escrow, of_names, refuse
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._moves import Mover
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._play import PlayOfTask
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Store


class ActionModule(ControllerAction):
    """One adoption, of any number of tunnels. Nothing is written to the API."""

    def spec(self) -> ArgumentSpec:
        """See the module's documentation."""
        own = {
            "escrow": {"type": "dict", "required": True},
            "source": {"type": "dict", "required": True, "no_log": True},
            "overwrite": {"type": "bool", "default": False},
            "readable": {"type": "bool", "default": False},
        }
        return connection_spec().merge(ArgumentSpec(own))

    def work(self, arguments: Arguments) -> Result:
        """Adopts what can be adopted, and tells of the rest."""
        self._check(arguments)
        kind, content = _adopt.source_of(arguments["source"])
        path = content if kind in _adopt.FILES else "adopt_psks_from.psks"
        if kind in _adopt.FILES:
            content = _adopt.read_file(content, self._decrypt, readable=arguments["readable"])
        tunnels = Client(connection_of(arguments), say=self.say_at_once).list_tunnels()
        given = _adopt.parse(kind, content, tunnels, path)
        mark_as_secret(x.psk for x in given)
        matched = _adopt.match(given, tunnels, path)
        with self.store(arguments) as store:
            found, changed = self._adopted(store, matched, tunnels, arguments["overwrite"])
        message = found.message(check=self._task.check_mode)
        if not found.failed:
            self.say(f"PSKs: {message}")
        return {
            "changed": changed,
            "failed": found.failed,
            "msg": printable(message),
            "adopted": found.names(ADOPTED),
            "tunnels": list(found.tunnels),
            "without_tunnel": list(found.without_tunnel),
            "without_key": list(found.without_key),
            "_ansible_no_log": False,
        }

    def _check(self, arguments: Arguments) -> None:
        """Raises InputError for what must be put right before anything is asked or read."""
        if REQUESTS_IMPORT_ERROR is not None:
            raise InputError(missing_required_lib("requests"))
        play = PlayOfTask(self._task, self._templar)
        hosts = play.hosts([str(self.variables["inventory_hostname"])], ())
        refuse([*of_names(play.keywords(), hosts), *of_escrow(arguments["escrow"])])
        if arguments["escrow"]["backend"] == "none":
            raise InputError("psk_rotation_escrow.backend is none, which keeps nothing: PSKs can't be adopted")

    def _decrypt(self, content: bytes) -> bytes:
        try:
            return t.cast(bytes, self._loader._vault.decrypt(content))
        except AnsibleError:
            raise InputError("the source is encrypted, and can't be opened with the vault secret of this run") from None

    def _adopted(
        self, store: Store, matched: _adopt.Matched, tunnels: list[dict[str, t.Any]], overwrite: bool
    ) -> tuple[Report, bool]:
        names = {x["id"]: x["name"] for x in tunnels}
        traces = {x["id"]: trace_of(x) for x in tunnels}
        candidates = {i: Candidate(names[i], traces[i], given.psk, given.set_on) for i, given in matched.found.items()}
        rotation_id = self.rotation_id()
        mover = Mover(store, lambda: self.claim(rotation_id, DEFAULT_LEASE), names)
        records = mover.open(list(names))
        moves = _upkeep.adopt(mover, candidates, overwrite=overwrite)
        unknown = [
            names[i]
            for i, trace in traces.items()
            if i not in candidates and not trace.missing and not (i in records and records[i].keys())
        ]
        return report(moves, names, matched.without_tunnel, unknown), moves.changed
