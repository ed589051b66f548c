# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ipsec_psk in playbooks: what is set when, and what it hands over to whom.

The author of these plays never wrote no_log on a task of the module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import CoreUnavailable, core_bin
from tests.harness.simulator import Simulator
from tests.integration.modules.conftest import Task, Tell, Told, arm, may_fail, task

KEYS = {"id", "name", "status", "changed", "applied_on", "ipsec_id", "reason", "psk"}
OWN = ["FirstKeyOfTheUser0123456789", "SecondKeyOfTheUser0123456789"]
BATCH = "{{ keys.psks | map('dict2items') | map('selectattr', 'key', 'in', ['id', 'applied_on']) | map('items2dict') }}"


def psk(name: str, check: bool = False, /, **options: Any) -> Task:
    return task(name, "ipsec_psk", check, **options)


def keep(register: str, folder: Path) -> Task:
    """Write a register to a file, as a careful author does."""
    content = "{{ " + register + " | to_json }}"
    copy = {"content": content, "dest": f"{folder}/{register}.json", "mode": "0600"}
    return {"name": f"keep {register}", "ansible.builtin.copy": copy, "no_log": True}


def kept(register: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{register}.json").read_text(encoding="utf-8"))
    return found


def held(told: Told, results: list[dict[str, Any]]) -> list[str]:
    """The PSKs that the API holds for these results' tunnels."""
    return [told.after[x["id"]]["psk"] for x in results]


def someone_else_sets(simulator: Simulator, ids: list[str]) -> Task:
    """Somebody else sets PSKs, at a time that no tolerance takes for that of ours."""
    return {
        "name": "Set the PSKs in the dashboard",
        "ansible.builtin.uri": {
            "url": f"{simulator.sim_url}/tunnels/{{{{ item }}}}",
            "method": "PATCH",
            "body": {"psk": "SetInTheDashboard0123456789", "last_generated_on": "2026-01-01T00:00:00Z"},
            "body_format": "json",
        },
        "loop": ids,
    }


# -- what is set when -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def rotation(tell: Tell, folder: Path, simulator_process: Simulator) -> Told:
    """Four tunnels with a PSK and two without; later somebody else replaces the four."""

    def tasks(tunnels: list[dict[str, Any]]) -> list[Task]:
        with_psk, without = ([x for x in tunnels if bool(x["psk"]) is wanted] for wanted in (True, False))
        four = [{"id": x["id"]} for x in with_psk[:4]]
        six = [*four, *({"name": x["name"]} for x in without[:2])]
        registers = ("check", "keys", "again", "young", "old", "rotated")
        return [
            {**psk("check missing", True, psks=six), "register": "check"},
            {**psk("set missing", psks=six), "register": "missing"},
            psk("set missing again", psks=six),
            psk("check rotate", True, psks=four, state="rotated"),
            {**psk("rotate", psks=four, state="rotated"), "register": "keys"},
            {**psk("rotate again with applied_on", psks=BATCH, state="rotated"), "register": "again"},
            {**psk("young enough", psks=four, max_age="90d", state="rotated"), "register": "young"},
            {**psk("too old", psks=four, max_age="0"), "register": "old"},
            someone_else_sets(simulator_process, [x["id"] for x in four]),
            {**psk("applied_on of a replaced key", psks=BATCH), "register": "replaced"},
            *(keep(name, folder) for name in ("missing", *registers, "replaced") if name != "rotated"),
        ]

    return tell(tasks, verbosity=3, diff=True)


def test_the_whole_rotation_succeeds(rotation: Told) -> None:
    rotation.result.ok()


def test_each_change_is_one_request_and_nothing_else_writes(rotation: Told) -> None:
    assert rotation.asked == ["psk_set?", "psk_set", "psk_set?", "psk_set", "psk_set", "psk_set"]
    assert [len(x["tunnels"]) for x in rotation.journal if x["changed"]] == [2, 4, 4, 4]


def test_only_a_tunnel_without_a_psk_gets_one_by_default(rotation: Told, folder: Path) -> None:
    assert [x["status"] for x in kept("check", folder)["psks"]] == ["unchanged"] * 4 + ["planned"] * 2
    assert [x["status"] for x in kept("missing", folder)["psks"]] == ["unchanged"] * 4 + ["applied"] * 2


def test_a_second_run_leaves_it(rotation: Told) -> None:
    assert rotation.of("set missing again")["changed"] is False


@pytest.mark.parametrize("name", ["check missing", "check rotate"])
def test_the_check_run_foretells_the_change_and_shows_no_psk(rotation: Told, name: str) -> None:
    checked = rotation.of(name)
    assert checked["changed"] is True
    assert all(x["psk"] is None for x in checked["psks"])


def test_a_check_run_has_the_keys_of_a_real_one(rotation: Told, folder: Path) -> None:
    check, real = kept("check", folder), kept("missing", folder)
    assert set(check) == set(real)
    assert [set(x) for x in check["psks"]] == [set(x) for x in real["psks"]]


def test_the_time_that_was_returned_makes_the_next_run_idempotent(rotation: Told, folder: Path) -> None:
    assert [x["status"] for x in kept("again", folder)["psks"]] == ["unchanged"] * 4


def test_a_psk_that_is_young_enough_stays_even_when_rotation_is_asked_for(rotation: Told, folder: Path) -> None:
    assert [x["status"] for x in kept("young", folder)["psks"]] == ["unchanged"] * 4


def test_a_psk_that_is_too_old_is_replaced(rotation: Told, folder: Path) -> None:
    assert [x["status"] for x in kept("old", folder)["psks"]] == ["applied"] * 4


def test_a_key_that_somebody_replaced_is_set_again(rotation: Told, folder: Path) -> None:
    assert [x["status"] for x in kept("replaced", folder)["psks"]] == ["applied"] * 4


def test_the_register_holds_what_the_api_holds(rotation: Told, folder: Path) -> None:
    results = kept("replaced", folder)["psks"]
    assert [x["psk"] for x in results] == held(rotation, results)
    assert [x["ipsec_id"] for x in results] == [rotation.after[x["id"]]["ipsec_id"] for x in results]


def test_generated_psks_differ_from_run_to_run(rotation: Told, folder: Path) -> None:
    made = [x["psk"] for name in ("keys", "old", "replaced") for x in kept(name, folder)["psks"]]
    assert len(set(made)) == 12


# -- the hand-over --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[None, "2.19"], ids=["core", "core-2.19"])
def release(request: pytest.FixtureRequest) -> str | None:
    """The ansible-core to run on."""
    try:
        core_bin(request.param)
    except CoreUnavailable as exc:
        pytest.skip(str(exc))
    version: str | None = request.param
    return version


@pytest.fixture(scope="module")
def handed_folder(release: str | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("handed")


@pytest.fixture(scope="module")
def handed(tell: Tell, simulator_process: Simulator, release: str | None, handed_folder: Path) -> Told:
    """The user's own and generated PSKs, then a call of which one entry is refused and one forgotten."""

    def tasks(tunnels: list[dict[str, Any]]) -> list[Task]:
        four = [{"id": x["id"]} for x in tunnels[:4]]
        mixed = [{**four[0], "psk": "{{ own_1 }}"}, {**four[1], "psk": "{{ own_2 }}"}, *four[2:]]
        known = [{**four[0], "psk": "{{ own_1 }}", "applied_on": "{{ mixed.psks[0].applied_on }}"}]
        return [
            {**psk("mixed", psks=mixed, state="rotated"), "register": "mixed"},
            {**psk("known", psks=known, state="rotated"), "register": "known"},
            arm(
                simulator_process,
                {"route": "psk_set", "unapplied": [tunnels[5]["id"]]},
            ),
            may_fail(
                psk("unapplied", psks=[{"id": x["id"]} for x in tunnels[4:7]], state="rotated"), register="unapplied"
            ),
            arm(simulator_process, {"route": "psk_set", "omit": [tunnels[8]["id"]], "when": "after"}),
            may_fail(psk("doubt", psks=[{"id": x["id"]} for x in tunnels[7:10]], state="rotated"), register="doubt"),
            arm(simulator_process, {"route": "psk_set", "drop": True, "when": "after", "count": 0}),
            may_fail(
                psk("lost", psks=[{"id": x["id"]} for x in tunnels[10:12]], state="rotated", retries=0), register="lost"
            ),
            *(keep(name, handed_folder) for name in ("mixed", "known", "unapplied", "doubt", "lost")),
        ]

    return tell(
        tasks,
        secrets=OWN,
        extra_vars={"own_1": OWN[0], "own_2": OWN[1]},
        verbosity=3,
        diff=True,
        core=release,
    )


def test_the_register_holds_the_users_own_and_generated_psks(handed: Told, handed_folder: Path) -> None:
    handed.result.ok()
    results = kept("mixed", handed_folder)["psks"]
    assert [x["psk"] for x in results] == held(handed, results)
    assert [x["psk"] for x in results[:2]] == OWN
    assert {key for x in results for key in x} == KEYS


def test_the_display_is_censored_though_nobody_wrote_no_log(handed: Told) -> None:
    shown = handed.of("mixed")
    assert "censored" in shown
    assert all("psk" not in x for x in shown.get("psks", ()))


def test_an_unchanged_entry_keeps_the_psk_that_it_was_given(handed: Told, handed_folder: Path) -> None:
    (entry,) = kept("known", handed_folder)["psks"]
    assert (entry["status"], entry["psk"]) == ("unchanged", OWN[0])


def test_a_refused_entry_does_not_hide_the_keys_that_were_applied(handed: Told, handed_folder: Path) -> None:
    found = kept("unapplied", handed_folder)
    assert found["failed"] is True
    assert [x["status"] for x in found["psks"]] == ["applied", "unapplied", "applied"]
    assert found["psks"][1]["psk"] is None
    applied = [x for x in found["psks"] if x["psk"]]
    assert [x["psk"] for x in applied] == held(handed, applied)


def test_the_psk_of_an_entry_in_doubt_is_not_lost(handed: Told, handed_folder: Path) -> None:
    results = kept("doubt", handed_folder)["psks"]
    assert [x["status"] for x in results] == ["applied", "in_doubt", "applied"]
    assert [x["psk"] for x in results] == held(handed, results)


def test_keys_whose_answers_were_lost_are_in_doubt_and_handed_over(handed: Told, handed_folder: Path) -> None:
    results = kept("lost", handed_folder)["psks"]
    assert [x["status"] for x in results] == ["in_doubt"] * 2
    assert [x["psk"] for x in results] == held(handed, results)


@pytest.mark.parametrize("reason", ["failed to persist PSK", "the answer does not mention this tunnel"])
def test_a_partial_failure_says_on_the_screen_why(handed: Told, reason: str) -> None:
    assert reason in " ".join(handed.result.output.split())


# -- a module that breaks -------------------------------------------------------------------------------------------

BREAK = """
import os
try:
    import requests
except ImportError:
    pass
else:
    real = requests.Session.request

    def request(self, method, url, **kwargs):
        how = os.environ["BREAK"]
        if how == "read":
            raise RuntimeError("headers " + str(kwargs) + self.auth._headers.get("Authorization", ""))
        answer = real(self, method, url, **kwargs)
        if method == "POST" and how == "write":
            raise RuntimeError("body " + str(kwargs))
        if method == "POST" and how == "die":
            os.write(1, str(kwargs).encode())
            os.write(2, str(kwargs).encode())
            os._exit(9)
        return answer

    requests.Session.request = request
"""


@pytest.fixture(scope="module")
def broken_folder(release: str | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken")


@pytest.fixture(scope="module")
def broken(tell: Tell, release: str | None, broken_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Exceptions with secrets in their text, and a sudden end, at three places of the module."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(BREAK, encoding="utf-8")

    def tasks(tunnels: list[dict[str, Any]]) -> list[Task]:
        found = []
        for number, how in enumerate(["read", "write", "die"]):
            mine = [{"id": x["id"]} for x in tunnels[2 * number : 2 * number + 2]]
            mine[0]["psk"] = "{{ own_1 }}"
            one = may_fail(psk(how, psks=mine, state="rotated"), register=how)
            found += [{**one, "environment": {"PYTHONPATH": str(site), "BREAK": how}}, keep(how, broken_folder)]
        made = {"name": "a new one", "cloudflare_endpoint": "203.0.113.1", "interface_address": "10.200.0.0/31"}
        one = may_fail(task("create", "ipsec_tunnel", **made, psk="{{ own_1 }}"))
        return [*found, {**one, "environment": {"PYTHONPATH": str(site), "BREAK": "write"}}]

    return tell(tasks, secrets=OWN, extra_vars={"own_1": OWN[0], "own_2": OWN[1]}, verbosity=3, diff=True, core=release)


@pytest.mark.parametrize("how", ["read", "write"])
def test_an_unforeseen_exception_is_one_line_without_its_text(broken: Told, broken_folder: Path, how: str) -> None:
    found = kept(how, broken_folder)
    assert found["failed"] is True
    assert found["msg"].startswith("internal error: RuntimeError in sitecustomize.py:")
    assert "\n" not in found["msg"]


def test_an_exception_before_the_first_write_leaves_no_results(broken: Told, broken_folder: Path) -> None:
    assert "psks" not in kept("read", broken_folder)


@pytest.mark.parametrize("how", ["write", "die"])
def test_the_keys_of_a_module_that_broke_while_it_wrote_are_in_doubt_and_not_lost(
    broken: Told, broken_folder: Path, how: str
) -> None:
    results = kept(how, broken_folder)["psks"]
    assert [x["status"] for x in results] == ["in_doubt"] * 2
    assert [x["psk"] for x in results] == held(broken, results)


def test_what_a_dying_module_printed_is_not_kept(broken: Told, broken_folder: Path) -> None:
    assert not {"module_stdout", "module_stderr"} & set(kept("die", broken_folder))


def test_an_exception_in_ipsec_tunnel_shows_nothing_either(broken: Told) -> None:
    assert broken.of("create")["msg"].startswith("internal error: RuntimeError in sitecustomize.py:")
