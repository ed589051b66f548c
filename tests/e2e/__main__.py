# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations against real devices: `python -m tests.e2e`, as root on Debian.

Five sites with a strongSwan device and two tunnels each, an edge that follows the simulator, and traffic on every
tunnel all the time. Each scenario runs playbooks as a user does, and then asks the edge's log and the traffic.
`python -m tests.e2e NAME...` runs some scenarios only, `E2E_KEEP=1` keeps the folder with all logs.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.lab import CHARON, SSHD, Device, Lab, await_that, customer_inside
from tests.e2e.traffic import INTERVAL, Loss
from tests.harness.playbook import Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.simulator import Simulator

# The sites, and the identity that the device of each presents.
SITES = {"berlin": "fqdn", "lisbon": "key_id", "oslo": "fqdn", "turin": "user_fqdn", "vienna": "custom_fqdn"}
# These make a new SA only after the old one is gone, so each re-authentication can be seen in the traffic.
BREAK_BEFORE_MAKE = ("turin", "vienna")
# A fleet without dynamic addresses, with a PSK everywhere, anti-replay, IPv6 inside, and custom identities.
SEED = 21
RUN_SECONDS = 400

COMMISSION = """
- name: Configure the whole tunnel
  ansible.builtin.include_role:
    name: magicwan.cloudflare.customer_device
  vars:
    customer_device_tunnels: "{{ psk_rotation_wave_results }}"
"""
DEVICE_PLAY = """
- name: Bring PSKs into devices
  hosts: all
  gather_facts: false
  tasks:
    - name: Bring them in
      ansible.builtin.include_role:
        name: magicwan.cloudflare.customer_device
        tasks_from: psk
    - name: Show the results
      ansible.builtin.debug:
        var: customer_device_results
"""


class Failed(Exception):
    """A scenario did not do what it must."""


@dataclass
class Row:
    """What a scenario showed."""

    name: str
    passed: bool = False
    seconds: float = 0.0
    reauthentications: int = 0
    dark: int = 0
    longest_dark: float = 0.0
    longest_gap: float = 0.0
    exposures: list[float] = field(default_factory=list)
    note: str = ""


class Suite:
    """The scenarios, and what they share."""

    def __init__(self, lab: Lab, simulator: Simulator, playbooks: Playbooks, workdir: Path) -> None:
        self.lab = lab
        self.simulator = simulator
        self.playbooks = playbooks
        self.workdir = workdir
        self.rows: list[Row] = []
        self.row = Row("")
        self.secrets: set[str] = set(simulator.psks())
        self.details: list[str] = []

    # Tools of the scenarios

    def inventory(self, sites: Any = SITES, **changes: dict[str, Any]) -> dict[str, Any]:
        """The sites' devices; `changes` are further variables of a site."""
        hosts = {}
        for site in sites:
            device = self.lab.devices[site]
            hosts[site] = {
                # Not the address: the connection is told apart by it, and every device listens on its 127.0.0.1.
                "ansible_host": device.netns,
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(device.folder / "ssh" / "id"),
                "ansible_ssh_common_args": f"-o ProxyCommand={device.folder}/door -o StrictHostKeyChecking=no"
                " -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
                "ansible_python_interpreter": "/usr/bin/python3",
                "psk_rotation_tunnels": [tunnel["id"] for tunnel in self.lab.of_site(site)],
                "customer_device_platform": "strongswan",
                "customer_device_ike_id": SITES[site],
                "customer_device_strongswan_interface": "none",
                "customer_device_strongswan_make_before_break": site not in BREAK_BEFORE_MAKE,
                "customer_device_timeout": 40,
                **changes.get(site, {}),
            }
        return {"all": {"hosts": hosts}}

    def options(self, sites: Any = SITES, check: bool = False, **variables: Any) -> dict[str, Any]:
        """Arguments for a run of rotate_psks."""
        escrow = {"backend": "file", "path": str(self.workdir / "escrow.yml")}
        return {
            "inventory": self.inventory(sites),
            "extra_vars": {"psk_rotation_escrow": escrow, **variables},
            "check": check,
        }

    def rotate(self, sites: Any = SITES, check: bool = False, **variables: Any) -> Result:
        """Run the collection's playbook to its end."""
        options = self.options(sites, check, **variables)
        result = self.playbooks.run("magicwan.cloudflare.rotate_psks", timeout=RUN_SECONDS, **options)
        self.secrets |= set(self.simulator.psks())
        return result

    def key_on(self, device: Device, tunnel: dict[str, Any]) -> str:
        """The PSK in the device's configuration."""
        text = (device.folder / "swanctl" / "conf.d" / f"cf-{tunnel['id'][:8]}.key.conf").read_text()
        return text.partition('secret = "')[2].partition('"')[0]

    def mismatched(self) -> list[str]:
        """The tunnels whose ends have different PSKs."""
        return [t["name"] for t in self.truth() if self.key_on(self.lab.device_of(t["id"]), t) != t["psk"]]

    def truth(self) -> list[dict[str, Any]]:
        """The simulator's tunnels."""
        tunnels = self.simulator.state()["tunnels"]
        self.secrets |= {tunnel["psk"] for tunnel in tunnels}
        return list(tunnels)

    def generations(self) -> dict[str, int]:
        """How many PSKs each tunnel has had."""
        return {tunnel["id"]: tunnel["psk_generation"] for tunnel in self.truth()}

    def need(self, condition: Any, what: str) -> None:
        """Fail the scenario unless it holds."""
        if not condition:
            raise Failed(what)

    @contextmanager
    def measured(self) -> Iterator[Callable[[], Loss]]:
        """Watch traffic and authentications while the body runs; the row gets the figures."""
        start = time.time()
        self.lab.applied.clear()
        yield lambda: self.lab.loss(start, time.time())
        self.lab.check()
        loss = self.lab.loss(start, time.time())
        proofs = self.lab.authentications(start)
        self.row.reauthentications += sum(map(len, proofs.values()))
        self.row.dark += sum(loss.dark_slots.values())
        self.row.longest_dark = max(self.row.longest_dark, loss.longest_dark)
        self.row.longest_gap = max(self.row.longest_gap, max(loss.gaps.values()))
        for tunnel_id, applied in self.lab.applied.items():
            after = [moment for moment in proofs.get(tunnel_id, []) if moment > applied]
            if after:
                self.row.exposures.append(min(after) - applied)
        self.proofs = proofs
        self.last_loss = loss

    def not_dark(self) -> None:
        """No site was without a working tunnel."""
        dark = {site: count for site, count in self.last_loss.dark_slots.items() if count}
        self.need(not dark, f"sites without a working tunnel, in lost probes: {dark}")

    def consistent(self) -> None:
        """Both ends of every tunnel have one PSK, and traffic flows."""
        self.need(not self.mismatched(), f"different PSKs at the two ends: {self.mismatched()}")
        self.lab.await_traffic(self.lab.site_of)

    # Scenarios

    def commission(self) -> None:
        """From bare devices to working tunnels: the whole tunnel, with every PSK adopted."""
        hook = self.workdir / "commission.yml"
        hook.write_text(COMMISSION, encoding="utf-8")
        start = time.time()
        self.rotate(psk_rotation_device_tasks=str(hook)).ok()
        proofs = self.lab.authentications(start)
        self.need(len(proofs) == 10, f"{len(proofs)} of 10 tunnels authenticated")
        self.row.reauthentications = sum(map(len, proofs.values()))
        self.lab.start_traffic()
        await_that("the first traffic", (self.workdir / "traffic").exists)
        self.consistent()
        self.row.note = "identities: " + ", ".join(sorted(set(SITES.values())))

    def check_mode(self) -> None:
        """A check run says what would change on each device and touches nothing."""
        before = ({site: d.files() for site, d in self.lab.devices.items()}, self.simulator.writes(), self.sas())
        with self.measured():
            result = self.rotate(check=True, psk_rotation_force=True).ok()
        after = ({site: d.files() for site, d in self.lab.devices.items()}, self.simulator.writes(), self.sas())
        self.need(before == after, "a check run has changed something")
        self.need(self.row.reauthentications == 0, "a check run has made a device authenticate")
        for site in SITES:
            said = result.results("Say what would change", site)
            text = " ".join(entry["msg"] for entry in said)
            for tunnel in self.lab.of_site(site):
                self.need(f"cf-{tunnel['id'][:8]}" in text, f"{site} does not say that {tunnel['name']} would change")

    def full_rotation(self) -> None:
        """Every PSK of the fleet, two sites at a time."""
        before = self.generations()
        with self.measured():
            self.rotate(psk_rotation_force=True, psk_rotation_serial=2).ok()
        after = self.generations()
        self.need(all(after[i] == before[i] + 1 for i in before), "not every PSK was rotated exactly once")
        missing = [i for i in before if not any(m > self.lab.applied[i] for m in self.proofs.get(i, []))]
        self.need(not missing, f"no authentication with the new PSK: {missing}")
        self.consistent()
        self.not_dark()
        for tunnel in self.truth():
            applied = self.lab.applied[tunnel["id"]]
            exposure = min(moment for moment in self.proofs[tunnel["id"]] if moment > applied) - applied
            site = self.lab.site_of[tunnel["id"]]
            self.details.append(
                f"{site:8} {tunnel['name']:26} {SITES[site]:12}"
                f" {self.last_loss.gaps[tunnel['id']] * 1000:7.0f} ms {exposure:7.1f} s"
            )

    def second_run(self) -> None:
        """Nothing is due: nothing is changed, and no tunnel is made to authenticate."""
        writes = self.simulator.writes()
        with self.measured():
            result = self.rotate().ok()
        self.need(self.simulator.writes() == writes, "a second run wrote to the API")
        self.need(self.row.reauthentications == 0, "a second run made a device authenticate")
        self.need(result.changed == 0, f"a second run reports {result.changed} changes")

    def refusing_device(self) -> None:
        """A device whose configuration is read-only: turned back, the others done."""
        device = self.lab.devices["oslo"]
        before = {tunnel["id"]: tunnel["psk"] for tunnel in self.truth()}
        device.shell(
            "mount --bind /etc/swanctl/conf.d /etc/swanctl/conf.d && mount -o remount,bind,ro /etc/swanctl/conf.d"
        )
        try:
            with self.measured():
                result = self.rotate(psk_rotation_force=True)
        finally:
            device.shell("umount /etc/swanctl/conf.d")
        result.failed()
        self.need("oslo" in result.output, "the job does not name the device")
        after = {tunnel["id"]: tunnel["psk"] for tunnel in self.truth()}
        oslo = [tunnel["id"] for tunnel in self.lab.of_site("oslo")]
        self.need(all(after[i] == before[i] for i in oslo), "oslo's PSKs are not what they were")
        self.need(all(after[i] != before[i] for i in before if i not in oslo), "a PSK of another site was not rotated")
        turned = [i for i in oslo if i in self.lab.applied]
        self.need(len(turned) == 1, f"{len(turned)} of oslo's tunnels were touched, it must be the first only")
        again = [moment for moment in self.proofs.get(turned[0], []) if moment > self.lab.applied[turned[0]]]
        self.need(again, "no authentication with the earlier PSK after it was put back")
        name = next(t["name"] for t in self.lab.tunnels if t["id"] == turned[0])
        self.need(name in result.output, f"the job does not name the tunnel {name}")
        self.consistent()
        self.not_dark()
        self.row.note = f"{name} turned back, 8 others rotated"

    def killed_run(self) -> None:
        """SIGKILL to the whole run when the API has applied and no device was reached: the next run finishes."""
        before = self.sas()
        self.simulator.arm({"route": "psk_set", "validate_only": False, "hang": True, "when": "after"})
        with self.measured():
            start = time.time()
            running = self.playbooks.start("magicwan.cloudflare.rotate_psks", **self.options(psk_rotation_force=True))
            try:
                await_that("the API applies the PSKs", lambda: self.lab.applied, 180)
            finally:
                running.kill_all()
                self.simulator.clear_faults()
            applied = list(self.lab.applied)
            self.secrets |= set(self.simulator.psks())
            mismatched = self.mismatched()
            self.need(len(mismatched) == len(applied) == 5, f"{len(mismatched)} mismatches, {len(applied)} applied")
            self.need(self.sas() == before, "an SA did not outlive the kill")
            time.sleep(2)  # some traffic between the kill and the next run
            self.lab.await_traffic(self.lab.site_of)
            self.need(not self.lab.authentications(start), "a device has authenticated anew")
            self.rotate().ok()
            missing = [i for i in applied if not self.lab.authentications(start).get(i)]
            self.need(not missing, f"not authenticated after the next run: {missing}")
        self.consistent()
        self.not_dark()
        self.row.note = f"{len(applied)} PSKs were at Cloudflare only, the next run brought them in"

    def wrong_order(self) -> None:
        """The control experiment: a device with another PSK than the edge can't authenticate, and the role says so."""
        for site in ("berlin", "turin"):
            tunnel = self.lab.of_site(site)[0]
            wrong = {**self.result_of(tunnel), "psk": "W" + "rong" * 8, "status": "applied"}
            right = {**self.result_of(tunnel), "status": "applied"}
            self.secrets.add(wrong["psk"])
            start = time.time()
            with self.measured():
                result = self.device_run({site: {"customer_device_tunnels": [wrong]}})
                result.failed()
                self.need("AUTHENTICATION_FAILED" in result.output, "the daemon's reason is not told")
                self.need(not self.lab.authentications(start).get(tunnel["id"]), "authenticated in spite of all")
                alive = f"cf-{tunnel['id'][:8]}" in self.lab.devices[site].sas()
                self.need(
                    alive == (site not in BREAK_BEFORE_MAKE), f"{site}'s old SA is {'there' if alive else 'gone'}"
                )
                again = self.device_run({site: {"customer_device_tunnels": [right]}}).ok()
                self.need(again.result("Show the results")["customer_device_results"][0]["confirmed"], "not confirmed")
            self.need(self.lab.authentications(start).get(tunnel["id"]), "no authentication with the right PSK")
            self.not_dark()
        self.consistent()
        self.row.note = "AUTHENTICATION_FAILED at both; only make-before-break kept the tunnel"

    def both_at_once(self) -> None:
        """Both tunnels of a site in one wave, on purpose: the site must be seen to go dark."""
        site = "turin"
        with self.measured():
            self.rotate([site], psk_rotation_force=True, psk_rotation_group_by={}).ok()
        self.consistent()
        self.need(self.last_loss.dark_slots[site] > 0, "the site was not seen to be dark")
        self.row.note = f"{site} dark for {self.last_loss.dark_gaps[site] * 1000:.0f} ms, as it must be"

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
        after = self.generations()
        changed = {self.lab.site_of[i] for i in before if after[i] != before[i]}
        self.need(changed == {"berlin"}, f"rotated: {changed}")
        self.consistent()
        self.not_dark()

    def unreachable_after(self) -> None:
        """A device that is lost after the API call: turned back in the same run by the hosts that remain."""
        before = {tunnel["id"]: tunnel["psk"] for tunnel in self.truth()}
        with self.measured(), self.lost_when_applied("lisbon"):
            result = self.rotate(["berlin", "lisbon"], psk_rotation_force=True)
        self.need(result.rc != 0, "the run does not fail")
        after = {tunnel["id"]: tunnel["psk"] for tunnel in self.truth()}
        changed = {self.lab.site_of[i] for i in before if after[i] != before[i]}
        self.need(changed == {"berlin"}, f"another PSK now: {changed}")
        self.need(any(self.lab.site_of[i] == "lisbon" for i in self.lab.applied), "lisbon was never applied")
        # The record is healed by a run that reaches the device again.
        self.rotate(["berlin", "lisbon"]).ok()
        self.consistent()
        self.not_dark()

    def whole_batch_lost(self) -> None:
        """Every device of the batch is lost after the API call: the run ends non-zero, the next one heals."""
        with self.measured():
            with self.lost_when_applied("vienna"):
                result = self.rotate(["vienna"], psk_rotation_force=True)
            self.need(result.rc != 0, "the run does not fail")
            self.need(len(self.mismatched()) == 1, f"{len(self.mismatched())} mismatches, one was expected")
            self.rotate(["vienna"]).ok()
        self.consistent()
        self.not_dark()

    def bad_input(self) -> None:
        """A clear error per host, before the device is touched; the others unaffected."""
        results = {site: self.result_of(self.lab.of_site(site)[0]) for site in SITES}
        changes: dict[str, dict[str, Any]] = {
            "berlin": {"customer_device_platform": "routeros"},
            "lisbon": {"customer_device_tunnels": [{**results["lisbon"], "psk": None}]},
            "oslo": {"customer_device_tunnels": [{**results["oslo"], "psk": '0x"quoted-and-much-too-strange"'}]},
            "turin": {"customer_device_ike_id": "custom_fqdn", "customer_device_tunnels": [results["turin"]]},
            "vienna": {"customer_device_tunnels": [results["vienna"]]},
        }
        before = {site: device.files() for site, device in self.lab.devices.items()}
        result = self.device_run(changes)
        result.failed()
        for site, words in {
            "berlin": "routeros is unknown; known are cisco_iosxe, fortios, junos, panos, strongswan, vyos",
            "lisbon": "comes without a PSK",
            "oslo": "cannot be given to strongswan",
            "turin": "has no identity of the type custom_fqdn",
        }.items():
            failed = [x for x in result.tasks if x["host"] == site and x["status"] == "failed"]
            self.need(failed and words in str(failed[0]["result"].get("msg")), f"{site} does not say {words!r}")
        self.need(result.stats["vienna"]["failures"] == 0, "vienna was affected")
        self.need(before == {s: d.files() for s, d in self.lab.devices.items()}, "a device was touched")

    def secrets_shown(self) -> None:
        """No PSK in anything that was printed or logged."""
        logs = [node.folder / "charon.log" for node in self.lab.nodes]
        hits = find_secrets([*self.playbooks.outputs(), *logs], sorted(self.secrets))
        self.need(not hits, f"secrets were shown: {hits[:5]}")
        self.row.note = f"{len(self.secrets)} PSKs looked for"

    # Their helpers

    def sas(self) -> dict[str, dict[str, list[str]]]:
        """Every IKE_SA's number, by site and connection."""
        return {site: device.sas() for site, device in self.lab.devices.items()}

    @contextmanager
    def lost_when_applied(self, site: str) -> Iterator[None]:
        """The device becomes unreachable when the API has applied its PSK, before the answer is out."""

        def unplug(ids: list[str]) -> None:
            if any(self.lab.site_of[i] == site for i in ids):
                self.lab.devices[site].unplug()

        self.simulator.arm({"route": "psk_set", "validate_only": False, "delay": 1.5, "when": "after"})
        self.lab.on_apply = unplug
        try:
            yield
        finally:
            self.lab.on_apply = None
            self.simulator.clear_faults()
            self.lab.devices[site].plug()

    def device_run(self, changes: dict[str, dict[str, Any]]) -> Result:
        """Run the role alone on the named sites."""
        inventory = self.inventory(changes, **changes)
        return self.playbooks.run(DEVICE_PLAY, inventory=inventory, timeout=RUN_SECONDS)

    def result_of(self, tunnel: dict[str, Any]) -> dict[str, Any]:
        """An entry of psk_rotation_results, made by hand."""
        said = tunnel["remote_identities"]
        address, _, length = tunnel["interface_address"].partition("/")
        return {
            "id": tunnel["id"],
            "name": tunnel["name"],
            "status": "unchanged",
            "psk": tunnel["psk"],
            "ipsec_id": tunnel["ipsec_id"],
            "ike_ids": {
                "fqdn": said["fqdn_id"],
                "user_fqdn": said["user_id"],
                "key_id": tunnel["ipsec_id"],
                "custom_fqdn": tunnel.get("custom_remote_identities", {}).get("fqdn_id"),
            },
            "cloudflare_endpoint": tunnel["cloudflare_endpoint"],
            "customer_endpoint": tunnel.get("customer_endpoint"),
            "interface_address": tunnel["interface_address"],
            "cloudflare_inside_address": address,
            "customer_inside_address": customer_inside(tunnel),
            "inside_prefix_length": int(length),
            "customer_inside_address6": None,
            "replay_protection": tunnel["replay_protection"],
            "confirmed_on": None,
        }

    # The run

    def run(self, names: list[str]) -> None:
        """Run the scenarios in order; the rest is skipped when the devices could not be commissioned."""
        scenarios: list[Callable[[], None]] = [
            self.commission,
            self.check_mode,
            self.full_rotation,
            self.second_run,
            self.refusing_device,
            self.killed_run,
            self.wrong_order,
            self.both_at_once,
            self.unreachable_before,
            self.unreachable_after,
            self.whole_batch_lost,
            self.bad_input,
            self.secrets_shown,
        ]
        for scenario in scenarios:
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
            except (Failed, AssertionError, RuntimeError) as exc:
                self.row.note = f"FAILED: {str(exc).splitlines()[0][:200]}"
                print(f"--- {name}", *traceback.format_exc().splitlines()[-60:], sep="\n", flush=True)
                if name != "commission":
                    self.heal()
            self.row.seconds = time.monotonic() - start
            print(
                f"{'ok  ' if self.row.passed else 'FAIL'} {name} ({self.row.seconds:.0f} s) {self.row.note}", flush=True
            )
            if name == "commission" and not self.row.passed:
                break

    def heal(self) -> None:
        """Bring everything into order after a failure, so that the next scenario is judged by what it does itself."""
        self.simulator.clear_faults()
        self.lab.on_apply = None
        for device in self.lab.devices.values():
            device.plug()
        result = self.rotate(psk_rotation_force=True)
        print(f"    (brought in order: {result.rc})", flush=True)

    def table(self) -> str:
        """Everything in figures."""
        lines = [
            "",
            f"{len(SITES)} sites, {len(self.lab.tunnels)} tunnels, a probe every {INTERVAL * 1000:.0f} ms on each",
            "",
            f"{'scenario':20} {'':4} {'time':>6} {'re-auth.':>8} {'dark':>6} {'longest dark':>13} {'longest gap':>12}"
            f" {'exposure p50':>13} {'p95':>7}",
        ]
        for row in self.rows:
            p50, p95 = (f"{percentile(row.exposures, q):.1f} s" if row.exposures else "-" for q in (50, 95))
            lines.append(
                f"{row.name:20} {'ok' if row.passed else 'FAIL':4} {row.seconds:4.0f} s {row.reauthentications:8}"
                f" {row.dark:6} {row.longest_dark * 1000:10.0f} ms {row.longest_gap * 1000:9.0f} ms {p50:>13} {p95:>7}"
            )
        if self.details:
            head = f"{'site':8} {'tunnel':26} {'identity':12} {'longest gap':>10} {'exposure':>9}"
            lines += ["", "Full rotation, by tunnel:", head, *self.details]
        lines += [
            "",
            "dark: probes lost on both tunnels of a site. Exposure: from the edge's new PSK to the device's proof.",
        ]
        return "\n".join(lines)


def percentile(values: list[float], percent: int) -> float:
    """The nearest-rank percentile."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def obstacle() -> str | None:
    """Why this machine can't run it, or None."""
    if os.geteuid() != 0:
        return "it needs root, for network namespaces"
    missing = [x for x in (CHARON, SSHD) if not Path(x).exists()]
    missing += [x for x in ("ip", "nsenter", "unshare", "swanctl", "nc", "ssh", "stdbuf") if not shutil.which(x)]
    if missing:
        return f"{', '.join(missing)} missing; run tests/e2e/install"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is missing"
    probe = subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, check=False)
    return "namespaces may not be made here" if probe.returncode else None


def main(names: list[str]) -> int:
    """Set up, run, tear down."""
    install = subprocess.run([Path(__file__).parent / "install"], check=False)
    why = "the packages it needs could not be installed" if install.returncode else obstacle()
    if why is not None:
        print(f"e2e: can't run here: {why}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["LC_ALL"] = "C.UTF-8"
    workdir = Path(tempfile.mkdtemp(prefix="e2e-"))
    began = time.monotonic()
    try:
        with Simulator(2 * len(SITES), SEED) as simulator:
            lab = Lab(workdir, simulator, SITES)
            env = {"ANSIBLE_PIPELINING": "1", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(workdir / "cp")}
            playbooks = Playbooks(workdir / "runs", {**simulator.env(), **env})
            suite = Suite(lab, simulator, playbooks, workdir)
            try:
                lab.start()
                suite.run(names)
            finally:
                playbooks.close()
                lab.stop()
    finally:
        if os.environ.get("E2E_KEEP"):
            print(f"e2e: everything is in {workdir}")
        else:
            shutil.rmtree(workdir, ignore_errors=True)
    passed = sum(row.passed for row in suite.rows)
    print(suite.table())
    print(f"\n{passed} passed, {len(suite.rows) - passed} failed in {time.monotonic() - began:.0f} s")
    return 0 if passed == len(suite.rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
