# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark with its figures made up: what it extrapolates, what it says holds, and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench import report
from tests.bench.cases import CASES, SIZES, plan
from tests.bench.checks import Check, checks, exponent
from tests.bench.measure import Row, Run, Table, measured


def row(case: str, size: int, seconds: float, group: str = "a", latency: int = 0, **fields: Any) -> Row:
    """A row of three runs around these seconds."""
    values: dict[str, Any] = {"cpu_seconds": seconds, "peak_mib": 100.0, "requests": 4, "writes": 2, "bytes": 10}
    values |= fields
    return Row(group, case, size, latency, [Run(seconds * x, **values) for x in (0.9, 1.0, 5.0)])


def table(*rows: Row) -> Table:
    made = Table()
    made.rows += rows
    return made


def good() -> Table:
    """Figures with which everything holds."""
    post = {"extra": {"post_seconds": 0.1}}
    made = table(
        row("empty play", 0, 0.5, "-"),
        row("role, file escrow", 1000, 2.5),
        row("role, file escrow", 10000, 30.0, requests=13, writes=11),
        row("role, no escrow", 1000, 3.0, writes=2),
        row("role, no escrow", 10000, 12.0, writes=11),
        row("role, no escrow, waves of 100", 1000, 10.0, writes=11),
        row("floor script", 100, 0.5, "b", **post),
        row("floor script", 1000, 1.0, "b", **post),
        row("uri loop", 100, 50.5, "c"),
        row("ipsec_tunnels, nothing to change", 1000, 1.4, "e", requests=1),
        row("devices as hosts, 50 at a time", 100, 20.0, "f"),
        row("devices as hosts, 50 at a time", 200, 40.0, "f", extra={"exposure_p95": 2.0}),
        row("devices as hosts, 50 at a time", 1600, 320.0, "f"),
        row("four set_fact on the hosts", 200, 10.0, "f"),
        row("role, KV v2 escrow, again", 1000, 5.0),
        row("role, KV v2 escrow, counted", 100, 5.0, extra={"kv2_requests_first": 6.1, "kv2_requests_again": 5.1}),
        row("KV v2 script, four threads", 1000, 2.5, "b"),
        row("role under the rate limit", 10000, 30.0, "g"),
        row("ipsec_tunnels under the rate limit", 3000, 30.0, "g"),
        row("role that starts while blocked", 100, 30.0, "g", rate_limited=2),
    )
    made.extrapolate("uri loop", 1000, 0, "empty play")
    return made


def verdicts(found: Table) -> dict[str, str]:
    return {check.what: check.verdict for check in checks(found, [0])}


def test_everything_holds_with_good_figures() -> None:
    assert set(verdicts(good()).values()) == {"holds"}


@pytest.mark.parametrize(
    ("worse", "what"),
    [
        (row("role, file escrow", 1000, 2.6), "at most 2 floor scripts"),
        (row("role, file escrow", 1000, 6.0), "at least 100 times faster"),
        (row("role, file escrow", 10000, 38.0, requests=13, writes=11), "growth exponent"),
        (row("role, file escrow", 10000, 30.0, requests=13, writes=11, peak_mib=401.0), "at most 400 MiB"),
        (row("role, file escrow", 10000, 30.0, requests=14, writes=11), "at most 2 API requests more"),
        (row("ipsec_tunnels, nothing to change", 1000, 1.4, "e", requests=2), ": 1 API request"),
        (row("ipsec_tunnels, nothing to change", 1000, 1.5, "e", requests=1), "an empty play and at most 0.9 s"),
        (row("devices as hosts, 50 at a time", 200, 46.0, "f", extra={"exposure_p95": 2.0}), "four set_fact"),
        (row("devices as hosts, 50 at a time", 200, 40.0, "f", extra={"exposure_p95": 3.1}), "after the API's answer"),
        (row("devices as hosts, 50 at a time", 1600, 400.0, "f"), "100 to 1,600 devices"),
        (row("devices as hosts, 50 at a time", 1600, 320.0, "f", peak_mib=251.0), "at most 250 MiB"),
        (row("role, KV v2 escrow, again", 1000, 5.9), "1.3 times a script"),
        (
            row("role, KV v2 escrow, counted", 100, 5.0, extra={"kv2_requests_first": 6.1, "kv2_requests_again": 5.2}),
            "a repeated rotation",
        ),
        (row("role, no escrow, waves of 100", 1000, 18.0, writes=11), "a wave of 100"),
        (row("role, no escrow", 10000, 18.0, writes=11), "a wave of 1,000"),
        (row("role under the rate limit", 10000, 30.0, "g", rate_limited=1), "role under the rate limit"),
        (row("ipsec_tunnels under the rate limit", 3000, 3.0, "g", rate_limited=1), "ipsec_tunnels under the rate"),
        (row("role that starts while blocked", 100, 30.0, "g", rate_limited=0), "starts while all is refused"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_worse_figure_makes_its_check_fail(worse: Row, what: str) -> None:
    found = good()
    found.rows = [x for x in found.rows if (x.case, x.size) != (worse.case, worse.size)] + [worse]
    failing = [name for name, verdict in verdicts(found).items() if verdict == "does not hold"]
    assert any(what in name for name in failing)


def test_what_was_not_measured_is_said_so() -> None:
    assert set(verdicts(table(row("empty play", 0, 0.5, "-"))).values()) == {"not measured"}


def test_the_median_counts() -> None:
    assert row("role, file escrow", 1000, 2.0).median("seconds") == 2.0


def test_growth_is_the_exponent_from_a_tenth_of_the_size() -> None:
    found = table(row("a", 100, 1.0), row("a", 1000, 10.0), row("b", 1000, 1.0))
    assert exponent(found, found.rows[1]) == pytest.approx(1.0)
    assert exponent(found, found.rows[0]) is exponent(found, found.rows[2]) is None


def test_a_loop_is_extrapolated_from_the_empty_play() -> None:
    found = table(row("empty play", 0, 0.5, "-"), row("uri loop", 100, 50.5, "c"))
    more = found.extrapolate("uri loop", 1000, 0, "empty play")
    assert more is not None
    assert more.median("seconds") == pytest.approx(500.5)
    assert more.median("peak_mib") is None
    assert exponent(found, more) is None


def test_two_sizes_are_extrapolated_along_their_line() -> None:
    found = table(row("sdk", 100, 2.0), row("sdk", 1000, 11.0))
    more = found.extrapolate("sdk", 10000, 0, None)
    assert more is not None and more.median("seconds") == pytest.approx(101.0)


def test_a_size_that_was_measured_is_not_extrapolated() -> None:
    found = table(row("sdk", 100, 2.0))
    assert found.extrapolate("sdk", 100, 0, None) is None


def test_a_whole_run_measures_or_extrapolates_every_size_of_every_case() -> None:
    chosen = {case.name: (here, further) for case, here, further in plan("abcdef", SIZES, 0)}
    assert chosen["role, file escrow"] == ([100, 1000, 10000], [])
    assert chosen["uri loop"] == ([100], [1000, 10000])
    assert {case.name for case in CASES} <= set(chosen)


def test_with_a_latency_no_ten_thousand_requests_are_made_one_by_one() -> None:
    chosen = {case.name: (here, further) for case, here, further in plan("abcdef", SIZES, 30)}
    assert chosen["SDK script, per tunnel"] == ([100, 1000], [10000])
    assert chosen["ipsec_tunnels, everything to change"] == ([100, 1000], [10000])


def test_a_process_is_measured_with_its_largest_child(tmp_path: Path) -> None:
    program = "import subprocess,sys; subprocess.run([sys.executable, '-c', 'x = bytearray(300 << 20)'], check=True)"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", program], start_new_session=True)

    used = measured(start, 60)
    assert used.code == 0
    assert 300 <= used.peak_mib < 600
    assert used.seconds > 0 and used.cpu_seconds > 0


def test_a_process_that_takes_too_long_is_killed() -> None:
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    used = measured(lambda: subprocess.Popen(command, start_new_session=True), 0.2)
    assert used.code == -9


def test_the_results_are_written_as_json_page_and_plot(tmp_path: Path) -> None:
    found = good()
    where = report.surroundings({"sizes": [1000]})
    report.write(
        tmp_path / "results", tmp_path / "docs" / "bench.md", where, found, [Check("a promise", "1 s", True, "2 s")]
    )
    data = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    assert {"date", "commit", "machine", "versions", "options", "checks", "measurements"} <= set(data)
    assert data["checks"] == [{"what": "a promise", "figures": "1 s", "1.0.0": "2 s", "verdict": "holds"}]
    assert len(data["measurements"]) == len(found.rows)
    assert sum(x["extrapolated"] for x in data["measurements"]) == 1
    page = (tmp_path / "docs" / "bench.md").read_text(encoding="utf-8")
    assert "| a promise | 1 s | 2 s | holds |" in page
    assert "| uri loop | 1,000 | ~500 s |" in page
    plot = ElementTree.parse(tmp_path / "docs" / "bench.svg").getroot()  # noqa: S314 - written above
    assert plot.tag.endswith("svg")
    assert "role, file escrow" in "".join(plot.itertext())
