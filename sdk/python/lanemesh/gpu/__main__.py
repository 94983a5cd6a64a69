"""`python -m lanemesh.gpu`: the arbiter as a process; its address is the first line on standard output."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys

from lanemesh.faults import LanemeshError
from lanemesh.gpu.core import TTL
from lanemesh.gpu.server import serve


def main() -> int:
    """Runs the arbiter and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lanemesh.gpu", description="Serve the GPUs of this machine to a mesh."
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="the port; 0: any free one (%(default)s)")
    parser.add_argument("--insecure", action="store_true", help="allow an address that other machines can reach")
    parser.add_argument(
        "--ttl", type=float, default=TTL, help="seconds a lease lives without a sign of life (%(default)s)"
    )
    parser.add_argument("--log-level", default="warning")
    parser.add_argument("--leash", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    logging.basicConfig(level=options.log_level.upper(), format="%(name)s: %(message)s", stream=sys.stderr, force=True)
    try:
        asyncio.run(_run(options))
    except LanemeshError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    if options.leash:
        asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 4096) else _let_go(stop))
    await serve(
        options.host,
        options.port,
        insecure=options.insecure,
        ttl=options.ttl,
        on_ready=lambda address: print(address, flush=True),
        stop=stop,
    )


def _let_go(stop: asyncio.Event) -> None:
    """The process that holds the other end of standard input is gone, however it ended."""
    asyncio.get_running_loop().remove_reader(0)
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
