# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cases of the API on which 1.0.0 failed, each by its number, as a user of the modules meets them.

A19, that examples work, is in tests/docs/test_examples.py; A20, templates in the inventory's options, in
tests/integration/inventory. Whatever else has to be said of each kind is said where the code is tested.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.filter.ipsec_tunnel_options import ipsec_tunnel_options

from tests.harness.authority import Authority, make_authority
from tests.harness.between import Between, Reply, Rule
from tests.harness.module import run_module
from tests.harness.simulator import Simulator
from tests.unit.plugins.module_utils.conftest import Say, Wire

pytestmark = pytest.mark.fleet(tunnels=6)

Tunnel = dict[str, Any]
Run = Callable[..., dict[str, Any]]
Make = Callable[..., Simulator]

FQDN = "branch.33145236.custom.ipsec.cloudflare.com"
NEW: Tunnel = {
    "name": "a new one",
    "description": "a text",
    "cloudflare_endpoint": "203.0.113.1",
    "customer_endpoint": "198.51.100.77",
    "interface_address": "10.99.0.0/31",
    "interface_address6": "2606:54c1:7:0:a9fe:12d2:f:0/127",
    "bgp": {"customer_asn": 65001, "md5_key": "a key", "extra_prefixes": ["10.1.0.0/24"]},
    "custom_remote_identities": {"fqdn_id": FQDN},
    "health_check": {"direction": "unidirectional", "target": "192.0.2.1"},
}
BARE = {key: NEW[key] for key in ("name", "cloudflare_endpoint", "interface_address")}
LIST = "/magic/ipsec_tunnels"
SLEEP = time.sleep


@pytest.fixture
def run(simulator: Simulator) -> Run:
    """Runs a module against the simulator, or against what stands before it."""

    def module(name: str, options: Tunnel, *, at: Any = simulator, check: bool = False, **env: str) -> dict[str, Any]:
        return run_module(name, options, {**simulator.env(), "CLOUDFLARE_BASE_URL": at.base_url, **env}, check=check)

    return module


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that a module wanted to make; it makes none."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def fleet(run: Run, *tunnels: Tunnel, **options: Any) -> dict[str, Any]:
    return run("ipsec_tunnels", {"tunnels": list(tunnels), **options})


def said(*replies: Reply, where: str = LIST) -> Rule:
    """Answers one request to this path after the other by these; then all pass."""
    left = list(replies)
    return lambda method, path: left.pop(0) if left and path.partition("?")[0].endswith(where) else None


def envelope(code: int | None = None, result: Any = None, **more: Any) -> bytes:
    errors = [] if code is None else [{"code": code, "message": "simulated"}]
    return json.dumps({"success": code is None, "errors": errors, "messages": [], "result": result, **more}).encode()


# -- what answers leave out -------------------------------------------------------------------------------------------


def test_a1_identities_that_the_answer_to_a_write_leaves_empty_are_in_the_result(
    run: Run, simulator: Simulator
) -> None:
    made = run("ipsec_tunnel", BARE)["ipsec_tunnel"]
    changed = run("ipsec_tunnel", {**BARE, "description": "changed"})["ipsec_tunnel"]
    truth = simulator.tunnels_by_name()[BARE["name"]]["remote_identities"]
    assert made["remote_identities"] == changed["remote_identities"] == truth


@pytest.mark.parametrize(
    "empty",
    [
        {"bgp": {}},
        {"custom_remote_identities": {}},
        {"customer_endpoint": ""},
        {"interface_address6": ""},
        {"bgp": {"md5_key": ""}},
        {"custom_remote_identities": {"fqdn_id": ""}},
    ],
    ids=str,
)
def test_a2_every_optional_field_can_be_removed(run: Run, simulator: Simulator, empty: Tunnel) -> None:
    run("ipsec_tunnel", NEW)
    assert run("ipsec_tunnel", {"name": NEW["name"], **empty})["changed"] is True
    shown = simulator.tunnels_by_name()[NEW["name"]]
    ((field, value),) = empty.items()
    assert not (shown.get(field, {}).get("md5_key") if value == {"md5_key": ""} else shown.get(field))
    assert run("ipsec_tunnel", {"name": NEW["name"], **empty})["changed"] is False


@pytest.mark.parametrize("account", ["number", "id"])
def test_a3_a_custom_identity_may_hold_either_name_of_the_account(run: Run, simulator: Simulator, account: str) -> None:
    number = simulator.state()["tunnels"][0]["remote_identities"]["fqdn_id"].split(".")[1]
    fqdn = f"branch.{number if account == 'number' else simulator.account}.custom.ipsec.cloudflare.com"
    done = run("ipsec_tunnel", {**BARE, "custom_remote_identities": {"fqdn_id": fqdn}})
    assert done["ipsec_tunnel"]["custom_remote_identities"] == {"fqdn_id": fqdn}


def test_a4_a_psk_that_would_not_be_sent_is_not_judged(run: Run, simulator: Simulator) -> None:
    names = [x["name"] for x in simulator.state()["tunnels"]]
    done = fleet(run, *({"name": name, "psk": "short"} for name in names), update_psk="on_create")
    assert "failed" not in done and done["changed"] is False
    assert "20 to 64" in fleet(run, {"name": names[0], "psk": "short"}, update_psk="always")["msg"]


# -- what is waited for, and what is asked again ----------------------------------------------------------------------


@pytest.mark.parametrize("reply", [Reply(429, envelope(971)), Reply(429), Reply(400, envelope(971))], ids=str)
def test_a5_too_many_requests_without_a_time_pause_as_long_as_the_block(
    run: Run, simulator: Simulator, pauses: list[float], reply: Reply
) -> None:
    with Between(simulator, said(reply)) as between:
        assert len(run("ipsec_tunnel_info", {}, at=between)["ipsec_tunnels"]) == 6
    assert [x for x in pauses if x > 10] == [300]


def test_a6_an_update_that_is_answered_by_modified_alone_is_read_once(make_simulator: Make) -> None:
    simulator = make_simulator(6, args=["--assume", "put_answer=modified"])
    name = simulator.state()["tunnels"][0]["name"]
    done = run_module("ipsec_tunnel", {"name": name, "description": "changed"}, simulator.env())
    assert (done["changed"], done["ipsec_tunnel"]["description"]) == (True, "changed")
    assert [x["operation"] for x in simulator.journal()] == ["list", "update", "get"]


@pytest.mark.parametrize(
    ("unknown", "failed", "kept"),
    [("none", False, None), ("writable", False, "gold"), ("refused", False, "gold"), ("refused_and_reset", True, None)],
)
def test_a7_fields_that_the_schema_does_not_know_do_not_keep_a_tunnel_from_its_update(
    make_simulator: Make, capsys: pytest.CaptureFixture[str], unknown: str, failed: bool, kept: str | None
) -> None:
    args = ["--assume", f"unknown_fields={unknown}", "--assume", "read_only_extras=true"]
    simulator = make_simulator(6, args=args)
    tunnel = next(x for x in simulator.state()["tunnels"] if x.get("bgp"))
    done = run_module("ipsec_tunnel", {"id": tunnel["id"], "description": "changed"}, simulator.env())
    after = simulator.tunnels_by_name()[tunnel["name"]]
    assert after["description"] == "changed" and done.get("failed", False) is failed
    assert failed or after.get("traffic_class") == kept
    warned = f"{done.get('warnings')} {capsys.readouterr().err}"
    assert unknown != "refused" or "Cloudflare shows /traffic_class of" in warned
    assert ("traffic_class" in done["msg"]) is failed


@pytest.mark.parametrize(("header", "pause"), [("1.5", 1.5), ("abc", 300), ("-5", 300), ("30", 30)])
def test_a8_retry_after_may_be_broken_seconds_and_nonsense_counts_as_absent(
    run: Run, simulator: Simulator, pauses: list[float], header: str, pause: float
) -> None:
    with Between(simulator, said(Reply(429, envelope(971), {"Retry-After": header}))) as between:
        assert len(run("ipsec_tunnel_info", {}, at=between)["ipsec_tunnels"]) == 6
    assert pauses == [pause]


@pytest.mark.parametrize("status", [409, 526, 529, 599])
def test_a9_what_may_pass_is_asked_again_where_that_is_safe(run: Run, simulator: Simulator, status: int) -> None:
    page = Reply(status, b"<html>", {"Content-Type": "text/html"})
    with Between(simulator, said(page)) as between:
        assert len(run("ipsec_tunnel_info", {}, at=between)["ipsec_tunnels"]) == 6
    with Between(simulator, lambda method, path: page if method == "POST" else None) as between:
        assert run("ipsec_tunnel", BARE, at=between)["failed"] is True
        assert [method for method, _path in between.heard].count("POST") == 1


def page_of(tunnels: list[Tunnel], **info: Any) -> Reply:
    return Reply(
        200, envelope(result={"ipsec_tunnels": tunnels}, result_info=info), {"Content-Type": "application/json"}
    )


@pytest.mark.parametrize(
    "info", [{"total_count": 6}, {"cursors": {"after": "x"}}, {"page": 1, "per_page": 4, "count": 4}], ids=str
)
def test_a10_a_list_in_pages_is_read_to_its_end(run: Run, simulator: Simulator, info: Tunnel) -> None:
    tunnels = simulator.state()["tunnels"]
    with Between(simulator, said(page_of(tunnels[:4], **info), page_of(tunnels[4:]))) as between:
        assert len(run("ipsec_tunnel_info", {}, at=between)["ipsec_tunnels"]) == 6


def test_a10_fewer_tunnels_than_the_list_says_are_an_error(run: Run, simulator: Simulator) -> None:
    tunnels = simulator.state()["tunnels"]
    rule = said(page_of(tunnels[:4], total_count=6), page_of([], total_count=6))
    with Between(simulator, rule) as between:
        assert "holds 4 of 6 tunnels" in run("ipsec_tunnel_info", {}, at=between)["msg"]


# -- what is in between -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"), "api.example.test")


@pytest.fixture
def no_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_bundles")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "ca_path"])
def test_a11_a_ca_of_the_system_of_requests_or_of_the_user_is_trusted(
    run: Run, simulator: Simulator, authority: Authority, variable: str
) -> None:
    found = {variable: str(authority.ca)}
    options, env = (found, {}) if variable == "ca_path" else ({}, found)
    with Between(simulator, certificate=authority.server) as between:
        assert len(run("ipsec_tunnel_info", options, at=between, **env)["ipsec_tunnels"]) == 6


@pytest.mark.usefixtures("no_bundles")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "ca_path"])
def test_a11_a_bundle_that_is_none_is_named(
    run: Run, simulator: Simulator, authority: Authority, variable: str, tmp_path: Path
) -> None:
    (tmp_path / "bundle").write_text("no certificate\n", encoding="utf-8")
    found = {variable: str(tmp_path / "bundle")}
    options, env = (found, {}) if variable == "ca_path" else ({}, found)
    with Between(simulator, certificate=authority.server) as between:
        told = run("ipsec_tunnel_info", options, at=between, **env)["msg"]
    assert told == f"{variable} '{tmp_path}/bundle': it can't be read as certificates in PEM format"


@pytest.mark.parametrize(
    ("reply", "code", "hint"),
    [
        (Reply(403, b"<html>error code: 1010"), 1010, "allow the User-Agent magicwan.cloudflare"),
        (Reply(429, b"<html>error code: 1015"), 1015, "sent too many requests"),
        (Reply(403, b"<html>error code: 1020"), 1020, "a firewall rule blocks the request"),
        (Reply(403, envelope(9109)), 9109, "check its client IP address filter"),
    ],
    ids=["1010", "1015", "1020", "9109"],
)
def test_a12_a_refusal_is_told_by_its_code_with_the_hint_for_it(
    run: Run, simulator: Simulator, reply: Reply, code: int, hint: str
) -> None:
    with Between(simulator, lambda method, path: reply) as between:
        told = run("ipsec_tunnel_info", {"retries": 0}, at=between)
    assert told["failure"]["code"] == code and f"code {code}" in told["msg"]
    assert hint in told["msg"] and "permission" not in told["msg"] and "\n" not in told["msg"]


def test_a13_an_account_without_the_bulk_endpoint_is_told_so(run: Run, simulator: Simulator) -> None:
    simulator.arm({"route": "psk_set", "status": 404, "code": 7003})
    name = simulator.state()["tunnels"][0]["name"]
    psk = "AnyKeyThatIsLongEnoughToBeTaken42"
    told = run("ipsec_psk", {"psks": [{"name": name, "psk": psk}], "state": "rotated"})
    assert "this account has no endpoint that sets PSKs in bulk" in str(told)
    assert "check account_id and the tunnel" not in str(told)


# -- a fleet ----------------------------------------------------------------------------------------------------------


def test_a14_two_new_tunnels_in_one_inside_network_are_refused_before_the_first_write(
    run: Run, simulator: Simulator
) -> None:
    done = fleet(run, BARE, {**BARE, "name": "another", "interface_address": "10.99.0.1/31"})
    assert done["failed"] is True and "in the inside network 10.99.0.0/31" in done["msg"]
    assert simulator.writes() == 0


def test_a15_a_swap_of_names_is_refused_before_the_first_write_with_what_to_do(run: Run, simulator: Simulator) -> None:
    one, other = simulator.state()["tunnels"][:2]
    done = fleet(run, {"id": one["id"], "name": other["name"]}, {"id": other["id"], "name": one["name"]})
    assert "rename one of them to a third name in a separate run" in done["msg"]
    assert [x["operation"] for x in simulator.journal()] == ["list"]


@pytest.mark.parametrize("fault", [{"status": 400, "code": 1022}, {"drop": True, "count": 0}], ids=str)
def test_a16_nothing_is_purged_when_anything_before_has_failed(
    run: Run, simulator: Simulator, fault: dict[str, Any]
) -> None:
    before = set(simulator.tunnels_by_name())
    simulator.arm({"route": "create", **fault})
    kept = [{"name": name} for name in sorted(before)[1:]]
    done = fleet(run, *kept, BARE, purge=True)
    assert done["failed"] is True and set(simulator.tunnels_by_name()) == before
    assert [x["reason"] for x in done["ipsec_tunnels"] if x["purged"]] == [
        "not tried: nothing is purged when anything has failed"
    ]


def test_a17_a_tunnel_that_was_renamed_in_the_file_is_refused_with_its_id(run: Run, simulator: Simulator) -> None:
    old, *rest = simulator.state()["tunnels"]
    renamed = {key: old[key] for key in ("cloudflare_endpoint", "interface_address")}
    done = fleet(run, {"name": "its new name", **renamed}, *({"name": x["name"]} for x in rest), purge=True)
    assert done["failed"] is True and f"give id: {old['id']} to rename it" in done["msg"]
    assert simulator.writes() == 0


def test_a17_a_replacement_is_called_one(run: Run, simulator: Simulator) -> None:
    old, *rest = simulator.state()["tunnels"]
    new = {"name": "new", "cloudflare_endpoint": "192.0.2.9", "interface_address": old["interface_address"]}
    done = fleet(run, new, *({"name": x["name"]} for x in rest), purge=True)
    assert f"new, which replaces {old['name']} as a new tunnel with another id and without a PSK" in done["msg"]


def test_a18_options_of_a_list_of_tunnels_can_be_given_back(run: Run) -> None:
    account = run("ipsec_tunnel_info", {})["ipsec_tunnels"]
    assert fleet(run, *ipsec_tunnel_options(account), purge=True)["changed"] is False


# -- numbers and sizes ------------------------------------------------------------------------------------------------


def test_a21_an_as_number_of_32_bits_is_sent_and_the_seed_stays_within_the_schema(
    run: Run, simulator: Simulator, make_simulator: Make
) -> None:
    simulator.reset(tunnels=300)
    assert all(x["bgp"]["customer_asn"] < 2**31 for x in simulator.state()["tunnels"] if x.get("bgp"))
    large = {**BARE, "bgp": {"customer_asn": 4200000107}}
    assert run("ipsec_tunnel", large)["ipsec_tunnel"]["bgp"]["customer_asn"] == 4200000107
    strict = make_simulator(1, args=["--assume", "customer_asn=int32"])
    assert "at /bgp/customer_asn" in run_module("ipsec_tunnel", large, strict.env())["msg"]


@pytest.fixture
def wire() -> Iterator[Wire]:
    found = Wire()
    yield found
    found.close()


def test_a22_an_answer_that_drips_without_an_end_is_given_up_after_four_timeouts(run: Run, wire: Wire) -> None:
    def drops() -> Iterator[bytes]:
        for _number in itertools.count():
            yield b" "
            SLEEP(0.02)

    wire.say(Say(drops(), headers={"Content-Length": "100000"}))
    told = run("ipsec_tunnel_info", {"timeout": 0.2, "retries": 0}, at=wire)["msg"]
    assert "the answer was not complete within 0.8 s" in told


def test_a22_an_answer_of_more_than_64_mib_is_given_up(run: Run, wire: Wire) -> None:
    wire.say(Say(itertools.repeat(b" " * 2**20, 80), headers={"Content-Length": str(80 * 2**20)}))
    told = run("ipsec_tunnel_info", {"retries": 0}, at=wire)["msg"]
    assert "the answer is larger than 64 MiB" in told
