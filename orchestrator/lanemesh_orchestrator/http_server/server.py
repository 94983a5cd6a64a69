"""Serves an ASGI application at an address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import uvicorn
from lanemesh._aio.signals import StopSignals
from lanemesh._aio.systemd import ServiceState
from starlette.types import ASGIApp

from lanemesh_orchestrator.http_server.address import bound_socket, require_private, url_of
from lanemesh_orchestrator.http_server.protocol import BoundedProtocol

MAX_REQUESTS = 1_000
"""Most requests at once, unless a server sets its own; further ones are answered with 503."""
GRACE_SECONDS = 5
"""How long a server that ends waits for its requests."""
KEEP_ALIVE_SECONDS = 20
"""How long a connection is kept between two requests: longer than clients keep theirs (httpx 5 s, aiohttp 15 s). Otherwise a client
may send a request while the server closes the connection."""
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
        on_close: Callable[[], None] | None = None,
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
            on_close: ends what would otherwise go on until the server has waited for it.

        Raises:
            LanemeshError: the address is in use or invalid, or not loopback while there is neither a token nor `insecure`.
        """
        require_private(host, token, insecure=insecure)
        self.app = app
        """The application."""
        self._socket = bound_socket(host, port)
        self.url = url_of(self._socket, host, path)
        """URL of the endpoint."""
        config = uvicorn.Config(
            app,
            http=BoundedProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=max_requests,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws="websockets-sansio",
            ws_max_size=max_message,
            ws_per_message_deflate=False,  # it would occupy 45 KB of each socket
        )
        self._server = _Server(config)
        self._running: asyncio.Task[None] | None = None
        self._on_close = on_close

    async def run(self) -> None:
        """Serves until SIGTERM, SIGINT or `close`. A second signal ends the process at once."""
        self._server.service = service = ServiceState()
        with StopSignals(self.close):
            try:
                await self._serve()
            finally:
                service.stopping()
                await service.close()

    async def __aenter__(self) -> HttpServer:
        """Serves until the end of the block. Signals are left to the program."""
        self._running = asyncio.create_task(self._serve(), name="HTTP server")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the server after its requests, or five seconds. Raises what has ended it before."""
        self.close()
        if self._running is not None:
            await self._running

    async def _serve(self) -> None:
        if not self._server.should_exit:  # closed before it began
            await self._server.serve(sockets=[self._socket])

    def close(self) -> None:
        """Lets `run` end, after its requests or five seconds; frees the address if it has not begun."""
        self._server.should_exit = True
        if self._on_close is not None:
            self._on_close()
        if not self._server.started:
            self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn's server without handlers of signals: it would end the process by the signal, in place of the command."""

    service: ServiceState | None = None
    """What a service manager is notified of, if the server is a process of its own."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        if self.service is not None and self.started:
            self.service.ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals as they are."""
        yield
