# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The afternoon of somebody with 60 sites, Terraform, and an account in use, by the commands of the first day's guide.

Of the guide's files, the inventory is replaced by one of 60 sites, and the device can be made to refuse a new PSK.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.docs.reader import Reader, shell_of
from tests.docs.snippets import ROOT, Snippet, snippets
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator

GUIDE = ROOT / "docs" / "docsite" / "rst" / "guide_first_day.rst"
SITES = ("berlin", "hamburg", *(f"site{n:02}" for n in range(3, 61)))
# Six sites have two tunnels, all others one.
TUNNELS = [f"{site}-{number}" for n, site in enumerate(SITES) for number in ((1, 2) if n < 6 else (1,))]
SINCE = "2025-11-03T09:00:00Z"
REFUSING = """
- name: Refuse a new PSK as long as the site is broken
  ansible.builtin.command: test ! -e ~/broken
  changed_when: false
  when: psk_rotation_wave_results | map(attribute='status') | first != 'rolling_back'
"""


class Afternoon(Reader):
    """A reader of the guide, who can name its commands by a word in them."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        super().__init__(folder, env)
        self._blocks = [x for x in snippets(GUIDE) if x.action in ("run", "shown", "file")]

    def file(self, name: str) -> Snippet:
        """The guide's file of this name."""
        return next(x for x in self._blocks if x.action == "file" and x.argument == name)

    def do(self, word: str, rc: int = 0) -> str:
        """Run the guide's first commands with this word in them."""
        return self.run(next(x.text for x in self._blocks if x.action != "file" and word in x.text), rc)

    def escrow(self) -> dict[str, Any]:
        """The records of the escrow by tunnel id."""
        home = Path(self.env["HOME"])
        vault = VaultLib([("default", VaultSecret((home / ".vault-password").read_bytes().strip()))])
        text = vault.decrypt((home / "magicwan" / "psks.yml").read_bytes())
        return dict(yaml.load(text, yaml.CSafeLoader)["tunnels"])

    def device(self, site: str) -> dict[str, str]:
        """The PSKs that a site's device has, by the names of its tunnels."""
        found: dict[str, str] = json.loads((Path(self.env["HOME"]) / f"{site}.json").read_text(encoding="utf-8"))
        return found


def state_of(tunnels: list[dict[str, Any]]) -> str:
    """What Terraform shows of these tunnels: each site a module."""
    modules: dict[str, list[dict[str, Any]]] = {}
    for x in tunnels:
        site, number = x["name"].split("-")
        address = f'module.site["{site}"].cloudflare_magic_wan_ipsec_tunnel.tunnel[{int(number) - 1}]'
        values = {key: x[key] for key in ("id", "name", "psk", "psk_metadata")}
        resource = {"address": address, "mode": "managed", "type": "cloudflare_magic_wan_ipsec_tunnel"}
        modules.setdefault(site, []).append({**resource, "values": values})
    children = [{"address": f'module.site["{site}"]', "resources": own} for site, own in modules.items()]
    return json.dumps({"format_version": "1.0", "values": {"root_module": {"child_modules": children}}})


@pytest.fixture
def reader(simulator: Simulator, tmp_path: Path) -> Afternoon:
    """Somebody at the beginning: an account with 60 sites, Terraform on the PATH, and an empty folder."""
    # Every tunnel of an account in use has a PSK.
    for name, tunnel in zip(TUNNELS, simulator.state()["tunnels"], strict=True):
        psk = tunnel["psk"] or f"the-Psk-of-{name}-by-Terraform"
        simulator.patch_tunnel(tunnel["id"], name=name, psk=psk, last_generated_on=SINCE)
    env = shell_of(simulator, tmp_path / "home")
    state = tmp_path / "terraform.tfstate.json"
    state.write_text(state_of(simulator.state()["tunnels"]), encoding="utf-8")
    state.chmod(0o600)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "terraform").write_text(f'#!/bin/sh\n[ "$*" = "show -json" ] && cat {state}\n', encoding="utf-8")
    (programs / "terraform").chmod(0o755)
    env["PATH"] = f"{programs}:{env['PATH']}"
    return Afternoon(tmp_path / "work", env)


@pytest.mark.fleet(tunnels=66, seed=7)
def test_an_afternoon_from_terraform_to_a_rotated_account(reader: Afternoon, simulator: Simulator) -> None:
    known = {x["name"]: x["psk"] for x in simulator.state()["tunnels"]}
    ids = {x["name"]: x["id"] for x in simulator.state()["tunnels"]}
    secrets = {*known.values(), simulator.token}

    # Before you begin
    reader.take(reader.file("group_vars/all.yml"))
    reader.do("~/.vault-password")
    hosts: dict[str, Any] = yaml.safe_load(reader.file("hosts.yml").text)
    hosts["routers"]["hosts"] = {site: {"psk_rotation_tunnels": [f"{site}-*"]} for site in SITES}
    reader.write("hosts.yml", yaml.safe_dump(hosts))
    reader.write("device.yml", REFUSING + reader.file("device.yml").text)

    # Export: a second one changes nothing, and neither does the file when it is given back
    assert "66 tunnels are in" in reader.do("export_tunnels")
    assert "changed=0" in reader.do("export_tunnels")
    reader.take(reader.file("tunnels-as-code.yml"))
    reader.do("tunnels-as-code.yml")

    # Adopt
    assert "PSKs: 66 adopted, 0 known already" in reader.do("terraform show -json")
    assert {x["name"]: x["current"]["psk"] for x in reader.escrow().values()} == known
    assert not (reader.folder / "state.json").exists()

    # Check
    reader.do("--check --vault-password-file")
    planned = json.loads((reader.folder / "plan.json").read_text(encoding="utf-8"))
    assert len(planned["tunnels"]) == 66
    assert sorted(planned["unproven_way_back"]) == sorted(known)
    assert simulator.writes() == 0

    # One canary, whose device refuses the new PSK: Cloudflare, device and escrow have the adopted one again
    broken = Path(reader.env["HOME"]) / "broken"
    broken.touch()
    told = reader.do("rotate_psks --limit berlin", rc=2)
    secrets.update(simulator.psks())
    assert "berlin-1 rolled_back" in told
    assert "the PSK before, which is set again, was never seen to work" in told
    assert {x["name"]: x["psk"] for x in simulator.state()["tunnels"]} == known
    assert reader.device("berlin")["berlin-1"] == known["berlin-1"]
    assert reader.escrow()[ids["berlin-1"]]["current"]["psk"] == known["berlin-1"]

    # The canary again, and the rest
    broken.unlink()
    reader.do("rotate_psks --limit berlin")
    secrets.update(simulator.psks())
    reader.do("rotate_psks --vault-password-file")
    new = {x["name"]: x["psk"] for x in simulator.state()["tunnels"]}
    secrets.update(new.values())
    assert not set(new.values()) & set(known.values())
    assert {name: psk for site in SITES for name, psk in reader.device(site).items()} == new
    assert {x["name"]: x["current"]["psk"] for x in reader.escrow().values()} == new
    assert {x["name"]: x["previous"]["psk"] for x in reader.escrow().values()} == known

    # Audit
    assert "66 tunnels" in reader.do("audit_psks")

    assert not find_secrets(reader.outputs, sorted(secrets))
    folders = [x.read_text(encoding="utf-8") for x in reader.folder.rglob("*") if x.is_file()]
    assert not find_secrets(folders, sorted(secrets))
