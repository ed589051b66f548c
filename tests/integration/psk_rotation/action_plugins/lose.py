# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device of the tests that can't be reached from now on."""

from __future__ import annotations

from typing import Any, NoReturn

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Has its host be unreachable."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> NoReturn:
        """Raises AnsibleConnectionFailure."""
        raise AnsibleConnectionFailure("the line is dead")
