# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The steps of a rotation, each one task of the role psk_rotation: plan, set a wave, turn it back, settle it.

A step takes the state that the one before has returned, and returns the next. The state is a plain dict, since Ansible
carries it from task to task; what must survive a crash is in the escrow. It holds PSKs, by host in ``results``.

Without device tasks there is nothing to wait for between waves, so that the first step does them all.
"""

from __future__ import annotations

import secrets
import time
import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk, _psk_batch, _tunnel
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError, InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import (
    generate_psk,
    mark_as_secret,
    psks_in,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _plan, _results
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Claim
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_backend import Backend
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._gate import HealthGate
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._operations import Escrow

Entry = dict[str, t.Any]
State = dict[str, t.Any]

# Statuses of tunnels whose devices have to act.
IN_FLIGHT = ("applied", "planned", "rolling_back")
PREPARE, ROLL_BACK, CONFIRM = "prepare", "roll_back", "confirm"
_OPERATIONS = {"rollback": ROLL_BACK, "confirm": CONFIRM}


def new_rotation_id() -> str:
    """Such as ``20261124T060000Z-1f2e3d4c``."""
    return time.strftime("%Y%m%dT%H%M%SZ-", time.gmtime()) + secrets.token_hex(4)


@dataclass(frozen=True)
class Rotation:
    """The steps, over one account and one escrow.

    ``claim`` makes the claim of a rotation id, as of now; it raises EscrowError when the run has ended, so that a step
    that was left behind begins nothing more. ``say`` shows a line of progress. ``gate`` judges the health of tunnels
    before and after their devices act. With ``dry`` the API only validates, and nothing is written.
    """

    client: Client
    backend: Backend
    claim: Callable[[str], Claim]
    say: Callable[[str], None]
    gate: HealthGate | None = None
    force: bool = False
    dry: bool = False

    # -- steps ------------------------------------------------------------------------------------------------------

    def begin(
        self,
        options: _plan.Options,
        claims: Mapping[str, Sequence[str]],
        *,
        has_devices: bool,
        preflight: bool,
    ) -> State:
        """Plans the rotation of this batch of hosts, and carries it out where no device has tasks of its own.

        Nothing is written before the whole plan stands and, with ``preflight``, the API has validated it.
        """
        tunnels = [_tunnel.view(x) for x in self.client.list_tunnels()]
        rotation_id = new_rotation_id()
        escrow = self._escrow(rotation_id)
        records = escrow.open(_plan.scope(tunnels, claims, options.hosts, options.group_by))["tunnels"]
        planned = _plan.plan(tunnels, records, claims, options)
        state = _first_state(rotation_id, options, planned, has_devices, tunnels, records)
        if self.gate is not None:
            state["groups"] = planned["groups"]
            self._check_gate(self.gate, state)
        if planned["foreign"] and options.mode != "report":
            state["changed"] = escrow.stick(planned["foreign"])["changed"]
        if preflight and options.mode != "rollback" and not self.dry:
            self._validate([entry for wave in state["waves"] for entry in wave])
        if not has_devices:
            for index in range(len(state["waves"])):
                before, state = state, self.wave(state, index, options.hosts)
                state["changed"] = state["changed"] or before["changed"]
        return state

    def wave(self, state: State, index: int, hosts: Collection[str]) -> State:
        """Sets the PSKs of wave ``index``, as far as it may go now and its devices are among ``hosts``."""
        chosen = _plan.wave_of(state, index, state["statuses"], hosts)
        tunnels, skipped = chosen["tunnels"], chosen["skipped"]
        if self.gate is not None and state["mode"] != "rollback":
            unsafe = self.gate.unsafe(tunnels, state["groups"])
            skipped += [{**x, "status": "unhealthy", "reason": unsafe[x["id"]]} for x in tunnels if x["id"] in unsafe]
            tunnels = [x for x in tunnels if x["id"] not in unsafe]
        if state["has_devices"]:
            tunnels = self._as_reported_now(tunnels)
        going = {
            **state,
            "operation": _OPERATIONS.get(state["mode"], PREPARE),
            "turn_back": [],
            "progress": _progress(f"wave {index + 1} of {len(state['waves'])}", state["waves"][index]),
        }
        return self._fly(going, tunnels, skipped, f"{state['rotation_id']}/{index}", wave=index + 1)

    def turn_back(self, state: State) -> State:
        """Sets the earlier PSKs of what the last wave could not bring about."""
        progress = _progress(f"{state['progress']['what']}, turning back", state["turn_back"])
        turning = {**state, "operation": ROLL_BACK, "turn_back": [], "progress": progress}
        return self._fly(turning, state["turn_back"], [], f"{state['token']}/back")

    def settle(self, state: State, evidence: Mapping[str, Mapping[str, t.Any]]) -> State:
        """Judges the wave in flight by what its devices have reported, and writes it down."""
        found = _plan.verdicts(state["in_flight"], evidence, state["token"])
        done, failed = found["done"], found["failed"]
        if self.gate is not None and state["operation"] != ROLL_BACK:
            done, failed = self._through(self.gate, state, done, failed)
        escrow = self._escrow(state["rotation_id"])
        waits = state["confirmation"] == "manual" and state["operation"] != CONFIRM
        settled = escrow.release(done) if waits else escrow.confirm(done)
        outcomes = failed + settled["tunnels"] + settled["refused"]
        if state["operation"] != PREPARE:
            left = escrow.release(failed)
            outcomes += left["tunnels"] + left["refused"]
        after = _after(state, outcomes, changed=settled["changed"])
        turning = failed if state["operation"] == PREPARE and not self.dry else []
        self._tell(after)
        return {**after, "in_flight": [], "turn_back": turning}

    # -- parts ------------------------------------------------------------------------------------------------------

    def _check_gate(self, gate: HealthGate, state: State) -> None:
        if state["waves"] and not state["has_devices"]:
            raise InputError(
                "psk_rotation_health needs device or verify tasks: without them no tunnel authenticates anew"
            )
        gate.check_members(state["groups"])

    def _through(
        self, gate: HealthGate, state: State, done: list[Entry], failed: list[Entry]
    ) -> tuple[list[Entry], list[Entry]]:
        """Takes the tunnels that do not get healthy from those that are done to those that have failed."""
        if self.dry:
            self.say("health of the wave: not waited for in a check run")
            return done, failed
        members = {m["id"]: m for own in state["groups"].values() for m in own}
        reasons = gate.failing([members[x["id"]] for x in done])
        sick = [{**x, "status": "failed", "reason": reasons[x["id"]]} for x in done if x["id"] in reasons]
        return [x for x in done if x["id"] not in reasons], failed + sick

    def _escrow(self, rotation_id: str) -> Escrow:
        return Escrow(self.backend, self.claim(rotation_id), dry=self.dry)

    def _fly(
        self, state: State, tunnels: Sequence[Entry], skipped: Sequence[Entry], token: str, wave: int | None = None
    ) -> State:
        """Keeps the PSKs safe, sends them, writes down what the API said."""
        rotation_id, outcomes = state["rotation_id"], list(skipped)
        in_flight: list[Entry] = []
        changed = False
        if tunnels:
            claim = replace(self.claim(rotation_id), wave=wave)
            escrow = Escrow(self.backend, claim, dry=self.dry)
            if state["operation"] == ROLL_BACK:
                prepared = escrow.roll_back(tunnels)
            else:
                prepared = escrow.prepare(tunnels, force=self.force)
            said, failure = self._send(prepared["psks"], tunnels, rotation_id)
            alone = not state["has_devices"]
            # Even if the run was killed meanwhile and this process left behind: what it has done is the truth.
            now = time.time()
            claim = replace(claim, now=now, until=now + claim.until - claim.now)
            recorded = Escrow(self.backend, claim, dry=self.dry).record(
                prepared["tunnels"],
                said,
                failure,
                promote=alone and state["confirmation"] == "none",
                release=alone and state["confirmation"] == "manual",
            )
            outcomes += prepared["refused"] + recorded["tunnels"] + recorded["refused"]
            in_flight = [x for x in recorded["tunnels"] if x["status"] in IN_FLIGHT]
            changed = prepared["changed"] or recorded["changed"] or any(x["status"] != "unapplied" for x in said)
        after = {**_after(state, outcomes, changed=changed), "in_flight": in_flight, "token": token}
        if not (after["has_devices"] and in_flight):
            self._tell(after)
        return after

    def _tell(self, state: State) -> None:
        """Shows how the wave has ended, in a line."""
        what, since, ids = state["progress"]["what"], state["progress"]["since"], set(state["progress"]["ids"])
        ended = _psk.summary([x for own in state["results"].values() for x in own if x["id"] in ids])
        count = f"{len(ids)} tunnel{'' if len(ids) == 1 else 's'}"
        self.say(f"{what}: {count}, {ended}, {time.time() - since:.1f} s")

    def _send(
        self, psks: Sequence[Entry], tunnels: Sequence[Entry], rotation_id: str
    ) -> tuple[list[Entry], str | None]:
        """Sends PSKs that are safe already. Returns an outcome for each, with the PSK if Cloudflare may hold it."""
        if not psks:
            return [], None
        self.claim(rotation_id)  # the run may have been killed since
        reported = {x["id"]: x.get("reported") for x in tunnels}
        batch = [{"id": x["id"], "psk": x["psk"] or generate_psk(), "baseline": reported[x["id"]]} for x in psks]
        mark_as_secret(psks_in(batch))
        outcomes, failure = _psk_batch.set_batch(self.client, batch, validate_only=self.dry)
        said = [
            {"id": x["id"], **outcomes[x["id"]], "psk": x["psk"] if outcomes[x["id"]]["status"] in _psk.LIVE else None}
            for x in batch
        ]
        return said, failure.message if failure else None

    def _validate(self, entries: Sequence[Entry]) -> None:
        """Has the API look at the whole plan, with PSKs that nobody will use. Raises CloudflareError."""
        if not entries:
            return
        batch = [{"id": x["id"], "psk": generate_psk(), "baseline": x["reported"]} for x in entries]
        outcomes, failure = _psk_batch.set_batch(self.client, batch, validate_only=True)
        if failure is not None:
            raise failure
        refused = [{**x, **outcomes[x["id"]]} for x in entries if outcomes[x["id"]]["status"] != "planned"]
        if refused:
            raise CloudflareError(f"the API would refuse: {_psk.summary(refused)}; nothing was written")

    def _as_reported_now(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """The entries with the times that the account shows now: devices take their time, and people their keys.

        A tunnel that is gone is left to the API, which refuses it by name.
        """
        if not entries:
            return entries
        now = {x["id"]: _psk.generated_on(x) for x in self.client.list_tunnels()}
        return [{**x, "reported": now.get(x["id"], x["reported"])} for x in entries]


def _first_state(
    rotation_id: str,
    options: _plan.Options,
    planned: Mapping[str, t.Any],
    has_devices: bool,
    tunnels: Sequence[Mapping[str, t.Any]],
    records: Sequence[Mapping[str, t.Any]],
) -> State:
    entries = {x["id"]: x for part in (*planned["waves"], planned["unchanged"], planned["left"]) for x in part}
    by_id = {x["id"]: x for x in records}
    results: dict[str, list[Entry]] = {host: [] for host in options.hosts}
    for tunnel in tunnels:
        entry = entries.get(tunnel["id"])
        if entry is not None:
            results[entry["host"]].append(_results.first_result(tunnel, entry, by_id.get(tunnel["id"])))
    waiting = [x for x in planned["left"] if x["status"] == "waiting"]
    return {
        "rotation_id": rotation_id,
        "mode": options.mode,
        "operation": _OPERATIONS.get(options.mode, PREPARE),
        "confirmation": options.confirmation,
        "has_devices": has_devices,
        "waves": planned["waves"],
        "limit": planned["limit"],
        "failed_before": planned["failed_before"],
        "statuses": {},
        "results": results,
        "in_flight": waiting if options.mode == "confirm" else [],
        "turn_back": [],
        "token": f"{rotation_id}/confirm",
        "progress": _progress("confirmation", waiting),
        "changed": False,
    }


def _progress(what: str, tunnels: Sequence[Entry]) -> Entry:
    return {"what": what, "since": time.time(), "ids": [x["id"] for x in tunnels]}


def _after(state: State, outcomes: Sequence[Entry], *, changed: bool) -> State:
    """The state once these outcomes are known, the latest of a tunnel counting."""
    latest: dict[str, list[Entry]] = {}
    for outcome in outcomes:
        latest.setdefault(outcome["id"], []).append(outcome)
    results = {
        host: [_with(result, latest.get(result["id"], ())) for result in own] for host, own in state["results"].items()
    }
    statuses = {**state["statuses"], **{x["id"]: x["status"] for x in outcomes}}
    return {**state, "results": results, "statuses": statuses, "changed": changed}


def _with(result: Entry, outcomes: Sequence[Entry]) -> Entry:
    for outcome in outcomes:
        result = _results.result_after(result, outcome)
    return result
