"""Serves an MCP server over streamable HTTP."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import uvicorn
from lanemesh._grpc.connections import is_loopback
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.reasons import Reason
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from mcp.server import MCPServer

PATH = "/mcp"
"""Path of the endpoint."""
MAX_REQUESTS = 1_000
"""Most requests at once; further ones are answered with 503."""
GRACE_SECONDS = 5
"""How long a server that ends waits for its requests."""

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class HttpServer:
    """An MCP server at an address: `await server.run()` serves until SIGTERM or Ctrl-C."""

    def __init__(
        self, server: MCPServer[Any], host: str, port: int, token: str = "", *, insecure: bool = False
    ) -> None:
        """Binds the address.

        Args:
            server: the MCP server.
            host: address to listen on.
            port: 0: any free one.
            token: what each request has to send as `Authorization: Bearer TOKEN`; empty: nothing.
            insecure: permits an address that is not loopback without a token.

        Raises:
            LanemeshError: the address is in use or invalid, or not loopback while there is neither a token nor `insecure`.
        """
        if not (token or insecure or is_loopback(host)):
            raise open_to_all(host)
        self._socket = bound_socket(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}{PATH}"
        """URL of the endpoint."""
        app: Any = server.streamable_http_app(streamable_http_path=PATH, host=host)
        config = uvicorn.Config(
            TokenGuard(app, token) if token else app,
            log_config=None,
            access_log=False,
            limit_concurrency=MAX_REQUESTS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)

    async def run(self) -> None:
        """Serves until a signal, or `stop`."""
        await self._server.serve(sockets=[self._socket])

    def close(self) -> None:
        """Lets `run` end, after its requests or five seconds; frees the address if it has not begun."""
        self._server.should_exit = True
        if not self._server.started:
            self._socket.close()


class TokenGuard:
    """Answers requests without the token with 401."""

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not self._allows(scope):
            body = {"error": "unauthorized", "message": "Send the token of this server as Authorization: Bearer TOKEN."}
            answer = JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)


def bound_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # asyncio sets TCP_NODELAY for this protocol only
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        message = f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another address or port"
        raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason=Reason.PORT_IN_USE, message=message)) from None
    bound.setblocking(False)
    return bound


def open_to_all(host: str) -> LanemeshError:
    message = (
        f"{host} is not a loopback address, so anyone who reaches it could run the deployed pipelines. Give --token-file, or "
        "--insecure to allow it"
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=Reason.INSECURE, message=message))
