# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""An account's tunnels as a YAML file that the module ipsec_tunnels takes back with nothing to change."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

import yaml
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import options

HEAD = """\
# The IPsec tunnels of a Cloudflare account, for the module magicwan.cloudflare.ipsec_tunnels.
# What is not set here stays as it is: PSKs and BGP's md5_key are left out.
---
"""
# What the API shows of every tunnel, and what says no more than its absence.
OFF_BY_DEFAULT = ("replay_protection", "automatic_return_routing")
LEFT_OUT_OF_BGP = ("md5_key",)
TEMPLATES = ("{{", "{%", "{#")

Tunnel = dict[str, t.Any]


def export_text(tunnels: Sequence[Mapping[str, t.Any]]) -> str:
    """The file: ``{tunnels: [...]}``, sorted by name. The same account gives the same text."""
    found = sorted((wanted(x) for x in tunnels), key=lambda x: (x["name"], x["id"]))
    return HEAD + yaml.dump(
        {"tunnels": [_marked(x) for x in found]},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=120,
    )


def wanted(tunnel: Mapping[str, t.Any]) -> Tunnel:
    """A tunnel as an item of ipsec_tunnels, with its id, and without what is empty, off by default, or secret."""
    found: Tunnel = {"id": tunnel["id"], **options(tunnel)}
    for key in OFF_BY_DEFAULT:
        if not found.get(key):
            found.pop(key, None)
    if "bgp" in found:
        found["bgp"] = {key: value for key, value in found["bgp"].items() if key not in LEFT_OUT_OF_BGP}
    if "health_check" in found:
        check = dict(found["health_check"])
        check["target"] = check.get("target", {}).get("saved")
        found["health_check"] = check
    return {key: value for key, value in _without_empty(found).items() if value != {}}


def _without_empty(part: Tunnel) -> Tunnel:
    found = {key: _without_empty(value) if isinstance(value, dict) else value for key, value in part.items()}
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


class _Unsafe(str):
    """A text that Ansible would take for a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Indents lists, as Ansible's own style wants it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Never without indentation."""
        super().increase_indent(flow, False)


# ansible-core has kinds of text of its own, which are all represented as text.
_Dumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str(text)))
_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'))


def _marked(part: t.Any) -> t.Any:
    if isinstance(part, Mapping):
        return {key: _marked(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_marked(x) for x in part]
    if isinstance(part, str):
        return _Unsafe(part) if any(x in part for x in TEMPLATES) else str(part)
    return part
