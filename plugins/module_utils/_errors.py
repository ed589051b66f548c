# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Typed errors of the collection.

Every message is one line, says what to do where that is known, and never holds a secret: whatever came from outside
goes through the client's redaction before it gets here.
"""

from __future__ import annotations

import traceback
import typing as t


class CloudflareError(Exception):
    """Base of all errors that a user may see.

    ``outcome_unknown`` is true when a write may have been carried out although no usable answer arrived.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        pointer: str | None = None,
        ray_id: str | None = None,
        documentation_url: str | None = None,
        detail: str | None = None,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.pointer = pointer
        self.ray_id = ray_id
        self.documentation_url = documentation_url
        self.detail = detail
        self.outcome_unknown = outcome_unknown

    @property
    def failure(self) -> dict[str, t.Any]:
        """The machine-readable side of the error, as modules return it under ``failure``."""
        return {
            "kind": type(self).__name__,
            "status": self.status,
            "code": self.code,
            "message": self.detail or self.message,
            "pointer": self.pointer,
            "ray_id": self.ray_id,
            "documentation_url": self.documentation_url,
            "outcome_unknown": self.outcome_unknown,
        }


class InputError(CloudflareError):
    """The user's input is wrong; nothing was sent."""


class ApiError(CloudflareError):
    """The API answered, and refused."""


class AuthError(ApiError):
    """401 or 403: the credentials are wrong or lack a permission."""


class NotFoundError(ApiError):
    """404: the account or the tunnel does not exist, or the token may not see it."""


class RateLimitError(ApiError):
    """429, and the retries are used up."""


class ServerError(ApiError):
    """408 or 5xx: whether a write was carried out is not known."""


class AnswerError(CloudflareError):
    """The answer is not what the API promises: HTML, a cut body, a redirect, a missing part."""


class TransportError(CloudflareError):
    """No answer: connection, TLS, proxy or time-out."""


class StoppedError(CloudflareError):
    """The caller's guard has stopped the request before it was sent, or sent again."""


def internal_error(exc: Exception) -> CloudflareError:
    """An unforeseen exception as an error of ours: its type and place, never its text, which may hold a secret."""
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    place = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    return CloudflareError(f"internal error: {type(exc).__name__} in {place}; please report it", outcome_unknown=True)
