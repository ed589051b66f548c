# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The names of the roles' variables, as their argument specs have them, and the nearest right one of a wrong one."""

from __future__ import annotations

import difflib
import functools
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
PREFIXES = ("psk_rotation_", "customer_device_", "adopt_psks_", "export_tunnels_", "show_psk_")
INTERNAL = "__psk_rotation_"
# What the role itself keeps as facts of a host.
OWN_FACTS = ("__psk_rotation_state", "__psk_rotation_evidence", "__psk_rotation_reached")
# How alike a name and its beginning must be to one of ours, if it does not begin like it. Others have names, too.
ALIKE = 0.9
# What the role publishes, and what hooks may set. None of them may be an extra variable.
OUTPUTS = (
    "psk_rotation_results",
    "psk_rotation_summary",
    "psk_rotation_wave_results",
    "psk_rotation_mode",
    "customer_device_results",
    "customer_device_reason",
    "customer_device_comparisons",
)
SET_BY_HOOKS = (
    "psk_rotation_failed_tunnels",
    "psk_rotation_hook_reason",
    "psk_rotation_proven_tunnels",
    "customer_device_failed_tunnels",
)
# Variables of the collection's playbooks.
OF_PLAYBOOKS = (
    "psk_rotation_hosts",
    "psk_rotation_serial",
    "adopt_psks_from",
    "adopt_psks_overwrite",
    "adopt_psks_readable",
    "adopt_psks_verify",
    "export_tunnels_path",
    "export_tunnels_overwrite",
    "show_psk_anywhere",
)


@functools.lru_cache(maxsize=1)
def inputs() -> frozenset[str]:
    """The options of all entry points of both roles."""
    found: set[str] = set()
    for role in ("psk_rotation", "customer_device"):
        text = (ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        for entry in yaml.load(text, Loader=loader)["argument_specs"].values():  # noqa: S506
            found.update(entry.get("options") or {})
    return frozenset(found)


@functools.lru_cache(maxsize=1)
def known() -> frozenset[str]:
    """All names with the roles' prefixes that mean something."""
    return inputs().union(OUTPUTS, SET_BY_HOOKS, OF_PLAYBOOKS)


def unknown(names: Iterable[str]) -> list[str]:
    """The names that begin like the roles' variables, or almost so, and mean nothing."""
    right = known()
    return sorted(x for x in names if x not in right and (x.startswith(PREFIXES) or _looks_like_ours(x)))


@functools.cache  # all hosts have much the same names
def _looks_like_ours(name: str) -> bool:
    """Whether the name is one of ours but for a slip, such as psk_rotaton_force or PSK_ROTATION_FORCE."""
    written = name.lower()
    if not any(len(written) > len(x) + 1 and _alike(written[: len(x)], x) for x in PREFIXES):
        return False
    near = nearest(name)
    return near is not None and _alike(written, near)


def _alike(one: str, other: str) -> bool:
    found = difflib.SequenceMatcher(None, one, other)
    return found.quick_ratio() >= ALIKE and found.ratio() >= ALIKE


def nearest(name: str) -> str | None:
    """The right name that a wrong one is most like."""
    return next(iter(difflib.get_close_matches(name.lower(), sorted(known()), n=1, cutoff=0.6)), None)


def misspelt(names: Iterable[str]) -> Iterator[str]:
    """Which of these names of variables mean nothing, although they look like the collection's."""
    for name in unknown(names):
        near = nearest(name)
        yield f"{name} is not a variable of the collection{f': did you mean {near}?' if near else ''}"


def kind(value: t.Any) -> str:
    """What a value is called where it is the wrong one. The types of ansible-core have names of their own."""
    kinds: tuple[tuple[str, type | tuple[type, ...]], ...] = (
        ("text", str),
        ("a boolean", bool),
        ("a number", (int, float)),
        ("a list", (list, tuple)),
        ("a mapping", Mapping),
    )
    return next((name for name, types in kinds if isinstance(value, types)), type(value).__name__)
