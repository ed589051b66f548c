# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store in a KV engine against a real OpenBao server."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Key, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_kv2 import Kv2Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._vault_server import Kv2Connection

from tests.harness.openbao import OpenBao
from tests.harness.simulator import Simulator
from tests.unit.plugins.plugin_utils.stage import begin_again, truth
from tests.unit.plugins.plugin_utils.stage import make as make_rotation

Make = Callable[..., Kv2Store]
PSK = "s3cretPskThatMustNeverShowInAnyMessage0123456789"
QUICK = {"retries": 1, "timeout": 2.0}


def record(name: str = "one", **fields: Any) -> Record:
    return Record(name=name, current=Key(PSK, applied_on="2026-06-14T05:20:00Z"), **fields)


def refused(work: Callable[[], object], *secrets: str) -> str:
    """The one line with which the work is refused."""
    with pytest.raises(EscrowError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    assert "http://127.0.0.1:" in message
    assert not any(x in message for x in (PSK, *secrets))
    return message


def test_records_are_kept(make: Make, openbao: OpenBao, place: str) -> None:
    make().check()
    assert make().load() == {}
    assert make().load(["t1"]) == {}
    assert make().store({"t1": Stored(record(), 0), "t2": Stored(record("two"), 0)}) == ({"t1": 1, "t2": 1}, {})
    found = make().load()
    assert sorted(found) == ["t1", "t2"]
    assert list(make().others(["t2", "t3"])) == ["t1"]
    assert found["t1"] == Stored(record(revision=1), 1)
    assert list(make().load(["t2", "t3", "t2"])) == ["t2"]
    assert make(account="other").load() == {}
    secret = openbao.secret(f"{place}/acc/t1")
    assert secret["data"]["current"]["psk"] == PSK


def test_custom_metadata_follows_and_holds_no_secret(make: Make, openbao: OpenBao, place: str) -> None:
    escrow = make()
    escrow.store({"t1": Stored(record(), 0)})
    escrow.store({"t1": Stored(record("renamed"), 1)})
    assert openbao.secret(f"{place}/acc/t1")["metadata"]["custom_metadata"] == {"name": "renamed"}


def test_custom_metadata_of_1_0_0_which_would_be_out_of_date_is_replaced(
    make: Make, openbao: OpenBao, place: str
) -> None:
    make().store({"t1": Stored(record(), 0)})
    old = {"name": "one", "state": "idle", "generation": "3"}
    openbao.call("POST", f"secret/metadata/{place}/acc/t1", {"custom_metadata": old})
    escrow = make()
    escrow.store(escrow.load(["t1"]))
    assert openbao.secret(f"{place}/acc/t1")["metadata"]["custom_metadata"] == {"name": "one"}


def test_check_and_set(make: Make) -> None:
    make().store({"t1": Stored(record(), 0)})
    first, second = make(), make()
    loaded = first.load(["t1"])["t1"]
    assert second.store({"t1": Stored(record("second"), loaded.version)}) == ({"t1": 2}, {})
    written = first.store({"t1": Stored(record("first"), loaded.version), "t2": Stored(record("two"), 0)})
    assert written == ({"t2": 1}, {"t1": "another run has changed its record meanwhile"})
    found = first.load()
    assert (found["t1"].record.name, found["t1"].version) == ("second", 2)
    assert found["t2"].version == 1
    assert list(first.store({"t2": Stored(record("again"), 0)}).conflicts) == ["t2"]


def test_writers_at_once_lose_no_update(make: Make) -> None:
    make().store({"t1": Stored(record(), 0)})

    def add() -> None:
        escrow = make()
        for _number in range(10):
            while True:
                found = escrow.load(["t1"])["t1"]
                after = replace(found.record, generation=found.record.generation + 1)
                if not escrow.store({"t1": Stored(after, found.version)}).conflicts:
                    break

    threads = [threading.Thread(target=add) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make().load()["t1"].record.generation == 40


@pytest.mark.parametrize("destroyed", [False, True])
def test_a_removed_record_is_not_taken_for_one_that_never_was(
    make: Make, openbao: OpenBao, place: str, destroyed: bool
) -> None:
    make().store({"t1": Stored(record(), 0)})
    make().store({"t1": Stored(record("new"), 1)})
    if destroyed:
        openbao.call("POST", f"secret/destroy/{place}/acc/t1", {"versions": [2]})
    else:
        openbao.call("DELETE", f"secret/data/{place}/acc/t1")
    what_to_do = "-version=1" if destroyed else "undelete -mount=secret -versions=2"
    message = refused(lambda: make().load(["t1"]))
    assert "tunnel t1" in message and what_to_do in message
    refused(lambda: make().store({"t1": Stored(record(), 0)}))
    if destroyed:
        openbao.call("DELETE", f"secret/metadata/{place}/acc/t1")
        assert make().load(["t1"]) == {}
    else:
        openbao.call("POST", f"secret/undelete/{place}/acc/t1", {"versions": [2]})
        assert make().load(["t1"])["t1"].record.name == "new"


def test_where_the_only_version_was_destroyed_nobody_is_sent_back_to_an_earlier_one(
    make: Make, openbao: OpenBao, place: str
) -> None:
    make().store({"t1": Stored(record(), 0)})
    openbao.call("POST", f"secret/destroy/{place}/acc/t1", {"versions": [1]})
    message = refused(lambda: make().load(["t1"]))
    assert "rollback" not in message
    assert f"forget it with 'vault kv metadata delete -mount=secret {place}/acc/t1'" in message


# -- what is not a record ----------------------------------------------------------------------------------------------


def test_what_is_no_record_is_passed_over_with_a_warning(make: Make, openbao: OpenBao, place: str) -> None:
    make().store({"t1": Stored(record(), 0)})
    for name in ("notes.txt", "notes", "a b", "folder/inside"):
        openbao.call("POST", f"secret/data/{place}/acc/{name}", {"data": {"password": PSK, "name": "x"}})
    warnings: list[str] = []
    escrow = make(warn=warnings.append)
    assert escrow.load() == escrow.others([]) and list(escrow.load()) == ["t1"]
    where = f"the escrow {openbao.url}: the secret {place}/acc"
    assert sorted(set(warnings)) == [
        f"{where}/{x} is not a record, and is ignored" for x in ("a b", "notes", "notes.txt")
    ]
    assert not any(PSK in x for x in warnings)
    assert "is not a record" in refused(lambda: make().load(["notes"]))


@pytest.mark.parametrize("destroyed", [False, True])
def test_a_removed_record_is_passed_over_with_a_warning_when_all_are_read(
    make: Make, openbao: OpenBao, place: str, destroyed: bool
) -> None:
    make().store({"t1": Stored(record(), 0), "t2": Stored(record("two"), 0)})
    if destroyed:
        openbao.call("POST", f"secret/destroy/{place}/acc/t1", {"versions": [1]})
    else:
        openbao.call("DELETE", f"secret/data/{place}/acc/t1")
    warnings: list[str] = []
    assert list(make(warn=warnings.append).load()) == ["t2"]
    (warning,) = warnings
    assert list(make(warn=warnings.append).others([])) == ["t2"]
    assert "tunnel t1 was d" in warning and "until then it is ignored" in warning


def test_a_record_that_makes_no_sense(make: Make, openbao: OpenBao, place: str) -> None:
    openbao.call("POST", f"secret/data/{place}/acc/t1", {"data": {"current": PSK}})
    assert "record of tunnel t1 can't be used" in refused(make().load)


# -- access ------------------------------------------------------------------------------------------------------------


def test_a_token_with_just_what_it_needs(make: Make, openbao: OpenBao, place: str) -> None:
    token = openbao.make_token(openbao.policy(f"{place}/acc", ["create", "read", "update"]))
    escrow = make(token=token)
    escrow.check()
    assert not escrow.store({"t1": Stored(record(), 0)}).conflicts
    assert list(escrow.load(["t1"])) == ["t1"]


def test_without_access_to_metadata_records_are_written_all_the_same(make: Make, openbao: OpenBao, place: str) -> None:
    token = openbao.make_token(openbao.policy(f"{place}/acc", ["create", "read", "update"], metadata=()))
    escrow = make(token=token)
    escrow.check()
    assert not escrow.store({f"t{n}": Stored(record(), 0) for n in range(20)}).conflicts
    assert not openbao.secret(f"{place}/acc/t1")["metadata"]["custom_metadata"]
    assert "policy does not allow the token to list" in refused(escrow.load, token)


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [
        (["read"], "create, update"),
        (["create", "update"], "read"),
        (["create", "read"], "update"),
        (["deny"], "create"),
    ],
)
@pytest.mark.parametrize("default_policy", [True, False])
def test_a_policy_that_lacks_something_is_found_before_anything_is_done(
    make: Make, openbao: OpenBao, place: str, capabilities: list[str], missing: str, default_policy: bool
) -> None:
    policy = openbao.policy(f"{place}/acc", capabilities)
    token = openbao.make_token(policy, default_policy=default_policy)
    if default_policy:
        assert f"the token's policy does not allow {missing}" in refused(make(token=token).check, token)
    if "read" not in capabilities:
        refused(make(token=token).check, token)
        refused(lambda: make(token=token).load(["t1"]), token)
    else:
        make().store({"t1": Stored(record(), 0)})
        refused(lambda: make(token=token).store({"t1": Stored(record(), 1)}), token)


def test_a_token_that_may_not_look_at_itself_is_not_only_told_to_be_invalid(
    make: Make, openbao: OpenBao, place: str
) -> None:
    token = openbao.make_token(openbao.policy(f"{place}/acc", ["read"]), default_policy=False)
    message = refused(lambda: make(token=token).store({"t1": Stored(record(), 0)}), token)
    assert "if it is good, the policy does not allow the token to write a record" in message


def test_a_token_that_has_expired(make: Make, openbao: OpenBao, place: str) -> None:
    token = openbao.make_token(openbao.policy(f"{place}/acc", ["create", "read", "update"]))
    escrow = make(token=token)
    escrow.check()
    openbao.revoke(token)
    for work in (escrow.check, escrow.load, lambda: escrow.store({"t1": Stored(record(), 0)})):
        assert "not valid, or has expired" in refused(work, token)


def test_approle(make: Make, openbao: OpenBao, place: str) -> None:
    role_id, secret_id = openbao.approle(openbao.policy(f"{place}/acc", ["create", "read", "update"]))
    escrow = make(role_id=role_id, secret_id=secret_id)
    escrow.check()
    assert not escrow.store({f"t{n}": Stored(record(), 0) for n in range(20)}).conflicts
    assert len(make(role_id=role_id, secret_id=secret_id).load([f"t{n}" for n in range(20)])) == 20


def test_approle_may_be_mounted_elsewhere(make: Make, openbao: OpenBao, place: str) -> None:
    policy = openbao.policy(f"{place}/acc", ["create", "read", "update"])
    role_id, secret_id = openbao.approle(policy, mount="machines")
    make(role_id=role_id, secret_id=secret_id, auth_mount="machines").check()
    refused(make(role_id=role_id, secret_id=secret_id).check, secret_id)


def test_an_approle_token_that_expires_on_the_way_is_replaced_once(make: Make, openbao: OpenBao, place: str) -> None:
    role_id, secret_id = openbao.approle(openbao.policy(f"{place}/acc", ["create", "read", "update"]))
    escrow = make(role_id=role_id, secret_id=secret_id)
    escrow.check()
    openbao.revoke(escrow._server._client.token)
    assert not escrow.store({f"t{n}": Stored(record(), 0) for n in range(20)}).conflicts
    openbao.revoke(escrow._server._client.token)
    assert "not valid, or has expired" in refused(lambda: escrow.load(["t1"]), secret_id)


def test_approle_refused(make: Make, openbao: OpenBao, place: str) -> None:
    role_id, _secret_id = openbao.approle(openbao.policy(f"{place}/acc", ["read"]))
    message = refused(make(role_id=role_id, secret_id="wrong-secret-id").check, "wrong-secret-id")
    assert "AppRole login is refused" in message


def test_namespaces(make: Make, openbao: OpenBao, place: str) -> None:
    openbao.namespace(place)
    inside = make(namespace=place)
    inside.check()
    assert not inside.store({"t1": Stored(record("inside"), 0)}).conflicts
    assert make().load() == {}
    assert inside.load()["t1"].record.name == "inside"
    assert f"namespace {place}-none" in refused(make(namespace=f"{place}-none").check)


# -- engines that delete -----------------------------------------------------------------------------------------------


@pytest.fixture
def mount(openbao: OpenBao, place: str) -> Iterator[str]:
    """An engine of the test's own, whose configuration it may change."""
    openbao.call("POST", f"sys/mounts/{place}", {"type": "kv", "options": {"version": "2"}})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            openbao.call("GET", f"{place}/config")
            break
        except RuntimeError:  # it is upgraded to version 2 a moment after it is there
            time.sleep(0.02)
    yield place
    openbao.call("DELETE", f"sys/mounts/{place}")


def test_an_engine_that_keeps_what_it_gets_is_accepted(make: Make, mount: str) -> None:
    warnings: list[str] = []
    make(mount=mount, warn=warnings.append).check()
    assert warnings == []


def test_an_engine_that_deletes_after_a_time_is_refused(make: Make, openbao: OpenBao, mount: str) -> None:
    openbao.call("POST", f"{mount}/config", {"delete_version_after": "720h"})
    message = refused(make(mount=mount).check)
    assert f"the secrets engine at '{mount}' deletes what it keeps after 720h" in message
    assert f"vault write {mount}/config delete_version_after=0s" in message
    openbao.call("POST", f"{mount}/config", {"delete_version_after": "0s"})
    make(mount=mount).check()


def test_a_record_that_will_be_deleted_is_refused_when_it_is_read_or_written(
    make: Make, openbao: OpenBao, mount: str, place: str
) -> None:
    openbao.call("POST", f"{mount}/metadata/{place}/acc/t1", {"delete_version_after": "720h"})
    escrow = make(mount=mount)
    assert "the record of tunnel t1 will be deleted on 2" in refused(lambda: escrow.store({"t1": Stored(record(), 0)}))
    message = refused(lambda: make(mount=mount).load(["t1"]))
    path = f"-mount={mount} {place}/acc/t1"
    assert f"vault kv metadata put -delete-version-after=0s {path}" in message
    assert f"vault kv rollback -version=1 {path}" in message
    openbao.call("POST", f"{mount}/metadata/{place}/acc/t1", {"delete_version_after": "0s"})
    kept = openbao.call("GET", f"{mount}/data/{place}/acc/t1")["data"]["data"]
    openbao.call("POST", f"{mount}/data/{place}/acc/t1", {"data": kept})  # what `vault kv rollback` does
    assert make(mount=mount).load(["t1"])["t1"].record.name == "one"


def test_a_token_that_may_not_read_the_configuration_has_the_check_reported_as_skipped(
    make: Make, openbao: OpenBao, place: str
) -> None:
    token = openbao.make_token(openbao.policy(f"{place}/acc", ["create", "read", "update"]))
    warnings: list[str] = []
    make(token=token, warn=warnings.append).check()
    assert warnings == [
        f"the escrow {openbao.url}: the token may not read secret/config: whether the engine deletes records after a"
        " time was not checked"
    ]


# -- what is gone for good ---------------------------------------------------------------------------------------------


def test_a_record_is_forgotten_with_all_its_versions(make: Make, openbao: OpenBao, place: str) -> None:
    make().store({"t1": Stored(record(), 0), "t2": Stored(record(), 0)})
    make().store({"t1": Stored(record("new"), 1)})
    escrow = make()
    assert escrow.forget({"t1": Stored(record(), 2), "t2": Stored(record(), 2)}) == {
        "t2": "another run has changed its record meanwhile"
    }
    assert list(make().load()) == ["t2"]
    with pytest.raises(RuntimeError, match="404"):
        openbao.call("GET", f"secret/metadata/{place}/acc/t1")
    assert escrow.forget({"t1": Stored(record(), 2)}) == {}


def test_a_token_that_may_not_forget_says_so(make: Make, openbao: OpenBao, place: str) -> None:
    token = openbao.make_token(openbao.policy(f"{place}/acc", ["create", "read", "update"], metadata=["list"]))
    make().store({"t1": Stored(record(), 0)})
    escrow = make(token=token)
    assert "does not allow the token to forget a record" in refused(lambda: escrow.forget({"t1": Stored(record(), 1)}))


# -- tokens are given back ---------------------------------------------------------------------------------------------


def lives(openbao: OpenBao, token: str) -> bool:
    """Whether the server still takes this token."""
    answer = requests.get(f"{openbao.url}/v1/auth/token/lookup-self", headers={"X-Vault-Token": token}, timeout=5)
    return answer.ok


@pytest.fixture
def approle(openbao: OpenBao, place: str) -> dict[str, str]:
    """Credentials of a role that may do what the store needs."""
    role_id, secret_id = openbao.approle(openbao.policy(f"{place}/acc", ["create", "read", "update"]))
    return {"role_id": role_id, "secret_id": secret_id}


def token_of(store: Kv2Store) -> str:
    """What the store has logged in for."""
    return str(store._server._client.token)


def test_closing_revokes_the_token_of_a_login(make: Make, openbao: OpenBao, approle: dict[str, str]) -> None:
    store = make(**approle)
    store.check()
    token = token_of(store)
    assert lives(openbao, token)
    store.close()
    assert not lives(openbao, token)
    store.close()
    assert store.load(["t1"]) == {}
    assert token_of(store) != token


def test_closing_revokes_the_token_of_a_login_after_an_error(
    make: Make, openbao: OpenBao, place: str, approle: dict[str, str]
) -> None:
    store = make(**approle)
    store.check()
    openbao.call("POST", f"secret/data/{place}/acc/t1", {"data": {"password": PSK}})
    refused(lambda: store.load(["t1"]))
    token = token_of(store)
    store.close()
    assert not lives(openbao, token)


def test_closing_leaves_a_token_of_the_user_alone(make: Make, openbao: OpenBao, place: str) -> None:
    token = openbao.make_token(openbao.policy(f"{place}/acc", ["create", "read", "update"]))
    store = make(token=token)
    store.check()
    store.close()
    assert lives(openbao, token)


def test_closing_never_fails_and_does_not_wait_for_a_server_that_is_gone(make: Make) -> None:
    with OpenBao() as server:
        role_id, secret_id = server.approle("default")
        store = make(url=server.url, role_id=role_id, secret_id=secret_id, retries=0)
        refused(lambda: store.load(["t1"]))
        server.stop()
        refused(lambda: store.load(["t1"]))
        store.close()


# -- requests ----------------------------------------------------------------------------------------------------------


def test_a_write_takes_a_request_and_one_for_its_label_where_that_has_changed(make: Make, lossy: Lossy) -> None:
    escrow = make(url=url_of(lossy))
    versions = escrow.store({"t1": Stored(record(), 0)}).versions
    escrow.store({"t1": Stored(record(reason="another"), versions["t1"])})
    kinds = [x.split("/")[3] for x in lossy.requests]
    assert kinds == ["data", "metadata", "data"]


@pytest.mark.fleet(tunnels=8)
def test_a_rotation_takes_few_requests_a_tunnel(make: Make, lossy: Lossy, simulator: Simulator) -> None:
    """Read, prepare, read back, look at what it backs up, and write down what came of it; at first its label."""
    store = make(url=url_of(lossy))
    for number, most in enumerate((6, 5, 5)):
        lossy.requests.clear()
        state = begin_again(make_rotation(simulator, store), f"r{number}")
        assert {x.status for x in state.all_results()} == {"handed_over"}
        of_tunnels = [x for x in lossy.requests if any(i in x for i in truth(simulator))]
        assert len(of_tunnels) <= most * 8
        assert len(lossy.requests) - len(of_tunnels) <= 6


def test_requests_share_connections(make: Make, lossy: Lossy) -> None:
    escrow = make(url=url_of(lossy), workers=4)
    escrow.store({f"t{n}": Stored(record(), 0) for n in range(50)})
    assert len(lossy.requests) == 100
    assert lossy.connections <= 4


def test_a_page_in_place_of_an_answer_does_not_make_a_record_one_that_never_was(make: Make, lossy: Lossy) -> None:
    make().store({"t1": Stored(record(), 0)})
    lossy.page = b"<html>not found"
    lossy.answers = [404]
    assert "does not answer like a Vault server" in refused(lambda: make(url=url_of(lossy)).load(["t1"]))


@pytest.mark.parametrize("page", [b"<html>please log in", b"{}", b"[]", b'{"data": []}'])
def test_a_portal_in_place_of_the_server_is_told(make: Make, lossy: Lossy, page: bytes) -> None:
    lossy.page = page
    lossy.answers = [200] * 20
    escrow = make(url=url_of(lossy))
    for work in (lambda: escrow.load(["t1"]), escrow.load, lambda: escrow.store({"t1": Stored(record(), 0)})):
        assert "does not answer like a Vault server" in refused(work)


# -- the server --------------------------------------------------------------------------------------------------------


def test_no_engine_and_the_wrong_version(make: Make, openbao: OpenBao, place: str) -> None:
    assert f"no secrets engine at '{place}'" in refused(lambda: make(mount=place).load(["t1"]))
    refused(make(mount=place).check)
    openbao.call("POST", f"sys/mounts/{place}", {"type": "kv", "options": {"version": "1"}})
    assert "is not KV version 2" in refused(make(mount=place).check)


def test_a_mount_that_is_a_path_within_an_engine_is_told(make: Make) -> None:
    message = refused(make(mount="secret/data").check)
    assert "the secrets engine is at 'secret', not at 'secret/data': set escrow.mount to that" in message


def test_sealed(make: Make, openbao: OpenBao) -> None:
    make().store({"t1": Stored(record(), 0)})
    escrow = make(**QUICK)
    openbao.seal()
    try:
        for work in (escrow.check, escrow.load, lambda: escrow.store({"t1": Stored(record(), 1)})):
            assert "is sealed: unseal it" in refused(work, openbao.token)
    finally:
        openbao.unseal()


def test_stopped(make: Make) -> None:
    with OpenBao() as server:
        escrow = make(url=server.url, token=server.token, **QUICK)
        escrow.check()
        escrow.store({f"t{n}": Stored(record(), 0) for n in range(50)})
        server.stop()
        for work in (escrow.check, lambda: escrow.load([f"t{n}" for n in range(50)])):
            assert "the connection is refused, nothing listens there; check escrow.url" in refused(work, server.token)


def test_a_server_that_hangs(make: Make) -> None:
    with OpenBao() as server:
        escrow = make(url=server.url, token=server.token, retries=0, timeout=0.5)
        escrow.check()
        server.pause()
        message = refused(lambda: escrow.store({"t1": Stored(record(), 0)}), server.token)
        assert "no answer within 0.5 s" in message
        server.resume()
        assert make(url=server.url, token=server.token).load(["t1"]).keys() <= {"t1"}


class Between(http.server.BaseHTTPRequestHandler):
    """A proxy to the server that loses answers, or answers by itself."""

    server: Lossy  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.handle_one(self)

    do_POST = do_GET

    def log_message(self, *dummy: Any) -> None:
        pass


class Lossy(http.server.ThreadingHTTPServer):
    """`lose`: so many answers to writes of data are lost after the server has carried them out; `answers`: statuses
    given without asking the server."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Between)
        self.target, self.lose, self.answers = target, 0, list[int]()
        self.page = b'{"errors": ["made up"]}'
        self.connections = 0
        self.requests: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def handle_one(self, handler: Between) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.requests.append(f"{handler.command} {handler.path}")
        if self.answers:
            status, content = self.answers.pop(0), self.page
        else:
            headers = {k: v for k, v in handler.headers.items() if k.startswith("X-Vault")}
            answer = requests.request(
                handler.command, self.target + handler.path, data=body, headers=headers, timeout=5
            )
            status, content = answer.status_code, answer.content
        if self.lose and handler.command == "POST" and "/data/" in handler.path:
            self.lose -= 1
            handler.close_connection = True
            handler.connection.shutdown(2)
            return
        handler.send_response(status)
        if 300 <= status < 400:
            handler.send_header("Location", "http://127.0.0.2:1/v1/elsewhere")
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@pytest.fixture
def lossy(openbao: OpenBao) -> Iterator[Lossy]:
    with Lossy(openbao.url) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url_of(lossy: Lossy) -> str:
    return f"http://127.0.0.1:{lossy.server_address[1]}"


@pytest.mark.parametrize("retries", [0, 3])
def test_a_write_whose_answer_was_lost_is_ours(make: Make, lossy: Lossy, retries: int) -> None:
    escrow = make(url=url_of(lossy), retries=retries)
    lossy.lose = 1
    assert not escrow.store({"t1": Stored(record(), 0)}).conflicts
    assert make().load()["t1"].version == 1


def test_a_write_whose_answers_are_all_lost_is_ours(make: Make, lossy: Lossy) -> None:
    lossy.lose = 3
    assert not make(url=url_of(lossy), retries=2).store({"t1": Stored(record(), 0)}).conflicts
    assert make().load()["t1"].version == 1


def test_a_lost_answer_does_not_hide_a_conflict(make: Make, lossy: Lossy) -> None:
    make().store({"t1": Stored(record("other"), 0)})
    lossy.lose = 1
    assert list(make(url=url_of(lossy)).store({"t1": Stored(record(), 0)}).conflicts) == ["t1"]
    assert make().load()["t1"].record.name == "other"


@pytest.mark.parametrize("status", [412, 429, 500, 502, 503])
def test_passing_trouble_is_waited_for(make: Make, lossy: Lossy, status: int) -> None:
    escrow = make(url=url_of(lossy))
    lossy.answers = [status, status]
    assert not escrow.store({"t1": Stored(record(), 0)}).conflicts
    assert make().load()["t1"].version == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "limits the rate"),
        (500, "the server fails to write a record (made up)"),
        (504, "the server fails to write a record (made up)"),
        (307, "the server redirects"),
        (400, "the server refuses to write a record (made up)"),
        (404, "does not answer like a Vault server"),
        (418, "the server fails to write a record (made up)"),
    ],
)
def test_lasting_trouble_is_told(make: Make, lossy: Lossy, openbao: OpenBao, status: int, message: str) -> None:
    escrow = make(url=url_of(lossy), retries=0)
    lossy.answers = [status] * 5
    assert message in refused(lambda: escrow.store({"t1": Stored(record(), 0)}), openbao.token)


def test_after_an_error_nothing_new_is_begun(make: Make, lossy: Lossy) -> None:
    escrow = make(url=url_of(lossy), retries=0, workers=2)
    lossy.answers = [400] * 1000
    refused(lambda: escrow.store({f"t{n}": Stored(record(), 0) for n in range(100)}))
    assert len(lossy.requests) < 20


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "vault.example.com"}, "escrow.url must be an http or https URL"),
        ({"url": "http://vault.example.com:8200"}, "must use https"),
        ({"url": "https://root:secret@vault.example.com"}, "must not hold credentials"),
        ({"token": None}, "there are no credentials"),
        ({"token": None, "role_id": "r"}, "there are no credentials"),
        ({"token": "two\nlines"}, "escrow.token holds"),
        ({"path": "../other"}, "escrow.path must be names"),
        ({"mount": ""}, "escrow.mount must be names"),
        ({"workers": 0}, "escrow.workers"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EscrowError, match=message):
        Kv2Connection(**{"url": "https://vault.example.com", "token": "a-token", **options})


@pytest.mark.parametrize("identifier", ["", "..", "a/b", "a b", "x" * 65])
def test_ids_that_would_lead_elsewhere(make: Make, identifier: str) -> None:
    with pytest.raises(EscrowError, match="is not the id"):
        make().load([identifier])
    with pytest.raises(EscrowError, match="is not the id"):
        make(account=identifier)
