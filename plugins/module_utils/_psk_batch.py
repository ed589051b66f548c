# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Sets the PSKs of one batch, and finds out their outcome when an answer is lost.

Only Cloudflare's own answer proves anything. What is not known after it is sent again, the same PSKs, and is in doubt
if that does not settle it: that a tunnel reports a new time proves that some PSK was set, not that ours was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client, PskAnswer
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    CloudflareError,
    StoppedError,
    internal_error,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._secrets import PSK_LENGTH, generate_psk
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import few

Guard = Callable[[], None]
Answers = dict[str, _psk.Answer]


def set_batch(
    client: Client, batch: Sequence[_psk.Entry], *, validate_only: bool
) -> tuple[dict[str, _psk.Entry], CloudflareError | None]:
    """As send_batch, for ``{id, psk}`` entries, with outcomes as modules return them."""
    answers, error = send_batch(client, {x["id"]: x["psk"] for x in batch}, validate_only=validate_only)
    return {i: answer.outcome() for i, answer in answers.items()}, error


def send_batch(
    client: Client, psks: Mapping[str, str], *, validate_only: bool, guard: Guard | None = None
) -> tuple[Answers, CloudflareError | None]:
    """Sets PSKs by tunnel id, or has the API validate them.

    ``guard`` is called right before each request, and raises StoppedError if it must not be sent. Returns an answer for
    each PSK, and the error that stopped the batch, if one did. Even an unforeseen exception leaves an answer for each.
    """
    try:
        answer = _sent(client, psks, validate_only, guard)
        if validate_only:
            return {i: _validated(i, answer.unapplied) for i in psks}, None
        return {
            i: _psk.classify(i, psk, answer.applied, answer.unapplied, repeated=answer.repeated)
            for i, psk in psks.items()
        }, None
    except CloudflareError as exc:
        return dict.fromkeys(psks, _psk.Answer(_status_of(exc), exc.message)), exc
    except Exception as exc:  # pylint: disable=broad-exception-caught
        error = internal_error(exc)
        return dict.fromkeys(psks, _psk.Answer(_psk.IN_DOUBT, error.message)), error


def validate(client: Client, names: Mapping[str, str]) -> None:
    """Has the API look at PSKs that nobody will use, for tunnels named by id. Raises CloudflareError."""
    if not names:
        return
    start = generate_psk(PSK_LENGTH - 8)
    answers, failure = send_batch(client, {i: f"{start}{n:08}" for n, i in enumerate(names)}, validate_only=True)
    if failure is not None:
        raise failure
    refused = [f"{names[i]}: {x.reason}" for i, x in answers.items() if x.status != _psk.PLANNED]
    if refused:
        raise CloudflareError(
            f"the API would refuse {len(refused)} of {len(names)} PSKs ({few(refused, '; ')}); nothing was written"
        )


def _status_of(exc: CloudflareError) -> str:
    if exc.outcome_unknown:
        return _psk.IN_DOUBT
    return _psk.UNSENT if isinstance(exc, StoppedError) else _psk.UNAPPLIED


def _validated(tunnel_id: str, refused: Mapping[str, str | None]) -> _psk.Answer:
    if tunnel_id in refused:
        return _psk.Answer(_psk.UNAPPLIED, refused[tunnel_id] or "no reason given")
    return _psk.Answer(_psk.PLANNED)


def _sent(client: Client, psks: Mapping[str, str], validate_only: bool, guard: Guard | None) -> PskAnswer:
    """POST /psk, again with the same PSKs when the first answer was lost: that is safe, and mostly settles it."""
    try:
        return client.set_psks(psks, validate_only=validate_only, before_each=guard)
    except CloudflareError as exc:
        if not exc.outcome_unknown:
            raise
    try:
        answer = client.set_psks(psks, validate_only=validate_only, before_each=guard)
    except CloudflareError as exc:
        exc.outcome_unknown = True  # a refusal of the second attempt says nothing of the first
        raise
    return PskAnswer(answer.applied, answer.unapplied, repeated=True)
