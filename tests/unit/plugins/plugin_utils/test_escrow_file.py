# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file backend, and what can happen to a file."""

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
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import complete, new_record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_backend import EscrowError, Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow_file import FileEscrow

ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
PSK = "s3cretPskThatMustNeverShowInAnyMessage0123456789"


def secret(text: str) -> VaultSecret:
    return VaultSecret(text.encode())


def vault(*texts: str) -> VaultLib:
    return VaultLib([(text, secret(text)) for text in texts or ("default",)])


def record(name: str = "one", psk: str = PSK) -> dict[str, Any]:
    return complete({"name": name, "current": {"psk": psk}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "psks.yml"


def make(path: Path, *secrets: str, account: str = ACCOUNT, **options: Any) -> FileEscrow:
    return FileEscrow(str(path), account, vault(*secrets), **options)


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
    return sorted(x.name for x in path.parent.iterdir() if x.name not in (path.name, path.name + ".lock"))


def test_records_are_kept(path: Path) -> None:
    first = make(path)
    first.check()
    assert first.load() == {}
    assert first.store({"t1": Stored(record(), 0), "t2": Stored(record("two"), 0)}) == {}
    second = make(path)
    assert set(second.load()) == {"t1", "t2"}
    found = second.load(["t2", "t3"])
    assert list(found) == ["t2"]
    assert found["t2"].version == 1
    assert found["t2"].record["current"]["psk"] == PSK
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
    conflicts = make(path).store({"t1": Stored(record("other"), 0), "t2": Stored(record("two"), 0)})
    assert list(conflicts) == ["t1"]
    found = make(path).load()
    assert found["t1"].record["name"] == "one"
    assert found["t2"].version == 1


def test_nothing_is_written_when_all_are_conflicts(path: Path) -> None:
    make(path).store({"t1": Stored(record(), 0)})
    before = path.read_bytes()
    assert make(path).store({"t1": Stored(record("other"), 5)})
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
    assert stored.record["current"]["applied_on"] == "2026-06-14T05:20:00Z"
    assert escrow.store({"00000000000000000000000000000001": stored}) == {}
    assert make(path).load()["00000000000000000000000000000001"].version == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"version": 2, "account_id": ACCOUNT, "tunnels": {}}, "a format that this version of the collection"),
        ({"version": 1, "account_id": ACCOUNT}, "a format that this version of the collection"),
        ([], "a format that this version of the collection"),
        ({"version": 1, "account_id": "another", "tunnels": {}}, "belongs to account 'another'"),
        ("{a: [", "no valid YAML"),
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
    assert "not encrypted by ansible-vault" in refused(make(path).load)


def test_the_wrong_vault_password(path: Path) -> None:
    make(path, "right").store({"t1": Stored(record(), 0)})
    before = path.read_bytes()
    assert "can't be opened with the vault secret" in refused(make(path, "wrong").load)
    assert "can't be opened" in refused(lambda: make(path, "wrong").store({"t1": Stored(record(), 1)}))
    assert path.read_bytes() == before


def test_the_secret_that_opened_the_file_encrypts_it_again(path: Path) -> None:
    make(path, "prod", vault_id="prod").store({"t1": Stored(record(), 0)})
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
    assert "folder cannot be made" in refused(make(path / "below" / "psks.yml").check)


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


# -- other processes ---------------------------------------------------------------------------------------------------

CRASH = """
import os, sys
sys.path[:0] = {paths!r}
from tests.unit.plugins.plugin_utils.test_escrow_file import *
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
    assert make(path).store({"t1": Stored(record("newer"), 1)}) == {}


def test_a_leftover_of_a_process_with_our_number_is_no_obstacle(path: Path) -> None:
    path.with_name(f".{path.name}.{os.getpid()}.tmp").write_text("half", encoding="utf-8")
    make(path).check()
    path.with_name(f".{path.name}.{os.getpid()}.tmp").write_text("half", encoding="utf-8")
    assert make(path).store({"t1": Stored(record(), 0)}) == {}
    assert leftovers(path) == []


def test_leftovers_of_another_escrow_are_not_touched(path: Path) -> None:
    other = path.with_name(".psks-1.yml.77.tmp")
    other.write_text("half", encoding="utf-8")
    make(path.with_name("psks-[1].yml")).store({"t1": Stored(record(), 0)})
    assert other.exists()


def test_a_foreign_lock_is_waited_for_and_then_given_up(path: Path) -> None:
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        assert "locked by another process for 0.2 s" in refused(make(path, lock_timeout=0.2).check)
        assert time.monotonic() - began < 5
        assert make(path).load() == {}
        fcntl.flock(lock, fcntl.LOCK_UN)
        make(path, lock_timeout=0.2).check()


ADD = """
import sys
sys.path[:0] = {paths!r}
from tests.unit.plugins.plugin_utils.test_escrow_file import *
for number in range(5):
    assert not make(Path({path!r})).store({{f"w{worker}-{{number}}": Stored(new_record("x"), 0)}})
    while True:
        found = make(Path({path!r})).load(["shared"])["shared"]
        after = {{**found.record, "generation": found.record["generation"] + 1}}
        if not make(Path({path!r})).store({{"shared": Stored(after, found.version)}}):
            break
"""


def test_writers_at_once_lose_no_update(path: Path) -> None:
    make(path).store({"shared": Stored(new_record("shared"), 0)})
    paths = [x for x in sys.path if x]
    codes = [ADD.format(paths=paths, path=str(path), worker=worker) for worker in range(4)]
    workers = [subprocess.Popen([sys.executable, "-c", code]) for code in codes]
    assert [worker.wait(60) for worker in workers] == [0] * 4
    found = make(path).load()
    assert len(found) == 21
    assert found["shared"].record["generation"] == 20
    assert found["shared"].version == 21


def test_a_thousand_records_are_quick(path: Path) -> None:
    changes = {f"t{n}": Stored(record(f"tunnel-{n}"), 0) for n in range(1000)}
    began = time.monotonic()
    make(path).store(changes)
    assert len(make(path).load()) == 1000
    assert time.monotonic() - began < 5
