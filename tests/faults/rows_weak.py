# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""W: a device fails in a run that is weakened by what Ansible offers: keywords, strategies, tags, variables, hooks.

W1: the device refuses its new PSK. W2: it is dead from the start. W3: it is lost after the API was called, in the first
wave; W4: in the second one. W5: the device tasks name one tunnel as failed. No such run may end well, but where none of
its hosts remains, and none that does may leave different keys. Then the trouble is over, and a plain run of
rotate_psks must end it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from tests.faults.matrix import ROWS, Row
from tests.faults.scene import HOOKS, Run, Scene

ROLE = "magicwan.cloudflare.psk_rotation"
TASKS = Path(__file__).resolve().parents[2] / "roles" / "psk_rotation" / "tasks"
STATIC = "run"
# Those of an adoption, which has no key to lose.
OF_ADOPTION = ("adopt_verified", "adopt_unverified")
FILES = (STATIC, "wave_of_some", "wave_reached", "reach", "wave", "device", "roll_back", "nothing")
BAD = "dev01"
LAST = "dev03"
TROUBLES = {
    "W1": ("refuse", "a device refuses"),
    "W2": ("gone", "a device is dead from the start"),
    "W3": ("lost", "a device is lost after the API"),
    "W4": ("lost-later", "a device is lost in the second wave"),
    "W5": ("one", "a device refuses one tunnel"),
}
FIRST = ("W1", "W2", "W3")
# What Ansible itself takes on include_role; the rest it refuses there, and takes under apply.
OF_INCLUDE = ("ignore_errors", "run_once", "loop")
NOT_OF_INCLUDE = "is not a valid attribute for a IncludeRole"
# Names that the role sets itself. As extra variables they would win over what it sets.
OUTPUTS = (
    "psk_rotation_results",
    "psk_rotation_summary",
    "psk_rotation_wave_results",
    "psk_rotation_mode",
    "psk_rotation_failed_tunnels",
    "psk_rotation_hook_reason",
    "psk_rotation_proven_tunnels",
    "customer_device_results",
    "customer_device_reason",
    "customer_device_comparisons",
    "customer_device_failed_tunnels",
    "__psk_rotation_mode",
    "__psk_rotation_state",
    "__psk_rotation_evidence",
    "__psk_rotation_reached",
)

Play = list[dict[str, Any]]


@dataclass(frozen=True)
class Weakening:
    """A way to run the role. ``troubles`` are keys of TROUBLES; ``refused`` is what the refusal before any write says.

    ``host`` is the device with the trouble; ``hosts`` are in the play, all by default. ``excused``: nobody is left to
    fail for these tunnels, the host's or all, as is documented. ``idle``: the run does nothing at all, which is no
    failure.
    """

    slug: str
    told: str
    play: Play | None = None
    troubles: Sequence[str] = FIRST
    refused: str = ""
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    host_vars: Mapping[str, Any] = field(default_factory=dict)
    host: str = BAD
    hosts: Sequence[str] | None = None
    excused: Literal["", "host", "all"] = ""
    idle: bool = False


def included(task: Mapping[str, Any] | None = None, *, apply: Mapping[str, Any] | None = None, **play: Any) -> Play:
    """A play that includes the role; ``task`` are keywords of the include, ``apply`` those that its tasks get."""
    role = {"name": ROLE, **({"apply": dict(apply)} if apply else {})}
    include = {"name": "Rotate", "ansible.builtin.include_role": role, **(task or {})}
    return [{"name": "Rotate", "hosts": "all", "gather_facts": False, "tasks": [include], **play}]


def imported(**task: Any) -> Play:
    """A play that imports the role."""
    step = {"name": "Rotate", "ansible.builtin.import_role": {"name": ROLE}, **task}
    return [{"name": "Rotate", "hosts": "all", "gather_facts": False, "tasks": [step]}]


def in_block(**block: Any) -> Play:
    """A play with a block around the include of the role."""
    include = {"name": "Rotate", "ansible.builtin.include_role": {"name": ROLE}}
    outer = {"name": "Surround it", "block": [include], **block}
    return [{"name": "Rotate", "hosts": "all", "gather_facts": False, "tasks": [outer]}]


def in_roles(**role: Any) -> Play:
    """A play with the role among its roles."""
    return [{"name": "Rotate", "hosts": "all", "gather_facts": False, "roles": [{"role": ROLE, **role}]}]


def handler(**keywords: Any) -> Play:
    """A handler that makes what the device tasks have staged the device's configuration."""
    reload = {
        "name": "Reload the device",
        "ansible.legacy.device": {"mode": "reload", "folder": "{{ devices_folder }}"},
        "no_log": True,
        **keywords,
    }
    return [reload]


NOTIFYING = {"psk_rotation_device_tasks": str(HOOKS / "notify.yml"), "psk_rotation_confirmation": "none"}
PLACES: dict[str, Callable[..., Play]] = {
    "play": lambda **x: included(None, **x),
    "block": in_block,
    "role": in_roles,
    "include_role": lambda **x: included(x),
    "apply": lambda **x: included(apply=x),
    "import_role": imported,
}


def _on(place: str, keyword: str, refused: str = "", value: Any = True) -> Weakening:
    """A keyword at a place around the role."""
    alien = place == "include_role" and keyword not in OF_INCLUDE
    return Weakening(
        f"{keyword}-{place}",
        f"{keyword} on {place}",
        PLACES[place](**{keyword: value}),
        troubles=FIRST[:1] if alien else FIRST,
        refused=NOT_OF_INCLUDE if alien else refused,
    )


def _ignoring() -> Iterator[Weakening]:
    for keyword in ("ignore_errors", "ignore_unreachable"):
        for place in PLACES:
            refused = f"{keyword} on the play would hide" if place == "play" else ""
            yield _on(place, keyword, refused)
        yield Weakening(
            f"{keyword}-handlers",
            f"{keyword} on the play, with handlers",
            included(None, apply=None, handlers=handler(), **{keyword: True}),
            refused=f"{keyword} on the play would hide",
            variables=NOTIFYING,
        )
        yield Weakening(
            f"{keyword}-handler",
            f"{keyword} on a handler",
            included(handlers=handler(**{keyword: True})),
            troubles=("W1",),
            refused="on handlers would hide",
            variables=NOTIFYING,
        )
    yield Weakening(
        "ignore_unreachable-unproven",
        "ignore_unreachable on block, and nothing proves a PSK",
        in_block(ignore_unreachable=True),
        variables={"psk_rotation_confirmation": "none"},
    )
    both = {"ignore_errors": True, "ignore_unreachable": True}
    yield Weakening("ignore-both-block", "ignore_errors and ignore_unreachable on block", in_block(**both))


def _fatal() -> Iterator[Weakening]:
    for place in ("play", "block", "include_role", "apply"):
        yield _on(place, "any_errors_fatal")
    yield Weakening(
        "any_errors_fatal-handlers",
        "any_errors_fatal on the play, with handlers",
        included(handlers=handler(), any_errors_fatal=True),
        refused="any_errors_fatal with handlers",
        variables=NOTIFYING,
    )
    refused = "max_fail_percentage ends a play before"
    yield Weakening("max-fail", "max_fail_percentage 0", included(max_fail_percentage=0), refused=refused)
    yield Weakening(
        "max-fail-fatal",
        "max_fail_percentage 0 and any_errors_fatal",
        included(max_fail_percentage=0, any_errors_fatal=True),
        refused=refused,
    )


def _elsewhere() -> Iterator[Weakening]:
    for strategy in ("free", "host_pinned"):
        refused = f"the strategy {strategy} runs"
        yield Weakening(
            f"{strategy}-play", f"strategy {strategy} on the play", included(strategy=strategy), refused=refused
        )
        yield Weakening(
            f"{strategy}-env",
            f"ANSIBLE_STRATEGY={strategy}",
            troubles=("W1",),
            env={"ANSIBLE_STRATEGY": strategy},
            refused=refused,
        )
    for place in ("include_role", "apply", "block", "import_role"):
        yield _on(place, "run_once", "run_once on the")
        yield _on(place, "delegate_to", "delegate_to on the", "localhost")
    condition = f"inventory_hostname != '{LAST}'"
    for place in ("role", "block", "include_role", "import_role"):
        yield Weakening(
            f"when-{place}",
            f"a condition on {place} that leaves out a device",
            PLACES[place](when=condition),
            troubles=("W1",),
            refused=f"a condition (when) around the role leaves out {LAST}",
        )
    loop = {"loop": [1, 2], "loop_control": {"loop_var": "turn"}}
    yield Weakening("loop-include_role", "loop on include_role", included(loop), refused="loop on the include_role")


def task_names(folder: Path = TASKS) -> list[tuple[str, str]]:
    """All tasks of a rotation, each as its file and its name, in the order of the files."""

    def names(tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        for task in tasks:
            if "block" in task:
                for part in ("block", "rescue", "always"):
                    yield from names(task.get(part) or ())
            else:
                yield str(task["name"])

    files = [
        folder / "main.yml",
        *(folder / "psk_rotation" / f"{x}.yml" for x in FILES),
    ]
    return [(file.stem, x) for file in files for x in names(yaml.safe_load(file.read_text(encoding="utf-8")))]


def _parts() -> Iterator[Weakening]:
    for number, (file, name) in enumerate(task_names(), 1):
        yield Weakening(
            f"start-at-{number}",
            f"--start-at-task '{name}'",
            in_roles(),
            troubles=("W1",),
            args=("--start-at-task", f"{ROLE} : {name}"),
            # Ansible finds the tasks of static includes only. It says that there is no other, and does nothing.
            idle=file != STATIC,
        )
    yield Weakening("tags-role", "--tags of the role", in_roles(tags=["rotation"]), args=("--tags", "rotation"))
    yield Weakening(
        "tags-include",
        "--tags of the include, which its tasks do not have",
        included({"tags": ["rotation"]}),
        troubles=("W1",),
        args=("--tags", "rotation"),
        idle=True,
    )
    yield Weakening(
        "tags-hook",
        "--tags of nothing but a task of a hook",
        troubles=("W1",),
        args=("--tags", "of-the-device"),
        variables={"psk_rotation_device_tasks": str(HOOKS / "tagged.yml")},
        idle=True,
    )
    for tag in ("of-the-device", "nothing-has-it"):
        yield Weakening(
            f"skip-{tag}",
            f"--skip-tags {tag}",
            troubles=("W1",),
            args=("--skip-tags", tag),
            variables={"psk_rotation_device_tasks": str(HOOKS / "tagged.yml")},
            refused="--skip-tags",
        )


def _hooks() -> Iterator[Weakening]:
    yield Weakening(
        "handlers", "the device is configured by a handler", included(handlers=handler()), variables=NOTIFYING
    )
    ending = {"psk_rotation_device_tasks": str(HOOKS / "end_host.yml")}
    yield Weakening("end_host", "a hook ends its host", troubles=("W1",), variables={**ending, "ending": "host"})
    yield Weakening(
        "end_host-serial",
        "a hook ends its host, serial 1",
        troubles=("W1",),
        variables={**ending, "ending": "host", "psk_rotation_serial": 1},
    )
    yield Weakening(
        "end_host-lenient",
        "a hook ends its host, serial 1, and any number of failures is allowed",
        troubles=("W1",),
        variables={**ending, "ending": "host", "psk_rotation_serial": 1, "psk_rotation_max_failures": "100%"},
        hosts=(BAD, "dev02"),
    )
    yield Weakening(
        "end_host-last",
        "a hook ends the last host of the last batch: nobody is left to fail",
        troubles=("W1",),
        variables={**ending, "ending": "host", "psk_rotation_serial": 1},
        host=LAST,
        excused="host",
    )
    yield Weakening(
        "end_play",
        "a hook ends the play for all hosts: nobody is left to fail",
        troubles=("W1",),
        variables={**ending, "ending": "play"},
        excused="all",
    )


def _variables() -> Iterator[Weakening]:
    for name in OUTPUTS:
        value: Any = [] if name.endswith("results") else {} if name.endswith(("tunnels", "summary")) else "confirm"
        yield Weakening(
            f"extra-{name}",
            f"-e {name}",
            troubles=("W1",),
            variables={name: value},
            refused=f"{name} is internal" if name.startswith("_") else f"{name} is set by the run itself",
        )
    for name, value in {
        "psk_rotation_max_age": "1000d",
        "psk_rotation_force": True,
        "psk_rotation_account_id": "f" * 32,
        "psk_rotation_max_failures": "100%",
    }.items():
        yield Weakening(
            f"host_vars-{name}",
            f"{name} of one host differs",
            troubles=("W1",),
            host_vars={name: value},
            refused=f"{name} differs between",
        )


def _named_failures() -> Iterator[Weakening]:
    """What the device tasks report is a fact, over which variables of an include, or of a role, win."""
    unproven = {"psk_rotation_confirmation": "none"}
    nothing: dict[str, Any] = {"psk_rotation_failed_tunnels": {}}
    for slug, told, play in (
        ("unproven", "nothing proves a PSK", included()),
        ("vars-include", "the include of the role sets psk_rotation_failed_tunnels", included({"vars": nothing})),
        ("vars-apply", "the same under apply", included(apply={"vars": nothing})),
        ("vars-role", "a parameter of the role sets psk_rotation_failed_tunnels", in_roles(**nothing)),
        ("vars-play", "a variable of the play sets psk_rotation_failed_tunnels", included(vars=nothing)),
    ):
        refused = "psk_rotation_failed_tunnels is set by the tasks of a device" if slug == "vars-play" else ""
        yield Weakening(slug, told, play, troubles=("W5",), variables=unproven, refused=refused)


def _pace() -> Iterator[Weakening]:
    for serial in (1, 2, "50%"):
        yield Weakening(f"serial-{serial}", f"serial {serial}", variables={"psk_rotation_serial": serial})
    for order in ("sorted", "reverse_sorted", "reverse_inventory", "shuffle", "inventory"):
        yield Weakening(f"order-{order}", f"order {order}, serial 2", included(order=order, serial=2), troubles=("W3",))
    for forks in (1, 50):
        yield Weakening(f"forks-{forks}", f"forks {forks}", env={"ANSIBLE_FORKS": str(forks)})
    yield Weakening("become", "become on the play", included(become=True), troubles=("W1", "W3"))


def weakenings() -> list[Weakening]:
    """All of them."""
    return [
        Weakening("plain", "rotate_psks", troubles=(*FIRST, "W4")),
        Weakening("included", "the role in a play of the user's", included(), troubles=("W1", "W4")),
        *_ignoring(),
        Weakening(
            "ignore-both-later",
            "ignore_errors and ignore_unreachable on block",
            in_block(ignore_errors=True, ignore_unreachable=True),
            troubles=("W4",),
        ),
        *_fatal(),
        *_elsewhere(),
        *_parts(),
        *_hooks(),
        *_variables(),
        *_named_failures(),
        *_pace(),
    ]


def _enter(weak: Weakening, code: str) -> None:
    trouble, told = TROUBLES[code]

    def act(scene: Scene) -> None:
        scene.trouble(weak.host, trouble)
        before = scene.truth()
        scene.excused = {"": set(), "host": set(scene.groups[weak.host]), "all": set(scene.names)}[weak.excused]
        inventory = scene.own_inventory(weak.hosts)
        inventory["all"]["hosts"][weak.host] |= weak.host_vars
        run = scene.play(play=weak.play, args=weak.args, env=weak.env, variables=weak.variables, inventory=inventory)
        scene.after_crash = f"rc {run.rc}, {scene.states()}"
        _judge(scene, weak, run, before)
        scene.excused = set()
        scene.trouble(weak.host)
        again = scene.rerun(same_key=False)
        scene.after_rerun = f"rc {again.rc}, {scene.after_rerun}"

    ROWS.append(Row(f"{code} {weak.slug}", f"{told}; {weak.told}", act))


def _judge(scene: Scene, weak: Weakening, run: Run, before: Mapping[str, str]) -> None:
    scene.expect("Traceback" not in run.result.output, "the run shows a traceback")
    if weak.idle:
        scene.expect(scene.truth() == before, "something was done")
    elif not weak.excused:
        scene.expect(run.rc != 0, "the run ended well")
    if weak.refused:
        scene.expect(weak.refused in run.result.output, f"it does not say: {weak.refused}")
        scene.expect(not run.sets, "the API was asked to set PSKs")
        scene.expect(scene.after_crash.endswith(f" {len(before)} idle"), "records were written")


for _weak in weakenings():
    for _code in _weak.troubles:
        _enter(_weak, _code)
