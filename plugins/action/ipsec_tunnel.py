# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module ipsec_tunnel; a PSK in its options goes through a pipe, and never into a file."""

from __future__ import annotations

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._piped import PipedAction


class ActionModule(PipedAction):
    """The one PSK is an option of the task."""
