# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible's own process has loaded once an action of the collection was imported."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from ansible.plugins.loader import filter_loader, init_plugin_loader, test_loader
init_plugin_loader()
import ansible_collections.magicwan.cloudflare.plugins.action.psk_rotation_step
print(bool(filter_loader._cached_non_collection_wrappers), bool(test_loader._cached_non_collection_wrappers))
"""


def test_what_each_fork_would_load_anew_is_loaded_with_the_action() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
