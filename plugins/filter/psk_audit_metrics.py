# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_audit_metrics
short_description: The audit of PSKs as OpenMetrics text
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Turns the report of P(magicwan.cloudflare.psk_audit#filter) into OpenMetrics text, for a textfile collector.
  - All metrics are gauges and begin with C(magicwan_psk_). By tunnel there are C(age_seconds), C(state),
    C(due_timestamp_seconds), C(last_success_timestamp_seconds) and C(broken).
options:
  _input:
    description: The report.
    type: dict
    required: true
"""

EXAMPLES = r"""
metrics: "{{ report | magicwan.cloudflare.psk_audit_metrics }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._audit_metrics import to_metrics
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_audit_metrics": psk_audit_metrics}


@one_line_errors
def psk_audit_metrics(report: t.Any) -> str:
    """See DOCUMENTATION."""
    return to_metrics(report)
