# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role does to the files of strongSwan by ipsec.conf and of Libreswan: a stand-in answers for the daemon."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.devices.device import Wanted
from tests.devices.ipsec import Ipsec, Libreswan, StrongSwan
from tests.devices.model import Ike
from tests.harness.playbook import ROOT, Result
from tests.harness.secrets_scan import find_secrets

from .conftest import PSK, play, result

LOCAL = "d ansible_connection=local"
OLD = "old-psk-of-the-device-0123456789"
IDENTITY = str(result()["ike_ids"]["fqdn"])
Run = Callable[..., Result]


@pytest.fixture(params=[StrongSwan, Libreswan], ids=["strongswan_stroke", "libreswan"])
def device(request: pytest.FixtureRequest) -> Iterator[Ipsec]:
    """A device with the tunnel, and the file in which its secret stands."""
    made: Ipsec = request.param(Ike({IDENTITY: PSK}))
    tunnel = Wanted(result()["id"], "cf-fedcba98", "cf-fedcba98", result()["cloudflare_endpoint"], IDENTITY, OLD)
    with made:
        made.configure(tunnel)
        made.know(tunnel, 7200)
        yield made


def bring(device: Ipsec, entry: str = "psk", **changes: Any) -> list[dict[str, Any]]:
    """A play on the device."""
    variables = {**device.variables(), "customer_device_tunnels": [result()], "customer_device_timeout": 20, **changes}
    return play(entry, **{k: v for k, v in variables.items() if not k.startswith("ansible_")})


def inventory(device: Ipsec) -> dict[str, Any]:
    ansible = {k: v for k, v in device.variables().items() if k.startswith("ansible_")}
    return {"all": {"hosts": {"d": ansible}}}


def secret_file(device: Ipsec) -> Path:
    return device.etc / "ipsec.d" / "cf-fedcba98.secrets"


def test_a_secret_in_ipsec_secrets_itself_is_replaced_there(run: Run, device: Ipsec) -> None:
    secret_file(device).unlink()
    main = device.etc / "ipsec.secrets"
    others = ["include ipsec.d/*.secrets", '@else.example 203.0.113.1 : PSK "another-psk"']
    main.write_text("\n".join([others[0], f'@{IDENTITY} 203.0.113.1 : PSK "{OLD}"', others[1], ""]), encoding="utf-8")
    main.chmod(0o600)
    options = {"branch-1-a": {"secret": "ipsec.secrets"}}
    outcome = run(bring(device, customer_device_tunnel_options=options), inventory=inventory(device)).ok()
    assert outcome.result("Show")["msg"][0]["status"] == "confirmed"
    wanted = [others[0], f'@{IDENTITY} 203.0.113.1 : PSK "{PSK}"', others[1]]
    assert main.read_text(encoding="utf-8").splitlines() == wanted
    assert main.stat().st_mode & 0o777 == 0o600
    assert not secret_file(device).exists()


def test_no_file_that_is_handed_over_has_the_psk(run: Run, device: Ipsec, tmp_path: Path) -> None:
    (tmp_path / "put").mkdir()
    run(bring(device), inventory=inventory(device), env={"HARNESS_FILES": str(tmp_path / "put")}).ok()
    handed_over = list((tmp_path / "put").iterdir())
    assert handed_over
    assert not find_secrets(handed_over, [PSK])


def test_another_secret_is_named_before_anything_is_set(run: Run, device: Ipsec) -> None:
    (device.etc / "ipsec.d" / "by-hand.secrets").write_text(f'@{IDENTITY} : PSK "another"\n', encoding="utf-8")
    before = device.running()
    outcome = run(bring(device), inventory=inventory(device)).failed()
    assert "by-hand.secrets has a secret for the same identity" in outcome.output
    assert device.running() == before


def test_never_gives_the_daemon_the_psk_and_leaves_the_tunnel_as_it_is(run: Run, device: Ipsec) -> None:
    outcome = run(bring(device, customer_device_reauthenticate="never"), inventory=inventory(device)).ok()
    assert outcome.result("Show")["msg"][0]["status"] == "unchanged"
    assert device.secrets[IDENTITY] == PSK
    assert not device.ike.cleared
    assert secret_file(device).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("kind", "verb", "wanted"),
    [
        ("vti", "up-client", ["tunnel add cf-a mode vti local 192.0.2.10 remote 203.0.113.1 key 7"]),
        ("vti", "down-client", []),
        ("ipsec", "up-client", []),
    ],
)
def test_the_updown_script_makes_the_interface(tmp_path: Path, kind: str, verb: str, wanted: list[str]) -> None:
    calls = tmp_path / "calls"
    for name in ("ip", "ipsec"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$@" >> {calls}.{name}\n[ "$1 $2" != "link show" ]\n', encoding="utf-8")
        program.chmod(0o700)
    script = (ROOT / "roles" / "customer_device" / "files" / "updown_ipsec.sh").read_text(encoding="utf-8")
    own = tmp_path / "updown"
    own.write_text(script.replace("/proc/sys", f"{tmp_path}/sys"), encoding="utf-8")
    for setting in ("all", "cf-a"):
        (tmp_path / "sys" / "net" / "ipv4" / "conf" / setting).mkdir(parents=True)
    peers = {"PLUTO_VERB": verb, "PLUTO_ME": "192.0.2.10", "PLUTO_PEER": "203.0.113.1"}
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **peers}
    subprocess.run(["sh", str(own), kind, "cf-a", "7", "1450", "10.64.0.1/31"], env=environment, check=True)
    said = Path(f"{calls}.ip").read_text(encoding="utf-8").splitlines() if Path(f"{calls}.ip").exists() else []
    assert [x for x in said if x.startswith("tunnel ")] == wanted
    assert ("address replace 10.64.0.1/31 dev cf-a" in said) == verb.startswith("up")
    assert Path(f"{calls}.ipsec").exists() == (kind == "ipsec")
