# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller whose jobs have the credentials of the setup playbook: Cloudflare's, and AppRole for the escrow."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tests.harness.openbao import MOUNT, OpenBao
from tests.harness.runner import PROJECT, Controller, JobResult
from tests.harness.simulator import Simulator

_paths = itertools.count(1)


class ObjectsLoader(yaml.SafeLoader):
    """YAML with Ansible's tag !unsafe."""


ObjectsLoader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))  # type: ignore[type-var]


def injected(**inputs: str) -> dict[str, str]:
    """What the credential types of the setup playbook put into a job's environment; empty fields stay empty there."""
    objects = yaml.load((PROJECT / "controller_objects.yml").read_text(encoding="utf-8"), ObjectsLoader)  # noqa: S506
    environment = ImmutableSandboxedEnvironment()
    return {
        name: environment.from_string(template).render(inputs)
        for kind in objects["controller_credential_types"]
        for name, template in kind["injectors"]["env"].items()
    }


@dataclass
class Site:
    """An account in the simulator, an escrow in a real OpenBao, and a controller that runs jobs on both."""

    simulator: Simulator
    bao: OpenBao
    controller: Controller
    path: str
    secret_id: str

    @property
    def escrow(self) -> dict[str, Any]:
        """psk_rotation_escrow: where; by which right is in the credential."""
        return {"backend": "vault_kv2", "path": self.path, "retries": 0}

    def on_localhost(self, **more: Any) -> dict[str, Any]:
        """The extra variables of a job that rotates from localhost."""
        known = {"psk_rotation_tunnels": ["all"], "psk_rotation_unknown_psk": "rotate"}
        return {"psk_rotation_hosts": "localhost", "psk_rotation_escrow": self.escrow, **known, **more}

    def records(self) -> dict[str, dict[str, Any]]:
        """The escrow's records by tunnel id."""
        folder = f"{self.path}/{self.simulator.account}"
        listed = self.bao.call("LIST", f"{MOUNT}/metadata/{folder}", missing_ok=True)
        keys = listed["data"]["keys"] if listed.get("data") else []
        return {key: self.bao.secret(f"{folder}/{key}")["data"] for key in keys}

    def tunnels(self) -> dict[str, dict[str, Any]]:
        """The account's tunnels by id, with their PSKs."""
        return {x["id"]: x for x in self.simulator.state()["tunnels"]}

    def new_psks(self, before: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
        """The PSKs that each tunnel has had since."""
        history = self.simulator.state()["psk_history"]
        return {i: {x["psk"] for x in history.get(i, ())} - {before[i].get("psk")} for i in before}

    def secrets(self) -> list[str]:
        """Every secret that a job could show: all PSKs that there ever were, also those that only the escrow knows."""
        psks = {x["psk"] for entries in self.simulator.state()["psk_history"].values() for x in entries}
        for record in self.records().values():
            psks |= {(record[key] or {}).get("psk") for key in ("current", "pending", "previous")}
        return sorted({self.simulator.token, self.secret_id, *psks} - {None})

    def shows_no_secret(self, *jobs: JobResult) -> None:
        """Fail if an artifact of one of these jobs holds a secret."""
        hits = [hit for job in jobs for hit in job.hits(self.secrets())]
        assert not hits, f"secrets in the artifacts: {hits[:10]}"


@pytest.fixture(scope="package")
def bao() -> Iterator[OpenBao]:
    """The worker's server."""
    with OpenBao() as server:
        yield server


@pytest.fixture
def site(simulator: Simulator, bao: OpenBao, tmp_path: Path) -> Iterator[Site]:
    """A fresh account and escrow, and a controller."""
    path = f"escrow-{next(_paths)}"
    role_id, secret_id = bao.approle(bao.policy(path, ["create", "read", "update"]))
    credentials = injected(
        account_id=simulator.account,
        api_token=simulator.token,
        base_url=simulator.base_url,
        url=bao.url,
        role_id=role_id,
        secret_id=secret_id,
    )
    controller = Controller(tmp_path, credentials)
    yield Site(simulator, bao, controller, path, secret_id)
    controller.close()
