# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shows one PSK of the escrow to the person at the terminal, and to nobody else."""

from __future__ import annotations

import os
import sys

from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import ArgumentSpec
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._controller import (
    Arguments,
    ControllerAction,
    Result,
    printable,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._guards import of_escrow, of_names, refuse
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._play import PlayOfTask
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._shown import WHICH, psk_of, without
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, find

# With these in the environment, something keeps all that is printed, be it on a terminal of its own.
KEPT_BY = ("AWX_HOST", "JOB_ID", "AWX_ISOLATED_DATA_DIR", "RUNNER_OMIT_EVENTS", "RUNNER_ONLY_FAILED_EVENTS")


class ActionModule(ControllerAction):
    """One PSK. It goes past logs and callbacks, and is no part of the result."""

    def spec(self) -> ArgumentSpec:
        """See the module's documentation."""
        return ArgumentSpec(
            {
                "escrow": {"type": "dict", "required": True},
                "account_id": {"type": "str"},
                "tunnel": {"type": "str", "required": True},
                "which": {"type": "str", "choices": list(WHICH), "default": "device"},
                "anywhere": {"type": "bool", "default": False},
            }
        )

    def about(self, message: str, arguments: Arguments) -> str:
        """Names the module, which the task's name need not say."""
        return f"psk_show: {message}"

    def work(self, arguments: Arguments) -> Result:
        """Shows it."""
        play = PlayOfTask(self._task, self._templar)
        hosts = play.hosts([str(self.variables["inventory_hostname"])], ())
        refuse([*of_names(play.keywords(), hosts), *of_escrow(arguments["escrow"])])
        if any(x in os.environ for x in KEPT_BY):
            raise InputError("this runs on AWX or ansible-runner, which keep what is printed: no PSK is shown there")
        if not arguments["anywhere"] and not _is_terminal():
            raise InputError(
                "the output goes to no terminal, and may be kept: no PSK is shown (show_psk_anywhere=true shows it)"
            )
        term, which = arguments["tunnel"], arguments["which"]
        with self.store(arguments) as store:
            ((tunnel_id, stored),) = find(store, [term]).items()
        record = stored.record
        psk = psk_of(record, which)
        if not psk:
            raise EscrowError(without(term, record, which))
        owner = "that its device should have" if which == "device" else which
        escaped = "" if psk.isprintable() else ", with what can't be printed as escapes"
        head = printable(f"{record.name} ({tunnel_id}), which is {record.state}, has as the PSK {owner}{escaped}:")
        for line in (head, printable(psk)):
            self._display.display(line, screen_only=True)
        return {"changed": False, "msg": f"shown: {record.name}", "_ansible_no_log": False}


def _is_terminal() -> bool:
    """Whether ansible-playbook writes to a terminal; its workers, as this process is one, may have another output."""
    try:
        descriptor = os.open(f"/proc/{os.getppid()}/fd/1", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return sys.__stdout__ is not None and sys.__stdout__.isatty()
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)
