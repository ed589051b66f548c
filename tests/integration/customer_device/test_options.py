# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the options of the role change. Where no device can be had, a stand-in writes down what it was given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import VENV, Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.vendor_collections import vendor_collections

from .conftest import PSK, play, result
from .ios_router import Router
from .test_cisco_iosxe import ENDPOINT, inventory, results

SECOND = result(
    id="0123456789abcdef0123456789abcdef",
    name="branch-1-b",
    cloudflare_endpoint="203.0.113.2",
    interface_address="10.64.0.2/31",
    cloudflare_inside_address="10.64.0.2",
    customer_inside_address="10.64.0.3",
)
CLEAR = f"enable|clear crypto ikev2 sa remote {ENDPOINT}"
SAVE = "copy running-config startup-config"
RECORDER = """\
import json, os
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({spec}, supports_check_mode=True)
with open(os.environ["RECORD"], "a") as record:
    record.write(json.dumps({{"module": "{name}", **module.params}}) + "\\n")
module.exit_json(changed=True, stdout=[], stdout_xml="")
"""
PLUGIN = """\
from ansible.plugins.{folder} import {kind}Base

DOCUMENTATION = '''
name: {name}
short_description: Stand-in
description: [Stand-in]
options:
  {option}:
    description: [Nothing]
    type: str
    vars: [{{name: nothing}}]
'''


class {kind}({kind}Base):
    pass
"""
SWANCTL = """\
#!/bin/sh
echo "$SWANCTL_DIR $*" >> "$0.calls"
for file in "$SWANCTL_DIR"/conf.d/*.conf; do
    case $1,$file in
    --load-creds,*.key.conf) echo "loaded ike secret 'ike-$(basename "$file" .key.conf)'" ;;
    --load-all,*.key.conf) ;;
    --load-all,*) echo "loaded connection '$(basename "$file" .conf)'" ;;
    esac
done
"""
LOCAL = {"all": {"hosts": {"d1": {"ansible_connection": "local"}}}}
Run = Callable[..., Result]


@pytest.mark.parametrize("save", [True, False])
def test_iosxe_saves_the_configuration_unless_told_not_to(run: Run, save: bool) -> None:
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        variables = {"customer_device_tunnels": [result()], "customer_device_cisco_iosxe_save": save}
        run(play("main", **variables), inventory=inventory(router)).ok()
    assert any(SAVE in line for line in router.commands) is save


def test_never_leaves_a_tunnel_with_its_old_sa(run: Run) -> None:
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        variables = {"customer_device_tunnels": [result()], "customer_device_reauthenticate": "never"}
        outcome = run(play("main", **variables), inventory=inventory(router)).ok()
    assert router.psk_of(ENDPOINT) == PSK
    assert CLEAR not in router.commands
    assert results(outcome)[0]["confirmed"] is False


def test_always_proves_a_psk_that_has_not_changed(run: Run) -> None:
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        run(play("main", customer_device_tunnels=[result()]), inventory=inventory(router)).ok()
        router.commands.clear()
        variables = {
            "customer_device_tunnels": [result(status="confirmed")],
            "customer_device_reauthenticate": "always",
        }
        outcome = run(play("main", **variables), inventory=inventory(router)).ok()
    assert CLEAR in router.commands
    assert results(outcome)[0]["confirmed"] is True


@pytest.mark.parametrize("goes_on", [True, False])
def test_one_failed_tunnel_of_two_fails_the_host_unless_that_may_be(run: Run, goes_on: bool) -> None:
    with Router(peer_psks={ENDPOINT: PSK, "203.0.113.2": "another"}) as router:
        variables = {"customer_device_tunnels": [result(), SECOND], "customer_device_partial_failure": goes_on}
        outcome = run(play("main", **variables), inventory=inventory(router))
    assert (outcome.rc == 0) is goes_on
    if goes_on:
        assert [x["status"] for x in results(outcome)] == ["confirmed", "failed"]


def test_only_a_laboratory_that_asks_for_it_sees_psks(make_playbooks: Callable[..., Playbooks]) -> None:
    """The switch is what hides them: this is what the search of the other tests would find."""
    playbooks = make_playbooks({"ANSIBLE_COLLECTIONS_PATH": f"{VENV / 'collections'}:{vendor_collections()}"})
    with Router(peer_psks={ENDPOINT: PSK}) as router:
        variables = {"customer_device_tunnels": [result()], "customer_device_secure_logging": False}
        playbooks.run(play(**variables), inventory=inventory(router), verbosity=3)
    assert find_secrets(playbooks.outputs(), [PSK])


def strongswan(folder: Path) -> dict[str, Any]:
    """Variables for a swanctl that writes down how it was called, in folders of its own."""
    swanctl, configuration, settings = folder / "swanctl", folder / "etc", folder / "settings"
    swanctl.write_text(SWANCTL, encoding="ascii")
    swanctl.chmod(0o700)
    (configuration / "conf.d").mkdir(parents=True)
    settings.mkdir()
    return {
        "customer_device_platform": "strongswan",
        "customer_device_tunnels": [result()],
        "customer_device_reauthenticate": "never",
        "customer_device_strongswan_command": str(swanctl),
        "customer_device_strongswan_directory": str(configuration),
        "customer_device_strongswan_settings_directory": str(settings),
        "customer_device_strongswan_uri": "unix:///run/second.vici",
        "customer_device_strongswan_interface": "none",
    }


def calls(folder: Path) -> list[str]:
    """How swanctl was called, each with its folder first."""
    return (folder / "swanctl.calls").read_text(encoding="utf-8").splitlines()


def test_strongswan_is_configured_in_the_folders_and_over_the_socket_that_are_given(run: Run, tmp_path: Path) -> None:
    run(play("main", **strongswan(tmp_path)), inventory=LOCAL).ok()
    (key,) = (tmp_path / "etc" / "conf.d").glob("*.key.conf")
    assert PSK in key.read_text(encoding="utf-8")
    assert (tmp_path / "settings" / "magicwan.conf").exists()
    assert {line.split()[0] for line in calls(tmp_path)} == {str(tmp_path / "etc")}
    assert all(line.endswith("--uri unix:///run/second.vici") for line in calls(tmp_path))


def test_strongswan_gets_a_psk_that_is_not_to_be_proven(run: Run, tmp_path: Path) -> None:
    outcome = run(play(**strongswan(tmp_path)), inventory=LOCAL).ok()
    assert any("--load-creds" in line for line in calls(tmp_path))
    assert results(outcome)[0]["status"] == "unchanged"


def test_a_strongswan_that_does_not_load_the_psk_fails_the_host(run: Run, tmp_path: Path) -> None:
    variables = strongswan(tmp_path)
    (tmp_path / "swanctl").write_text("#!/bin/sh\n", encoding="ascii")
    run(play(**variables), inventory=LOCAL).failed()


@pytest.mark.parametrize("save", [True, False])
def test_vyos_is_told_whether_to_save(run: Run, tmp_path: Path, save: bool) -> None:
    stand_in(tmp_path, "vyos.vyos", "cliconf", "Cliconf", "vyos", "config_commands")
    modules(tmp_path, "vyos.vyos", vyos_command=["commands"], vyos_config=["lines", "save"])
    variables = {"customer_device_platform": "vyos", "customer_device_vyos_save": save}
    given = recorded(run, tmp_path, **variables)
    assert [x["save"] for x in given if x["module"] == "vyos_config"] == [save]


def test_each_module_of_panos_gets_the_provider(run: Run, tmp_path: Path) -> None:
    stand_in(tmp_path, "paloaltonetworks.panos", "httpapi", "HttpApi", "panos", "api_key")
    options = {
        "panos_op": ["provider", "cmd"],
        "panos_config_element": ["provider", "xpath", "element"],
        "panos_commit_firewall": ["provider"],
    }
    modules(tmp_path, "paloaltonetworks.panos", **options)
    provider = {"ip_address": "192.0.2.7", "username": "admin"}
    variables = {"customer_device_platform": "panos", "customer_device_panos_provider": provider}
    given = recorded(run, tmp_path, **variables, customer_device_wan_interface="ethernet1/1")
    assert {x["module"] for x in given} == set(options)
    assert all(x["provider"] == provider for x in given)


def stand_in(folder: Path, collection: str, kind: str, name_of_class: str, name: str, option: str) -> None:
    """The plugin by which the role sees that the vendor's collection is there."""
    path = folder / "ansible_collections" / collection.replace(".", "/") / "plugins" / kind / f"{name}.py"
    path.parent.mkdir(parents=True)
    path.write_text(PLUGIN.format(folder=kind, name=name, option=option, kind=name_of_class), encoding="utf-8")


def modules(folder: Path, collection: str, **options: list[str]) -> None:
    """Modules of a vendor's collection that write down their options."""
    place = folder / "ansible_collections" / collection.replace(".", "/") / "plugins" / "modules"
    place.mkdir(parents=True)
    for name, names in options.items():
        spec = {option: {"type": "raw"} for option in names}
        (place / f"{name}.py").write_text(RECORDER.format(spec=spec, name=name), encoding="utf-8")


def recorded(run: Run, folder: Path, **variables: Any) -> list[dict[str, Any]]:
    """What the stand-ins were given when the role brought a PSK in."""
    record = folder / "record"
    environment = {"ANSIBLE_COLLECTIONS_PATH": f"{VENV / 'collections'}:{folder}", "RECORD": str(record)}
    wanted = {"customer_device_tunnels": [result()], "customer_device_reauthenticate": "never", **variables}
    run(play(**wanted), inventory=LOCAL, env=environment).ok()
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
