# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PAN-OS by its XML API: candidate and running configuration, changes by administrator, locks, IKE.

paloaltonetworks.panos is in no package registry. `doubles` makes its three modules over the real pan-os-python, with
the options that the real ones document; VENDOR_COLLECTIONS puts the real ones before them.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from lxml import etree

from .device import PASSWORD, USER, Device, Wanted
from .model import Refused, Sa
from .web import Reply, Request, WebServer

DEVICE = "/config/devices/entry[@name='localhost.localdomain']"
OTHER_ADMIN = "night-job"
IP = r"(?:\d{1,3}\.){3}\d{1,3}"
NAME = r"[A-Za-z0-9_.-]{1,31}"
CIPHER = r"aes-(?:128|192|256)-cbc|aes-(?:128|256)-gcm"
HASH = "none|sha1|sha256|sha384|sha512"
# Leaves under the device's entry, without names, and their values.
RULES: dict[str, str] = {
    "network/profiles/interface-management-profile/entry/ping": "yes|no",
    "network/interface/tunnel/units/entry/ip/entry": "",
    "network/interface/tunnel/units/entry/mtu": r"\d{3,4}",
    "network/interface/tunnel/units/entry/interface-management-profile": NAME,
    "network/ike/crypto-profiles/ike-crypto-profiles/entry/hash/member": "md5|sha1|sha256|sha384|sha512|non-auth",
    "network/ike/crypto-profiles/ike-crypto-profiles/entry/dh-group/member": r"group(?:1|2|5|14|15|16|19|20|21)",
    "network/ike/crypto-profiles/ike-crypto-profiles/entry/encryption/member": CIPHER,
    "network/ike/crypto-profiles/ike-crypto-profiles/entry/lifetime/seconds": r"\d{3,5}",
    "network/ike/crypto-profiles/ipsec-crypto-profiles/entry/esp/authentication/member": HASH,
    "network/ike/crypto-profiles/ipsec-crypto-profiles/entry/esp/encryption/member": CIPHER,
    "network/ike/crypto-profiles/ipsec-crypto-profiles/entry/dh-group": r"no-pfs|group(?:1|2|5|14|15|16|19|20|21)",
    "network/ike/crypto-profiles/ipsec-crypto-profiles/entry/lifetime/seconds": r"\d{3,5}",
    "network/ike/gateway/entry/protocol/version": "ikev1|ikev2|ikev2-preferred",
    "network/ike/gateway/entry/protocol/ikev2/ike-crypto-profile": NAME,
    "network/ike/gateway/entry/protocol/ikev2/dpd/enable": "yes|no",
    "network/ike/gateway/entry/protocol/ikev2/dpd/interval": r"\d{1,3}",
    "network/ike/gateway/entry/protocol-common/nat-traversal/enable": "yes|no",
    "network/ike/gateway/entry/local-address/interface": r"\S{1,31}",
    "network/ike/gateway/entry/peer-address/ip": IP,
    "network/ike/gateway/entry/local-id/type": "fqdn|ufqdn|keyid|ipaddr",
    "network/ike/gateway/entry/local-id/id": r"\S{1,1024}",
    "network/ike/gateway/entry/peer-id/type": "fqdn|ufqdn|keyid|ipaddr",
    "network/ike/gateway/entry/peer-id/id": r"\S{1,1024}",
    "network/ike/gateway/entry/authentication/pre-shared-key/key": r".{1,255}",
    "network/tunnel/ipsec/entry/auto-key/ike-gateway/entry": "",
    "network/tunnel/ipsec/entry/auto-key/ipsec-crypto-profile": NAME,
    "network/tunnel/ipsec/entry/tunnel-interface": r"tunnel\.\d{1,4}",
    "network/tunnel/ipsec/entry/anti-replay": "yes|no",
    "network/virtual-router/entry/interface/member": r"\S{1,31}",
    "network/virtual-router/entry/routing-table/ip/static-route/entry/destination": r"\S+",
    "vsys/entry/import/network/interface/member": r"\S{1,31}",
    "vsys/entry/zone/entry/network/layer3/member": r"\S{1,31}",
    "deviceconfig/system/hostname": r"\S{1,63}",
}
_CERTIFICATE: list[Path] = []


class ApiError(Exception):
    """The API's error."""


def certificate() -> Path:
    """A certificate of our own, made once a process."""
    if not _CERTIFICATE:
        folder = Path(tempfile.mkdtemp(prefix="panos-certificate-"))
        path = folder / "both.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
            check=True, capture_output=True,
        )  # fmt: skip
        path.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
        _CERTIFICATE.append(path)
    return _CERTIFICATE[0]


def empty() -> etree._Element:
    """A configuration with nothing in it."""
    return etree.fromstring("<config><devices><entry name='localhost.localdomain'/></devices></config>")


@dataclass
class PanOs(Device):
    """The firewall."""

    config: etree._Element = field(default_factory=empty)
    candidate: etree._Element = field(default_factory=empty)
    changes: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    locks: list[str] = field(default_factory=list)
    looks: int = 0

    def start(self) -> None:
        self._server = WebServer(self._serve, certificate())
        self.port = self._server.port
        self.candidate = copy.deepcopy(self.config)
        if self.state.pending:
            self._set(OTHER_ADMIN, f"{DEVICE}/deviceconfig/system", "<hostname>changed-by-another</hostname>")

    def stop(self) -> None:
        self._server.stop()

    def variables(self) -> dict[str, object]:
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "customer_device_platform": "panos",
            "customer_device_wan_interface": "ethernet1/1",
            "customer_device_panos_provider": {
                "ip_address": "127.0.0.1",
                "port": self.port,
                "username": USER,
                "password": PASSWORD,
            },
        }

    def names(self, gateway: str) -> dict[str, str]:
        return {"gateway": gateway}

    def configure(self, tunnel: Wanted) -> None:
        merge(
            self.config,
            f"{DEVICE}/network",
            f"<ike><gateway><entry name='{tunnel.gateway}'>"
            f"<authentication><pre-shared-key><key>{tunnel.key}</key></pre-shared-key></authentication>"
            f"<peer-address><ip>{tunnel.endpoint}</ip></peer-address>"
            f"<local-id><type>fqdn</type><id>{tunnel.local_id}</id></local-id></entry></gateway></ike>"
            f"<tunnel><ipsec><entry name='{tunnel.object}'>"
            f"<auto-key><ike-gateway><entry name='{tunnel.gateway}'/></ike-gateway></auto-key>"
            f"<tunnel-interface>tunnel.7</tunnel-interface></entry></ipsec></tunnel>",
        )

    def key_of(self, tunnel: Wanted) -> str | None:
        path = f"{DEVICE}/network/ike/gateway/entry[@name='{tunnel.gateway}']/authentication/pre-shared-key/key"
        found = self.config.xpath(path)
        return found[0].text if found else None

    def running(self) -> str:
        return etree.tostring(self.config).decode()

    def others_change_committed(self) -> bool:
        return "changed-by-another" in self.running()

    def _serve(self, request: Request) -> Reply:
        query = dict(request.query)
        if request.body:
            query |= {x: y[0] for x, y in parse_qs(request.body.decode(), keep_blank_values=True).items()}
        kind = query.get("type", "")
        try:
            inner = self._answer(kind, query)
        except ApiError as exc:
            text = f'<response status="error" code="403"><msg><line>{exc}</line></msg></response>'
            return 200, "application/xml", text.encode()
        return 200, "application/xml", f'<response status="success">{inner}</response>'.encode()

    def _answer(self, kind: str, query: dict[str, str]) -> str:
        if kind == "keygen":
            if (query.get("user"), query.get("password")) != (USER, PASSWORD):
                raise ApiError("Invalid credentials.")
            return "<result><key>api-key</key></result>"
        if kind == "op":
            return self._operate(etree.fromstring(query["cmd"]))
        if kind == "config":
            return self._configure(query["action"], query["xpath"], query.get("element", ""))
        if kind == "commit":
            return self._commit(etree.fromstring(query["cmd"]))
        raise ApiError(f"unknown type {kind}")

    def _configure(self, action: str, xpath: str, element: str) -> str:
        self.received.append(f"{action} {xpath}")
        if action in ("get", "show"):
            found = (self.candidate if action == "get" else self.config).xpath(xpath)
            if not found:
                raise ApiError("No such node")
            return f"<result>{_shown(found[0])}</result>"
        if self.state.read_only:
            raise ApiError("Permission denied: the administrator may only read")
        if action != "set":
            raise ApiError(f"unknown action {action}")
        self._set(USER, xpath, element)
        return "<msg>command succeeded</msg>"

    def _set(self, admin: str, xpath: str, element: str) -> None:
        for path, value in leaves(xpath.removeprefix(DEVICE + "/"), element):
            rule = RULES.get(path)
            if rule is None or not re.fullmatch(rule, value):
                self.refused.append(path)
                raise ApiError(f"{path} is invalid")
        merge(self.candidate, xpath, element)
        self.changes.setdefault(admin, []).append((xpath, element))

    def _commit(self, command: etree._Element) -> str:
        admins = [x.text for x in command.findall(".//admin/member")] or list(self.changes)
        if self.locks or self.state.locked:
            raise ApiError("A commit lock is held by night-job")
        for admin in admins:
            for xpath, element in self.changes.pop(str(admin), []):
                merge(self.config, xpath, element)
        return "<result><msg><line>Commit job enqueued with jobid 7</line></msg><job>7</job></result>"

    def _operate(self, command: etree._Element) -> str:
        words = _path(command)
        self.received.append(words)
        if words.startswith("show/system/info"):
            return (
                "<result><system><hostname>fw1</hostname><sw-version>11.1.2</sw-version>"
                "<model>PA-440</model><serial>1</serial></system></result>"
            )
        if words.startswith("show/jobs/id"):
            return (
                "<result><job><id>7</id><user>ansible</user><tenq>2026/11/02 12:00:00</tenq><tfin>12:00:01</tfin>"
                "<type>Commit</type>"
                "<status>FIN</status><result>OK</result><progress>100</progress><details/></job></result>"
            )
        if words == "show/high-availability/state":
            state = "passive" if self.state.passive else "active"
            return (
                f"<result><enabled>yes</enabled><group><local-info><state>{state}</state></local-info></group></result>"
            )
        if words == "show/commit-locks":
            entry = f"<entry name='{OTHER_ADMIN}'><type>shared</type></entry>" if self.state.locked else ""
            return f"<result><commit-locks>{entry}</commit-locks></result>"
        if words in ("request/config-lock/add", "request/config-lock/remove"):
            if self.state.read_only:
                raise ApiError("Permission denied: the administrator may only read")
            return "<result>Successfully acquired lock.</result>"
        if words == "show/config/running/xpath":
            found = self.config.xpath(command.findtext(".//xpath") or "/none")
            if not found:
                raise ApiError("No such node")
            return f"<result>{_shown(found[0])}</result>"
        if words == "show/vpn/ike-sa":
            return self._table()
        if words == "clear/vpn/ike-sa/gateway":
            return self._clear(command.findtext(".//gateway") or "")
        if words == "test/vpn/ipsec-sa/tunnel":
            name = command.findtext(".//tunnel")
            path = f"{DEVICE}/network/tunnel/ipsec/entry[@name='{name}']/auto-key/ike-gateway/entry/@name"
            found = self.config.xpath(path)
            if not found:
                raise ApiError(f"tunnel -> {name} is invalid")
            self.ike.initiate(str(found[0]))
            return "<result>Initiate 1 IPSec SA.</result>"
        self.refused.append(words)
        raise ApiError(f"{words} is invalid")

    def _clear(self, gateway: str) -> str:
        if gateway not in self.ike.gateways or self.state.read_only:
            raise ApiError(f"gateway -> {gateway} is invalid")
        try:
            self.ike.clear(gateway)
        except Refused as exc:
            raise ApiError(str(exc)) from None
        return "<result>Delete IKEv2 IKE SA: 1 IKE gateways found.</result>"

    def _table(self) -> str:
        self.looks += 1
        if self.state.before_unreadable and self.looks == 1:
            raise ApiError("ikemgr is not ready")
        sas = self.ike.all()
        head = "\nThere is no IKEv1 phase-1 SA found.\n\nThere is no IKEv1 phase-2 SA found.\n\n"
        if not sas:
            return f"<result><![CDATA[{head}There is no IKEv2 SA found.\n]]></result>"
        rows = "\n".join(self._row(x) for x in sas)
        children = "\n".join(
            f"{x.gateway:22} 2        {self.ike.gateways[x.gateway].tunnel:25} 322550   {x.number:<6} Init "
            f"{x.child_spis[0].upper()} {x.child_spis[1].upper()} 000007B4 Mature"
            for x in sas
            if x.up
        )
        text = (
            f"{head}IKEv2 SAs\n"
            "Gateway ID      Peer-Address           Gateway Name           Role SN       Algorithm             "
            "Established     Expiration      Xt Child  ST\n"
            "----------      ------------           ------------           ---- --       ---------             "
            "-----------     ----------      -- -----  --\n"
            f"{rows}\n\nIKEv2 IPSec Child SAs\n"
            "Gateway Name           TnID     Tunnel                    ID       Parent   "
            "Role SPI(in)  SPI(out) MsgID    ST\n"
            f"{children}\n\nShow IKEv2 SA: Total {len(self.ike.gateways)} gateways found. {len(sas)} ike sa found.\n"
        )
        return f"<result><![CDATA[{text}]]></result>"

    def _row(self, sa: Sa) -> str:
        gateway = self.ike.gateways[sa.gateway]
        made, ends = (_date(x) for x in (sa.established, sa.established + sa.lifetime))
        state = "Established" if sa.up else "SA init sent"
        times = f"{made} {ends}" if sa.up else f"{'':15} {'':15}"
        return (
            f"2               {gateway.endpoint:22} {gateway.name:22} Init {sa.number:<8} PSK/DH20/A256/SHA256  "
            f"{times} 0  {int(sa.up)}      {state}"
        )


def _date(at: float) -> str:
    return time.strftime("%b.%d %H:%M:%S", time.gmtime(at))


def _path(command: etree._Element) -> str:
    words = [command.tag]
    while len(command) == 1:
        command = command[0]
        words.append(command.tag)
    return "/".join(words)


def _shown(element: etree._Element) -> str:
    shown = copy.deepcopy(element)
    for key in shown.iter("key"):
        key.text = "-AQ==encrypted"
    return etree.tostring(shown).decode()


def leaves(base: str, element: str) -> list[tuple[str, str]]:
    """The leaves of an element below a path, without names, with their values."""
    base = re.sub(r"\[@name='[^']*'\]", "", base)
    found = []
    root = etree.fromstring(f"<root>{element}</root>")
    for node in root.iter():
        if node is not root and len(node) == 0:
            steps = [x.tag for x in reversed(list(node.iterancestors())) if x is not root]
            found.append(("/".join([base, *steps, node.tag]), (node.text or "").strip()))
    return found


def merge(config: etree._Element, xpath: str, element: str) -> None:
    """Set an element at a path, whose steps are made where they are missing."""
    node = config
    for step in re.findall(r"/?([^/\[]+)(?:\[@name='([^']*)'\])?", xpath.removeprefix("/config")):
        node = _child(node, step[0], step[1])
    for given in etree.fromstring(f"<root>{element}</root>"):
        _merge_node(node, given)


def _child(node: etree._Element, tag: str, name: str) -> etree._Element:
    for child in node:
        if child.tag == tag and (not name or child.get("name") == name):
            return child
    made = etree.SubElement(node, tag)
    if name:
        made.set("name", name)
    return made


def _merge_node(node: etree._Element, given: etree._Element) -> None:
    if given.tag == "member":
        if given.text not in [x.text for x in node.findall("member")]:
            etree.SubElement(node, "member").text = given.text
        return
    target = _child(node, given.tag, given.get("name") or "")
    if given.text and given.text.strip():
        target.text = given.text
    for inner in given:
        _merge_node(target, inner)


_HEAD = '''#!/usr/bin/python
"""A double of paloaltonetworks.panos.{name} over pan-os-python."""
from xml.etree import ElementTree

from ansible.module_utils.basic import AnsibleModule
from panos.errors import PanDeviceError
from panos.firewall import Firewall, FirewallCommit

OPTIONS = dict(
    ip_address=dict(required=True), username=dict(), password=dict(no_log=True), api_key=dict(no_log=True),
    port=dict(type="int", default=443), serial_number=dict(),
)


def connect(provider):
    return Firewall(provider["ip_address"], provider["username"], provider["password"], provider["api_key"],
                    port=provider["port"])


def has(there, wanted):
    if (wanted.text or "").strip() and (there.text or "").strip() != wanted.text.strip():
        return False
    for inner in wanted:
        twins = [x for x in there if x.tag == inner.tag and x.get("name") == inner.get("name")]
        if not any(has(x, inner) for x in twins):
            return False
    return True


def main():
    spec = dict(provider=dict(type="dict", required=True, options=OPTIONS), {options})
    module = AnsibleModule(argument_spec=spec, supports_check_mode={check})
    try:
        module.exit_json(**run(module, connect(module.params["provider"])))
    except PanDeviceError as exc:
        module.fail_json(msg="Failed: %s" % exc)

'''
_MODULES = {
    "panos_op": (
        'cmd=dict(required=True), cmd_is_xml=dict(type="bool", default=False), '
        'ignore_disconnect=dict(type="bool", default=False), vsys=dict(default="vsys1")',
        False,
        """
def run(module, device):
    cmd, is_xml = module.params["cmd"], module.params["cmd_is_xml"]
    answer = device.op(cmd, vsys=module.params["vsys"], xml=True, cmd_xml=not is_xml).decode()
    return dict(changed=True, stdout="{}", stdout_xml=answer)
""",
    ),
    "panos_config_element": (
        'xpath=dict(required=True), element=dict(), edit=dict(type="bool", default=False), '
        'state=dict(default="present", choices=["present", "absent"])',
        True,
        """
def run(module, device):
    xpath, element = module.params["xpath"].strip(), module.params["element"]
    tag = xpath.rpartition("/")[2]
    wanted = ElementTree.fromstring("<%s>%s</%s>" % (tag, element, tag))
    try:
        device.xapi.get(xpath)
        found = device.xapi.element_root.find("./result/%s" % tag)
    except PanDeviceError:
        found = None
    changed = found is None or not has(found, wanted)
    if changed and not module.check_mode:
        device.xapi.set(xpath, element)
    return dict(changed=changed)
""",
    ),
    "panos_commit_firewall": (
        'description=dict(), admins=dict(type="list", elements="str"), '
        'exclude_device_and_network=dict(type="bool", default=False), '
        'exclude_shared_objects=dict(type="bool", default=False), '
        'exclude_policy_and_objects=dict(type="bool", default=False), '
        'force=dict(type="bool", default=False), sync=dict(type="bool", default=True)',
        False,
        """
def run(module, device):
    cmd = FirewallCommit(description=module.params["description"], admins=module.params["admins"])
    answer = device.commit(cmd=cmd, sync=module.params["sync"], exception=True)
    return dict(changed=True, jobid=7, details=str(answer))
""",
    ),
}
_HTTPAPI = '''
DOCUMENTATION = """
name: panos
short_description: A double
description: [A double.]
options:
  api_key: {type: str, description: [None.], vars: [{name: panos_api_key}]}
"""
from ansible.plugins.httpapi import HttpApiBase


class HttpApi(HttpApiBase):
    pass
'''


def doubles(folder: Path) -> Path:
    """The doubles in a folder for ANSIBLE_COLLECTIONS_PATH."""
    plugins = folder / "ansible_collections" / "paloaltonetworks" / "panos" / "plugins"
    files = {"httpapi/panos.py": _HTTPAPI}
    for name, (options, check, body) in _MODULES.items():
        head = _HEAD.replace("{name}", name).replace("{options}", options).replace("{check}", str(check))
        files[f"modules/{name}.py"] = f'{head}{body}\n\nif __name__ == "__main__":\n    main()\n'
    for path, text in files.items():
        (plugins / path).parent.mkdir(parents=True, exist_ok=True)
        (plugins / path).write_text(text, encoding="utf-8")
    return folder
