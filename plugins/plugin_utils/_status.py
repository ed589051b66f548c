# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The statuses of a tunnel: one table, from which everything that distinguishes them is derived."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

PLANNED, CONFIRMED, DELIVERED, HANDED_OVER = "planned", "confirmed", "delivered", "handed_over"
WAITING, UNCHANGED, UNKNOWN, SKIPPED = "waiting", "unchanged", "unknown", "skipped"
REFUSED, IN_DOUBT, FAILED, STUCK = "refused", "in_doubt", "failed", "stuck"
ROLLING_BACK, ROLLED_BACK, ROLLBACK_FAILED = "rolling_back", "rolled_back", "rollback_failed"
UNREACHED, UNHEALTHY, STOPPED = "unreached", "unhealthy", "stopped"
DUE, RESUME, PREPARED, APPLIED = "due", "resume", "prepared", "applied"


@dataclass(frozen=True)
class Meaning:
    """What a status says of a tunnel at the end of a run, or of a wave.

    ``harmless``: it needs nobody's attention. ``done``: its group's next tunnel may begin. ``changed``: Cloudflare
    holds another PSK than before, or may. ``live``: Cloudflare holds the PSK that the result shows; None if unknown.
    ``acts``: its device has to act in this wave. ``configure``: the device of a later job needs the escrow's PSK.
    ``then``: what a person does next; {device} is its device, {again} the command that goes on.
    """

    text: str
    harmless: bool = False
    done: bool = False
    changed: bool = False
    live: bool | None = False
    acts: bool = False
    configure: bool = False
    then: str = ""


TABLE: dict[str, Meaning] = {
    PLANNED: Meaning("a check run: a run would rotate it", harmless=True, done=True, changed=True, acts=True),
    CONFIRMED: Meaning(
        "a new IKE_AUTH with the new PSK was seen", harmless=True, done=True, changed=True, live=True, configure=True
    ),
    DELIVERED: Meaning(
        "the device tasks succeeded, nothing has proven the PSK",
        harmless=True,
        done=True,
        changed=True,
        live=True,
        configure=True,
    ),
    HANDED_OVER: Meaning(
        "Cloudflare has the new PSK; the device is configured elsewhere, as the user chose",
        harmless=True,
        done=True,
        changed=True,
        live=True,
        configure=True,
    ),
    WAITING: Meaning(
        "Cloudflare has the new PSK; it waits for a manual confirmation",
        harmless=True,
        changed=True,
        live=True,
        configure=True,
    ),
    UNCHANGED: Meaning("nothing is to be done", harmless=True, done=True, live=True),
    UNKNOWN: Meaning("its PSK is not in the escrow; left alone, as the user chose", harmless=True, live=None),
    SKIPPED: Meaning(
        "another run works on it, or a tunnel of its group must be finished first",
        then="once that is resolved, {again}",
    ),
    DUE: Meaning("a report: a run would rotate it", harmless=True, live=True, then="{again}"),
    RESUME: Meaning("a report: a run would finish what an earlier one has begun", live=None, then="{again}"),
    PREPARED: Meaning("the next PSK is in the escrow, and was not sent", then="{again}"),
    APPLIED: Meaning(
        "Cloudflare has the new PSK, the device not yet",
        changed=True,
        live=True,
        acts=True,
        configure=True,
        then="fix {device}, then {again}: it goes on with the pending PSK",
    ),
    REFUSED: Meaning(
        "Cloudflare has refused the PSK, and keeps the one before", then="fix what Cloudflare refuses, then {again}"
    ),
    IN_DOUBT: Meaning(
        "the PSK was sent; it is not known whether Cloudflare has it",
        changed=True,
        live=None,
        then="{again}: the pending PSK is sent again until its outcome is known",
    ),
    ROLLING_BACK: Meaning(
        "Cloudflare has the previous PSK again, the device not yet",
        changed=True,
        live=True,
        acts=True,
        configure=True,
        then="fix {device}, then {again}: it goes on with the pending PSK",
    ),
    ROLLED_BACK: Meaning(
        "Cloudflare and the device have the previous PSK again",
        changed=True,
        live=True,
        configure=True,
        then="fix {device}, then {again}",
    ),
    ROLLBACK_FAILED: Meaning(
        "the previous PSK could not be restored at Cloudflare",
        changed=True,
        live=None,
        configure=True,
        then="{again}: it goes on with the pending PSK",
    ),
    FAILED: Meaning("a check run: its device tasks fail", then="fix the tasks of {device}, then {again}"),
    STUCK: Meaning(
        "its PSK was changed by somebody else; a person has to decide",
        live=None,
        then="find out who set it (check Terraform first), then {again} -e psk_rotation_force=true",
    ),
    UNREACHED: Meaning(
        "its device can't be managed now; nothing was changed",
        then="have {device} answer, or fix what it reports, then {again}",
    ),
    UNHEALTHY: Meaning(
        "nothing that backs it up is healthy; nothing was changed",
        then="restore a tunnel that backs it up, then {again}",
    ),
    STOPPED: Meaning("too many others have failed; nothing was changed", then="fix what has failed, then {again}"),
}


def _where(wanted: t.Callable[[Meaning], bool]) -> frozenset[str]:
    return frozenset(status for status, meaning in TABLE.items() if wanted(meaning))


HARMLESS = _where(lambda x: x.harmless)
DONE = _where(lambda x: x.done)
CHANGED = _where(lambda x: x.changed)
ACTING = _where(lambda x: x.acts)
TO_CONFIGURE = _where(lambda x: x.configure)
# What a run that ends well has not touched, though it was asked to, and has to say why.
LEFT_ALONE = frozenset({SKIPPED, UNKNOWN})
# Statuses with which a tunnel of a rollback is as it should be, beside the harmless ones.
DONE_IN_ROLLBACK = frozenset({ROLLED_BACK})
# To confirm may be to confirm a rollback.
ROLLBACK_MODES = ("rollback", "confirm")


def harmless_in(mode: str) -> frozenset[str]:
    """The statuses that need nobody's attention at the end of a run of this mode.

    What is still due in a run that rotates was never come to, since its whole wave has left the play.
    """
    fine = HARMLESS if mode == "report" else HARMLESS - {DUE}
    return fine | DONE_IN_ROLLBACK if mode in ROLLBACK_MODES else fine


def done_in(mode: str) -> frozenset[str]:
    """The statuses after which the next tunnel of the group may begin, in a run of this mode."""
    return DONE | DONE_IN_ROLLBACK if mode in ROLLBACK_MODES else DONE


def counted_in(mode: str) -> frozenset[str]:
    """The statuses that psk_rotation_max_failures counts: to wait for another tunnel is no failure of its own."""
    return frozenset(TABLE) - harmless_in(mode) - {SKIPPED}


def changed_by_others(seen: str | None) -> str:
    """The reason of a tunnel whose PSK was set, at the time ``seen``, by somebody else."""
    return f"its PSK was changed on {seen} by somebody else (most likely a terraform apply)"
