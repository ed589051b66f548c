# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example of every plugin does what it is there for: it is taken out of the plugin's documentation and run.

A `Place` says what an example finds: variables, an escrow, tasks before it. Only what no test machine has is replaced
in its text, such as a folder of the system or the address of a server.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Key, Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store import Stored
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_file import FileStore
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_kv2 import Kv2Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._vault_server import Kv2Connection

from tests.harness.openbao import MOUNT, OpenBao
from tests.harness.playbook import ROOT, VENV, Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import ACCOUNT, Simulator

PASSWORD = "vault-password-of-the-tests"
OWN_PSK = "TheKeyOfBerlinThatSomebodyChose42"
NAMES = ("berlin-1", "berlin-2", "berlin-old", "hamburg-1")
INSTALLED = VENV / "collections" / "ansible_collections" / "magicwan" / "cloudflare"
SOURCE = INSTALLED / "extensions" / "eda" / "plugins" / "event_source" / "tunnel_health.py"
VAULT = "https://vault.example.com:8200"
SOME_ID = "c4a7362d577a6c3019a474fd6f485821"
ESCROW = "magicwan/psks.yml"
FOREIGN_TIME = "2026-06-14T05:20:00Z"
KINDS = ("modules", "lookup", "filter", "inventory")

DEVICE = {
    "tunnels": [
        {
            "id": SOME_ID,
            "name": "berlin-1",
            "status": "applied",
            "psk": OWN_PSK,
            "cloudflare_endpoint": "203.0.113.1",
            "ike_ids": {"fqdn": f"{SOME_ID}.33145236.ipsec.cloudflare.com"},
        }
    ],
    "settings": {
        "tunnel_options": {},
        "ike_id": "fqdn",
        "anti_replay": "tunnel",
        "ike_group": 20,
        "esp_group": 20,
        "dpd_interval": 10,
        "dpd_retries": 3,
        "wan_interface": "wan0",
    },
}


@dataclass
class World:
    """What all examples have around them: an account with four tunnels, a home, and servers that are started when they
    are wanted."""

    simulator: Simulator
    playbooks: Playbooks
    folder: Path
    openbao: Callable[[], OpenBao]
    secrets: set[str] = field(default_factory=set)

    @property
    def home(self) -> Path:
        return self.playbooks.workdir / "home"

    def id_of(self, name: str) -> str:
        return str(self.simulator.tunnels_by_name()[name]["id"])

    def records(self) -> dict[str, Stored]:
        """An escrow that knows the PSKs of the account."""
        tunnels = self.simulator.state()["tunnels"]
        keys = {x["id"]: Key(x["psk"], applied_on=x["psk_metadata"].get("last_generated_on")) for x in tunnels}
        before = Key("the-key-before-the-last-rotation-1")
        names = {x["id"]: x["name"] for x in tunnels}
        return {i: Stored(Record(name=names[i], current=key, previous=before), 0) for i, key in keys.items()}

    def write_escrow(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        vault = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
        FileStore(str(path), ACCOUNT, vault).store(self.records())


@dataclass
class Place:
    """What an example finds. `edits` are replaced in its text."""

    variables: dict[str, Any] = field(default_factory=dict)
    before: list[dict[str, Any]] = field(default_factory=list)
    edits: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)


Prepare = Callable[[World], Place]

READ = {"name": "Read the account", "magicwan.cloudflare.ipsec_tunnel_info": {}, "register": "account"}
READ_ESCROW = {
    "name": "Read the escrow",
    "magicwan.cloudflare.psk_escrow_info": {"escrow": {"backend": "file", "path": "~/" + ESCROW}},
    "register": "escrow",
}
REPORT = "{{ account.ipsec_tunnels | magicwan.cloudflare.psk_audit(escrow.tunnels) }}"


def nothing(_world: World) -> Place:
    return Place()


def of_fleet(_world: World) -> Place:
    tunnel = {"cloudflare_endpoint": "203.0.113.1", "interface_address": "10.100.9.0/31"}
    kept = [{"name": name} for name in ("berlin-1", "berlin-2", "hamburg-1")]
    return Place({"fleet": [*kept, {"name": "berlin-3", **tunnel}]})


def of_terraform(world: World) -> Place:
    tunnels = world.simulator.state()["tunnels"]
    resources = [
        {"type": "cloudflare_magic_wan_ipsec_tunnel", "address": f"x.{n}", "values": {"id": x["id"], "psk": x["psk"]}}
        for n, x in enumerate(tunnels)
    ]
    path = world.home / "magicwan" / "state.json"
    path.parent.mkdir(mode=0o700, parents=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps({"values": {"root_module": {"resources": resources}}}), encoding="utf-8")
    return Place()


def with_escrow(world: World) -> Place:
    world.write_escrow(world.home / ESCROW)
    return Place()


def of_audit(world: World) -> Place:
    with_escrow(world)
    return Place(before=[READ, READ_ESCROW])


def of_audit_csv(world: World) -> Place:
    return Place({"report": REPORT}, of_audit(world).before)


def in_openbao(world: World, mount: str, **changes: Any) -> Place:
    """The same escrow in a secrets engine, with the record of berlin-1 changed."""
    server = world.openbao()
    if mount != MOUNT:
        server.call("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
    records = world.records()
    berlin = world.id_of("berlin-1")
    records[berlin] = Stored(replace(records[berlin].record, **changes), 0)
    store = Kv2Store(Kv2Connection(url=server.url, token=server.token, mount=mount), ACCOUNT)
    store.store(records)
    store.close()
    world.secrets.add(server.token)
    return Place(edits={VAULT: server.url}, env=server.env())


def of_repair(world: World) -> Place:
    return in_openbao(world, "network", state="stuck", reason="somebody else has changed it", seen=FOREIGN_TIME)


def of_lookup(world: World) -> Place:
    """A template, the folder that it goes to, and both kinds of escrow."""
    found = in_openbao(world, MOUNT)
    escrow = world.folder / "psks.vault.yml"
    world.write_escrow(escrow)
    template = world.folder / "ipsec.secrets.j2"
    template.write_text(": PSK {{ psk }}\n", encoding="utf-8")
    found.variables["cloudflare_account_id"] = ACCOUNT
    found.edits |= {
        "psks.vault.yml": str(escrow),
        "ipsec.secrets.j2": str(template),
        "/etc/ipsec.d": str(world.folder),
        SOME_ID: world.id_of("berlin-1"),
    }
    return found


def of_step(world: World) -> Place:
    escrow = world.folder / "psks.vault.yml"
    world.write_escrow(escrow)
    return Place(edits={"~/magicwan/psks.yml": str(escrow)})


def of_health(world: World) -> Place:
    """Nobody checks the old tunnel, so that no site may have it."""
    world.simulator.patch_tunnel(world.id_of("berlin-old"), name="munich-1")
    return Place()


def of_secret_file(world: World) -> Place:
    template = world.folder / "secrets.conf.j2"
    template.write_text(f"secret = {OWN_PSK}\n", encoding="utf-8")
    return Place(edits={"/etc/swanctl/conf.d": str(world.folder), "'secrets.conf.j2'": f"'{template}'"})


def of_show(world: World) -> Place:
    """There is no terminal here."""
    with_escrow(world)
    return Place(defaults={"magicwan.cloudflare.psk_show": {"anywhere": True}})


def of_info(world: World) -> Place:
    return Place(edits={SOME_ID: world.id_of("hamburg-1")})


def of_judgement(_world: World) -> Place:
    plan = "{{ tunnels | magicwan.cloudflare.customer_device_plan('junos', 'psk', settings) }}"
    return Place({**DEVICE, "plan": plan, "said": {"found": []}})


ON_TASKS: dict[str, Prepare] = {
    "modules/ipsec_psk": lambda world: Place({"berlin_psk": OWN_PSK}),
    "modules/ipsec_tunnel": nothing,
    "modules/ipsec_tunnel_health_info": of_health,
    "modules/ipsec_tunnel_info": of_info,
    "modules/ipsec_tunnels": of_fleet,
    "modules/psk_adopt": of_terraform,
    "modules/psk_escrow": of_repair,
    "modules/psk_escrow_info": with_escrow,
    "modules/psk_rotation_step": of_step,
    "modules/psk_show": of_show,
    "modules/secret_file": of_secret_file,
    "lookup/ipsec_psk": of_lookup,
    "filter/ipsec_tunnel_options": nothing,
}
# Examples that are variables; each is looked at by a task.
AS_VARIABLES: dict[str, Prepare] = {
    "filter/customer_device_judgement": of_judgement,
    "filter/customer_device_plan": lambda world: Place(dict(DEVICE)),
    "filter/customer_device_platform": nothing,
    "filter/ipsec_tunnels_yaml": lambda world: Place(before=[READ]),
    "filter/psk_audit": of_audit,
    "filter/psk_audit_csv": of_audit_csv,
    "filter/psk_audit_metrics": of_audit_csv,
}
# Examples with a test of their own below.
ALONE = {"filter/psk_rotation_handover", "inventory/ipsec_tunnels", "event_source/tunnel_health"}
# It shows PSKs, as it is asked to.
SHOWS = "modules/psk_show"


def plugins() -> dict[str, Path]:
    """Every plugin that has an EXAMPLES, by kind and name."""
    files = [*(ROOT / "plugins").glob("*/*.py"), *(ROOT / "extensions" / "eda" / "plugins").glob("*/*.py")]
    return {f"{x.parent.name}/{x.stem}": x for x in files if "\nEXAMPLES = " in x.read_text(encoding="utf-8")}


def examples(plugin: str) -> str:
    """The text of a plugin's EXAMPLES."""
    for node in ast.parse(plugins()[plugin].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLES":
            return str(ast.literal_eval(node.value))
    raise AssertionError(f"{plugin} has no EXAMPLES")


def edited(plugin: str, edits: Mapping[str, str]) -> Any:
    """The example as data; every edit has something to replace."""
    text = examples(plugin)
    for old, new in edits.items():
        assert old in text or old == VAULT, f"{plugin} has no {old}"
        text = text.replace(old, new)
    return yaml.safe_load(text)


@pytest.fixture
def world(simulator: Simulator, playbooks: Playbooks, tmp_path: Path) -> Iterator[World]:
    for tunnel, name in zip(simulator.state()["tunnels"], NAMES, strict=True):
        simulator.patch_tunnel(tunnel["id"], name=name)
    with contextlib.ExitStack() as servers:
        folder = tmp_path / "found"
        folder.mkdir(mode=0o700)
        found = World(simulator, playbooks, folder, lambda: servers.enter_context(OpenBao()))
        found.home.mkdir(mode=0o700, parents=True)
        found.secrets |= {*simulator.psks(), simulator.token, OWN_PSK}
        yield found


def play(world: World, tasks: list[Any], place: Place, **options: Any) -> Result:
    """Run the tasks on localhost; what is printed is searched for secrets."""
    whole: list[dict[str, Any]] = [
        {"name": "Examples", "hosts": "localhost", "gather_facts": False, "vars": place.variables}
    ]
    whole[0] |= {"tasks": [*place.before, *tasks], "module_defaults": place.defaults}
    return world.playbooks.run(whole, env=place.env, **options).ok()


def test_every_plugin_with_examples_is_run() -> None:
    assert {*ON_TASKS, *AS_VARIABLES, *ALONE} == set(plugins())
    public = {f"{x.parent.name}/{x.stem}" for kind in KINDS for x in (ROOT / "plugins" / kind).glob("[!_]*.py")}
    assert public <= set(plugins())


def assert_no_secret_is_printed(world: World) -> None:
    known = {*world.secrets, *world.simulator.psks()}
    assert not find_secrets(world.playbooks.outputs(), sorted(known))


@pytest.mark.fleet(tunnels=4, seed=7)
@pytest.mark.shows_secrets
@pytest.mark.parametrize("plugin", ON_TASKS)
def test_an_example_of_tasks_works_as_it_is_written(world: World, plugin: str) -> None:
    place = ON_TASKS[plugin](world)
    tasks = edited(plugin, place.edits)
    result = play(world, tasks, place)
    done = [x["task"] for x in result.tasks if x["status"] == "ok"]
    assert [x["name"] for x in tasks] == done[len(place.before) :]
    if plugin != SHOWS:
        assert_no_secret_is_printed(world)


@pytest.mark.fleet(tunnels=4, seed=7)
@pytest.mark.parametrize("plugin", AS_VARIABLES)
def test_an_example_of_a_variable_has_a_value(world: World, plugin: str) -> None:
    place = AS_VARIABLES[plugin](world)
    ((name, template),) = edited(plugin, place.edits).items()
    place.variables[name] = template
    look = {"name": "Look at it", "ansible.builtin.assert": {"that": f"{name} | length > 0", "quiet": True}}
    play(world, [look], place)
    assert_no_secret_is_printed(world)


@pytest.mark.fleet(tunnels=4, seed=7)
def test_the_example_of_a_handover_works_from_one_job_to_the_next(world: World) -> None:
    (world.folder / "psks.j2").write_text("{{ psks | join(' ') }}\n", encoding="utf-8")
    edits = {"/etc/ipsec.d": str(world.folder), "src: psks.j2": f"src: {world.folder}/psks.j2"}
    hand_over, write = edited("filter/psk_rotation_handover", edits)
    escrow = {"backend": "file", "path": str(world.folder / "psks.yml")}
    variables = {
        "psk_rotation_escrow": escrow,
        "psk_rotation_tunnels": ["berlin-1"],
        "psk_rotation_unknown_psk": "rotate",
    }
    rotate = {"name": "Rotate", "ansible.builtin.include_role": {"name": "magicwan.cloudflare.psk_rotation"}}
    first = play(world, [hand_over], Place({**variables, "psk_rotation_confirmation": "manual"}, [rotate]))
    play(world, [write], Place(dict(first.custom.get("_run", first.custom))))
    written = (world.folder / "cloudflare.secrets").read_text(encoding="utf-8").split()
    assert written and set(written) <= set(world.simulator.psks())
    assert_no_secret_is_printed(world)


@pytest.mark.fleet(tunnels=4, seed=7)
def test_the_examples_of_the_inventory_list_the_devices(world: World) -> None:
    simple, rest = examples("inventory/ipsec_tunnels").split("\n\n", 1)
    commented = rest[rest.index("# plugin:") :]
    full = "\n".join(line.removeprefix("# ") for line in commented.splitlines())
    names = ("ber-0001-a", "ber-0001-b", "ham-0001-a", "ham-0001-b")
    for tunnel, name in zip(world.simulator.state()["tunnels"], names, strict=True):
        world.simulator.patch_tunnel(tunnel["id"], name=name)
    endpoints = {x["customer_endpoint"] for x in world.simulator.state()["tunnels"]}
    for text, hosts in ((simple, len(endpoints)), (full, 2)):
        path = world.folder / "branches.ipsec_tunnels.yml"
        path.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [Path(sys.executable).parent / "ansible-inventory", "-i", path, "--list"],
            cwd=world.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(world.home),
                "LC_ALL": "C.UTF-8",
                "ANSIBLE_COLLECTIONS_PATH": str(VENV / "collections"),
                "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
                "MAGIC_WAN_TOKEN": world.simulator.token,
                **world.simulator.env(),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["_meta"]["hostvars"]) == hosts
        assert not find_secrets([done.stdout, done.stderr], sorted(world.secrets))


@pytest.mark.fleet(tunnels=4, seed=7)
def test_the_example_of_the_event_source_is_a_rulebook_whose_source_looks_at_the_account(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rulebook,) = yaml.safe_load(examples("event_source/tunnel_health"))
    (source,) = rulebook["sources"]
    for name, value in world.simulator.env().items():
        monkeypatch.setenv(name, value)
    main = runpy.run_path(str(SOURCE))["main"]

    async def look_once() -> None:
        watching = asyncio.create_task(main(asyncio.Queue(), source["magicwan.cloudflare.tunnel_health"]))
        while not any(x["operation"] == "list" for x in world.simulator.journal()):
            assert not watching.done(), watching.exception()
            await asyncio.sleep(0.05)
        watching.cancel()

    asyncio.run(asyncio.wait_for(look_once(), 60))
    assert [set(x) for x in rulebook["rules"]] == [{"name", "condition", "action"}] * 2
