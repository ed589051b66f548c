# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The task files of devices: what stands in them, and how the role is told of them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError


@functools.cache
def text_of(path: str) -> str:
    """The text of a task file. Raises InputError."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise InputError(f"{path} can't be read ({os.strerror(exc.errno or 0)})") from None


def acting(hooks: Mapping[str, Sequence[str]], hosts: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """The task files of devices that have a tunnel in flight."""
    return {host: chain(hooks.get(host, ())) for host in hosts}


def chain(files: Sequence[str]) -> list[dict[str, str]]:
    """The task files of a device.

    Ansible joins equal includes of several hosts. Only those whose whole chain is the same may be joined: otherwise one
    host's verify tasks could run before its device tasks, with those of another.
    """
    return [{"file": file, "chain": " ".join(files)} for file in files]
