# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What proves that a device has authenticated with its new PSK, on outputs of real devices with other names in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _device_judgement as judgement
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import (
    Sa,
    Tunnel,
    Unreadable,
    load,
    names,
    outputs_of,
    problem_of,
)
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_proof import Evidence, read, verdict

OUTPUTS = Path(__file__).parent / "device_outputs" / "golden"
ENDPOINT = "203.0.113.1"
A = "aaaa.33145236.ipsec.cloudflare.com"
B = "bbbb.33145236.ipsec.cloudflare.com"
Answer = Mapping[str, Any]


def tunnel(ike_id: str = A, endpoint: str = ENDPOINT, **names_there: str) -> Tunnel:
    return Tunnel(
        id="t1",
        name="site-a",
        status="applied",
        psk="the-psk",
        names={"object": "cf-a", **names_there},
        number=7,
        ike_id_type="fqdn",
        ike_id=ike_id,
        endpoint=endpoint,
    )


def text(name: str) -> Answer:
    return {"stdout": [(OUTPUTS / f"{name}.txt").read_text(encoding="utf-8")]}


def panos(name: str, **changes: str) -> Answer:
    said = (OUTPUTS / f"{name}.txt").read_text(encoding="utf-8")
    for old, new in changes.items():
        said = said.replace(old.replace("_", " "), new)
    return {"stdout": "{}", "stdout_xml": f"<response status='success'><result><![CDATA[{said}]]></result></response>"}


def fortios(*tunnels: Mapping[str, Any]) -> Answer:
    return {"meta": {"http_status": 200, "status": "success", "results": list(tunnels)}}


def entry(name: str, status: str, age: int | None) -> dict[str, Any]:
    return {"name": name, "rgwy": ENDPOINT, "proxyid": [{"p2name": name, "status": status}], "creation_time": age}


def sas(platform: str, answer: Answer, of: Tunnel) -> Sequence[Sa]:
    return read(load(platform), answer, of)


def test_ios_takes_the_sa_with_the_tunnels_own_identity() -> None:
    found = sas("cisco_iosxe", text("cisco_iosxe_two_sas"), tunnel())
    assert [(x.age, x.up, x.identity) for x in found] == [(5226, True, "07ADA888C586B033-54DB9D7359A31ADD")]


def test_ios_clears_by_the_sas_own_number_where_two_go_to_one_address() -> None:
    assert [x.handle for x in sas("cisco_iosxe", text("cisco_iosxe_two_sas"), tunnel(B))] == ["psh 6"]


def test_ios_clears_by_address_where_the_sa_is_the_only_one() -> None:
    only = {"stdout": [text("cisco_iosxe_two_sas")["stdout"][0].split("\nTunnel-id Local", 2)[0]]}
    first = "\nTunnel-id Local" + text("cisco_iosxe_two_sas")["stdout"][0].split("\nTunnel-id Local", 2)[1]
    only = {"stdout": [only["stdout"][0] + first]}
    assert [x.handle for x in sas("cisco_iosxe", only, tunnel())] == [f"remote {ENDPOINT}"]


def test_ios_shows_the_addresses_of_ipv6_on_lines_of_their_own() -> None:
    found = sas("cisco_iosxe", text("cisco_iosxe_ipv6"), tunnel(endpoint="2001:db8:1::1"))
    assert [x.age for x in found] == [41]


def test_junos_takes_the_entries_of_its_gateway_with_their_own_state() -> None:
    found = sas("junos", text("junos_cluster"), tunnel(gateway="cloudflare-a"))
    assert [(x.handle, x.up) for x in found] == [("index 6226807", False), ("index 6226801", True)]


def test_vyos_takes_the_sa_with_the_tunnels_own_identity() -> None:
    assert [x.age for x in sas("vyos", text("vyos_two_peers"), tunnel())] == [8175]


def test_panos_takes_serial_number_and_time_of_the_gateways_ike_sa() -> None:
    found = sas("panos", panos("panos_two_gateways"), tunnel(gateway="CF_WAN_IKE_01"))
    assert [x.identity for x in found] == ["67 Jun.04 21:09:13"]


def test_panos_does_not_take_a_rekeyed_child_for_another_ike_sa() -> None:
    of = tunnel(gateway="CF_WAN_IKE_01")
    before, after = panos("panos_two_gateways"), panos("panos_two_gateways", FCAEE176="0BADF00D")
    said = judged("panos", of, before, after)
    assert said == ("failed", "timeout: no new IKE_AUTH within 60 s; its SA is older")


def test_fortios_takes_the_entry_with_the_tunnels_name() -> None:
    found = sas("fortios", fortios(entry("cf-b", "up", 3), entry("cf-a", "up", 900)), tunnel())
    assert [x.age for x in found] == [900]


def test_fortios_takes_no_other_tunnel_for_one_that_is_down() -> None:
    before = fortios(entry("cf-b", "up", 900), entry("cf-a", "up", 900))
    after = fortios(entry("cf-b", "up", 3), entry("cf-a", "down", None))
    assert judged("fortios", tunnel(), before, after)[0] == "failed"


def judged(platform: str, of: Tunnel, before: Answer, after: Answer, **changes: Any) -> tuple[str, str]:
    """The verdict when the clear was accepted 5 s ago."""
    values = {"started": 1000.0, "read_before": 1000.0, "asked": 1003.0, "now": 1005.0, **changes}
    cleared = values.pop("cleared", {of.id: [{"stdout": [""]}] * 4})
    evidence = Evidence(before=before, after=after, cleared=cleared, **values)
    found = verdict(load(platform), of, evidence, 60)
    return found.status, found.reason


def replaced(name: str, **changes: str) -> Answer:
    """An output with some of its words changed."""
    said = text(name)["stdout"][0]
    for old, new in changes.items():
        said = said.replace(old, new)
    return {"stdout": [said]}


NEW = {
    "cisco_iosxe": (tunnel(), replaced("cisco_iosxe_two_sas", **{"07ADA": "1BEEF", "86400/5226": "86400/4"})),
    "junos": (tunnel(gateway="cloudflare-a"), replaced("junos_cluster", **{"77034": "11111"})),
    "vyos": (tunnel(), replaced("vyos_two_peers", **{"8175 ": "4    "})),
    "panos": (
        tunnel(gateway="CF_WAN_IKE_01"),
        panos("panos_two_gateways", **{"Init_67_": "Init 70 ", "21:09:13": "23:01:02"}),
    ),
    "fortios": (tunnel(), fortios(entry("cf-a", "up", 4))),
}
OLD = {
    "cisco_iosxe": text("cisco_iosxe_two_sas"),
    "junos": text("junos_cluster"),
    "vyos": text("vyos_two_peers"),
    "panos": panos("panos_two_gateways"),
    "fortios": fortios(entry("cf-a", "up", 7200)),
}
TABLES = sorted(NEW)


@pytest.mark.parametrize("platform", TABLES)
def test_a_new_sa_is_a_proof(platform: str) -> None:
    of, after = NEW[platform]
    assert judged(platform, of, OLD[platform], after) == ("confirmed", "")


@pytest.mark.parametrize("platform", TABLES)
def test_the_old_sa_is_none(platform: str) -> None:
    of, _after = NEW[platform]
    assert judged(platform, of, OLD[platform], OLD[platform])[0] == "failed"


@pytest.mark.parametrize("platform", TABLES)
@pytest.mark.parametrize("answer", [{}, {"failed": True, "msg": "no route"}, {"skipped": True}, {"stdout": ["% Busy"]}])
def test_without_a_look_before_there_is_no_proof(platform: str, answer: Answer) -> None:
    of, after = NEW[platform]
    status, reason = judged(platform, of, answer, after)
    assert (status, reason.split(":")[0]) == (
        "failed",
        "the device's SAs could not be read before the authentication was forced",
    )


@pytest.mark.parametrize("platform", TABLES)
@pytest.mark.parametrize("answer", [{"failed": True, "msg": "not permitted"}, {"skipped": True}, {}])
def test_a_refused_clear_is_no_proof(platform: str, answer: Answer) -> None:
    of, after = NEW[platform]
    status, reason = judged(platform, of, OLD[platform], after, cleared={of.id: [answer] * 4})
    assert (status, reason.split(":")[0]) == ("failed", "the device did not clear its SA")


@pytest.mark.parametrize("platform", TABLES)
def test_an_sa_that_nobody_cleared_is_no_proof(platform: str) -> None:
    of, after = NEW[platform]
    assert judged(platform, of, OLD[platform], after, cleared={}) == ("failed", "its SA was not cleared")


@pytest.mark.parametrize("platform", ["cisco_iosxe", "junos"])
def test_a_clear_that_prints_a_refusal_is_refused(platform: str) -> None:
    of, after = NEW[platform]
    said = {"stdout": ["% Command rejected: not now" if platform == "cisco_iosxe" else "error: not now"]}
    assert judged(platform, of, OLD[platform], after, cleared={of.id: [said] * 4})[1].endswith("not now")


@pytest.mark.parametrize("platform", ["fortios", "vyos"])
def test_an_age_that_the_old_sa_may_have_is_no_proof(platform: str) -> None:
    """The old SA was two seconds old before: three seconds later it is five."""
    of = tunnel()
    young = {
        "fortios": lambda age: fortios(entry("cf-a", "up", age)),
        "vyos": lambda age: {"stdout": [text("vyos_two_peers")["stdout"][0].replace("8175 ", f"{age:<5}")]},
    }[platform]
    assert judged(platform, of, young(2), young(5))[0] == "failed"
    assert judged(platform, of, young(22), young(4))[0] == "confirmed"


def test_an_sa_that_is_older_than_the_clear_is_none() -> None:
    assert judged("fortios", tunnel(), fortios(), fortios(entry("cf-a", "up", 6)))[0] == "failed"


def test_a_young_sa_known_by_its_age_alone_is_given_time() -> None:
    platform = load("fortios")
    assert judgement.pause(platform, [tunnel()], fortios(entry("cf-a", "up", 3))) == 17
    assert judgement.pause(platform, [tunnel()], fortios(entry("cf-a", "up", 300))) == 0


def test_an_sa_without_age_and_identity_is_never_new() -> None:
    status, reason = judged("fortios", tunnel(), fortios(), fortios(entry("cf-a", "up", None)))
    assert status == "failed"
    assert reason.endswith("the device does not distinguish its SA from an older one")


@pytest.mark.parametrize("platform", ["cisco_iosxe", "junos", "vyos", "panos"])
def test_a_table_of_another_form_is_unreadable(platform: str) -> None:
    answer = {"stdout": ["something else"], "stdout_xml": "<response status='success'><result>x</result></response>"}
    with pytest.raises(Unreadable):
        sas(platform, answer, tunnel(gateway="g"))


def test_what_a_failed_command_prints_is_no_answer() -> None:
    assert problem_of({"changed": True, "rc": 1, "stdout": "", "stderr": "no such file"}) == "no such file"


def test_every_platform_loads() -> None:
    assert all(load(x).title for x in names())


def test_how_a_terminal_ends_lines_does_not_matter() -> None:
    assert outputs_of({"rc": 0, "stdout": "writable yes\r\n== /a\r\nb\r\n"}, 1) == ["writable yes\n== /a\nb\n"]
