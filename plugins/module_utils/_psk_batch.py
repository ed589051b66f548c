# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Sets the PSKs of one batch, and finds out what became of them when an answer is lost."""

from __future__ import annotations

import typing as t

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client, PskAnswer
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import CloudflareError, internal_error


def set_batch(
    client: Client, batch: t.Sequence[_psk.Entry], *, validate_only: bool
) -> tuple[dict[str, _psk.Entry], CloudflareError | None]:
    """Sets one batch of ``{id, psk, baseline}``, or has the API validate it.

    Returns the outcome of each entry by its id, and the error that stopped the batch, if one did. Even an unforeseen
    exception leaves an outcome for each entry.
    """
    try:
        return _set_batch(client, batch, validate_only=validate_only)
    except Exception as exc:  # pylint: disable=broad-exception-caught
        error = internal_error(exc)
        return {x["id"]: _psk.outcome("in_doubt", error.message) for x in batch}, error


def _set_batch(
    client: Client, batch: t.Sequence[_psk.Entry], *, validate_only: bool
) -> tuple[dict[str, _psk.Entry], CloudflareError | None]:
    """Sets one batch. An unknown outcome is settled by sending the same keys again, then by last_generated_on."""
    psks = {entry["id"]: entry["psk"] for entry in batch}
    try:
        answer = _send(client, psks, validate_only)
    except CloudflareError as exc:
        if not exc.outcome_unknown:
            return {x["id"]: _psk.outcome("unapplied", exc.message) for x in batch}, exc
        return _settle(client, batch, exc)
    if validate_only:
        refused = answer.unapplied
        return {
            k: _psk.outcome("unapplied", refused[k] or "no reason given")
            if k in refused
            else _psk.outcome("planned", None)
            for k in psks
        }, None
    return {x["id"]: _psk.classify(x, answer.applied, answer.unapplied, repeated=answer.repeated) for x in batch}, None


def _send(client: Client, psks: dict[str, str], validate_only: bool) -> PskAnswer:
    """POST /psk, again with the same keys when the first answer was lost: that is safe, and mostly settles it."""
    try:
        return client.set_psks(psks, validate_only=validate_only)
    except CloudflareError as exc:
        if not exc.outcome_unknown:
            raise
    try:
        answer = client.set_psks(psks, validate_only=validate_only)
    except CloudflareError as exc:
        exc.outcome_unknown = True  # a refusal of the second attempt says nothing of the first
        raise
    return PskAnswer(answer.applied, answer.unapplied, repeated=True)


def _settle(
    client: Client, batch: t.Sequence[_psk.Entry], lost: CloudflareError
) -> tuple[dict[str, _psk.Entry], CloudflareError | None]:
    """What the tunnels themselves tell after an answer was lost: a new time is the trace of our key, an old one
    proves nothing, because a read may be stale."""
    try:
        reported = {x["id"]: _psk.generated_on(x) for x in client.list_tunnels()}
    except CloudflareError:
        reported = {}
    outcomes = {}
    for entry in batch:
        now_reported = reported.get(entry["id"])
        moved = now_reported is not None and not _psk.same_time(now_reported, entry["baseline"])
        if moved:
            outcomes[entry["id"]] = _psk.outcome(
                "applied", "the answer was lost; the tunnel reports a new PSK", applied_on=now_reported
            )
        else:
            outcomes[entry["id"]] = _psk.outcome("in_doubt", lost.message)
    all_settled = all(x["status"] == "applied" for x in outcomes.values())
    return outcomes, None if all_settled else lost
