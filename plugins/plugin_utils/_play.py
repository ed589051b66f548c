# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What Ansible knows of a play, as an action plugin can see it: the only place that looks into Ansible's own objects.

Seen to be there on ansible-core 2.16 to 2.22.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible import context
from ansible.errors import AnsibleError
from ansible.playbook.helpers import load_list_of_blocks
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.loader import filter_loader, test_loader

PlayVariables = Mapping[str, t.Any]

# A setting that is no variable.
ENVIRONMENT = "the keyword environment"
META = ("meta", "ansible.builtin.meta", "ansible.legacy.meta")
# What ends the role, or its batch, before anybody can fail for what is not done.
ENDS = ("end_role", "end_batch")


@dataclass(frozen=True)
class Host:
    """One host of the batch, as the role sees it there. ``names`` are those of all its variables.

    ``values`` are settings with their templates resolved, ``facts`` the names that set_fact, register and include_vars
    have set. ``left_out``: a condition (when) around the role does not hold for it, so that it takes no part.
    """

    name: str
    names: frozenset[str]
    values: Mapping[str, t.Any] = field(repr=False)
    facts: frozenset[str] = frozenset()
    left_out: bool = False


@dataclass(frozen=True)
class Keywords:
    """The keywords of play, blocks and includes around the role that could weaken it."""

    strategy: str = "linear"
    ignoring: Sequence[str] = ()
    ignoring_handlers: Sequence[str] = ()
    has_handlers: bool = False
    any_errors_fatal: bool = False
    max_fail_percentage: t.Any = None
    skipped_tags: Sequence[str] = ()
    around: Sequence[str] = ()
    extra_names: frozenset[str] = frozenset()
    names_around: frozenset[str] = frozenset()
    writes_in_check: bool = False


def load_for_forks() -> None:
    """Has Ansible's own process load what each task of each host would load again in a fork, at half of what it costs.

    All filters and tests are loaded for the first that is used, and since ansible-core 2.21 the types of a task's
    result are resolved for the first one. Where that fails, it is loaded later, as ever.
    """
    for loader, name in ((filter_loader, "ansible.builtin.mandatory"), (test_loader, "ansible.builtin.truthy")):
        with contextlib.suppress(Exception):
            loader.get(name)
    with contextlib.suppress(Exception):
        importlib.import_module("ansible._internal._task").UnifiedTaskResult.from_action_result_dict({})


class PlayOfTask:
    """The play of an action's task, and the variables of its hosts as this task would see them there."""

    def __init__(self, task: t.Any, templar: t.Any) -> None:
        self._task = task
        self._templar = templar
        self._manager = task.get_variable_manager()
        self._chain = list(_ancestors(task))
        # The innermost is the one that runs, and knows the handlers of roles that were included meanwhile.
        self._play: t.Any = next((x._play for x in self._chain if getattr(x, "_play", None)), None)
        found = [getattr(node, "when", None) for node in self._chain[1:]]
        self._conditions = [x for when in found for x in (when if isinstance(when, list) else [when]) if x is not None]

    def keywords(self) -> Keywords:
        """What stands around the role."""
        play = self._play
        handlers = list(_tasks(play.handlers)) + [
            x for role in play.roles for x in _tasks(role.get_handler_blocks(play))
        ]
        return Keywords(
            strategy=str(play.strategy),
            ignoring=[x for x in ("ignore_errors", "ignore_unreachable") if getattr(play, x)],
            ignoring_handlers=list(
                dict.fromkeys(str(x.get_name()) for x in handlers if x.ignore_errors or x.ignore_unreachable)
            ),
            has_handlers=bool(handlers),
            any_errors_fatal=bool(play.any_errors_fatal),
            max_fail_percentage=play.max_fail_percentage,
            skipped_tags=[*(context.CLIARGS.get("skip_tags") or ()), *(getattr(play, "skip_tags", None) or ())],
            around=[x for node in self._chain[1:] for x in _weakened(node)],
            extra_names=frozenset(self._manager.extra_vars),
            names_around=frozenset(x for node in self._chain for x in _names_set(node, self._task._role)),
            writes_in_check=bool(context.CLIARGS.get("check")) and not self._task.check_mode,
        )

    def play_id(self) -> str:
        """What tells the play from others of the run; all its batches have the same."""
        return str(self._play._uuid)

    def within_itself(self) -> bool:
        """Whether this is a rotation that a task file of a rotation has begun."""
        return any("psk_rotation_wave_results" in (getattr(x, "vars", None) or ()) for x in self._chain)

    def wrong_with(self, path: str, mode: str) -> str:
        """What keeps a task file from being run; nothing if all is well. It is loaded as Ansible does it later."""
        if not os.path.isfile(path):
            return f"there is no file {path!r}; give its full path"
        manager, loader, role = self._manager, self._task.get_loader(), self._task._role
        known = {"psk_rotation_mode": mode, "psk_rotation_results": [], "psk_rotation_wave_results": []}
        data = {"name": "Look at it", "ansible.builtin.include_tasks": {"file": path}, "vars": known}
        around = {"role": role, "variable_manager": manager, "loader": loader}
        try:
            include = TaskInclude.load(data, block=self._task._parent, **around)
            blocks = load_list_of_blocks(_loaded(loader, path), self._play, parent_block=include, **around)
        except AnsibleError as exc:
            told = " ".join(str(exc.message).partition("The error appears")[0].split())
            return f"{path} can't be run: {told}"
        found = list(_tasks(blocks))
        if not found:
            return f"{path} holds no task"
        ends = [x for x in found if x._role is role and x.action in META and x.args.get("_raw_params") in ENDS]
        if ends:
            return f"{path} has meta: {ends[0].args['_raw_params']}, which would end the rotation, too: use when"
        own = os.path.join(role._role_path, "tasks")
        hits = [x for task in found if task._role is role for x in _files_of(task, include) if _is_in(own, x)]
        return f"{path} includes {hits[0]}, which resolves to the role's own file: give the full path" if hits else ""

    def hosts(self, names: Iterable[str], settings: Iterable[str]) -> list[Host]:
        """These hosts, with these settings as the role has them there."""
        wanted = list(settings)
        return [self._host(name, wanted) for name in names]

    def _around(self, keyword: str) -> list[t.Any]:
        """What stands for a keyword around the role as it was written, innermost first; on the task it is resolved."""
        places = [*self._chain[1:], self._task._role]
        found = [getattr(x, f"_{keyword}", None) for x in places]
        return [*(x for x in found if isinstance(x, (str, list, Mapping))), getattr(self._play, keyword)]

    def _host(self, name: str, settings: Sequence[str]) -> Host:
        host = self._manager._inventory.get_host(name)
        variables = self._manager.get_vars(play=self._play, host=host, task=self._task)
        templar = self._templar.copy_with_new_env(available_variables=variables)
        raw = {"ansible_connection": self._around("connection")[0], **variables}
        raw[ENVIRONMENT] = self._around("environment")
        facts = [getattr(self._manager, x, {}).get(name) or () for x in ("_nonpersistent_fact_cache", "_vars_cache")]
        return Host(
            name,
            frozenset(variables),
            {x: templar.template(raw[x]) for x in settings if x in raw},
            frozenset().union(*facts),
            not all(_holds(templar, x) for x in self._conditions),
        )


def _ancestors(task: t.Any) -> Iterator[t.Any]:
    node = task
    while node is not None:
        yield node
        node = getattr(node, "_parent", None)


def _tasks(blocks: Iterable[t.Any]) -> Iterator[t.Any]:
    for block in blocks:
        for part in (*block.block, *block.rescue, *block.always):
            if hasattr(part, "block"):
                yield from _tasks([part])
            else:
                yield part


def _loaded(loader: t.Any, path: str) -> t.Any:
    """The tasks of a file. Raises AnsibleError."""
    try:
        found = loader.load_from_file(path, trusted_as_template=True)
    except TypeError:  # before ansible-core 2.19
        found = loader.load_from_file(path)
    if not isinstance(found, (list, type(None))):
        raise AnsibleError("it must be a list of tasks")
    return found


def _files_of(task: t.Any, include: t.Any) -> Iterator[str]:
    """The task files that a task includes, or that it was imported from, within an include."""
    for node in _ancestors(task):
        if node is include:
            return
        if isinstance(node, TaskInclude) and node._role is include._role:
            yield str(node.args.get("_raw_params") or "")


def _holds(templar: t.Any, condition: t.Any) -> bool:
    if isinstance(condition, bool):
        return condition
    if hasattr(templar, "evaluate_conditional"):
        return bool(templar.evaluate_conditional(condition))
    return bool(templar.template(f"{{% if {condition} %}}1{{% endif %}}"))  # before ansible-core 2.19


def _is_in(folder: str, path: str) -> bool:
    return not os.path.isabs(path) and os.path.isfile(os.path.join(folder, path))


def _names_set(node: t.Any, own_role: t.Any) -> Iterator[str]:
    """The variables that the role's parameters, and blocks and includes around it, set: they win over facts."""
    role = getattr(node, "_role", None)
    if role is not own_role:
        yield from getattr(node, "vars", None) or ()
    if role is not None:
        yield from role.get_role_params(dep_chain=node.get_dep_chain())


def _weakened(node: t.Any) -> Iterator[str]:
    """The keywords of a block or an include around the role that would have it run elsewhere than on its hosts."""
    kind = type(node).__name__
    where = f"{'include_role' if kind == 'IncludeRole' else kind.lower()} {getattr(node, 'name', None) or ''}".strip()
    for keyword in ("run_once", "delegate_to", "loop"):
        value = getattr(node, keyword, None)
        if value not in (None, False, "") and not hasattr(value, "__sentinel__"):
            yield f"{keyword} on the {where}"
