# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the present fleet as the desired one, into the group_vars of an inventory for the module ipsec_tunnels.

A process of its own, so that the memory it takes is not that of the benchmark, from which the measured ones start.

usage: wanted.py FOLDER CHANGES, with the environment of floor.py; the first CHANGES tunnels get another description
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import requests
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import options


def main(folder: str, changes: str) -> None:
    account = os.environ["CLOUDFLARE_ACCOUNT_ID"]
    url = f"{os.environ['CLOUDFLARE_BASE_URL']}/accounts/{account}/magic/ipsec_tunnels"
    headers = {"Authorization": f"Bearer {os.environ['CLOUDFLARE_API_TOKEN']}", "x-magic-new-hc-target": "true"}
    answer = requests.get(url, headers=headers, timeout=60)
    fleet = [options(tunnel) for tunnel in answer.json()["result"]["ipsec_tunnels"]]
    for tunnel in fleet[: int(changes)]:
        tunnel["description"] = "changed by the benchmark"
    variables = Path(folder) / "group_vars"
    variables.mkdir()
    (variables / "all.json").write_text(json.dumps({"fleet": fleet}), encoding="utf-8")
    (Path(folder) / "hosts").write_text("localhost ansible_connection=local\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
