# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin ipsec_tunnels: ansible-inventory against the simulator, and a rotation on what it finds."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.release import __version__ as core_version

from tests.harness import recorded
from tests.harness.playbook import VENV, Playbooks, core_bin
from tests.harness.runner import PROJECT
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator

PLUGIN = {"plugin": "magicwan.cloudflare.ipsec_tunnels"}
# Before 2.19, ansible-core breaks a warning into lines of 79 characters.
CORE_WRAPS = tuple(map(int, core_version.split(".")[:2])) < (2, 19)


@dataclass
class Listing:
    """What ansible-inventory said."""

    rc: int
    stdout: str
    stderr: str

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        """The variables by host."""
        return dict(json.loads(self.stdout)["_meta"]["hostvars"])

    def group(self, name: str) -> set[str]:
        """The hosts of a group."""
        return set(json.loads(self.stdout).get(name, {}).get("hosts", []))

    def error(self) -> str:
        """The one line that says what is wrong, of a run in which a source that does not parse is an error."""
        assert self.rc != 0, self.stdout
        assert "Traceback" not in self.stderr
        lines = [" ".join(x.split()) for x in self.stderr.split("\n[")] if CORE_WRAPS else self.stderr.splitlines()
        (message,) = {x.partition("ipsec_tunnels: ")[2] for x in lines if "ipsec_tunnels: " in x}
        return message


class Lister:
    """Runs ansible-inventory on a file for the plugin."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.simulator = simulator
        self.folder = folder
        self.path = folder / "ipsec_tunnels.yml"

    def write(self, options: Mapping[str, Any]) -> Path:
        """Write the file."""
        recorded.used("inventory", PLUGIN["plugin"], options)
        self.path.write_text(yaml.safe_dump({**PLUGIN, **options}, sort_keys=False), encoding="utf-8")
        return self.path

    def run(self, *args: str, core: str | None = None, env: Mapping[str, str] | None = None, **options: Any) -> Listing:
        """Run it on a file with these options; what it says is searched for secrets."""
        return self.list(self.write(options), *args, core=core, env=env)

    def list(self, path: Path, *args: str, core: str | None = None, env: Mapping[str, str] | None = None) -> Listing:
        """Run it on this file."""
        secrets = [*self.simulator.psks(), self.simulator.token]
        (self.folder / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
        done = subprocess.run(
            [core_bin(core) / "ansible-inventory", "-i", path, *(args or ("--list",))],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder / "home"),
                "LC_ALL": "C.UTF-8",
                "ANSIBLE_COLLECTIONS_PATH": str(VENV / "collections"),
                "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"),
                "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
                "COLUMNS": "4000",
                **self.simulator.env(),
                **(env or {}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert not find_secrets([done.stdout, done.stderr], secrets)
        return Listing(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def inventory(simulator: Simulator, tmp_path: Path) -> Lister:
    return Lister(simulator, tmp_path)


def ids_by_endpoint(simulator: Simulator) -> dict[str, list[str]]:
    """The account's tunnels as the test counts them."""
    found: dict[str, list[str]] = {}
    for tunnel in simulator.state()["tunnels"]:
        if tunnel.get("customer_endpoint"):
            found.setdefault(tunnel["customer_endpoint"], []).append(tunnel["id"])
    return found


def test_each_customer_endpoint_is_a_host_that_knows_its_tunnels(inventory: Lister, core: str | None) -> None:
    listing = inventory.run(core=core)
    assert {host: x["psk_rotation_tunnels"] for host, x in listing.hosts.items()} == ids_by_endpoint(
        inventory.simulator
    )


def test_tunnels_of_no_device_are_named_in_a_warning(inventory: Lister) -> None:
    lonely = [x["name"] for x in inventory.simulator.state()["tunnels"] if not x.get("customer_endpoint")]
    warning = inventory.run().stderr
    assert lonely and all(name in " ".join(warning.split()) for name in lonely)


def test_unassigned_fail_makes_that_an_error(inventory: Lister) -> None:
    assert inventory.run(unassigned="fail").error().startswith("2 of 24 tunnels belong to no device: ")


def test_a_pattern_groups_by_device_and_site(inventory: Lister) -> None:
    listing = inventory.run(
        tunnels=["*_primary", "*_backup"], name_pattern=r"^(?P<device>(?P<site>.+)_\d+)_(primary|backup)$"
    )
    assert listing.hosts["Cape_Town_1"]["ipsec_tunnels_site"] == "Cape_Town"
    assert listing.group("site_Cape_Town") == {x for x in listing.hosts if x.startswith("Cape_Town_")}
    assert all(len(x["psk_rotation_tunnels"]) == 2 for x in listing.hosts.values())


def test_every_host_is_in_the_group_of_its_oldest_psk(inventory: Lister) -> None:
    listing = inventory.run(psk_ages=["30d", "90d"])
    by_group = {x: listing.group(x) for x in ("psk_age_up_to_30d", "psk_age_up_to_90d", "psk_age_over_90d")}
    limits = {"psk_age_up_to_30d": range(31), "psk_age_up_to_90d": range(30, 91), "psk_age_over_90d": range(90, 9999)}
    assert all(by_group.values())
    for group, hosts in by_group.items():
        assert all(listing.hosts[x]["ipsec_tunnels_psk_age_days"] in limits[group] for x in hosts)
    assert set().union(*by_group.values(), listing.group("psk_age_none")) == set(listing.hosts)


def test_the_graph_shows_empty_age_groups_too(inventory: Lister) -> None:
    graph = inventory.run("--graph", psk_ages=["3650d"]).stdout
    assert "@psk_age_over_3650d:" in graph


def test_compose_groups_and_keyed_groups_see_the_tunnels(inventory: Lister) -> None:
    listing = inventory.run(
        strict=True,
        compose={"tunnel_count": "ipsec_tunnels | length"},
        groups={"redundant": "psk_rotation_tunnels | length > 1 and inventory_hostname is match('198')"},
        keyed_groups=[{"key": "ipsec_tunnels | map(attribute='cloudflare_endpoint') | unique", "prefix": "via"}],
    )
    host, variables = next(iter(listing.hosts.items()))
    assert int(variables["tunnel_count"]) == 2  # a text before ansible-core 2.19
    assert host in listing.group("redundant")
    assert host in listing.group("via_203_0_113_1")


def test_a_template_in_a_description_stays_text(inventory: Lister, core: str | None) -> None:
    tunnel = inventory.simulator.state()["tunnels"][0]
    inventory.simulator.patch_tunnel(tunnel["id"], description="{{ 7 * 191 }}")
    shown = inventory.run("--host", tunnel["customer_endpoint"], core=core).stdout
    assert "{{ 7 * 191 }}" in shown
    assert "1337" not in shown


def test_the_cache_spares_the_request_and_holds_no_secret(inventory: Lister, core: str | None) -> None:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": "cache"}
    first = inventory.run(core=core, **cache)
    asked = inventory.simulator.state()["requests"]
    second = inventory.run(core=core, **cache)
    assert inventory.simulator.state()["requests"] == asked == 1
    assert second.hosts == first.hosts
    secrets = [*inventory.simulator.psks(), inventory.simulator.token]
    keys = [x["bgp"]["md5_key"] for x in inventory.simulator.state()["tunnels"] if (x.get("bgp") or {}).get("md5_key")]
    assert not find_secrets(inventory.folder / "cache", [*secrets, *(x for x in keys if len(x) >= 8)])


def test_the_cache_of_another_account_is_not_used(inventory: Lister) -> None:
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": "cache"}
    inventory.run(**cache)
    other = inventory.run(env={"CLOUDFLARE_ACCOUNT_ID": "f" * 32}, **cache)
    assert "check account_id" in other.error()


@pytest.mark.parametrize(
    ("options", "env", "message"),
    [
        ({}, {"CLOUDFLARE_API_TOKEN": "wrong-token"}, "check the credentials"),
        ({}, {"CLOUDFLARE_API_TOKEN": ""}, "no credentials: set api_token"),
        ({}, {"CLOUDFLARE_ACCOUNT_ID": ""}, "account_id is missing"),
        ({}, {"CLOUDFLARE_BASE_URL": "http://127.0.0.1:1/"}, "listing the IPsec tunnels"),
        ({"retries": 0, "tunnels": ["nowhere"]}, {}, "'nowhere'"),
        ({"name_pattern": "(?P<devise>x)"}, {}, "name_pattern must have a group named device"),
        ({"psk_ages": ["90d", "30d"]}, {}, "psk_ages must hold ages in rising order"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    inventory: Lister, options: dict[str, Any], env: dict[str, str], message: str
) -> None:
    assert message in inventory.run(env=env, **{"retries": 0, **options}).error()


HIDDEN = {"CLOUDFLARE_API_TOKEN": "", "CLOUDFLARE_ACCOUNT_ID": ""}


def test_a_token_may_be_looked_up_by_a_template(inventory: Lister, core: str | None) -> None:
    template = "{{ lookup('ansible.builtin.env', 'MAGIC_WAN_%s') }}"
    env = {**HIDDEN, "MAGIC_WAN_TOKEN": inventory.simulator.token, "MAGIC_WAN_ACCOUNT": inventory.simulator.account}
    options = {"api_token": template % "TOKEN", "account_id": template % "ACCOUNT"}
    listing = inventory.run(core=core, env=env, **options)
    assert {host: x["psk_rotation_tunnels"] for host, x in listing.hosts.items()} == ids_by_endpoint(
        inventory.simulator
    )


def test_a_token_may_be_an_extra_variable(inventory: Lister, core: str | None) -> None:
    # A list would show the variable itself, as a variable of each host.
    args = ["--graph", "-e", f"magic_wan_token={inventory.simulator.token}"]
    listing = inventory.run(*args, core=core, env={"CLOUDFLARE_API_TOKEN": ""}, api_token="{{ magic_wan_token }}")
    assert "198.18.0.1" in listing.stdout


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ no_such_variable }}", "api_token is a template that fails ("),
        ("{{ lookup('ansible.builtin.env', 'MAGIC_WAN_TOKEN') }}", "no credentials: set api_token"),
        ("{{ 'a' if }}", "api_token is a template that fails ("),
    ],
)
def test_a_template_that_gives_no_token_is_told_by_its_option_and_not_by_its_text(
    inventory: Lister, core: str | None, template: str, message: str
) -> None:
    listing = inventory.run(core=core, env={"CLOUDFLARE_API_TOKEN": ""}, api_token=template)
    assert message in listing.error()
    assert template not in listing.stdout + listing.stderr


@pytest.mark.parametrize("word", ["all", "*"])
def test_a_tunnel_that_is_named_like_a_word_for_all_does_not_hide_the_others(inventory: Lister, word: str) -> None:
    tunnel = inventory.simulator.state()["tunnels"][0]
    inventory.simulator.patch_tunnel(tunnel["id"], name=word)
    listing = inventory.run(tunnels=[word])
    assert set(listing.hosts) == set(ids_by_endpoint(inventory.simulator))
    assert f"'{word}' ({tunnel['id']}); select that tunnel by its id" in " ".join(listing.stderr.split())


def test_the_sample_projects_source_lists_the_devices_as_awx_updates_it(inventory: Lister) -> None:
    empty = dict.fromkeys(("CLOUDFLARE_EMAIL", "CLOUDFLARE_API_KEY"), "")
    listing = inventory.list(PROJECT / "inventory" / "devices.ipsec_tunnels.yml", "--list", "--export", env=empty)
    assert {host: x["psk_rotation_tunnels"] for host, x in listing.hosts.items()} == ids_by_endpoint(
        inventory.simulator
    )


def test_a_rotation_runs_on_what_the_inventory_finds(
    simulator: Simulator, playbooks: Playbooks, tmp_path: Path, make_inventory_file: Callable[..., Path]
) -> None:
    before = {x["id"]: x.get("psk") for x in simulator.state()["tunnels"]}
    result = playbooks.run(
        "magicwan.cloudflare.rotate_psks",
        inventory=make_inventory_file(compose={"ansible_connection": "'local'"}),
        extra_vars={
            "psk_rotation_hosts": "psk_age_over_90d",
            "psk_rotation_escrow": {"backend": "file", "path": str(tmp_path / "psks.yml")},
            "psk_rotation_unknown_psk": "rotate",
            "psk_rotation_confirmation": "none",
        },
        env={"ANSIBLE_INVENTORY_ENABLED": "magicwan.cloudflare.ipsec_tunnels"},
    ).ok()
    after = {x["id"]: x.get("psk") for x in simulator.state()["tunnels"]}
    old_hosts = set(result.stats)
    expected = {i for host, ids in ids_by_endpoint(simulator).items() if host in old_hosts for i in ids}
    assert expected
    assert {i for i in before if before[i] != after[i]} == expected


@pytest.fixture
def make_inventory_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a file for the plugin."""

    def make(**options: Any) -> Path:
        path = tmp_path / "ipsec_tunnels.yml"
        path.write_text(yaml.safe_dump({**PLUGIN, "psk_ages": ["90d"], **options}), encoding="utf-8")
        return path

    return make
