# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every role: its specs and defaults agree, its tasks have names, no task runs once a tunnel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
SPECS = [
    pytest.param(path.parents[1], entry, id=f"{path.parents[1].name}-{entry}")
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml"))
    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
]
TASK_FILES = [
    pytest.param(path, id=str(path.relative_to(ROLES)))
    for path in sorted([*ROLES.glob("*/tasks/**/*.yml"), *ROLES.glob("*/handlers/*.yml")])
]
# The waves of a batch, and the task files of a host: of both there are few, however many tunnels there are.
LOOPED_OVER = ("__psk_rotation_state.wave_labels", "__psk_rotation_state.acting[inventory_hostname]")
LOOPS = ("loop", "until", "with_items", "with_dict", "with_list", "with_subelements")


class Loader(yaml.SafeLoader):
    """YAML with Ansible's tags."""


Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))


def load(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506


def tasks(found: list[dict[str, Any]] | None) -> Iterator[dict[str, Any]]:
    """All tasks and blocks, however deep."""
    for task in found or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks(task.get(part))


def has_typed_template(option: dict[str, Any], value: Any) -> bool:
    """A template is no valid default in the specs of an option that is no text: there the description tells it."""
    return "{{" in str(value) and option["type"] not in ("str", "raw") and "default" not in option


@pytest.mark.parametrize(("role", "entry"), SPECS)
def test_specs_and_defaults_have_the_same_values(role: Path, entry: str) -> None:
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"][entry].get("options") or {}
    defaults = load(role / "defaults" / "main.yml")
    assert {key: str(options[key]["default"]) for key in options if "default" in options[key]} == {
        key: str(value)
        for key, value in defaults.items()
        if value is not None and key in options and not (has_typed_template(options[key], value))
    }


@pytest.mark.parametrize(("role", "entry"), [x for x in SPECS if x.values[1] == "main"])
def test_every_default_has_a_spec(role: Path, entry: str) -> None:
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"][entry]["options"]
    assert set(load(role / "defaults" / "main.yml")) <= set(options)


@pytest.mark.parametrize(("role", "entry"), SPECS)
def test_every_option_is_described_and_named_after_its_role_or_its_playbook(role: Path, entry: str) -> None:
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"][entry].get("options") or {}
    for name, option in options.items():
        assert name.startswith((f"{role.name}_", f"{entry}_psks_"))
        assert option["description"]
        assert option["type"]


@pytest.mark.parametrize(("role", "entry"), SPECS)
def test_every_entry_point_has_a_task_file(role: Path, entry: str) -> None:
    assert (role / "tasks" / f"{entry}.yml").exists()


@pytest.mark.parametrize("path", TASK_FILES)
def test_every_task_has_a_name(path: Path) -> None:
    assert not [task for task in tasks(load(path)) if not task.get("name")]


@pytest.mark.parametrize("path", [x for x in TASK_FILES if x.values[0].is_relative_to(ROLES / "psk_rotation")])
def test_no_task_of_a_rotation_loops_but_over_waves_and_task_files(path: Path) -> None:
    loops = [str(task[key]) for task in tasks(load(path)) for key in task if key in LOOPS or key.startswith("with_")]
    assert [loop for loop in loops if not any(allowed in loop for allowed in LOOPED_OVER)] == []
