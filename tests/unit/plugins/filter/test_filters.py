# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters as Ansible calls them: names, defaults, and errors that are one line."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.magicwan.cloudflare.plugins.filter.ipsec_tunnel_options import ipsec_tunnel_options
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._filters import one_line_errors

FILTERS = sorted((Path(__file__).resolve().parents[4] / "plugins" / "filter").glob("*.py"))
MODULE = "ansible_collections.magicwan.cloudflare.plugins.filter"


def tunnel(tunnel_id: str, **fields: Any) -> dict[str, Any]:
    """A tunnel as ipsec_tunnel_info returns it, as far as the filters look."""
    given = {
        "id": tunnel_id,
        "name": f"name-{tunnel_id}",
        "cloudflare_endpoint": "203.0.113.1",
        "customer_endpoint": None,
        "interface_address": "10.64.0.0/31",
        "interface_address6": None,
        "replay_protection": False,
        "bgp": None,
        "psk_metadata": None,
        "remote_identities": {"fqdn_id": None, "user_id": None},
        "custom_remote_identities": None,
    }
    return {**given, **fields}


@pytest.mark.parametrize("path", FILTERS, ids=lambda path: path.stem)
def test_a_filter_has_the_name_of_its_file(path: Path) -> None:
    module = importlib.import_module(f"{MODULE}.{path.stem}")
    assert list(module.FilterModule().filters()) == [path.stem]


@pytest.mark.parametrize("path", FILTERS, ids=lambda path: path.stem)
def test_a_filter_is_documented(path: Path) -> None:
    module = importlib.import_module(f"{MODULE}.{path.stem}")
    assert yaml.safe_load(module.DOCUMENTATION)["name"] == path.stem
    assert path.stem in module.EXAMPLES
    assert "_value" in yaml.safe_load(module.RETURN)


def test_an_error_of_ours_becomes_one_line_of_ansible() -> None:
    @one_line_errors
    def fails() -> None:
        raise InputError("what is wrong")

    with pytest.raises(AnsibleFilterError, match=r"^what is wrong$"):
        fails()


def test_another_error_stays_what_it_is() -> None:
    @one_line_errors
    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        fails()


@pytest.mark.parametrize("part", ["bgp", "custom_remote_identities", "health_check"])
@pytest.mark.parametrize("value", [[{"rate": "low"}], "x"], ids=str)
def test_options_of_a_part_of_another_shape_are_refused_by_its_name(part: str, value: object) -> None:
    told = f"ipsec_tunnel_options: {part} of 'name-t1' must be a dictionary, not {type(value).__name__}"
    with pytest.raises(AnsibleFilterError, match=told):
        ipsec_tunnel_options([{**tunnel("t1"), part: value}])


def test_options_leave_out_what_is_not_set() -> None:
    found = ipsec_tunnel_options(tunnel("t1"))
    assert found["name"] == "name-t1"
    assert None not in found.values()
