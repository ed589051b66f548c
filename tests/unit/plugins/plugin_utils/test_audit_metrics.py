# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit as OpenMetrics text."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _audit
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._audit_metrics import to_metrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.unit.plugins.plugin_utils.test_audit import NOW, POLICY, record, tunnel


def samples(report: dict[str, Any], name: str) -> dict[str, float]:
    """The values of a metric by the tunnel's name."""
    families = {x.name: x.samples for x in text_string_to_metric_families(to_metrics(report))}
    return {x.labels["tunnel"]: x.value for x in families[f"magicwan_psk_{name}"]}


def audited(*tunnels: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    return _audit.audit(tunnels, records, POLICY, NOW, "abc")


def test_ages_and_times_are_in_seconds() -> None:
    report = audited(tunnel(), records=[record()])
    assert samples(report, "age_seconds") == {"a": 31 * 86400}
    assert samples(report, "last_success_timestamp_seconds") == {"a": NOW / 10**9 - 31 * 86400}
    assert samples(report, "due_timestamp_seconds") == {"a": NOW / 10**9 + 59 * 86400}


def test_a_tunnel_without_a_psk_has_a_state_and_no_age() -> None:
    report = audited(tunnel(set_on=None), records=[])
    assert samples(report, "age_seconds") == {}
    assert 'tunnel="a",device="",site="",state="none"} 1\n' in to_metrics(report)


def test_a_rotation_that_is_not_finished_is_no_success() -> None:
    report = audited(tunnel(), records=[record(state="applied", pending_applied_on="2026-05-01T00:00:00Z")])
    assert samples(report, "last_success_timestamp_seconds") == {}
    assert samples(report, "broken") == {"a": 1}


@pytest.mark.parametrize("name", ['quo"ted', "back\\slash", "two\nlines", "brace}", "\\n"])
def test_a_name_comes_through_whatever_it_is(name: str) -> None:
    assert list(samples(audited(tunnel(name), records=[]), "broken")) == [name]


def test_the_text_has_an_end() -> None:
    assert to_metrics(audited(records=[])).endswith("\n# EOF\n")
