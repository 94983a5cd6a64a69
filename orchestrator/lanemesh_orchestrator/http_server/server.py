"""Serves an ASGI application at an address."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

from lanemesh_orchestrator.http_server.address import bound_socket, require_private, url_of
from lanemesh_orchestrator.http_server.protocol import TimedProtocol

MAX_REQUESTS = 1_000
"""Most requests at once, unless a server sets its own; further ones are answered with 503."""
GRACE_SECONDS = 5
"""How long a server that ends waits for its requests."""
MAX_MESSAGE_BYTES = 1024 * 1024
"""Largest message of a WebSocket."""


class HttpServer:
    """An ASGI application at an address: `await server.run()` serves until SIGTERM or Ctrl-C."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        path: str = "",
        token: str = "",
        insecure: bool = False,
        max_requests: int = MAX_REQUESTS,
        max_message: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """Binds the address.

        Args:
            app: the application. It checks tokens itself.
            host: address to listen on.
            port: 0: any free one.
            path: the path of its endpoint, for the URL.
            token: the token that the application requires; empty: none.
            insecure: permits an address that is not loopback without a token.
            max_requests: most requests and WebSockets at once.
            max_message: largest message of a WebSocket, in bytes.

        Raises:
            LanemeshError: the address is in use or invalid, or not loopback while there is neither a token nor `insecure`.
        """
        require_private(host, token, insecure=insecure)
        self._socket = bound_socket(host, port)
        self.url = url_of(self._socket, host, path)
        """URL of the endpoint."""
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=max_requests,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws="websockets-sansio",
            ws_max_size=max_message,
        )
        self._server = uvicorn.Server(config)

    async def run(self) -> None:
        """Serves until a signal, or `close`."""
        await self._server.serve(sockets=[self._socket])

    def close(self) -> None:
        """Lets `run` end, after its requests or five seconds; frees the address if it has not begun."""
        self._server.should_exit = True
        if not self._server.started:
            self._socket.close()
