# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a network namespace: real daemons, one class a platform."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.harness.playbook import ROOT

CHARON = "/usr/sbin/charon-systemd"
SWANCTL = "/usr/sbin/swanctl"
SSHD = "/usr/sbin/sshd"
# What tests/e2e/install unpacks instead of installing it.
UNPACKED = ROOT / ".venv" / "e2e"
# Each side holds IKE messages back this long before it sends them, so that a gap lasts for many probes, and two gaps
# that were made one after the other overlap.
SEND_DELAY_MS = 250
PLUGINS = (
    "random nonce aes sha1 sha2 hmac kdf gcm openssl pem pkcs1 pkcs8 x509 pubkey constraints"
    " kernel-libipsec kernel-netlink socket-default vici updown"
)
PLUTO_CHANGE = re.compile(
    r'^(?P<time>\w+ +\d+ [\d:.]+): "(?P<name>[^"]*)"(?: #\d+)?: '
    r"(?:(?P<up>initiator (?:established|rekeyed) Child SA)"
    r"|terminating SAs|deleting (?:established|state \(STATE_V2_ESTABLISHED))",
    re.MULTILINE,
)
SWANCTL_FOLDERS = ["conf.d", "x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl"]
SWANCTL_FOLDERS += ["pubkey", "private", "rsa", "ecdsa", "bliss", "pkcs8", "pkcs12"]


def run(*command: str, check: bool = True, **options: Any) -> str:
    """Run a command and return what it printed; raise with what it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout + done.stderr


def await_that(what: str, condition: Callable[[], Any], seconds: float = 60.0, every: float = 0.1) -> Any:
    """The condition's first true value; raises with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(every)


def charon_settings(folder: Path, extra: str = "", include: str = "") -> str:
    """A strongswan.conf that logs with milliseconds and each message's connection."""
    return f"""
charon-systemd {{
  load = {PLUGINS}
  install_routes = no
  send_delay = {SEND_DELAY_MS}
  retransmit_tries = 3
  retransmit_timeout = 2.0
  journal {{ default = -1 }}
  filelog {{
    log {{
      path = {folder}/charon.log
      time_format = %s
      time_add_ms = yes
      ike_name = yes
      flush_line = yes
      default = 1
    }}
  }}
  {extra}
}}
{include}
"""


@dataclass
class Process:
    """A process of the lab."""

    name: str
    pid: int
    popen: subprocess.Popen[bytes] | None = None

    def is_alive(self) -> bool:
        if self.popen is not None:
            return self.popen.poll() is None
        return Path(f"/proc/{self.pid}/stat").exists()


@dataclass
class Node:
    """A network namespace with a strongSwan daemon in it."""

    name: str
    netns: str
    address: str
    folder: Path
    processes: list[Process] = field(default_factory=list)

    def has_interface(self) -> bool:
        """Whether the daemon has made its tun device."""
        return "ipsec0" in run("ip", "-n", self.netns, "link")

    def log(self) -> str:
        """What the daemon has said."""
        return (self.folder / "charon.log").read_text(encoding="utf-8", errors="replace")


class Device(Node):
    """A site's router, with mounts of its own over what its daemon reads and writes, and an sshd."""

    platform = ""
    # Whether packets go through its tunnels here. Otherwise sa_changes() has to say when they were up.
    carries = True
    # What is made read-only for a device that refuses.
    guarded = ""

    def variables(self, swanctl: Path) -> dict[str, Any]:
        """What the role has to be told; `swanctl` is where the lab has it."""
        raise NotImplementedError

    def options(self, tunnel_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """What is peculiar to its tunnels."""
        return {}

    def prepare(self, charon: Path) -> str:
        """Write what the daemon reads; the shell commands that start it and write its number into charon.pid."""
        raise NotImplementedError

    def serves(self) -> bool:
        """Whether the daemon answers."""
        raise NotImplementedError

    def sas(self) -> dict[str, list[str]]:
        """The numbers of the established IKE_SAs, by connection."""
        raise NotImplementedError

    def sa_changes(self) -> dict[str, list[tuple[float, bool]]]:
        """When the daemon says that a tunnel got a child SA, and lost one, by connection."""
        raise NotImplementedError

    def key_file(self, tunnel_id: str) -> Path:
        """The file with a tunnel's PSK."""
        raise NotImplementedError

    def key_files(self) -> list[Path]:
        """All of them."""
        raise NotImplementedError

    def configuration(self) -> list[Path]:
        """The folders and files of the configuration."""
        raise NotImplementedError

    def inside(self, *command: str, check: bool = False) -> str:
        """Run a command on the device."""
        return run("nsenter", "-t", str(self.processes[0].pid), "-n", "-m", *command, check=check)

    def shell(self, script: str) -> str:
        """Run a shell script on the device."""
        return self.inside("sh", "-c", script, check=True)

    @property
    def unplugged(self) -> Path:
        """While this file exists, nobody can log in."""
        return self.folder / "unplugged"

    def unplug(self) -> None:
        """Make the device unreachable for Ansible, sessions that are open included. Its tunnels know nothing of it."""
        self.unplugged.touch()
        sshd = self.processes[1].pid
        children = Path(f"/proc/{sshd}/task/{sshd}/children").read_text(encoding="ascii").split()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

    def plug(self) -> None:
        """Undo unplug()."""
        self.unplugged.unlink(missing_ok=True)

    def exposed_keys(self) -> list[str]:
        """The files with PSKs that anybody but root may read."""
        return [path.name for path in self.key_files() if path.stat().st_mode & 0o077 or path.stat().st_uid]

    def key(self, tunnel_id: str) -> str:
        """The tunnel's PSK in the configuration."""
        match = re.search(r'(?:secret = |PSK )"([^"]*)"', self.key_file(tunnel_id).read_text(encoding="utf-8"))
        return match[1] if match else ""

    def files(self) -> dict[str, str]:
        """What is configured, by file."""
        found = [y for x in self.configuration() for y in ([x] if x.is_file() else sorted(x.rglob("*")))]
        return {str(x): x.read_text(encoding="utf-8") for x in found if x.is_file()}


class StrongSwan(Device):
    """strongSwan by swanctl."""

    platform = "strongswan"
    guarded = "/etc/swanctl/conf.d"

    def variables(self, swanctl: Path) -> dict[str, Any]:
        return {"customer_device_strongswan_command": str(swanctl), "customer_device_strongswan_interface": "none"}

    def prepare(self, charon: Path) -> str:
        (self.folder / "strongswan.d").mkdir()
        conf = charon_settings(self.folder, include="include /etc/strongswan.d/*.conf")
        (self.folder / "strongswan.conf").write_text(conf, encoding="utf-8")
        return f"""mkdir -p /etc/swanctl /etc/strongswan.d
mount --bind {self.folder}/swanctl /etc/swanctl
mount --bind {self.folder}/strongswan.d /etc/strongswan.d
mount --bind {self.folder}/strongswan.conf /etc/strongswan.conf
{charon} > {self.folder}/charon.out 2>&1 & echo $! > {self.folder}/charon.pid
"""

    def swanctl(self, *arguments: str) -> str:
        """Run swanctl on the device."""
        return self.inside("swanctl", *arguments)

    def serves(self) -> bool:
        return "uptime" in self.swanctl("--stats")

    def sas(self) -> dict[str, list[str]]:
        return numbers(r"^(\S+): #(\d+), ESTABLISHED", self.swanctl("--list-sas", "--noblock"))

    def key_file(self, tunnel_id: str) -> Path:
        return self.folder / "swanctl" / "conf.d" / f"cf-{tunnel_id[:8]}.key.conf"

    def key_files(self) -> list[Path]:
        return list((self.folder / "swanctl" / "conf.d").glob("*.key.conf"))

    def configuration(self) -> list[Path]:
        return [self.folder / "swanctl", self.folder / "strongswan.d"]


class Ipsec(Device):
    """A daemon with a command `ipsec`, whose package can't be installed beside the other strongSwan's.

    tests/e2e/install has unpacked it. Its files, with the machine's own /etc, are in folders of the device, and these
    are mounted over the machine's.
    """

    guarded = "/etc/ipsec.d"
    package = ""

    @property
    def unpacked(self) -> Path:
        """Where the package is."""
        return UNPACKED / self.package

    @property
    def command(self) -> Path:
        """The program ipsec."""
        return self.folder / "bin" / "ipsec"

    def variables(self, swanctl: Path) -> dict[str, Any]:
        return {
            f"customer_device_{self.platform}_command": str(self.command),
            f"customer_device_{self.platform}_interface": "none",
        }

    def over(self, path: str) -> str:
        """Mount a copy of a folder with what the package adds."""
        copy = self.folder / path.replace("/", "-").strip("-")
        copy.mkdir()
        for source in (Path(path), self.unpacked / path.lstrip("/")):
            if source.exists():
                run("cp", "-a", f"{source}/.", str(copy))
        return f"mount --bind {copy} {path}\n"

    @property
    def etc(self) -> Path:
        """The device's /etc."""
        return self.folder / "etc"

    def write_command(self, text: str) -> None:
        """Write the program ipsec."""
        self.command.parent.mkdir()
        self.command.write_text(text, encoding="utf-8")
        self.command.chmod(0o755)

    def key_file(self, tunnel_id: str) -> Path:
        return self.etc / "ipsec.d" / f"cf-{tunnel_id[:8]}.secrets"

    def key_files(self) -> list[Path]:
        return [*(self.etc / "ipsec.d").glob("*.secrets"), self.etc / "ipsec.secrets"]

    def configuration(self) -> list[Path]:
        return [self.etc / "ipsec.d", self.etc / "ipsec.conf", self.etc / "ipsec.secrets"]


class Stroke(Ipsec):
    """strongSwan by ipsec.conf."""

    platform = "strongswan_stroke"
    package = "strongswan"

    def prepare(self, charon: Path) -> str:
        mounts = self.over("/etc") + self.over("/usr/lib/ipsec")
        conf = charon_settings(self.folder).replace("charon-systemd {", "charon {").replace(" vici ", " stroke ")
        (self.etc / "strongswan.conf").write_text(conf, encoding="utf-8")
        self.write_command((self.unpacked / "usr" / "sbin" / "ipsec").read_text(encoding="utf-8"))
        return f"""{mounts}{self.command} start --nofork > {self.folder}/charon.out 2>&1 &
echo $! > {self.folder}/charon.pid
"""

    def serves(self) -> bool:
        return "uptime" in self.inside(str(self.command), "statusall")

    def sas(self) -> dict[str, list[str]]:
        return numbers(r"^\s*(\S+)\[(\d+)\]: ESTABLISHED", self.inside(str(self.command), "status"))


class Libreswan(Ipsec):
    """Libreswan. The kernel has no ESP here, so a library has pluto take the kernel's refusals for success.

    All of IKE is real, but nothing goes through its tunnels.
    """

    platform = "libreswan"
    package = "libreswan"
    carries = False

    def options(self, tunnel_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        # One has its address by name, the other by the default route.
        return {tunnel_ids[0]: {"local_address": self.address}}

    def prepare(self, charon: Path) -> str:
        mounts = self.over("/etc") + self.over("/usr/libexec")
        nss = self.folder / "nss"
        nss.mkdir()
        log = f"config setup\n    logfile={self.folder}/charon.log\n"
        conf = (self.etc / "ipsec.conf").read_text(encoding="utf-8")
        (self.etc / "ipsec.conf").write_text(conf.replace("config setup\n", log), encoding="utf-8")
        self.write_command(f"""#!/bin/sh
export IPSEC_SBINDIR={self.unpacked}/usr/sbin IPSEC_NSSDIR={nss}
exec {self.unpacked}/usr/sbin/ipsec "$@"
""")
        # What pluto has reserved in the kernel is never filled there, and would have its SAs expire after 30 seconds.
        return f"""{mounts}mkdir -p /run/pluto
echo 86400 > /proc/sys/net/core/xfrm_acq_expires
{self.command} initnss > {self.folder}/nss.out 2>&1
PATH={self.unpacked}/usr/sbin:$PATH LD_PRELOAD={UNPACKED}/xfrm_shim.so \\
    /usr/libexec/ipsec/pluto --nofork --config /etc/ipsec.conf --nssdir {nss} > {self.folder}/charon.out 2>&1 &
echo $! > {self.folder}/charon.pid
"""

    def serves(self) -> bool:
        return "Total IPsec connections" in self.inside(str(self.command), "auto", "--status")

    def sas(self) -> dict[str, list[str]]:
        text = self.inside(str(self.command), "showstates")
        return numbers(r'^000 #(?P<number>\d+): "(?P<name>[^"]*)"\S* STATE_V2_ESTABLISHED_IKE_SA', text)

    def sa_changes(self) -> dict[str, list[tuple[float, bool]]]:
        found: dict[str, list[tuple[float, bool]]] = {}
        year = time.localtime().tm_year
        for match in PLUTO_CHANGE.finditer(self.log()):
            moment = datetime.strptime(f"{year} {match['time']}", "%Y %b %d %H:%M:%S.%f").timestamp()
            found.setdefault(match["name"], []).append((moment, bool(match["up"])))
        return found


def numbers(pattern: str, text: str) -> dict[str, list[str]]:
    """What the pattern finds, connections with numbers, by connection."""
    found: dict[str, list[str]] = {}
    for match in re.finditer(pattern, text, re.MULTILINE):
        name, number = (match["name"], match["number"]) if match.re.groupindex else match.groups()
        found.setdefault(name, []).append(number)
    return found


def device_of(platform: str) -> type[Device]:
    """The device of a platform."""
    return {x.platform: x for x in (StrongSwan, Stroke, Libreswan)}[platform]
