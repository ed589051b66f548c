# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results and summary: what device tasks get, and what anybody may read."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import (
    failures,
    first_result,
    result_after,
    summary,
)

ID = "e78fe28aa2ccbff743702b6cf2a1ac42"
NUMBER = "33145236"
FQDN = f"{ID}.{NUMBER}.ipsec.cloudflare.com"


def tunnel(**fields: Any) -> dict[str, Any]:
    """A tunnel as ipsec_tunnel_info returns it."""
    given = {
        "id": ID,
        "name": "Rome 1",
        "cloudflare_endpoint": "203.0.113.1",
        "customer_endpoint": "198.18.0.1",
        "interface_address": "10.64.0.0/31",
        "interface_address6": None,
        "replay_protection": False,
        "bgp": None,
        "remote_identities": {"fqdn_id": FQDN, "user_id": f"ipsec@{FQDN}"},
        "custom_remote_identities": None,
    }
    return {**given, **fields}


def entry(**fields: Any) -> dict[str, Any]:
    given = {"id": ID, "host": "rome", "group": "rome", "status": "due", "reason": "it is old"}
    return {**given, **fields}


def one(happened: dict[str, Any] | None = None, known: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The result of one tunnel."""
    found = first_result(tunnel(**fields), entry(), known)
    return result_after(found, happened) if happened else found


def test_a_result_has_what_happened() -> None:
    found = one({"status": "promoted", "psk": "new", "applied_on": "now", "generation": 2}, {"psk": "old"})
    assert {key: found[key] for key in ("status", "changed", "psk", "applied_on", "generation")} == {
        "status": "promoted",
        "changed": True,
        "psk": "new",
        "applied_on": "now",
        "generation": 2,
    }


def test_without_news_a_result_has_what_the_escrow_knows() -> None:
    found = one(None, {"psk": "old", "applied_on": "then", "generation": 1})
    assert (found["psk"], found["applied_on"], found["generation"], found["changed"]) == ("old", "then", 1, False)


def test_what_an_outcome_does_not_say_stays() -> None:
    found = result_after(one({"status": "applied", "psk": "new", "reason": "r"}), {"status": "failed", "psk": None})
    assert (found["status"], found["changed"], found["psk"], found["reason"]) == ("failed", False, "new", "r")


def test_a_result_has_both_inside_addresses() -> None:
    found = one(interface_address="10.64.0.0/31", interface_address6="2001:db8::/127")
    assert found["cloudflare_inside_address"] == "10.64.0.0"
    assert found["customer_inside_address"] == "10.64.0.1"
    assert found["inside_prefix_length"] == 31
    assert found["cloudflare_inside_address6"] == "2001:db8::"
    assert found["customer_inside_address6"] == "2001:db8::1"


def test_the_identities_of_a_device() -> None:
    assert one()["ike_ids"] == {
        "fqdn": FQDN,
        "user_fqdn": f"ipsec@{FQDN}",
        "key_id": f"{NUMBER}_{ID}",
        "custom_fqdn": None,
    }


def test_the_identities_are_made_of_the_ipsec_id_where_the_api_shows_none() -> None:
    none = {"fqdn_id": None, "user_id": None}
    found = one({"status": "promoted", "ipsec_id": f"{NUMBER}_{ID}"}, remote_identities=none)
    assert found["ike_ids"]["fqdn"] == FQDN
    assert found["ike_ids"]["user_fqdn"] == f"ipsec@{FQDN}"


def test_without_any_identity_there_is_none() -> None:
    found = one(remote_identities={"fqdn_id": None, "user_id": None})
    assert found["ike_ids"] == {"fqdn": None, "user_fqdn": None, "key_id": None, "custom_fqdn": None}


def test_an_own_fqdn_is_shown() -> None:
    assert one(custom_remote_identities={"fqdn_id": "rome.example"})["ike_ids"]["custom_fqdn"] == "rome.example"


def test_a_summary_counts() -> None:
    found = [one({"status": "promoted", "psk": "secret", "exposure_seconds": 2.0}), one({"status": "unapplied"})]
    told = summary(found, 2, "r1")
    assert told["tunnels"] == 2
    assert told["waves"] == 2
    assert told["changed"] == 1
    assert told["failed"] == 1
    assert told["statuses"] == {"promoted": 1, "unapplied": 1}
    assert told["message"] == "1 promoted, 1 unapplied"
    assert told["rotation_id"] == "r1"


def test_a_summary_has_no_psk() -> None:
    assert "TheSecretOfThisTest" not in str(summary([one({"status": "promoted", "psk": "TheSecretOfThisTest"})], 1, ""))


def test_a_summary_of_nothing() -> None:
    told = summary([], 0, "")
    assert (told["tunnels"], told["failed"], told["message"], told["failures"]) == (0, 0, "no tunnels", "")
    assert told["exposure_p50_seconds"] is None


def test_the_exposure_of_the_slow_ones() -> None:
    found = [one({"status": "promoted", "exposure_seconds": float(n)}) for n in range(1, 101)]
    told = summary(found, 1, "")
    assert (told["exposure_p50_seconds"], told["exposure_p95_seconds"]) == (51.0, 96.0)


@pytest.mark.parametrize("status", ["confirmed", "promoted", "unchanged", "planned", "waiting", "skipped"])
def test_what_needs_nobody_is_no_failure(status: str) -> None:
    assert failures([one({"status": status})]) == ""


@pytest.mark.parametrize("status", ["unapplied", "in_doubt", "applied", "rolled_back", "stuck", "stopped", "unreached"])
def test_what_needs_somebody_is_named_with_its_reason(status: str) -> None:
    line = failures([one({"status": status, "reason": "so it is"})])
    assert line == f"1 of 1 tunnels are not done: Rome 1 {status}: so it is"


def test_many_failures_stay_one_line() -> None:
    line = failures([one({"status": "unapplied", "reason": "no"})] * 12)
    assert line.startswith("12 of 12")
    assert line.endswith("; and 2 more")
    assert "\n" not in line
