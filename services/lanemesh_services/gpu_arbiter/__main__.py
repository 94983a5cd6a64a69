"""`python -m lanemesh_services.gpu_arbiter`: the arbiter as a process; its address is the first line on stdout."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys

from lanemesh.gpu.core import TTL
from lanemesh.lanes.faults import LanemeshError

from lanemesh_services.gpu_arbiter.server import serve


def main() -> int:
    """Serves until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="lanemesh gpu serve", description="Serve the GPUs of this machine to a mesh.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="the port; 0: any free one (default: %(default)s)")
    parser.add_argument("--insecure", action="store_true", help="allow an address that other machines can reach")
    parser.add_argument(
        "--ttl", type=float, default=TTL, help="seconds a lease lives without a sign of life (%(default)s)"
    )
    given = parser.parse_args()
    ready = functools.partial(print, flush=True)
    try:
        asyncio.run(serve(given.host, given.port, insecure=given.insecure, ttl=given.ttl, on_ready=ready))
    except LanemeshError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
