# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark works: each case does what it says, with ten tunnels, once, whatever time it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.bench.__main__ import main
from tests.bench.cases import PASSWORD, ROLE, ROTATE, Place, Work, play

CASES = {"a": 6, "b": 2, "c": 1, "d": 2, "e": 5, "f": 2, "g": 3}
"""How many cases each group has."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", CASES)
def test_each_group_is_measured(group: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--only", group, "--sizes", "10", "--repeat", "1", "--latency", "0", "--output", str(tmp_path)]
    main(arguments)
    data = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    rows = [x for x in data["measurements"] if x["group"] == group]
    assert len(rows) == CASES[group]
    asking = [x for x in rows if x["case"] not in ("KV v2 script, four threads", "four set_fact on the hosts")]
    assert all(x["median"]["requests"] and x["median"]["bytes"] and x["median"]["seconds"] for x in asking)
    assert (tmp_path / "bench.svg").exists()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Place(tmp_path_factory.mktemp("bench"), 0) as made:
        yield made


def kept(path: Path) -> dict[str, Any]:
    """The records of an encrypted file by tunnel id."""
    vault = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
    return dict(json.loads(vault.decrypt(path.read_bytes()))["tunnels"])


# Of times the length, too, may differ: the SDK knows no nanoseconds. And the scripts know one wave only, and no groups.
DIFFERENT = ("on", "applied_on", "made_on", "wave", "group")


def shape(value: Any) -> Any:
    """Keys and the lengths of texts."""
    if isinstance(value, dict):
        return {key: "some" if key in DIFFERENT and part else shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return len(value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def escrow(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the role keeps."""
    path = tmp_path_factory.mktemp("role") / "psks.yml"
    place.fleet(10)
    escrow = {"backend": "file", "path": str(path)}
    variables = {**ROTATE, "psk_rotation_tunnels": ["all"], "psk_rotation_escrow": escrow}
    place.run(Work(play(roles=ROLE), extra_vars=variables), "the role")
    return kept(path)


@pytest.mark.parametrize("script", [["floor.py"], ["sdk.py", "bulk"], ["sdk.py", "single"]], ids=" ".join)
def test_a_script_keeps_what_the_escrow_keeps(
    place: Place, escrow: dict[str, Any], script: list[str], tmp_path: Path
) -> None:
    place.fleet(10)
    process = place.script(script[0], *script[1:], str(tmp_path / "file"))
    assert process.wait(60) == 0, (tmp_path / "stderr").read_text(encoding="utf-8")
    found = kept(tmp_path / "file")
    assert {i: x["current"]["psk"] for i, x in found.items()} == {
        x["id"]: x["psk"] for x in place.simulator.state()["tunnels"]
    }
    assert shape(found) == shape(escrow)
