# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Runs a module that is given PSKs without a file of its options."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ansible.errors import AnsibleError
from ansible.plugins.action.normal import ActionModule as Normal
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import mark_as_secret, psks_in


def keep_off_the_disk(connection: t.Any, warn: t.Callable[[str], t.Any]) -> None:
    """Hands the module over through a pipe, and says so where the connection can't do that.

    The file that it would be in otherwise holds the PSKs, and stays there when the run is killed.
    """
    try:
        connection.set_option("pipelining", True)
    except (AnsibleError, AttributeError, KeyError):
        piped = False
    else:
        piped = bool(getattr(connection, "has_pipelining", False))
    if not piped:
        warn(
            "this connection can't pipe a module: until the task ends, its PSKs are in a file in the remote temporary"
            " folder; run it on localhost"
        )


class PipedAction(Normal):
    """Runs the module of the task as any other, but through a pipe when its options hold a PSK."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the module."""
        psks = [str(x) for x in psks_in(self.entries(self._task.args))]
        if psks:
            mark_as_secret(psks)
            keep_off_the_disk(self._connection, self._display.warning)
        return super().run(tmp, task_vars)

    def entries(self, arguments: Mapping[str, t.Any]) -> Iterable[Mapping[str, t.Any]]:
        """The dictionaries that may have a ``psk``."""
        return [arguments]
