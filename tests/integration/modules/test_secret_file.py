# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module secret_file: what it writes, and that no other file ever has the text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import Playbooks, Result
from tests.harness.secrets_scan import find_secrets

TEXT = 'secrets {\n  ike-a { secret = "aK3dP9sQ7xT1vB5nM8cW2eR6yU4iO0pLzHgFjDkS" }\n}\n'
SECRET = TEXT.split('"')[1]
Write = Callable[..., Result]


@pytest.fixture
def handed_over(tmp_path: Path) -> Path:
    """Where a copy of each file goes that Ansible hands over."""
    folder = tmp_path / "handed-over"
    folder.mkdir()
    return folder


@pytest.fixture
def write(make_playbooks: Callable[..., Playbooks], tmp_path: Path, handed_over: Path) -> Write:
    """Run the module, or another one in its place."""
    playbooks = make_playbooks({"HARNESS_FILES": str(handed_over)})

    def run(
        module: str = "magicwan.cloudflare.secret_file", *, check: bool = False, shown: bool = False, **options: Any
    ) -> Result:
        task = {"name": "Write", module: {"content": TEXT, **options}, "no_log": not shown}
        return playbooks.run([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}], check=check)

    return run


def changed(result: Result) -> bool:
    return result.ok().stats["localhost"]["changed"] == 1


def test_the_file_is_its_owners_alone(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert changed(write(path=str(path)))
    assert path.read_text(encoding="utf-8") == TEXT
    assert path.stat().st_mode & 0o7777 == 0o600


def test_a_second_run_changes_nothing(write: Write, tmp_path: Path) -> None:
    write(path=str(tmp_path / "file")).ok()
    assert not changed(write(path=str(tmp_path / "file")))


def test_a_file_that_others_can_read_is_closed(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(TEXT, encoding="utf-8")
    path.chmod(0o644)
    assert changed(write(path=str(path)))
    assert path.stat().st_mode & 0o7777 == 0o600


def test_a_check_run_says_what_it_would_change_and_writes_nothing(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert changed(write(path=str(path), check=True))
    assert not path.exists()
    path.write_text("another text", encoding="utf-8")
    path.chmod(0o644)
    assert changed(write(path=str(path), check=True))
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o7777) == ("another text", 0o644)


def test_what_a_killed_run_has_left_beside_the_file_is_replaced_and_not_followed(write: Write, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("left alone", encoding="utf-8")
    (tmp_path / ".file.new").symlink_to(other)
    assert changed(write(path=str(tmp_path / "file")))
    assert other.read_text(encoding="utf-8") == "left alone"
    assert not (tmp_path / ".file.new").is_symlink()


def test_a_link_stays_a_link(write: Write, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert changed(write(path=str(tmp_path / "link")))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text(encoding="utf-8") == TEXT


def test_a_missing_folder_is_an_error_that_names_the_file(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "file"
    result = write(path=str(path), shown=True)
    assert result.rc == 2
    assert f"{path} can't be written: No such file or directory" in result.stdout
    assert SECRET not in result.stdout + result.stderr


def test_no_file_that_is_handed_over_has_the_text(write: Write, tmp_path: Path, handed_over: Path) -> None:
    write(path=str(tmp_path / "file")).ok()
    assert not find_secrets(list(handed_over.iterdir()), [SECRET])


def test_a_copy_would_hand_it_over_in_a_file(write: Write, tmp_path: Path, handed_over: Path) -> None:
    write("ansible.builtin.copy", dest=str(tmp_path / "file")).ok()
    assert find_secrets(list(handed_over.iterdir()), [SECRET])
