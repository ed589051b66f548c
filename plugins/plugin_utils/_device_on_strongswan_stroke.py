# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""strongSwan by ipsec.conf: how what the command ``ipsec`` prints is read."""

from __future__ import annotations

import re

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _device_ipsec, _device_on_strongswan


def connection(name: str, text: str) -> _device_ipsec.Connection | None:
    """A connection in `ipsec statusall`."""
    own = re.escape(name)
    ends = re.search(rf"^\s*{own}:\s+\S*?\.\.\.(\S+)\s+IKE", text, re.MULTILINE)
    if ends is None:
        return None
    local = re.search(rf"^\s*{own}:\s+local:\s+(?:\[([^\]]*)\]\s+)?uses (.*)$", text, re.MULTILINE)
    return _device_ipsec.Connection(
        remote=ends[1],
        local_id=(local[1] or "") if local else "",
        by_psk=local is not None and local[2].startswith("pre-shared key"),
    )


def established(name: str, text: str) -> frozenset[str]:
    """The numbers of its IKE_SAs in `ipsec status`."""
    return frozenset(re.findall(rf"^\s*{re.escape(name)}\[(\d+)\]: ESTABLISHED", text, re.MULTILINE))


def carrying(name: str, text: str) -> frozenset[str]:
    """The numbers of those IKE_SAs that have an installed CHILD_SA; its lines follow its IKE_SA's."""
    found, number = set(), ""
    for line in text.splitlines():
        if match := re.match(r"\s*(\S+)\[(\d+)\]: ", line):
            number = match[2] if match[1] == name else ""
        elif number and re.match(rf"\s*{re.escape(name)}\{{\d+\}}:\s+INSTALLED", line):
            found.add(number)
    return established(name, text) & frozenset(found)


def proven(name: str, text: str) -> frozenset[str]:
    """The numbers of the IKE_SAs in what `ipsec up` printed, when it says that the peer has authenticated."""
    found = set()
    authenticated = False
    for line in text.splitlines():
        if re.match(r"initiating IKE_SA ", line):
            authenticated = False
        elif re.match(r"authentication of .* with pre-shared key successful$", line):
            authenticated = True
        elif match := re.match(rf"IKE_SA {re.escape(name)}\[(\d+)\] established between ", line):
            found |= {match[1]} if authenticated else set()
    return frozenset(found)


DAEMON = _device_ipsec.Daemon(
    connection=connection,
    established=established,
    carrying=carrying,
    proven=proven,
    reasons=(
        r"^(received (?![A-Z_]*SUPPORTED)[A-Z_]+ notify.*)$",
        r"^(no shared key found .*|.*MAC mismatched.*|no [A-Z]+ proposal .*|no acceptable .*|no config named .*)$",
        r"^(giving up after .*|peer not responding.*)$",
        r"^(.*(?:not permitted|Permission denied|failed to connect|unable to).*)$",
        r"^(.*due to existing duplicate.*)$",
        r"^(.*failed.*)$",
    ),
)

PLATFORM = _device_ipsec.platform_of(
    DAEMON,
    title="strongSwan by ipsec.conf",
    table=_device_on_strongswan.PLATFORM.table,
    words=_device_on_strongswan.PLATFORM.words,
)
