# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""A file that several processes replace as a whole: its lock, its mode and group, and a copy of what was written last.

The copy is no hard link, because ``ansible-vault rekey`` and a plain ``cp`` write into the file that is there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import EscrowError

LOCK_POLL = 0.05
_PRIVATE = 0o600


class GuardedFile:
    """Read and written as bytes. Every write replaces the whole file at once, and is flushed to disk.

    ``lock_timeout`` is in seconds. All methods raise EscrowError, and so does a path that can't be one.
    """

    def __init__(self, path: str, lock_timeout: float) -> None:
        try:
            self.path = Path(path).expanduser()
        except RuntimeError:
            raise EscrowError(f"escrow.path {path!r}: there is no such user") from None
        if not self.path.name or "\0" in path:
            raise EscrowError(f"escrow.path must be the path of a file, not {path!r}")
        self.previous_path = self.path.with_name(self.path.name + ".previous")
        self.lock_path = self.path.with_name(self.path.name + ".lock")
        self._lock_timeout = lock_timeout

    def read(self) -> bytes | None:
        """What the file holds; None if there is no file."""
        try:
            return _content(self.path)
        except FileNotFoundError:
            return None
        except OSError as exc:
            reason = "is a symbolic link" if exc.errno == errno.ELOOP else "cannot be read"
            raise self._error(reason, exc) from None
        except ValueError:
            raise EscrowError(f"the escrow {self.path} is not a regular file") from None

    def read_previous(self) -> bytes | None:
        """What was written last; None if that can't be told."""
        try:
            return _content(self.previous_path)
        except (OSError, ValueError):
            return None

    def write(self, content: bytes) -> None:
        """Replaces the file; ``locked`` must be held."""
        try:
            self._remove_leftovers()
            self._replace(self.path, content, flush=True)
            self._sync_folder()
            if _content(self.path) != content:
                raise EscrowError(f"the escrow {self.path} does not return what was written")
        except OSError as exc:
            raise self._error("cannot be written", exc) from None
        # A copy that is older, or torn by a crash, only knows less: it is neither waited for nor a failure.
        with contextlib.suppress(OSError):
            self._replace(self.previous_path, content, flush=False)

    def check(self) -> None:
        """Makes sure that the file could be written; ``locked`` must be held."""
        try:
            self._remove_leftovers()
            os.close(self._temporary(self.path))
            self._remove_leftovers()
        except OSError as exc:
            raise self._error("cannot be written", exc) from None

    def check_place(self) -> None:
        """Makes the folder, and makes sure that nobody else can put a file into the place of this one."""
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = folder.stat().st_mode
        except OSError as exc:
            raise self._error("its folder cannot be created", exc) from None
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise EscrowError(f"the escrow {self.path} lies in a folder that everybody may write to; choose another")
        if self.path.is_symlink():
            raise EscrowError(
                f"the escrow {self.path} is a symbolic link, which a write would replace; give its target"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """While nobody else writes. The lock is that of flock(1), so that people can hold it, too."""
        descriptor = self._open_lock()
        try:
            deadline = time.monotonic() + self._lock_timeout
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise EscrowError(
                            f"the escrow {self.path} has been locked by another process for {self._lock_timeout:g} s"
                        ) from None
                    time.sleep(LOCK_POLL)
            yield
        finally:
            os.close(descriptor)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _open_lock(self) -> int:
        try:
            try:
                # Without O_CREAT: the kernel may refuse that for a file of somebody else in a folder such as /tmp.
                descriptor = os.open(self.lock_path, os.O_RDWR | os.O_NOFOLLOW)
            except FileNotFoundError:
                descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _PRIVATE)
            except PermissionError:
                descriptor = os.open(self.lock_path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as exc:
            raise self._error(f"its lock {self.lock_path.name} cannot be opened", exc) from None
        # Who shares the escrow has to share its lock; where that is not to be had, another run will say so.
        with contextlib.suppress(OSError, EscrowError):
            self._share(descriptor)
        return descriptor

    def _replace(self, path: Path, content: bytes, *, flush: bool) -> None:
        descriptor = self._temporary(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                if flush:
                    os.fsync(file.fileno())
            os.replace(_temporary_path(path), path)
        except OSError:
            with contextlib.suppress(OSError):
                _temporary_path(path).unlink()
            raise

    def _temporary(self, path: Path) -> int:
        """A new file in the same folder that is open to nobody else than the file is."""
        temporary = _temporary_path(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE)
        try:
            self._share(descriptor)
        except BaseException:
            os.close(descriptor)
            temporary.unlink()
            raise
        return descriptor

    def _share(self, descriptor: int) -> None:
        """Gives a file of ours the mode and the group that the escrow has."""
        try:
            wanted = self.path.stat()
        except FileNotFoundError:
            return
        mode, ours = stat.S_IMODE(wanted.st_mode) & 0o666, os.fstat(descriptor)
        if ours.st_gid != wanted.st_gid:
            try:
                os.fchown(descriptor, -1, wanted.st_gid)
            except PermissionError:
                raise EscrowError(
                    f"the escrow {self.path} belongs to the group {wanted.st_gid}, which this user is not in:"
                    " a write would lock out its members"
                ) from None
        if stat.S_IMODE(ours.st_mode) != mode:
            os.fchmod(descriptor, mode)

    def _remove_leftovers(self) -> None:
        """What killed runs left: encrypted, but of no use. The lock is held, so nobody is writing them."""
        for leftover in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp"):
            leftover.unlink()

    def _sync_folder(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _error(self, what: str, exc: OSError) -> EscrowError:
        return EscrowError(f"the escrow {self.path}: {what} ({os.strerror(exc.errno or 0)})")


def _temporary_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _content(path: Path) -> bytes:
    """What a file holds. Raises OSError, and ValueError if it is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)
