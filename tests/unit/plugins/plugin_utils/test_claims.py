# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a play claim, and how many may fail."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._claims import owners_of, parse_limit

from tests.unit.plugins.plugin_utils.accounts import tunnel


def test_owners_by_id_name_and_glob() -> None:
    tunnels = [tunnel("t1", "Rome 1"), tunnel("t2", "Rome 2"), tunnel("t3", "Oslo")]
    assert owners_of(tunnels, {"a": ["Rome *"], "b": "t3", "c": []}) == {"t1": "a", "t2": "a", "t3": "b"}


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"a": ["nowhere"]}, ["of a", "nowhere"]),
        ({"a": ["t1"], "b": ["all"]}, ["both a and b", "t1"]),
        ({"a": []}, ["empty on every host"]),
        ({"a": None}, ["empty on every host"]),
        ({}, ["empty on every host"]),
    ],
)
def test_bad_claims_name_host_and_tunnel(claims: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        owners_of([tunnel("t1")], claims)
    for word in ["psk_rotation_tunnels", *words]:
        assert word in caught.value.message


def test_an_account_without_tunnels_is_no_fault_of_the_play() -> None:
    with pytest.raises(InputError, match="the account has no IPsec tunnel that these credentials may see"):
        owners_of([], {"a": ["all"]})


@pytest.mark.parametrize(
    ("limit", "of", "allowed"),
    [
        ("0", 24, 0),
        (3, 24, 3),
        (" 3 ", 24, 3),
        ("10%", 24, 3),
        ("10%", 20, 2),
        ("0%", 24, 0),
        ("100%", 24, 24),
        ("1%", 1, 1),
    ],
)
def test_the_limit_of_failures(limit: Any, of: int, allowed: int) -> None:
    assert parse_limit(limit, of) == allowed


@pytest.mark.parametrize("limit", ["", "%", "-1", "1.5", "10 %", "101%", "lots", "²", None, True])
def test_a_bad_limit_of_failures_names_its_variable(limit: Any) -> None:
    with pytest.raises(InputError, match="psk_rotation_max_failures"):
        parse_limit(limit, 24)
