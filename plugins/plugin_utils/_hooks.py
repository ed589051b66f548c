# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The hooks of a rotation: which task files hosts have, and what their devices have reported. Pure functions."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Flying

# Task files that the role brings along.
OWN_HOOKS = "hooks/"


def check_hooks(hooks: Mapping[str, Mapping[str, t.Any]], exists: Callable[[str], bool]) -> tuple[str, frozenset[str]]:
    """How this batch of hosts confirms, and which hosts have tasks of their own. Raises InputError.

    ``hooks`` maps hosts to ``{reach, device, verify, confirmation}``, the first three being task files or empty.
    """
    for host, own in hooks.items():
        for kind in ("reach", "device", "verify"):
            path = own[kind]
            if path and not (path.startswith(OWN_HOOKS) or (path.startswith("/") and exists(path))):
                raise InputError(f"psk_rotation_{kind}_tasks of {host}: there is no file {path!r}; give its whole path")
        if own["confirmation"] == "verify" and not own["verify"]:
            raise InputError(
                f"psk_rotation_confirmation of {host} is verify, but psk_rotation_verify_tasks names no tasks"
            )
    confirmations = {own["confirmation"] for own in hooks.values()}
    if "manual" in confirmations and len(confirmations) > 1:
        raise InputError("psk_rotation_confirmation is manual on some hosts of the batch only; make it the same on all")
    with_tasks = frozenset(host for host, own in hooks.items() if own["device"] or own["verify"])
    return ("manual" if "manual" in confirmations else "none"), with_tasks


@dataclass(frozen=True)
class Verdict:
    """What became of a tunnel on its device. ``reason`` is why it failed, ``seen`` whether an IKE_AUTH has proven it.

    ``exposure`` are the seconds from Cloudflare's answer to the end of the device's tasks.
    """

    tunnel: Flying
    reason: str | None = None
    seen: bool = False
    exposure: float | None = None


def verdicts(flying: Sequence[Flying], evidence: Mapping[str, t.Any], token: str) -> list[Verdict]:
    """The verdict on each tunnel in flight, by positive evidence only.

    ``evidence`` maps hosts to what they reported: ``{wave, done, verified, finished, reason, failed}``. ``wave`` must
    be ``token``, ``verified`` says if a new IKE_AUTH was seen, ``finished`` is in seconds since 1970, ``failed`` maps
    tunnel ids to reasons.
    """
    return [_verdict(x, evidence.get(x.host), token) for x in flying]


def _verdict(tunnel: Flying, said: t.Any, token: str) -> Verdict:
    said = said if isinstance(said, Mapping) else {}
    failed = said.get("failed") or {}
    if said.get("wave") != token:
        return Verdict(tunnel, f"its device {tunnel.host} did not report back")
    if tunnel.id in failed:
        return Verdict(tunnel, str(failed[tunnel.id]))
    if said.get("done") is not True:
        return Verdict(tunnel, str(said.get("reason") or "its device tasks failed"))
    exposure = round(float(said["finished"]) - tunnel.recorded_at, 3) if tunnel.recorded_at else None
    return Verdict(tunnel, seen=said.get("verified") is True, exposure=exposure)
