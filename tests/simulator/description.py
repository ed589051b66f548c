# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields of a tunnel that have a type in the OpenAPI description and no rule beside it.

A new one stands in the description alone: the simulator checks its type, keeps it and shows it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import yaml

DESCRIPTION = Path(__file__).resolve().parents[1] / "contract" / "openapi.yml"
_TYPES: dict[str, Any] = {"string": str, "integer": int, "boolean": bool, "number": float}


def plain_fields(known: Collection[str]) -> dict[str, Any]:
    """The types of the writable fields by name, without those that are known."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schemas = yaml.load(DESCRIPTION.read_text(encoding="utf-8"), loader)["components"]["schemas"]  # noqa: S506
    fields = schemas["tunnel_request"]["properties"]
    return {name: _type(field) for name, field in fields.items() if name not in known}


def _type(field: dict[str, Any]) -> Any:
    return Literal[tuple(field["enum"])] if "enum" in field else _TYPES[field["type"]]
