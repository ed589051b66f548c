# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""/_sim, counters, the journal, seeds, health and the command line."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Interface

import pytest

from .conftest import ACCOUNT, CHECKOUT, TOKEN, TUNNELS

from tests.simulator.assumptions import Assumptions  # isort: skip
from tests.simulator.schema import TunnelBodyNew  # isort: skip
from tests.simulator.seed import fleet  # isort: skip

NOW = 1_800_000_000_000_000_000


def seeded(count, seed=1):
    return list(fleet(count, seed, ACCOUNT, NOW))


def test_requests_and_writes_are_counted_apart(sim, ids, body):
    sim("GET")
    sim("POST", "", body)
    sim("POST", "", body)
    sim("DELETE", ids[0])
    assert (sim.state["requests"], sim.state["writes"]) == (4, 2)


def test_counters_tell_what_was_asked_and_how_much(sim, ids):
    sim("POST", "psk", {"psks": [{"id": i, "psk": "a key"} for i in ids[:2]]})
    answer = sim("GET")
    found = sim("GET", "/_sim/counters").json
    assert (found["requests"], found["writes"], found["psks"], found["rate_limited"]) == (2, 1, 2, 0)
    assert found["bytes_received"] > 2 * len('{"id":"","psk":"a key"}') + 64
    assert found["bytes_sent"] > len(answer.text)


def test_reset_brings_back_the_seed_and_clears_the_faults(sim, ids):
    before = sim.truth
    sim("DELETE", ids[0])
    sim.fault(status=500)
    sim("POST", "/_sim/reset")
    assert sim.truth == before
    assert (sim.state["requests"], sim.state["writes"]) == (0, 0)
    assert sim("GET").status == 200


def test_requests_to_sim_are_never_counted(sim):
    assert sim("GET", "/_sim/nonsense").status == 404
    assert (sim.state["requests"], sim.journal) == (0, [])


def test_reset_can_choose_another_fleet(sim):
    assert sim("POST", "/_sim/reset", {"tunnels": 5, "seed": 9}).json == {"tunnels": 5}


def test_a_console_rotation_moves_last_generated_on_and_is_no_write(sim, ids):
    old = sim.truth[ids[0]]
    new = sim("PATCH", f"/_sim/tunnels/{ids[0]}", {"psk": "from the console"}).json
    assert new["psk"] == "from the console"
    assert new["psk_metadata"] != old["psk_metadata"]
    assert sim.state["writes"] == 0


def test_a_tunnel_can_be_renamed_and_deleted_from_outside(sim, ids):
    sim("PATCH", f"/_sim/tunnels/{ids[0]}", {"name": "elsewhere"})
    assert sim("GET", ids[0]).result["ipsec_tunnel"]["name"] == "elsewhere"
    sim("PATCH", f"/_sim/tunnels/{ids[0]}", {"delete": True})
    assert sim("GET", ids[0]).status == 404


def test_the_journal_wakes_who_waits_for_a_request(sim):
    async def scenario():
        waiting = asyncio.create_task(sim.ask("GET", "/_sim/journal?since=0&wait=5"))
        await sim.ask("GET", "")
        return await waiting

    assert [entry["operation"] for entry in sim.run(scenario()).json["entries"]] == ["list"]


def health(sim, selection, **variables):
    start = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    query = (
        "query Health($tag: string!, $start: Time!) { viewer { accounts(filter: {accountTag: $tag}) {"
        " magicTransitTunnelHealthChecksAdaptiveGroups(limit: 1000, filter: {datetime_geq: $start})"
        f" {{ {selection} }} }} }} }}"
    )
    variables = {"tag": ACCOUNT, "start": start, **variables}
    return sim("POST", "/client/v4/graphql", {"query": query, "variables": variables}).json


def groups(reply):
    return reply["data"]["viewer"]["accounts"][0]["magicTransitTunnelHealthChecksAdaptiveGroups"]


def test_health_is_told_by_tunnel_name_and_data_centre(sim, ids):
    tunnel = next(t for t in sim.truth.values() if t["health_check"]["enabled"])
    sim("PATCH", f"/_sim/tunnels/{tunnel['id']}", {"health": {"FRA": "down"}})
    rows = groups(health(sim, "avg { tunnelState } dimensions { tunnelName edgeColoName }"))
    mine = {"tunnelName": tunnel["name"], "edgeColoName": "FRA"}
    assert len(rows) == 5 * len(ids)
    assert [row["avg"]["tunnelState"] for row in rows if row["dimensions"] == mine] == [0.0]


def test_health_is_averaged_over_what_is_not_asked_for(sim, ids):
    sim("PATCH", f"/_sim/tunnels/{ids[0]}", {"health": "healthy"})
    sim("PATCH", f"/_sim/tunnels/{ids[0]}", {"health": {"FRA": "down"}})
    rows = groups(health(sim, "state: avg { tunnelState } dimensions { name: tunnelName }"))
    assert [row["state"]["tunnelState"] for row in rows if row["dimensions"]["name"] == sim.truth[ids[0]]["name"]] == [
        0.8
    ]


@pytest.mark.parametrize(
    ("selection", "variables"),
    [("colour", {}), ("count", {"tag": "f" * 32}), ("count", {"start": "2020-01-01T00:00:00Z"}), ("count {", {})],
)
def test_a_wrong_query_is_answered_200_with_errors(sim, selection, variables):
    reply = health(sim, selection, **variables)
    assert reply["data"] is None
    assert reply["errors"][0]["message"]


def test_a_seed_makes_the_same_fleet_every_time():
    assert seeded(24) == seeded(24)


def test_another_seed_makes_another_fleet():
    assert {t.id for t in seeded(24)}.isdisjoint(t.id for t in seeded(24, seed=2))


def test_a_larger_fleet_begins_with_the_smaller():
    assert seeded(60)[:24] == seeded(24)


def test_a_fleet_has_something_of_everything():
    tunnels = seeded(24)
    ages = [None if t.last_generated_on is None else t.last_generated_on[:4] for t in tunnels]
    assert len(set(ages)) >= 3
    for told in (
        lambda t: t.psk is None,
        lambda t: t.bgp is not None,
        lambda t: t.bgp is not None and "md5_key" in t.bgp,
        lambda t: t.interface_address6 is not None,
        lambda t: t.replay_protection,
        lambda t: t.fqdn_id is not None,
        lambda t: t.description is not None,
        lambda t: t.customer_endpoint is None,
        lambda t: t.health_check.target,
        lambda t: t.health_check.direction == "bidirectional",
        lambda t: " " in t.name,
        lambda t: "." in t.name,
        lambda t: t.name != t.name.lower(),
    ):
        assert 0 < sum(bool(told(t)) for t in tunnels) < len(tunnels)


def test_ten_thousand_tunnels_are_all_different():
    tunnels = seeded(10_000)
    networks = {IPv4Interface(t.interface_address).network for t in tunnels}
    assert len(networks) == len({t.name for t in tunnels}) == len({t.id for t in tunnels}) == 10_000
    assert all(network.is_private for network in networks)


def test_every_seeded_tunnel_would_be_accepted_by_the_api(start):
    sim = start(tunnels=48)
    headers = {**TOKEN, "x-magic-new-hc-target": "true"}
    for tunnel in sim("GET", headers=headers).result["ipsec_tunnels"]:
        body = {name: tunnel[name] for name in TunnelBodyNew.model_fields if name in tunnel}
        after = sim("PUT", tunnel["id"], body, headers=headers).result["modified_ipsec_tunnel"]
        assert {**after, "modified_on": 0, "remote_identities": 0} == {
            **tunnel,
            "modified_on": 0,
            "remote_identities": 0,
        }


def test_the_sites_two_tunnels_share_the_customer_endpoint_and_not_the_other_one():
    one, two = seeded(2)
    assert one.customer_endpoint == two.customer_endpoint
    assert one.cloudflare_endpoint != two.cloudflare_endpoint


@pytest.mark.parametrize("pair", ["nothing", "colour=red", "partial_put=maybe", "max_psks=many", "psk_charset=emoji"])
def test_a_wrong_assumption_is_refused(pair):
    with pytest.raises(ValueError, match="--assume"):
        Assumptions().with_overrides([pair])


def test_the_readme_names_every_assumption():
    readme = (CHECKOUT / "tests/simulator/README.md").read_text()
    assert [name for name in Assumptions.__dataclass_fields__ if f"`{name}`" not in readme] == []


def test_the_program_says_ready_serves_journals_and_stops(tmp_path):
    faults = tmp_path / "faults.json"
    faults.write_text('[{"route": "list", "status": 500}]')
    options = ["--tunnels", "3", "--journal", str(tmp_path / "journal"), "--faults", str(faults)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.simulator", "--listen", "127.0.0.1:0", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert re.fullmatch(r"ready http://127\.0\.0\.1:\d+/client/v4\n", line)
    connection = http.client.HTTPConnection(line.split("/")[2])
    answers = []
    for _ in range(2):
        connection.request("GET", TUNNELS, headers=TOKEN)
        answers.append(json.load(connection.getresponse())["result"])
    connection.close()
    assert answers[0] is None
    assert len(answers[1]["ipsec_tunnels"]) == 3
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest, errors) == (0, "", "")
    assert [json.loads(line)["status"] for line in (tmp_path / "journal").read_text().splitlines()] == [500, 200]
