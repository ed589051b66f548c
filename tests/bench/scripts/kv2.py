# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of a repeated rotation with the escrow in KV v2, from four threads, and nothing between them.

For each tunnel: read the record, write it with the next PSK, read it back, read it as what another tunnel backs up,
and write down what came of it.

usage: kv2.py URL TUNNELS FILE, with VAULT_TOKEN; nothing is written to the file
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
import vault_file
from requests.adapters import HTTPAdapter

THREADS = 4


def main(url: str, tunnels: int) -> None:
    session = requests.Session()
    session.headers["X-Vault-Token"] = os.environ["VAULT_TOKEN"]
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_maxsize=THREADS))
    applied = {"ipsec_id": "1_2", "psk_metadata": {"last_generated_on": "2026-01-01T00:00:00.000000Z"}}
    record = vault_file.record("a tunnel", vault_file.make_psk(), applied, vault_file.run_id())

    def read(number: int) -> None:
        session.get(f"{url}/{number}", timeout=60).json()

    def write(number: int, version: int) -> None:
        body: dict[str, Any] = {"data": record, "options": {"cas": version}}
        session.post(f"{url}/{number}", json=body, timeout=60).raise_for_status()

    with ThreadPoolExecutor(THREADS) as pool:
        for work in (read, lambda n: write(n, 0), read, read, lambda n: write(n, 1)):
            list(pool.map(work, range(tunnels)))
    print(json.dumps({"kv2_requests": 5 * tunnels}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
