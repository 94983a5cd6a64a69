"""The command line. `app` is the entry point of the command `lanemesh`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["app"]


def app(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit code. Reads `sys.argv` unless `arguments` are given."""
    # gRPC's own log duplicates our errors on standard error, such as that a port is in use.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from lanemesh._aio.forks import end_children_with_us

        from lanemesh_orchestrator.cli.app import main

        end_children_with_us()
        code = main(arguments)
        if "lanemesh.node" in sys.modules:  # it may have run user code
            from lanemesh._aio.exits import end_within

            end_within(code)
        sys.exit(code)
    except KeyboardInterrupt:  # Ctrl-C while modules are still being imported
        sys.exit(130)
