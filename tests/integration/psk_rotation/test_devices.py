# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices as hosts: 12 devices in batches of 4, each with two tunnels, which it names by names, by ids or by globs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.psk_rotation.stage import Run, Stage

DEVICES = [f"device{n}" for n in range(12)]
BATCHES = {"psk_rotation_serial": 4}


@dataclass
class Story:
    """A check run, a rotation, and the same again; the hooks' calls and what a later play saw, by device."""

    stage: Stage
    check: Run
    calls_after_check: list[dict[str, Any]]
    first: Run
    calls: dict[str, list[dict[str, Any]]]
    published: dict[str, dict[str, Any]]
    again: Run
    calls_again: dict[str, list[dict[str, Any]]]
    published_again: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def story(make_stage: Callable[..., Stage]) -> Story:
    stage = make_stage()
    check = stage.rotate_devices(BATCHES, check=True, then=()).ok()
    calls_after_check = [call for device in DEVICES for call in stage.calls(device)]
    first = stage.rotate_devices(BATCHES).ok()
    calls, published = {x: stage.calls(x) for x in DEVICES}, {x: stage.published(x) for x in DEVICES}
    again = stage.rotate_devices(BATCHES).ok()
    return Story(
        stage,
        check,
        calls_after_check,
        first,
        calls,
        published,
        again,
        {x: stage.calls(x) for x in DEVICES},
        {x: stage.published(x) for x in DEVICES},
    )


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_ends_with_the_true_psks_of_its_own_tunnels_and_no_others(story: Story, device: str) -> None:
    taken = {x["id"]: x["psk"] for call in story.calls[device] for x in call["wave"]}
    assert taken == {i: story.first.after[i]["psk"] for i in story.stage.own(device)}


def test_every_tunnel_has_a_new_psk(story: Story) -> None:
    assert story.first.rotated == set(story.first.before)
    assert len({x["psk"] for x in story.first.after.values()}) == 24


def test_two_tunnels_of_a_device_never_change_at_once(story: Story) -> None:
    for wave in story.first.waves:
        assert not [x for x in DEVICES if set(story.stage.own(x)) <= set(wave)]


def test_a_batch_takes_two_waves_and_touches_its_own_devices_only(story: Story) -> None:
    batches = [DEVICES[0:4], DEVICES[4:8], DEVICES[8:12]]
    own = [{i for device in batch for i in story.stage.own(device)} for batch in batches for _wave in range(2)]
    assert [len(wave) for wave in story.first.waves] == [4] * 6
    assert all(set(wave) <= tunnels for wave, tunnels in zip(story.first.waves, own, strict=True))


def test_the_hook_runs_once_for_each_tunnel_of_a_device(story: Story) -> None:
    for device in DEVICES:
        assert [[x["id"] for x in call["wave"]] for call in story.calls[device]] == [
            [i] for i in story.stage.own(device)
        ]


def test_the_hook_of_a_second_tunnel_runs_after_the_first_is_done(story: Story) -> None:
    for device in DEVICES:
        first, second = story.stage.own(device)
        statuses = {x["id"]: x["status"] for x in story.calls[device][1]["all"]}
        assert statuses == {first: "delivered", second: "applied"}


def test_the_hook_sees_all_tunnels_of_its_device_with_the_psks_that_cloudflare_has_then(story: Story) -> None:
    for device in DEVICES:
        first, second = story.stage.own(device)
        psks = {x["id"]: x["psk"] for x in story.calls[device][0]["all"]}
        assert psks == {first: story.first.after[first]["psk"], second: None}


@pytest.mark.parametrize("device", DEVICES)
def test_a_later_play_has_the_results_of_each_device(story: Story, device: str) -> None:
    results = story.published[device]["results"]
    assert {i: x["psk"] for i, x in results.items()} == {
        i: story.first.after[i]["psk"] for i in story.stage.own(device)
    }
    assert {x["status"] for x in results.values()} == {"delivered"}
    assert {x["host"] for x in results.values()} == {device}


def test_a_result_says_how_long_cloudflare_and_the_device_disagreed(story: Story) -> None:
    results = [x for device in DEVICES for x in story.published[device]["results"].values()]
    assert all(x["exposure_seconds"] > 0 for x in results)


def test_a_device_with_two_tunnels_costs_few_tasks(story: Story) -> None:
    """All that its recap counts, less the tasks of its hooks. The first of a batch also has the steps of all."""
    own = len([x for x in story.first.result.tasks if x["host"] == "device1" and "Hook |" in x["task"]])
    counted = story.first.result.stats["device1"]
    assert counted["ok"] + counted["skipped"] - own <= 15


def test_a_second_run_changes_nothing(story: Story) -> None:
    assert story.again.waves == []
    assert story.again.result.changed == 0
    assert story.calls_again == story.calls


@pytest.mark.parametrize("device", DEVICES)
def test_a_second_run_hands_out_the_psks_of_the_escrow(story: Story, device: str) -> None:
    current = story.stage.current()
    results = story.published_again[device]["results"]
    assert {i: x["psk"] for i, x in results.items()} == {i: current[i] for i in story.stage.own(device)}
    assert {x["status"] for x in results.values()} == {"unchanged"}


def test_the_escrow_has_what_cloudflare_has(story: Story) -> None:
    assert story.stage.current() == story.stage.psks()


def test_check_mode_writes_nothing(story: Story) -> None:
    assert story.check.waves == []
    assert story.check.rotated == set()
    assert story.calls_after_check == []


def test_check_mode_tries_the_hook_of_every_device(story: Story) -> None:
    tried = [x["_host"] for x in story.check.result.results("Hook | Take the PSKs")]
    assert sorted(tried) == sorted(DEVICES * 2)


def test_check_mode_says_that_every_device_would_change(story: Story) -> None:
    for device in DEVICES:
        assert story.check.summary(device)["statuses"] == {"planned": 2}
    assert story.check.result.changed > 0
