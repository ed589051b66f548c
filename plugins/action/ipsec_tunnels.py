# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module ipsec_tunnels; a PSK in its options goes through a pipe, and never into a file."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._piped import PipedAction


class ActionModule(PipedAction):
    """Each item of the list may have a PSK."""

    def entries(self, arguments: Mapping[str, t.Any]) -> Iterable[Mapping[str, t.Any]]:
        """The items, whatever the user wrote beside them."""
        tunnels = arguments.get("tunnels")
        return [x for x in tunnels if isinstance(x, Mapping)] if isinstance(tunnels, (list, tuple)) else []
