# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""C: several runs at once, and what a play's own options do."""

from __future__ import annotations

import time
from typing import Any

from tests.faults.matrix import row
from tests.faults.rows_kill import REQUEST, SET
from tests.faults.scene import BaoStore, Scene, held

ROLE = "magicwan.cloudflare.psk_rotation"
RESCUED = [
    {
        "name": "Rotate, with a rescue of the user's",
        "hosts": "all",
        "gather_facts": False,
        "any_errors_fatal": True,
        "tasks": [
            {
                "name": "Try",
                "block": [{"name": "Rotate", "ansible.builtin.include_role": {"name": ROLE}}],
                "rescue": [
                    {"name": "Note it", "ansible.builtin.debug": {"msg": "rescued"}},
                    {"name": "Fail after all", "ansible.builtin.fail": {"msg": "the rotation failed"}},
                ],
            }
        ],
    }
]


def _together(scene: Scene, plays: list[dict[str, Any]]) -> None:
    """Runs at the same time; whatever they end with, no tunnel may get two keys."""
    since = scene.last_entry()
    runs = [scene.finish(x, since, store=False) for x in [scene.start(**options) for options in plays]]
    scene.expect(all(x.rc in (0, 2) for x in runs), f"the runs ended with {[x.rc for x in runs]}")
    scene.check_kept()
    scene.after_crash = scene.states()
    for tunnel, made in scene.generations().items():
        scene.expect(len(made) <= 1, f"{scene.names[tunnel]} got {len(made)} keys")
    scene.rerun()


@row("C1", "two runs at once")
def _c1(scene: Scene) -> None:
    _together(scene, [{}, {}])


@row("C1 kv2", "two runs at once, records in OpenBao", bao=True)
def _c1_kv2(scene: Scene) -> None:
    assert isinstance(scene.store, BaoStore)
    _together(scene, [{}, {}])


@row("C2", "three AWX slices, each with an implicit localhost that rotates everything", devices=False)
def _c2(scene: Scene) -> None:
    slices: list[Any] = [{"all": {"hosts": {f"site{n}": {} for n in range(start, 4, 3)}}} for start in range(3)]
    play = {"inventory": None, "variables": {"psk_rotation_hosts": "localhost", "psk_rotation_tunnels": "all"}}
    _together(scene, [{**play, "inventory": x} for x in slices])


@row("C2 devices", "three AWX slices of the devices")
def _c2_devices(scene: Scene) -> None:
    hosts = list(scene.groups)
    _together(scene, [{"inventory": scene.own_inventory(hosts[n::3])} for n in range(3)])


@row("C3", "a lease expires while its run waits for the API: another controller takes over, same key", devices=False)
def _c3(scene: Scene) -> None:
    scene.variables["psk_rotation_lease"] = 3
    scene.simulator.arm({**SET, "hang": True})
    since = scene.last_entry()
    first = scene.start()
    scene.await_entry(first, held, since)
    begun = scene.pending()
    until = max(x["lease"]["until"] for x in scene.store.read().values() if x["lease"])
    while time.time() < until:
        time.sleep(0.05)
    second = scene.play(env={"FAULT_HOSTNAME": "another-controller"})
    scene.expect(all(scene.truth()[i] == psk for i, psk in begun.items()), "the second run made other keys")
    scene.expect(second.rc in (0, 2), f"the second run ended with {second.rc}")
    scene.simulator.clear_faults()
    scene.finish(first, since)
    scene.after_crash = scene.states()
    scene.rerun()


@row("C4", "serial batches, killed in the second")
def _c4(scene: Scene) -> None:
    scene.variables["psk_rotation_serial"] = 2
    scene.crash(env=scene.point("http", REQUEST, "after", 3))
    scene.rerun()


@row("C4 run", "serial batches: run_once tasks run once a batch, and each key is set once")
def _c4_run(scene: Scene) -> None:
    scene.variables["psk_rotation_serial"] = 2
    run = scene.crash("ok")
    scene.expect(sum(len(x["tunnels"]) for x in run.sets) == len(scene.names), "a key was set twice")
    scene.rerun()


@row("C5", "any_errors_fatal and a rescue around the role, one device refuses: no other is left between two keys")
def _c5(scene: Scene) -> None:
    scene.variables["psk_rotation_max_failures"] = "100%"
    scene.trouble("dev01", "refuse")
    run = scene.crash("failed", play=RESCUED)
    scene.expect("rescued" in run.result.output, "the rescue did not run")
    scene.problems += scene.converged()
    scene.trouble("dev01")
    scene.rerun(same_key=False, play=RESCUED)


@row("C6", "no failure is allowed and the first wave has one: no other wave begins")
def _c6(scene: Scene) -> None:
    scene.variables |= {"psk_rotation_max_failures": 0, "psk_rotation_wave_size": 2}
    scene.trouble("dev01", "refuse")
    run = scene.crash("failed")
    scene.expect(len(run.sets) == 2, f"{len(run.sets)} requests, of which one is the rollback")
    scene.expect("stopped" in run.result.output, "it does not say that it stopped")
    scene.trouble("dev01")
    scene.rerun(same_key=False)


@row("C7", "run again after success: nothing changes")
def _c7(scene: Scene) -> None:
    scene.crash("ok")
    records, truth = scene.store.read(), scene.truth()
    run = scene.rerun()
    scene.expect(run.result.changed == 0, f"{run.result.changed} tasks changed")
    scene.expect(not run.sets and scene.truth() == truth, "a key was set")
    scene.expect(scene.store.read() == records, "the records were written")


def _check(scene: Scene) -> None:
    folder = scene.folder / "escrow"
    before = {x: (x.read_bytes(), x.stat().st_mtime_ns) for x in folder.glob("*")} if folder.exists() else {}
    devices = {x: x.read_bytes() for x in scene.devices_folder.glob("*")}
    records, truth, writes = scene.store.read(), scene.truth(), scene.simulator.writes()
    run = scene.crash("ok", check=True)
    after = {x: (x.read_bytes(), x.stat().st_mtime_ns) for x in folder.glob("*")} if folder.exists() else {}
    scene.expect(not run.sets and scene.simulator.writes() == writes, "the API was written to")
    scene.expect(after == before and scene.store.read() == records, "the store was written to")
    scene.expect({x: x.read_bytes() for x in scene.devices_folder.glob("*")} == devices, "a device was written to")
    scene.expect(scene.truth() == truth, "a key has changed")
    scene.rerun()


@row("C8", "a check run writes nothing anywhere")
def _c8(scene: Scene) -> None:
    _check(scene)


@row("C8 kv2", "a check run writes nothing to OpenBao", bao=True)
def _c8_kv2(scene: Scene) -> None:
    versions = scene.bench.bao.secret(_path(scene))["metadata"]["version"]
    run = scene.play(check=True)
    scene.expect(run.done, "the check run failed")
    scene.expect(scene.bench.bao.secret(_path(scene))["metadata"]["version"] == versions, "a version was written")
    _check(scene)


def _path(scene: Scene) -> str:
    assert isinstance(scene.store, BaoStore)
    return scene.store.secret(next(iter(scene.names))).removeprefix("secret/data/")
