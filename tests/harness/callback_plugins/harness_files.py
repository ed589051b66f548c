# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a copy of every file that Ansible puts on a local target in the folder HARNESS_FILES. For the tests only.

These are the temporary files of a run: modules that are not piped, and what copy and template hand over. They are
gone when a task has ended, but stay when the run is killed before.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.plugins.connection import local

DOCUMENTATION = """
name: harness_files
type: aggregate
short_description: A copy of every file that is put on a local target, for the tests
description:
  - Copies each file that the connection C(local) puts somewhere into a folder. Connections to devices use it for what
    they run on the controller.
requirements:
  - Enable it with E(ANSIBLE_CALLBACKS_ENABLED).
options: {}
"""


class CallbackModule(CallbackBase):
    """Is made before Ansible forks for its first task."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "harness_files"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        folder = os.environ.get("HARNESS_FILES")
        if folder:
            _record(folder)


def _record(folder: str) -> None:
    put_file = local.Connection.put_file

    def recording(self: Any, in_path: str, out_path: str) -> Any:
        shutil.copyfile(in_path, Path(folder, f"{uuid.uuid4()}-{Path(in_path).name}"))
        return put_file(self, in_path, out_path)

    local.Connection.put_file = recording
