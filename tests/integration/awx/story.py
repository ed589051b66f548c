# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the setup playbook, by the real awx.awx 24.6.1, on one stand-in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import requests

from tests.awx_stand_in.app import AwxStandIn
from tests.awx_stand_in.loader import load, play
from tests.harness.playbook import VENV, Playbooks, Result
from tests.harness.runner import PROJECT
from tests.harness.secrets_scan import find_secrets
from tests.harness.vendor_collections import vendor_collections

URL = "https://git.example.com/network/magicwan.git"
TOKEN = "the-cloudflare-token-of-the-first-run"
SECRET_ID = "the-secret-id-of-the-first-run"
ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
PREFIX = "Magic WAN"
WORKFLOW = "Magic WAN - scheduled rotation"
CLOUDFLARE, ESCROW = "Magic WAN - Cloudflare", "Magic WAN - PSK escrow"
ENVIRONMENT = {
    "CLOUDFLARE_ACCOUNT_ID": ACCOUNT,
    "CLOUDFLARE_API_TOKEN": TOKEN,
    "VAULT_ADDR": "https://vault.example.com:8200",
    "VAULT_ROLE_ID": "the-role",
    "VAULT_SECRET_ID": SECRET_ID,
}
VARIABLES = {
    "magicwan_awx_project_url": URL,
    "magicwan_awx_image": "registry.example.com/network/magicwan-ee:1.0.0",
    "magicwan_awx_webhook_url": "https://chat.example.com/hook",
    "magicwan_awx_sync_pause": 0,
}


@dataclass
class Story:
    """The stand-in, and runs of the setup playbook on it."""

    awx: AwxStandIn
    playbooks: Playbooks

    def set_up(self, env: dict[str, str] | None = None, check: bool = False, **more: Any) -> Result:
        """Run the playbook; what it prints is searched for the two secrets and AWX's token."""
        result = self.playbooks.run(
            "magicwan.cloudflare.awx_setup",
            extra_vars={**VARIABLES, **more},
            env=self._environment(env),
            check=check,
            timeout=600,
        )
        assert not find_secrets([result.stdout, result.stderr], [TOKEN, SECRET_ID, self.awx.token])
        return result

    def load(self, env: dict[str, str] | None = None, **more: Any) -> None:
        """Put the same objects in place without awx.awx, which takes a module for each."""
        target = self.playbooks.workdir / "objects.json"
        self.playbooks.run(
            play(str(PROJECT / "controller_objects.yml"), str(target)),
            extra_vars={**VARIABLES, **more},
            env=self._environment(env),
            timeout=280,
        ).ok()
        load(self.awx, json.loads(target.read_text(encoding="utf-8")))

    def _environment(self, env: dict[str, str] | None) -> dict[str, str | None]:
        return {
            "CONTROLLER_HOST": self.awx.url,
            "CONTROLLER_OAUTH_TOKEN": self.awx.token,
            "ANSIBLE_COLLECTIONS_PATH": f"{VENV / 'collections'}:{vendor_collections()}",
            **(env or {}),
        }

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        """A request to the API, as a person's browser makes it."""
        session = requests.Session()
        session.trust_env = False
        headers = {"Authorization": f"Bearer {self.awx.token}"}
        return session.request(method, f"{self.awx.url}/api/v2/{path}/", json=body, headers=headers, timeout=10)

    def launch(self, name: str, endpoint: str = "job_templates", **body: Any) -> requests.Response:
        """Launch a template by its name."""
        return self.call("POST", f"{endpoint}/{self.awx.all(endpoint)[name]['id']}/launch", body)

    def credential(self, name: str) -> dict[str, Any]:
        """A credential's fields, with its secrets."""
        return self.awx.store.credential_inputs(self.awx.all("credentials")[name]["id"])


def changed(result: Result) -> list[str]:
    """The tasks that changed something."""
    return [x["task"] for x in result.tasks if x["result"].get("changed")]
