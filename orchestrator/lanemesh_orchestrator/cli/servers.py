"""`lanemesh serve` and `lanemesh node`: the processes of a mesh that lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.hosts import check_address, check_nodes


def serve(*, host: str, port: int, advertise: str, insecure: bool, gpu_arbiter: str) -> ExitCode:
    """Runs an orchestrator until SIGTERM or Ctrl-C."""
    from lanemesh_orchestrator.orchestrator import serve as serve_orchestrator

    if advertise:
        check_address("--advertise", advertise)
    if gpu_arbiter:
        check_address("--gpu-arbiter", gpu_arbiter)
    asyncio.run(serve_orchestrator(host, port, advertise=advertise, insecure=insecure, gpu_arbiter=gpu_arbiter))
    return ExitCode.COMPLETED


def node(
    services: Sequence[str],
    *,
    orchestrator: str,
    host: str,
    port: int,
    advertise: str,
    insecure: bool,
    nodes: Sequence[Path],
) -> ExitCode:
    """Runs a node server until SIGTERM or Ctrl-C, which let it end its runs first; a second one ends it at once."""
    from lanemesh.server.node_server import serve as serve_nodes

    check_address("--orchestrator", orchestrator)
    if advertise:
        check_address("--advertise", advertise)
    check_nodes(nodes)
    if not services and not nodes:
        raise CommandError(
            f"Nothing to serve: name services or give --nodes FILE.py. Installed services: {', '.join(installed())}."
        )
    code = asyncio.run(
        serve_nodes(
            services,
            orchestrator=orchestrator,
            host=host,
            port=port,
            advertise=advertise,
            insecure=insecure,
            nodes=nodes,
        )
    )
    return ExitCode.COMPLETED if code == 0 else ExitCode.INTERRUPTED


def installed() -> list[str]:
    """Names of the installed services."""
    from lanemesh.server.services import service_names

    return service_names()
