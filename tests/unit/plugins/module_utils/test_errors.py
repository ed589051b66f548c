# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors: what a module tells about them."""

from __future__ import annotations

import pytest
from ansible_collections.magicwan.cloudflare.plugins.module_utils import _errors
from ansible_collections.magicwan.cloudflare.plugins.module_utils._errors import ApiError, AuthError, CloudflareError
from ansible_collections.magicwan.cloudflare.plugins.module_utils._module import PartialFailure


def test_a_failure_without_details_has_all_keys_and_the_message() -> None:
    assert CloudflareError("it failed").failure == {
        "kind": "CloudflareError",
        "status": None,
        "code": None,
        "message": "it failed",
        "pointer": None,
        "ray_id": None,
        "documentation_url": None,
        "outcome_unknown": False,
    }


def test_a_failure_prefers_the_apis_own_words() -> None:
    assert ApiError("creating: no (HTTP 400)", detail="no").failure["message"] == "no"


@pytest.mark.parametrize("name", ["InputError", "ApiError", "AuthError", "NotFoundError", "AnswerError"])
def test_kind_is_the_name_of_the_error(name: str) -> None:
    error: CloudflareError = getattr(_errors, name)("x")
    assert error.failure["kind"] == name


def test_a_partial_failure_tells_the_parts_of_its_cause() -> None:
    cause = AuthError("no", status=401, code=10000)
    assert PartialFailure("2 unapplied", {}, cause).failure == cause.failure


def test_a_partial_failure_without_a_cause_tells_itself() -> None:
    assert PartialFailure("2 unapplied", {}).failure["kind"] == "PartialFailure"


def test_an_unforeseen_exception_is_told_by_type_and_place_and_never_by_its_text() -> None:
    try:
        raise RuntimeError("the key is hunter2hunter2")
    except RuntimeError as exc:
        error = _errors.internal_error(exc)
    assert "hunter2" not in f"{error} {error.failure}"
    assert str(error).startswith("internal error: RuntimeError in test_errors.py:")
    assert error.outcome_unknown
