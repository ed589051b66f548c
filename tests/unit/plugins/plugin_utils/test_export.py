# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The export of tunnels: what stands in the file, and that it changes nothing when it is given back."""

from __future__ import annotations

from typing import Any

import yaml
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import view
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_plan import plan_present
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._export import HEAD, export_text, wanted
from hypothesis import given
from hypothesis import strategies as st

PLAIN = {
    "id": "1" * 32,
    "name": "berlin-1",
    "cloudflare_endpoint": "203.0.113.1",
    "interface_address": "10.0.0.0/31",
    "psk_metadata": {"last_generated_on": "2026-01-01T00:00:00Z"},
    "created_on": "2025-01-01T00:00:00Z",
    "modified_on": "2026-01-01T00:00:00Z",
    "replay_protection": False,
    "health_check": {"enabled": True, "rate": "low", "type": "reply", "target": {"saved": "", "effective": "10.0.0.1"}},
}
BGP = {"customer_asn": 65001, "extra_prefixes": [], "md5_key": "md5-Secret", "import_filter_id": ""}


class Loader(yaml.SafeLoader):
    """YAML with Ansible's tag for what is no template."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def read(text: str) -> list[dict[str, Any]]:
    return list(yaml.load(text, Loader)["tunnels"])  # noqa: S506


def test_a_tunnel_has_its_id_and_nothing_that_says_nothing() -> None:
    assert wanted(view(PLAIN)) == {
        "id": "1" * 32,
        "name": "berlin-1",
        "cloudflare_endpoint": "203.0.113.1",
        "interface_address": "10.0.0.0/31",
        "health_check": {"enabled": True, "rate": "low", "type": "reply"},
    }


def test_what_is_on_or_set_is_kept() -> None:
    check = {**PLAIN["health_check"], "target": {"saved": "10.9.9.9"}, "enabled": False}
    found = wanted(view({**PLAIN, "replay_protection": True, "description": "x", "health_check": check}))
    assert (found["replay_protection"], found["description"]) == (True, "x")
    assert found["health_check"] == {"enabled": False, "rate": "low", "type": "reply", "target": "10.9.9.9"}


def test_no_secret_is_in_the_file() -> None:
    text = export_text([view({**PLAIN, "bgp": BGP, "psk": "psk-Secret"})])
    assert "Secret" not in text
    assert read(text)[0]["bgp"] == {"customer_asn": 65001}


def test_tunnels_are_sorted_whatever_the_order_of_the_account() -> None:
    tunnels = [view({**PLAIN, "id": str(n) * 32, "name": name}) for n, name in enumerate(("c", "a", "b"))]
    assert [x["name"] for x in read(export_text(tunnels))] == ["a", "b", "c"]
    assert export_text(tunnels) == export_text(tunnels[::-1])


def test_an_account_without_tunnels_is_a_file_with_an_empty_list() -> None:
    assert export_text([]) == HEAD + "tunnels: []\n"


def test_a_text_that_ansible_would_take_for_a_template_is_marked() -> None:
    text = export_text([view({**PLAIN, "description": "see {{ x }}"})])
    assert 'description: !unsafe "see {{ x }}"' in text


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "description": st.text(min_size=1, max_size=20),
            "customer_endpoint": st.sampled_from(["198.51.100.7", "2001:DB8::1"]),
            "replay_protection": st.booleans(),
            "automatic_return_routing": st.booleans(),
            "bgp": st.just(BGP),
            "custom_remote_identities": st.just({"fqdn_id": "a.b.custom.ipsec.cloudflare.com"}),
            "health_check": st.fixed_dictionaries(
                {},
                optional={
                    "enabled": st.booleans(),
                    "rate": st.sampled_from(["low", "mid", "high"]),
                    "direction": st.sampled_from(["unidirectional", "bidirectional"]),
                    "target": st.sampled_from(
                        ["", "10.1.1.1", {"saved": "", "effective": "10.1.1.1"}, {"saved": "::1"}]
                    ),
                },
            ),
        },
    )
)
def test_what_was_exported_changes_nothing_when_it_is_given_back(fields: dict[str, Any]) -> None:
    tunnel = {**PLAIN, **fields}
    (item,) = read(export_text([view(tunnel)]))
    assert plan_present(tunnel, item).action == "none"
