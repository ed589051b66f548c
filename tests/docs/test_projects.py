# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example projects: each is copied as a user would, and the commands of its README are run in it.

Only the devices are other ones: stand-ins on this machine, by host_vars beside the inventory.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._names import unknown

from tests.awx_stand_in.app import AwxStandIn
from tests.awx_stand_in.jobs import World
from tests.docs.reader import Reader, shell_of
from tests.docs.snippets import ROOT, snippets
from tests.harness.openbao import OpenBao
from tests.harness.playbook import Playbooks
from tests.harness.runner import PROJECT
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator
from tests.integration.awx.story import Story
from tests.integration.customer_device.strongswan_device import SWANCTL, StrongSwan

EXAMPLES = ROOT / "examples"
NAMES = ("berlin-1", "berlin-2", "hamburg-1", "hamburg-2")
PSKS = {x: f"the-Psk-of-{x}-in-the-table" for x in NAMES}
SITES = {"berlin": NAMES[:2], "hamburg": NAMES[2:]}
# What strongSwan's program ipsec says.
IPSEC = """#!/bin/sh
[ "$1" = up ] && echo "connection '$2' established successfully"
exit 0
"""

pytestmark = pytest.mark.fleet(tunnels=4, seed=7)


@pytest.fixture
def account(simulator: Simulator) -> Simulator:
    """Two sites with two tunnels each, whose PSKs are known and old."""
    for tunnel, name in zip(simulator.state()["tunnels"], NAMES, strict=True):
        simulator.patch_tunnel(tunnel["id"], name=name, psk=PSKS[name], last_generated_on="2025-11-03T09:00:00Z")
    return simulator


def reader_of(name: str, account: Simulator, folder: Path) -> Reader:
    """Somebody with a copy of an example, a table of the known PSKs, and the example's own configuration."""
    env = shell_of(account, folder / "home")
    del env["ANSIBLE_CONFIG"]
    reader = Reader(folder / "work", env)
    shutil.copytree(EXAMPLES / name, reader.folder, dirs_exist_ok=True)
    table = folder / "home" / "magicwan" / "known.csv"
    table.parent.mkdir()
    table.write_text("tunnel,psk\n" + "".join(f"{x},{psk}\n" for x, psk in PSKS.items()), encoding="utf-8")
    table.chmod(0o600)
    return reader


def read(reader: Reader, account: Simulator) -> None:
    """Do what the README says; afterwards every PSK is a new one, and none was shown."""
    secrets = set(account.psks())
    for snippet in snippets(reader.folder / "README.md"):
        reader.take(snippet)
        secrets |= set(account.psks())
    assert not set(account.psks()) & set(PSKS.values())
    assert not find_secrets(reader.outputs, sorted({*secrets, account.token}))
    left = [x.read_text(encoding="utf-8") for x in reader.folder.rglob("*") if x.is_file()]
    assert not find_secrets(left, sorted(secrets))


def be_local(reader: Reader, host: str, **variables: Any) -> None:
    """Has a host of the example be this machine."""
    reader.write(f"host_vars/{host}.yml", yaml.safe_dump({"ansible_connection": "local", **variables}))


def test_localhost(account: Simulator, tmp_path: Path) -> None:
    reader = reader_of("localhost", account, tmp_path)
    read(reader, account)
    assert "PSKs: 4 adopted" in reader.outputs[0]


def test_devices_with_a_file_as_the_escrow(account: Simulator, tmp_path: Path) -> None:
    reader = reader_of("devices-file-escrow", account, tmp_path)
    tunnels = account.tunnels_by_name()
    for host, own in SITES.items():
        device = StrongSwan(tmp_path / host)
        conns = device.directory / "conns"
        script = re.sub(
            r"--list-conns\)\n.*?;;", f"--list-conns) cat {shlex.quote(str(conns))} ;;", SWANCTL, flags=re.S
        )
        device.command.write_text(script, encoding="utf-8")
        text = ""
        for name in own:
            made, endpoint = f"cf-{tunnels[name]['id'][:8]}", tunnels[name]["cloudflare_endpoint"]
            text += f"{made}: IKEv2\n  local:  %any\n  remote: {endpoint}\n  {made}: TUNNEL\n"
            secret = f'secrets {{\n  ike-{made} {{\n    secret = "{PSKS[name]}"\n  }}\n}}\n'
            (device.directory / "conf.d" / f"{made}.key.conf").write_text(secret, encoding="utf-8")
        conns.write_text(text, encoding="utf-8")
        be_local(
            reader,
            host,
            customer_device_strongswan_command=str(device.command),
            customer_device_strongswan_directory=str(device.directory),
            customer_device_strongswan_interface="none",
        )
    read(reader, account)
    assert "PSKs: 4 adopted, 0 known already, 4 were seen in the device" in reader.outputs[0]
    for name, tunnel in account.tunnels_by_name().items():
        path = tmp_path / name.split("-")[0] / "swanctl" / "conf.d" / f"cf-{tunnel['id'][:8]}.key.conf"
        assert tunnel["psk"] in path.read_text(encoding="utf-8")


@pytest.fixture
def openbao() -> Iterator[OpenBao]:
    with OpenBao() as server:
        yield server


def test_devices_with_vault_as_the_escrow(account: Simulator, openbao: OpenBao, tmp_path: Path) -> None:
    reader = reader_of("devices-vault", account, tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ipsec").write_text(IPSEC, encoding="utf-8")
    (programs / "ipsec").chmod(0o755)
    reader.env.update(PATH=f"{programs}:{reader.env['PATH']}", VAULT_ADDR=openbao.url, VAULT_TOKEN=openbao.token)
    for host, own in SITES.items():
        path = tmp_path / f"{host}.secrets"
        path.write_text("".join(f'{x} : PSK "{PSKS[x]}"\n' for x in own), encoding="utf-8")
        be_local(reader, host, router_secrets=str(path))
    read(reader, account)
    assert "PSKs: 4 adopted, 0 known already, 4 were seen in the device" in reader.outputs[0]
    for name, tunnel in account.tunnels_by_name().items():
        text = (tmp_path / f"{name.split('-')[0]}.secrets").read_text(encoding="utf-8")
        assert f'.ipsec.cloudflare.com : PSK "{tunnel["psk"]}"' in text
    assert openbao.token not in "".join(reader.outputs)


def test_awx(tmp_path: Path) -> None:
    told = yaml.safe_load((EXAMPLES / "awx" / "awx.yml").read_text(encoding="utf-8"))
    objects = re.findall(r"^(\w+):", (PROJECT / "controller_objects.yml").read_text(encoding="utf-8"), re.MULTILINE)
    required = {"magicwan_awx_project_url", "magicwan_awx_image"}
    assert required < set(told) <= {*objects, *required}
    assert not unknown(told["magicwan_awx_extra_vars"])
    with AwxStandIn(World(projects={told["magicwan_awx_project_url"]: PROJECT})) as awx:
        playbooks = Playbooks(tmp_path)
        Story(awx, playbooks).load(**told)
        playbooks.close()
        rotate = awx.all("job_templates")["Magic WAN - rotate"]
        assert "psk_rotation_canary" in str(rotate["extra_vars"])


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted(EXAMPLES.rglob("*.yml")), *sorted(EXAMPLES.rglob("*.md"))]
)
def test_no_psk_is_in_an_example(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"""psk["']?\s*[:=]\s*["']?[A-Za-z0-9]{12,}""", text)


OUTSIDE = re.compile(r"""["']?(~|/srv|/var/lib|{{ lookup\('ansible.builtin.env', 'HOME'\) }})/""")
ESCROW_PATH = re.compile(r"backend: file\n\s+path: (.*)")
WITH_ESCROW = [
    x
    for x in [
        ROOT / "README.md",
        *ROOT.glob("docs/docsite/rst/*.rst"),
        *EXAMPLES.rglob("*.yml"),
        *ROOT.glob("roles/*/README.md"),
        *ROOT.glob("plugins/**/*.py"),
    ]
    if ESCROW_PATH.search(x.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("path", WITH_ESCROW, ids=lambda x: x.name)
def test_the_escrow_of_each_example_is_outside_of_playbooks_and_collections(path: Path) -> None:
    places = ESCROW_PATH.findall(path.read_text(encoding="utf-8"))
    assert places and all(OUTSIDE.match(x) for x in places), places
