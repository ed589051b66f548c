# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a proof of a new PSK on the platforms whose proof is the device's own table of SAs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.harness.playbook import ROOT, Result

from .conftest import result

ROLE = ROOT / "roles" / "customer_device"
Run = Callable[..., Result]
Answer = dict[str, Any]


def cisco_iosxe(age: int) -> Answer:
    lines = f"1  192.0.2.10/4500  203.0.113.1/4500  none/none  READY\n      Life/Active Time: 86400/{age} sec"
    return {"stdout": [lines]}


def junos(age: int) -> Answer:
    cookie = "4c6ab8e5fdae4f4e" if age > 60 else "9b1f6c1de7a9f3c2"
    lines = "IKE peer 203.0.113.1, Index 8190, Gateway Name: cf-fedcba98\n  Role: Initiator, State: UP\n"
    return {"stdout": [f"{lines}  Initiator cookie: {cookie}, Responder cookie: 6a4e5a11fe0b8b2d"]}


def fortios(age: int) -> Answer:
    return {"meta": {"results": [{"name": "cf-fedcba98", "creation_time": age, "proxyid": [{"status": "up"}]}]}}


def vyos(age: int) -> Answer:
    """With another tunnel to the same endpoint, whose SA is new."""

    def block(identity: str, age: int) -> str:
        return (
            "Peer ID / IP                            Local ID / IP\n"
            "------------                            -------------\n"
            f"203.0.113.1 203.0.113.1                 192.0.2.10 {identity}\n\n\n"
            "    State  IKEVer  Encrypt      Hash          D-H Group      NAT-T  A-Time  L-Time\n"
            "    -----  ------  -------      ----          ---------      -----  ------  ------\n"
            f"    up     IKEv2   AES_GCM_16_256 n/a           ECP_384        no     {age:<7} 28000  \n"
        )

    return {"stdout": [block("other.33145236.ipsec.cloudflare.com", 1) + block(result()["ike_ids"]["fqdn"], age)]}


def panos(age: int) -> Answer:
    made = "Nov.24 05:00:12" if age > 60 else "Nov.24 06:10:31"
    entry = f"<entry><gateway>cf-fedcba98</gateway><created>{made}</created><state>Established</state></entry>"
    return {"stdout": "{}", "stdout_xml": f"<response status='success'><result>{entry}</result></response>"}


def nothing(answer: Answer) -> Answer:
    """The same answer of a device that has no SA."""
    return {name: [""] if name == "stdout" else {} if name == "meta" else "" for name in answer}


def ageless(answer: Answer) -> Answer:
    """The same answer of a device that leaves out what tells an SA from another."""
    text = yaml.safe_dump(answer)
    for word in ("Life/Active Time", "Initiator cookie", "creation_time"):
        text = text.replace(word, "something else")
    return dict(yaml.safe_load(text))


@pytest.mark.parametrize("answer", [cisco_iosxe, fortios, junos, panos, vyos])
def test_only_a_new_sa_is_a_proof(run: Run, answer: Callable[[int], Answer], core: str | None) -> None:
    old, new = answer(7200), answer(3)
    cases = {
        "a new one": (old, new),
        "the first one": (nothing(new), new),
        "the old one": (old, old),
        "none": (old, nothing(new)),
        "one of unknown age": (ageless(old), ageless(new)),
    }
    waited = "timeout: no new IKE_AUTH within 60 s; "
    expected = {
        "a new one": (True, ""),
        "the first one": (True, ""),
        "the old one": (False, f"{waited}its SA is older"),
        "none": (False, f"{waited}the device shows no established SA"),
        "one of unknown age": (False, f"{waited}the device does not tell its SA from an older one"),
    }
    if answer in (panos, vyos):  # all that these say has the age in it
        del cases["one of unknown age"], expected["one of unknown age"]
    assert verdicts(run, answer.__name__, cases, core) == expected


def verdicts(
    run: Run, platform: str, cases: dict[str, tuple[Answer, Answer]], core: str | None
) -> dict[str, tuple[bool, str]]:
    """What the role makes of the device's answers before and after the SAs were taken down, with its reason."""
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.include_vars": str(ROLE / "vars" / name)}
        for name in ("main.yml", f"platforms/{platform}.yml")
    ]
    for case, (before, after) in cases.items():
        states = {"__customer_device_before": {"results": [before]}, "__customer_device_state": {"results": [after]}}
        show = {"msg": "{{ __customer_device_verdicts_of_plan }}"}
        tasks.append({"name": case, "ansible.builtin.debug": show, "vars": states})
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    variables = {
        "customer_device_platform": platform,
        "customer_device_tunnels": [result()],
        "__customer_device_plan": [{**result(), "object": "cf-fedcba98", "ike_id": result()["ike_ids"]["fqdn"]}],
        "__customer_device_targets": [{"id": result()["id"]}],
        "__customer_device_written": {"results": [{"changed": True}]},
        "__customer_device_started": "{{ now().timestamp() | int - 5 }}",
    }
    play = [{"hosts": "localhost", "gather_facts": False, "vars": {**defaults, **variables}, "tasks": tasks}]
    outcome = run(play, core=core).ok()
    found = {case: outcome.result(case)["msg"][0] for case in cases}
    return {case: (entry["confirmed"], entry["reason"]) for case, entry in found.items()}
