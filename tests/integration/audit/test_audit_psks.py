# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook audit_psks: before any rotation, after one, and after somebody else has changed a key."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from tests.harness.playbook import Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator

ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
NASTY = "<script>alert('x')</script>"
VOID = {"meta", "line", "br", "input"}


@dataclass
class Audit:
    """One audit: its run and the folder with its files."""

    result: Result
    folder: Path

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.text("json")))

    def text(self, kind: str) -> str:
        return (self.folder / f"psk-audit.{kind}").read_text(encoding="utf-8")

    def metrics(self, parse: Callable[[str], Any] = parse_openmetrics) -> dict[str, list[Any]]:
        """The samples of each metric."""
        text = (self.folder / "psk.prom").read_text(encoding="utf-8")
        return {x.name.removeprefix("magicwan_psk_"): x.samples for x in parse(text)}

    def line(self, tunnel_id: str) -> dict[str, Any]:
        """What is said of a tunnel."""
        return next(x for x in self.json["tunnels"] if x["id"] == tunnel_id)


@dataclass
class Story:
    """Audits in their order, and the tunnels that they are about."""

    audits: dict[str, Audit]
    ids: list[str]
    secrets: set[str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, simulator_process: Simulator) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("audit")
    simulator = simulator_process
    simulator.reset(tunnels=6)
    playbooks = Playbooks(folder / "playbooks", simulator.env())
    escrow = {"psk_rotation_escrow": {"backend": "file", "path": str(folder / "escrow" / "psks.yml")}}
    audits: dict[str, Audit] = {}
    secrets = {simulator.token, *simulator.psks()}

    def audit(name: str, check: bool = False, inventory: Path | None = None, **variables: Any) -> None:
        target = {"audit_psks_folder": str(folder / name), **({} if inventory else escrow), **variables}
        result = playbooks.run("magicwan.cloudflare.audit_psks", extra_vars=target, check=check, inventory=inventory)
        audits[name] = Audit(result, folder / name)

    ids = [x["id"] for x in simulator.state()["tunnels"]]
    audit("before")
    inventory = "localhost ansible_connection=local\n"
    first = {**escrow, "psk_rotation_tunnels": ["all"], "psk_rotation_unknown_psk": "rotate"}
    playbooks.run("magicwan.cloudflare.rotate_psks", inventory=inventory, extra_vars=first).ok()
    secrets |= {*simulator.psks()}
    audit("after", audit_psks_metrics=str(folder / "after" / "psk.prom"))
    audit("checked", check=True)
    audit("strict", audit_psks_fail_on=["unconfirmed"])
    simulator.patch_tunnel(ids[0], psk="SomebodyElsesSomebodyElsesSomebody", name=NASTY)
    secrets |= {*simulator.psks()}
    audit("changed", audit_psks_metrics=str(folder / "changed" / "psk.prom"))
    audit("devices", inventory=_inventory(folder, "devices.yml", "escrow/psks.yml"))
    audit("two escrows", inventory=_inventory(folder, "two.yml", "escrow/psks.yml", "other/psks.yml"))
    audit("one", audit_psks_tunnels=[ids[1]])
    audit("wrong", audit_psks_fail_on=["late"])
    result = playbooks.run(
        "magicwan.cloudflare.audit_psks", extra_vars={**escrow, "audit_psks_tunnels": [ids[1]]}, env={"PWD": None}
    )
    audits["at home"] = Audit(result, folder / "playbooks" / "home" / "psk-audit")
    audit("none", psk_rotation_escrow={"backend": "none"})
    hits = find_secrets(playbooks.outputs(), sorted(secrets))
    assert not hits, f"secrets in the output: {hits[:10]}"
    yield Story(audits, ids, secrets)
    playbooks.close()


def _inventory(folder: Path, name: str, *escrows: str) -> Path:
    """Devices whose escrow is beside the inventory. localhost is not in it; it is the device of the first rotation."""
    hosts = {
        f"router{n}": {"psk_rotation_escrow": {"backend": "file", "path": "{{ inventory_dir }}/" + path}}
        for n, path in enumerate(escrows)
    }
    path = folder / name
    path.write_text(yaml.safe_dump({"routers": {"hosts": hosts}}), encoding="utf-8")
    return path


def test_before_the_first_rotation_the_escrow_knows_nothing_and_the_audit_fails(story: Story) -> None:
    audit = story.audits["before"]
    audit.result.failed()
    assert audit.json["counts"]["findings"]["unknown"] + audit.json["counts"]["findings"]["no_psk"] == 6
    assert "tunnels break the policy" in audit.result.output


def test_after_a_rotation_the_policy_is_kept(story: Story) -> None:
    audit = story.audits["after"]
    audit.result.ok()
    assert audit.json["message"] == "all 6 tunnels keep the policy"
    assert {(x["status"], x["changed_by"], x["confirmed"]) for x in audit.json["tunnels"]} == {
        ("ok", "rotation", False)
    }
    assert len(audit.json["rotation"]["tunnels"]) == 6


def test_the_policy_can_demand_that_every_psk_was_seen_to_work(story: Story) -> None:
    story.audits["strict"].result.failed()
    assert story.audits["strict"].json["counts"]["broken"] == 6


def test_a_key_that_somebody_else_has_set_is_named_after_the_files_were_written(story: Story) -> None:
    audit = story.audits["changed"]
    audit.result.failed()
    assert (audit.line(story.ids[0])["findings"], audit.json["counts"]["broken"]) == (["foreign"], 1)
    assert audit.line(story.ids[0])["changed_by"] == "somebody else"


def test_some_tunnels_can_be_chosen(story: Story) -> None:
    story.audits["one"].result.ok()
    assert [x["id"] for x in story.audits["one"].json["tunnels"]] == [story.ids[1]]


def test_without_a_present_folder_the_files_go_to_the_home(story: Story) -> None:
    story.audits["at home"].result.ok()
    assert [x["id"] for x in story.audits["at home"].json["tunnels"]] == [story.ids[1]]


@pytest.mark.parametrize(("name", "says"), [("wrong", "fail_on holds 'late'"), ("none", "psk_rotation_escrow must be")])
def test_bad_input_is_refused_before_a_file_is_written(story: Story, name: str, says: str) -> None:
    story.audits[name].result.failed()
    assert says in story.audits[name].result.output
    assert not story.audits[name].folder.exists()


def test_a_check_run_judges_and_writes_nothing(story: Story) -> None:
    story.audits["checked"].result.ok()
    assert not story.audits["checked"].folder.exists()


@pytest.mark.parametrize("kind", ["json", "csv", "html"])
def test_no_file_holds_a_secret_and_only_its_owner_and_group_read_it(story: Story, kind: str) -> None:
    for audit in (story.audits["before"], story.audits["after"], story.audits["changed"]):
        assert not find_secrets([audit.text(kind)], sorted(story.secrets))
        assert (audit.folder / f"psk-audit.{kind}").stat().st_mode & 0o777 == 0o640


def test_the_csv_says_the_same_as_the_json(story: Story) -> None:
    audit = story.audits["changed"]
    lines = list(csv.DictReader(audit.text("csv").splitlines()))
    assert [(x["id"], x["status"]) for x in lines] == [(x["id"], x["status"]) for x in audit.json["tunnels"]]


def test_the_account_is_named_in_every_file(story: Story) -> None:
    audit = story.audits["after"]
    account = audit.json["account"]
    assert account == ACCOUNT
    assert {x["account"] for x in csv.DictReader(audit.text("csv").splitlines())} == {account}
    assert f"Account <code>{account}</code>" in audit.text("html")


def test_settings_of_devices_serve_where_localhost_is_not_in_the_inventory(story: Story) -> None:
    audit = story.audits["devices"]
    audit.result.failed()
    assert audit.json["counts"] == story.audits["changed"].json["counts"]


def test_an_inventory_with_several_escrows_is_refused(story: Story) -> None:
    audit = story.audits["two escrows"]
    audit.result.failed()
    assert "the hosts of the inventory have different psk_rotation_escrow" in audit.result.output
    assert not audit.folder.exists()


@pytest.mark.parametrize("parse", [parse_openmetrics, parse_prometheus], ids=["openmetrics", "prometheus"])
def test_the_metrics_have_age_state_and_last_success_of_each_tunnel(story: Story, parse: Callable[[str], Any]) -> None:
    audit = story.audits["after"]
    found = audit.metrics(parse)
    for name in ("age_seconds", "due_timestamp_seconds", "last_success_timestamp_seconds", "broken"):
        assert {x.labels["id"] for x in found[name]} == set(story.ids)
    ages = {x.labels["tunnel"]: x.value for x in found["age_seconds"]}
    assert ages == {x["name"]: x["age_days"] * 86400 for x in audit.json["tunnels"]}
    assert {x.labels["state"] for x in found["state"] if x.value == 1} == {"idle"}
    assert {x.labels["account"] for x in found["state"]} == {ACCOUNT}
    assert [x.value for x in found["tunnels"]] == [6]
    assert (audit.folder / "psk.prom").stat().st_mode & 0o777 == 0o644


def test_the_metrics_of_a_broken_policy_name_the_tunnel_whatever_its_name(story: Story) -> None:
    found = story.audits["changed"].metrics()
    assert [x.labels["tunnel"] for x in found["broken"] if x.value] == [NASTY]
    assert {x.labels["finding"]: x.value for x in found["findings"]}["foreign"] == 1


def test_no_metric_holds_a_secret(story: Story) -> None:
    for name in ("after", "changed"):
        text = (story.audits[name].folder / "psk.prom").read_text(encoding="utf-8")
        assert not find_secrets([text], sorted(story.secrets))


class Page(HTMLParser):
    """Checks that all elements are closed, and keeps the elements and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(story: Story) -> Callable[[str], Page]:
    return lambda name: Page(story.audits[name].text("html"))


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(page: Callable[[str], Page]) -> None:
    for name in ("before", "after", "changed"):
        found = page(name)
        assert found.open == []
        assert not {tag for tag, dummy in found.elements} & {"link", "img", "iframe"}
        assert not [1 for dummy, attributes in found.elements if {"src", "href", "onclick"} & set(attributes)]


def test_the_page_shows_a_name_as_text_whatever_it_is(page: Callable[[str], Page]) -> None:
    assert NASTY in page("changed").text


def test_the_page_has_a_row_a_tunnel_and_the_timeline_of_the_rotation(page: Callable[[str], Page]) -> None:
    found = page("after")
    assert sum(tag == "tr" and "data-states" in attributes for tag, attributes in found.elements) == 6
    assert "Last rotation" in found.text and "all 6 tunnels keep the policy" in found.text


def test_the_page_lists_what_is_due_next(page: Callable[[str], Page]) -> None:
    assert "Next due" in page("after").text


def test_the_page_can_be_searched_and_filtered_by_state(page: Callable[[str], Page]) -> None:
    found = page("changed")
    ids = {attributes.get("id") for dummy, attributes in found.elements}
    assert {"search", "state", "tunnels"} <= ids
    states = [x["data-states"] for tag, x in found.elements if tag == "tr" and "data-states" in x]
    assert sorted(states) == ["broken|changed by somebody else|idle", *["ok|not confirmed|idle"] * 5]


def test_the_page_has_a_dark_and_a_printed_form(story: Story) -> None:
    text = story.audits["after"].text("html")
    assert "@media screen and (prefers-color-scheme: dark)" in text and "size: A4 landscape" in text


def test_without_a_rotation_there_is_no_timeline(page: Callable[[str], Page]) -> None:
    assert "Last rotation" not in page("before").text
