# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""S: the store fails: a real OpenBao, and the vault file."""

from __future__ import annotations

import errno
from collections.abc import Callable

from tests.faults.matrix import ROWS, Row, row
from tests.faults.rows_kill import SET, TEMPORARY
from tests.faults.scene import BaoStore, FileStore, Run, Scene, settled


def _bao(scene: Scene) -> BaoStore:
    assert isinstance(scene.store, BaoStore)
    return scene.store


def _file(scene: Scene) -> FileStore:
    assert isinstance(scene.store, FileStore)
    return scene.store


def _untouched(scene: Scene, run: Run) -> None:
    writes = [x for x in run.requests if x["operation"] != "list"]
    scene.expect(not writes, "the API was called although the store can't be used")


def _names_some(scene: Scene, run: Run) -> None:
    scene.expect(any(name in run.result.output for name in scene.names.values()), "the run names no tunnel")


@row("S1", "store does not answer at preflight: the API is not called", bao=True, devices=False)
def _s1(scene: Scene) -> None:
    scene.bench.bao.pause()
    try:
        run = scene.play(store=False)
    finally:
        scene.bench.bao.resume()
    _untouched(scene, scene.crashed(run, "failed"))
    scene.rerun()


@row("S1 sealed", "store is sealed at preflight: the API is not called", bao=True, devices=False)
def _s1_sealed(scene: Scene) -> None:
    scene.bench.bao.seal()
    try:
        run = scene.play(store=False)
    finally:
        scene.bench.bao.unseal()
    _untouched(scene, scene.crashed(run, "failed"))
    scene.rerun()


def _down_after_api(scene: Scene, down: Callable[[], None], up: Callable[[], None], skipped: int = 0) -> None:
    """The store goes down while the API has the request: it is applied and answered, and can't be recorded."""

    def act(_running: object) -> None:
        down()
        scene.simulator.clear_faults()

    scene.simulator.arm({**SET, "hang": True, "when": "after", "skip": skipped})
    try:
        run = scene.play_until(lambda x: settled(x) and x["fault"] == "hang", act, store=False)
    finally:
        up()
    _names_some(scene, scene.crashed(run, "failed"))
    scene.check_kept()
    scene.rerun()


@row("S2", "store does not answer between PREPARED and the record", bao=True, devices=False)
def _s2(scene: Scene) -> None:
    _down_after_api(scene, scene.bench.bao.pause, scene.bench.bao.resume)


@row("S2 devices", "the same in the second wave, with devices", bao=True)
def _s2_devices(scene: Scene) -> None:
    _down_after_api(scene, scene.bench.bao.pause, scene.bench.bao.resume, skipped=1)


@row("S2 end", "store sealed between the proof and the end", bao=True)
def _s2_end(scene: Scene) -> None:
    running = scene.start(env=scene.point("http", "POST .*/data/", "before", 10, "hold"))
    since = scene.last_entry()
    try:
        scene.await_fired(running)
        scene.bench.bao.seal()
        scene.go.touch()
        run = scene.finish(running, since, store=False)
    finally:
        scene.bench.bao.unseal()
    _names_some(scene, scene.crashed(run, "failed"))
    scene.check_kept()
    scene.rerun()


@row("S3", "store is sealed in the middle of a wave", bao=True, devices=False)
def _s3(scene: Scene) -> None:
    _down_after_api(scene, scene.bench.bao.seal, scene.bench.bao.unseal)


@row("S3 devices", "store is sealed in the middle of the second wave, with devices", bao=True)
def _s3_devices(scene: Scene) -> None:
    _down_after_api(scene, scene.bench.bao.seal, scene.bench.bao.unseal, skipped=1)


def _conflict(scene: Scene, nth: int, expected: str) -> None:
    """Somebody else writes a record between its load and its write."""
    store, tunnel = _bao(scene), next(iter(scene.names))
    since = scene.last_entry()
    running = scene.start(env=scene.point("http", f"POST .*/data/.*{tunnel}", "before", nth, "hold"))
    scene.await_fired(running)
    record = scene.bench.bao.call("GET", store.secret(tunnel))["data"]["data"]
    scene.bench.bao.call("POST", store.secret(tunnel), {"data": record})
    scene.go.touch()
    scene.crashed(scene.finish(running, since), expected)
    scene.rerun()


@row("S4", "CAS conflict when PREPARED is written", bao=True, devices=False)
def _s4(scene: Scene) -> None:
    _conflict(scene, 1, "any")


@row("S4 record", "CAS conflict when the API's answer is recorded", bao=True, devices=False)
def _s4_record(scene: Scene) -> None:
    _conflict(scene, 2, "ok")


def _policy(code: str, injected: str, *capabilities: str) -> None:
    @row(code, injected, bao=True, devices=False)
    def _act(scene: Scene) -> None:
        store, server = _bao(scene), scene.bench.bao
        policy = server.policy(store.path, capabilities)
        store.token = server.make_token(policy)
        _untouched(scene, scene.crash("failed"))
        rules = 'path "secret/*" { capabilities = ["create", "read", "update", "list"] }\n'
        server.call("PUT", f"sys/policies/acl/{policy}", {"policy": rules})
        scene.rerun()


_policy("S5 read", "the token may only read: the API is not called", "read", "list")
_policy("S5 write", "the token may only write: the API is not called", "create", "update")


@row("S6", "the store's token is revoked in the middle of a run", bao=True, devices=False)
def _s6(scene: Scene) -> None:
    store, server = _bao(scene), scene.bench.bao
    policy = server.policy(store.path, ("create", "read", "update", "list"))
    store.token = server.make_token(policy)

    def expire(_running: object) -> None:
        assert store.token is not None
        server.revoke(store.token)
        scene.simulator.clear_faults()

    scene.simulator.arm({**SET, "hang": True, "when": "after"})
    run = scene.crashed(scene.play_until(settled, expire), "failed")
    _names_some(scene, run)
    store.token = server.make_token(policy)
    scene.rerun()


@row("S6 approle", "an AppRole token expires between read and write: it is replaced", bao=True, devices=False)
def _s6_approle(scene: Scene) -> None:
    store, server = _bao(scene), scene.bench.bao
    policy = server.policy(store.path, ("create", "read", "update", "list"))
    role_id, secret_id = server.approle(policy)
    env = {"VAULT_ROLE_ID": role_id, "VAULT_SECRET_ID": secret_id, "VAULT_TOKEN": ""}
    since = scene.last_entry()
    running = scene.start(env={**env, **scene.point("http", "POST .*/data/", "before", 1, "hold")})
    scene.await_fired(running)
    for accessor in server.call("LIST", "auth/token/accessors")["data"]["keys"]:
        found = server.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
        if policy in found["policies"]:
            server.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    scene.go.touch()
    scene.crashed(scene.finish(running, since), "ok")
    scene.rerun(env=env)


@row("S7 deleted", "a record's version is deleted: refused by name, and healed by undelete", bao=True, devices=False)
def _s7_deleted(scene: Scene) -> None:
    store, tunnel = _bao(scene), next(iter(scene.names))
    scene.bench.bao.call("DELETE", store.secret(tunnel))
    run = scene.play(store=False)
    scene.bench.bao.call("PUT", store.secret(tunnel, "undelete"), {"versions": [1]})
    _untouched(scene, scene.crashed(run, "failed"))
    scene.expect(tunnel in run.result.output, "the tunnel is not named")
    scene.rerun()


@row("S7 rolled back", "a record goes back to before the rotation: stuck and reported, not overwritten", bao=True)
def _s7_rolled_back(scene: Scene) -> None:
    store, tunnel = _bao(scene), next(iter(scene.names))
    before = store.read()[tunnel]
    scene.crash("ok")
    psk = scene.truth()[tunnel]
    scene.foreign.add(psk)
    scene.bench.bao.call("POST", store.secret(tunnel), {"data": before})
    scene.after_crash = scene.states()
    run = scene.rerun("failed", but=[tunnel])
    scene.expect(scene.names[tunnel] in run.result.output, "the tunnel is not named")
    scene.expect(scene.truth()[tunnel] == psk, "it was overwritten")


@row("S8", "only one version is kept, and a rollback needs the previous PSK: it is in the record itself", bao=True)
def _s8(scene: Scene) -> None:
    store = _bao(scene)
    for tunnel in scene.names:
        scene.bench.bao.call("POST", store.secret(tunnel, "metadata"), {"max_versions": 1})
    before = scene.truth()
    scene.trouble("dev01", "refuse")
    scene.crash("failed")
    own = scene.groups["dev01"]
    scene.expect(all(scene.truth()[i] == before[i] for i in own), "the previous PSK is not back")
    scene.trouble("dev01")
    scene.rerun(same_key=False)


# A write of the escrow is two: of the file, and of the copy beside it, whose failure does not matter.
def _file_error(code: str, injected: str, number: int, call: str, match: str, nth: int, *, before_api: bool) -> None:
    def act(scene: Scene) -> None:
        run = scene.crash("failed", env=scene.point(call, match, "before", nth, f"errno:{number}"))
        if before_api:
            scene.expect(not run.sets, "the API was asked to set PSKs")
        else:
            _names_some(scene, run)
        scene.rerun()

    ROWS.append(Row(code, injected, act))


_file_error("S9 full", "disk full when PREPARED is written", errno.ENOSPC, "os.fsync", TEMPORARY, 1, before_api=True)
_file_error(
    "S9 full-record", "disk full at the record of the answer", errno.ENOSPC, "os.fsync", TEMPORARY, 3, before_api=False
)
_file_error("S9 full-end", "disk full at the end", errno.ENOSPC, "os.fsync", TEMPORARY, 5, before_api=False)
_file_error("S9 denied", "EACCES when the escrow is opened", errno.EACCES, "os.open", TEMPORARY, 1, before_api=True)
_file_error(
    "S9 denied-record", "EACCES at the record of the answer", errno.EACCES, "os.open", TEMPORARY, 4, before_api=False
)
_file_error("S9 rename", "the rename of the record fails", errno.EIO, "os.replace", r"/psks\.yml$", 2, before_api=False)


@row("S9 symlink", "the escrow is a symbolic link", devices=False)
def _s9_symlink(scene: Scene) -> None:
    path = _file(scene).path
    target = path.with_name("elsewhere.yml")
    path.rename(target)
    path.symlink_to(target)
    _untouched(scene, scene.crash("failed"))
    path.unlink()
    target.rename(path)
    scene.rerun()


@row("S9 password", "wrong vault password", devices=False)
def _s9_password(scene: Scene) -> None:
    _untouched(scene, scene.crash("failed", vault_password="not-the-password"))
    scene.rerun()


@row("S9 leftover", "a half-written temporary file of an earlier run", devices=False)
def _s9_leftover(scene: Scene) -> None:
    path = _file(scene).path
    leftover = path.with_name(f".{path.name}.4711.tmp")
    leftover.write_bytes(path.read_bytes()[:100])
    scene.crash("ok")
    scene.expect(not leftover.exists(), "the leftover is still there")
    scene.rerun()


@row("S9 torn", "the escrow itself is cut off, then restored", devices=False)
def _s9_torn(scene: Scene) -> None:
    path = _file(scene).path
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    run = scene.play(store=False)
    path.write_bytes(whole)
    _untouched(scene, scene.crashed(run, "failed"))
    scene.rerun()
