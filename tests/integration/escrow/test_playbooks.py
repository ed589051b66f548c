# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action psk_escrow and the lookup ipsec_psk in playbooks, with both backends."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.openbao import OpenBao
from tests.harness.playbook import Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import ACCOUNT, Simulator

ROTATE = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    magicwan.cloudflare.psk_escrow:
      escrow: "{{ escrow }}"
      rotation_id: r1
  tasks:
    - name: Open
      magicwan.cloudflare.psk_escrow:
        operation: open
    - name: Prepare
      magicwan.cloudflare.psk_escrow:
        operation: prepare
        tunnels: "{{ tunnels }}"
      register: prepared
    - name: Send
      magicwan.cloudflare.ipsec_psk:
        psks: "{{ prepared.psks }}"
        state: rotated
      register: sent
    - name: Record
      magicwan.cloudflare.psk_escrow:
        operation: record
        tunnels: "{{ prepared.tunnels }}"
        results: "{{ sent.psks }}"
      register: recorded
    - name: Confirm
      magicwan.cloudflare.psk_escrow:
        operation: confirm
        tunnels: "{{ recorded.tunnels }}"
    - name: Read
      magicwan.cloudflare.psk_escrow:
        operation: read
      register: found
    - name: Count
      ansible.builtin.assert:
        that:
          - found.tunnels | length == tunnels | length
          - found.tunnels | map(attribute='state') | unique | list == ['idle']
          - found.tunnels | map(attribute='generation') | unique | list == [1]
          - "'psk' not in found.tunnels[0]"
"""

UNSENT = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    magicwan.cloudflare.psk_escrow:
      escrow: "{{ escrow }}"
      lease: 4000
  tasks:
    - name: Prepare
      magicwan.cloudflare.psk_escrow:
        operation: prepare
        tunnels: "{{ tunnels }}"
      register: prepared
    - name: Read while they are held
      magicwan.cloudflare.psk_escrow:
        operation: read
      register: held
    - name: Tell until when
      ansible.builtin.debug:
        msg: "{{ held.tunnels | map(attribute='lease_until') }}"
    - name: Record
      magicwan.cloudflare.psk_escrow:
        operation: record
        tunnels: "{{ prepared.tunnels }}"
        failure: nobody knows what became of the request
    - name: Read what was recorded
      magicwan.cloudflare.psk_escrow:
        operation: read
      register: recorded
    - name: Tell states and reasons
      ansible.builtin.debug:
        msg: "{{ recorded.tunnels | map(attribute='state') | zip(recorded.tunnels | map(attribute='reason')) }}"
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


def entries(simulator: Simulator) -> list[dict[str, Any]]:
    return [
        {"id": x["id"], "name": x["name"], "reported": (x.get("psk_metadata") or {}).get("last_generated_on")}
        for x in simulator.state()["tunnels"]
    ]


def look_up(playbooks: Playbooks, target: Path, escrow: dict[str, Any], which: str, *terms: str, core: Any) -> Result:
    extra = {"escrow": escrow, "which": which, "terms": terms, "target": str(target)}
    return playbooks.run(LOOK_UP, extra_vars=extra, core=core, verbosity=3)


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
    extra = {"escrow": escrow, "tunnels": entries(simulator)}
    playbooks.run(ROTATE, extra_vars=extra, core=core, verbosity=4).ok()
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


@pytest.fixture
def unsent(playbooks: Playbooks, simulator: Simulator, tmp_path: Path) -> Result:
    """A rotation that never learns what the API has done."""
    escrow = {"backend": "file", "path": str(tmp_path / "psks.yml")}
    return playbooks.run(UNSENT, extra_vars={"escrow": escrow, "tunnels": entries(simulator)}).ok()


@pytest.mark.fleet(tunnels=2)
def test_a_prepared_tunnel_is_held_for_the_time_of_the_lease(unsent: Result) -> None:
    left = [end - time.time() for end in unsent.result("Tell until when")["msg"]]
    assert len(left) == 2
    assert all(3000 < seconds <= 4000 for seconds in left)


@pytest.mark.fleet(tunnels=2)
def test_tunnels_without_a_result_are_in_doubt_for_the_reason_given(unsent: Result) -> None:
    told = unsent.result("Tell states and reasons")["msg"]
    assert told == [["in_doubt", "nobody knows what became of the request"]] * 2


@pytest.mark.fleet(tunnels=2)
def test_check_mode_writes_nothing(playbooks: Playbooks, simulator: Simulator, escrow: dict[str, Any]) -> None:
    play = ROTATE[: ROTATE.index("    - name: Send")]
    playbooks.run(play, extra_vars={"escrow": escrow, "tunnels": entries(simulator)}, check=True).ok()
    assert "path" not in escrow or not Path(escrow["path"]).exists()
    assert simulator.writes() == 0


@pytest.mark.fleet(tunnels=2)
def test_a_store_that_is_down_stops_the_run_before_the_api_is_called(
    playbooks: Playbooks, simulator: Simulator, no_store_secret_leaks: list[str]
) -> None:
    with OpenBao() as server:
        no_store_secret_leaks.append(server.token)
        escrow = {"backend": "vault_kv2", "url": server.url, "token": server.token, "retries": 1}
        server.seal()
        result = playbooks.run(ROTATE, extra_vars={"escrow": escrow, "tunnels": entries(simulator)}).failed()
    message = result.result("Open")["msg"]
    assert message.startswith(f"psk_escrow open: the escrow {server.url}: the server is sealed")
    assert simulator.writes() == 0


def test_on_awx_a_file_is_refused(playbooks: Playbooks, tmp_path: Path) -> None:
    escrow = {"backend": "file", "path": str(tmp_path / "psks.yml")}
    play = ROTATE[: ROTATE.index("    - name: Prepare")]
    result = playbooks.run(play, extra_vars={"escrow": escrow}, env={"JOB_ID": "7"}).failed()
    assert "this runs on AWX" in result.result("Open")["msg"]


@pytest.mark.fleet(tunnels=2)
def test_the_file_shows_no_psk(playbooks: Playbooks, simulator: Simulator, tmp_path: Path) -> None:
    escrow = {"backend": "file", "path": str(tmp_path / "psks.yml")}
    playbooks.run(ROTATE, extra_vars={"escrow": escrow, "tunnels": entries(simulator)}).ok()
    assert not find_secrets(tmp_path / "psks.yml", simulator.psks())
