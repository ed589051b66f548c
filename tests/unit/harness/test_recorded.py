# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a set option, and what `tools/untested` says of the others."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.harness import recorded

UNTESTED = runpy.run_path(str(Path(__file__).resolve().parents[3] / "tools" / "untested"))["untested"]
BGP = {"asn": {}, "key": {}}
OPTIONS = {"name": {}, "bgp": BGP, "tunnels": {"name": {}, "bgp": BGP}}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"name": "a"}, ["name"]),
        ({"bgp": {"key": "k"}}, ["bgp", "bgp.key"]),
        (
            {"tunnels": [{"name": "a"}, {"bgp": {"asn": 1}}]},
            ["tunnels", "tunnels.bgp", "tunnels.bgp.asn", "tunnels.name"],
        ),
        ({"tunnels": "{{ later }}"}, ["tunnels"]),
        ({"unknown": 1}, []),
        (None, []),
    ],
)
def test_an_option_is_set_where_it_stands(values: Any, names: list[str]) -> None:
    assert sorted(set(recorded.given(OPTIONS, values))) == names


def test_a_folder_gets_the_names_of_options_and_no_value(tmp_path: Path) -> None:
    (tmp_path / recorded.SEEN).mkdir()
    (tmp_path / recorded.EXPECTED).write_text(json.dumps({"module": {"a.b.c": OPTIONS}}), encoding="utf-8")
    recorder = recorded.Recorder(tmp_path)
    recorder.used("module", "a.b.c", {"name": "very secret"})
    recorder.used("module", "another.collection.c", {"name": "x"})
    seen = list((tmp_path / recorded.SEEN).iterdir())
    assert sorted(x.name for x in seen) == ["module a.b.c", "module a.b.c name"]
    assert not any(x.read_bytes() for x in seen)


def test_nothing_is_recorded_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(recorded.VARIABLE, raising=False)
    assert recorded.callbacks("one") == {"ANSIBLE_CALLBACKS_ENABLED": "one"}


def option(text: str, **inside: Any) -> dict[str, Any]:
    return {"description": [text], **({"suboptions": inside} if inside else {})}


def missing(made: dict[str, Any], *seen: str) -> list[str]:
    return list(UNTESTED(made, set(seen)))


def test_a_planted_option_is_named() -> None:
    made = {"module": {"m": {"name": option("its name"), "bgp": option("BGP", planted=option("planted"))}}}
    assert missing(made, "module m", "module m name", "module m bgp") == ["no test sets bgp.planted of the module m"]
    assert missing(made, "module m", "module m name", "module m bgp", "module m bgp.planted") == []


def test_what_no_test_uses_is_named_once() -> None:
    made = {"module": {"m": {"name": option("its name")}}, "filter": {"f": {}}, "entry point": {"r.main": {}}}
    assert missing(made, "filter f") == ["no test uses the module m", "no test uses the entry point r.main"]


def test_an_option_that_a_fragment_shares_is_tested_once() -> None:
    token = {"token": option("the API's token")}
    made = {"module": {"m": token, "n": token}, "lookup": {"l": {"token": {**token["token"], "env": ["TOKEN"]}}}}
    assert missing(made, "module m", "module n", "lookup l", "module n token") == []


def test_an_option_of_the_same_name_with_another_text_is_another_one() -> None:
    made = {"module": {"m": {"token": option("the API's token")}, "n": {"token": option("the store's token")}}}
    assert missing(made, "module m", "module n", "module n token") == ["no test sets token of the module m"]
