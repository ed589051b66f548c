# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A handful of the fault matrix's rows, and a few random kills; `make faults` does them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _names

from tests.faults import planted, rows_api, rows_core, rows_device, rows_kill, rows_store, rows_weak  # noqa: F401
from tests.faults.__main__ import MATRIX_TUNNELS
from tests.faults.kills import TUNNELS, kill_at_random
from tests.faults.matrix import ROWS, Outcome, play_row
from tests.faults.scene import Bench, Scene

SMOKE = ("K5", "K6", "A2", "S2", "D2", "E6", "E9", "W3 ignore_unreachable-block", "W1 end_host")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("faults") / "bench", MATRIX_TUNNELS) as made:
        yield made


@pytest.fixture(scope="module")
def large_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("kills") / "bench", TUNNELS) as made:
        yield made


def _kept_its_promise(outcome: Outcome) -> None:
    assert outcome.lost == 0
    assert not outcome.dark
    assert not outcome.problems, outcome.output[-5000:]


@pytest.mark.parametrize("code", SMOKE)
def test_a_plain_run_heals_the_fault(bench: Bench, code: str) -> None:
    _kept_its_promise(play_row(next(x for x in ROWS if x.code == code), bench))


@pytest.mark.parametrize("seed", range(3))
def test_a_plain_run_heals_a_kill_at_random(large_bench: Bench, seed: int) -> None:
    _kept_its_promise(kill_at_random(large_bench, seed))


@pytest.mark.parametrize("name", planted.WEAKNESSES)
def test_the_matrix_finds_a_planted_weakness(bench: Bench, tmp_path: Path, name: str) -> None:
    bench.collections = planted.plant(name, tmp_path)
    try:
        outcome = play_row(next(x for x in ROWS if x.code == planted.WEAKNESSES[name].row), bench)
    finally:
        bench.collections = None
    assert outcome.mismatched, outcome.problems


def test_every_name_that_a_run_sets_itself_is_tried_as_an_extra_variable() -> None:
    assert {*_names.OUTPUTS, *_names.SET_BY_HOOKS} <= set(rows_weak.OUTPUTS)


def test_a_run_is_started_at_each_task_of_the_role() -> None:
    assert {x.stem for x in (rows_weak.TASKS / "psk_rotation").glob("*.yml")} == {
        *rows_weak.FILES,
        *rows_weak.OF_ADOPTION,
    }


@pytest.fixture
def scene(bench: Bench) -> Iterator[Scene]:
    with bench.scene() as made:
        yield made


def test_the_oracle_sees_a_device_without_the_psk(scene: Scene) -> None:
    tunnel = next(iter(scene.names))
    scene.console_sets(tunnel)
    found = scene.converged()
    assert len(found) == 2
    assert all(scene.names[tunnel] in x for x in found)


def test_the_oracle_sees_keys_that_differ(scene: Scene) -> None:
    tunnel = next(iter(scene.names))
    scene.console_sets(tunnel)
    scene.check_matched()
    assert list(scene.mismatched) == [tunnel]


def test_the_oracle_sees_a_lost_key(scene: Scene) -> None:
    tunnel = next(iter(scene.names))
    scene.simulator.patch_tunnel(tunnel, psk="a-key-that-nobody-has-written-down")
    scene.check_kept()
    assert list(scene.lost) == [tunnel]


def test_the_oracle_sees_a_dark_group(scene: Scene) -> None:
    group = next(iter(scene.groups))
    one, other = scene.groups[group]
    before = scene.truth()
    scene.simulator.patch_tunnel(one, psk="another-psk-of-one")
    assert scene.dark() == []
    scene.simulator.patch_tunnel(other, psk="another-psk-of-the-other")
    for tunnel in (one, other):
        scene.simulator.patch_tunnel(tunnel, psk=before[tunnel])
    assert scene.dark() == [group]
