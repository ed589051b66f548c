# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the role customer_device share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.playbook import VENV, Playbooks, Result
from tests.harness.secrets_scan import find_secrets
from tests.harness.vendor_collections import vendor_collections

PSK = "aK3dP9sQ7xT1vB5nM8cW2eR6yU4iO0pLzHgFjDkSqAw"[:40]


def result(**changes: Any) -> dict[str, Any]:
    """An entry of psk_rotation_results, one key a fact that the device needs."""
    tunnel_id = "fedcba9876543210fedcba9876543210"
    return {
        "id": tunnel_id,
        "name": "branch-1-a",
        "host": "branch-1",
        "group": "branch-1",
        "status": "applied",
        "changed": True,
        "reason": "",
        "psk": PSK,
        "ipsec_id": f"33145236_{tunnel_id}",
        "ike_ids": {
            "fqdn": f"{tunnel_id}.33145236.ipsec.cloudflare.com",
            "user_fqdn": f"ipsec@{tunnel_id}.33145236.ipsec.cloudflare.com",
            "key_id": f"33145236_{tunnel_id}",
            "custom_fqdn": None,
        },
        "cloudflare_endpoint": "203.0.113.1",
        "customer_endpoint": "192.0.2.10",
        "interface_address": "10.64.0.0/31",
        "cloudflare_inside_address": "10.64.0.0",
        "customer_inside_address": "10.64.0.1",
        "inside_prefix_length": 31,
        "cloudflare_inside_address6": None,
        "customer_inside_address6": None,
        "inside_prefix_length6": None,
        "replay_protection": False,
        "bgp": None,
        "applied_on": "2026-11-02T12:00:00Z",
        "confirmed_on": None,
        "generation": 2,
        "exposure_seconds": None,
        **changes,
    }


def play(entry: str = "psk", **variables: Any) -> list[dict[str, Any]]:
    """A play that runs an entry point of the role and shows what it publishes."""
    role = {"name": "magicwan.cloudflare.customer_device", "tasks_from": entry}
    return [
        {
            "name": "Bring PSKs into devices",
            "hosts": "all",
            "gather_facts": False,
            "vars": variables,
            "tasks": [
                {"name": "Run the role", "ansible.builtin.include_role": role},
                {"name": "Show", "ansible.builtin.debug": {"msg": "{{ customer_device_results | default('none') }}"}},
            ],
        }
    ]


@pytest.fixture
def run(request: pytest.FixtureRequest, make_playbooks: Callable[..., Playbooks]) -> Iterator[Callable[..., Result]]:
    """Run a play with the vendors' collections in reach; afterwards no PSK may have been shown.

    A test that shows one on purpose says so with `@pytest.mark.shows_secrets`.
    """
    folders = f"{VENV / 'collections'}:{vendor_collections()}"
    # The name of a socket has to be short.
    sockets = tempfile.TemporaryDirectory(prefix="cd-", ignore_cleanup_errors=True)
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": folders,
        "ANSIBLE_HOST_KEY_CHECKING": "false",
        "ANSIBLE_PERSISTENT_CONTROL_PATH_DIR": sockets.name,
    }
    playbooks = make_playbooks(environment)
    secrets = {PSK}

    def runner(*arguments: Any, secret: str | None = None, **options: Any) -> Result:
        secrets.update({secret} - {None})
        return playbooks.run(*arguments, verbosity=3, **options)

    with sockets:
        yield runner
    if request.node.get_closest_marker("shows_secrets"):
        return
    hits = find_secrets(playbooks.outputs(), sorted(secrets))
    assert not hits, f"a PSK was shown: {hits[:5]}"


@pytest.fixture
def folder() -> Path:
    """Where the golden files are."""
    return Path(__file__).parent / "golden"
