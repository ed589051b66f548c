# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules psk_escrow and psk_escrow_info and the lookup ipsec_psk in playbooks, with both backends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.harness.openbao import OpenBao
from tests.harness.playbook import Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import ACCOUNT, Simulator

ROTATE = """
- hosts: localhost
  connection: local
  gather_facts: false
  roles:
    - role: magicwan.cloudflare.psk_rotation
"""

READ = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Read
      magicwan.cloudflare.psk_escrow_info:
        escrow: "{{ escrow }}"
        account_id: "{{ account }}"
      register: found
    - name: Show
      ansible.builtin.debug:
        msg: "{{ found.tunnels }}"
"""

REPAIR = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Repair
      magicwan.cloudflare.psk_escrow:
        escrow: "{{ escrow }}"
        account_id: "{{ account }}"
        operation: "{{ operation }}"
        tunnels: "{{ tunnels }}"
"""

LOOK_UP = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Look up
      ansible.builtin.copy:
        content: "{{ lookup('magicwan.cloudflare.ipsec_psk', *terms, escrow=escrow, which=which, wantlist=True) }}"
        dest: "{{ target }}"
        mode: "0600"
      no_log: true
"""


@pytest.fixture(params=["file", "vault_kv2"])
def escrow(request: pytest.FixtureRequest, tmp_path: Path, openbao: OpenBao, place: str) -> dict[str, Any]:
    if request.param == "file":
        return {"backend": "file", "path": str(tmp_path / "psks.yml")}
    role_id, secret_id = openbao.approle(
        openbao.policy(f"{place}/{ACCOUNT}", ["create", "read", "update"]),
        openbao.policy(place, ["list"]),
    )
    return {"backend": "vault_kv2", "url": openbao.url, "path": place, "role_id": role_id, "secret_id": secret_id}


def look_up(playbooks: Playbooks, target: Path, escrow: dict[str, Any], which: str, *terms: str, core: Any) -> Result:
    extra = {"escrow": escrow, "which": which, "terms": terms, "target": str(target)}
    return playbooks.run(LOOK_UP, extra_vars=extra, core=core, verbosity=3)


def rotate(playbooks: Playbooks, escrow: dict[str, Any], **options: Any) -> Result:
    extra = {"psk_rotation_escrow": escrow, "psk_rotation_tunnels": ["all"], "psk_rotation_unknown_psk": "rotate"}
    return playbooks.run(ROTATE, extra_vars=extra, **options)


def read(playbooks: Playbooks, escrow: dict[str, Any]) -> list[dict[str, Any]]:
    found = playbooks.run(READ, extra_vars={"escrow": escrow, "account": ACCOUNT}).ok()
    return list(found.result("Show")["msg"])


def repair(playbooks: Playbooks, escrow: dict[str, Any], operation: str, *tunnels: str, **options: Any) -> Result:
    extra = {"escrow": escrow, "account": ACCOUNT, "operation": operation, "tunnels": tunnels}
    return playbooks.run(REPAIR, extra_vars=extra, **options)


@pytest.mark.fleet(tunnels=5)
def test_a_rotation_and_its_psks(
    playbooks: Playbooks,
    simulator: Simulator,
    escrow: dict[str, Any],
    core: str | None,
    tmp_path: Path,
    no_store_secret_leaks: list[str],
) -> None:
    no_store_secret_leaks.append(escrow.get("secret_id", "nothing-to-look-for"))
    rotate(playbooks, escrow, core=core, verbosity=4).ok()
    truth = {x["name"]: x for x in simulator.state()["tunnels"]}
    one, two = sorted(truth)[:2]
    target = tmp_path / "found"
    look_up(playbooks, target, escrow, "device", one, truth[two]["id"], core=core).ok()
    assert json.loads(target.read_text(encoding="utf-8").replace("'", '"')) == [truth[one]["psk"], truth[two]["psk"]]
    for which, terms, message in (
        ("current", ["no-such-tunnel"], "the escrow has no tunnel 'no-such-tunnel' of this id or name"),
        ("pending", [one], f"the escrow knows no pending PSK of tunnel '{one}', which is idle"),
        ("previous", [one], f"the escrow knows no previous PSK of tunnel '{one}'"),
    ):
        failed = look_up(playbooks, target, escrow, which, *terms, core=core).failed()
        # Cores before 2.19 show nothing of a task with no_log.
        assert message in failed.output or "censored" in failed.output


@pytest.mark.fleet(tunnels=2)
def test_the_records_are_read_without_their_psks(
    playbooks: Playbooks, simulator: Simulator, escrow: dict[str, Any]
) -> None:
    rotate(playbooks, escrow).ok()
    found = read(playbooks, escrow)
    assert sorted(x["name"] for x in found) == sorted(simulator.tunnels_by_name())
    assert [(x["state"], x["generation"]) for x in found] == [("idle", 1)] * 2
    assert not {"psk", "current", "pending", "previous"} & set(found[0])


@pytest.mark.fleet(tunnels=2)
def test_a_record_is_forgotten_only_once_it_is_marked_as_gone(
    playbooks: Playbooks, simulator: Simulator, escrow: dict[str, Any]
) -> None:
    rotate(playbooks, escrow).ok()
    one, two = (x["id"] for x in simulator.state()["tunnels"])
    refused = repair(playbooks, escrow, "forget", one).failed().result("Repair")["msg"]
    assert refused == f"0 records repaired; not repaired: {one}: it is not marked as gone"
    repair(playbooks, escrow, "mark_gone", one).ok()
    repair(playbooks, escrow, "forget", one).ok()
    assert [x["id"] for x in read(playbooks, escrow)] == [two]


@pytest.mark.fleet(tunnels=2)
@pytest.mark.parametrize("operation", ["unstick", "mark_gone", "forget"])
def test_a_repair_of_no_tunnels_or_of_unknown_ones_is_refused(
    playbooks: Playbooks, escrow: dict[str, Any], operation: Literal["unstick", "mark_gone", "forget"]
) -> None:
    rotate(playbooks, escrow).ok()
    nothing = repair(playbooks, escrow, operation).failed().result("Repair")["msg"]
    assert nothing.startswith(f"psk_escrow {operation}: tunnels is empty: name the tunnels")
    unknown = repair(playbooks, escrow, operation, "no-such-tunnel").failed().result("Repair")["msg"]
    assert "no-such-tunnel" in unknown
    assert len(read(playbooks, escrow)) == 2


@pytest.mark.fleet(tunnels=2)
def test_a_repair_in_check_mode_writes_nothing(
    playbooks: Playbooks, simulator: Simulator, escrow: dict[str, Any]
) -> None:
    rotate(playbooks, escrow).ok()
    before = read(playbooks, escrow)
    assert repair(playbooks, escrow, "mark_gone", *simulator.tunnels_by_name(), check=True).ok().changed == 1
    assert read(playbooks, escrow) == before


def test_a_store_that_is_down_stops_the_run_before_the_api_is_called(
    playbooks: Playbooks, simulator: Simulator, no_store_secret_leaks: list[str]
) -> None:
    with OpenBao() as server:
        no_store_secret_leaks.append(server.token)
        escrow = {"backend": "vault_kv2", "url": server.url, "token": server.token, "retries": 1}
        server.seal()
        result = rotate(playbooks, escrow).failed()
        assert f"the escrow {server.url}: the server is sealed" in result.output
    assert simulator.writes() == 0


def test_on_awx_a_file_is_refused(playbooks: Playbooks, tmp_path: Path) -> None:
    escrow = {"backend": "file", "path": str(tmp_path / "psks.yml")}
    assert "this runs on AWX" in rotate(playbooks, escrow, env={"JOB_ID": "7"}).failed().output


@pytest.mark.fleet(tunnels=2)
def test_the_file_shows_no_psk(playbooks: Playbooks, simulator: Simulator, tmp_path: Path) -> None:
    rotate(playbooks, {"backend": "file", "path": str(tmp_path / "psks.yml")}).ok()
    assert not find_secrets(tmp_path / "psks.yml", simulator.psks())
