"""Serves an MCP server over streamable HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lanemesh_orchestrator.http_server.server import HttpServer
from lanemesh_orchestrator.http_server.tokens import TokenGuard

if TYPE_CHECKING:
    from mcp.server import MCPServer

PATH = "/mcp"
"""Path of the endpoint."""


def mcp_http_server(
    server: MCPServer[Any], host: str, port: int, token: str = "", *, insecure: bool = False
) -> HttpServer:
    """An HTTP server of an MCP server, bound to an address.

    Args:
        server: the MCP server.
        host: address to listen on.
        port: 0: any free one.
        token: what each request has to send as `Authorization: Bearer TOKEN`; empty: nothing.
        insecure: permits an address that is not loopback without a token.

    Raises:
        LanemeshError: the address is in use or invalid, or not loopback while there is neither a token nor `insecure`.
    """
    app = server.streamable_http_app(streamable_http_path=PATH, host=host)
    guarded = TokenGuard(app, token) if token else app
    return HttpServer(guarded, host, port, path=PATH, token=token, insecure=insecure)
