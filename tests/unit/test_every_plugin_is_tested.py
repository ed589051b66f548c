# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin, an entry point or an option without a test, and an action group that forgets a module, fail the tests.

Many options have common names, so an option counts only where it is set in a file that uses its module or role. A file
uses a module that it has as a task, or whose functions or classes it imports. It uses a role that it, a helper that it
imports, or a playbook that it runs names. Such playbooks, and the tasks of the roles that tests use, are files too:
what a role hands to a module is a variable that a test has to set. An option that modules share by a fragment has the
same code in each, so that one of them is enough.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "magicwan.cloudflare"
KINDS = ("modules", "action", "filter", "lookup", "inventory", "test")
PREPARED = ("simulator", "harness", "__pycache__")
# What modules of several kinds import, and the code of the options that they share.
COMMON_CODE = frozenset(
    {("_argspec", "ArgumentSpec"), ("_client", "Client"), ("_errors", "InputError"), ("_module", "run")}
)
CODE_OF_FRAGMENTS = {
    "_api": {("_argspec", "connection_of"), ("_argspec", "connect"), ("_client", "Client")},
    "_escrow": {("_stores", "make_store"), ("_store_file", "FileStore"), ("_store_kv2", "Kv2Store")},
}


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


def documentation_of_fragment(name: str) -> dict[str, Any]:
    """The options of all parts of a doc fragment, as the collection's code makes them."""
    module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.doc_fragments.{name}")
    parts = [yaml.safe_load(text) for part, text in vars(module.ModuleDocFragment).items() if part.isupper()]
    return {"options": {key: option for part in parts for key, option in (part.get("options") or {}).items()}}


def names_in(options: dict[str, Any]) -> Iterator[str]:
    """The names of options and of what is inside them."""
    for name, option in options.items():
        yield name
        yield from names_in(option.get("suboptions") or option.get("options") or {})


def fragments(name: str) -> list[str]:
    """The collection's fragments that a module's documentation extends, whichever part of them."""
    named = documentation("modules", name).get("extends_documentation_fragment", [])
    return list(dict.fromkeys(x.split(".")[2] for x in named if x.startswith(f"{COLLECTION}.")))


def options_of_modules() -> list[tuple[str, str, str]]:
    """Every option that a module documents, with the module's name, and the fragment's where it is in one."""
    found = []
    for name in plugins("modules"):
        for fragment in ("", *fragments(name)):
            whole = documentation_of_fragment(fragment) if fragment else documentation("modules", name)
            found += [(name, option, fragment) for option in dict.fromkeys(names_in(whole.get("options") or {}))]
    return found


def options_of_roles() -> list[tuple[str, str]]:
    """Every option of a role, whatever the entry point."""
    found: dict[tuple[str, str], None] = {}
    for spec in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(spec.read_text(encoding="utf-8"))["argument_specs"].values():
            found |= dict.fromkeys((spec.parents[1].name, name) for name in entry.get("options") or {})
    return list(found)


def sets(text: str, option: str) -> bool:
    """Whether a text gives the option a value: as a keyword, as a key, or by its name in quotes."""
    return bool(re.search(rf"(?<!\w){option}\b['\"]?\s*[=:](?!=)|['\"]{option}['\"](?!\](?!\s*=[^=]))", text))


@dataclass(frozen=True)
class Source:
    """A file: its own text, and with it that of the helpers that it imports and the playbooks that it runs."""

    own: str
    whole: str


def without_comments(path: Path) -> str:
    return re.sub(r"(?m)^\s*#.*$", "", path.read_text(encoding="utf-8"))


def imported_tests(path: Path, text: str) -> Iterator[Path]:
    """The files of tests that a test file imports."""
    for package, names in re.findall(r"(?m)^from (\.\w*|tests[\w.]*) import (\([^)]*|[^\n]*)", text):
        folder = path.parent / package[1:] if package[0] == "." else ROOT / package.replace(".", "/")
        yield folder.with_suffix(".py")
        yield from (folder / f"{name}.py" for name in re.findall(r"\w+", names))


def reach(path: Path, texts: dict[Path, str]) -> str:
    """The text of a test file and of all that it imports from the tests."""
    reached, waiting = {path}, [path]
    while waiting:
        here = waiting.pop()
        new = {other for other in imported_tests(here, texts[here]) if other in texts} - reached
        reached |= new
        waiting += new
    return "\n".join(texts[other] for other in sorted(reached))


def sources() -> list[Source]:
    """Every test without its comments, and the playbooks that tests run.

    The simulator, the harness and this file do not count.
    """
    texts = {}
    for path in sorted((ROOT / "tests").rglob("*")):
        inside = path.relative_to(ROOT / "tests").parts
        if path.suffix in (".py", ".yml") and path != Path(__file__) and not set(inside) & set(PREPARED):
            texts[path] = without_comments(path)
    playbooks = {path.stem: without_comments(path) for path in (ROOT / "playbooks").glob("*.yml")}
    found: list[Source] = []
    played: dict[str, None] = {}
    for path, own in texts.items():
        whole = reach(path, texts)
        runs = [name for name in playbooks if f"{COLLECTION}.{name}" in whole]
        played |= dict.fromkeys(runs)
        found.append(Source(own, "\n".join([whole, *(playbooks[name] for name in runs)])))
    found += [Source(playbooks[name], playbooks[name]) for name in played]
    roles = [role for role in (ROOT / "roles").iterdir() if any(uses_role(source.whole, role.name) for source in found)]
    tasks = [without_comments(path) for role in roles for path in role.glob("tasks/**/*.yml")]
    return found + [Source(text, text) for text in tasks]


def imported_code(text: str) -> set[tuple[str, str]]:
    """The functions and classes that a module imports from the collection's own code, each behind its file."""
    found = set()
    for file, names in re.findall(r"(?m)^from \S+\.(_\w+) import (\([^)]*|[^\n]*)", text):
        found |= {(file, name) for name in re.findall(r"\w+", names) if not name.isupper()}
    return found


@cache
def code_of_module(name: str) -> set[tuple[str, str]]:
    """What the module and its action plugin import, without what says nothing of one module."""
    paths = [ROOT / "plugins" / kind / f"{name}.py" for kind in ("modules", "action")]
    found = [imported_code(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    return set().union(*found) - COMMON_CODE


def drives(text: str, code: set[tuple[str, str]]) -> bool:
    """Whether a test imports the file of one of these functions or classes, and names it."""
    imports = "\n".join(re.findall(r"(?m)^from \S+\.plugins\.\S+ import (?:\([^)]*|[^\n]*)", text))
    return any(re.search(rf"\b{file}\b", imports) and re.search(rf"\b{name}\b", text) for file, name in code)


def uses_role(text: str, role: str) -> bool:
    return bool(re.search(rf"{re.escape(COLLECTION)}\.{role}\b(?!\.)", text))


def sets_of_role(found: list[Source], role: str, option: str) -> bool:
    """Whether a source that uses the role gives the option a value."""
    return any(sets(source.own, option) and uses_role(source.whole, role) for source in found)


def sets_of_module(found: list[Source], module: str, option: str, fragment: str = "") -> bool:
    """Whether a source that uses the module, or another one with the fragment, gives the option a value."""
    users = [name for name in plugins("modules") if fragment in fragments(name)] if fragment else [module]
    code = CODE_OF_FRAGMENTS.get(fragment, set()).union(*map(code_of_module, users))
    return any(
        drives(source.own, code) or any(mentions(source.own, "modules", user) for user in users)
        for source in found
        if sets(source.own, option)
    )


@pytest.fixture(scope="module")
def tested() -> list[Source]:
    return sources()


@pytest.fixture(scope="module")
def text(tested: list[Source]) -> str:
    return "\n".join(source.own for source in tested)


def mentions(text: str, kind: str, name: str) -> bool:
    """Whether a test uses the plugin as one of its kind, in a playbook by its full name or by importing its file."""
    full = rf"{re.escape(COLLECTION)}\.{name}\b(?!\.)"
    task = [rf"{full}['\"]?\s*:", rf'task\([^()]*"{name}"', rf'(?m)^MODULE = "{name}"$']
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
    entered = entry == "main" or re.search(rf"tasks_from['\"]?\s*[:=]\s*['\"]?{entry}\b", text)
    if not uses_role(text, role) or not entered:
        pytest.fail(f"no test uses the entry point {entry} of the role {COLLECTION}.{role}")


@pytest.mark.parametrize(("name", "option", "fragment"), options_of_modules())
def test_every_option_of_a_module_is_set_in_a_test(tested: list[Source], name: str, option: str, fragment: str) -> None:
    if not sets_of_module(tested, name, option, fragment):
        pytest.fail(f"no test sets {option} of the module {COLLECTION}.{name}")


@pytest.mark.parametrize(("role", "option"), options_of_roles())
def test_every_option_of_a_role_is_set_in_a_test(tested: list[Source], role: str, option: str) -> None:
    if not sets_of_role(tested, role, option):
        pytest.fail(f"no test sets {option} of the role {COLLECTION}.{role}")


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


@pytest.mark.parametrize("text", ["f(batch_size=1)", "batch_size: 3", '{"batch_size": 1}', "x['batch_size'] = 3"])
def test_a_value_for_an_option_counts(text: str) -> None:
    assert sets(text, "batch_size")


@pytest.mark.parametrize("text", ["the batch_size is", "my_batch_size: 3", "batch_size == 3", "x['batch_size']"])
def test_a_word_a_longer_name_a_comparison_or_a_look_is_no_value(text: str) -> None:
    assert not sets(text, "batch_size")


def test_an_option_of_a_common_name_counts_only_where_its_module_is_used() -> None:
    own, other = f"- {COLLECTION}.a: {{name: x}}", f"- {COLLECTION}.b: {{colour: red}}"
    found = [Source(own, own), Source(other, other)]
    assert not sets_of_module(found, "a", "colour")
    assert sets_of_module(found, "b", "colour")


def test_an_option_of_a_common_name_counts_only_where_its_role_is_used() -> None:
    own, other = f"role: {COLLECTION}.a", f"role: {COLLECTION}.b\ncolour: red"
    found = [Source(own, own), Source(other, other)]
    assert not sets_of_role(found, "a", "colour")
    assert sets_of_role(found, "b", "colour")


def test_a_file_uses_the_role_that_its_helper_runs() -> None:
    own = "a_colour: red"
    assert sets_of_role([Source(own, f"{own}\nrole: {COLLECTION}.a")], "a", "a_colour")


def test_a_helper_is_found_by_its_import() -> None:
    here = ROOT / "tests" / "unit" / "x.py"
    texts = {here: "from .helper import a", here.with_name("helper.py"): "b", here.with_name("other.py"): "c"}
    assert reach(here, texts) == "b\nfrom .helper import a"


def test_a_file_uses_the_module_whose_function_it_tests() -> None:
    own = "from x.plugins.module_utils._ipsec_tunnel import ensure_tunnel\nensure_tunnel(colour=1)"
    assert sets_of_module([Source(own, own)], "ipsec_tunnel", "colour")
    assert not sets_of_module([Source(own, own)], "ipsec_tunnels", "colour")


def test_what_every_module_imports_is_no_use_of_one() -> None:
    own = "from x.plugins.module_utils._module import run\nrun(colour=1)"
    assert not sets_of_module([Source(own, own)], "ipsec_tunnel", "colour")


def test_an_option_of_a_fragment_counts_where_another_module_with_it_is_used() -> None:
    own = f"- {COLLECTION}.ipsec_tunnel: {{colour: red}}"
    assert sets_of_module([Source(own, own)], "ipsec_tunnel_info", "colour", "_api")
    assert not sets_of_module([Source(own, own)], "psk_escrow", "colour", "_escrow")
