# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before the first request: each complaint names what is wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _names
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._guards import (
    DEVICE_PLATFORM,
    FLUSH,
    OF_BATCH,
    OF_HOST,
    REACH_BY_CONNECTION,
    REACH_BY_PING,
    REACH_PLATFORM,
    VERIFY_PLATFORM,
    Hooks,
    complaints,
    hooks_of,
    of_escrow,
    patterns,
    refuse,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._play import ENVIRONMENT, Host, Keywords

ESCROW = {"backend": "file", "path": "/srv/psks.yml"}
DEVICE, VERIFY = "/hooks/device.yml", "/hooks/verify.yml"
GOOD = {"psk_rotation_escrow": ESCROW, "psk_rotation_tunnels": ["t"], "psk_rotation_device_tasks": DEVICE}


def host(
    name: str = "berlin",
    *,
    names: tuple[str, ...] = (),
    facts: tuple[str, ...] = (),
    left_out: bool = False,
    **values: Any,
) -> Host:
    """A host in order, but for what the test says; values without their prefix are the role's."""
    known = {x: x for x in (*OF_HOST, *OF_BATCH)}
    given = {known.get(key, f"psk_rotation_{key}"): value for key, value in values.items()}
    merged = {key: value for key, value in {**GOOD, **given}.items() if value is not None}
    return Host(name, frozenset({*merged, *names, *facts}), merged, frozenset(facts), left_out)


def found(*hosts: Host, mode: str = "rotate", wrong: dict[str, str] | None = None, **play: Any) -> list[str]:
    """The complaints about these hosts, in a play with these keywords."""
    return complaints(Keywords(**play), hosts or [host()], mode, lambda path: (wrong or {}).get(path, ""))


def test_a_play_in_order_has_no_complaint() -> None:
    assert found() == []


# -- the play ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["linear", "ansible.builtin.linear", "ansible.legacy.linear"])
def test_the_strategy_linear_is_taken_by_all_its_names(strategy: str) -> None:
    assert found(strategy=strategy) == []


@pytest.mark.parametrize("strategy", ["free", "ansible.builtin.free", "host_pinned", "debug", "mitogen_linear", ""])
def test_any_other_strategy_is_refused(strategy: str) -> None:
    (line,) = found(strategy=strategy)
    assert line == f"the strategy {strategy} runs the rotation once a host: use linear (strategy, ANSIBLE_STRATEGY)"


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"ignoring": ["ignore_errors"]}, "ignore_errors on the play would hide"),
        ({"ignoring": ["ignore_unreachable"]}, "ignore_unreachable on the play would hide"),
        ({"ignoring_handlers": ["Reload"], "has_handlers": True}, "on handlers would hide their failure"),
        ({"max_fail_percentage": 0}, "use psk_rotation_max_failures"),
        ({"max_fail_percentage": 0.0}, "use psk_rotation_max_failures"),
        ({"max_fail_percentage": 99}, "use psk_rotation_max_failures"),
        ({"any_errors_fatal": True, "has_handlers": True}, "any_errors_fatal with handlers ends a play"),
        ({"skipped_tags": ["slow", "never"]}, "--skip-tags (slow, never)"),
        ({"around": ["run_once on the include_role"]}, "run_once on the include_role is not possible"),
        ({"writes_in_check": True}, "check_mode: false would have a check run write to Cloudflare"),
    ],
)
def test_a_keyword_that_could_hide_a_failure_is_refused(keywords: dict[str, Any], words: str) -> None:
    (line,) = found(**keywords)
    assert words in line


@pytest.mark.parametrize("keywords", [{"any_errors_fatal": True}, {"has_handlers": True}])
def test_a_keyword_that_hides_nothing_is_taken(keywords: dict[str, Any]) -> None:
    assert found(**keywords) == []


def test_of_many_handlers_some_are_named() -> None:
    (line,) = found(ignoring_handlers=[f"h{n}" for n in range(9)])
    assert "(h0, h1, h2, h3, h4)" in line


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["host", "extra"])
def test_a_misspelt_variable_is_refused_with_the_nearest_right_one(where: str) -> None:
    wrong = "psk_rotation_tunels"
    lines = found(host(names=(wrong,))) if where == "host" else found(extra_names=frozenset([wrong]))
    assert lines == [f"{wrong} is not a variable of the collection: did you mean psk_rotation_tunnels?"]


def test_a_misspelt_variable_of_one_host_of_many_is_refused() -> None:
    assert len(found(host("berlin"), host("paris", names=("customer_device_plattform",)))) == 1


def test_a_misspelt_variable_like_no_other_is_refused_without_advice() -> None:
    assert list(_names.misspelt(["psk_rotation_qqqqqqqqqqqqqqqq"])) == [
        "psk_rotation_qqqqqqqqqqqqqqqq is not a variable of the collection"
    ]


@pytest.mark.parametrize("name", [*_names.OUTPUTS, *_names.SET_BY_HOOKS])
def test_what_a_run_sets_can_not_be_an_extra_variable(name: str) -> None:
    (line,) = found(host(names=(name,)), extra_names=frozenset([name]))
    assert line == f"{name} is set by the run itself and can't be an extra variable: pass it on under another name"


@pytest.mark.parametrize("name", ["__psk_rotation_state", "__psk_rotation_anything"])
def test_what_is_internal_can_not_be_an_extra_variable(name: str) -> None:
    assert found(extra_names=frozenset([name])) == [f"{name} is internal and can't be an extra variable"]


@pytest.mark.parametrize("name", ["__psk_rotation_mode", *_names.OUTPUTS, *_names.SET_BY_HOOKS])
def test_what_a_run_sets_can_not_be_a_variable_of_the_include(name: str) -> None:
    (line,) = found(host(names=(name,)), names_around=frozenset([name]))
    assert line.startswith(f"{name} is set by the run itself")


@pytest.mark.parametrize("name", ["__psk_rotation_mode", "__psk_rotation_step", "__psk_rotation_connection"])
def test_what_is_internal_can_not_be_a_fact(name: str) -> None:
    assert found(host(facts=(name,))) == [f"{name} is internal and can't be set by a task"]


@pytest.mark.parametrize("name", [*_names.OWN_FACTS, *_names.OUTPUTS, *_names.SET_BY_HOOKS])
def test_facts_of_an_earlier_batch_or_rotation_are_taken(name: str) -> None:
    assert found(host(facts=(name,))) == []


@pytest.mark.parametrize("name", _names.SET_BY_HOOKS)
def test_what_hooks_set_as_a_fact_can_not_be_a_variable_of_play_or_inventory(name: str) -> None:
    (line,) = found(host(names=(name,)))
    assert line.startswith(f"{name} is set by the tasks of a device, with set_fact")


# -- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_of_the_role_is_looked_at() -> None:
    of_the_role = {x for x in _names.inputs() if x.startswith("psk_rotation_")}
    assert of_the_role == {x for x in (*OF_HOST, *OF_BATCH) if x.startswith("psk_rotation_")}


@pytest.mark.parametrize("name", OF_BATCH)
def test_what_api_and_escrow_use_must_be_the_same_on_all_hosts_of_a_batch(name: str) -> None:
    values = ({**ESCROW}, {**ESCROW, "persistent": True}) if name == "psk_rotation_escrow" else ("one", "other")
    hosts = [host("a", **{name: values[0]}), host("b", **{name: values[0]}), host("c", **{name: values[1]})]
    assert found(*hosts) == [f"{name} differs between a and c, and must be the same on all hosts of a batch"]


def test_a_setting_that_only_one_host_has_differs() -> None:
    assert found(host("a"), host("b", account_id="x")) == [
        "psk_rotation_account_id differs between a and b, and must be the same on all hosts of a batch"
    ]


def test_what_belongs_to_a_host_may_differ() -> None:
    assert found(host("a", tunnels=["t1"]), host("b", tunnels=["t2"], device_tasks="/hooks/other.yml")) == []


def test_the_environment_of_the_api_counts_as_a_setting() -> None:
    assert ENVIRONMENT in OF_BATCH


@pytest.mark.parametrize("empty", ["", None])
def test_without_an_age_nothing_would_ever_be_due(empty: Any) -> None:
    one = Host("a", frozenset(), {**GOOD, "psk_rotation_max_age": empty})
    (line,) = found(one)
    assert line.startswith("psk_rotation_max_age is empty")
    assert found(one, mode="reconcile") == []


@pytest.mark.parametrize("age", [0, "0", "90d"])
def test_every_age_is_one(age: Any) -> None:
    assert found(host(max_age=age)) == []


# -- the escrow -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("escrow", [None, {}, "", {"path": "/srv/psks.yml"}, {"backend": ""}, {"backend": None}])
def test_an_escrow_must_be_named(escrow: Any) -> None:
    (line,) = of_escrow(escrow)
    assert (
        line == "psk_rotation_escrow must say where PSKs are kept, such as {backend: file, path: ~/magicwan/psks.yml}"
    )


@pytest.mark.parametrize(
    ("escrow", "told"),
    [('{"backend": "file"}', "text"), ("backend=file path=/srv/p.yml", "text"), (["file"], "a list"), (7, "a number")],
)
def test_an_escrow_of_another_type_is_refused(escrow: Any, told: str) -> None:
    (line,) = of_escrow(escrow)
    assert line.endswith(f", not be {told}")


@pytest.mark.parametrize("path", ["/srv/psks.yml", "~/psks.yml", "/srv/new/", "/srv/$UNSET_HERE/psks.yml"])
def test_a_whole_path_is_taken(path: str) -> None:
    assert list(of_escrow({"backend": "file", "path": path})) == []


@pytest.mark.parametrize(
    "path",
    [
        "psks.yml",
        "./psks.yml",
        "../psks.yml",
        "",
        " /srv/psks.yml",
        "file:///srv/psks.yml",
        "$HOME/psks.yml",
        "~no-such-user-here/psks.yml",
        "/srv/ps\0ks.yml",
        "/srv/\x1b[31mpsks.yml",
        ["/srv/psks.yml"],
        7,
        True,
    ],
)
def test_a_path_that_depends_on_the_working_folder_or_is_none_is_refused(path: Any) -> None:
    (line,) = of_escrow({"backend": "file", "path": path})
    assert line.startswith("psk_rotation_escrow.path must begin with / or ~")
    assert line.isprintable()


@pytest.mark.parametrize(
    "path",
    [
        "/usr/share/ansible/collections/ansible_collections/magicwan/cloudflare/playbooks/psks.yml",
        "~/.ansible/collections/ansible_collections/psks.yml",
        "~/ansible_collections/../ansible_collections/x/psks.yml",
    ],
)
def test_a_path_within_an_installed_collection_is_refused(path: str) -> None:
    (line,) = of_escrow({"backend": "file", "path": path})
    assert "within an installed collection" in line


def test_a_path_within_a_collection_that_is_a_link_is_refused_from_both_ends(tmp_path: Path) -> None:
    checkout, installed = tmp_path / "checkout", tmp_path / "ansible_collections"
    checkout.mkdir()
    installed.mkdir()
    (installed / "linked").symlink_to(checkout)
    (tmp_path / "inward").symlink_to(installed)
    for path in (installed / "linked" / "psks.yml", tmp_path / "inward" / "psks.yml"):
        (line,) = of_escrow({"backend": "file", "path": str(path)})
        assert "within an installed collection" in line


def test_a_variable_of_the_environment_does_not_hide_a_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIDDEN", "ansible_collections/x")
    assert len(list(of_escrow({"backend": "file", "path": "~/$HIDDEN/psks.yml"}))) == 1


@pytest.mark.parametrize("escrow", [{"backend": "none"}, {"backend": "vault_kv2", "path": "magicwan/psks"}])
def test_a_path_elsewhere_is_no_file(escrow: dict[str, Any]) -> None:
    assert list(of_escrow(escrow)) == []


# -- tunnels of a host ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, []),
        ("", []),
        ([], []),
        ("all", ["all"]),
        ("berlin-*", ["berlin-*"]),
        (["a", "b"], ["a", "b"]),
        (("a",), ["a"]),
        ('["a", "b"]', ["a", "b"]),
        (' ["a"]', ["a"]),
        ("[]", []),
    ],
)
def test_what_a_host_terminates_is_a_list_a_text_or_json(given: Any, meant: list[str]) -> None:
    assert patterns(given, "berlin") == meant


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (True, "not a boolean"),
        (7, "not a number"),
        ({"a": "b"}, "not a mapping"),
        ([1], "holds 1, which is not text: put names into quotes"),
        ([True], "holds True, which is not text"),
        ([None], "holds None, which is not text"),
        ([""], "holds '', which is not text"),
        ([["a"]], "holds ['a'], which is not text"),
        ("[1]", "holds 1, which is not text"),
        ("['a']", "is not valid JSON"),
        ('["a"', "is not valid JSON"),
    ],
)
def test_anything_else_is_refused_and_names_the_host(given: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        patterns(given, "berlin")
    assert caught.value.message.startswith("psk_rotation_tunnels of berlin ")
    assert words in caught.value.message


# -- hooks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["reach", "device", "verify"])
@pytest.mark.parametrize(
    "path", ["tasks/device.yml", "./device.yml", "~/device.yml", "psk_rotation/hooks/device.yml", DEVICE_PLATFORM]
)
def test_a_task_file_must_be_named_by_its_whole_path(kind: str, path: str) -> None:
    assert found(host(**{f"{kind}_tasks": path})) == [
        f"psk_rotation_{kind}_tasks: there is no file {path!r}; give its full path (berlin)"
    ]


@pytest.mark.parametrize("kind", ["reach", "device", "verify"])
def test_a_task_file_that_can_not_be_run_is_told_once_with_its_hosts(kind: str) -> None:
    hosts = [host(f"h{n}", **{f"{kind}_tasks": "/bad.yml"}) for n in range(7)]
    assert found(*hosts, wrong={"/bad.yml": "it is empty"}) == [
        f"psk_rotation_{kind}_tasks: it is empty (h0, h1, h2, h3, h4 and 2 more)"
    ]


@pytest.mark.parametrize("kind", ["reach_tasks", "device_tasks", "verify_tasks", "confirmation"])
@pytest.mark.parametrize(
    ("value", "told"),
    [(["/hooks/device.yml"], "a list"), (True, "a boolean"), ({"a": 1}, "a mapping"), (7, "a number")],
)
def test_a_task_file_and_the_confirmation_are_text(kind: str, value: Any, told: str) -> None:
    assert found(host(**{kind: value})) == [f"psk_rotation_{kind} of berlin must be text, not {told}"]


@pytest.mark.parametrize("wrong", ["manuel", "Verify", "false", "None", "perhaps"])
def test_a_misspelt_confirmation_is_refused(wrong: str) -> None:
    assert found(host(confirmation=wrong)) == [
        f"psk_rotation_confirmation of berlin must be verify, manual or none, not {wrong!r}"
    ]


def test_verify_needs_verify_tasks() -> None:
    (line,) = found(host(confirmation="verify"))
    assert "psk_rotation_verify_tasks names no tasks" in line


def test_manual_must_be_the_same_on_all_hosts_of_a_batch() -> None:
    (line,) = found(host("a"), host("b", confirmation="manual"))
    assert line.startswith("psk_rotation_confirmation is manual on b and not on a")


def test_a_host_without_tunnels_may_have_any_confirmation() -> None:
    assert found(host("a"), host("b", tunnels=[], confirmation="manual")) == []


@pytest.mark.parametrize("mode", ["rotate", "reconcile", "rollback"])
def test_a_device_without_tasks_is_refused_where_psks_are_set(mode: str) -> None:
    (line,) = found(host("a", device_tasks=None), host("b", device_tasks=""), mode=mode)
    assert line.startswith("a, b have tunnels and no device tasks: set psk_rotation_device_tasks")


@pytest.mark.parametrize("mode", ["confirm", "report"])
def test_a_device_without_tasks_is_taken_where_no_psk_is_set(mode: str) -> None:
    assert found(host(device_tasks=None), mode=mode) == []


@pytest.mark.parametrize("confirmation", ["none", "manual"])
def test_a_device_without_tasks_is_taken_if_the_user_says_how_to_confirm(confirmation: str) -> None:
    assert found(host(device_tasks=None, confirmation=confirmation)) == []


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_the_controller_needs_no_device_tasks(name: str) -> None:
    assert found(host(name, device_tasks=None)) == []


def test_a_device_without_tunnels_needs_no_device_tasks() -> None:
    assert found(host("a"), host("b", device_tasks=None, tunnels=[])) == []


def test_a_host_with_tunnels_that_a_condition_leaves_out_is_refused() -> None:
    assert found(host("a"), host("b", left_out=True)) == [
        "a condition (when) around the role leaves out b: leave it out of the play instead"
    ]


def test_a_host_without_tunnels_may_be_left_out() -> None:
    assert found(host("a"), host("b", tunnels=[], left_out=True)) == []


@pytest.mark.parametrize("connection", ["netconf", "ansible.netcommon.netconf", "grpc", "no.such.thing"])
def test_where_a_ping_proves_nothing_reach_tasks_are_demanded(connection: str) -> None:
    (line,) = found(host(ansible_connection=connection))
    assert line.startswith("over the connection of berlin a ping proves nothing: set psk_rotation_reach_tasks")
    assert found(host(ansible_connection=connection, reach_tasks="/hooks/reach.yml")) == []
    assert found(host(ansible_connection=connection, customer_device_platform="junos")) == []


@pytest.mark.parametrize(
    ("connection", "reach"),
    [
        (None, REACH_BY_PING),
        ("ssh", REACH_BY_PING),
        ("winrm", REACH_BY_PING),
        ("network_cli", REACH_BY_CONNECTION),
        ("ansible.netcommon.network_cli", REACH_BY_CONNECTION),
        ("ansible.netcommon.httpapi", REACH_BY_CONNECTION),
        ("local", ""),
        ("ansible.builtin.local", ""),
    ],
)
def test_how_a_device_is_reached_follows_from_its_connection(connection: str | None, reach: str) -> None:
    one = host(ansible_connection=connection)
    assert found(one) == []
    assert hooks_of(one).reach == reach


def test_a_platform_brings_its_own_tasks() -> None:
    own = hooks_of(host(device_tasks=None, customer_device_platform="vyos"))
    assert (own.reach, own.device, own.verify, own.confirmation) == (
        REACH_PLATFORM,
        DEVICE_PLATFORM,
        VERIFY_PLATFORM,
        "verify",
    )


def test_tasks_of_the_users_own_come_before_a_platforms() -> None:
    own = hooks_of(host(device_tasks=DEVICE, verify_tasks=VERIFY, customer_device_platform="vyos"))
    assert (own.device, own.verify) == (DEVICE, VERIFY)


@pytest.mark.parametrize(
    ("values", "confirmation", "chosen"),
    [
        ({}, "none", False),
        ({"verify_tasks": VERIFY}, "verify", False),
        ({"verify_tasks": VERIFY, "confirmation": "none"}, "none", True),
        ({"confirmation": "manual"}, "manual", True),
    ],
)
def test_how_a_psk_is_confirmed(values: dict[str, Any], confirmation: str, chosen: bool) -> None:
    own = hooks_of(host(**values))
    assert (own.confirmation, own.chosen) == (confirmation, chosen)


# -- the order of a device's tasks ------------------------------------------------------------------------------------


BOTH = Hooks(["t"], device=DEVICE, verify=VERIFY, confirmation="verify")


@pytest.mark.parametrize(
    ("mode", "files"),
    [("rotate", [DEVICE, VERIFY]), ("rollback", [DEVICE, VERIFY]), ("confirm", [VERIFY])],
)
def test_the_device_tasks_come_first_and_not_when_only_confirming(mode: str, files: list[str]) -> None:
    assert BOTH.files(mode, lambda _path: "- debug:") == files


@pytest.mark.parametrize("text", ["notify: Reload", "include_tasks: x.yml", "import_role: {name: x}", "include_role:"])
def test_handlers_run_right_after_each_file_that_may_notify_one(text: str) -> None:
    assert BOTH.files("rotate", lambda _path: text) == [DEVICE, FLUSH, VERIFY, FLUSH]


def test_without_verify_as_the_confirmation_the_verify_tasks_do_not_run() -> None:
    own = Hooks(["t"], device=DEVICE, verify=VERIFY, confirmation="none")
    assert own.files("rotate", lambda _path: "") == [DEVICE]


# -- all in one message -----------------------------------------------------------------------------------------------


def test_without_a_complaint_nothing_is_refused() -> None:
    refuse([])


def test_one_complaint_is_a_line() -> None:
    with pytest.raises(InputError, match=r"^it is wrong; nothing was written$"):
        refuse(["it is wrong"])


def test_several_complaints_are_one_line_with_numbers() -> None:
    with pytest.raises(InputError) as caught:
        refuse(["one", "two"])
    assert caught.value.message == ("2 problems must be fixed first, and nothing was written: (1) one; (2) two")


def test_all_that_is_wrong_is_found_at_once() -> None:
    lines = found(
        host("a", names=("psk_rotation_tunels",), escrow={"backend": "file", "path": "x"}),
        host("b", device_tasks="x.yml", confirmation="verify", escrow={"backend": "file", "path": "x"}),
        strategy="free",
        skipped_tags=["x"],
    )
    assert len(lines) == 6
