# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""The PSKs that somebody knows already: read from a file or a mapping, and matched with the account's tunnels.

A PSK of any length and with any characters is taken as it is. Errors name the line, the resource or the tunnel, and
never what stands there: columns may be swapped, or a table may have no header.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import typing as t
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._psk import parse_time
from ansible_collections.magicwan.cloudflare.plugins.module_utils._tunnel import Index

FILES = ("json", "csv", "terraform")
SOURCES = (*FILES, "psks")
# The largest file that is read, in bytes: a thousand tunnels with all their attributes take less than two million.
LARGEST = 8_000_000
# What the Cloudflare provider calls an IPsec tunnel, in version 4 and in version 5.
RESOURCES = ("cloudflare_ipsec_tunnel", "cloudflare_magic_wan_ipsec_tunnel")
DELIMITERS = (",", ";", "\t")
COLUMNS = ("tunnel", "psk", "applied_on")

Tunnel = Mapping[str, t.Any]


@dataclass(frozen=True)
class Given:
    """A PSK as a source has it.

    ``where`` is its place in the source and holds nothing of its content. The tunnel is named by ``term``, which is an
    id or a name, or by ``tunnel_id`` alone. ``set_on`` is when the PSK was set, where the source says so.
    """

    where: str
    psk: str = field(repr=False)
    term: str = field(default="", repr=False)
    tunnel_id: str = ""
    set_on: str | None = None


@dataclass(frozen=True)
class Matched:
    """The PSKs by tunnel id, and those for which the account has no tunnel."""

    found: Mapping[str, Given]
    without_tunnel: Sequence[Given]


# -- reading ----------------------------------------------------------------------------------------------------------


def source_of(options: t.Any) -> tuple[str, t.Any]:
    """The one source that is named, such as ``("csv", path)``; JSON text stands for what it says. Raises InputError."""
    wanted = "adopt_psks_from must name one source: {json: PATH}, {csv: PATH}, {terraform: PATH} or {psks: {...}}"
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except (RecursionError, ValueError):
            raise InputError(wanted) from None
    if not isinstance(options, Mapping) or len(options) != 1:
        raise InputError(wanted)
    ((kind, value),) = options.items()
    if kind not in SOURCES:
        raise InputError(wanted)
    if kind in FILES and not (isinstance(value, str) and value):
        raise InputError(f"adopt_psks_from.{kind} must be the path of a file")
    return str(kind), value


def read_file(path: str, decrypt: t.Callable[[bytes], bytes], *, readable: bool = False) -> str:
    """The text of a source. Raises InputError for one that is too large, or that others than its owner can read.

    ``decrypt`` opens what ansible-vault has encrypted, which everybody may read, as with ``readable`` any file.
    """
    path = os.path.expanduser(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path} is not a regular file")
            if status.st_size > LARGEST:
                raise InputError(
                    f"{path} has {status.st_size / 1e6:.1f} MB, and no more than {LARGEST / 1e6:.0f} MB are read:"
                    " leave out what is not about IPsec tunnels"
                )
            content = file.read(LARGEST + 1)
    except OSError as exc:
        raise InputError(f"{path} can't be read ({os.strerror(exc.errno or 0)})") from None
    if content.startswith(b"$ANSIBLE_VAULT;"):
        content = decrypt(content)
    elif status.st_mode & (stat.S_IRGRP | stat.S_IROTH) and not readable:
        raise InputError(
            f"{path} holds PSKs, and others can read it (mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 it, or"
            " set adopt_psks_readable to true"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8") from None


def parse(kind: str, content: t.Any, tunnels: Sequence[Tunnel], path: str = "adopt_psks_from") -> list[Given]:
    """The PSKs of a source: the text of a file, or, of the kind psks, a mapping. Raises InputError.

    Only names that the account's ``tunnels`` have are shown in errors.
    """
    known = names_of(tunnels)
    if kind == "psks":
        return _of_pairs(list(content.items()) if isinstance(content, Mapping) else None, known, path)
    if kind == "csv":
        return list(_of_csv(content, path))
    document = _loaded(content, path)
    if kind == "terraform":
        return list(_of_terraform(document, path))
    return _of_pairs(document if isinstance(document, _Pairs) else None, known, path)


def names_of(tunnels: Sequence[Tunnel]) -> frozenset[str]:
    """By what the account's tunnels can be named: names and ids."""
    return frozenset(str(x[key]) for x in tunnels for key in ("id", "name") if x.get(key))


def match(given: Sequence[Given], tunnels: Sequence[Tunnel], path: str = "adopt_psks_from") -> Matched:
    """The PSKs by the account's tunnels. Raises InputError if two are for one tunnel, or columns look swapped."""
    account, known = Index(tunnels), names_of(tunnels)
    found: dict[str, Given] = {}
    without: list[Given] = []
    for item in given:
        if item.tunnel_id:
            tunnel = account.find(tunnel_id=item.tunnel_id)
        else:
            tunnel = account.find(tunnel_id=item.term) or account.find(name=item.term)
        if tunnel is None:
            if item.psk in known:
                raise InputError(f"{path}: {item.where} has a tunnel's name as its PSK: are the two swapped?")
            without.append(item)
            continue
        if tunnel["id"] in found:
            first = found[tunnel["id"]].where
            raise InputError(f"{path}: {first} and {item.where} both have a PSK for the tunnel {tunnel['name']!r}")
        found[tunnel["id"]] = item
    return Matched(found, without)


# -- JSON and mappings ------------------------------------------------------------------------------------------------


class _Pairs(list[tuple[str, t.Any]]):
    """A JSON object that keeps keys that stand there twice."""


def _loaded(text: str, path: str) -> t.Any:
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as exc:
        raise InputError(f"{path}: line {exc.lineno} is not valid JSON") from None
    except (RecursionError, ValueError):
        raise InputError(f"{path} is not valid JSON") from None


def _of_pairs(pairs: Sequence[tuple[t.Any, t.Any]] | None, known: Collection[str], path: str) -> list[Given]:
    if pairs is None:
        raise InputError(f"{path} must be one mapping of names or ids of tunnels to PSKs")
    found: list[Given] = []
    for number, (term, psk) in enumerate(pairs, 1):
        where = f"the entry {term!r}" if str(term) in known else f"entry {number}"
        if not isinstance(term, str) or not term.strip():
            raise InputError(f"{path}: {where} must begin with the name or id of a tunnel, as text: put it into quotes")
        found.append(Given(where, _psk_text(psk, where, path), str(term).strip()))
    return found


def _psk_text(psk: t.Any, where: str, path: str) -> str:
    """The PSK, which may be a variable that ansible-vault has encrypted. Raises InputError."""
    if not isinstance(psk, str) and not getattr(psk, "__ENCRYPTED__", False):
        raise InputError(f"{path}: the PSK of {where} is not text: put it into quotes")
    text = str(psk)
    if not text.strip():
        raise InputError(f"{path}: the PSK of {where} is empty")
    return text


# -- CSV --------------------------------------------------------------------------------------------------------------


def _of_csv(text: str, path: str) -> Iterator[Given]:
    first = text.partition("\n")[0]
    delimiter = next((x for x in DELIMITERS if x in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            raise InputError(f"{path}: line {line} is not valid CSV") from None
        if row is None:
            break
        if not any(x.strip() for x in row):
            pass
        elif columns is None:
            columns = _columns(row, line, path)
        else:
            yield _of_row(row, columns, f"line {line}", path)
        line = reader.line_num + 1
    if columns is None:
        raise InputError(f"{path} is empty: it must begin with a line that names the columns tunnel and psk")


def _columns(row: Sequence[str], line: int, path: str) -> list[str]:
    columns = [x.strip().lower() for x in row]
    if "tunnel" not in columns or "psk" not in columns:
        raise InputError(f"{path}: line {line} must name the columns, tunnel and psk among them")
    twice = next((x for x in COLUMNS if columns.count(x) > 1), None)
    if twice:
        raise InputError(f"{path}: line {line} names the column {twice} twice")
    return columns


def _of_row(row: Sequence[str], columns: Sequence[str], where: str, path: str) -> Given:
    if len(row) != len(columns):
        raise InputError(f"{path}: {where} has {len(row)} columns, not {len(columns)}")
    values = dict(zip(columns, row))
    term = values["tunnel"].strip()
    if not term:
        raise InputError(f"{path}: {where} names no tunnel")
    set_on = values.get("applied_on", "").strip() or None
    if set_on and parse_time(set_on) is None:
        raise InputError(f"{path}: the applied_on of {where} must be a time such as 2026-06-14T05:20:00Z")
    return Given(where, _psk_text(values["psk"], where, path), term, set_on=set_on)


# -- Terraform --------------------------------------------------------------------------------------------------------


def _of_terraform(document: t.Any, path: str) -> Iterator[Given]:
    """The tunnels of a state: as ``terraform show -json`` tells it, or the file that Terraform keeps."""
    state = _plain(document)
    if not isinstance(state, dict):
        raise InputError(f"{path} is no state of Terraform: it must be a JSON object")
    try:
        if isinstance(state.get("values"), dict):
            found = list(_of_shown(state["values"].get("root_module") or {}))
        elif state.get("version") == 4 and isinstance(state.get("resources"), list):
            found = [x for resource in state["resources"] for x in _of_stored(resource)]
        else:
            raise InputError(
                f"{path} is no state of Terraform that is understood: give the output of terraform show -json, or a"
                " state file of version 4 that is not encrypted"
            )
    except (AttributeError, TypeError, KeyError):
        raise InputError(f"{path} is no state of Terraform: its resources are not as they should be") from None
    if not found:
        raise InputError(f"{path} holds no IPsec tunnel ({' or '.join(RESOURCES)})")
    for where, attributes in found:
        psk, metadata = attributes.get("psk"), attributes.get("psk_metadata") or {}
        # An imported tunnel has no PSK there, and that of a tunnel that was never set is empty.
        if psk is None or psk == "":
            continue
        set_on = metadata.get("last_generated_on") if isinstance(metadata, dict) else None
        term = str(attributes.get("name") or "")
        yield Given(
            where,
            _psk_text(psk, where, path),
            term,
            tunnel_id=str(attributes.get("id") or ""),
            set_on=set_on if parse_time(set_on) is not None else None,
        )


def _of_shown(module: Mapping[str, t.Any]) -> Iterator[tuple[str, Mapping[str, t.Any]]]:
    for resource in module.get("resources") or ():
        if (
            resource["type"] in RESOURCES
            and resource.get("mode", "managed") == "managed"
            and "deposed_key" not in resource
        ):
            yield str(resource["address"]), resource["values"]
    for child in module.get("child_modules") or ():
        yield from _of_shown(child)


def _of_stored(resource: Mapping[str, t.Any]) -> Iterator[tuple[str, Mapping[str, t.Any]]]:
    if resource["type"] not in RESOURCES or resource.get("mode", "managed") != "managed":
        return
    module = f"{resource['module']}." if resource.get("module") else ""
    for instance in resource["instances"]:
        if instance.get("deposed"):
            continue
        index = f"[{json.dumps(instance['index_key'])}]" if instance.get("index_key") is not None else ""
        yield f"{module}{resource['type']}.{resource['name']}{index}", instance["attributes"]


def _plain(part: t.Any) -> t.Any:
    """Without what JSON objects have twice, which Terraform never writes."""
    if isinstance(part, _Pairs):
        return {key: _plain(value) for key, value in part}
    return [_plain(x) for x in part] if isinstance(part, list) else part


def labelled(given: Given) -> str:
    """How a PSK without a tunnel is named: by what the source calls its tunnel, and by its place."""
    name = given.term or given.tunnel_id
    return f"{name!r} ({given.where})" if name else given.where


def without_content(given: Sequence[Given]) -> list[Given]:
    """The same, for messages: a name that is a PSK of the same source is not shown."""
    psks = {x.psk for x in given}
    return [replace(x, term="") if x.term in psks else x for x in given]
