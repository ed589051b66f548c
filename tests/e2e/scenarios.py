# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios, in their order. Each says in one line what was seen."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.lab import Lab
from tests.e2e.nodes import await_that
from tests.e2e.suite import BREAK_BEFORE_MAKE, PLATFORMS, SITES, Row, Suite
from tests.harness.playbook import Playbooks
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator

# A fleet without dynamic addresses, with a PSK everywhere, anti-replay, IPv6 inside, and custom identities.
SEED = 20
COMMISSION = """
- name: Configure the whole tunnel
  ansible.builtin.include_role:
    name: magicwan.cloudflare.customer_device
  vars:
    customer_device_tunnels: "{{ psk_rotation_wave_results }}"
"""
# There is no tunnel yet that the role's own tasks could find.
REACH = """
- name: Reach the device
  ansible.builtin.ping:
"""


class Scenarios(Suite):
    """Each method but the last two is a scenario."""

    def commission(self) -> None:
        """From bare devices to working tunnels: the whole tunnel, with every PSK adopted."""
        hook = self.workdir / "commission.yml"
        hook.write_text(COMMISSION, encoding="utf-8")
        start = time.time()
        reach = self.workdir / "reach.yml"
        reach.write_text(REACH, encoding="utf-8")
        known = {"psk_rotation_unknown_psk": "rotate", "psk_rotation_reach_tasks": str(reach)}
        self.rotate(psk_rotation_device_tasks=str(hook), **known).ok()
        proofs = self.lab.authentications(start)
        everything = len(self.lab.tunnels)
        self.need(len(proofs) == everything, f"{len(proofs)} of {everything} tunnels authenticated")
        self.row.reauthentications = sum(map(len, proofs.values()))
        self.lab.start_traffic()
        await_that("the first traffic", (self.workdir / "traffic").exists)
        self.consistent()
        self.row.note = f"{len(proofs)} of {everything} tunnels up, identities {', '.join(sorted(set(SITES.values())))}"

    def check_mode(self) -> None:
        """A check run says what would change on each device and touches nothing."""
        before = (self.files(), self.simulator.writes(), self.sas())
        with self.measured():
            result = self.rotate(check=True, psk_rotation_force=True).ok()
        self.need(before == (self.files(), self.simulator.writes(), self.sas()), "a check run has changed something")
        self.need(self.row.reauthentications == 0, "a check run has made a device authenticate")
        for site in SITES:
            said = [entry.get("msg", "") for entry in result.results("Report the planned changes", site)]
            for tunnel in self.lab.of_site(site):
                text = f"{site}: 1 of 1 tunnels would get their PSK and re-authenticate: cf-{tunnel['id'][:8]}"
                self.need(any(text in x for x in said), f"{site} does not say that {tunnel['name']} would change")
        self.row.note = "each device says which tunnel would change; no file, SA, write or authentication"

    def full_rotation(self) -> None:
        """Every PSK of the fleet, two sites at a time."""
        before = self.generations()
        with self.measured():
            self.rotate(psk_rotation_force=True, psk_rotation_serial=2).ok()
        after = self.generations()
        self.need(all(after[i] == before[i] + 1 for i in before), "not every PSK was rotated exactly once")
        missing = [i for i in before if self.proved(i) is None]
        self.need(not missing, f"no authentication with the new PSK: {missing}")
        self.consistent()
        self.not_dark()
        self.take_details()
        self.row.note = f"{len(before)} of {len(before)} tunnels authenticated with their new PSK, no site dark"

    def second_run(self) -> None:
        """Nothing is due: nothing is changed, and no tunnel is made to authenticate."""
        writes = self.simulator.writes()
        with self.measured():
            result = self.rotate().ok()
        self.need(self.simulator.writes() == writes, "a second run wrote to the API")
        self.need(self.row.reauthentications == 0, "a second run made a device authenticate")
        self.need(result.changed == 0, f"a second run reports {result.changed} changes")
        self.not_dark()
        self.row.note = "0 changed, 0 writes, 0 authentications"

    def refusing_device(self) -> None:
        """Devices whose configuration is read-only, one a daemon: left alone before Cloudflare is touched."""
        refusing = ("lisbon", *PLATFORMS)
        sites = ("berlin", *refusing)
        before = self.psks()
        for site in refusing:
            device = self.lab.devices[site]
            device.shell(f"mount --bind {device.guarded} {device.guarded}")
            device.shell(f"mount -o remount,bind,ro {device.guarded}")
        try:
            with self.measured():
                # More devices refuse than a run allows by default.
                result = self.rotate(sites, psk_rotation_force=True, psk_rotation_max_failures="100%").failed()
        finally:
            for site in refusing:
                self.lab.devices[site].shell(f"umount {self.lab.devices[site].guarded}")
        after = self.psks()
        own = [tunnel["id"] for site in refusing for tunnel in self.lab.of_site(site)]
        others = [i for i in before if i not in own and self.lab.site_of[i] in sites]
        self.need(all(after[i] == before[i] for i in own), "the PSKs of refusing devices are not what they were")
        self.need(all(after[i] != before[i] for i in others), "a PSK of another site was not rotated")
        touched = [i for i in own if i in self.lab.applied]
        self.need(not touched, f"{len(touched)} tunnels of refusing devices were touched")
        for site in refusing:
            name = self.lab.of_site(site)[0]["name"]
            failed = [x["result"].get("msg") for x in result.tasks if (x["host"], x["status"]) == (site, "failed")]
            named = any(name in str(text) for text in failed)
            self.need(named, f"the job does not name {name} among {site}'s failures")
        self.consistent()
        self.not_dark()
        self.row.note = f"{len(own)} tunnels of {', '.join(refusing)} left alone, {len(others)} others rotated"

    def killed_run(self) -> None:
        """SIGKILL to the whole run when the API has applied and no device was reached: the next run finishes."""
        sites = ("berlin", "lisbon", *PLATFORMS)
        options = self.options(sites, psk_rotation_force=True)
        before = self.sas()
        self.lab.answers = False
        with self.measured():
            start = time.time()
            running = self.playbooks.start("magicwan.cloudflare.rotate_psks", **options)
            try:
                await_that("the API applies the PSKs", lambda: self.lab.applied, self.patience())
            finally:
                running.kill_all()
                self.lab.hold_answers()
            applied = set(self.lab.applied)
            mismatched = self.mismatched()
            self.need(len(applied) == len(sites), f"{len(applied)} PSKs applied, one a site was expected")
            self.need(len(mismatched) == len(applied), f"{len(mismatched)} mismatches, {len(applied)} applied")
            self.lab.await_traffic()
            self.need(self.sas() == before, "an SA did not outlive the kill")
            self.need(not self.lab.authentications(start), "a device has re-authenticated")
            self.rotate(sites).ok()
            missing = [i for i in applied if not self.lab.authentications(start).get(i)]
            self.need(not missing, f"not authenticated after the next run: {missing}")
        self.consistent()
        self.not_dark()
        self.row.note = f"{len(applied)} PSKs at Cloudflare only, the old SAs carried on, the next run finished"

    def wrong_order(self) -> None:
        """The control experiment: a device with another PSK than the edge can't authenticate, and the role says so."""
        tunnels = {site: self.lab.of_site(site)[0] for site in ("berlin", "turin", *PLATFORMS)}
        right = {site: {**self.result_of(tunnel), "status": "applied"} for site, tunnel in tunnels.items()}
        wrong = {site: {**entry, "psk": "W" + "rong" * 8} for site, entry in right.items()}
        self.own_psks |= {entry["psk"] for entry in wrong.values()}
        start = time.time()
        with self.measured():
            result = self.device_run({site: {"customer_device_tunnels": [x]} for site, x in wrong.items()}).failed()
            for site, tunnel in tunnels.items():
                failed = [x["result"].get("msg") for x in result.tasks if (x["host"], x["status"]) == (site, "failed")]
                self.need("AUTHENTICATION_FAILED" in str(failed), f"{site} does not tell the daemon's reason")
                self.need(
                    not self.lab.authentications(start).get(tunnel["id"]), f"{site} authenticated in spite of all"
                )
                alive = f"cf-{tunnel['id'][:8]}" in self.lab.devices[site].sas()
                kept = site not in BREAK_BEFORE_MAKE
                self.need(alive == kept, f"{site}'s old SA is {'there' if alive else 'gone'}")
            again = self.device_run({site: {"customer_device_tunnels": [x]} for site, x in right.items()}).ok()
            for site in tunnels:
                said = again.result("Show the results", site)["customer_device_results"][0]
                self.need(said["confirmed"], f"{site} is not confirmed with the right PSK")
        for site, tunnel in tunnels.items():
            self.need(self.proofs.get(tunnel["id"]), f"{site} has not authenticated with the right PSK")
        self.consistent()
        self.not_dark()
        self.row.note = f"AUTHENTICATION_FAILED at {', '.join(tunnels)}; berlin alone, make before break, kept its SA"

    def both_at_once(self) -> None:
        """Both tunnels of a site in one wave, on purpose: each way of measuring must see the site go dark."""
        sites = ("turin", "vienna")
        with self.measured():
            self.rotate(sites, psk_rotation_force=True, psk_rotation_group_by="none").ok()
        self.consistent()
        bright = [site for site in sites if not self.last_loss.dark_slots[site]]
        self.need(not bright, f"{bright} not seen to be dark")
        others = sum(count for name, count in self.last_loss.dark_slots.items() if name not in sites)
        self.need(others == 0, f"other sites lost {others} probes")
        said = [f"{site} dark for {self.last_loss.dark_gaps[site] * 1000:.0f} ms" for site in sites]
        self.row.note = f"{', '.join(said)}, as it must be"

    def confirmed_later(self) -> None:
        """Manual confirmation: the record waits, and a second job confirms by an authentication of its own."""
        manual = {"psk_rotation_confirmation": "manual"}
        with self.measured():
            self.rotate(["vienna"], psk_rotation_force=True, **manual).ok()
            applied = set(self.lab.applied)
            start = time.time()
            result = self.rotate(["vienna"], playbook="confirm_psks", **manual).ok()
        self.need(len(applied) == 1, f"{len(applied)} PSKs applied, one was expected: its sibling has to wait")
        self.need(
            set(self.lab.authentications(start)) == applied, "the second job did not have the device authenticate"
        )
        said = [str(x["result"].get("msg")) for x in result.tasks if x["host"] == "vienna"]
        self.need(any("1 confirmed" in text for text in said), "the second job does not say that it is confirmed")
        self.consistent()
        self.not_dark()
        self.row.note = "1 PSK waited, and was confirmed by the next job's own IKE_AUTH"

    def unreachable_before(self) -> None:
        """A device that can't be reached before the API call: its PSKs stay."""
        before = self.generations()
        self.lab.devices["lisbon"].unplug()
        try:
            with self.measured():
                result = self.rotate(["berlin", "lisbon"], psk_rotation_force=True)
        finally:
            self.lab.devices["lisbon"].plug()
        self.need(result.rc != 0, "the run does not fail")
        self.need(result.stats["lisbon"]["unreachable"] == 1, "lisbon is not said to be unreachable")
        told = [str(x["result"].get("msg")) for x in result.tasks if (x["host"], x["status"]) == ("berlin", "failed")]
        self.need(any("its device lisbon" in x for x in told), "berlin does not fail for lisbon")
        after = self.generations()
        changed = {self.lab.site_of[i]: after[i] - before[i] for i in before if after[i] != before[i]}
        self.need(changed == {"berlin": 1}, f"rotated: {changed}")
        self.consistent()
        self.not_dark()
        self.row.note = "lisbon unreachable and not rotated, berlin rotated"

    def unreachable_after(self) -> None:
        """A device that is lost after the API call: rolled back in the same run by the hosts that remain."""
        before = self.psks()
        with self.measured():
            with self.lost_when_applied("lisbon"):
                result = self.rotate(["berlin", "lisbon"], psk_rotation_force=True)
            self.need(result.rc != 0, "the run does not fail")
            self.need(result.stats["lisbon"]["unreachable"] == 1, "lisbon is not said to be unreachable")
            self.need(any(self.lab.site_of[i] == "lisbon" for i in self.lab.applied), "lisbon's PSK was never applied")
            after = self.psks()
            changed = {self.lab.site_of[i] for i in before if after[i] != before[i]}
            self.need(changed == {"berlin"}, f"another PSK now: {changed}")
            # The record is settled by a run that reaches the device again.
            self.rotate(["berlin", "lisbon"]).ok()
        self.consistent()
        self.not_dark()
        self.row.note = "lisbon's PSK rolled back in the same run, berlin rotated"

    def whole_batch_lost(self) -> None:
        """Every device of the batch is lost after the API call: the run ends non-zero, the next one heals."""
        with self.measured():
            with self.lost_when_applied("vienna"):
                result = self.rotate(["vienna"], psk_rotation_force=True)
            self.need(result.rc != 0, "the run does not fail")
            self.need(result.stats["vienna"]["unreachable"] == 1, "vienna is not said to be unreachable")
            mismatched = self.mismatched()
            self.need(len(mismatched) == 1, f"{len(mismatched)} mismatches, one was expected")
            self.rotate(["vienna"]).ok()
        self.consistent()
        self.not_dark()
        self.row.note = f"rc {result.rc} with {mismatched[0]} at Cloudflare only, the next run finished"

    def bad_input(self) -> None:
        """A clear error per host, before the device is touched; the others unaffected."""
        results = {site: self.result_of(self.lab.of_site(site)[0]) for site in SITES}
        strange = '0x"quoted-and-much-too-strange"'
        self.own_psks.add(strange)
        changes: dict[str, dict[str, Any]] = {
            "berlin": {"customer_device_platform": "routeros"},
            "lisbon": {"customer_device_tunnels": [{**results["lisbon"], "psk": None}]},
            "turin": {"customer_device_tunnels": [{**results["turin"], "psk": strange}]},
            "vienna": {"customer_device_tunnels": [results["vienna"]]},
        }
        before = self.files()
        result = self.device_run(changes).failed()
        for site, words in {
            "berlin": "customer_device_platform routeros is unknown; known are ",
            "lisbon": "has no PSK",
            "turin": "cannot be given to strongswan",
        }.items():
            failed = [x for x in result.tasks if x["host"] == site and x["status"] == "failed"]
            self.need(failed and words in str(failed[0]["result"].get("msg")), f"{site} does not say {words!r}")
        self.need(result.stats["vienna"]["failures"] == 0, "vienna was affected")
        self.need(before == self.files(), "a device was touched")
        self.row.note = "3 hosts refused, each with its reason, before anything was touched; vienna unaffected"

    def secrets_shown(self) -> None:
        """No PSK in anything that was printed or logged, nor on a command line."""
        history = self.simulator.state()["psk_history"]
        secrets = {entry["psk"] for entries in history.values() for entry in entries} | self.own_psks
        secrets.add(self.simulator.token)
        logs = [node.folder / "charon.log" for node in self.lab.nodes]
        printed = self.playbooks.outputs()
        # The simulator is told its token; it is no part of what is tested.
        lines = [line for line in list(self.command_lines.seen) if b"tests.simulator" not in line]
        commands = b"\n".join(lines)
        self.need(b"--load-creds" in commands, "no command line of swanctl was seen")
        self.need(b"rereadsecrets" in commands, "no command line of ipsec was seen")
        hits = find_secrets([*printed, *logs, commands], sorted(secrets))
        self.need(not hits, f"secrets were shown: {hits[:5]}")
        self.row.note = (
            f"0 of {len(secrets)} secrets in {len(printed)} runs at -vvv --diff ({sum(map(len, printed)) // 1024} KiB),"
            f" {len(logs)} daemons' logs, {len(lines)} command lines"
        )

    def all(self) -> list[Callable[[], None]]:
        """The scenarios in their order."""
        own = [
            value for name, value in vars(Scenarios).items() if not name.startswith("_") and name not in ("all", "go")
        ]
        return [value.__get__(self) for value in own]

    def go(self, names: list[str]) -> None:
        """Run the named scenarios or all; none when the devices can't be commissioned."""
        for scenario in self.all():
            name = scenario.__name__
            if names and name not in (*names, "commission"):
                continue
            self.row = Row(name)
            self.rows.append(self.row)
            start = time.monotonic()
            try:
                self.lab.check()
                scenario()
                self.row.passed = True
            except Exception as exc:
                self.row.note = (str(exc).splitlines() or [repr(exc)])[0][:200]
                print(f"--- {name}", *traceback.format_exc().splitlines()[-60:], sep="\n", flush=True)
                if name != "commission":
                    self.heal()
            self.row.seconds = time.monotonic() - start
            state = "ok  " if self.row.passed else "FAIL"
            print(f"{state} {name} ({self.row.seconds:.0f} s): {self.row.note}", flush=True)
            if name == "commission" and not self.row.passed:
                break


def run(workdir: Path, names: list[str]) -> int:
    """Make the lab in this folder and run the scenarios. It is the caller who ends the lab's processes."""
    began = time.monotonic()
    with Simulator(2 * len(SITES), SEED) as simulator:
        lab = Lab(workdir, simulator, SITES, PLATFORMS)
        (workdir / "cp").mkdir(mode=0o700)
        env = {"ANSIBLE_PIPELINING": "1", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(workdir / "cp")}
        suite = Scenarios(lab, simulator, Playbooks(workdir / "runs", {**simulator.env(), **env}), workdir)
        unknown = sorted(set(names) - {scenario.__name__ for scenario in suite.all()})
        if unknown:
            print(f"e2e: no scenario is called {', '.join(unknown)}")
            return 2
        lab.start()
        suite.go(names)
        passed = sum(row.passed for row in suite.rows)
        print(suite.table())
        print(f"\n{time.monotonic() - began:.0f} s\n{passed} passed, {len(suite.rows) - passed} failed", flush=True)
    return 0 if passed == len(suite.rows) else 1
