# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store in a file, and what can happen to a file."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Key, Pending, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError, Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_file import FileStore, Seal

ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
PSK = "s3cretPskThatMustNeverShowInAnyMessage0123456789"


def secret(text: str) -> VaultSecret:
    return VaultSecret(text.encode())


def vault(*texts: str) -> VaultLib:
    return VaultLib([(text, secret(text)) for text in texts or ("default",)])


def record(name: str = "one", psk: str = PSK, **fields: Any) -> Record:
    return Record(name=name, current=Key(psk), **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "psks.yml"


def make(path: Path, *secrets: str, account: str = ACCOUNT, **options: Any) -> FileStore:
    return FileStore(str(path), account, vault(*secrets), **options)


def put(path: Path, document: Any, text: str = "default") -> None:
    """Writes a file as somebody does with ansible-vault."""
    content = document if isinstance(document, str) else json.dumps(document)
    path.write_bytes(vault(text).encrypt(content))


def refused(work: Callable[[], object]) -> str:
    """The one line with which the work is refused."""
    with pytest.raises(EscrowError) as caught:
        work()
    message = str(caught.value)
    assert "\n" not in message
    assert PSK not in message
    return message


def leftovers(path: Path) -> list[str]:
    own = (path.name, path.name + ".lock", path.name + ".previous")
    return sorted(x.name for x in path.parent.iterdir() if x.name not in own)


def test_records_are_kept(path: Path) -> None:
    first = make(path)
    first.check()
    assert first.load() == {}
    assert first.store({"t1": Stored(record(), 0), "t2": Stored(record("two"), 0)}) == ({"t1": 1, "t2": 1}, {})
    second = make(path)
    assert set(second.load()) == {"t1", "t2"}
    found = second.load(["t2", "t3"])
    assert list(found) == ["t2"]
    assert found["t2"].version == 1
    assert found["t2"].record.current == Key(PSK)
    assert second.others(["t2", "t3"]) == {"t1": Stored(record(revision=1), 1)}
    assert leftovers(path) == []


def test_the_file_is_for_its_owner_only_and_encrypted(path: Path) -> None:
    old = os.umask(0)
    try:
        make(path.parent / "new" / path.name).store({"t1": Stored(record(), 0)})
    finally:
        os.umask(old)
    written = path.parent / "new" / path.name
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(written.parent.stat().st_mode) == 0o700
    assert written.read_bytes().startswith(b"$ANSIBLE_VAULT;1.1;AES256\n")


def test_a_changed_record_is_a_conflict_and_the_others_are_written(path: Path) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    written = make(path).store({"t1": Stored(record("other"), 0), "t2": Stored(record("two"), 0)})
    assert (list(written.conflicts), written.versions) == (["t1"], {"t2": 1})
    found = make(path).load()
    assert found["t1"].record.name == "one"
    assert found["t2"].version == 1


def test_nothing_is_written_when_all_are_conflicts(path: Path) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    before = path.read_bytes()
    assert make(path).store({"t1": Stored(record("other"), 5)}).versions == {}
    assert path.read_bytes() == before


# -- what is in the file -----------------------------------------------------------------------------------------------


def test_a_file_edited_by_hand_is_accepted(path: Path) -> None:
    put(
        path,
        f"""
version: 1
account_id: {ACCOUNT}
tunnels:
  "00000000000000000000000000000001":
    name: one
    current:
      psk: {PSK}
      applied_on: 2026-06-14T05:20:00Z   # no quotes
""",
    )
    escrow = make(path)
    stored = escrow.load()["00000000000000000000000000000001"]
    assert stored.version == 0
    assert stored.record.current is not None and stored.record.current.applied_on == "2026-06-14T05:20:00Z"
    assert not escrow.store({"00000000000000000000000000000001": stored}).conflicts
    assert make(path).load()["00000000000000000000000000000001"].version == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"version": 2, "account_id": ACCOUNT, "tunnels": {}}, "a format that this version of the collection"),
        ({"version": 1, "account_id": ACCOUNT}, "a format that this version of the collection"),
        ([], "a format that this version of the collection"),
        ({"version": 1, "account_id": "another", "tunnels": {}}, "belongs to account 'another'"),
        ({"version": 1, "account_id": "another", "tunnels": {}}, "check account_id and escrow.path"),
        ("{a: [", "no valid YAML"),
        ("[" * 100_000, "no valid YAML"),
        (f"version: 1\naccount_id: {ACCOUNT}\ntunnels: {{12: {{}}}}", "tunnel id 12 is not text"),
        ({"version": 1, "account_id": ACCOUNT, "tunnels": {"t1": {"current": PSK}}}, "record of tunnel t1"),
        ({"version": 1, "account_id": ACCOUNT, "tunnels": {"t1": {"current": {"psk": 5}}}}, "into quotes"),
        ({"version": 1, "account_id": ACCOUNT, "tunnels": {"t1": {"state": PSK}}}, "state must be one of"),
    ],
)
def test_a_file_that_makes_no_sense_is_left_alone(path: Path, document: Any, message: str) -> None:
    put(path, document)
    before = path.read_bytes()
    for work in (make(path).load, make(path).check, lambda: make(path).store({"t9": Stored(record(), 0)})):
        assert message in refused(work)
    assert path.read_bytes() == before


@pytest.mark.parametrize("length", [0, 1, 30, 200, -1])
def test_a_torn_file_is_left_alone(path: Path, length: int) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    torn = path.read_bytes()[:length]
    path.write_bytes(torn)
    if length == -1:  # the last line break alone
        assert make(path).load()
        return
    assert "the escrow" in refused(make(path).load)
    refused(lambda: make(path).store({"t1": Stored(record(), 0)}))
    assert path.read_bytes() == torn


def test_a_file_that_is_not_encrypted_is_left_alone(path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "tunnels": {}}), encoding="utf-8")
    message = refused(make(path).load)
    assert "not encrypted by ansible-vault" in message
    assert f"encrypt it with: ansible-vault encrypt {path}" in message


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 4096], ids=["nothing", "a line break", "zeros"])
@pytest.mark.parametrize(
    ("runs", "instead"), [(0, "bring back a copy"), (1, "copy psks.yml.previous to its place")], ids=["new", "used"]
)
def test_of_a_file_that_is_empty_it_is_said_what_to_put_in_its_place(
    path: Path, content: bytes, runs: int, instead: str
) -> None:
    for _run in range(runs):
        make(path).store({"t1": Stored(record(), 0)})
    path.write_bytes(content)
    message = refused(make(path).load)
    assert "is empty, as after a crash or on a full disk" in message and instead in message
    assert path.read_bytes() == content


def test_of_a_file_that_is_cut_it_is_said_what_to_put_in_its_place(path: Path) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    path.write_bytes(path.read_bytes()[:200])
    assert "if the file is damaged, copy psks.yml.previous to its place" in refused(make(path).load)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "must be the path of a file"),
        ("/", "must be the path of a file"),
        ("a\0b", "must be the path of a file"),
        ("~nobody-of-this-name/psks.yml", "there is no such user"),
    ],
)
def test_a_path_that_can_be_none_is_refused_by_its_option(given: str, words: str) -> None:
    message = refused(lambda: FileStore(given, ACCOUNT, vault()))
    assert message.startswith("escrow.path ") and words in message


def test_the_wrong_vault_password(path: Path) -> None:
    make(path, "right").store({"t1": Stored(record(), 0)})
    before = path.read_bytes()
    assert "can't be opened with the vault secret" in refused(make(path, "wrong").load)
    assert "can't be opened" in refused(lambda: make(path, "wrong").store({"t1": Stored(record(), 1)}))
    assert path.read_bytes() == before


def test_the_secret_that_opened_the_file_encrypts_it_again(path: Path) -> None:
    make(path, "prod", seal=Seal(vault_id="prod")).store({"t1": Stored(record(), 0)})
    both = make(path, "dev", "prod")
    both.store({"t2": Stored(record(), 0)})
    assert set(make(path, "prod").load()) == {"t1", "t2"}
    assert path.read_bytes().startswith(b"$ANSIBLE_VAULT;1.2;AES256;prod\n")


# -- the file's place --------------------------------------------------------------------------------------------------


def test_a_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.yml"
    make(target).store({"t1": Stored(record(), 0)})
    path.symlink_to(target)
    for work in (make(path).load, make(path).check, lambda: make(path).store({"t2": Stored(record(), 0)})):
        assert "symbolic link" in refused(work)
    assert path.is_symlink()


def test_a_lock_that_is_a_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.with_name(path.name + ".lock").symlink_to(tmp_path / "elsewhere")
    assert "lock" in refused(make(path).check)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_everybody_may_write_to_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)
    assert "everybody may write" in refused(make(path).check)
    path.parent.chmod(0o1777)
    make(path).check()


@pytest.mark.parametrize("make_it", [os.mkdir, os.mkfifo])
def test_a_path_that_is_no_file(path: Path, make_it: Callable[[Path], None]) -> None:
    make_it(path)
    assert "is not a regular file" in refused(make(path).load)


def test_a_folder_that_cannot_be_made(path: Path) -> None:
    path.write_text("a file", encoding="utf-8")
    assert "folder cannot be created" in refused(make(path / "below" / "psks.yml").check)


@pytest.mark.parametrize("number", ["EACCES", "EROFS", "ENOSPC", "EDQUOT"])
def test_a_place_that_cannot_be_written_is_found_by_check(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    before, real = path.read_bytes(), os.open

    def denied(target: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if str(target).endswith(".tmp"):
            raise OSError(getattr(errno, number), "text of the system", str(target))
        return real(target, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", denied)
    for work in (make(path).check, lambda: make(path).store({"t1": Stored(record(), 1)})):
        assert "cannot be written" in refused(work)
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    real = os.open

    def denied(target: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if target == path:
            raise PermissionError(13, "text of the system", str(target))
        return real(target, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", denied)
    assert "cannot be read (Permission denied)" in refused(make(path).load)
    assert "cannot be read" in refused(lambda: make(path).store({"t1": Stored(record(), 1)}))


def test_a_disk_that_fills_up_leaves_the_old_file(path: Path) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        message = refused(lambda: make(path).store({"t2": Stored(record(psk=PSK * 100), 0)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "cannot be written (File too large)" in message
    assert path.read_bytes() == before
    assert leftovers(path) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    before = path.read_bytes()

    def fails(*dummy: object) -> None:
        raise OSError(5, "text of the system")

    monkeypatch.setattr(os, call, fails)
    assert "cannot be written (Input/output error)" in refused(lambda: make(path).store({"t1": Stored(record(), 1)}))
    assert path.read_bytes() == before
    assert leftovers(path) == []


# -- who shares the file -----------------------------------------------------------------------------------------------


def mode_and_group(path: Path) -> tuple[int, int]:
    return stat.S_IMODE(path.stat().st_mode), path.stat().st_gid


def another_group() -> int:
    """A group that this user may give a file to, other than its first."""
    groups = [gid for gid in os.getgroups() if gid != os.getegid()] or ([4242] if os.geteuid() == 0 else [])
    if not groups:
        pytest.skip("this user is in one group only")
    return groups[0]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o664])
def test_a_write_keeps_mode_and_group(path: Path, mode: int) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    shared = (mode, another_group())
    os.chown(path, -1, shared[1])
    path.chmod(mode)
    make(path).check()
    make(path).store({"t2": Stored(record(), 0)})
    assert mode_and_group(path) == shared
    assert mode_and_group(path.with_name("psks.yml.previous")) == shared
    assert mode_and_group(path.with_name("psks.yml.lock")) == shared
    make(path).forget({"t2": Stored(record(), 1)})
    assert mode_and_group(path) == shared


def test_a_group_that_cannot_be_kept_is_refused_before_anything_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    os.chown(path, -1, another_group())
    before = path.read_bytes()

    def denied(*_args: object) -> None:
        raise PermissionError(1, "text of the system")

    monkeypatch.setattr(os, "fchown", denied)
    for work in (make(path).check, lambda: make(path).store({"t2": Stored(record(), 0)})):
        assert "which this user is not in" in refused(work)
    assert path.read_bytes() == before
    assert leftovers(path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_two_users_of_a_group_share_an_escrow(path: Path) -> None:
    """One writes, then the other, then the first again, as nobody else may."""
    group, users = 4242, (4243, 4244)
    path.parent.chmod(0o2770)
    os.chown(path.parent, users[0], group)
    open_way(path.parent)

    def as_user(user: int, number: int) -> int:
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([group])
                os.setgid(user)
                os.setuid(user)
                make(path).check()
                written = make(path).store({f"t{number}": Stored(record(), 0)})
                if number == 0:
                    path.chmod(0o660)
                os._exit(0 if not written.conflicts else 1)
            except BaseException as exc:
                os.write(2, f"{exc!r}\n".encode())
                os._exit(2)
        return os.waitpid(child, 0)[1]

    assert [as_user(users[0], 0), as_user(users[0], 1), as_user(users[1], 2), as_user(users[0], 3)] == [0] * 4
    assert mode_and_group(path) == (0o660, group)
    assert len(make(path).load()) == 4


def open_way(folder: Path) -> None:
    """pytest's folders are for their owner only."""
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and str(parent).startswith("/tmp/"):  # noqa: S108 - only compared
            parent.chmod(parent.stat().st_mode | 0o011)


# -- what was read before ----------------------------------------------------------------------------------------------


def count_decryptions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    done: list[bytes] = []
    real = VaultLib.decrypt_and_get_vault_id

    def counted(self: VaultLib, content: bytes, *args: Any) -> Any:
        done.append(content)
        return real(self, content, *args)

    monkeypatch.setattr(VaultLib, "decrypt_and_get_vault_id", counted)
    return done


def test_what_was_read_or_written_is_not_decrypted_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    done = count_decryptions(monkeypatch)
    store = make(path)
    for number in range(3):
        store.load()
        store.store({f"n{number}": Stored(record(), 0)})
    assert len(done) == 1


def test_a_foreign_file_with_the_same_inode_time_and_size_is_seen(path: Path) -> None:
    store = make(path)
    store.store({"t1": Stored(record(), 0)})
    status = path.stat()
    other = path.with_name("other.yml")
    make(other).store({"t1": Stored(record("two"), 0)})
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (status.st_ino, status.st_mtime_ns, status.st_size)
    assert store.load()["t1"].record.name == "two"
    assert not store.store({"t2": Stored(record(), 0)}).conflicts
    assert make(path).load()["t1"].record.name == "two"


# -- people who edit ---------------------------------------------------------------------------------------------------


def saved_by_hand(path: Path, records: dict[str, Record], text: str = "default") -> None:
    """Puts a file into the place of the escrow, as `ansible-vault edit` does: removed, then moved there."""
    document = {"version": 1, "account_id": ACCOUNT, "tunnels": {i: x.to_dict() for i, x in records.items()}}
    path.unlink()
    put(path, document, text)


def records_of(path: Path) -> dict[str, Record]:
    return {i: x.record for i, x in make(path).load().items()}


PENDING = {"state": "prepared", "pending": Pending(psk=PSK, rotation_id="r")}


@pytest.fixture
def edited(path: Path) -> tuple[Path, list[str]]:
    """A run has stored keys of a, b and new while somebody had the file open, and saves it now with a new name."""
    make(path).store({"a": Stored(record("a"), 0), "b": Stored(record("b"), 0), "c": Stored(record("c"), 0)})
    open_in_an_editor = records_of(path)
    store = make(path)
    found = store.load()
    changes = {i: Stored(replace(found[i].record, **PENDING), found[i].version) for i in ("a", "b")}
    store.store({**changes, "new": Stored(record("new", **PENDING), 0), "rest": Stored(record("rest"), 0)})
    open_in_an_editor["c"] = replace(open_in_an_editor["c"], name="c, renamed")
    saved_by_hand(path, open_in_an_editor)
    return path, []


def test_what_an_edit_has_lost_is_taken_from_the_last_file_of_a_run(edited: tuple[Path, list[str]]) -> None:
    path, warnings = edited
    found = make(path, warn=warnings.append).load()
    assert {i for i, x in found.items() if x.record.state == "prepared"} == {"a", "b", "new"}
    assert {i: x.version for i, x in found.items()} == {"a": 2, "b": 2, "c": 1, "new": 1}
    assert found["c"].record.name == "c, renamed"
    (warning,) = warnings
    assert f"the escrow {path} was saved by somebody else" in warning
    assert "the records of a, b, new are taken from psks.yml.previous" in warning
    assert f"flock {path}.lock ansible-vault edit {path}" in warning
    assert PSK not in warning and "\n" not in warning


def test_a_write_after_an_edit_brings_the_lost_records_back_for_good(edited: tuple[Path, list[str]]) -> None:
    path, warnings = edited
    store = make(path, warn=warnings.append)
    written = store.store({"a": Stored(record("a"), 2), "b": Stored(record("b"), 1)})
    assert (written.versions, list(written.conflicts)) == ({"a": 3}, ["b"])
    assert len(warnings) == 1
    quiet: list[str] = []
    found = make(path, warn=quiet.append).load()
    assert (found["b"].record.state, found["c"].record.name, set(found)) == (
        "prepared",
        "c, renamed",
        {"a", "b", "c", "new"},
    )
    assert quiet == []


def test_an_edit_of_the_newest_file_is_taken_as_it_is(path: Path) -> None:
    warnings: list[str] = []
    make(path).store({"a": Stored(record("a"), 0), "b": Stored(record("b"), 0)})
    found = records_of(path)
    saved_by_hand(path, {"a": replace(found["a"], name="another")})
    found = {i: x.record for i, x in make(path, warn=warnings.append).load().items()}
    assert {i: x.name for i, x in found.items()} == {"a": "another"}
    assert warnings == []


def test_an_old_copy_that_is_put_back_in_place_loses_no_key(path: Path) -> None:
    make(path).store({"a": Stored(record("a"), 0)})
    old = path.read_bytes()
    make(path).store({"a": Stored(record("a", psk=PSK[::-1]), 1)})
    path.write_bytes(old)  # into the same inode, as cp does
    assert records_of(path)["a"].current == Key(PSK[::-1])


def test_an_old_copy_under_another_password_is_told(path: Path) -> None:
    warnings: list[str] = []
    make(path).store({"a": Stored(record("a"), 0)})
    saved_by_hand(path, records_of(path), "another")
    store = make(path, "another", warn=warnings.append)
    assert set(store.load()) == {"a"}
    assert "psks.yml.previous can't be opened with the vault secret of this run" in warnings[0]
    store.store({"b": Stored(record("b"), 0)})
    warnings.clear()
    assert set(make(path, "another", warn=warnings.append).load()) == {"a", "b"}
    assert warnings == []


def test_a_file_that_is_gone_is_not_taken_for_a_new_one(path: Path) -> None:
    make(path).store({"a": Stored(record("a"), 0)})
    path.unlink()
    for work in (make(path).load, make(path).check, lambda: make(path).store({"b": Stored(record(), 0)})):
        assert "is gone, but the last one that was written is still there" in refused(work)
    path.with_name("psks.yml.previous").rename(path)
    assert set(make(path).load()) == {"a"}


def test_an_escrow_of_an_earlier_version_has_no_previous_file(path: Path) -> None:
    put(path, {"version": 1, "account_id": ACCOUNT, "tunnels": {"a": record("a").to_dict()}})
    warnings: list[str] = []
    assert set(make(path, warn=warnings.append).load()) == {"a"}
    make(path).store({"b": Stored(record("b"), 0)})
    assert path.with_name("psks.yml.previous").read_bytes() == path.read_bytes()
    assert warnings == []


def test_a_record_that_was_forgotten_stays_forgotten(path: Path) -> None:
    make(path).store({"a": Stored(record("a", state="stuck"), 0), "b": Stored(record("b"), 0)})
    store = make(path)
    assert store.forget({"a": Stored(record("a"), 7)}) == {"a": "another run has changed its record meanwhile"}
    assert store.forget({"a": store.load()["a"]}) == {}
    assert set(make(path).load()) == {"b"}


def test_a_previous_file_that_cannot_be_written_is_no_failure(path: Path) -> None:
    make(path).store({"a": Stored(record("a"), 0)})
    path.with_name("psks.yml.previous").unlink()
    path.with_name("psks.yml.previous").mkdir()
    assert not make(path).store({"a": Stored(record("a2"), 1)}).conflicts
    assert records_of(path)["a"].name == "a2"
    assert leftovers(path) == []


EDITOR = """#!{python}
import pathlib, sys, time
file = pathlib.Path(sys.argv[-1])
pathlib.Path({began!r}).touch()
while not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
file.write_text(file.read_text().replace("first", "edited"))
"""


@pytest.mark.parametrize("locked", [True, False])
def test_ansible_vault_edit(path: Path, tmp_path: Path, locked: bool) -> None:
    """With flock(1) a run waits for the editor; without, what it has written meanwhile is not lost."""
    make(path).store({"a": Stored(record("first"), 0), "b": Stored(record("b"), 0)})
    began, go, editor, password = (tmp_path / x for x in ("began", "go", "editor", "password"))
    editor.write_text(EDITOR.format(python=sys.executable, began=str(began), go=str(go)), encoding="utf-8")
    editor.chmod(0o700)
    password.write_text("default\n", encoding="utf-8")
    command = [str(Path(sys.executable).parent / "ansible-vault"), "edit", "--vault-password-file", str(password)]
    command = [*(["flock", f"{path}.lock"] if locked else []), *command, str(path)]
    environment = {**os.environ, "EDITOR": str(editor), "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while not began.exists():
        assert process.poll() is None
        time.sleep(0.01)
    change = {"b": Stored(record("b, by a run"), 1)}
    if locked:
        assert "locked by another process" in refused(lambda: make(path, lock_timeout=0.1).store(change))
        assert set(make(path).load()) == {"a", "b"}
    else:
        assert not make(path).store(change).conflicts
    go.touch()
    assert process.wait(600) == 0
    warnings: list[str] = []
    store = make(path, warn=warnings.append)
    if locked:
        assert not store.store(change).conflicts
    assert {i: x.record.name for i, x in store.load().items()} == {"a": "edited", "b": "b, by a run"}
    assert bool(warnings) is not locked


def test_ansible_vault_rekey(path: Path, tmp_path: Path) -> None:
    """It overwrites the old file in its place, which no copy of ours may be."""
    make(path).store({"a": Stored(record("a"), 0)})
    before = path.with_name("psks.yml.previous").read_bytes()
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("default\n", encoding="utf-8")
    new.write_text("another\n", encoding="utf-8")
    command = [str(Path(sys.executable).parent / "ansible-vault"), "rekey", str(path)]
    command += ["--vault-password-file", str(old), "--new-vault-password-file", str(new)]
    environment = {**os.environ, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert path.with_name("psks.yml.previous").read_bytes() == before
    assert set(make(path, "another").load()) == {"a"}
    warnings: list[str] = []
    assert set(make(path, "default", "another", warn=warnings.append).load()) == {"a"}
    assert warnings == []


# -- other processes ---------------------------------------------------------------------------------------------------

CRASH = """
import os, sys
sys.path[:0] = {paths!r}
from tests.unit.plugins.plugin_utils.test_store_file import *
def die(*_): os.kill(os.getpid(), 9)
setattr(os, {when!r}, die)
make(Path({path!r})).store({{"t1": Stored(record("new"), 1)}})
"""


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_a_crash_before_the_rename_leaves_the_old_file(path: Path, when: str) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    before = path.read_bytes()
    code = CRASH.format(paths=[x for x in sys.path if x], when=when, path=str(path))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert len(leftovers(path)) == 1
    make(path).check()
    assert leftovers(path) == []
    assert not make(path).store({"t1": Stored(record("newer"), 1)}).conflicts


def test_a_leftover_of_a_process_with_our_number_is_no_obstacle(path: Path) -> None:
    path.with_name(f".{path.name}.{os.getpid()}.tmp").write_text("half", encoding="utf-8")
    make(path).check()
    path.with_name(f".{path.name}.{os.getpid()}.tmp").write_text("half", encoding="utf-8")
    assert not make(path).store({"t1": Stored(record(), 0)}).conflicts
    assert leftovers(path) == []


def test_leftovers_of_another_escrow_are_not_touched(path: Path) -> None:
    other = path.with_name(".psks-1.yml.77.tmp")
    other.write_text("half", encoding="utf-8")
    make(path.with_name("psks-[1].yml")).store({"t1": Stored(record(), 0)})
    assert other.exists()


def test_a_foreign_lock_is_waited_for_and_then_given_up(path: Path) -> None:
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "locked by another process for 0.2 s" in refused(make(path, lock_timeout=0.2).check)
        assert make(path).load() == {}
        fcntl.flock(lock, fcntl.LOCK_UN)
        make(path, lock_timeout=0.2).check()


ADD = """
import sys
sys.path[:0] = {paths!r}
from tests.unit.plugins.plugin_utils.test_store_file import *
for number in range(5):
    assert not make(Path({path!r})).store({{f"w{worker}-{{number}}": Stored(record("x"), 0)}}).conflicts
    while True:
        found = make(Path({path!r})).load(["shared"])["shared"]
        after = replace(found.record, generation=found.record.generation + 1)
        if not make(Path({path!r})).store({{"shared": Stored(after, found.version)}}).conflicts:
            break
"""


def test_writers_at_once_lose_no_update(path: Path) -> None:
    make(path).store({"shared": Stored(record("shared"), 0)})
    paths = [x for x in sys.path if x]
    codes = [ADD.format(paths=paths, path=str(path), worker=worker) for worker in range(4)]
    workers = [subprocess.Popen([sys.executable, "-c", code]) for code in codes]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    found = make(path).load()
    assert len(found) == 21
    assert found["shared"].record.generation == 20
    assert found["shared"].version == 21
