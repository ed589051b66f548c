# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""E: what is evidence. Answers that prove less than they seem to, leases, groups, names, and the escrow's file."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import requests

from tests.faults.matrix import ROWS, Row, row
from tests.faults.rows_kill import REQUEST, SET
from tests.faults.scene import BaoStore, FileStore, Scene, held, settled

ELSEWHERE = {"FAULT_HOSTNAME": "another-controller"}
CONFIRM = [{"name": "Confirm", "import_playbook": "magicwan.cloudflare.confirm_psks"}]
LIST = {"route": "list", "count": 0}
REFUSING = {**SET, "status": 503, "count": 0}
YEAR = 365 * 86400.0


def _at_rest(scene: Scene) -> None:
    """No record may believe in a PSK that Cloudflare does not have."""
    truth = scene.truth()
    for tunnel, record in scene.store.read().items():
        believed = record["state"] == "idle" and record.get("current")
        if tunnel in truth and believed and record["current"]["psk"] != truth[tunnel]:
            scene.problems.append(f"{scene.names[tunnel]}: the escrow believes in a PSK that Cloudflare does not have")


def _own(scene: Scene, number: int = 1) -> list[str]:
    """The tunnels of a site."""
    return scene.sites[f"dev{number:02d}"]


# -- answers ----------------------------------------------------------------------------------------------------------


def _proves_nothing(code: str, injected: str, fault: Mapping[str, Any]) -> None:
    def act(scene: Scene) -> None:
        scene.simulator.arm({**SET, "when": "after", "count": 0, **fault})
        scene.crash("failed")
        scene.rerun()

    ROWS.append(Row(code, injected, act))


_proves_nothing(
    "E1 403", "an HTML page with 403 after the change, as of a filter in between", {"html": True, "status": 403}
)
_proves_nothing("E1 451", "an HTML page with 451 after the change", {"html": True, "status": 451})
_proves_nothing("E1 307", "a redirect after the change", {"redirect": "https://login.example.com/"})


@row("E2", "a request is repeated, and the first one is carried out last, after the run", devices=False)
def _e2(scene: Scene) -> None:
    scene.variables |= {"psk_rotation_timeout": 6, "psk_rotation_retries": 1}
    scene.simulator.arm({**SET, "hang": "late", "count": 1})
    scene.crashed(scene.play(), "ok", keep=True)
    since = scene.last_entry()
    scene.simulator.clear_faults()
    scene.expect(any(settled(x) for x in scene.simulator.journal(since=since, wait=20)), "nothing came late")
    scene.rerun()
    scene.rerun()


def _skewed(code: str, injected: str, seconds: int) -> None:
    def act(scene: Scene) -> None:
        scene.simulator.arm({**LIST, "metadata": f"skew:{seconds:+d}"})
        scene.crashed(scene.play(), "ok", keep=True)
        again = scene.play()
        scene.expect(again.done and not again.sets, f"the next run ended with {again.rc}, {len(again.sets)} requests")
        scene.rerun()

    ROWS.append(Row(code, injected, act, devices=False))


_skewed("E3 behind", "the list shows times a second behind those of the answers", -1)
_skewed("E3 ahead", "the list shows times a second ahead of those of the answers", 1)


@row(
    "E4", "503 before the change, twice, and somebody sets a PSK in between: a moved time proves nothing", devices=False
)
def _e4(scene: Scene) -> None:
    tunnel = _own(scene)[0]
    scene.simulator.arm(REFUSING)
    scene.crashed(scene.play(), "failed", keep=True)
    scene.console_sets(tunnel, later=60)
    scene.crash("failed")
    _at_rest(scene)
    scene.expect(scene.store.read()[tunnel]["state"] != "idle", "it is taken for done")
    scene.rerun(same_key=False)


@row("E5", "the first rotation of all: a stale list, and 503 before the change, twice", devices=False, adopt=True)
def _e5(scene: Scene) -> None:
    scene.simulator.arm(REFUSING)
    scene.crashed(scene.play(), "failed", keep=True)
    scene.simulator.arm({**LIST, "metadata": "backwards", "count": 1})
    scene.crash("failed")
    _at_rest(scene)
    scene.rerun()


@row("E6", "a device refuses, and the request of its rollback gets 503 before the change, in two runs")
def _e6(scene: Scene) -> None:
    scene.trouble("dev01", "refuse")
    scene.simulator.arm({**REFUSING, "skip": 1})
    scene.crash("failed")
    scene.expect("1 rolling_back" in scene.after_crash, "the rollback is not seen as unfinished")
    scene.simulator.arm({**REFUSING, "skip": 1})
    scene.crash("failed")
    _at_rest(scene)
    scene.trouble("dev01")
    scene.rerun(same_key=False)


@row("E7", "the list shows no psk_metadata: the escrow's own times count, and it is said once", devices=False)
def _e7(scene: Scene) -> None:
    scene.simulator.arm({**LIST, "metadata": "absent"})
    first = scene.crashed(scene.play(), "ok", keep=True)
    scene.expect(first.result.output.count("does not show when the PSKs") == 1, "it is not said once")
    again = scene.play()
    scene.expect(again.done and not again.sets, f"the next run ended with {again.rc}, {len(again.sets)} requests")
    scene.rerun()


# -- leases -----------------------------------------------------------------------------------------------------------


def _until(scene: Scene, until: float) -> None:
    """The leases that a dead run has left end then."""
    records = scene.store.read()
    for record in records.values():
        if record["lease"]:
            record["lease"]["until"] = until
    scene.store.write(records)


def _past_its_lease(scene: Scene) -> None:
    until = max(x["lease"]["until"] for x in scene.store.read().values() if x["lease"])
    while time.time() < until:
        time.sleep(0.05)


@row(
    "E8",
    "a lease ends while its run waits for an answer, another run sends the same PSK: both are applied",
    devices=False,
)
def _e8(scene: Scene) -> None:
    scene.variables["psk_rotation_lease"] = 3
    scene.simulator.arm({**SET, "hang": True, "count": 1})
    since = scene.last_entry()
    first = scene.start()
    scene.await_entry(first, held, since)
    _past_its_lease(scene)
    second = scene.play(env=ELSEWHERE)
    scene.expect(second.sets, "the second run did not take over")
    scene.simulator.clear_faults()
    scene.finish(first, since)
    scene.after_crash = scene.states()
    scene.rerun()


@row("E9", "killed after the API, and run again at once where its process can't be seen: not green, and it says why")
def _e9(scene: Scene) -> None:
    scene.crash(env=scene.point("http", REQUEST, "after"))
    early = scene.play(env=ELSEWHERE)
    scene.expect(early.rc == 2, f"the run that could not finish ended with {early.rc}")
    scene.expect("another run works on it until" in early.result.output, "it does not say why and until when")
    _until(scene, time.time())
    scene.rerun(env=ELSEWHERE)


@row("E10", "a killed run's lease ends in a year: that is no lease")
def _e10(scene: Scene) -> None:
    scene.crash(env=scene.point("http", REQUEST, "after"))
    _until(scene, time.time() + YEAR)
    scene.rerun(env=ELSEWHERE)


@row(
    "E11", "a run sleeps past its lease before its request, another one takes over and ends: nothing is sent", bao=True
)
def _e11(scene: Scene) -> None:
    scene.variables["psk_rotation_lease"] = 3
    since = scene.last_entry()
    first = scene.start(env=scene.point("http", "POST .*/data/", "after", 4, "hold"))
    scene.await_fired(first)
    _past_its_lease(scene)
    second = scene.play(env=ELSEWHERE)
    scene.expect(second.done, f"the other run ended with {second.rc}")
    truth, asked = scene.truth(), scene.last_entry()
    scene.go.touch()
    scene.crashed(scene.finish(first, since), "ok")
    late = [x for x in scene.simulator.journal(since=asked) if x["operation"] == "psk_set" and not x["validate_only"]]
    scene.expect(not late and scene.truth() == truth, "it has sent a PSK after it had lost the tunnels")
    scene.rerun()


@row("E12", "a wave takes longer than the lease, its run is alive: no other run takes over")
def _e12(scene: Scene) -> None:
    scene.variables["psk_rotation_lease"] = 3
    scene.trouble("dev01", "slow")
    since = scene.last_entry()
    first = scene.start()
    scene.await_entry(first, settled, since)
    _past_its_lease(scene)
    before = scene.truth()
    second = scene.play()
    scene.expect(second.rc == 2, f"the second run ended with {second.rc}")
    scene.expect("which is still alive" in second.result.output, "it does not say who holds the tunnels")
    scene.expect(all(scene.truth()[i] == before[i] for i in scene.pending()), "a tunnel was taken over")
    scene.trouble("dev01")
    scene.crashed(scene.finish(first, since), "ok")
    scene.rerun()


@row("E14", "two launches at once: planned before the other one has ended, taken after it", devices=False)
def _e14(scene: Scene) -> None:
    since = scene.last_entry()
    first = scene.start(env=scene.point("http", r"^POST \S+/psk\?validate_only", "after", 1, "hold"))
    scene.await_fired(first)
    second = scene.play()
    scene.expect(second.done, f"the second run ended with {second.rc}")
    asked = scene.last_entry()
    scene.go.touch()
    scene.crashed(scene.finish(first, since), "ok")
    late = [x for x in scene.simulator.journal(since=asked) if settled(x)]
    scene.expect(not late, "a tunnel was rotated twice")
    scene.rerun()


@row("E15", "a tunnel that a killed run left half-way, and a sibling that somebody has changed: it is finished")
def _e15(scene: Scene) -> None:
    scene.crash(env=scene.point("http", REQUEST, "after"))
    half = [i for i in _own(scene) if i in scene.pending()]
    stuck = [i for i in _own(scene) if i not in half]
    scene.expect(len(half) == 1, "no tunnel was left half-way")
    scene.console_sets(stuck[0], host="dev01")
    scene.rerun("failed", but=stuck)


# -- groups -----------------------------------------------------------------------------------------------------------


@row("E16", "an HA pair, both devices refuse all: the first was run alone, and now the other one is")
def _e16(scene: Scene) -> None:
    scene.split_devices()
    one, other = _own(scene)
    for host in ("dev01a", "dev01b"):
        scene.trouble(host, "refuse-all")
    scene.crash("failed", args=("--limit", "dev01a"))
    before = scene.truth()[other]
    run = scene.crash("failed", args=("--limit", "dev01b"))
    scene.expect(scene.truth()[other] == before, "the last good tunnel of the site was touched")
    scene.expect(scene.names[one] in run.result.output, "it does not say what it waits for")
    for host in ("dev01a", "dev01b"):
        scene.trouble(host)
    scene.rerun(same_key=False)


@row("E17", "manual confirmation, one tunnel of a site, and then the other one", devices=False, adopt=True)
def _e17(scene: Scene) -> None:
    one, other = _own(scene)
    names = [scene.names[one], scene.names[other]]
    manual = {"psk_rotation_confirmation": "manual"}
    scene.crash("ok", variables={**manual, "psk_rotation_tunnels": names[:1]})
    before = scene.truth()[other]
    second = scene.play(variables={**manual, "psk_rotation_tunnels": names[1:]})
    scene.expect(scene.truth()[other] == before, "both tunnels of the site wait at the same time")
    scene.expect("waits for confirmation" in second.result.output, "it does not say why")
    confirmed = scene.play(play=CONFIRM, variables={**manual, "psk_rotation_tunnels": names})
    scene.expect(confirmed.done, f"the confirmation ended with {confirmed.rc}")
    scene.rerun(variables={"psk_rotation_tunnels": names}, but=[i for i in scene.names if i not in (one, other)])


def _sites(code: str, injected: str, change: Callable[[Scene], None]) -> None:
    """Two tunnels of a site that only a name, or an address, shows to be one: never in one request."""

    def act(scene: Scene) -> None:
        change(scene)
        run = scene.crash("ok")
        for entry in run.sets:
            both = [site for site, own in scene.sites.items() if set(own) <= set(entry["tunnels"])]
            scene.expect(not both, f"both tunnels of {both} in one request")
        scene.expect("that back each other up" in run.result.output, "the plan does not show the groups")
        scene.rerun()

    ROWS.append(Row(code, injected, act, devices=False, adopt=True))


def _two_providers(scene: Scene) -> None:
    for number, own in enumerate(scene.sites.values()):
        for side, tunnel in enumerate(own):
            scene.rename(
                tunnel, f"site{number}-{('pri', 'sec')[side]}", customer_endpoint=f"192.0.2.{2 * number + side}"
            )


def _one_address(scene: Scene) -> None:
    for number, own in enumerate(scene.sites.values()):
        for side, tunnel in enumerate(own):
            scene.rename(tunnel, f"{'abcdefgh'[number + 4 * side]}xyz", customer_endpoint=f"192.0.2.{number}")


_sites("E18", "every site has two providers, and only the names of its tunnels tell", _two_providers)
_sites("E18 endpoint", "the names tell nothing, and only the customer endpoints do", _one_address)


def _names_nothing(code: str, injected: str, group_by: Any, said: str) -> None:
    def act(scene: Scene) -> None:
        run = scene.crash("failed", variables={"psk_rotation_group_by": group_by})
        scene.expect(not run.sets, "the API was asked to set PSKs")
        scene.expect(said in run.result.output, f"it does not name {said}")
        scene.rerun()

    ROWS.append(Row(code, injected, act))


_names_nothing(
    "E19 mapping", "psk_rotation_group_by names a tunnel that is not there", {"site": ["mel-0002-x"]}, "mel-0002-x"
)
_names_nothing(
    "E19 regex", "psk_rotation_group_by matches nothing", "^nothing-(?P<group>x)", "matches the name of no tunnel"
)


# -- names, ids, files ------------------------------------------------------------------------------------------------


@row("E20", "a tunnel is named all in the dashboard: the word wins", devices=False)
def _e20(scene: Scene) -> None:
    scene.rename(_own(scene)[0], "all")
    run = scene.crash("ok")
    scene.expect(sum(len(x["tunnels"]) for x in run.sets) == len(scene.names), "not all tunnels were rotated")
    scene.expect("it is reached by its id only" in run.result.output, "it is not said")
    scene.rerun()


def _look_up(scene: Scene, name: str, tunnel: str, *, found: bool = True) -> None:
    """A later job looks a PSK up by name."""
    wanted = hashlib.sha256(scene.truth()[tunnel].encode()).hexdigest()
    looked = "lookup('magicwan.cloudflare.ipsec_psk', looked_for, escrow=psk_rotation_escrow)"
    check = {
        "name": "Compare the PSK",
        "ansible.builtin.assert": {"that": f"({looked} | hash('sha256')) == wanted", "quiet": True},
        "no_log": True,
    }
    play = [{"name": "Look up", "hosts": "localhost", "gather_facts": False, "tasks": [check]}]
    run = scene.play(play=play, variables={"looked_for": name, "wanted": wanted})
    scene.expect(run.done == found, f"the lookup of {name} ended with {run.rc}")


@row("E21", "two tunnels swap their names, and a run passes: a lookup by name gives the right PSK", devices=False)
def _e21(scene: Scene) -> None:
    scene.crash("ok")
    one, other = _own(scene)
    names = scene.names[one], scene.names[other]
    scene.rename(one, "for-a-moment")
    scene.rename(other, names[0])
    scene.rename(one, names[1])
    scene.rerun()
    _look_up(scene, names[0], other)
    _look_up(scene, names[1], one)


@row("E22", "a tunnel is deleted and made again: a lookup by name gives the new one's PSK", devices=False)
def _e22(scene: Scene) -> None:
    scene.crash("ok")
    tunnel = _own(scene)[0]
    name = scene.names[tunnel]
    entry = scene.tunnels()[tunnel]
    scene.simulator.patch_tunnel(tunnel, delete=True)
    new = _make_tunnel(
        scene, {x: entry[x] for x in ("name", "cloudflare_endpoint", "interface_address", "customer_endpoint")}
    )
    scene.names[new] = name
    scene.rerun()
    _look_up(scene, name, new)
    scene.expect(scene.store.read()[tunnel].get("gone"), "the old record is not marked as gone")


def _make_tunnel(scene: Scene, body: Mapping[str, Any]) -> str:
    url = f"{scene.simulator.base_url}/accounts/{scene.simulator.account}/magic/ipsec_tunnels"
    answer = requests.post(url, json=body, headers={"Authorization": f"Bearer {scene.simulator.token}"}, timeout=30)
    answer.raise_for_status()
    result = answer.json()["result"]
    return str(result.get("id") or result["ipsec_tunnel"]["id"])


@row("E23", "another secret lies in the KV folder: it is passed over with a warning", bao=True, devices=False)
def _e23(scene: Scene) -> None:
    store = scene.store
    assert isinstance(store, BaoStore)
    server = scene.bench.bao
    for name in ("some.thing", "soft-deleted"):
        server.call("POST", store.secret(name), {"data": {"user": "somebody"}})
    server.call("DELETE", store.secret("soft-deleted"))
    scene.crash("ok")
    _look_up(scene, scene.names[_own(scene)[0]], _own(scene)[0])
    for name in ("some.thing", "soft-deleted"):
        server.call("DELETE", store.secret(name, "metadata"))
    scene.rerun()


@row("E24", "the KV mount removes versions after a time: refused at the start", bao=True, devices=False)
def _e24(scene: Scene) -> None:
    server = scene.bench.bao
    server.call("POST", "secret/config", {"delete_version_after": "24h"})
    try:
        run = scene.crash("failed")
    finally:
        server.call("POST", "secret/config", {"delete_version_after": "0s"})
    scene.expect(not run.sets, "the API was asked to set PSKs")
    scene.expect("delete_version_after" in run.result.output, "it does not say why")
    scene.rerun()


@row("E25", "the escrow is shared with a group: mode and group are kept", devices=False)
def _e25(scene: Scene) -> None:
    path = _path(scene)
    groups: Collection[int] = [x for x in os.getgroups() if x != os.getgid()] or ([1] if os.geteuid() == 0 else [])
    if groups:
        os.chown(path, -1, next(iter(groups)))
    path.chmod(0o660)
    before = path.stat()
    scene.crash("ok")
    after = path.stat()
    scene.expect(stat.S_IMODE(after.st_mode) == 0o660 and after.st_gid == before.st_gid, "others can't read it now")
    scene.rerun()


@row("E26", "somebody saves the escrow as it was before, while a run waits for the API", devices=False)
def _e26(scene: Scene) -> None:
    path = _path(scene)
    before = path.read_bytes()

    def save(_running: object) -> None:
        path.write_bytes(before)
        scene.simulator.clear_faults()

    scene.simulator.arm({**SET, "hang": True, "when": "after"})
    run = scene.crashed(scene.play_until(settled, save), "ok")
    scene.expect("was saved by somebody else" in run.result.output, "it is not said")
    scene.rerun()


def _path(scene: Scene) -> Any:
    assert isinstance(scene.store, FileStore)
    return scene.store.path
