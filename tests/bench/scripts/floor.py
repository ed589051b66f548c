# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor: the least that a rotation can cost in Python.

One keep-alive requests session lists the tunnels, sets a new PSK for every one with bulk calls of 1,000, and writes
one encrypted file with the content that the role's escrow has afterwards. It has none of what makes a rotation safe:
no key is stored before Cloudflare has it, nothing is looked at afterwards, and redundant tunnels go at once.

usage: floor.py FILE, with CLOUDFLARE_BASE_URL, CLOUDFLARE_ACCOUNT_ID, CLOUDFLARE_API_TOKEN and VAULT_PASSWORD
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import requests
import vault_file

BATCH = 1000


def main(path: str) -> None:
    account = os.environ["CLOUDFLARE_ACCOUNT_ID"]
    url = f"{os.environ['CLOUDFLARE_BASE_URL']}/accounts/{account}/magic/ipsec_tunnels"
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {os.environ['CLOUDFLARE_API_TOKEN']}"
    session.trust_env = False
    answer = session.get(url, timeout=60)
    answer.raise_for_status()
    names = {tunnel["id"]: tunnel["name"] for tunnel in answer.json()["result"]["ipsec_tunnels"]}
    psks = {tunnel_id: vault_file.make_psk() for tunnel_id in names}
    ids = list(psks)
    records = {}
    run = vault_file.run_id()
    started = time.monotonic()
    for start in range(0, len(ids), BATCH):
        body = {"psks": [{"id": i, "psk": psks[i]} for i in ids[start : start + BATCH]]}
        answer = session.post(f"{url}/psk", json=body, timeout=60)
        answer.raise_for_status()
        result = answer.json()["result"]
        if result["unapplied_psks"]:
            sys.exit(f"{len(result['unapplied_psks'])} PSKs were not applied")
        for tunnel_id, applied in result["successfully_applied_psks"].items():
            records[tunnel_id] = vault_file.record(names[tunnel_id], psks[tunnel_id], applied, run)
    posted = time.monotonic() - started
    vault_file.write(Path(path), account, records, os.environ["VAULT_PASSWORD"])
    print(json.dumps({"set": len(records), "post_seconds": posted}))


if __name__ == "__main__":
    main(sys.argv[1])
