# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scenarios share: runs of playbooks, measurements, and the table."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.lab import Lab, customer_inside
from tests.e2e.traffic import INTERVAL, Loss
from tests.harness.playbook import Playbooks, Result
from tests.harness.simulator import Simulator

# The sites, and the identity that the device of each presents.
SITES = {
    "berlin": "fqdn",
    "lisbon": "key_id",
    "turin": "user_fqdn",
    "vienna": "custom_fqdn",
    "madrid": "fqdn",
}
# All others have strongSwan by swanctl.
PLATFORMS = {"madrid": "strongswan_stroke", "vienna": "libreswan"}
# These make a new SA only after the old one is gone, so each re-authentication can be seen in the traffic.
BREAK_BEFORE_MAKE = ("turin", *PLATFORMS)
# A whole suite takes a fraction of this; what hangs is ended.
LIMIT_SECONDS = 1800
RUN_SECONDS = 400

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
    """What a scenario showed. Times in seconds; `dark` counts probes that no tunnel of a site has carried."""

    name: str
    passed: bool = False
    seconds: float = 0.0
    reauthentications: int = 0
    dark: int = 0
    longest_dark: float = 0.0
    longest_gap: float = 0.0
    exposures: list[float] = field(default_factory=list)
    note: str = ""


class CommandLines(threading.Thread):
    """Every command line that is seen here, the devices' included. A sample: what lives for less may be missed."""

    def __init__(self) -> None:
        super().__init__(name="command lines", daemon=True)
        self.seen: set[bytes] = set()

    def run(self) -> None:
        while True:
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    self.seen.add(path.read_bytes())
            time.sleep(0.1)


class Suite:
    """The lab, the simulator, and the tools of the scenarios."""

    def __init__(self, lab: Lab, simulator: Simulator, playbooks: Playbooks, workdir: Path) -> None:
        self.lab = lab
        self.simulator = simulator
        self.playbooks = playbooks
        self.workdir = workdir
        self.rows: list[Row] = []
        self.row = Row("")
        self.command_lines = CommandLines()
        self.command_lines.start()
        # What a device was given on purpose, without the simulator's knowledge.
        self.own_psks: set[str] = set()
        self.by_tunnel: list[str] = []
        self.by_site: list[str] = []
        self._deadline = time.monotonic() + LIMIT_SECONDS

    # Runs

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
                "customer_device_platform": device.platform,
                "customer_device_ike_id": SITES[site],
                **device.variables(self.lab.swanctl),
                "customer_device_tunnel_options": device.options([t["id"] for t in self.lab.of_site(site)]),
                "customer_device_strongswan_make_before_break": site not in BREAK_BEFORE_MAKE,
                "customer_device_timeout": 60,
                **changes.get(site, {}),
            }
        return {"all": {"hosts": hosts}}

    def options(self, sites: Any = SITES, check: bool = False, **variables: Any) -> dict[str, Any]:
        """Arguments for a run of rotate_psks that says and shows as much as it can."""
        escrow = {"backend": "file", "path": str(self.workdir / "escrow.yml")}
        return {
            "inventory": self.inventory(sites),
            "extra_vars": {"psk_rotation_escrow": escrow, **variables},
            "check": check,
            "diff": True,
            "verbosity": 3,
        }

    def rotate(
        self, sites: Any = SITES, check: bool = False, playbook: str = "rotate_psks", **variables: Any
    ) -> Result:
        """Run a playbook of the collection to its end."""
        options = self.options(sites, check, **variables)
        return self.playbooks.run(f"magicwan.cloudflare.{playbook}", timeout=self.patience(), **options)

    def device_run(self, changes: dict[str, dict[str, Any]]) -> Result:
        """Run the role alone on the named sites."""
        options = {"inventory": self.inventory(changes, **changes), "diff": True, "verbosity": 3}
        return self.playbooks.run(DEVICE_PLAY, timeout=self.patience(), **options)

    def patience(self) -> float:
        """How long a run may take now."""
        return max(1.0, min(RUN_SECONDS, self._deadline - time.monotonic()))

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

    # The truth

    def truth(self) -> list[dict[str, Any]]:
        """The simulator's tunnels."""
        return list(self.simulator.state()["tunnels"])

    def psks(self) -> dict[str, str]:
        """Cloudflare's PSK of each tunnel."""
        return {tunnel["id"]: tunnel["psk"] for tunnel in self.truth()}

    def generations(self) -> dict[str, int]:
        """How many PSKs each tunnel has had."""
        return {tunnel["id"]: tunnel["psk_generation"] for tunnel in self.truth()}

    def mismatched(self) -> list[str]:
        """The tunnels whose ends have different PSKs."""
        return [t["name"] for t in self.truth() if self.lab.device_of(t["id"]).key(t["id"]) != t["psk"]]

    def sas(self) -> dict[str, dict[str, list[str]]]:
        """Every IKE_SA's number, by site and connection."""
        return {site: device.sas() for site, device in self.lab.devices.items()}

    def files(self) -> dict[str, dict[str, str]]:
        """The configuration of every device."""
        return {site: device.files() for site, device in self.lab.devices.items()}

    # Judgement

    def need(self, condition: Any, what: str) -> None:
        """Fail the scenario unless it holds."""
        if not condition:
            raise Failed(what)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Watch traffic and authentications while the body runs; the row gets the figures."""
        start = time.time()
        self.lab.applied.clear()
        yield
        self.lab.check()
        loss = self.lab.loss(start, time.time())
        self.need(loss.slots > 10, f"only {loss.slots} probes were sent")
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
        self.last_loss: Loss = loss

    def proved(self, tunnel_id: str) -> float | None:
        """The first authentication of the measured time after the last new PSK: seconds after it, or None."""
        applied = self.lab.applied[tunnel_id]
        after = [moment for moment in self.proofs.get(tunnel_id, []) if moment > applied]
        return min(after) - applied if after else None

    def not_dark(self) -> None:
        """No site was without a working tunnel in the measured time."""
        dark = {site: count for site, count in self.last_loss.dark_slots.items() if count}
        self.need(not dark, f"sites without a working tunnel, in lost probes: {dark}")

    def consistent(self) -> None:
        """Both ends of every tunnel have one PSK, which only root can read, and traffic flows."""
        self.need(not self.mismatched(), f"different PSKs at the two ends: {self.mismatched()}")
        exposed = [name for device in self.lab.devices.values() for name in device.exposed_keys()]
        self.need(not exposed, f"others than root may read {exposed}")
        self.lab.await_traffic()

    @contextmanager
    def lost_when_applied(self, site: str) -> Iterator[None]:
        """The device becomes unreachable when the API has applied its PSK, before the answer is out."""

        def unplug(ids: list[str]) -> None:
            if any(self.lab.site_of[i] == site for i in ids):
                self.lab.devices[site].unplug()

        self.lab.on_apply = unplug
        try:
            yield
        finally:
            self.lab.on_apply = None
            self.lab.devices[site].plug()

    def heal(self) -> None:
        """Bring everything into order after a failure, so that the next scenario is judged by what it does itself."""
        self.lab.hold_answers()
        for device in self.lab.devices.values():
            device.plug()
        with suppress(Exception):
            self.rotate(psk_rotation_force=True)

    # The table

    def take_details(self) -> None:
        """Keep the last measurement by site and by tunnel."""
        loss = self.last_loss
        self.by_site = [
            f"{site:8} {self.lab.devices[site].platform:17} {loss.slots:7} {loss.dark_slots[site]:6}"
            f" {loss.dark_gaps[site] * 1000:10.0f} ms  {'traffic' if self.lab.devices[site].carries else 'SAs'}"
            for site in SITES
        ]
        self.by_tunnel = [
            f"{self.lab.site_of[t['id']]:8} {t['name']:26} {SITES[self.lab.site_of[t['id']]]:12}"
            f" {loss.gaps[t['id']] * 1000:8.0f} ms {self.proved(t['id']) or math.nan:7.1f} s"
            for t in self.truth()
        ]

    def table(self) -> str:
        """Everything in figures."""
        lines = [
            "",
            f"{len(SITES)} sites, {len(self.lab.tunnels)} tunnels, a probe every {INTERVAL * 1000:.0f} ms on each,"
            f" {sum(row.reauthentications for row in self.rows)} re-authentications seen",
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
        if self.by_site:
            head = f"{'site':8} {'platform':17} {'probes':>7} {'dark':>6} {'longest dark':>13}  by"
            lines += ["", "Full rotation, by site:", head, *self.by_site]
            head = f"{'site':8} {'tunnel':26} {'identity':12} {'longest gap':>11} {'exposure':>9}"
            lines += ["", "Full rotation, by tunnel:", head, *self.by_tunnel]
        lines += [
            "",
            "dark: probes lost on both tunnels of a site. Exposure: from the edge's new PSK to the device's proof.",
            "Libreswan needs ESP in the kernel, which is not used here: a library has it take refusals for success.",
            "All of its IKE is real, but no probe goes through its tunnels: lost is what would have been sent while a",
            "tunnel had no child SA, by the logs of both ends.",
        ]
        return "\n".join(lines)


def percentile(values: list[float], percent: int) -> float:
    """The nearest-rank percentile."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]
