# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hands the PSKs of the module ipsec_psk over to the register, and to nobody else.

Cores up to 2.21 destroy a returned value that equals a no_log option, and never censor one that the module made. So
the PSKs are made here, the module returns none, and this plugin puts them back and censors the display.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.plugins.action import ActionBase
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import LIVE, outcome
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import (
    generate_psk,
    mark_as_secret,
    psks_in,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._piped import keep_off_the_disk


class ActionModule(ActionBase):
    """Runs the module with a PSK for every entry."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the module; the result holds the PSKs and is censored as soon as it does."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        wanted = arguments.get("psks")
        entries: list[dict[str, t.Any]] = []
        if wanted is not None:
            error = _shape_error(wanted)
            if error is not None:
                return {"failed": True, "msg": error}
            entries = [{**x, "psk": generate_psk() if x.get("psk") is None else str(x["psk"])} for x in wanted]
            arguments["psks"] = entries
            mark_as_secret(psks_in(entries))
            keep_off_the_disk(self._connection, self._display.warning)
        result = self._execute_module(
            module_name="magicwan.cloudflare.ipsec_psk", module_args=arguments, task_vars=task_vars
        )
        result.pop("invocation", None)
        if "psks" not in result and _died(result):
            result["psks"] = [_in_doubt(x) for x in entries]
            for key in ("module_stdout", "module_stderr", "exception", "warnings"):
                result.pop(key, None)
        for given, sent, found in zip(wanted or (), entries, result.get("psks") or ()):
            if found["status"] in LIVE or (found["status"] == "unchanged" and given.get("applied_on")):
                found["psk"] = sent["psk"] if found["status"] in LIVE or given.get("psk") is not None else None
        if any(x.get("psk") for x in result.get("psks") or ()):
            result["_ansible_no_log"] = True
            if result.get("failed"):
                self._display.warning(f"ipsec_psk: {result.get('msg')}")
        return result


def _shape_error(wanted: t.Any) -> str | None:
    """What is wrong with ``psks``. The module would take ``name=a``, too, and its PSK would be lost."""
    if not isinstance(wanted, (list, tuple)) or not all(isinstance(x, Mapping) for x in wanted):
        return "psks must be a list of dictionaries"
    for index, entry in enumerate(wanted):
        psk = entry.get("psk")
        if psk is not None and (isinstance(psk, bool) or not isinstance(psk, (str, int))):
            return f"psks[{index}]: psk must be text"
    return None


def _died(result: t.Mapping[str, t.Any]) -> bool:
    """Whether the module ended without an answer of its own, so that it may have written."""
    return bool(result.get("failed") and "failure" not in result and "module_stdout" in result)


def _in_doubt(entry: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        "id": entry.get("id"),
        "name": entry.get("name"),
        "changed": True,
        "psk": None,
        **outcome("in_doubt", "the module died before it answered"),
    }
