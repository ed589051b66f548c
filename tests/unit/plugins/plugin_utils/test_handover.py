# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rotation hands over to a later job."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.filter.psk_rotation_handover import psk_rotation_handover
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._handover import handover


def summary(**statuses: str) -> dict[str, Any]:
    known = {"host": "h", "reason": None, "applied_on": None, "confirmed_on": None, "generation": 1}
    return {
        "rotation_id": "r1",
        "message": "a line",
        "changed": 1,
        "failed": 0,
        "by_tunnel": {i: {"name": f"name-{i}", "status": status, **known} for i, status in statuses.items()},
    }


def test_of_the_escrow_only_the_place_is_handed_over() -> None:
    escrow = {"backend": "vault_kv2", "url": "https://v", "path": "p", "token": "t", "secret_id": "s", "role_id": "r"}
    assert handover({}, escrow, "a")["escrow"] == {"backend": "vault_kv2", "url": "https://v", "path": "p"}


def test_unchanged_tunnels_are_left_out() -> None:
    handed = handover({"h": summary(a="applied", b="unchanged")}, {}, None)
    assert set(handed["hosts"]["h"]["tunnels"]) == {"a"}


@pytest.mark.parametrize("status", sorted(set(_status.TABLE) - {_status.UNCHANGED}))
def test_a_tunnel_says_whether_its_device_needs_the_psk(status: str) -> None:
    handed = handover({"h": summary(a=status)}, {}, None)
    assert handed["hosts"]["h"]["tunnels"]["a"]["to_configure"] is _status.TABLE[status].configure


@pytest.mark.parametrize(
    ("status", "to_configure"),
    [
        ("applied", True),
        ("waiting", True),
        ("handed_over", True),
        ("rolled_back", True),
        ("skipped", False),
        ("planned", False),
        ("in_doubt", False),
    ],
)
def test_what_cloudflare_holds_anew_is_to_be_configured(status: str, to_configure: bool) -> None:
    assert (status in _status.TO_CONFIGURE) is to_configure


def test_counts_are_summed_over_the_hosts() -> None:
    handed = handover({"h": summary(a="applied"), "i": summary(b="applied")}, {}, None)
    assert (handed["changed"], handed["failed"]) == (2, 0)


def test_hosts_without_a_summary_are_left_out() -> None:
    hostvars = {"h": {"psk_rotation_summary": summary(a="applied")}, "i": {}}
    assert set(psk_rotation_handover(["h", "i"], hostvars)["hosts"]) == {"h"}
