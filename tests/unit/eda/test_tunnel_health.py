# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the event source makes of looks at the health of tunnels; `make eda` runs it in ansible-rulebook."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.harness.playbook import VENV

SOURCE = "extensions/eda/plugins/event_source/tunnel_health.py"
FILE = VENV / "collections" / "ansible_collections" / "magicwan" / "cloudflare" / SOURCE
# As ansible-rulebook does it.
MODULE = runpy.run_path(str(FILE))
NOW = 1_800_000_000 * 10**9


def look(watch: Any, **states: str) -> list[tuple[str, str, str]]:
    """The changes that a look at tunnels with these states tells: id, state before, state now."""
    events = watch.look({name: {"id": name, "state": state} for name, state in states.items()}, NOW)
    changes = [x["tunnel_health"] for x in events if "tunnel_health" in x]
    return [(x["id"], x["before"], x["state"]) for x in changes]


@pytest.fixture
def watch() -> Any:
    return MODULE["Watch"](2)


def test_the_first_look_tells_nothing(watch: Any) -> None:
    assert look(watch, a="down", b="healthy") == []


def test_a_change_is_told_once_when_it_was_seen_twice(watch: Any) -> None:
    look(watch, a="healthy")
    assert [look(watch, a="down") for _ in range(4)] == [[], [("a", "healthy", "down")], [], []]


def test_a_tunnel_that_flaps_from_look_to_look_tells_nothing(watch: Any) -> None:
    assert [look(watch, a=state) for state in ("healthy", "down", "healthy", "down", "healthy")] == [[]] * 5


def test_a_change_back_is_told_too(watch: Any) -> None:
    seen = [look(watch, a=state) for state in ("healthy", "down", "down", "healthy", "healthy")]
    assert seen == [[], [], [("a", "healthy", "down")], [], [("a", "down", "healthy")]]


def test_a_tunnel_that_is_new_or_gone_tells_nothing(watch: Any) -> None:
    look(watch, a="healthy")
    assert look(watch, b="down") == []
    assert look(watch, a="down", b="down") == []


def test_a_look_that_fails_is_told_once_and_so_is_its_end(watch: Any) -> None:
    look(watch, a="healthy")
    assert watch.failed("no answer") == [{"tunnel_health_source": {"available": False, "reason": "no answer"}}]
    assert watch.failed("no answer") == []
    events = watch.look({"a": {"id": "a", "state": "healthy"}}, NOW)
    assert events == [{"tunnel_health_source": {"available": True, "reason": None}}]


def test_a_failed_look_does_not_take_a_state_for_lost(watch: Any) -> None:
    look(watch, a="healthy")
    watch.failed("no answer")
    assert look(watch, a="healthy") == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"api_token": "x"}, "api_token does not belong into a rulebook: set CLOUDFLARE_API_TOKEN in the environment"),
        ({"api_key": "x"}, "api_key does not belong into a rulebook: set CLOUDFLARE_API_KEY in the environment"),
        ({"intervall": 5}, "intervall is no option of tunnel_health; it knows interval, confirmations"),
        ({"interval": 0.5}, "interval must be 1 or more"),
        ({"interval": "often"}, "interval must be a number"),
        ({"confirmations": 0}, "confirmations must be 1 or more"),
        ({"window": "1s"}, "window must be between 60 seconds and 7 days"),
        ({"validate_certs": "no"}, "validate_certs must be true or false"),
    ],
)
def test_bad_options_are_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(MODULE["InputError"]) as error:
        MODULE["options"](args)
    assert error.value.message.startswith(message)


def test_without_a_token_in_the_environment_it_does_not_begin() -> None:
    with pytest.raises(MODULE["InputError"]) as error:
        MODULE["client_of"](MODULE["options"]({"account_id": "a" * 32}), {})
    assert "no credentials: set api_token (CLOUDFLARE_API_TOKEN)" in error.value.message


def test_a_tunnel_whose_psk_has_no_time_has_no_age() -> None:
    judged = {"id": "a", "name": "a", "state": "down", "reason": "down in 1 of 1 data centres"}
    seen = MODULE["_seen"](judged, {"customer_endpoint": "203.0.113.1"}, "account", NOW)
    assert "psk_age_seconds" not in seen
    set_on = "2027-01-15T07:59:50Z"
    seen = MODULE["_seen"](judged, {"psk_metadata": {"last_generated_on": set_on}}, "account", NOW)
    assert seen["psk_age_seconds"] == 10


def test_the_files_own_folder_leads_to_the_collection() -> None:
    assert MODULE["ROOT"] == VENV / "collections"
