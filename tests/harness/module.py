# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module's main() in this process, with the real AnsibleModule: its options and its answer are JSON, as ever.

For tests that need a module a hundred times. What a user sees of a task is tested by playbooks.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

from ansible.module_utils import basic

from tests.harness import recorded


def run_module(
    name: str, options: Mapping[str, Any], env: Mapping[str, str], *, check: bool = False, diff: bool = False
) -> dict[str, Any]:
    """The module's answer; `failed` is in it when it failed."""
    module = importlib.import_module(f"ansible_collections.magicwan.cloudflare.plugins.modules.{name}")
    recorded.used("module", f"magicwan.cloudflare.{name}", options)
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
    said = io.StringIO()
    with (
        _arguments(arguments),
        mock.patch.dict("os.environ", dict(env)),
        contextlib.redirect_stdout(said),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    answer: dict[str, Any] = json.loads(said.getvalue())
    answer.pop("invocation", None)
    return answer


@contextlib.contextmanager
def _arguments(arguments: dict[str, Any]) -> Iterator[None]:
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:  # before ansible-core 2.19
        text = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        with mock.patch.object(basic, "_ANSIBLE_ARGS", text):
            yield
    else:
        with patch_module_args(arguments):
            yield
