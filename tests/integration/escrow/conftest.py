# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenBao server of the tests, one a pytest worker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._store_kv2 import Kv2Store
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._vault_server import Kv2Connection

from tests.harness.openbao import OpenBao
from tests.harness.playbook import Playbooks
from tests.harness.secrets_scan import find_secrets

Make = Callable[..., Kv2Store]


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """A server that all tests of a worker share: each works below a path of its own, and leaves it unsealed."""
    with OpenBao() as server:
        yield server


@pytest.fixture
def place() -> str:
    """A path that no other test uses."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def make(openbao: OpenBao, place: str) -> Iterator[Make]:
    """Make an escrow at the test's path, as root unless said otherwise."""

    def made(account: str = "acc", warn: Callable[[str], None] | None = None, **options: object) -> Kv2Store:
        given = {"url": openbao.url, "path": place, **options}
        if "token" not in given and "role_id" not in given:
            given["token"] = openbao.token
        store = Kv2Store(Kv2Connection(**given), account, warn)  # type: ignore[arg-type]
        stores.append(store)
        return store

    stores: list[Kv2Store] = []
    yield made
    for store in stores:
        store.close()


@pytest.fixture
def no_store_secret_leaks(openbao: OpenBao, playbooks: Playbooks, place: str) -> Iterator[list[str]]:
    """After the test, looks for the server's token, and what the test adds to this list, in all that was printed."""
    secrets = [openbao.token]
    yield secrets
    hits = find_secrets(playbooks.outputs(), sorted(set(secrets)))
    assert not hits, hits[:10]
