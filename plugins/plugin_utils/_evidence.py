# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The outcome of tunnels on their devices, as reported by these. Pure functions."""

from __future__ import annotations

import typing as t
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._escrow import Verified
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._names import kind
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Flying, Outcome


@dataclass(frozen=True)
class Verdict:
    """The outcome of a tunnel on its device. ``reason`` is why it failed, ``seen`` whether an IKE_AUTH has proven it.

    ``exposure`` are the seconds from Cloudflare's answer to the end of the device's tasks.
    """

    tunnel: Flying
    reason: str | None = None
    seen: bool = False
    exposure: float | None = None


def verdicts(
    flying: Sequence[Flying], evidence: Mapping[str, t.Any], token: str, verifying: Container[str]
) -> list[Verdict]:
    """The verdict on each tunnel in flight, by positive evidence only.

    ``evidence`` maps hosts to what they reported: ``{wave, done, finished, reason, failed, returned}``. ``wave`` must
    be ``token``, ``finished`` is in seconds since 1970, ``failed`` maps ids or names of single tunnels to reasons;
    ``returned`` says that there is such a map among the host's facts, which Ansible may not let through.
    ``verifying`` are the hosts whose tasks succeed only if a new IKE_AUTH was seen.
    """
    by_host: dict[str, list[Flying]] = {}
    for tunnel in flying:
        by_host.setdefault(tunnel.host, []).append(tunnel)
    found: dict[str, Verdict] = {}
    for host, own in by_host.items():
        said = evidence.get(host)
        said = said if isinstance(said, Mapping) else {}
        whole = _why_not(said, own, token)
        failed = {} if whole else dict(said.get("failed") or {})
        for tunnel in own:
            key = next((x for x in (tunnel.id, tunnel.name) if x in failed), None)
            reason = whole or (None if key is None else str(failed[key] or "its device reports it as failed"))
            exposure = (
                round(float(said["finished"]) - tunnel.recorded_at, 3) if not reason and tunnel.recorded_at else None
            )
            found[tunnel.id] = Verdict(tunnel, reason, seen=host in verifying, exposure=exposure)
    return [found[x.id] for x in flying]


def _why_not(said: Mapping[str, t.Any], own: Sequence[Flying], token: str) -> str | None:
    """Why none of a device's tunnels is done."""
    if said.get("wave") != token:
        return f"its device {own[0].host} did not report back"
    if said.get("done") is not True:
        return str(said.get("reason") or "its device tasks failed")
    if said.get("returned"):
        return (
            f"psk_rotation_failed_tunnels of {own[0].host} is a host fact, which a module has returned or set_fact has"
            " made cacheable: use set_fact alone"
        )
    failed = said.get("failed")
    if failed in (None, "", {}):
        return None
    if not isinstance(failed, Mapping):
        return f"psk_rotation_failed_tunnels of {own[0].host} must map ids or names to reasons, not be {kind(failed)}"
    known = {x.id for x in own} | {x.name for x in own}
    wrong = next((x for x in failed if x not in known), None)
    if wrong is not None:
        return f"psk_rotation_failed_tunnels of {own[0].host} holds {wrong!r}, which is no tunnel of this wave"
    return None


def rotations(found: Sequence[Verdict]) -> dict[str, str]:
    """The rotation of each tunnel, by id."""
    return {x.tunnel.id: x.tunnel.rotation_id for x in found}


def verified(verdict: Verdict, devices: Container[str]) -> Verified:
    """How it is known that the tunnel is done; ``devices`` are the hosts with tasks of their own."""
    if verdict.seen:
        status = _status.CONFIRMED
    else:
        status = _status.DELIVERED if verdict.tunnel.host in devices else _status.HANDED_OVER
    return Verified(status, verdict.tunnel.rotation_id, verdict.exposure)


def not_done(verdict: Verdict) -> Outcome:
    """The outcome of a tunnel that its device has failed. Until it is rolled back, what is known of its PSK stays."""
    return Outcome(verdict.tunnel.id, verdict.tunnel.name, verdict.tunnel.host, _status.FAILED, reason=verdict.reason)
