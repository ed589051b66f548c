# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""Adoption with proof: what the verify tasks of devices get, and what their reports say. Pure functions.

The devices are asked before anything is written. A PSK that a device contradicts, and one of whose device nothing was
heard, is not adopted; one that a device was not seen to have is, and stays unproven.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import trace_of
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import redact
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import view
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import _status
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adopt import Given
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._adoption import Candidate
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._evidence import verdicts
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._guards import hooks_of
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._names import kind
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._play import Host
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._record import Record
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._results import first_result
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._state import Flying, Result
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils._waves import Planned

MODE = "adopt"
SHOWN = 5

Tunnel = Mapping[str, t.Any]


@dataclass(frozen=True)
class Asked:
    """What the devices of a batch of hosts are asked, for the step after. It holds PSKs.

    ``given`` is what the source has, ``path`` how errors call it; ``in_flight`` are the tunnels whose devices are asked
    now, ``lost`` those whose devices have left the play, and ``others`` those of other batches, which are left to them.
    """

    owner: str
    token: str
    path: str
    given: Sequence[Given] = field(repr=False)
    in_flight: Sequence[Flying] = ()
    lost: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[str] = ()

    def dump(self) -> str:
        """As a text."""
        return json.dumps(asdict(self))


def load(text: str) -> Asked:
    """What the step before has dumped."""
    found = json.loads(text)
    given = [Given(**x) for x in found.pop("given")]
    in_flight = [Flying(**x) for x in found.pop("in_flight")]
    return Asked(given=given, in_flight=in_flight, **found)


def of_hosts(hosts: Sequence[Host]) -> Iterator[str]:
    """Which hosts of a batch could prove nothing. Raises InputError."""
    without = [x.name for x in hosts if (own := hooks_of(x)).tunnels and not own.verify]
    if without:
        more = f" and {len(without) - SHOWN} more" if len(without) > SHOWN else ""
        yield (
            f"adopt_psks_verify is true, and {', '.join(without[:SHOWN])}{more} have no verify tasks: set"
            " customer_device_platform or psk_rotation_verify_tasks, or adopt without proof"
        )


def results_of(
    tunnels: Sequence[Tunnel], owners: Mapping[str, str], records: Mapping[str, Record], hosts: Collection[str]
) -> dict[str, list[Result]]:
    """What the verify tasks of each host get: all its tunnels, with the PSKs that they have if the source is right."""
    found: dict[str, list[Result]] = {}
    for tunnel in tunnels:
        tunnel_id, host = tunnel["id"], owners.get(tunnel["id"], "")
        if host not in hosts:
            continue
        record = records.get(tunnel_id)
        entry = Planned(
            id=tunnel_id,
            name=tunnel["name"],
            host=host,
            group=(record.group if record else None) or "",
            trace=trace_of(tunnel),
            status=_status.UNCHANGED,
            reason="nothing is changed: its PSK is compared only",
        )
        found.setdefault(host, []).append(first_result(view(tunnel), entry, record))
    return found


def judged(
    asked: Asked, evidence: Mapping[str, t.Any], candidates: Mapping[str, Candidate]
) -> tuple[dict[str, Candidate], dict[str, bool]]:
    """The candidates with what their devices said, and of each whether its device was seen to have the PSK.

    ``evidence`` is what hosts have reported, as in a rotation; its ``proven`` names tunnels by id or name.
    """
    psks = {x.psk for x in asked.given}
    found = {i: x for i, x in candidates.items() if i not in asked.others}
    reasons = {i: f"its device {host} has left the play" for i, host in asked.lost.items()}
    proven: set[str] = set()
    for verdict in verdicts(asked.in_flight, evidence, asked.token, ()):
        tunnel = verdict.tunnel
        reason = verdict.reason
        if reason is None:
            reason, seen = _seen(tunnel, evidence[tunnel.host].get("proven"))
            proven.update([tunnel.id] if seen else [])
        if reason is not None:
            reasons[tunnel.id] = redact(reason, psks)
    told = {
        i: replace(x, proven=i in proven, contradicted=reasons.get(i)) if i in reasons or i in proven else x
        for i, x in found.items()
    }
    return told, {i: i in proven for i in told}


def _seen(tunnel: Flying, said: t.Any) -> tuple[str | None, bool]:
    """What is wrong with a host's report, and whether it names the tunnel as proven."""
    if said in (None, ""):
        return None, False
    if isinstance(said, (str, Mapping)) or not isinstance(said, Sequence):
        return f"psk_rotation_proven_tunnels of {tunnel.host} must be a list of ids or names, not {kind(said)}", False
    return None, tunnel.id in said or tunnel.name in said
