# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites with real devices, and an edge that follows the simulator: strongSwan in network namespaces."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import requests

from tests.e2e import traffic
from tests.e2e.nodes import (
    CHARON,
    SSHD,
    SWANCTL,
    SWANCTL_FOLDERS,
    Device,
    Node,
    Process,
    await_that,
    charon_settings,
    device_of,
    run,
)
from tests.harness.simulator import Simulator
from tests.simulator.model import customer_inside_address

EVERYTHING = "0.0.0.0/0"
# Every node's way to the others.
GATEWAY = "198.18.255.254"
AUTHENTICATED = re.compile(
    r"^(?P<time>\d+\.\d+) .*<(?P<connection>\S+)\|\d+> authentication of .* with pre-shared key successful"
)
CLOSED = re.compile(
    r"^(?P<time>\d+\.\d+) .*<(?P<connection>\S+)\|\d+> "
    r"(?:closing CHILD_SA|deleting IKE_SA|IKE_SA deleted|destroying duplicate IKE_SA)",
    re.MULTILINE,
)


class Edge(Node):
    """One anycast address with all tunnels that end there."""

    def swanctl(self, *arguments: str) -> str:
        env = {**os.environ, "SWANCTL_DIR": str(self.folder / "swanctl")}
        return run("swanctl", *arguments, "--uri", f"unix://{self.folder}/charon.vici", env=env, check=False)

    def configure(self, tunnels: Iterable[dict[str, Any]], whole: Collection[str]) -> None:
        """Load connections and secrets of the tunnels that end here, in each form of identity that the API offers.

        Those in `whole` have all traffic in their selectors, because their device doesn't have them narrowed.
        """
        mine = [tunnel for tunnel in tunnels if tunnel["cloudflare_endpoint"] == self.address]
        connections = "".join(
            f"""
  {tunnel["id"]}-{form} {{
    version = 2
    local_addrs = {self.address}
    proposals = aes256-sha256-ecp384,aes256gcm16-prfsha256-ecp384
    rekey_time = 0s
    dpd_delay = 0s
    local {{ auth = psk
      id = {self.address} }}
    remote {{ auth = psk
      id = "{identity}" }}
    children {{ net {{
      local_ts = {EVERYTHING if tunnel["id"] in whole else tunnel["interface_address"].partition("/")[0] + "/32"}
      remote_ts = {EVERYTHING if tunnel["id"] in whole else customer_inside(tunnel) + "/32"}
      esp_proposals = aes256-sha256-ecp384,aes256gcm16-ecp384
      rekey_time = 0s }} }}
  }}"""
            for tunnel in mine
            for form, identity in identities(tunnel).items()
        )
        self._write("connections.conf", f"connections {{{connections}\n}}\n")
        self.load_psks(mine)
        answer = self.swanctl("--load-conns")
        if "failed" in answer or "successfully loaded" not in answer:
            raise RuntimeError(f"{self.name} did not load its connections: {answer}")

    def load_psks(self, tunnels: Iterable[dict[str, Any]]) -> None:
        """Load the secrets; the SAs that there are stay as they are."""
        secrets = "".join(
            f'  ike-{tunnel["id"]} {{ secret = "{tunnel["psk"]}"\n'
            + "".join(f'    id-{form} = "{identity}"\n' for form, identity in identities(tunnel).items())
            + "  }\n"
            for tunnel in tunnels
            if tunnel["cloudflare_endpoint"] == self.address and tunnel["psk"]
        )
        self._write("secrets.conf", f"secrets {{\n{secrets}}}\n")
        answer = self.swanctl("--load-creds", "--noprompt")
        if "loaded ike secret" not in answer or "failed" in answer or "error" in answer:
            raise RuntimeError(f"{self.name} did not load its secrets: {answer}")

    def _write(self, name: str, text: str) -> None:
        path = self.folder / "swanctl" / "conf.d" / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")

    def authentications(self, since: float = 0.0) -> dict[str, list[float]]:
        """When each tunnel's device has proved its PSK here, by tunnel id."""
        found: dict[str, list[float]] = {}
        for line in self.log().splitlines():
            match = AUTHENTICATED.match(line)
            if match and float(match["time"]) >= since:
                found.setdefault(match["connection"].partition("-")[0], []).append(float(match["time"]))
        return found

    def losses(self) -> dict[str, list[float]]:
        """When a child SA of a tunnel was closed here, by tunnel id."""
        found: dict[str, list[float]] = {}
        for match in CLOSED.finditer(self.log()):
            found.setdefault(match["connection"].partition("-")[0], []).append(float(match["time"]))
        return found


def identities(tunnel: dict[str, Any]) -> dict[str, str]:
    """How the device may call itself, in strongSwan's words."""
    said = tunnel["remote_identities"]
    found = {
        "fqdn": f"fqdn:{said['fqdn_id']}",
        "user": f"email:{said['user_id']}",
        "key": f"keyid:{bytes.fromhex(said['hex_id']).decode()}",
    }
    if "custom_remote_identities" in tunnel:
        found["custom"] = f"fqdn:{tunnel['custom_remote_identities']['fqdn_id']}"
    return found


def customer_inside(tunnel: dict[str, Any]) -> str:
    """The customer's address inside the tunnel."""
    return customer_inside_address(tunnel["interface_address"])


class Lab:
    """Everything. Its namespaces and processes end with the process that makes it, see tests.e2e.__main__."""

    def __init__(self, workdir: Path, simulator: Simulator, forms: dict[str, str], platforms: dict[str, str]) -> None:
        """`forms` names the sites, each with the type of identity that its device uses; `platforms` those that are not
        strongSwan by swanctl.
        """
        self.workdir = workdir
        self.simulator = simulator
        self.tunnels: list[dict[str, Any]] = simulator.state()["tunnels"]
        self.forms = forms
        self.site_of = {tunnel["id"]: list(forms)[index // 2] for index, tunnel in enumerate(self.tunnels)}
        self._internet = "internet"
        self.devices = {
            site: device_of(platforms.get(site, "strongswan"))(
                site,
                site,
                self.of_site(site)[0]["customer_endpoint"] or f"198.19.0.{n + 1}",
                workdir / site,
            )
            for n, site in enumerate(forms)
        }
        # The tunnels through which traffic goes, with their sites.
        self.measured = {i: site for i, site in self.site_of.items() if self.devices[site].carries}
        addresses = sorted({tunnel["cloudflare_endpoint"] for tunnel in self.tunnels})
        self.edges = [Edge(f"edge{n}", f"edge{n}", a, workdir / f"edge{n}") for n, a in enumerate(addresses)]
        self.applied: dict[str, float] = {}
        self.on_apply: Callable[[list[str]], None] | None = None
        self.answers = True
        self._journal_start = len(simulator.journal())
        self._follower_error: Exception | None = None
        self._prober: Process | None = None
        # Debian's AppArmor profiles go by path, and would keep the daemons out of the lab's folders.
        self._charon = workdir / "bin" / "charon"
        self.swanctl = workdir / "bin" / "swanctl"

    def of_site(self, site: str) -> list[dict[str, Any]]:
        """The tunnels of a site."""
        return [tunnel for tunnel in self.tunnels if self.site_of[tunnel["id"]] == site]

    def device_of(self, tunnel_id: str) -> Device:
        return self.devices[self.site_of[tunnel_id]]

    @property
    def nodes(self) -> list[Node]:
        return [*self.devices.values(), *self.edges]

    # Start

    def start(self) -> None:
        """Namespaces, daemons, and the edge's configuration; no tunnel is up yet."""
        self._charon.parent.mkdir()
        shutil.copy(CHARON, self._charon)
        shutil.copy(SWANCTL, self.swanctl)
        run("ip", "netns", "add", self._internet)
        run("ip", "-n", self._internet, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self._internet, "link", "set", "br0", "up")
        run("ip", "-n", self._internet, "address", "add", f"{GATEWAY}/32", "dev", "br0")
        run("ip", "-n", self._internet, "route", "add", "default", "dev", "br0", "src", GATEWAY)
        self._set(self._internet, "ip_forward", 1)
        for name in ("all", "default", "br0"):
            self._set(self._internet, f"conf/{name}/rp_filter", 0)
            self._set(self._internet, f"conf/{name}/send_redirects", 0)
        for number, node in enumerate(self.nodes):
            self._connect(node, f"port{number}")
        for device in self.devices.values():
            self._boot_device(device)
        for edge in self.edges:
            self._boot_edge(edge)
        for device in self.devices.values():
            await_that(f"{device.name} has its daemons", functools.partial(self._is_up, device), 60)
        for edge in self.edges:
            await_that(f"{edge.name} has its daemon", (edge.folder / "charon.vici").exists, 60)
            await_that(f"{edge.name} has its interface", edge.has_interface, 60)
        for tunnel in self.tunnels:
            if tunnel["id"] in self.measured:
                self._give_addresses(tunnel)
        for edge in self.edges:
            edge.configure(self.tunnels, [i for i in self.site_of if i not in self.measured])
        self.hold_answers()
        threading.Thread(target=self._follow, name="follower", daemon=True).start()

    def _connect(self, node: Node, port: str) -> None:
        ns, inet = node.netns, self._internet
        run("ip", "netns", "add", ns)
        run("ip", "link", "add", "eth0", "netns", ns, "type", "veth", "peer", "name", port, "netns", inet)
        run("ip", "-n", inet, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", ns, "link", "set", "lo", "up")
        run("ip", "-n", ns, "address", "add", f"{node.address}/32", "dev", "eth0")
        run("ip", "-n", ns, "link", "set", "eth0", "up")
        way = ("via", GATEWAY, "dev", "eth0", "onlink", "src", node.address)
        run("ip", "-n", ns, "route", "add", "default", *way)
        # kernel-libipsec's own table comes later and would swallow what is not meant for it.
        run("ip", "-n", ns, "rule", "add", "pref", "100", "lookup", "main")
        for name in ("all", "default", "eth0"):
            self._set(ns, f"conf/{name}/rp_filter", 0)
        node.folder.mkdir(mode=0o700)
        for folder in SWANCTL_FOLDERS:
            (node.folder / "swanctl" / folder).mkdir(parents=True)
        (node.folder / "swanctl" / "swanctl.conf").write_text("include conf.d/*.conf\n", encoding="utf-8")

    @staticmethod
    def _set(netns: str, setting: str, value: int) -> None:
        """Set one of the kernel's settings of IPv4."""
        run("ip", "netns", "exec", netns, "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{setting}")

    def _boot_device(self, device: Device) -> None:
        folder = device.folder
        commands = device.prepare(self._charon)
        ssh = folder / "ssh"
        ssh.mkdir(mode=0o700)
        for key in ("host", "id"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / key))
        shutil.copy(ssh / "id.pub", ssh / "authorized_keys")
        (ssh / "config").write_text(
            f"""ListenAddress 127.0.0.1
HostKey {ssh}/host
AuthorizedKeysFile {ssh}/authorized_keys
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
PidFile none
UsePAM no
MaxStartups 100
Subsystem sftp internal-sftp
""",
            encoding="utf-8",
        )
        # bash, called by sshd, would run what this machine's root has in .bashrc with each of Ansible's commands.
        passwd = folder / "passwd"
        users = Path("/etc/passwd").read_text(encoding="utf-8")
        passwd.write_text(re.sub(r"^(root:.*:)[^:\n]*$", r"\1/bin/sh", users, flags=re.MULTILINE), encoding="utf-8")
        boot = folder / "boot.sh"
        boot.write_text(
            f"""set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd /run/lock
{commands}mount --bind {passwd} /etc/passwd
{SSHD} -D -e -f {ssh}/config > {folder}/sshd.out 2>&1 & echo $! > {folder}/sshd.pid
wait
""",
            encoding="utf-8",
        )
        door = folder / "door"
        door.write_text(f"#!/bin/sh\n[ -e {device.unplugged} ] || exec ip netns exec {device.netns} nc 127.0.0.1 22\n")
        door.chmod(0o700)
        self._spawn(device, "boot", "ip", "netns", "exec", device.netns, "unshare", "-m", "sh", str(boot))

    def _boot_edge(self, edge: Edge) -> None:
        extra = f"plugins {{ vici {{ socket = unix://{edge.folder}/charon.vici }} }}"
        (edge.folder / "strongswan.conf").write_text(charon_settings(edge.folder, extra), encoding="utf-8")
        env = {"STRONGSWAN_CONF": str(edge.folder / "strongswan.conf")}
        self._spawn(edge, "charon", "ip", "netns", "exec", edge.netns, str(self._charon), env=env)

    def _spawn(self, node: Node, name: str, *command: str, env: dict[str, str] | None = None) -> None:
        with (node.folder / f"{name}.out").open("wb") as out:
            popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, **(env or {})}
            )
        node.processes.append(Process(name, popen.pid, popen))

    def _is_up(self, device: Device) -> bool:
        """Whether both daemons of a device serve; the first process becomes charon, whose namespaces are entered."""
        pids = [device.folder / f"{name}.pid" for name in ("charon", "sshd")]
        if not all(path.exists() and path.read_text().strip() for path in pids):
            return False
        if len(device.processes) == 1:
            charon, sshd = (Process(path.stem, int(path.read_text())) for path in pids)
            device.processes[:0] = [charon, sshd]
        reply = run(
            "ip", "netns", "exec", device.netns, "nc", "-w", "1", "127.0.0.1", "22", check=False, input=""
        )  # prints the greeting
        return "SSH-" in reply and device.serves()

    def _give_addresses(self, tunnel: dict[str, Any]) -> None:
        """Inside addresses and the routes between them, at both ends: kernel-libipsec has one interface for all."""
        edge = next(edge for edge in self.edges if edge.address == tunnel["cloudflare_endpoint"])
        ends = [
            (edge, tunnel["interface_address"].partition("/")[0]),
            (self.device_of(tunnel["id"]), customer_inside(tunnel)),
        ]
        for (node, here), (_node, there) in (ends, ends[::-1]):
            run("ip", "-n", node.netns, "address", "add", f"{here}/32", "dev", "ipsec0")
            run("ip", "-n", node.netns, "route", "add", f"{there}/32", "dev", "ipsec0", "src", here)

    # The edge follows the simulator

    def hold_answers(self) -> None:
        """Have the API answer a new PSK only when the edge has it, as Cloudflare's does; no other fault is left."""
        self.on_apply = None
        self.answers = True
        self.simulator.clear_faults()
        hold = {"route": "psk_set", "validate_only": False, "hang": True, "when": "after", "count": None}
        self.simulator.arm(hold)

    def _follow(self) -> None:
        session = requests.Session()
        session.trust_env = False
        since = self._journal_start
        try:
            while True:
                wait = {"since": since, "wait": 20.0}
                answer = session.get(f"{self.simulator.sim_url}/journal", params=wait, timeout=60).json()
                since = answer["last"]
                if any(entry["changed"] for entry in answer["entries"]):
                    self._load(session.get(f"{self.simulator.sim_url}/state", timeout=60).json()["tunnels"])
                    if self.answers:
                        session.post(f"{self.simulator.sim_url}/release", timeout=60).raise_for_status()
        except Exception as exc:
            self._follower_error = exc

    def _load(self, truth: list[dict[str, Any]]) -> None:
        """Load the PSKs that have changed into the edge."""
        before = {tunnel["id"]: tunnel["psk_generation"] for tunnel in self.tunnels}
        changed = [tunnel["id"] for tunnel in truth if tunnel["psk_generation"] != before[tunnel["id"]]]
        self.tunnels = truth
        for edge in self.edges:
            if any(x["id"] in changed for x in truth if x["cloudflare_endpoint"] == edge.address):
                edge.load_psks(truth)
        self.applied.update(dict.fromkeys(changed, time.time()))
        if changed and self.on_apply is not None:
            self.on_apply(changed)

    def check(self) -> None:
        """Raise if anything of the lab has died."""
        if self._follower_error is not None:
            raise RuntimeError(f"the edge no longer follows the simulator: {self._follower_error!r}")
        dead = [f"{node.name}: {p.name}" for node in self.nodes for p in node.processes if not p.is_alive()]
        if dead:
            raise RuntimeError(f"died: {', '.join(dead)}")

    def authentications(self, since: float = 0.0) -> dict[str, list[float]]:
        """When each tunnel's device has proved its PSK at the edge, by tunnel id."""
        found: dict[str, list[float]] = {}
        for edge in self.edges:
            for tunnel_id, times in edge.authentications(since).items():
                found.setdefault(tunnel_id, []).extend(times)
        return found

    # Traffic

    def start_traffic(self) -> None:
        """Send through every tunnel from now on; all must have been up once."""
        tunnels = [
            {
                "netns": self.device_of(tunnel["id"]).netns,
                "source": customer_inside(tunnel),
                "target": tunnel["interface_address"].partition("/")[0],
            }
            for tunnel in self.tunnels
            if tunnel["id"] in self.measured
        ]
        edges = [
            {
                "netns": edge.netns,
                "addresses": [
                    tunnel["interface_address"].partition("/")[0]
                    for tunnel in self.tunnels
                    if tunnel["cloudflare_endpoint"] == edge.address and tunnel["id"] in self.measured
                ],
            }
            for edge in self.edges
        ]
        config = self.workdir / "traffic.json"
        config.write_text(json.dumps({"tunnels": tunnels, "edges": edges}), encoding="utf-8")
        with (self.workdir / "traffic.err").open("wb") as err:
            popen = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.traffic", str(config), str(self.workdir / "traffic")],
                stdin=subprocess.DEVNULL,
                stdout=err,
                stderr=err,
            )
        self._prober = Process("traffic", popen.pid, popen)

    def loss(self, start: float, end: float) -> traffic.Loss:
        """What was lost between two moments; waits until all that was sent is accounted for."""
        prober = self._prober
        assert prober is not None
        out = self.workdir / "traffic"

        def written() -> bool:
            if not prober.is_alive():
                raise RuntimeError("the traffic has stopped: " + (self.workdir / "traffic.err").read_text())
            lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
            return bool(lines) and float(lines[-1].split()[0]) >= end

        await_that("the traffic's account", written, 30)
        return traffic.read_loss(out, self.site_of, self._sa_changes(), start, end)

    def _sa_changes(self) -> dict[str, list[tuple[float, bool]]]:
        """When the tunnels that carry no traffic got a child SA, and lost one, in their order.

        One is there from when the device has it, which is told of it last, until either end has closed it.
        """
        losses: dict[str, list[float]] = {}
        for edge in self.edges:
            losses |= edge.losses()
        found = {}
        for site, device in self.devices.items():
            if not device.carries:
                said = device.sa_changes()
                for tunnel in self.of_site(site):
                    lost = [(moment, False) for moment in losses.get(tunnel["id"], [])]
                    found[tunnel["id"]] = sorted([*said.get(f"cf-{tunnel['id'][:8]}", []), *lost])
        return found

    def await_traffic(self, seconds: float = 60.0) -> None:
        """Wait until each tunnel carries traffic that was sent after this call, or has an SA where none can."""
        start = time.time()

        def flows() -> bool:
            lines = (self.workdir / "traffic").read_text(encoding="utf-8").splitlines()[-6:-1]
            slots = [line.split() for line in lines]
            carried = len(slots) == 5 and all(float(t) > start and set(seen) == {"1"} for t, seen in slots)
            return carried and all(changes and changes[-1][1] for changes in self._sa_changes().values())

        await_that("traffic through the tunnels", flows, seconds)
