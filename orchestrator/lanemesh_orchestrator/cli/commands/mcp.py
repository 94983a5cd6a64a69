"""`lanemesh mcp`: offers the deployed pipelines of a mesh to MCP clients."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lanemesh.client.client import Client
from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.hosts import check_address
from lanemesh_orchestrator.cli.input.tokens import read_token

if TYPE_CHECKING:
    from lanemesh_orchestrator.mcp_server.server import MeshServer

TOKEN_VARIABLE = "LANEMESH_MCP_TOKEN"  # the name of a variable
"""The environment variable with the token of the HTTP server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpOptions:
    """The options of `lanemesh mcp`."""

    mesh: str
    """`--mesh`: "host:port" of the orchestrator."""
    port: int | None = None
    """`--http`: the port of the HTTP server; None: stdio."""
    host: str = "127.0.0.1"
    """`--host`: address of the HTTP server."""
    token_file: Path | None = None
    """`--token-file`: a file with the token of the HTTP server."""
    insecure: bool = False
    """`--insecure`."""
    additions: Path | None = None
    """`--with`: a Python file that adds tools, resources and prompts."""


def mcp(options: McpOptions) -> ExitCode:
    """Serves until the client closes standard input, or until SIGTERM or Ctrl-C."""
    check_address("--mesh", options.mesh)
    if options.port is None and (options.token_file is not None or options.insecure):
        raise CommandError("--token-file and --insecure are for the HTTP server. Give --http PORT too.")
    try:
        from lanemesh_orchestrator.mcp_server.server import MeshServer
    except ImportError as error:
        raise _missing(error) from None
    token = read_token(options.token_file, TOKEN_VARIABLE)

    async def serve() -> None:
        async with Client(options.mesh) as client:
            server = MeshServer(client, token)
            try:
                await _serve(server, options, token)
            finally:
                await server.close()

    asyncio.run(serve())
    return ExitCode.COMPLETED


async def _serve(server: MeshServer, options: McpOptions, token: str) -> None:
    if options.additions is not None:
        from lanemesh_orchestrator.mcp_server.additions import add_from

        add_from(options.additions, server)
    if options.port is None:
        await server.run_stdio_async()
        return
    from lanemesh_orchestrator.mcp_server.http import mcp_http_server

    http = mcp_http_server(server, options.host, options.port, token, insecure=options.insecure)
    print(f"the MCP server of {options.mesh} listens at {http.url}", file=sys.stderr, flush=True)
    await http.run()


def _missing(error: ImportError) -> LanemeshError:
    message = (
        f"`lanemesh mcp` needs the Python library mcp, which cannot be imported ({error}). "
        "Install it with: pip install 'lanemesh[mcp]'"
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="mcp-missing", message=message))
