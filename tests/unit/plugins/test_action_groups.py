# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action group has all modules of the account, and each action plugin the module that documents it."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]


def plugins(kind: str) -> list[str]:
    """The public plugins of a kind."""
    return sorted(path.stem for path in (ROOT / "plugins" / kind).glob("[!_]*.py"))


# It takes neither the account nor the token, which defaults of the group would give it.
OUTSIDE = {"secret_file"}


def test_the_action_group_holds_every_module_of_the_account() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert set(runtime["action_groups"]["all"]) == {*plugins("modules")} - OUTSIDE


def test_every_action_plugin_has_a_module_of_its_name() -> None:
    assert set(plugins("action")) <= set(plugins("modules"))
