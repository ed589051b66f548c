# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module ipsec_tunnels; a PSK in its options goes through a pipe, and never into a file.

What has changed is printed by name: Ansible itself shows of a task that succeeds only that it has changed something.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._piped import PipedAction


class ActionModule(PipedAction):
    """Each item of the list may have a PSK."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the module, and prints its message when anything has changed, or would."""
        result = super().run(tmp, task_vars)
        hidden = self._task.no_log or result.get("_ansible_no_log")
        if result.get("changed") and result.get("msg") and not result.get("failed") and not hidden:
            check = " (check mode)" if self._task.check_mode else ""
            # Not on stdout, where some callbacks print what a program reads.
            self._display.display(f"ipsec_tunnels{check}: {result['msg']}", stderr=True)
        return result

    def entries(self, arguments: Mapping[str, t.Any]) -> Iterable[Mapping[str, t.Any]]:
        """The items, whatever the user wrote beside them."""
        tunnels = arguments.get("tunnels")
        return [x for x in tunnels if isinstance(x, Mapping)] if isinstance(tunnels, (list, tuple)) else []
