# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: psk_audit_csv
short_description: The audit of PSKs as CSV
version_added: 1.0.0
author: The magicwan.cloudflare authors (@magicwan)
description:
  - Turns the report of P(magicwan.cloudflare.psk_audit#filter) into CSV with a header and a line for each tunnel.
  - A cell that a spreadsheet would take for a formula gets an apostrophe before it.
options:
  _input:
    description: The report.
    type: dict
    required: true
"""

EXAMPLES = r"""
csv: "{{ report | magicwan.cloudflare.psk_audit_csv }}"
"""

RETURN = r"""
_value:
  description: The text of the CSV file.
  type: str
"""

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._audit import to_csv
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """The filter by its name."""
        return {"psk_audit_csv": psk_audit_csv}


@one_line_errors
def psk_audit_csv(report: t.Any) -> str:
    """See DOCUMENTATION."""
    return to_csv(report)
