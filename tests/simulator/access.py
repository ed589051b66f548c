# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may ask, and how often."""

from __future__ import annotations

import hmac
import math
import time
from collections import deque
from dataclasses import dataclass

from multidict import CIMultiDictProxy

from .answers import Problem, error


@dataclass(frozen=True)
class Credentials:
    """The one API token and the one email and global key that are accepted."""

    token: str
    email: str
    key: str

    @staticmethod
    def scheme(headers: CIMultiDictProxy[str]) -> str | None:
        """Which scheme a request uses, right or wrong; for the journal."""
        token = "Authorization" in headers
        key = "X-Auth-Email" in headers or "X-Auth-Key" in headers
        return "both" if token and key else "token" if token else "key" if key else None

    def check(self, headers: CIMultiDictProxy[str]) -> None:
        """Problem unless the request carries exactly one scheme, and the right values."""
        scheme = self.scheme(headers)
        if scheme is None:
            message = "Missing X-Auth-Key, X-Auth-Email or Authorization headers"
            raise Problem.single(400, 9106, message)
        if scheme == "both":
            raise Problem.single(400, 6003, "Invalid request headers: use the API token or the global key, not both")
        if scheme == "token":
            kind, _, token = headers["Authorization"].partition(" ")
            if kind != "Bearer" or not token:
                chain = [{"code": 6111, "message": "Invalid format for Authorization header"}]
                raise Problem(400, [{**error(6003, "Invalid request headers"), "error_chain": chain}])
            good = _same(token, self.token)
        else:
            if "X-Auth-Email" not in headers or "X-Auth-Key" not in headers:
                raise Problem.single(400, 9106, "Missing X-Auth-Key or X-Auth-Email header")
            good = _same(headers["X-Auth-Email"], self.email) and _same(headers["X-Auth-Key"], self.key)
        if not good:
            raise Problem.single(401, 10000, "Authentication error")


@dataclass
class RateLimit:
    """`requests` in `window` seconds; one more and everything is refused for `block` seconds."""

    requests: int
    window: float
    block: float

    def __post_init__(self) -> None:
        self.reset()

    @classmethod
    def parse(cls, text: str) -> RateLimit:
        """REQUESTS/WINDOW_SECONDS/BLOCK_SECONDS."""
        requests, window, block = text.split("/")
        limit = cls(int(requests), float(window), float(block))
        if limit.requests < 1 or limit.window <= 0 or limit.block <= 0:
            raise ValueError("the numbers must be positive")
        return limit

    def reset(self) -> None:
        self._times: deque[float] = deque()
        self._blocked_until = 0.0

    def check(self) -> None:
        """Count a request; Problem with Retry-After when it is one too many or falls into a block."""
        now = time.monotonic()
        if now >= self._blocked_until:
            while self._times and self._times[0] <= now - self.window:
                self._times.popleft()
            self._times.append(now)
            if len(self._times) <= self.requests:
                return
            self._blocked_until = now + self.block
            self._times.clear()
        wait = str(math.ceil(self._blocked_until - now))
        message = "Please wait and consider throttling your request speed"
        raise Problem(429, [error(971, message)], {"Retry-After": wait})

    def headers(self) -> dict[str, str]:
        remaining = max(0, self.requests - len(self._times))
        return {
            "Ratelimit": f'"default";r={remaining};t={math.ceil(self.window)}',
            "Ratelimit-Policy": f'"default";q={self.requests};w={math.ceil(self.window)}',
        }


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())
