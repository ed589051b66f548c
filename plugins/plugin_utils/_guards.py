# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What is checked before the first request: all that could have a run end well with a site dark. Pure functions.

Each complaint says what to do. All of one run come together.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _names
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._groups import LOCAL_HOSTS
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._play import ENVIRONMENT, Host, Keywords

STRATEGIES = ("linear", "ansible.builtin.linear", "ansible.legacy.linear")
# Settings of one host. All others must be the same on all hosts of a batch, since its first host's are used for all.
OF_HOST = (
    "psk_rotation_tunnels",
    "psk_rotation_reach_tasks",
    "psk_rotation_device_tasks",
    "psk_rotation_verify_tasks",
    "psk_rotation_confirmation",
    "ansible_connection",
    "ansible_network_os",
    "customer_device_platform",
    "ipsec_tunnels_site",
)
OF_BATCH = (
    "psk_rotation_account_id",
    "psk_rotation_api_token",
    "psk_rotation_api_email",
    "psk_rotation_api_key",
    "psk_rotation_base_url",
    "psk_rotation_timeout",
    "psk_rotation_retries",
    "psk_rotation_ca_path",
    "psk_rotation_validate_certs",
    "psk_rotation_escrow",
    "psk_rotation_max_age",
    "psk_rotation_force",
    "psk_rotation_unknown_psk",
    "psk_rotation_group_by",
    "psk_rotation_wave_size",
    "psk_rotation_canary",
    "psk_rotation_max_failures",
    "psk_rotation_rollback_id",
    "psk_rotation_rollback_within",
    "psk_rotation_plan_path",
    "psk_rotation_preflight",
    "psk_rotation_health",
    "psk_rotation_lease",
    "psk_rotation_secure_logging",
    ENVIRONMENT,
)
# The task files that the role brings along, relative to its folder of tasks.
OWN_HOOKS = "psk_rotation/hooks/"
REACH_BY_PING, REACH_BY_CONNECTION = f"{OWN_HOOKS}reach_ping.yml", f"{OWN_HOOKS}reach_connection.yml"
REACH_PLATFORM = f"{OWN_HOOKS}reach_platform.yml"
FLUSH = f"{OWN_HOOKS}flush.yml"
DEVICE_PLATFORM, VERIFY_PLATFORM = f"{OWN_HOOKS}device.yml", f"{OWN_HOOKS}verify.yml"
COMPARE_PLATFORM = f"{OWN_HOOKS}compare.yml"
# Connections over which a ping is answered by the device, and over which only the connection itself tells.
ANSWERED_BY_HOST = ("ssh", "smart", "paramiko", "paramiko_ssh", "libssh", "winrm", "psrp", "docker", "podman")
ANSWERED_BY_CONNECTION = ("network_cli", "httpapi")
# Modes that set PSKs, which somebody has to bring to the devices.
ACTING_MODES = ("rotate", "reconcile", "rollback")
# Modes in which the verify tasks alone run.
VERIFYING_MODES = ("confirm", "adopt")
# What a task file has that notifies a handler, or includes what may.
MAY_NOTIFY = re.compile(r"notify|include|import_|roles?:")
CONFIRMATIONS = ("", "verify", "manual", "none")
SHOWN = 5


@dataclass(frozen=True)
class Hooks:
    """What runs on one device. Empty where nothing does; ``confirmation`` is verify, manual or none.

    ``chosen`` is whether the user has said how to confirm; ``tunnels`` what the host terminates.
    """

    tunnels: Sequence[str]
    reach: str = ""
    device: str = ""
    verify: str = ""
    confirmation: str = "none"
    chosen: bool = False

    def files(self, mode: str, text_of: Callable[[str], str]) -> list[str]:
        """The task files that run for a tunnel in flight, in their order.

        Handlers are run after each file that may notify one, itself or in a file or role that it includes.
        """
        device = self.device if mode not in VERIFYING_MODES else ""
        verify = self.verify if self.verifies(mode) else ""
        if mode == "adopt" and verify == VERIFY_PLATFORM:
            verify = COMPARE_PLATFORM
        found: list[str] = []
        for file in (device, verify):
            if file:
                found.append(file)
                if not file.startswith(OWN_HOOKS) and MAY_NOTIFY.search(text_of(file)):
                    found.append(FLUSH)
        return found

    def verifies(self, mode: str) -> bool:
        """Whether there are tasks that prove the PSK."""
        return bool(self.verify) and (mode in VERIFYING_MODES or self.confirmation == "verify")

    @property
    def acts(self) -> bool:
        """Whether the device has tasks of its own."""
        return bool(self.device or self.verify)


def complaints(play: Keywords, hosts: Sequence[Host], mode: str, wrong_with: Callable[[str], str]) -> list[str]:
    """Everything that is wrong with the play, the settings and the hooks.

    ``wrong_with`` says what keeps a task file from being run, or nothing.
    """
    return [*_of_keywords(play), *of_names(play, hosts), *_of_batch(hosts, mode), *_of_hooks(hosts, mode, wrong_with)]


def refuse(found: Sequence[str]) -> None:
    """Raises InputError with all complaints in one line, if there are any."""
    if len(found) == 1:
        raise InputError(f"{found[0]}; nothing was written")
    if found:
        told = "; ".join(f"({number}) {text}" for number, text in enumerate(found, 1))
        raise InputError(f"{len(found)} problems must be fixed first, and nothing was written: {told}")


# -- the play ---------------------------------------------------------------------------------------------------------


def _of_keywords(play: Keywords) -> Iterator[str]:
    if play.strategy not in STRATEGIES:
        yield f"the strategy {play.strategy} runs the rotation once a host: use linear (strategy, ANSIBLE_STRATEGY)"
    for keyword in play.ignoring:
        yield f"{keyword} on the play would hide a failed device or handler: remove it from the play"
    yield from of_handlers(play)
    if play.max_fail_percentage is not None:
        yield "max_fail_percentage ends a play before its tunnels are rolled back: use psk_rotation_max_failures"
    if play.any_errors_fatal and play.has_handlers:
        yield "any_errors_fatal with handlers ends a play before its tunnels are rolled back: remove it from the play"
    if play.skipped_tags:
        yield f"--skip-tags ({', '.join(play.skipped_tags)}) could skip tasks that configure a device: run without it"
    for keyword in play.around:
        yield f"{keyword} is not possible: run the role once on all hosts of the play"
    if play.writes_in_check:
        yield "check_mode: false would have a check run write to Cloudflare: remove it from play, blocks and role"


def of_handlers(play: Keywords) -> Iterator[str]:
    """What is wrong with the handlers that are known so far."""
    if play.ignoring_handlers:
        named = ", ".join(play.ignoring_handlers[:SHOWN])
        yield f"ignore_errors or ignore_unreachable on handlers would hide their failure: take it off ({named})"


def of_names(play: Keywords, hosts: Sequence[Host]) -> Iterator[str]:
    """Which variables are misspelt, or must not be extra variables."""
    names = frozenset().union(*(x.names for x in hosts))
    yield from _names.misspelt(names | play.extra_names)
    for name in sorted(names.intersection(_names.SET_BY_HOOKS) - play.names_around - play.extra_names):
        if any(name in x.names and name not in x.facts for x in hosts):
            yield f"{name} is set by the tasks of a device, with set_fact: remove it from the inventory and the play"
    for name in sorted(frozenset().union(*(x.facts for x in hosts))):
        if name.startswith(_names.INTERNAL) and name not in _names.OWN_FACTS:
            yield f"{name} is internal and can't be set by a task"
    for name in sorted(play.names_around):
        if name.startswith(_names.INTERNAL) or name in (*_names.OUTPUTS, *_names.SET_BY_HOOKS):
            yield f"{name} is set by the run itself, and a variable of a role, block or include would win: take it off"
    for name in sorted(play.extra_names):
        if name.startswith(_names.INTERNAL):
            yield f"{name} is internal and can't be an extra variable"
        elif name in _names.OUTPUTS or name in _names.SET_BY_HOOKS:
            yield f"{name} is set by the run itself and can't be an extra variable: pass it on under another name"


# -- settings ---------------------------------------------------------------------------------------------------------


def _of_batch(hosts: Sequence[Host], mode: str) -> Iterator[str]:
    if not hosts:
        return
    first = hosts[0]
    if mode == "rotate" and first.values.get("psk_rotation_max_age", "-") in (None, ""):
        yield "psk_rotation_max_age is empty, so no PSK would ever be due: set an age, such as 90d"
    for name in OF_BATCH:
        other = next((x for x in hosts[1:] if x.values.get(name) != first.values.get(name)), None)
        if other is not None:
            yield f"{name} differs between {first.name} and {other.name}, and must be the same on all hosts of a batch"
    yield from of_escrow(first.values.get("psk_rotation_escrow"))


def of_escrow(escrow: t.Any) -> Iterator[str]:
    """What is wrong with psk_rotation_escrow, whoever uses it."""
    if not isinstance(escrow, Mapping) or not escrow.get("backend"):
        told = f", not be {_names.kind(escrow)}" if escrow and not isinstance(escrow, Mapping) else ""
        example = "{backend: file, path: ~/magicwan/psks.yml}"
        yield f"psk_rotation_escrow must say where PSKs are kept, such as {example}{told}"
        return
    path = escrow.get("path")
    if escrow["backend"] != "file" or path is None:
        return
    place = os.path.expandvars(os.path.expanduser(path)) if isinstance(path, str) else ""
    if not place.startswith("/") or not str(path).startswith(("/", "~")) or not place.isprintable():
        yield f"psk_rotation_escrow.path must begin with / or ~, not be relative to a working folder: {path!r}"
    elif {"ansible_collections"} & {*Path(os.path.normpath(place)).parts, *Path(place).resolve().parts}:
        yield f"psk_rotation_escrow.path lies within an installed collection, which an upgrade deletes: {path!r}"


# -- hosts ------------------------------------------------------------------------------------------------------------


def hooks_of(host: Host) -> Hooks:
    """What runs on this host. Raises InputError for what can't be understood."""
    value = host.values.get
    platform = bool(value("customer_device_platform"))
    device, verify, reach = (_text(host, f"psk_rotation_{x}_tasks") for x in ("device", "verify", "reach"))
    device = device or (DEVICE_PLATFORM if platform else "")
    verify = verify or (VERIFY_PLATFORM if platform else "")
    chosen = _text(host, "psk_rotation_confirmation")
    if chosen not in CONFIRMATIONS:
        raise InputError(f"psk_rotation_confirmation of {host.name} must be verify, manual or none, not {chosen!r}")
    return Hooks(
        tunnels=patterns(value("psk_rotation_tunnels"), host.name),
        reach=reach or (REACH_PLATFORM if platform else _default_reach(host)),
        device=device,
        verify=verify,
        confirmation=chosen or ("verify" if verify else "none"),
        chosen=bool(chosen),
    )


def patterns(given: t.Any, host: str) -> list[str]:
    """What a host terminates, as a list of texts; JSON text is taken for what it says. Raises InputError."""
    where = f"psk_rotation_tunnels of {host}"
    if given is None:
        return []
    if isinstance(given, str):
        if given.lstrip().startswith("["):
            try:
                given = json.loads(given)
            except ValueError:
                raise InputError(f"{where} is not valid JSON") from None
        else:
            given = [given] if given else []
    if not isinstance(given, (list, tuple)):
        raise InputError(f"{where} must be a list of ids, names or patterns, not {_names.kind(given)}")
    for bad in (x for x in given if not isinstance(x, str) or not x):
        raise InputError(f"{where} holds {bad!r}, which is not text: put names into quotes")
    return [str(x) for x in given]


def _text(host: Host, name: str) -> str:
    value = host.values.get(name)
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise InputError(f"{name} of {host.name} must be text, not {_names.kind(value)}")
    return str(value)


def _connection(host: Host) -> str:
    return str(host.values.get("ansible_connection") or "ssh").rpartition(".")[2]


def is_local(host: Host) -> bool:
    """Whether the host is the controller itself, which is no device."""
    return host.name in LOCAL_HOSTS


def _default_reach(host: Host) -> str:
    connection = _connection(host)
    if connection == "local" or is_local(host):
        return ""
    return REACH_BY_CONNECTION if connection in ANSWERED_BY_CONNECTION else REACH_BY_PING


def _of_hooks(hosts: Sequence[Host], mode: str, wrong_with: Callable[[str], str]) -> Iterator[str]:
    without: list[str] = []
    left_out: list[str] = []
    unreachable: list[str] = []
    manual: dict[bool, str] = {}
    wrong: dict[str, list[str]] = {}
    for host in hosts:
        try:
            own = hooks_of(host)
        except InputError as exc:
            yield exc.message
            continue
        for name in (f"psk_rotation_{x}_tasks" for x in ("reach", "device", "verify")):
            path = _text(host, name)
            found = wrong_with(path) if path.startswith("/") else f"there is no file {path!r}; give its full path"
            if path and found:
                wrong.setdefault(f"{name}: {found}", []).append(host.name)
        if own.confirmation == "verify" and not own.verify:
            yield f"psk_rotation_confirmation of {host.name} is verify, but psk_rotation_verify_tasks names no tasks"
        if not own.tunnels:
            continue
        left_out += [host.name] * host.left_out
        manual.setdefault(own.confirmation == "manual", host.name)
        if mode in ACTING_MODES and not own.acts and not own.chosen and not is_local(host):
            without.append(host.name)
        known = (*ANSWERED_BY_HOST, *ANSWERED_BY_CONNECTION, "local")
        if own.acts and own.reach == REACH_BY_PING and _connection(host) not in known:
            unreachable.append(host.name)
    yield from (f"{told} ({_named(names)})" for told, names in wrong.items())
    if left_out:
        yield f"a condition (when) around the role leaves out {_named(left_out)}: leave it out of the play instead"
    if without:
        yield (
            f"{_named(without)} have tunnels and no device tasks: set psk_rotation_device_tasks or"
            " customer_device_platform, or psk_rotation_confirmation (none or manual) if others configure the devices"
        )
    if unreachable:
        yield (
            f"over the connection of {_named(unreachable)} a ping proves nothing: set psk_rotation_reach_tasks or"
            " customer_device_platform"
        )
    if len(manual) > 1:
        yield (
            f"psk_rotation_confirmation is manual on {manual[True]} and not on {manual[False]}: make it the same on all"
            " hosts of a batch"
        )


def _named(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    found = list(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
