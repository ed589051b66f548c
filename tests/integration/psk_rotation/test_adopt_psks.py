# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook adopt_psks and the entry point adopt: known PSKs become the escrow's, and nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator
from tests.integration.psk_rotation.stage import Run, Stage

pytestmark = pytest.mark.fleet(tunnels=4)
SECRET = "another-Secret-of-the-Source"


def source(stage: Stage, text: str, name: str = "source", mode: int = 0o600) -> str:
    path = Path(stage.write(name, text))
    path.chmod(mode)
    return str(path)


def known(stage: Stage) -> dict[str, str]:
    """The account's PSKs by the names of their tunnels."""
    return {x["name"]: x["psk"] for x in stage.tunnels().values()}


def adopt(stage: Stage, origin: Any, variables: dict[str, Any] | None = None, **options: Any) -> Run:
    """Adopt by the playbook. No run shows a PSK of the source or writes to the API."""
    run = stage.rotate({"adopt_psks_from": origin, **(variables or {})}, playbook="adopt_psks", then=(), **options)
    assert not find_secrets([run.result.output], [SECRET])
    assert run.waves == [] and not run.rotated
    return run


def terraform(stage: Stage, **changes: Any) -> str:
    """What Terraform shows of the account."""
    resources = [
        {
            "address": f'module.wan.cloudflare_magic_wan_ipsec_tunnel.t["{x["name"]}"]',
            "mode": "managed",
            "type": "cloudflare_magic_wan_ipsec_tunnel",
            "values": {"id": i, "name": x["name"], "psk": x["psk"], "psk_metadata": x["psk_metadata"], **changes},
        }
        for i, x in stage.tunnels().items()
    ]
    inner = {"address": "module.wan", "resources": resources}
    return json.dumps({"format_version": "1.0", "values": {"root_module": {"child_modules": [inner]}}})


def test_a_canary_on_adopted_psks_that_fails_is_rolled_back_to_them(stage: Stage) -> None:
    run = adopt(stage, {"terraform": source(stage, terraform(stage))}).ok()
    assert "4 adopted, 0 known already" in run.result.stdout
    records = stage.escrow()
    for i, tunnel in stage.tunnels().items():
        current = records[i]["current"]
        assert (current["psk"], current["confirmed"], records[i]["previous"]) == (tunnel["psk"], False, None)
        assert current["applied_on"] == current["made_on"] == tunnel["psk_metadata"]["last_generated_on"]
    before = stage.psks()
    canary = {"psk_rotation_unknown_psk": None, "psk_rotation_force": True, "broken_devices": ["device0"]}
    failed = stage.rotate_devices(canary, args=["--limit", "device0"], then=()).failed()
    assert failed.waves and stage.psks() == before
    assert stage.current() == before
    again = adopt(stage, {"terraform": source(stage, terraform(stage))}).ok()
    assert again.result.changed == 0


def test_a_finished_rotation_is_rolled_back_to_adopted_psks_which_says_that_they_were_never_proven(
    stage: Stage,
) -> None:
    adopt(stage, {"psks": known(stage)}).ok()
    before = stage.psks()
    known_only = {"psk_rotation_unknown_psk": None}
    stage.rotate_devices({**known_only, "psk_rotation_force": True}, then=()).ok()
    run = stage.rotate_devices(
        {**known_only, "psk_rotation_rollback_id": "last"}, playbook="rollback_psks", then=()
    ).ok()
    assert stage.psks() == stage.current() == before
    assert "the PSK before, which is set again, was never seen to work: " in run.result.stdout


def test_a_young_psk_that_was_adopted_is_not_due(stage: Stage) -> None:
    adopt(stage, {"psks": known(stage)}).ok()
    run = stage.rotate({"psk_rotation_unknown_psk": None, "psk_rotation_max_age": "9999w"}, then=()).ok()
    assert not run.rotated
    assert set(run.statuses().values()) == {"unchanged"}


def test_a_table_with_one_key_too_many_and_one_too_few(stage: Stage) -> None:
    rows = [f"{name},{psk}" for name, psk in known(stage).items()][:3]
    run = adopt(stage, {"csv": source(stage, "\n".join(["tunnel,psk", *rows, f"lyon-9,{SECRET}"]))}).ok()
    last = list(known(stage))[3]
    assert f"3 adopted, 0 known already, 1 without a tunnel ('lyon-9' (line 5)), 1 without a key ({last})" in (
        run.result.stdout
    )
    assert len(stage.escrow()) == 3


def test_a_check_run_tells_the_same_and_writes_nothing(stage: Stage) -> None:
    run = adopt(stage, {"psks": known(stage)}, check=True).ok()
    assert "4 would be adopted" in run.result.stdout
    assert run.result.changed == 1
    assert not stage.escrow_path.exists()


def test_a_key_that_differs_from_the_escrows_is_not_overwritten_unless_told(stage: Stage) -> None:
    adopt(stage, {"psks": known(stage)}).ok()
    name = next(iter(known(stage)))
    failed = adopt(stage, {"psks": {name: SECRET}}).failed()
    assert f"1 not overwritten ({name}: the escrow has another PSK" in failed.failures[0]
    assert stage.current() == stage.psks()
    adopt(stage, {"psks": {name: SECRET}}, {"adopt_psks_overwrite": True}).ok()
    assert SECRET in stage.current().values()


def test_a_stale_key_is_not_adopted(stage: Stage) -> None:
    text = terraform(stage, psk=SECRET, psk_metadata={"last_generated_on": "2020-01-01T00:00:00Z"})
    failed = adopt(stage, {"terraform": source(stage, text)}).failed()
    assert "4 stale, not adopted (" in failed.failures[0]
    assert not stage.escrow_path.exists()


def test_a_row_of_a_table_that_is_older_than_cloudflare_is_not_adopted_and_is_named(stage: Stage) -> None:
    (stale, psk), (good, other), *dummy = known(stage).items()
    text = f"tunnel,psk,applied_on\n{stale},{psk},2020-01-01T00:00:00Z\n{good},{other},\n"
    failed = adopt(stage, {"csv": source(stage, text)}).failed()
    assert f"1 adopted, 0 known already, 1 stale, not adopted ({stale}: " in failed.failures[0]
    assert [x["name"] for x in stage.escrow().values()] == [good]


def shown(*resources: dict[str, Any]) -> str:
    """A state with these resources, each an IPsec tunnel with its label."""
    kind = "cloudflare_magic_wan_ipsec_tunnel"
    found = [{"address": f"{kind}.{x.pop('label')}", "mode": "managed", "type": kind, "values": x} for x in resources]
    return json.dumps({"values": {"root_module": {"resources": found}}})


# NAME and ID stand for a tunnel of the account.
BAD = {
    "JSON that ends too early": ("json", f'{{"NAME": "{SECRET}",', "line 1 is not valid JSON"),
    "JSON of another form": ("json", f'["{SECRET}"]', "must be one mapping of names or ids"),
    "two keys in JSON": ("json", f'{{"NAME": "{SECRET}", "ID": "other"}}', "both have a PSK for the tunnel 'NAME'"),
    "the same name twice in JSON": (
        "json",
        f'{{"NAME": "{SECRET}", "NAME": "y"}}',
        "both have a PSK for the tunnel 'NAME'",
    ),
    "an empty key in JSON": ("json", '{"NAME": ""}', "the PSK of the entry 'NAME' is empty"),
    "a key that is a number in JSON": ("json", '{"NAME": 12345678}', "the PSK of the entry 'NAME' is not text"),
    "a row with a column too many": ("csv", f"tunnel,psk\nNAME,{SECRET},y\n", "line 2 has 3 columns, not 2"),
    "a table without a header": ("csv", f"NAME,{SECRET}\n", "line 1 must name the columns"),
    "two keys in a table": (
        "csv",
        f"tunnel,psk\nNAME,{SECRET}\nID,y\n",
        "line 2 and line 3 both have a PSK for the tunnel",
    ),
    "an empty key in a table": ("csv", "tunnel,psk\nNAME,\n", "the PSK of line 2 is empty"),
    "columns that are swapped": ("csv", f"psk,tunnel\nNAME,{SECRET}\n", "line 2 has a tunnel's name as its PSK"),
    "a time that is none": (
        "csv",
        f"tunnel,psk,applied_on\nNAME,{SECRET},{SECRET}\n",
        "the applied_on of line 2 must be a time",
    ),
    "an old state": ("terraform", f'{{"version": 3, "x": "{SECRET}"}}', "no state of Terraform that is understood"),
    "a state that ends too early": ("terraform", f'{{"version": 4,\n"x": "{SECRET}"', "line 2 is not valid JSON"),
    "a state without tunnels": ("terraform", shown(), "holds no IPsec tunnel"),
    "two keys in a state": (
        "terraform",
        shown({"label": "a", "id": "ID", "psk": SECRET}, {"label": "b", "id": "ID", "psk": "y"}),
        "tunnel.a and cloudflare_magic_wan_ipsec_tunnel.b both have a PSK for the tunnel 'NAME'",
    ),
    "10 MB of JSON": ("json", f'{{"NAME": "{SECRET}"}}' + " " * 10_000_000, "10.0 MB, and no more than 8 MB are read"),
    "10 MB of a table": (
        "csv",
        f"tunnel,psk\nNAME,{SECRET}\n" + "y" * 10_000_000,
        "10.0 MB, and no more than 8 MB are read",
    ),
    "10 MB of a state": ("terraform", shown() + " " * 10_000_000, "10.0 MB, and no more than 8 MB are read"),
}


@pytest.mark.parametrize(("kind", "text", "message"), BAD.values(), ids=BAD)
def test_a_bad_source_is_one_line_that_says_where_and_nothing_is_written(
    stage: Stage, kind: str, text: str, message: str
) -> None:
    tunnel_id, name = next((i, x["name"]) for i, x in stage.tunnels().items())
    text, message = (x.replace("NAME", name).replace("ID", tunnel_id) for x in (text, message))
    log = stage.folder / "log"
    run = adopt(stage, {kind: source(stage, text)}, verbosity=3, env={"ANSIBLE_LOG_PATH": str(log)}).failed()
    (told,) = run.failures
    assert message in told and "\n" not in told
    assert "source" in told, "it does not say which file"
    assert not find_secrets([log.read_text(encoding="utf-8")], [SECRET])
    assert not stage.escrow_path.exists()


@pytest.mark.parametrize("psks", [{"NAME": ""}, {"NAME": None}, {"NAME": {"psk": SECRET}}, [SECRET], SECRET])
def test_a_bad_mapping_is_one_line_that_says_where_and_nothing_is_written(stage: Stage, psks: Any) -> None:
    if isinstance(psks, dict):
        psks = {next(iter(known(stage))): x for x in psks.values()}
    (told,) = adopt(stage, {"psks": psks}, verbosity=3).failed().failures
    assert "adopt_psks_from.psks" in told and "\n" not in told
    assert not stage.escrow_path.exists()


@pytest.mark.parametrize("origin", [f"{SECRET}.csv", [SECRET], {"csv": "a", "json": SECRET}, {"yaml": SECRET}, {}])
def test_a_source_that_is_not_one_of_four_is_refused_without_its_content(stage: Stage, origin: Any) -> None:
    (told,) = adopt(stage, origin, verbosity=3).failed().failures
    assert "adopt_psks_from must name one source: {json: PATH}, {csv: PATH}" in told and "\n" not in told


def test_without_a_source_it_says_what_is_missing(stage: Stage) -> None:
    (told,) = adopt(stage, None).failed().failures
    assert "adopt_psks_from" in told


def test_a_key_that_is_shown_is_found_by_the_search_of_these_tests(stage: Stage) -> None:
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"var": "adopt_psks_from"}}]}
    run = stage.rotate({"adopt_psks_from": {"psks": {"x": SECRET}}}, play=play, then=()).ok()
    assert find_secrets([run.result.output], [SECRET])


@pytest.mark.parametrize("kind", ["json", "csv", "terraform"])
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_that_others_can_read_is_refused(stage: Stage, kind: str, mode: int) -> None:
    (told,) = adopt(stage, {kind: source(stage, SECRET, mode=mode)}).failed().failures
    assert f"others can read it (mode {mode:04o}): chmod 600 it, or set adopt_psks_readable to true" in told
    assert not stage.escrow_path.exists()


def test_a_readable_file_is_refused_unless_told(stage: Stage) -> None:
    path = source(stage, json.dumps(known(stage)), mode=0o644)
    assert "others can read it (mode 0644)" in adopt(stage, {"json": path}).failed().failures[0]
    assert not stage.escrow_path.exists()
    adopt(stage, {"json": path}, {"adopt_psks_readable": True}).ok()


@pytest.mark.parametrize("limit", ["device0", "!localhost", "all:!localhost"])
def test_a_limit_that_leaves_localhost_out_is_refused_and_does_not_end_well(stage: Stage, limit: str) -> None:
    run = adopt(stage, {"psks": known(stage)}, inventory=stage.devices(), args=["--limit", limit]).failed()
    assert "localhost adopts PSKs, all that the source has, and --limit leaves it out" in run.failures[0]
    assert not stage.escrow_path.exists()


def test_a_misspelt_option_is_refused_before_the_first_write(stage: Stage) -> None:
    run = adopt(stage, {"psks": known(stage)}, {"adopt_psks_overwite": True}).failed()
    assert "did you mean adopt_psks_overwrite?" in run.failures[0]
    assert not stage.escrow_path.exists()


def test_the_entry_point_does_the_same_on_all_hosts_of_a_play_once(stage: Stage) -> None:
    variables = {"adopt_psks_from": {"psks": known(stage)}}
    run = stage.rotate(variables, tasks_from="adopt", inventory=stage.devices(), then=(), verbosity=3).ok()
    assert run.result.changed == 1
    assert stage.current() == stage.psks()


def test_the_module_takes_what_the_playbook_does(simulator: Simulator, playbooks: Playbooks, tmp_path: Path) -> None:
    names = {x["name"]: x["psk"] for x in simulator.state()["tunnels"]}
    path = tmp_path / "psks.json"
    path.write_text(json.dumps(names), encoding="utf-8")
    path.chmod(0o644)
    arguments = {
        "source": {"json": str(path)},
        "escrow": {"backend": "none"},
        "overwrite": True,
        "readable": True,
    }
    play = [{"hosts": "localhost", "tasks": [{"name": "Adopt", "magicwan.cloudflare.psk_adopt": arguments}]}]
    result: Result = playbooks.run(play).failed()
    assert "PSKs can't be adopted" in result.result("Adopt")["msg"]
