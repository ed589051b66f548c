# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Libreswan: how what the command ``ipsec`` prints is read."""

from __future__ import annotations

import re

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _device_ipsec

# What stands before a message of the daemon's: its code, the connection's name and the state's number.
_SAID = r'^\d{3} "[^"]*"[^#\n]*#\d+: '


def connection(name: str, text: str) -> _device_ipsec.Connection | None:
    """A connection in `ipsec auto --status`."""
    own = rf'^\d{{3}} "{re.escape(name)}":\s+'
    ends = re.search(rf"{own}\S+\.\.\.([0-9A-Fa-f.:]+)", text, re.MULTILINE)
    if ends is None:
        return None
    local = re.search(rf"{own}our idtype: [^;]*; our id=([^;]*);", text, re.MULTILINE)
    by_psk = re.search(rf"{own}our auth:secret, their auth:secret,", text, re.MULTILINE)
    return _device_ipsec.Connection(
        remote=ends[1], local_id=local[1].strip() if local else "", by_psk=by_psk is not None
    )


def established(name: str, text: str) -> frozenset[str]:
    """The numbers of its IKE SAs in `ipsec showstates`."""
    return _states(name, text, "IKE")


def carrying(name: str, text: str) -> frozenset[str]:
    """The numbers of those IKE SAs that have an established child SA."""
    owners = re.findall(
        rf'^\d{{3}} #\d+: "{re.escape(name)}"\S* STATE_V2_ESTABLISHED_CHILD_SA .*; IKE SA #(\d+);', text, re.MULTILINE
    )
    return established(name, text) & frozenset(owners)


def _states(name: str, text: str, kind: str) -> frozenset[str]:
    found = re.findall(rf'^\d{{3}} #(\d+): "{re.escape(name)}"\S* STATE_V2_ESTABLISHED_{kind}_SA ', text, re.MULTILINE)
    return frozenset(found)


def proven(name: str, text: str) -> frozenset[str]:
    """The numbers of the IKE SAs whose peer has authenticated, in what `ipsec auto --up` printed."""
    said = r"initiator established IKE SA; authenticated peer using authby=secret "
    return frozenset(re.findall(rf'^\d{{3}} "{re.escape(name)}" #(\d+): {said}', text, re.MULTILINE))


DAEMON = _device_ipsec.Daemon(
    connection=connection,
    established=established,
    carrying=carrying,
    proven=proven,
    reasons=(
        rf"{_SAID}(.*rejected by peer.*)$",
        rf"{_SAID}(.*no PSK found.*|.*(?:NO_PROPOSAL_CHOSEN|TS_UNACCEPTABLE|INVALID_[A-Z]+).*)$",
        rf"{_SAID}(.*timeout exceeded.*)$",
        r'^\d{3} "[^"]*": (we cannot identify ourselves .*)$',
        r"^(?:\d{3} )?(.*(?:not permitted|no right to|no connection named|not running|unable to).*)$",
    ),
)

PLATFORM = _device_ipsec.platform_of(
    DAEMON,
    title="Libreswan",
    table={
        "ike_cipher": "aes256-cbc",
        "ike_prf": "sha256",
        "ike_lifetime": 86400,
        "esp_cipher": "aes256-gcm",
        "esp_lifetime": 28800,
    },
    words={
        "ike_cipher": {"aes256-cbc": "aes256", "aes256-gcm": "aes_gcm256", "aes128-gcm": "aes_gcm128"},
        "ike_prf": {"sha256": "sha2_256", "sha384": "sha2_384", "sha512": "sha2_512"},
        "ike_group": {"20": "dh20", "14": "dh14", "5": "dh5"},
        "esp_cipher": {
            "aes256-cbc": "aes256-sha2_256",
            "aes128-cbc": "aes128-sha2_256",
            "aes256-gcm": "aes_gcm256",
            "aes128-gcm": "aes_gcm128",
        },
        "esp_group": {"20": "dh20", "14": "dh14", "5": "dh5"},
    },
)
