"""`python -m lanemesh.server`: a node server without the command line tool, as a spread run starts them."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from lanemesh.lanes.faults import LanemeshError
from lanemesh.server.node_server import serve


def main() -> int:
    """Runs the server and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m lanemesh.server", description="Run a Lanemesh node server.")
    parser.add_argument("services", nargs="*", help="installed services to serve")
    parser.add_argument("--orchestrator", required=True, metavar="HOST:PORT")
    parser.add_argument("--name", default="")
    parser.add_argument("--nodes", action="append", default=[], type=Path, metavar="FILE.py")
    parser.add_argument("--log-level", default="warning")
    parser.add_argument("--leash", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    logging.basicConfig(level=options.log_level.upper(), format="%(name)s: %(message)s", stream=sys.stderr, force=True)
    try:
        return asyncio.run(_run(options))
    except LanemeshError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


async def _run(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    if options.leash:
        asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 4096) else _let_go(stop))
    return await serve(
        options.services, orchestrator=options.orchestrator, name=options.name, nodes=options.nodes, stop=stop
    )


def _let_go(stop: asyncio.Event) -> None:
    """The process that holds the other end of standard input is gone, however it ended."""
    asyncio.get_running_loop().remove_reader(0)
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
