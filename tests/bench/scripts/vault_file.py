# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep PSKs in one file encrypted by ansible-vault: what the floor and the SDK script have in common.

The file holds what the escrow of the role holds after a first rotation, field by field.
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
import string
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.parsing.vault import VaultLib, VaultSecret

ALPHABET = string.ascii_letters + string.digits


def make_psk() -> str:
    """48 letters and digits, first a letter."""
    return secrets.choice(string.ascii_letters) + "".join(secrets.choice(ALPHABET) for _ in range(47))


def run_id() -> str:
    """A name for this run, as long as the role's."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"


def record(name: str, psk: str, applied: Mapping[str, Any], run: str) -> dict[str, Any]:
    """One tunnel; `applied` is its part of the answer of POST /psk."""
    applied_on = applied["psk_metadata"]["last_generated_on"]
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "name": name,
        "ipsec_id": applied["ipsec_id"],
        "state": "idle",
        "generation": 1,
        "revision": 2,
        "current": {
            "psk": psk,
            "applied_on": applied_on,
            "made_on": applied_on,
            "rotation_id": run,
            "wave": 1,
            "confirmed": False,
        },
        "previous": None,
        "pending": None,
        "discarded": [],
        "rollback": None,
        "lease": None,
        "reason": None,
        "history": [
            {"on": now, "event": event, "rotation_id": run} for event in ("prepared", "applied", "handed_over")
        ],
        "group": name,
        "device": False,
    }


def write(path: Path, account: str, records: Mapping[str, Any], password: str) -> None:
    """Encrypt and replace the file at once."""
    text = json.dumps({"version": 1, "account_id": account, "tunnels": records})
    content = VaultLib([("default", VaultSecret(password.encode()))]).encrypt(text)
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
