# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module secret_file through a pipe, so that its text is in no file but the one that it writes."""

from __future__ import annotations

import typing as t

from ansible.plugins.action.normal import ActionModule as Normal
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._piped import keep_off_the_disk


class ActionModule(Normal):
    """The text always holds a secret."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the module."""
        keep_off_the_disk(self._connection, self._display.warning)
        return super().run(tmp, task_vars)
