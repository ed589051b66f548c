# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of statuses: what each says, and that nothing else in the collection says it a second time."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _record, _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._plan import MODES

ROOT = Path(__file__).resolve().parents[4]
README = ROOT / "roles" / "psk_rotation" / "README.md"
SOURCES = sorted((ROOT / "plugins").glob("*/*.py"))
# Statuses of the module ipsec_psk, states of records and what devices have shown have some of the same words.
OTHER_WORDS = {
    *("_status.py", "_psk.py", "_record.py", "_ipsec_psk.py", "_module.py", "ipsec_psk.py", "_psk_batch.py"),
    "_device_proof.py",
}
NOT_DONE = [
    *("skipped", "refused", "in_doubt", "failed", "stuck", "rolling_back", "rollback_failed", "rolled_back"),
    *("unreached", "unhealthy", "stopped", "prepared", "applied", "resume"),
]


def named_statuses() -> dict[str, str]:
    """The constants of the module that are statuses, by their name."""
    return {name: value for name, value in vars(_status).items() if name.isupper() and isinstance(value, str)}


def readme_rows() -> dict[str, tuple[str, str]]:
    """Meaning, and whether the run fails, of each status in the role's README."""
    table = README.read_text(encoding="utf-8").partition("| status | meaning | fails the run |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    return {status: (text, whether) for status, text, whether in rows}


def fails(status: str) -> str:
    if status == _status.SKIPPED:
        return "yes, unless a run that is still alive does the work"
    if status in _status.harmless_in("rollback") - _status.HARMLESS:
        return "yes, but not in a rollback"
    return "no" if status in _status.HARMLESS else "yes"


def test_every_status_that_has_a_name_is_in_the_table() -> None:
    assert sorted(named_statuses().values()) == sorted(_status.TABLE)


def test_every_state_of_a_record_but_idle_is_a_status() -> None:
    assert set(_record.STATES) - set(_status.TABLE) == {_record.IDLE}


def test_the_readme_shows_the_table() -> None:
    assert readme_rows() == {status: (x.text, fails(status)) for status, x in _status.TABLE.items()}


def test_the_readme_shows_it_in_the_order_of_the_table() -> None:
    assert list(readme_rows()) == list(_status.TABLE)


@pytest.mark.parametrize("word", ["promoted", "unapplied", "turn back", "turned back", "turn_back"])
def test_a_word_of_1_0_0_is_not_used_for_a_tunnel_of_a_rotation_any_more(word: str) -> None:
    role, utils = ROOT / "roles" / "psk_rotation", ROOT / "plugins" / "plugin_utils"
    files = [README, *role.rglob("*.yml"), *utils.glob("*.py")]
    assert [path.name for path in files if word in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("status", _status.TABLE)
def test_a_status_with_which_the_groups_next_tunnel_may_begin_needs_nobodys_attention(status: str) -> None:
    assert not _status.TABLE[status].done or _status.TABLE[status].harmless


@pytest.mark.parametrize("status", _status.TABLE)
def test_a_device_acts_only_on_a_key_that_cloudflare_holds_or_would_hold(status: str) -> None:
    meaning = _status.TABLE[status]
    assert not meaning.acts or meaning.live or status == _status.PLANNED


@pytest.mark.parametrize("status", _status.TABLE)
def test_a_later_job_configures_only_what_has_changed(status: str) -> None:
    assert not _status.TABLE[status].configure or _status.TABLE[status].changed


@pytest.mark.parametrize("status", NOT_DONE)
def test_what_is_not_done_is_not_harmless(status: str) -> None:
    assert status not in _status.harmless_in("rotate")


def test_a_rolled_back_tunnel_is_harmless_in_a_rollback_and_its_confirmation_only() -> None:
    harmless = [mode for mode in MODES if _status.ROLLED_BACK in _status.harmless_in(mode)]
    assert harmless == ["confirm", "rollback"]


@pytest.mark.parametrize("path", [x for x in SOURCES if x.name not in OTHER_WORDS], ids=lambda path: path.name)
def test_no_other_module_lists_statuses(path: Path) -> None:
    """A tuple, list or set of words that are all statuses is a second table."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)) and len(node.elts) > 1:
            words = [x.value if isinstance(x, ast.Constant) else None for x in node.elts]
            assert not all(word in _status.TABLE for word in words), f"line {node.lineno}: {words}"
