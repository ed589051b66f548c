# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""strongSwan by swanctl: how its connections, its files with secrets and what its daemon said are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_ipsec import Secret, files, of_lines, plain
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._device_platform import (
    MATCH,
    MISMATCH,
    NOT_SHOWN,
    Answer,
    Finding,
    Platform,
    PskRule,
    Tunnel,
    outputs_of,
    problem_of,
)

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s{}="#,]+)|([{}=\n,])|(#[^\n]*)')


def secrets(text: str) -> list[Secret]:
    """The PSKs in what look.sh printed, of swanctl's files and of ipsec.secrets."""
    found: list[Secret] = []
    for name, body in files(text).items():
        found += of_lines(name, body) if name.endswith("secrets") else _of_sections(name, body)
    return found


def _of_sections(file: str, text: str) -> Iterator[Secret]:
    path: list[str] = []
    word, value, ids, key = "", None, set[str](), ""
    for quoted, bare, sign, _comment in _TOKEN.findall(text + "\n"):
        if sign == "{":
            path.append(word)
            word, ids, key = "", set(), ""
        elif sign in ("\n", "}"):
            if value is not None and len(path) == 2 and path[0] == "secrets":
                if word.startswith("id"):
                    ids.add(plain(value))
                elif word == "secret":
                    key = value.strip()
            if sign == "}" and path:
                if len(path) == 2 and path[0] == "secrets" and path[1].startswith("ike"):
                    yield Secret(file, path[1], frozenset(ids), key)
                path.pop()
            if sign == "}" or value is not None:
                word, value = "", None
        elif sign == "=":
            value = "" if value is None else f"{value}="
        elif value is not None:
            value = f"{value} {quoted or bare}".strip()
        elif quoted or bare:
            word = quoted or bare


def ready(answers: Sequence[Answer], entry: str) -> str:
    """Whether the daemon reads its configuration, and the folder can be written."""
    conns, looked = answers[0], answers[1]
    problem = problem_of(conns)
    if problem:
        return f"the daemon does not answer: {problem}"
    problem = problem_of(answers[2])
    said = f"{answers[2].get('stdout', '')}{answers[2].get('stderr', '')}"
    broken = re.search(r"^.*(?:syntax error|invalid config file).*$", said, re.MULTILINE)
    if broken or problem:
        return f"the daemon cannot read its configuration: {broken[0].strip() if broken else problem}"
    text = outputs_of(looked, 1)[0]
    if entry != "compare" and not re.search(r"^writable yes$", text, re.MULTILINE):
        return "its folder conf.d cannot be written"
    return ""


def inspect(answers: Sequence[Answer], tunnel: Tunnel, entry: str) -> Finding:
    """Whether the connection is loaded, and no other secret has its identity."""
    found = secrets(outputs_of(answers[1], 1)[0])
    name = tunnel.names["secret"]
    others = [x for x in found if tunnel.ike_id in x.ids and x.name != name]
    if others and entry != "compare":
        other = others[0]
        what = "an entry" if not other.name else f"the section {other.name}"
        return Finding(
            f"{what} in {other.file} has a secret for the same identity, and may take precedence (option secret)"
        )
    if entry != "main":
        block = connection(outputs_of(answers[0], 1)[0], tunnel.object)
        if block is None:
            return Finding(f"the daemon has no connection {tunnel.object}")
        if not re.search(rf"^\s+remote:.*{re.escape(tunnel.endpoint)}(?:\s|,|$)", block, re.MULTILINE):
            return Finding(f"the connection {tunnel.object} does not go to {tunnel.endpoint}")
        if not re.search(rf"^\s+{re.escape(tunnel.names['child'])}: TUNNEL", block, re.MULTILINE):
            return Finding(f"the connection {tunnel.object} has no child {tunnel.names['child']} (option child)")
    own = [x for x in found if x.name == name]
    if not own:
        return Finding(key=NOT_SHOWN)
    return Finding(key=MATCH if own[-1].key == tunnel.psk else MISMATCH)


def connection(text: str, name: str) -> str | None:
    """A connection's part in `swanctl --list-conns`."""
    for block in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        if block.startswith(f"{name}:"):
            return block
    return None


def watch(tunnel: Tunnel, text: str, _timeout: int) -> str:
    """The verdict of reauthenticate.sh: "CONNECTION confirmed TIME IKE_SA" or "CONNECTION failed - REASON"."""
    for line in text.splitlines():
        words = line.split(" ", 3)
        if words[0] == tunnel.object and len(words) == 4:
            return "" if words[1] == "confirmed" else words[3]
    return "the device said nothing"


PLATFORM = Platform(
    title="strongSwan",
    names={"child": "{object}", "secret": "ike-{object}"},
    needs_wan_interface=False,
    psk=PskRule(
        1,
        255,
        r'^0[xs]|["\\\n\r]',
        "a leading 0x or 0s means an encoding, and quotes, backslashes and line ends leave the string",
    ),
    table={
        "ike_cipher": "aes256-cbc",
        "ike_prf": "sha256",
        "ike_lifetime": 86400,
        "esp_cipher": "aes256-cbc",
        "esp_lifetime": 3600,
    },
    words={
        "ike_cipher": {"aes256-cbc": "aes256-sha256", "aes256-gcm": "aes256gcm16", "aes128-gcm": "aes128gcm16"},
        "ike_prf": {"sha256": "prfsha256", "sha384": "prfsha384", "sha512": "prfsha512"},
        "ike_group": {"20": "ecp384", "14": "modp2048", "5": "modp1536"},
        "esp_cipher": {
            "aes256-cbc": "aes256-sha256",
            "aes128-cbc": "aes128-sha256",
            "aes256-gcm": "aes256gcm16",
            "aes128-gcm": "aes128gcm16",
        },
        "esp_group": {"20": "ecp384", "14": "modp2048", "5": "modp1536"},
    },
    ready=ready,
    inspect=inspect,
    watch=watch,
)
