# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.simulator`: serve one simulated account until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from .access import Credentials, RateLimit
from .app import BASE, Simulator
from .assumptions import Assumptions
from .faults import FaultBook
from .journal import Journal
from .state import Store


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError("expected HOST:PORT")
    return host.strip("[]"), int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0), metavar="HOST:PORT")
    parser.add_argument("--tunnels", type=int, default=24, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="append JSON lines to FILE")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="JSON list of faults to arm at the start")
    parser.add_argument("--token", default="sim-token")
    parser.add_argument("--email", default="sim@example.com")
    parser.add_argument("--key", default="sim-key")
    parser.add_argument("--account", default="023e105f4ecef8ad9ca31a8372d0c353")
    parser.add_argument("--latency", type=float, default=0.0, metavar="MS", help="delay of every API request")
    parser.add_argument("--rate-limit", type=RateLimit.parse, metavar="REQUESTS/WINDOW_SECONDS/BLOCK_SECONDS")
    parser.add_argument("--assume", action="append", default=[], metavar="NAME=VALUE", help="see README.md")
    return parser


async def _serve(options: argparse.Namespace, assumptions: Assumptions) -> None:
    with ExitStack() as stack:
        file = stack.enter_context(options.journal.open("a", encoding="utf-8")) if options.journal else None
        faults = FaultBook()
        if options.faults:
            faults.arm(options.faults.read_bytes())
        store = Store(options.account, options.tunnels, options.seed)
        simulator = Simulator(
            store=store,
            journal=Journal(store.clock, file),
            faults=faults,
            credentials=Credentials(options.token, options.email, options.key),
            assumptions=assumptions,
            latency=options.latency / 1000,
        )
        if options.rate_limit is not None:
            simulator.limit, simulator.limited = options.rate_limit, True
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        host, port = options.listen
        runner, port = await simulator.serve(host, port)
        shown = f"[{host}]" if ":" in host else host
        print(f"ready http://{shown}:{port}{BASE}", flush=True)
        await stop.wait()
        await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        assumptions = Assumptions().with_overrides(options.assume)
        asyncio.run(_serve(options, assumptions))
    except (OSError, ValueError) as exc:
        parser.error(str(exc))
    return 0


if __name__ == "__main__":
    sys.exit(main())
