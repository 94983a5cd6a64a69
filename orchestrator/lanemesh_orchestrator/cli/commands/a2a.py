"""`lanemesh a2a`: offers the deployed pipelines of a mesh as agents to A2A clients."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lanemesh.client.client import Client
from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.input.hosts import check_address
from lanemesh_orchestrator.cli.input.tokens import read_token

if TYPE_CHECKING:
    import grpc.aio

    from lanemesh_orchestrator.orchestrator import MoreServices

TOKEN_VARIABLE = "LANEMESH_A2A_TOKEN"  # the name of a variable
"""The environment variable with the token of the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class A2aOptions:
    """The options of `lanemesh a2a`."""

    mesh: str
    """`--mesh`: "host:port" of the orchestrator."""
    port: int
    """`--http`: the port of JSON-RPC."""
    grpc_port: int | None = None
    """`--grpc`: the port of gRPC; None: no gRPC."""
    host: str = "127.0.0.1"
    """`--host`: address to listen on."""
    token_file: Path | None = None
    """`--token-file`: a file with the token of the server."""
    insecure: bool = False
    """`--insecure`."""


def a2a(options: A2aOptions) -> ExitCode:
    """Serves until SIGTERM or Ctrl-C."""
    check_address("--mesh", options.mesh)
    try:
        from lanemesh_orchestrator.a2a_server.server import A2aServer
    except ImportError as error:
        raise _missing(error) from None
    token = read_token(options.token_file, TOKEN_VARIABLE)

    async def serve() -> None:
        async with Client(options.mesh) as client:
            server = A2aServer(
                client,
                options.host,
                options.port,
                grpc_port=options.grpc_port,
                token=token,
                insecure=options.insecure,
            )
            by_grpc = f", and for gRPC at {server.grpc_address}" if server.grpc_address else ""
            print(f"the A2A server of {options.mesh} listens at {server.url}{by_grpc}", file=sys.stderr, flush=True)
            await server.run()

    asyncio.run(serve())
    return ExitCode.COMPLETED


def agents_of() -> MoreServices:
    """Adds the service of A2A to the server of an orchestrator. Raises LanemeshError if the library is missing."""
    try:
        from lanemesh_orchestrator.a2a_server.cards import card_of
        from lanemesh_orchestrator.a2a_server.handler import MeshAgents
        from lanemesh_orchestrator.a2a_server.server import SERVICE, add_service
        from lanemesh_orchestrator.mcp_server.catalog import Catalog
    except ImportError as error:
        raise _missing(error) from None

    def add(server: grpc.aio.Server, address: str) -> list[str]:
        client = Client(address)  # its connection ends with the process, as the server does
        catalog = Catalog(client)
        add_service(server, MeshAgents(client, catalog, lambda offer: card_of(offer, "", address, token=False)))
        return [SERVICE]

    return add


def _missing(error: ImportError) -> LanemeshError:
    message = (
        f"`lanemesh a2a` needs the Python library a2a-sdk, which cannot be imported ({error}). "
        "Install it with: pip install 'lanemesh[a2a]'"
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="a2a-missing", message=message))
