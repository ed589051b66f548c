# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""D: a device fails. `dev01` is the one with trouble."""

from __future__ import annotations

from tests.faults.matrix import row
from tests.faults.rows_kill import SET
from tests.faults.scene import Scene, held, wants_psks

BAD = "dev01"
# A device whose tunnels have their health checks enabled.
CHECKED = "dev02"


def _unchanged(scene: Scene, before: dict[str, str], otherwise: str, host: str = BAD) -> None:
    truth = scene.truth()
    scene.expect(all(truth[i] == before[i] for i in scene.groups[host]), otherwise)


def _rolled_back(scene: Scene, *trouble: str) -> None:
    """The device's tunnels must be back at their previous PSKs when the run ends, the others done."""
    before = scene.truth()
    scene.trouble(BAD, *trouble)
    scene.crash("failed")
    _unchanged(scene, before, "the previous PSK is not back at Cloudflare")
    scene.problems += scene.converged(but=[i for own in scene.groups.values() for i in own if own != scene.groups[BAD]])
    scene.trouble(BAD)
    scene.rerun(same_key=False)


@row("D1", "a device is unreachable before the API is called (ssh to a closed port)")
def _d1(scene: Scene) -> None:
    switch = scene.folder / "connection"
    switch.write_text("ssh", encoding="ascii")
    scene.variables["psk_rotation_reach_tasks"] = ""
    inventory = scene.own_inventory()
    inventory["all"]["hosts"][BAD] |= {
        "ansible_connection": f"{{{{ lookup('ansible.builtin.file', '{switch}') }}}}",
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
    }
    scene.inventory = inventory
    before = scene.truth()
    scene.crash("failed")
    _unchanged(scene, before, "a PSK of an unreachable device was changed")
    switch.write_text("local", encoding="ascii")
    scene.rerun()


@row("D1 reach", "a device fails its reach tasks")
def _d1_reach(scene: Scene) -> None:
    before = scene.truth()
    scene.trouble(BAD, "gone")
    scene.crash("failed")
    _unchanged(scene, before, "a PSK of an unreachable device was changed")
    scene.trouble(BAD)
    scene.rerun()


@row("D1 after", "a device is lost after the API was called")
def _d1_after(scene: Scene) -> None:
    before = scene.truth()
    scene.trouble(BAD, "lost")
    scene.crash("failed")
    _unchanged(scene, before, "the previous PSK is not back at Cloudflare")
    scene.trouble(BAD)
    scene.rerun(same_key=False)


@row("D1 all", "all devices are lost after the API was called")
def _d1_all(scene: Scene) -> None:
    for host in scene.groups:
        scene.trouble(host, "lost")
    scene.crash("failed")
    for host in scene.groups:
        scene.trouble(host)
    scene.rerun(same_key=False)


@row("D2", "a device refuses its configuration")
def _d2(scene: Scene) -> None:
    _rolled_back(scene, "refuse")


@row("D2 one", "a device refuses one tunnel")
def _d2_one(scene: Scene) -> None:
    _rolled_back(scene, "one")


@row("D2 crash", "the device task dies of an exception")
def _d2_crash(scene: Scene) -> None:
    _rolled_back(scene, "crash")


@row("D2 both", "a device refuses the rollback, too")
def _d2_both(scene: Scene) -> None:
    scene.trouble(BAD, "refuse-all")
    scene.crash("failed")
    scene.trouble(BAD)
    scene.rerun(same_key=False)


@row("D2 rollback-503", "a device refuses, and the API fails in the rollback")
def _d2_rollback(scene: Scene) -> None:
    scene.trouble(BAD, "refuse")
    scene.simulator.arm({**SET, "status": 503, "when": "before", "skip": 1, "count": 0})
    scene.crash("failed")
    scene.trouble(BAD)
    scene.rerun(same_key=False)


@row("D2 adopt", "a device refuses at the first rotation: forward only", adopt=True)
def _d2_adopt(scene: Scene) -> None:
    scene.trouble(BAD, "refuse")
    run = scene.crash("failed")
    scene.expect("no earlier PSK is known" in run.result.output, "it does not say why it can't roll back")
    scene.trouble(BAD)
    scene.rerun()


@row("D3", "a device says yes and loses the commit: the proof finds it")
def _d3(scene: Scene) -> None:
    _rolled_back(scene, "forget")


@row("D4", "the re-authentication fails")
def _d4(scene: Scene) -> None:
    _rolled_back(scene, "no-reauth")


@row("D4 all", "the re-authentication fails everywhere: the breaker stops, all is rolled back")
def _d4_all(scene: Scene) -> None:
    before = scene.truth()
    for host in scene.groups:
        scene.trouble(host, "no-reauth")
    scene.crash("failed")
    scene.expect(scene.truth() == before, "not everything was rolled back")
    for host in scene.groups:
        scene.trouble(host)
    scene.rerun(same_key=False)


def _gate(scene: Scene, sick: str) -> None:
    """Every tunnel is healthy but one; health checks that are disabled are accepted."""
    gate = {"accept": ["healthy", "degraded", "unknown"], "deadline": 1, "interval": 0.2, "window": 60}
    scene.variables["psk_rotation_health"] = gate
    for tunnel in scene.names:
        scene.simulator.patch_tunnel(tunnel, health="down" if tunnel == sick else "healthy")


@row("D5 health", "a sibling's health check is down: its partner is left alone until it is up again")
def _d5_health(scene: Scene) -> None:
    _gate(scene, scene.groups[CHECKED][1])
    before = scene.truth()
    run = scene.crash("failed")
    scene.expect("nothing backs it up now" in run.result.output, "it does not say why")
    _unchanged(scene, before, "a tunnel of a site without another one was touched", CHECKED)
    scene.simulator.patch_tunnel(scene.groups[CHECKED][1], health="healthy")
    scene.rerun()


@row("D5 after", "a tunnel's health check stays down after its rotation")
def _d5_after(scene: Scene) -> None:
    _gate(scene, scene.groups[CHECKED][0])
    before = scene.truth()
    scene.crash("failed")
    _unchanged(scene, before, "the previous PSK is not back at Cloudflare", CHECKED)
    scene.simulator.patch_tunnel(scene.groups[CHECKED][0], health="degraded")
    scene.rerun(same_key=False)


@row("D5", "a sibling's PSK is changed by somebody before the run: its partner is left alone")
def _d5(scene: Scene) -> None:
    one, other = scene.groups[BAD]
    before = scene.truth()[other]
    scene.console_sets(one)
    scene.crash("failed")
    scene.expect(scene.truth()[other] == before, "the only good tunnel of the site was touched")
    scene.rerun("failed", but=[one, other])


@row("D5 failed", "a sibling fails in the first wave: its partner is left alone")
def _d5_failed(scene: Scene) -> None:
    before = scene.truth()
    scene.trouble(BAD, "refuse-all")
    scene.crash("failed")
    changed = [i for i in scene.groups[BAD] if len(scene.generations()[i]) > 0]
    scene.expect(len(changed) == 1, f"{len(changed)} tunnels of the site were touched")
    scene.expect(before != scene.truth(), "nothing was done")
    scene.trouble(BAD)
    scene.rerun(same_key=False)


@row("D6", "both tunnels of every site are due: never in one request")
def _d6(scene: Scene) -> None:
    run = scene.crash("ok")
    for entry in run.sets:
        both = [host for host, own in scene.groups.items() if set(own) <= set(entry["tunnels"])]
        scene.expect(not both, f"both tunnels of {both} in one request")
    scene.rerun()


@row("D6 wave", "the first wave is held at the API: no other request comes while it is")
def _d6_wave(scene: Scene) -> None:
    scene.simulator.arm({**SET, "delay": 1.0})
    run = scene.crash("ok")
    order = [x["event"] for x in run.requests if wants_psks(x)]
    scene.expect(order == ["held", "settled", "settled"], f"the requests came as {order}")
    scene.expect(any(held(x) for x in run.requests), "nothing was held")
    scene.rerun()
