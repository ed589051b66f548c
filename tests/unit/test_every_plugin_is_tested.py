# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin, an entry point or an option without a test, and an action group that forgets a module, fail the tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "magicwan.cloudflare"
KINDS = ("modules", "action", "filter", "lookup", "inventory", "test")
PREPARED = ("simulator", "harness", "__pycache__")


def plugins(kind: str) -> list[str]:
    """The public plugins of a kind."""
    return sorted(path.stem for path in (ROOT / "plugins" / kind).glob("*.py") if not path.stem.startswith("_"))


def entry_points() -> list[tuple[str, str]]:
    """Every role with each entry point that its argument specs know."""
    found = []
    for spec in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        specs = yaml.safe_load(spec.read_text(encoding="utf-8"))["argument_specs"]
        found += [(spec.parents[1].name, name) for name in specs]
    return found


def documentation(kind: str, name: str) -> dict[str, Any]:
    """The DOCUMENTATION of a plugin file."""
    tree = ast.parse((ROOT / "plugins" / kind / f"{name}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            return dict(yaml.safe_load(ast.literal_eval(node.value)))
    raise AssertionError(f"{kind}/{name}.py has no DOCUMENTATION")


def names_in(options: dict[str, Any]) -> Iterator[str]:
    """The names of options and of what is inside them."""
    for name, option in options.items():
        yield name
        yield from names_in(option.get("suboptions") or option.get("options") or {})


def options_of_modules() -> list[tuple[str, str]]:
    """Every option that a module or its fragments document, with the module's name."""
    found = []
    for name in plugins("modules"):
        whole = documentation("modules", name)
        parts = [whole.get("options") or {}]
        for fragment in whole.get("extends_documentation_fragment", []):
            if fragment.count(".") == 2:
                parts.append(documentation("doc_fragments", fragment.rsplit(".", 1)[1]).get("options") or {})
        found += [(name, option) for part in parts for option in dict.fromkeys(names_in(part))]
    return found


def options_of_roles() -> list[tuple[str, str]]:
    """Every option of a role, whatever the entry point."""
    found: dict[tuple[str, str], None] = {}
    for spec in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(spec.read_text(encoding="utf-8"))["argument_specs"].values():
            found |= dict.fromkeys((spec.parents[1].name, name) for name in entry.get("options") or {})
    return list(found)


def sets(text: str, option: str) -> bool:
    """Whether a text gives the option a value: as a keyword, as a key, or as the part of a key behind a prefix."""
    return bool(re.search(rf"(?<![A-Za-z0-9]){option}\b['\"]?\s*[=:](?!=)|['\"]{option}['\"]", text))


def text_of_tests() -> str:
    """The text of every test without its comments, and of the playbooks that tests run.

    The simulator, the harness and this file do not count.
    """
    texts = []
    for path in sorted((ROOT / "tests").rglob("*")):
        inside = path.relative_to(ROOT / "tests").parts
        if path.suffix in (".py", ".yml") and path != Path(__file__) and not set(inside) & set(PREPARED):
            texts.append(re.sub(r"(?m)^\s*#.*$", "", path.read_text(encoding="utf-8")))
    whole = "\n".join(texts)
    played = [path for path in (ROOT / "playbooks").glob("*.yml") if f"{COLLECTION}.{path.stem}" in whole]
    return "\n".join([whole, *(path.read_text(encoding="utf-8") for path in played)])


@pytest.fixture(scope="module")
def text() -> str:
    return text_of_tests()


def mentions(text: str, kind: str, name: str) -> bool:
    """Whether a test uses the plugin as one of its kind, in a playbook by its full name or by importing its file."""
    full = rf"{re.escape(COLLECTION)}\.{name}\b(?!\.)"
    task = [rf"{full}['\"]?\s*:", rf'task\([^()]*"{name}"']
    in_playbooks = {
        "modules": task,
        "action": task,
        "filter": [rf"\|\s*{full}", rf"map\(\s*['\"]{full}"],
        "lookup": [rf"(lookup|query|q)\(\s*\\?['\"]{full}"],
        "inventory": [rf"plugin['\"]?\s*[:=]\s*['\"]?{full}"],
        "test": [rf"\bis( not)?\s+{full}"],
    }[kind]
    imported = rf"plugins\.{kind}(\.{name}\b| import (\([^()]*|[^\n]*)\b{name}\b)"
    return any(re.search(form, text) for form in [*in_playbooks, imported])


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in plugins(kind)])
def test_every_plugin_is_in_a_test(text: str, kind: str, name: str) -> None:
    if not mentions(text, kind, name):
        pytest.fail(f"no test uses the {kind} plugin {COLLECTION}.{name}")


@pytest.mark.parametrize(("role", "entry"), entry_points())
def test_every_entry_point_of_a_role_is_in_a_test(text: str, role: str, entry: str) -> None:
    used = re.search(rf"{re.escape(COLLECTION)}\.{role}\b(?!\.)", text)
    entered = entry == "main" or re.search(rf"tasks_from['\"]?\s*[:=]\s*['\"]?{entry}\b", text)
    if not used or not entered:
        pytest.fail(f"no test uses the entry point {entry} of the role {COLLECTION}.{role}")


@pytest.mark.parametrize(("name", "option"), options_of_modules())
def test_every_option_of_a_module_is_set_in_a_test(text: str, name: str, option: str) -> None:
    if not sets(text, option):
        pytest.fail(f"no test sets {option} of the module {COLLECTION}.{name}")


@pytest.mark.parametrize(("role", "option"), options_of_roles())
def test_every_option_of_a_role_is_set_in_a_test(text: str, role: str, option: str) -> None:
    if not sets(text, option):
        pytest.fail(f"no test sets {option} of the role {COLLECTION}.{role}")


def test_the_action_group_holds_every_module() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert sorted(runtime["action_groups"]["all"]) == plugins("modules")


def test_every_action_plugin_has_a_module_of_its_name() -> None:
    assert set(plugins("action")) <= set(plugins("modules"))


@pytest.mark.parametrize(
    "text",
    [
        "magicwan.cloudflare.ipsec_tunnel_info:",
        "ipsec_tunnel is nice",
        "import magicwan.cloudflare.ipsec_tunnel",
        "lookup('magicwan.cloudflare.ipsec_tunnel')",
        "x | magicwan.cloudflare.ipsec_tunnel",
    ],
)
def test_a_longer_name_a_word_or_another_kind_is_no_use_of_a_module(text: str) -> None:
    assert not mentions(text, "modules", "ipsec_tunnel")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("modules", "magicwan.cloudflare.a: {}"),
        ("filter", "x | magicwan.cloudflare.a"),
        ("filter", "x | map('magicwan.cloudflare.a')"),
        ("lookup", "lookup('magicwan.cloudflare.a', 1)"),
        ("inventory", "plugin: magicwan.cloudflare.a"),
        ("filter", "from b.plugins.filter.a import a"),
        ("filter", "from b.plugins.filter import (\n    c,\n    a,\n)"),
    ],
)
def test_a_use_counts(kind: str, text: str) -> None:
    assert mentions(text, kind, "a")


@pytest.mark.parametrize("text", ["f(batch_size=1)", "batch_size: 3", '{"batch_size": 1}', "x['batch_size']"])
def test_a_value_for_an_option_counts(text: str) -> None:
    assert sets(text, "batch_size")


@pytest.mark.parametrize("text", ["the batch_size is", "my_batch_sizes: 3", "batch_size == 3", "abatch_size=1"])
def test_a_word_or_a_comparison_is_no_value(text: str) -> None:
    assert not sets(text, "batch_size")
