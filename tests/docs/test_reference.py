# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""README and the page of all playbooks leave nothing out: guides, playbooks, and every variable of a playbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.docs.snippets import ROOT

GUIDES = sorted((ROOT / "docs" / "docsite" / "rst").glob("guide_*.rst"))
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
PAGE = (ROOT / "docs" / "docsite" / "rst" / "guide_playbooks.rst").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A variable that a user may set, and not one that a playbook sets for itself or hands over.
VARIABLE = re.compile(
    r"(?<![\w.])((?:psk_rotation|export_tunnels|adopt_psks|show_psk|audit_psks|repair_psks|magicwan_awx|demo)_\w*[a-z])\b"
)
NOT_SET_BY_USERS = re.compile(
    r"_(found|fed|lacks|is_of_another)$|^psk_rotation_(handover|summary|results)$|^demo_(device|summary)$"
)
OF_THE_ROLE = ("psk_rotation_confirmation", "psk_rotation_device_tasks", "psk_rotation_unknown_psk")


def variables_of(playbook: Path) -> set[str]:
    """The variables that a playbook takes, beside those that it hands to the role."""
    text = re.sub(r"^\s*#.*$", "", playbook.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = re.sub(r"magicwan\.cloudflare\.\w+|\S+\.(?:yml|j2)", "", text)
    return {x for x in VARIABLE.findall(text) if not NOT_SET_BY_USERS.search(x) and x not in OF_THE_ROLE}


def section(name: str) -> str:
    """What the page says of one playbook, and of all."""
    found = re.search(rf"^{name}\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    common = re.search(r"^What all of them take\n-+\n(.*?)(?=^\w+\n-+\n)", PAGE, re.MULTILINE | re.DOTALL)
    assert found and common, name
    return found[1] + common[1]


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda x: x.stem)
def test_the_page_of_playbooks_has_each_with_all_its_variables(playbook: Path) -> None:
    text = section(playbook.stem)
    assert [x for x in sorted(variables_of(playbook)) if f"``{x}``" not in text] == []


def test_the_variables_of_a_playbook_are_found() -> None:
    assert variables_of(ROOT / "playbooks" / "export_tunnels.yml") >= {"export_tunnels_path", "psk_rotation_timeout"}


def test_the_page_of_playbooks_has_no_other() -> None:
    assert set(re.findall(r"^(\w+_\w+|demo)\n-+$", PAGE, re.MULTILINE)) == {x.stem for x in PLAYBOOKS}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda x: x.stem)
def test_readme_and_menu_have_each_guide(guide: Path) -> None:
    menu = yaml.safe_load((ROOT / "docs" / "docsite" / "extra-docs.yml").read_text(encoding="utf-8"))
    assert f"docs/docsite/rst/{guide.name}" in README
    assert [x for part in menu["sections"] for x in part["toctree"]].count(guide.stem) == 1


def test_the_menu_begins_with_export_adoption_and_a_check_run() -> None:
    menu = yaml.safe_load((ROOT / "docs" / "docsite" / "extra-docs.yml").read_text(encoding="utf-8"))
    first = menu["sections"][0]["toctree"][0]
    text = (ROOT / "docs" / "docsite" / "rst" / f"{first}.rst").read_text(encoding="utf-8")
    places = [
        text.index(x)
        for x in (".. warning::", "\nExport\n", "\nAdopt\n", "\nCheck\n", "\nOne canary\n", "\nThe rest\n")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "examples" / "README.md", *ROOT.glob("examples/*/README.md")], ids=str
)
def test_every_link_to_a_file_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    assert [x for x in links if not (path.parent / x).exists()] == []


def test_readme_names_the_tracker_by_its_address() -> None:
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["issues"] in README
