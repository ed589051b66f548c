# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A customer-side device whose configuration is one file. For the tests only.

``<folder>/<host>.json`` maps tunnel ids to PSKs and is replaced at once, as a device's commit does it. Each change is
written to ``<host>.log`` first. What is staged becomes the configuration by a reload. ``<host>.trouble`` says what goes
wrong: gone (unreachable), lost (unreachable in the device tasks only), lost-later (the same, once it was configured),
refuse (the new PSK), refuse-all, one (a tunnel is reported failed), forget (the commit is lost), no-reauth (the proof
fails), crash (an exception that shows what it was given), slow (its tasks take until that is over).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Modes reach, configure, stage, reload and verify."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = self._task.args
        host = str((task_vars or {})["inventory_hostname"])
        folder = Path(arguments["folder"])
        wave = arguments.get("wave") or []
        trouble = folder / f"{host}.trouble"
        wrong = _text(trouble).split()
        acts = arguments["mode"] in ("configure", "reload")
        later = "lost-later" in wrong and (folder / f"{host}.log").exists()
        if "gone" in wrong or (acts and ("lost" in wrong or later)):
            raise AnsibleConnectionFailure("the device does not answer")
        while acts and "slow" in wrong and "slow" in _text(trouble):
            time.sleep(0.05)
        if self._task.check_mode:
            return {"changed": arguments["mode"] in ("configure", "stage")}
        if arguments["mode"] == "configure":
            return _configure(folder / host, wave, wrong)
        if arguments["mode"] == "stage":
            return _stage(folder / host, wave)
        if arguments["mode"] == "reload":
            staged = json.loads((folder / f"{host}.staged").read_text(encoding="ascii"))
            return _configure(folder / host, staged, wrong)
        if arguments["mode"] == "verify":
            return _verify(folder / host, wave, wrong, arguments["sim_url"])
        return {"changed": False}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def _stage(device: Path, wave: list[dict[str, Any]]) -> dict[str, Any]:
    path = device.with_suffix(".staged")
    path.touch(mode=0o600)
    path.write_text(json.dumps(wave), encoding="ascii")
    return {"changed": True}


def _configure(device: Path, wave: list[dict[str, Any]], wrong: list[str]) -> dict[str, Any]:
    forward = [x for x in wave if x["status"] != "rolling_back"]
    if "crash" in wrong and forward:
        raise RuntimeError("the device did not like " + " ".join(x["psk"] for x in forward))
    if "refuse-all" in wrong or ("refuse" in wrong and forward):
        return {"failed": True, "msg": "the device refuses its configuration"}
    failing = {forward[0]["id"]: "the device refuses this PSK"} if "one" in wrong and forward else {}
    if "forget" not in wrong or not forward:
        _commit(device, {x["id"]: x["psk"] for x in wave if x["psk"] and x["id"] not in failing})
    return {"changed": True, "failing": failing}


def _commit(device: Path, psks: dict[str, str]) -> None:
    path, log = device.with_suffix(".json"), device.with_suffix(".log")
    config = {**json.loads(path.read_text(encoding="ascii")), **psks}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(config, file)
        file.flush()
        os.fsync(file.fileno())
    with log.open("a", encoding="ascii") as file:
        for tunnel, psk in psks.items():
            entry = {"time": time.time_ns(), "tunnel": tunnel, "print": hashlib.sha256(psk.encode()).hexdigest()}
            file.write(json.dumps(entry) + "\n")
    temporary.replace(path)


def _verify(device: Path, wave: list[dict[str, Any]], wrong: list[str], sim_url: str) -> dict[str, Any]:
    """As an IKE_AUTH does it: both ends must have the same key."""
    if "no-reauth" in wrong and any(x["status"] != "rolling_back" for x in wave):
        return {"failed": True, "msg": "the device could not authenticate"}
    with urllib.request.urlopen(f"{sim_url}/state", timeout=30) as answer:  # noqa: S310
        truth = {x["id"]: x["psk"] for x in json.load(answer)["tunnels"]}
    config = json.loads(device.with_suffix(".json").read_text(encoding="ascii"))
    wrong_ones = [x["name"] for x in wave if config.get(x["id"]) != truth[x["id"]]]
    if wrong_ones:
        return {"failed": True, "msg": f"authentication failed: {', '.join(wrong_ones)}"}
    return {"changed": False}
