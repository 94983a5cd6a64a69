"""A gateway at an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanemesh_orchestrator.gateway.app import create_app
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.http_server.server import HttpServer

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost

CONNECTIONS_PER_REQUEST = 2
"""Connections per request that the gateway serves at once: some are idle between two requests. Further ones are answered with 503
without a problem."""


def gateway_server(
    mesh: RunHost, host: str, port: int, options: GatewayOptions | None = None, *, insecure: bool = False
) -> HttpServer:
    """The HTTP server of a gateway to a mesh, bound to an address. The caller closes the mesh.

    Args:
        mesh: a `Client`, or a `Mesh` of this process.
        host: address to listen on.
        port: 0: any free one.
        options: limits and permissions; None: the defaults.
        insecure: permits an address that is not loopback without a token.

    Raises:
        LanemeshError: the address is in use or invalid, or not loopback while there is neither a token nor `insecure`.
    """
    options = options or GatewayOptions()
    app = create_app(mesh, options)
    return HttpServer(
        app,
        *(host, port),
        on_close=app.state.gateway.streams.end,
        token=options.token,
        insecure=insecure or options.mesh_tokens,
        max_requests=CONNECTIONS_PER_REQUEST * options.max_requests,
        max_message=options.max_body,
    )
