"""Serves the agents of a mesh by JSON-RPC over HTTP, and by gRPC."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from a2a.server.context import ServerCallContext
from a2a.server.request_handlers import GrpcHandler
from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.types import a2a_pb2, a2a_pb2_grpc
from a2a.utils.constants import AGENT_CARD_WELL_KNOWN_PATH
from lanemesh._grpc.connections import is_loopback
from lanemesh._grpc.security import Security
from lanemesh._grpc.server import GrpcServer
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.reasons import Reason
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive

from lanemesh_orchestrator.a2a_server.cards import card_of
from lanemesh_orchestrator.a2a_server.handler import AGENT_KEY, MeshAgents
from lanemesh_orchestrator.http_server.address import require_private
from lanemesh_orchestrator.http_server.bodies import read_whole
from lanemesh_orchestrator.http_server.body_guard import BodyGuard
from lanemesh_orchestrator.http_server.page_guard import PageGuard
from lanemesh_orchestrator.http_server.server import GRACE_SECONDS, HttpServer
from lanemesh_orchestrator.http_server.tokens import TokenGuard
from lanemesh_orchestrator.mcp_server.catalog import Catalog

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost

    from lanemesh_orchestrator.mcp_server.offers import Offer

SERVICE = "lf.a2a.v1.A2AService"
"""Full name of the gRPC service."""
MAX_BODY = 16 * 1024 * 1024
"""Largest body of a request by HTTP, in bytes."""
BODY_SECONDS = 60.0
"""How long a request may send nothing of its body."""
_STATUS_OF_BODY = {"body-too-large": 413, "body-timeout": 408}
"""The status of the response to a body that was not read, by the reason."""


class A2aServer:
    """The agents of a mesh: `await server.run()` serves until SIGTERM or Ctrl-C."""

    def __init__(
        self,
        client: RunHost,
        host: str,
        port: int,
        *,
        grpc_port: int | None = None,
        token: str = "",
        insecure: bool = False,
    ) -> None:
        """Binds the addresses.

        Args:
            client: the mesh.
            host: address to listen on.
            port: of JSON-RPC; 0: any free one.
            grpc_port: of gRPC; 0: any free one; None: no gRPC.
            token: what each request has to send as `Authorization: Bearer TOKEN`; empty: nothing.
            insecure: permits an address that is not loopback without a token, and a token that is sent there by gRPC.

        Raises:
            LanemeshError: an address is in use or invalid, not loopback while there is neither a token nor `insecure` ("insecure"),
                or not loopback while a token would be sent by gRPC without TLS ("insecure-token").
        """
        require_private(host, token, insecure=insecure)
        security = Security.from_environment()
        if token:  # which replaces those of the mesh
            security = replace(security, auth=None)
        if grpc_port is not None and token and not (insecure or is_loopback(host) or security.serves_tls):
            raise _plain_token(host)
        self._catalog = Catalog(client)
        self._agents = MeshAgents(client, self._catalog, self._card_for)
        self._token = token
        app = self._app()
        for_clients = PageGuard(TokenGuard(app, token) if token else app, any_host=bool(token) or not is_loopback(host))
        self._http = HttpServer(BodyGuard(for_clients), host, port, token=token, insecure=insecure)
        self.url = self._http.url
        """URL of the HTTP server."""
        self._grpc = GrpcServer(host, grpc_port, insecure=True, security=security) if grpc_port is not None else None
        self.grpc_address = self._grpc.address if self._grpc is not None else ""
        """Address of the gRPC server; empty: there is none."""

    async def run(self) -> None:
        """Serves until a signal."""
        if self._grpc is not None:
            add_service(self._grpc.server, self._agents, self._token)
            await self._grpc.start([SERVICE])
        try:
            await self._http.run()
        finally:
            if self._grpc is not None:
                await self._grpc.stop(1.0)

    def close(self) -> None:
        """Lets `run` end, after its requests or five seconds; frees the address if it has not begun."""
        self._http.close()

    def _app(self) -> Starlette:
        self._dispatcher = JsonRpcDispatcher(self._agents, context_builder=_PathContext())
        return Starlette(
            routes=[
                Route("/", self._list, methods=["GET"]),
                Route(AGENT_CARD_WELL_KNOWN_PATH, self._only_card, methods=["GET"]),
                Route("/{agent}" + AGENT_CARD_WELL_KNOWN_PATH, self._card, methods=["GET"]),
                Route("/{agent}", self._answer, methods=["POST"]),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        """Answers a request by JSON-RPC. If its client disconnects before there is a response, the request is cancelled."""
        try:
            body = await read_whole(request, MAX_BODY, BODY_SECONDS)  # after it comes the end of the connection
        except ClientDisconnect:
            return Response(status_code=499)
        except LanemeshError as error:
            return JSONResponse({"error": error.fault.message}, _STATUS_OF_BODY[error.fault.reason])
        received = Request(request.scope, _again(body, request.receive))
        answering = asyncio.create_task(self._dispatcher.handle_requests(received), name="A2A request")
        leaving = asyncio.create_task(_disconnected(request), name="A2A disconnection")
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not answering.done():
                answering.cancel()
                await asyncio.wait([answering], timeout=GRACE_SECONDS)
        return Response(status_code=499) if answering.cancelled() or not answering.done() else answering.result()

    async def _list(self, request: Request) -> Response:
        """The agents, and the URLs of their cards."""
        try:
            offers = await self._catalog.offers()
        except LanemeshError as error:
            return JSONResponse({"error": error.fault.message}, 503)
        path = AGENT_CARD_WELL_KNOWN_PATH
        return JSONResponse({"agents": [{"name": name, "card": f"{self.url}/{name}{path}"} for name in offers]})

    async def _only_card(self, request: Request) -> Response:
        """The card of the agent, if there is just one."""
        try:
            offers = await self._catalog.offers()
        except LanemeshError as error:
            return JSONResponse({"error": error.fault.message}, 503)
        if len(offers) == 1:
            return await self._card_of(next(iter(offers)))
        message = f"this server has {len(offers)} agents; {self.url}/ lists them with the URLs of their cards"
        return JSONResponse({"error": message}, 404)

    async def _card(self, request: Request) -> Response:
        return await self._card_of(request.path_params["agent"])

    async def _card_of(self, name: str) -> Response:
        try:
            offer = (await self._catalog.offers()).get(name)
        except LanemeshError as error:
            return JSONResponse({"error": error.fault.message}, 503)
        if offer is None:
            return JSONResponse({"error": f"there is no agent {name[:80]!r}; {self.url}/ lists the agents"}, 404)
        return JSONResponse(agent_card_to_dict(self._card_for(offer)))

    def _card_for(self, offer: Offer) -> a2a_pb2.AgentCard:
        return card_of(offer, self.url, self.grpc_address, token=bool(self._token))


def add_service(server: grpc.aio.Server, agents: MeshAgents, token: str = "") -> None:
    """Adds the service of A2A to a gRPC server. `token` is what each call has to send; empty: nothing."""
    handler = _GuardedHandler(agents, token)
    a2a_pb2_grpc.add_A2AServiceServicer_to_server(handler, server)  # type: ignore[no-untyped-call]


def _plain_token(host: str) -> LanemeshError:
    message = (
        f"clients would send the token to {host} by gRPC without encryption. Set LANEMESH_TLS_CERT and LANEMESH_TLS_KEY, listen on "
        "a loopback address behind a proxy with TLS, omit --grpc, or give --insecure if the network is trusted"
    )
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=Reason.INSECURE_TOKEN, message=message))


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives a body that was read before, and then what follows it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received


async def _disconnected(request: Request) -> None:
    """Returns when the client has disconnected."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _PathContext(DefaultServerCallContextBuilder):
    """The agent of a request is the path of its URL."""

    def build(self, request: Request) -> ServerCallContext:
        """The context of a request."""
        context = super().build(request)
        context.state[AGENT_KEY] = request.path_params["agent"]
        return context


class _GuardedHandler(GrpcHandler):
    """Answers calls without the token with UNAUTHENTICATED."""

    def __init__(self, agents: MeshAgents, token: str) -> None:
        super().__init__(agents)
        self._expected = f"Bearer {token}".encode() if token else b""

    async def _handle_unary(
        self, request: Any, context: Any, handler_func: Callable[[ServerCallContext], Awaitable[Any]], default: Any
    ) -> Any:
        await self._check(context)
        return await super()._handle_unary(request, context, handler_func, default)

    async def _handle_stream(
        self, request: Any, context: Any, handler_func: Callable[[ServerCallContext], AsyncIterable[Any]]
    ) -> AsyncIterable[Any]:
        await self._check(context)
        async for item in super()._handle_stream(request, context, handler_func):
            yield item

    async def _check(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if not self._expected:
            return
        given = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        if len(given) != 1 or not hmac.compare_digest(str(given[0]).encode(), self._expected):
            message = 'send the token of this server as "authorization: Bearer TOKEN"'
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)
