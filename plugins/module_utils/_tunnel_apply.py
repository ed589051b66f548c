# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Carries out what was planned for one tunnel, and finds out the outcome.

What an answer to a write leaves open is read: an answer that was lost or is not whole, what Cloudflare tells of a new
tunnel only later, and whether a removed field is gone.
ASSUMPTION IDENTITIES: the IKE identities of a tunnel never change, so an answer that leaves them empty does not say so.
"""

from __future__ import annotations

import re
import time
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk, _tunnel, _tunnel_plan
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import Client
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import (
    ApiError,
    CloudflareError,
    NotFoundError,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel_plan import Plan

# How often what a read shows may be older than the answer to the write before it, and the seconds between two reads.
READS, BETWEEN_READS = 3, 1.0
# What an answer to a write may leave out, and an update never changes.
LASTING = ("created_on", "allow_null_cipher", "psk_metadata")

Raw = Mapping[str, t.Any]


class KeptError(ApiError):
    """A write was answered, but not carried out as it was asked for. ``tunnel`` is the tunnel as it is, see view."""

    def __init__(self, message: str, tunnel: _tunnel.Tunnel, *, changed: bool) -> None:
        super().__init__(message, status=200)
        self.tunnel = tunnel
        self.changed = changed


@dataclass(frozen=True)
class Written:
    """What the API said to a write: ``tunnel`` as it is, or would be, afterwards (see view); None after a deletion.

    ``must_read``: the tunnel has to be read, and given to settled(), before it may be called done; ``unread`` says why
    a new one could not be. ``left_out`` are pointers to fields that the API shows and refuses.
    """

    plan: Plan
    tunnel: _tunnel.Tunnel | None
    must_read: bool = False
    left_out: tuple[str, ...] = ()
    unread: str | None = None


@dataclass
class UnknownFields:
    """What a run has learned of fields that the schema does not know: an update takes them, or refuses them."""

    taken: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def learn(self, client: Client, plan: Plan) -> None:
        """Asks the API about those of this plan that are not known yet, by an update that changes nothing."""
        body = self.sendable(plan)
        while set(_tunnel_plan.unknown_fields(body)) - self.taken:
            try:
                client.update_tunnel(plan.tunnel_id or "", body, validate_only=True)
            except ApiError as exc:
                refused = _refused_field(exc, body)
                if refused is None:
                    raise
                self.refused.add(refused)
                body = self.sendable(plan)
            else:
                self.taken.update(_tunnel_plan.unknown_fields(body))

    def sendable(self, plan: Plan) -> _tunnel.Tunnel:
        """The request without what is refused."""
        body = plan.body or {}
        for pointer in self.left_out(plan):
            body = _tunnel_plan.without_field(body, pointer)
        return body

    def left_out(self, plan: Plan) -> tuple[str, ...]:
        """Pointers to what of the request is refused."""
        return tuple(x for x in _tunnel_plan.unknown_fields(plan.body or {}) if x in self.refused)


def warnings_of(written: Iterable[Written]) -> list[str]:
    """Warnings about writes that succeeded: fields that were left out, new tunnels that could not be read."""
    left_out: dict[str, list[str]] = {}
    found = []
    for one in written:
        name = repr((one.tunnel or {}).get("name"))
        for pointer in one.left_out:
            left_out.setdefault(pointer, []).append(name)
        if one.unread:
            found.append(
                f"tunnel {name} was created, but could not be read again ({one.unread}); its remote_identities are null"
            )
    for pointer, names in left_out.items():
        found.append(
            f"Cloudflare shows {pointer} of {_tunnel.few(names)}, but refuses it in an update, so it was left out"
        )
    return found


def write(client: Client, plan: Plan, *, validate_only: bool, unknown: UnknownFields) -> Written:
    """Carries a plan out, or has the API validate it. What remains to be read is said, so that many can be read at
    once; settled() takes it."""
    if plan.action == "create":
        tunnel = _create(client, plan, validate_only)
        return Written(plan, plan.after if validate_only else _tunnel.view(tunnel), must_read=not validate_only)
    if plan.action == "update":
        unknown.learn(client, plan)
        answer = _update(client, plan, unknown.sendable(plan), validate_only)
        left_out = unknown.left_out(plan)
        if validate_only:
            return Written(plan, plan.after, left_out=left_out)
        must_read = bool(plan.removed or left_out)
        return Written(plan, after_update(plan, answer), must_read=must_read, left_out=left_out)
    if plan.action == "delete":
        _delete(client, plan, validate_only)
        return Written(plan, None)
    return Written(plan, plan.after)


def apply_plan(client: Client, plan: Plan, *, validate_only: bool) -> Written:
    """write(), and what remains to be read of this one tunnel."""
    written = write(client, plan, validate_only=validate_only, unknown=UnknownFields())
    if not written.must_read or written.tunnel is None:
        return written
    tunnel_id = written.tunnel["id"]

    def read() -> dict[str, Raw]:
        try:
            return {tunnel_id: client.get_tunnel(tunnel_id)}
        except NotFoundError:
            return {}

    return settled(written, read_back(read, [written]))


def read_back(
    read: t.Callable[[], Mapping[str, Raw]], written: Iterable[Written]
) -> Mapping[str, Raw] | CloudflareError:
    """The tunnels by id as they are read after writes, or why they could not be.

    What is older than the answer to its write is read again: a read may lag behind.
    """
    answers = [x.tunnel for x in written if x.must_read and x.tunnel is not None]
    found: Mapping[str, Raw] = {}
    for attempt in range(READS):
        time.sleep(BETWEEN_READS if attempt else 0)
        try:
            found = read()
        except CloudflareError as exc:
            return exc
        if not any(_is_stale(answer, found.get(answer["id"])) for answer in answers):
            break
    return found


def settled(written: Written, found: Mapping[str, Raw] | CloudflareError) -> Written:
    """What was written, after read_back() of it. Raises KeptError when a removed field is still there, or one that
    could not be sent has changed, and CloudflareError when the reading leaves that open."""
    if not written.must_read or written.tunnel is None:
        return written
    plan, name = written.plan, written.tunnel["name"]
    read = None if isinstance(found, CloudflareError) else found.get(written.tunnel["id"])
    if read is None:
        why = found.message if isinstance(found, CloudflareError) else "it is not there"
        if plan.action == "create":
            return replace(written, unread=why)
        raise CloudflareError(
            f"tunnel {name!r} was updated, but could not be read again ({why}), so it is not known"
            f" whether {', '.join([*plan.removed, *written.left_out])} took effect",
            outcome_unknown=True,
        )
    shown = _tunnel.view(read)
    kept = [path for path in plan.removed if _tunnel_plan.is_set(shown, path)]
    if kept:
        raise KeptError(
            f"tunnel {name!r}: Cloudflare kept {', '.join(kept)}, which should have been removed",
            shown,
            changed=plan.sends_psk or bool(_tunnel_plan.differs(plan.before, shown)),
        )
    lost = [x for x in written.left_out if _tunnel_plan.value_at(read, x) != _tunnel_plan.value_at(plan.body, x)]
    if lost:
        raise KeptError(
            f"tunnel {name!r}: Cloudflare does not accept {', '.join(lost)} in an update, and has changed it;"
            " set it again in the dashboard",
            shown,
            changed=True,
        )
    return replace(written, tunnel=shown)


def after_update(plan: Plan, answer: Raw) -> _tunnel.Tunnel:
    """The tunnel of an answer to an update. What such an answer may leave out, or empty, is as it was before."""
    shown, before = _tunnel.view(answer), plan.before or {}
    for key in LASTING:
        if key not in answer and not (key == "psk_metadata" and plan.sends_psk):
            shown[key] = before.get(key, shown[key])
    known = before.get("remote_identities") or {}
    shown["remote_identities"] = {k: v or known.get(k) for k, v in shown["remote_identities"].items()}
    return shown


def _create(client: Client, plan: Plan, validate_only: bool) -> Raw:
    """Creates a tunnel once. A lost answer is settled by looking for the name, which is unique and was free before.

    That the tunnel is there does not prove that it has our PSK, so that is sent again.
    """
    body = plan.body or {}
    try:
        return client.create_tunnel(body, validate_only=validate_only)
    except CloudflareError as exc:
        if not exc.outcome_unknown:
            raise
        made = _looked_for(lambda: _tunnel.find(client.list_tunnels(), name=body["name"]))
        if made is None or not _is_as_sent(plan, made):
            raise
        return _sent_again(client, made["id"], body, exc) if plan.sends_psk else made


def _update(client: Client, plan: Plan, body: Raw, validate_only: bool) -> Raw:
    """Updates a tunnel. A lost answer is settled by reading it; a PSK, which can't be read, is sent again."""
    try:
        return client.update_tunnel(plan.tunnel_id or "", body, validate_only=validate_only)
    except CloudflareError as exc:
        if not exc.outcome_unknown:
            raise
        if plan.sends_psk:
            return _sent_again(client, plan.tunnel_id or "", body, exc)
        found = _looked_for(lambda: client.get_tunnel(plan.tunnel_id or ""))
        if found is None or not _is_as_sent(plan, found):
            raise
        return found


def _sent_again(client: Client, tunnel_id: str, body: Raw, lost: CloudflareError) -> Raw:
    """The same update once more; when its answer is lost, too, or is a refusal, the first one's outcome stays open."""
    try:
        return client.update_tunnel(tunnel_id, body)
    except CloudflareError:
        raise lost from None


def _delete(client: Client, plan: Plan, validate_only: bool) -> None:
    """Deletes a tunnel. A lost answer is settled by looking for it."""
    try:
        client.delete_tunnel(plan.tunnel_id or "", validate_only=validate_only)
    except CloudflareError as exc:
        if not exc.outcome_unknown:
            raise
        try:
            client.get_tunnel(plan.tunnel_id or "")
        except NotFoundError:
            return
        except CloudflareError:
            raise exc from None
        raise


def _looked_for(read: t.Callable[[], Raw | None]) -> Raw | None:
    try:
        return read()
    except CloudflareError:
        return None


def _is_as_sent(plan: Plan, found: Raw) -> bool:
    """Whether a tunnel that was read is, but for the PSK, what a write should have made of it."""
    after, shown = plan.after or {}, _tunnel.view(found)
    return all(_alike(key, shown[key], after[key]) for key in _tunnel.WRITABLE)


def _alike(key: str, shown: t.Any, sent: t.Any) -> bool:
    """Whether a field is as it was sent. What a request leaves to the API's default may be anything."""
    if key != "health_check":
        return bool(shown == sent)
    same = all(sent[x] is None or shown[x] == sent[x] for x in _tunnel.HEALTH_DEFAULTS)
    return same and bool(shown["target"]["saved"] == sent["target"]["saved"])


def _is_stale(answer: _tunnel.Tunnel, read: Raw | None) -> bool:
    """Whether what was read is from before the write. A new tunnel that is not there yet is."""
    if read is None:
        return True
    written, seen = _psk.parse_time(answer["modified_on"]), _psk.parse_time(read.get("modified_on"))
    return written is not None and seen is not None and seen < written


def _refused_field(exc: ApiError, body: Raw) -> str | None:
    """The pointer to the unknown field that a refusal is about, None when it is about anything else.

    ASSUMPTION REFUSED-FIELD: the refusal points at the field, or names it as Go's JSON decoder does.
    """
    if exc.__class__ is not ApiError or exc.outcome_unknown:
        return None
    unknown = _tunnel_plan.unknown_fields(body)
    if exc.pointer:
        pointer = "/" + exc.pointer.lstrip("#/").replace(".", "/")
        return next((x for x in unknown if pointer == x or pointer.startswith(f"{x}/")), None)
    named = re.search(r"unknown field\W{0,2}([\w.-]+)", exc.detail or "", re.I)
    path = "/" + named.group(1).replace(".", "/") if named else ""
    fitting = [x for x in unknown if path and x.endswith(path)]
    return fitting[0] if len(fitting) == 1 else None
