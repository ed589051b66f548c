# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The menu of the docsite, which `make docs` makes of the first page that antsibull-docs has written."""

from __future__ import annotations

import runpy
from pathlib import Path

GROUPED = runpy.run_path(str(Path(__file__).resolve().parents[3] / "tools" / "docs"), run_name="docs")["grouped"]
INDEX = """Magicwan.Cloudflare
===================

.. toctree::
    :maxdepth: 1

Guides
------

.. toctree::
    :maxdepth: 1

    docsite/guide_audit

Filter Plugins
~~~~~~~~~~~~~~

.. toctree::
    :maxdepth: 1
    :hidden:

    psk_audit_filter

Role Index
----------

.. toctree::
    :maxdepth: 1
    :hidden:

    psk_rotation_role
"""


def test_each_part_of_the_menu_is_called_like_its_heading() -> None:
    found = [x.strip() for x in GROUPED(INDEX).splitlines() if ":caption:" in x]
    assert found == [":caption: Guides", ":caption: Filter plugins", ":caption: Roles"]


def test_plugins_and_roles_have_short_names_and_guides_their_titles() -> None:
    entries = [x.strip() for x in GROUPED(INDEX).splitlines() if x.startswith("    ") and ":" not in x]
    assert entries == ["docsite/guide_audit", "psk_audit <psk_audit_filter>", "psk_rotation <psk_rotation_role>"]


def test_a_part_without_pages_is_left_out() -> None:
    assert GROUPED(INDEX).count(".. toctree::") == 3


def test_the_collection_is_written_as_everywhere() -> None:
    assert GROUPED(INDEX).startswith("magicwan.cloudflare\n")
