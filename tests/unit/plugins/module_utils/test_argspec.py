# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options: where they come from, which of them win, and which are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils._argspec import (
    ArgumentSpec,
    connection_of,
    connection_spec,
)
from ansible_collections.magicwan.cloudflare.plugins.module_utils._client import DEFAULT_BASE_URL, Connection
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import InputError

ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
TOKEN_ENV = {"CLOUDFLARE_API_TOKEN": "env-token"}
KEY_ENV = {"CLOUDFLARE_EMAIL": "env@example.com", "CLOUDFLARE_API_KEY": "env-key"}
FALLBACKS = {
    "account_id": "CLOUDFLARE_ACCOUNT_ID",
    "api_token": "CLOUDFLARE_API_TOKEN",
    "api_email": "CLOUDFLARE_EMAIL",
    "api_key": "CLOUDFLARE_API_KEY",
    "base_url": "CLOUDFLARE_BASE_URL",
}


def connect(environment: dict[str, str] | None = None, **options: Any) -> Connection:
    """The connection, with the environment filled in as AnsibleModule does."""
    environment = environment or {}
    given = {"account_id": ACCOUNT, "base_url": DEFAULT_BASE_URL, "timeout": 60.0, "retries": 6, "validate_certs": True}
    params = {**dict.fromkeys(FALLBACKS), **given, **options}
    for option, name in FALLBACKS.items():
        if option not in options and name in environment:
            params[option] = environment[name]
    return connection_of(params, environment)


def scheme(connection: Connection) -> tuple[str | None, str | None, str | None]:
    return connection.api_token, connection.api_email, connection.api_key


def test_every_option_has_the_environment_variable_of_cloudflares_own_tools() -> None:
    options = connection_spec().options
    assert {name: options[name]["fallback"][1] for name in FALLBACKS} == {k: [v] for k, v in FALLBACKS.items()}


def test_token_and_key_are_no_log_and_nothing_else_is() -> None:
    assert {name for name, spec in connection_spec().options.items() if spec.get("no_log")} == {"api_token", "api_key"}


def test_the_token_comes_from_the_option() -> None:
    assert scheme(connect(api_token="a-token")) == ("a-token", None, None)


def test_the_token_comes_from_the_environment() -> None:
    assert scheme(connect(TOKEN_ENV)) == ("env-token", None, None)


def test_email_and_key_come_from_the_environment() -> None:
    assert scheme(connect(KEY_ENV)) == (None, "env@example.com", "env-key")


def test_within_the_environment_the_token_wins() -> None:
    assert scheme(connect({**TOKEN_ENV, **KEY_ENV})) == ("env-token", None, None)


def test_a_token_as_option_wins_over_email_and_key_of_the_environment() -> None:
    assert scheme(connect(KEY_ENV, api_token="a-token")) == ("a-token", None, None)


def test_email_and_key_as_options_win_over_the_token_of_the_environment() -> None:
    connection = connect(TOKEN_ENV, api_email="a@example.com", api_key="a-key")
    assert scheme(connection) == (None, "a@example.com", "a-key")


def test_a_key_as_option_goes_with_the_email_of_the_environment() -> None:
    connection = connect({**TOKEN_ENV, "CLOUDFLARE_EMAIL": "env@example.com"}, api_key="a-key")
    assert scheme(connection) == (None, "env@example.com", "a-key")


@pytest.mark.parametrize("others", [{"api_email": "a@example.com", "api_key": "a-key"}, {"api_key": "a-key"}], ids=str)
def test_both_schemes_as_options_are_refused(others: dict[str, str]) -> None:
    with pytest.raises(InputError, match="api_token and api_email with api_key exclude each other"):
        connect(api_token="a-token", **others)


@pytest.mark.parametrize(("given", "missing"), [("api_email", "api_key"), ("api_key", "api_email")])
def test_half_of_a_scheme_names_the_other_half(given: str, missing: str) -> None:
    with pytest.raises(InputError, match=f"^{missing} is missing"):
        connect(**{given: "a@example.com"})


@pytest.mark.parametrize("environment", [{}, {"CLOUDFLARE_API_TOKEN": ""}], ids=["unset", "empty"])
def test_no_credentials_at_all_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(InputError, match="no credentials: set api_token"):
        connect(environment)


@pytest.mark.parametrize("value", [None, ""])
def test_no_account_is_refused(value: str | None) -> None:
    with pytest.raises(InputError, match="account_id is missing: set it, or CLOUDFLARE_ACCOUNT_ID"):
        connect(TOKEN_ENV, account_id=value)


def test_an_empty_base_url_of_the_environment_counts_as_not_set() -> None:
    assert connect({**TOKEN_ENV, "CLOUDFLARE_BASE_URL": ""}).base_url == DEFAULT_BASE_URL


@pytest.mark.parametrize(
    ("option", "value"),
    [("timeout", 0), ("timeout", -1.0), ("timeout", math.nan), ("timeout", math.inf), ("retries", -1)],
)
def test_a_number_out_of_range_is_refused_by_its_name(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^{option} must be greater than"):
        connect(TOKEN_ENV, **{option: value})


def test_no_retries_are_accepted() -> None:
    assert connect(TOKEN_ENV, retries=0).retries == 0


def test_a_ca_path_that_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^ca_path .*missing\.pem' is no file"):
        connect(TOKEN_ENV, ca_path=str(tmp_path / "missing.pem"))


def test_a_ca_path_may_be_a_folder_as_documented(tmp_path: Path) -> None:
    assert connect(TOKEN_ENV, ca_path=str(tmp_path)).ca_path == str(tmp_path)


def test_specs_are_merged_with_their_rules() -> None:
    one = ArgumentSpec({"a": {}}, [("a", "b")], [("a",)], [("a", 1, ("b",))])
    other = ArgumentSpec({"b": {}}, [("b", "c")], [("b",)], [("b", 2, ("c",))])
    assert one.merge(other).to_kwargs() == {
        "argument_spec": {"a": {}, "b": {}},
        "mutually_exclusive": [("a", "b"), ("b", "c")],
        "required_one_of": [("a",), ("b",)],
        "required_if": [("a", 1, ("b",)), ("b", 2, ("c",))],
    }
