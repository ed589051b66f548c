# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups and waves: psk_rotation_group_by, psk_rotation_wave_size and psk_rotation_canary, seen from Cloudflare."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.psk_rotation.stage import Run, Stage


def sizes(run: Run) -> list[int]:
    """How many tunnels each write had."""
    return [len(wave) for wave in run.waves]


def assert_never_together(run: Run, groups: list[list[str]]) -> None:
    """No write had two tunnels of a group, and all were written in the end."""
    for wave in run.waves:
        assert not [group for group in groups if len(set(group) & set(wave)) > 1]
    assert run.rotated == set(run.before)


def sites(stage: Stage) -> list[list[str]]:
    """The ids of the tunnels of each site that has an endpoint of its own."""
    return [[x["id"] for x in site] for site in stage.sites() if site[0].get("customer_endpoint")]


def test_on_localhost_tunnels_of_one_customer_endpoint_are_a_group(stage: Stage) -> None:
    run = stage.rotate(then=()).ok()
    assert_never_together(run, sites(stage))


def test_tunnels_without_customer_endpoint_are_grouped_by_their_names(stage: Stage) -> None:
    run = stage.rotate(then=()).ok()
    nowhere = {x["name"]: x["id"] for x in run.before.values() if not x.get("customer_endpoint")}
    assert [x[:-1] for x in nowhere] == ["Bogota 9 uplink "] * 2
    assert_never_together(run, [list(nowhere.values())])


def test_a_tunnel_without_customer_endpoint_whose_name_is_like_no_other_stands_alone(stage: Stage) -> None:
    one, other = (i for i, x in stage.tunnels().items() if not x.get("customer_endpoint"))
    stage.simulator.patch_tunnel(one, name="office of Bogota")
    run = stage.rotate(then=()).ok()
    assert {one, other} <= set(run.waves[0])


def test_a_regular_expression_names_the_group(stage: Stage) -> None:
    kinds = {i: x["name"][-1] for i, x in stage.tunnels().items()}
    run = stage.rotate({"psk_rotation_group_by": "(?P<group>.)$"}, then=()).ok()
    assert_never_together(run, [[i for i, end in kinds.items() if end == one] for one in set(kinds.values())])
    assert len(run.waves) == max(list(kinds.values()).count(end) for end in kinds.values())


def test_tunnels_that_a_regular_expression_does_not_match_stand_alone(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_group_by": "^(?P<group>mel)-"}, then=()).ok()
    assert sizes(run) == [23, 1]


def test_a_mapping_of_groups_to_patterns_names_the_group(stage: Stage) -> None:
    names = [x["name"] for x in stage.tunnels().values()]
    ids = list(stage.tunnels())
    groups = {"north": [names[0], ids[2], "BR0000?-WAN1"], "south": [ids[23]]}
    north = [ids[0], ids[2], *(i for i, x in stage.tunnels().items() if x["name"].endswith("-WAN1"))]
    run = stage.rotate({"psk_rotation_group_by": groups}, then=()).ok()
    assert_never_together(run, [north])
    assert sizes(run) == [24 - len(north) + 1, *[1] * (len(north) - 1)]


def test_a_mapping_of_tunnels_to_groups_names_the_group(stage: Stage) -> None:
    tunnels = list(stage.tunnels().values())
    groups = {tunnels[0]["name"]: "one", tunnels[5]["id"]: "one", tunnels[7]["name"]: "other"}
    run = stage.rotate({"psk_rotation_group_by": groups}, then=()).ok()
    assert_never_together(run, [[tunnels[0]["id"], tunnels[5]["id"]]])
    assert sizes(run) == [23, 1]


def test_no_write_has_more_tunnels_than_a_wave_may_hold(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_wave_size": 5}, then=()).ok()
    assert_never_together(run, sites(stage))
    assert max(sizes(run)) == 5
    assert len(run.waves) == 5


def test_the_canary_goes_first_and_alone(stage: Stage) -> None:
    run = stage.rotate({"psk_rotation_canary": 2, "psk_rotation_wave_size": 11}, then=()).ok()
    assert_never_together(run, sites(stage))
    assert sizes(run) == [2, 11, 11]


@pytest.mark.fleet(tunnels=8)
@pytest.mark.parametrize(
    "variables", [{"psk_rotation_canary": 1}, {"psk_rotation_wave_size": 2}], ids=["canary", "wave_size"]
)
def test_devices_are_groups_whatever_the_waves(stage: Stage, variables: dict[str, Any]) -> None:
    run = stage.rotate_devices(variables, then=()).ok()
    assert_never_together(run, [[x["id"] for x in site] for site in stage.sites()])
    assert sizes(run) == ([1, 4, 3] if "psk_rotation_canary" in variables else [2, 2, 2, 2])
