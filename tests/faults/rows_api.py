# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A: the API errs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.faults.matrix import ROWS, Row, row, skip
from tests.faults.rows_kill import ESCROW, REQUEST, SET
from tests.faults.scene import Scene, held


def _answer(
    code: str,
    injected: str,
    *faults: Mapping[str, Any],
    expected: str = "any",
    retries: int = 0,
    devices: bool = False,
    timeout: float | None = None,
    same_key: bool = True,
) -> None:
    def act(scene: Scene) -> None:
        scene.variables["psk_rotation_retries"] = retries
        if timeout is not None:
            scene.variables["psk_rotation_timeout"] = timeout
        # The module repeats a request whose outcome is not known, so a fault that shall be seen stays until the re-run.
        scene.simulator.arm(*[{"count": 1 if expected == "ok" else 0, **x} for x in faults])
        scene.crash(expected)
        scene.rerun(same_key=same_key)

    ROWS.append(Row(code, injected, act, devices=devices))


for _status in (500, 502, 503, 504):
    for _when in ("before", "after"):
        _fault = {**SET, "status": _status, "when": _when}
        _end = "failed" if _when == "before" else "any"
        _answer(f"A1 {_status}-{_when}", f"{_status} {_when} the change", _fault, expected=_end)
_answer(
    "A1 healed", "503 after the change, repeated", {**SET, "status": 503, "when": "after"}, expected="ok", retries=2
)
_answer(
    "A1 devices",
    "502 after the change of the second wave",
    {**SET, "status": 502, "when": "after", "skip": 1},
    devices=True,
)
_answer("A2", "time-out after the change", {**SET, "hang": True, "when": "after"}, timeout=2)
_answer("A2 before", "time-out before the change", {**SET, "hang": True}, timeout=2, expected="failed")
_answer("A2 dropped", "connection dropped after the change", {**SET, "drop": True, "when": "after"}, devices=True)
_answer("A3", "connection reset within the answer", {**SET, "reset_mid_body": True})
_answer("A4", "200 with success false, applied", {**SET, "success_false": True, "when": "after"})
_answer("A4 before", "200 with success false, not applied", {**SET, "success_false": True}, expected="failed")
_answer("A5", "200 with two tunnels unapplied", {**SET, "unapplied": 2}, expected="failed")
_answer("A5 devices", "200 with two tunnels unapplied", {**SET, "unapplied": 2}, devices=True, expected="failed")
_answer("A6", "two tunnels in neither map, applied", {**SET, "omit": 2, "when": "after"})
_answer("A6 before", "two tunnels in neither map, not applied", {**SET, "omit": 2, "when": "before"}, expected="failed")
_answer("A7 short", "truncated answer", {**SET, "truncate": "announced"})
_answer("A7 closed", "truncated answer that looks whole", {**SET, "truncate": "closed"})
_answer("A7 html", "an error page after the change", {**SET, "html": True, "when": "after"})
_answer("A8", "429 with Retry-After", {**SET, "status": 429, "headers": {"Retry-After": "1"}}, expected="ok", retries=2)
_answer("A8 bare", "429 without Retry-After, no retry left", {**SET, "status": 429}, expected="failed")
_answer(
    "A9 401",
    "the token is revoked before the second wave",
    {**SET, "status": 401, "skip": 1},
    devices=True,
    expected="failed",
)
_answer("A9 403", "403 before the second wave", {**SET, "status": 403, "skip": 1}, devices=True, expected="failed")


@row("A10", "a tunnel is deleted between list and set", devices=False)
def _a10(scene: Scene) -> None:
    gone: list[str] = []

    def delete(_running: object) -> None:
        entry = next(x for x in scene.simulator.journal() if held(x))
        first = next(iter(scene.names)) if not entry["tunnels"] else entry["tunnels"][0]
        gone.append(first)
        scene.simulator.patch_tunnel(first, delete=True)
        scene.simulator.clear_faults()

    scene.simulator.arm({**SET, "hang": True})
    run = scene.crashed(scene.play_until(held, delete), "failed")
    scene.expect(scene.names[gone[0]] in run.result.output, "the deleted tunnel is not named")
    scene.rerun()


_answer("A11", "the answer shows another PSK than was sent", {**SET, "echo_other_psk": True})
# Without a time nobody can tell a key's age: it is rotated once more, as is safe.
for _name, _what in (
    ("missing", "is missing from then on"),
    ("unchanged", "does not move"),
    ("backwards", "goes backwards"),
):
    _answer(f"A12 {_name}", f"last_generated_on {_what}; rotated again", {**SET, "metadata": _name}, same_key=False)
_answer("A12 future", "clock of the API an hour ahead", {**SET, "metadata": "skew:3600"})
_answer("A12 past", "clock of the API an hour behind", {**SET, "metadata": "skew:-3600"})
_answer("A13", "the next reads are stale", {**SET, "stale_reads": 3}, expected="ok")


@row("A13 killed", "killed before the reply is recorded, and the next reads are stale")
def _a13_killed(scene: Scene) -> None:
    scene.simulator.arm({**SET, "stale_reads": 3})
    scene.crash(env=scene.point("http", REQUEST, "after"))
    scene.rerun()


@row("A14", "the list of tunnels is empty")
def _a14(scene: Scene) -> None:
    scene.simulator.arm({"route": "list", "empty_list": True})
    run = scene.crash("failed")
    scene.expect(not run.sets, "the API was asked to set PSKs")
    scene.rerun()


skip("A14 pages", "a list in several pages", "the API does not page this list; the unit tests cover the refusal")


@row("A15 names", "two tunnels of one name in the list")
def _a15_names(scene: Scene) -> None:
    scene.simulator.arm({"route": "list", "duplicate_names": True})
    run = scene.crash("failed")
    scene.expect(not run.sets, "the API was asked to set PSKs")
    scene.rerun()


@row("A15 ids", "one id twice in the list")
def _a15_ids(scene: Scene) -> None:
    scene.simulator.arm({"route": "list", "duplicate_ids": True})
    run = scene.crash("failed")
    scene.expect(not run.sets, "the API was asked to set PSKs")
    scene.rerun()


@row("A15 renamed", "a tunnel is renamed while its PSK is set", devices=False)
def _a15_renamed(scene: Scene) -> None:
    tunnel = next(iter(scene.names))

    def rename(_running: object) -> None:
        scene.simulator.patch_tunnel(tunnel, name="renamed-meanwhile")
        scene.simulator.clear_faults()

    scene.simulator.arm({**SET, "hang": True})
    scene.crashed(scene.play_until(held, rename), "ok")
    scene.rerun()


def _foreign(scene: Scene, tunnel: str) -> None:
    """It must be reported and not overwritten, twice, and be healed with force."""
    before = scene.truth()[tunnel]
    others = [i for own in scene.groups.values() if tunnel in own for i in own]
    run = scene.rerun("failed", but=others)
    scene.expect(scene.names[tunnel] in run.result.output, "the tunnel is not named")
    scene.expect(scene.store.read()[tunnel]["state"] == "stuck", "the record is not stuck")
    scene.expect(scene.truth()[tunnel] == before, "the foreign PSK was overwritten")
    forced = scene.play(variables={"psk_rotation_force": True})
    scene.expect(forced.done and not scene.converged(), "force does not heal it")


@row("A16", "somebody has set a PSK in the dashboard; stays stuck until forced")
def _a16(scene: Scene) -> None:
    tunnel = next(iter(scene.names))
    scene.console_sets(tunnel)
    scene.crash("failed")
    _foreign(scene, tunnel)


@row("A16 killed", "killed after CF_APPLIED, then somebody sets a PSK; stays stuck until forced")
def _a16_killed(scene: Scene) -> None:
    tunnel = next(iter(scene.names))
    scene.crash(env=scene.point("os.replace", ESCROW, "after", 2))
    scene.console_sets(tunnel, later=60)
    _foreign(scene, tunnel)


@row("A17", "validate_only fails for one tunnel")
def _a17(scene: Scene) -> None:
    scene.simulator.arm({"route": "psk_set", "validate_only": True, "unapplied": 1})
    run = scene.crash("failed")
    scene.expect(not run.sets, "the API was asked to set PSKs")
    scene.expect(scene.after_crash == f"{len(scene.names)} idle", "records were written")
    scene.rerun()
