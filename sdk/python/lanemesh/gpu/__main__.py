"""`python -m lanemesh.gpu`: the arbiter as a process; its address is the first line on standard output."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from lanemesh._aio.parent import take_standard_input, when_parent_ends
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
        "--ttl", type=float, default=TTL, help="seconds until a lease without a heartbeat expires (%(default)s)"
    )
    parser.add_argument("--journal", type=Path, help="the file that keeps leases and fencing tokens for a restart")
    parser.add_argument("--log-level", default="warning")
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="exit when standard input closes, as it does when the parent ends",
    )
    options = parser.parse_args()
    options.parent = take_standard_input() if options.exit_with_parent else None
    logging.basicConfig(level=options.log_level.upper(), format="%(name)s: %(message)s", stream=sys.stderr, force=True)
    try:
        asyncio.run(_run(options))
    except LanemeshError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    if options.parent is not None:
        when_parent_ends(options.parent, stop.set)
    await serve(
        options.host,
        options.port,
        insecure=options.insecure,
        ttl=options.ttl,
        journal=options.journal,
        on_ready=lambda address: print(address, flush=True),
        stop=stop,
    )


if __name__ == "__main__":
    sys.exit(main())
