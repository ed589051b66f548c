# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Argument specifications that travel with their rules, and the connection options that all modules share."""

from __future__ import annotations

import math
import os
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible.module_utils.basic import env_fallback
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import DEFAULT_BASE_URL, Connection
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError

_ENVIRONMENT = {
    "account_id": "CLOUDFLARE_ACCOUNT_ID",
    "api_token": "CLOUDFLARE_API_TOKEN",
    "api_email": "CLOUDFLARE_EMAIL",
    "api_key": "CLOUDFLARE_API_KEY",
    "base_url": "CLOUDFLARE_BASE_URL",
}


@dataclass(frozen=True)
class ArgumentSpec:
    """An argument spec with the rules between its options."""

    options: dict[str, t.Any] = field(default_factory=dict)
    mutually_exclusive: list[tuple[str, ...]] = field(default_factory=list)
    required_one_of: list[tuple[str, ...]] = field(default_factory=list)
    required_if: list[tuple[t.Any, ...]] = field(default_factory=list)

    def merge(self, other: ArgumentSpec) -> ArgumentSpec:
        """Both specs in one."""
        return ArgumentSpec(
            {**self.options, **other.options},
            [*self.mutually_exclusive, *other.mutually_exclusive],
            [*self.required_one_of, *other.required_one_of],
            [*self.required_if, *other.required_if],
        )

    def to_kwargs(self) -> dict[str, t.Any]:
        """Keyword arguments for AnsibleModule."""
        return {
            "argument_spec": self.options,
            "mutually_exclusive": self.mutually_exclusive,
            "required_one_of": self.required_one_of,
            "required_if": self.required_if,
        }


def _from_environment(option: str) -> tuple[t.Any, list[str]]:
    return env_fallback, [_ENVIRONMENT[option]]


def connection_spec() -> ArgumentSpec:
    """The options of the doc fragment ``_api``."""
    return ArgumentSpec(
        {
            "account_id": {"type": "str", "fallback": _from_environment("account_id")},
            "api_token": {"type": "str", "no_log": True, "fallback": _from_environment("api_token")},
            "api_email": {"type": "str", "fallback": _from_environment("api_email")},
            "api_key": {"type": "str", "no_log": True, "fallback": _from_environment("api_key")},
            "base_url": {"type": "str", "default": DEFAULT_BASE_URL, "fallback": _from_environment("base_url")},
            "timeout": {"type": "float", "default": 60.0},
            "retries": {"type": "int", "default": 6},
            "ca_path": {"type": "path"},
            "validate_certs": {"type": "bool", "default": True},
        }
    )


def connection_of(params: Mapping[str, t.Any], environment: Mapping[str, str] | None = None) -> Connection:
    """The connection that the options describe. Raises InputError.

    Options beat the environment, and within one source the token beats email and key. Both as options is an error.
    """
    environment = os.environ if environment is None else environment
    given = {key: params.get(key) or None for key in ("api_token", "api_email", "api_key")}
    as_option = {key: value for key, value in given.items() if value and value != environment.get(_ENVIRONMENT[key])}
    if "api_token" in as_option and len(as_option) > 1:
        raise InputError("api_token and api_email with api_key exclude each other; set one of the two")
    if as_option and "api_token" not in as_option:
        given["api_token"] = None
    elif given["api_token"]:
        given["api_email"] = given["api_key"] = None
    if not given["api_token"] and bool(given["api_email"]) != bool(given["api_key"]):
        missing = "api_key" if given["api_email"] else "api_email"
        raise InputError(f"{missing} is missing: api_email and api_key belong together")
    if not params.get("account_id"):
        raise InputError("account_id is missing: set it, or CLOUDFLARE_ACCOUNT_ID in the environment")
    for key in ("timeout", "retries"):
        if not 0 <= params[key] < math.inf or (key == "timeout" and not params[key]):
            raise InputError(f"{key} must be greater than {'zero' if key == 'timeout' else 'or equal to zero'}")
    ca_path = params.get("ca_path")
    if ca_path and not os.path.exists(ca_path):
        raise InputError(f"ca_path {ca_path!r} is no file or folder on the host that runs the module")
    return Connection(
        account_id=params["account_id"],
        base_url=params["base_url"] or DEFAULT_BASE_URL,
        timeout=params["timeout"],
        retries=params["retries"],
        ca_path=ca_path or None,
        validate_certs=params["validate_certs"],
        **given,
    )
