# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""K: the run is killed. Everything of it dies, as at a container's end, unless a row says otherwise."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.matrix import ROWS, Row, row
from tests.faults.scene import BaoStore, FileStore, Scene, held, settled

ESCROW = r"/psks\.yml$"
TEMPORARY = r"/\.psks\.yml\.\d+\.tmp$"
SET = {"route": "psk_set", "validate_only": False}
STEP = "Store the PSKs and set them at Cloudflare"
SETTLE = "Record the devices' results"
# The request that sets the PSKs of a wave, and not the one that only validates.
REQUEST = r"^POST \S+/ipsec_tunnels/psk$"


def _at_task(code: str, injected: str, task: str, when: str, nth: int = 1, **options: Any) -> None:
    def act(scene: Scene) -> None:
        scene.crash(env=scene.kill_at(task, when, nth))
        scene.rerun()

    ROWS.append(Row(code, injected, act, **options))


def _at_call(code: str, injected: str, call: str, match: str, when: str, nth: int, **options: Any) -> None:
    def act(scene: Scene) -> None:
        scene.crash(env=scene.point(call, match, when, nth))
        scene.rerun()

    ROWS.append(Row(code, injected, act, **options))


_at_task("K1", "before the lease is taken", STEP, "start")
_at_call("K2", "lease being taken: the store's lock is held, nothing is written", "fcntl.flock", "lock$", "after", 2)
_at_call("K3 torn", "during the write of PREPARED: before its fsync", "os.fsync", TEMPORARY, "before", 1)
_at_call("K3 rename", "during the write of PREPARED: before its rename", "os.replace", ESCROW, "before", 1)
_at_call("K3 renamed", "during the write of PREPARED: after its rename", "os.replace", ESCROW, "after", 1)
_at_call("K3 kv2", "CAS of PREPARED sent, its reply lost", "http", "POST .*/data/", "after", 3, bao=True, devices=False)
_at_call("K4", "PREPARED, before the API is called", "http", REQUEST, "before", 1)
_at_call("K4 adopt", "the same at the first rotation of all", "http", REQUEST, "before", 1, adopt=True)
_at_call("K4 local", "the same on localhost alone", "http", REQUEST, "before", 1, devices=False)


def _in_flight(scene: Scene, how: str, when: str) -> None:
    scene.simulator.arm({**SET, "hang": True, "when": when})
    wanted = settled if when == "after" else held
    end = "kill_all" if how == "all" else "kill_group"
    scene.crashed(scene.play_until(wanted, lambda running: getattr(running, end)()))


@row("K5", "request sent and applied, no reply")
def _k5(scene: Scene) -> None:
    _in_flight(scene, "all", "after")
    scene.rerun()


@row("K5 before", "request sent, not applied yet")
def _k5_before(scene: Scene) -> None:
    _in_flight(scene, "all", "before")
    scene.rerun()


@row("K5 adopt", "request sent and applied, no reply, at the first rotation of all", adopt=True)
def _k5_adopt(scene: Scene) -> None:
    _in_flight(scene, "all", "after")
    scene.rerun()


@row("K5 local", "request sent and applied, no reply, on localhost alone", devices=False)
def _k5_local(scene: Scene) -> None:
    _in_flight(scene, "all", "after")
    scene.rerun()


@row("K5 kv2", "request sent and applied, no reply, records in OpenBao", bao=True)
def _k5_kv2(scene: Scene) -> None:
    _in_flight(scene, "all", "after")
    scene.rerun()


@row("K5 group", "only the process group is killed: the step lives on, and its late answer comes after the re-run")
def _k5_group(scene: Scene) -> None:
    scene.simulator.arm({**SET, "hang": True, "when": "after"})
    run = scene.play_until(settled, lambda running: running.kill_group())
    scene.expect(run.rc == -9, "not killed")
    scene.after_crash = scene.states()
    scene.rerun()
    scene.simulator.clear_faults()
    scene.expect(not scene.converged(), "the late answer changed something")


@row("K5 late", "as before, but its request is applied after the re-run: the same key, and the step writes it down")
def _k5_late(scene: Scene) -> None:
    scene.simulator.arm({**SET, "hang": True, "when": "before"})
    run = scene.play_until(held, lambda running: running.kill_group())
    scene.expect(run.rc == -9, "not killed")
    scene.after_crash = scene.states()
    scene.rerun()
    truth, since = scene.truth(), scene.last_entry()
    scene.simulator.clear_faults()
    entries = scene.simulator.journal(since=since, wait=20)
    late = [i for x in entries if settled(x) for i in x["tunnels"]]
    scene.expect(late, "the late request was not applied")
    scene.expect(scene.truth() == truth, "the late request brought another key")
    scene.await_store(lambda records: all(records[i]["history"][-1]["event"] == "applied late" for i in late))
    scene.rerun()


_at_call("K6", "reply received, before it is recorded", "http", REQUEST, "after", 1)
_at_call("K6 rename", "reply received, its record not yet renamed", "os.replace", ESCROW, "before", 2)
_at_call("K6 adopt", "reply received, not recorded, at the first rotation", "http", REQUEST, "after", 1, adopt=True)
_at_call("K6 local", "reply received, not recorded, on localhost alone", "http", REQUEST, "after", 1, devices=False)
_at_call("K6 wave2", "reply received, before it is recorded, in the second wave", "http", REQUEST, "after", 2)
_at_call("K7", "after CF_APPLIED is written", "os.replace", ESCROW, "after", 2)
_at_call("K7 adopt", "the same at the first rotation", "os.replace", ESCROW, "after", 2, adopt=True)
_at_task("K7 step", "after the step that has applied and recorded", STEP, "end")
_at_task("K8", "when two of four devices are configured", "Configure the device", "end", 2)
_at_task("K8 wave2", "when two devices of the second wave are configured", "Configure the device", "end", 6)
_at_task("K9", "after the devices, before the proof", "Prove the new PSK", "start")
_at_task("K10", "after the proof, before it is written down", SETTLE, "start")
_at_call("K11", "the end of the rotation renamed, its end not seen", "os.replace", ESCROW, "after", 3)
_at_call("K11 kv2", "the end of the rotation sent, its reply lost", "http", "POST .*/data/", "after", 10, bao=True)


def _rollback_in_flight(scene: Scene, when: str) -> None:
    scene.trouble("dev01", "refuse")
    scene.simulator.arm({**SET, "hang": True, "when": when, "skip": 1})
    scene.crashed(scene.play_until(lambda x: x["fault"] == "hang", lambda running: running.kill_all()))
    scene.trouble("dev01")
    scene.rerun(same_key=False)


@row("K12", "during the rollback's request, applied")
def _k12(scene: Scene) -> None:
    _rollback_in_flight(scene, "after")


@row("K12 before", "during the rollback's request, not applied")
def _k12_before(scene: Scene) -> None:
    _rollback_in_flight(scene, "before")


def _rollback_killed(code: str, injected: str, env: Callable[[Scene], dict[str, str]]) -> None:
    @row(code, injected)
    def _act(scene: Scene) -> None:
        scene.trouble("dev01", "refuse")
        scene.crash(env=env(scene))
        scene.trouble("dev01")
        scene.rerun(same_key=False)


_rollback_killed(
    "K13", "rollback applied, before it is recorded", lambda scene: scene.point("http", REQUEST, "after", 2)
)
# Written before: the wave prepared, applied, ended but for one device, that one's rollback prepared.
_rollback_killed(
    "K13 device",
    "rollback recorded, the device does not have it yet",
    lambda scene: scene.point("os.replace", ESCROW, "after", 5),
)
_rollback_killed(
    "K13 done",
    "the device has its earlier PSK, before the rollback is ended",
    lambda scene: scene.kill_at(SETTLE, "start", 2),
)


@row("K14", "killed in the request, then twice more while the re-runs reconcile")
def _k14(scene: Scene) -> None:
    _in_flight(scene, "all", "after")
    first = scene.after_crash
    scene.crash(env=scene.point("http", REQUEST, "before"))
    scene.crash(env=scene.point("http", REQUEST, "after"))
    scene.after_crash = f"{first}; {scene.after_crash}"
    scene.rerun()


@row("K15", "killed as AWX does it, three times at random, one after another")
def _k15(scene: Scene) -> None:
    chance = random.Random(15)
    seen = []
    for _time in range(3):
        env = scene.kill_at("", "any", chance.randint(scene.bench.events // 4, scene.bench.events // 2), "group")
        scene.crash("any", env=env)
        seen.append(scene.after_crash)
    scene.after_crash = "; ".join(seen)
    scene.rerun()


def _move(scene: Scene) -> dict[str, str]:
    """Another controller: another name and home, and of the first one only the escrow."""
    env = {"FAULT_HOSTNAME": "another-controller", "HOME": str(scene.folder / "another-home")}
    Path(env["HOME"]).mkdir()
    if isinstance(scene.store, FileStore):
        records = scene.store.path.read_bytes()
        scene.store.path.unlink()
        scene.store = FileStore(scene.folder / "moved" / "psks.yml", scene.store.account)
        scene.store.path.parent.mkdir(mode=0o700)
        scene.store.path.write_bytes(records)
    return env


def _moved(scene: Scene) -> None:
    scene.crash(env=scene.point("http", REQUEST, "after"))
    env = _move(scene)
    in_flight = set(scene.pending())
    early = scene.play(env=env)
    scene.expect(early.rc == 2, f"the run that could not finish ended with {early.rc}")
    records = scene.store.read()
    untouched = not any(in_flight & set(x["tunnels"]) for x in early.sets)
    scene.expect(in_flight and untouched, "the lease of the other machine's run was not respected")
    scene.expect(all(records[i]["lease"] for i in in_flight), "the lease was dropped")
    for tunnel in in_flight:  # its end, without the wait; C3 waits
        records[tunnel]["lease"] = {**(records[tunnel]["lease"] or {"owner": "nobody"}), "until": time.time()}
    scene.store.write(records)
    scene.rerun(env=env)


@row("K6 moved", "reply received, not recorded; another controller has only the escrow, and waits for the lease's end")
def _k6_moved(scene: Scene) -> None:
    _moved(scene)


@row("K6 moved-kv2", "the same with OpenBao", bao=True, devices=False)
def _k6_moved_kv2(scene: Scene) -> None:
    assert isinstance(scene.store, BaoStore)
    _moved(scene)
