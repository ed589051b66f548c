# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where time and chance of the rotation's modules are replaced."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

from ansible_collections.magicwan.cloudflare.plugins.module_utils import _psk, _psk_batch, _tunnel
from ansible_collections.magicwan.cloudflare.plugins.plugin_utils import (
    _escrow,
    _kept,
    _results,
    _rotation,
    _state,
)

from tests.model.world import World


class _Clock:
    """Stands for the module time, by the clock of the run that runs."""

    def __init__(self, world: World) -> None:
        self._world = world

    def time(self) -> float:
        """In seconds since 1970."""
        return self._world.running.time() if self._world.running else self._world.now

    def monotonic(self) -> float:
        """In seconds since some time."""
        return self._world.running.monotonic() if self._world.running else self._world.now


class _Secrets:
    """Stands for the module secrets."""

    def __init__(self, world: World) -> None:
        self._world = world

    def token_hex(self, length: int) -> str:
        """A token that is readable in a trace."""
        return self._world.new_token()


# Pure functions of which a scenario asks the same again and again.
_parse_time = functools.lru_cache(4096)(_psk.parse_time)
_inside_addresses = functools.lru_cache(64)(_tunnel.inside_addresses)


@functools.lru_cache(256)
def _view(tunnel_id: str, name: str, endpoint: str | None) -> dict[str, Any]:
    return _tunnel.view({"id": tunnel_id, "name": name, "customer_endpoint": endpoint})


@contextlib.contextmanager
def simulated(world: World) -> Iterator[None]:
    """Within, the rotation's modules live in this world."""
    clock = _Clock(world)

    def psk(length: int = 48) -> str:
        return world.new_psk()

    with contextlib.ExitStack() as stack:
        for module, name, stand_in in (
            (_rotation, "time", clock),
            (_escrow, "time", clock),
            (_results, "time", clock),
            (_state, "secrets", _Secrets(world)),
            (_psk_batch, "generate_psk", lambda length=48: "P-validation"),
            (_escrow, "generate_psk", psk),
            (_psk, "parse_time", _parse_time),
            (_kept, "parse_time", _parse_time),
            (_results, "inside_addresses", _inside_addresses),
            (_results, "view", lambda x: _view(x["id"], x["name"], x["customer_endpoint"])),
        ):
            stack.enter_context(mock.patch.object(module, name, stand_in))
        yield
