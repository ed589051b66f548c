# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what a playbook gives to modules, roles and plugins of the collection. For the tests only.

Ansible's own process loads this before it forks, so each task's process has what is replaced here.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.plugins import AnsiblePlugin
from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase
from ansible.plugins.loader import Jinja2Loader

DOCUMENTATION = """
name: harness_recorded
type: aggregate
short_description: Which options of modules, roles and plugins a playbook sets, for the tests
description:
  - Notes the names of options that are set in the folder named in E(HARNESS_RECORDED), and never a value.
requirements:
  - Enable it with E(ANSIBLE_CALLBACKS_ENABLED).
options: {}
"""

COLLECTION = "magicwan.cloudflare"
_UNSET = object()


def _load_recorded() -> ModuleType:
    """The harness's own file: the tests are no package that Ansible's process could import."""
    path = Path(__file__).resolve().parents[1] / "recorded.py"
    spec = importlib.util.spec_from_file_location("harness_recorded_file", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class CallbackModule(CallbackBase):
    """Replaces what Ansible calls for each task, lookup and filter; hears of no event itself."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "harness_recorded"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        recorder = _load_recorded().recorder()
        if recorder:
            _record_tasks(recorder)
            _record_lookups(recorder)
            _record_filters(recorder)


def _record_tasks(recorder: Any) -> None:
    """When an action runs, its task has the arguments of module_defaults, too, and no template any more."""
    plain = ActionBase.__init__

    def init(self: ActionBase, task: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, task, *args, **kwargs)
        run = self.run

        def recorded(*run_args: Any, **run_kwargs: Any) -> Any:
            recorder.used("module", task.resolved_action or task.action, task.args)
            if getattr(task, "_role", None):
                _record_role(recorder, task._role, run_kwargs.get("task_vars") or {})
            return run(*run_args, **run_kwargs)

        self.run = recorded

    ActionBase.__init__ = init


def _record_role(recorder: Any, role: Any, variables: dict[str, Any]) -> None:
    """A variable is set if the role itself does not have the same value as its default."""
    name = f"{role._role_collection}.{role._role_name}"
    options = recorder.options("role", name)
    if options is None:
        return
    entry = str((role._from_files or {}).get("tasks", "main")).removesuffix(".yml")
    defaults = role.get_default_vars()
    changed = {key: variables[key] for key in options.keys() & variables.keys()}
    changed = {key: value for key, value in changed.items() if defaults.get(key, _UNSET) != value}
    recorder.used("role", name, changed)
    recorder.used("entry point", f"{name}.{entry}")


def _record_lookups(recorder: Any) -> None:
    plain = AnsiblePlugin.set_options

    def set_options(self: AnsiblePlugin, *args: Any, **kwargs: Any) -> Any:
        *_rest, kind, name = type(self).__module__.split(".")
        if kind == "lookup":
            recorder.used(kind, f"{COLLECTION}.{name}", kwargs.get("direct"))
        return plain(self, *args, **kwargs)

    AnsiblePlugin.set_options = set_options


def _record_filters(recorder: Any) -> None:
    plain = Jinja2Loader.get_with_context

    def get_with_context(self: Jinja2Loader, name: str, *args: Any, **kwargs: Any) -> Any:
        recorder.used(self.type, name)
        return plain(self, name, *args, **kwargs)

    Jinja2Loader.get_with_context = get_with_context
