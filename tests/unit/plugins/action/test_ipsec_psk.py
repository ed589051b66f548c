# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin ipsec_psk by itself: what it sends, and what it puts back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.magicwan.cloudflare.plugins.action.ipsec_psk import ActionModule

OWN = "FirstKeyOfTheUser0123456789"
Run = Callable[..., tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the plugin on a module that answers so; gives the result and what the module was given."""

    def it(
        psks: Any, answer: Callable[[list[Any]], dict[str, Any]] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        task = MagicMock(async_val=0, args={"psks": psks})
        plugin = ActionModule(task, MagicMock(), MagicMock(), MagicMock(), MagicMock(), MagicMock())
        sent: dict[str, Any] = {}

        def execute(module_args: dict[str, Any], **_others: Any) -> dict[str, Any]:
            sent.update(copy.deepcopy(module_args))
            if answer is not None:
                return answer(module_args["psks"])
            return {"changed": True, "psks": [entry("applied") for _psk in module_args["psks"]]}

        monkeypatch.setattr(plugin, "_execute_module", execute)
        return plugin.run(task_vars={}), sent

    return it


def entry(status: str) -> dict[str, Any]:
    return {"id": "a", "name": "a", "status": status, "changed": status != "unchanged", "psk": None}


def test_every_entry_is_sent_with_a_psk_and_gets_it_back(run: Run) -> None:
    result, sent = run([{"name": "a"}, {"name": "b", "psk": OWN}, {"name": "c", "psk": None}])
    psks = [x["psk"] for x in sent["psks"]]
    assert [x["psk"] for x in result["psks"]] == psks
    assert psks[1] == OWN and len(set(psks)) == 3


def test_the_users_own_list_is_not_changed(run: Run) -> None:
    psks = [{"name": "a"}]
    run(psks)
    assert psks == [{"name": "a"}]


def test_a_psk_of_digits_comes_back_as_text(run: Run) -> None:
    result, sent = run([{"name": "a", "psk": 98765432109876543210}])
    assert result["psks"][0]["psk"] == sent["psks"][0]["psk"] == "98765432109876543210"


@pytest.mark.parametrize("status", ["unapplied", "planned", "unchanged"])
def test_an_entry_whose_psk_is_not_in_place_gets_none_back(run: Run, status: str) -> None:
    result, _sent = run([{"name": "a"}], lambda _psks: {"psks": [entry(status)]})
    assert result["psks"][0]["psk"] is None
    assert "_ansible_no_log" not in result


def test_a_result_with_a_psk_is_censored(run: Run) -> None:
    assert run([{"name": "a"}])[0]["_ansible_no_log"] is True


@pytest.mark.parametrize("psks", ["name=a", ["name=a"], {"name": "a"}, [["name"]], 7], ids=str)
def test_what_is_no_list_of_dictionaries_is_refused_before_a_psk_could_be_lost(run: Run, psks: Any) -> None:
    result, sent = run(psks)
    assert result == {"failed": True, "msg": "psks must be a list of dictionaries"}
    assert sent == {}


@pytest.mark.parametrize("psk", [[OWN], {"key": OWN}, True, 1.5], ids=["list", "dict", "bool", "float"])
def test_a_psk_that_is_no_text_is_refused_without_showing_it(run: Run, psk: Any) -> None:
    result, sent = run([{"name": "a", "psk": psk}])
    assert result == {"failed": True, "msg": "psks[0]: psk must be text"}
    assert sent == {}


def test_a_module_that_died_leaves_every_entry_in_doubt_with_its_psk(run: Run) -> None:
    dead = {"failed": True, "msg": "MODULE FAILURE", "module_stdout": OWN, "module_stderr": OWN, "rc": 137}
    result, sent = run([{"name": "a", "psk": OWN}, {"name": "b"}], lambda _psks: dict(dead))
    assert [x["status"] for x in result["psks"]] == ["in_doubt"] * 2
    assert [x["psk"] for x in result["psks"]] == [x["psk"] for x in sent["psks"]]
    assert not {"module_stdout", "module_stderr", "exception"} & set(result)
    assert result["_ansible_no_log"] is True


def test_a_module_that_refused_its_options_leaves_nothing_in_doubt(run: Run) -> None:
    result, _sent = run([{"name": "a"}], lambda _psks: {"failed": True, "msg": "Unsupported parameters"})
    assert "psks" not in result
