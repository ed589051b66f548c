# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation with Cloudflare's official Python SDK, as its documentation shows it.

Lists the tunnels, sets a new PSK for every one and writes the same encrypted file as floor.py. `bulk` sets 1,000 with
a call, `single` one with a call. One client, so one pool of keep-alive connections; the SDK's own retries and models.

usage: sdk.py bulk|single FILE, with the environment of floor.py
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import vault_file
from cloudflare import Cloudflare

BATCHES = {"bulk": 1000, "single": 1}


def main(way: str, path: str) -> None:
    account = os.environ["CLOUDFLARE_ACCOUNT_ID"]
    client = Cloudflare(api_token=os.environ["CLOUDFLARE_API_TOKEN"], base_url=os.environ["CLOUDFLARE_BASE_URL"])
    tunnels = client.magic_transit.ipsec_tunnels
    listed = tunnels.list(account_id=account).ipsec_tunnels or []
    names = {tunnel.id: tunnel.name for tunnel in listed}
    psks = {tunnel_id: vault_file.make_psk() for tunnel_id in names}
    ids = list(psks)
    records = {}
    run = vault_file.run_id()
    for start in range(0, len(ids), BATCHES[way]):
        entries = [{"id": i, "psk": psks[i]} for i in ids[start : start + BATCHES[way]]]
        answer = tunnels.psk_set(account_id=account, psks=entries)
        if answer.unapplied_psks:
            sys.exit(f"{len(answer.unapplied_psks)} PSKs were not applied")
        for tunnel_id, applied in (answer.successfully_applied_psks or {}).items():
            part = applied.to_dict(mode="json")
            records[tunnel_id] = vault_file.record(names[tunnel_id], psks[tunnel_id], part, run)
    vault_file.write(Path(path), account, records, os.environ["VAULT_PASSWORD"])
    print(json.dumps({"set": len(records)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
