"""The orchestrator's end of a `Host` stream, to the host of this process or to a node server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from lanemesh._aio.tasks import shielded
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.context import ClientLink
from lanemesh.server.host.host import NodeHost
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    import grpc.aio

CLOSE_SECONDS = 2.0
"""How long a node server may take to end the stream after a half-close, before it is cancelled."""


ExitReason = Callable[[str], Awaitable[str]]
"""Returns a description of how the process of a node server has ended; empty if it runs or its end is not known."""


def server_lost(server: str, why: str) -> Fault:
    """The fault of a run that has lost a node server."""
    message = f'the node server "{server}" is gone: {why}'
    return Fault(
        code=Code.UNAVAILABLE, reason="server-lost", message=message, details={"server": server}, secondary=True
    )


def bad_server(server: str, what: str) -> Fault:
    """The fault of a run whose node server violates the protocol."""
    message = (
        f'the node server "{server}" violates the protocol: {what}. Is it of the same version as the orchestrator?'
    )
    return Fault(code=Code.INTERNAL, reason="bad-server", message=message, details={"server": server})


class HostConnection(Protocol):
    """The connection of one run to one host."""

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Sends a frame. Raises LanemeshError if the host is gone."""

    def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """The responses of the host, until the stream ends. Raises LanemeshError if the connection breaks."""

    async def close(self) -> None:
        """Closes the connection; the host cancels what still runs."""


class LocalConnection:
    """A connection to the host of this process."""

    def __init__(self, host: NodeHost, client: ClientLink | None = None) -> None:
        self._session = host.session(client)

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Passes the frame to the host."""
        self._session.handle(request)

    async def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """The responses of the host."""
        async for response in self._session.responses():
            yield response

    async def close(self) -> None:
        """Ends the session."""
        await self._session.close("the run has ended")


class GrpcConnection:
    """A gRPC connection to a node server."""

    def __init__(self, channel: grpc.aio.Channel, server: str, exit_reason: ExitReason | None = None) -> None:
        from lanemesh.v1.node_pb2_grpc import NodeServiceStub

        self._exit_reason = exit_reason
        self._server = server
        self._channel = channel  # closed when the last reference to it is dropped
        self._call = NodeServiceStub(channel).Host()
        self._writing = asyncio.Lock()

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Writes the frame. The write continues if the caller is cancelled, because cancelling a write would end the call."""
        import grpc.aio

        try:
            await shielded(self._write(request))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise LanemeshError(await self._lost()) from None

    async def _write(self, request: node_pb2.HostRequest) -> None:
        async with self._writing:
            await self._call.write(request)

    async def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """The responses of the node server."""
        import grpc.aio

        try:
            while True:
                response = await self._call.read()
                if response is grpc.aio.EOF:
                    break
                if not isinstance(response, node_pb2.HostResponse):  # gRPC has logged why
                    self._call.cancel()
                    raise LanemeshError(bad_server(self._server, "it sent a frame that cannot be read"))
                yield response
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        if await self._call.code() is not grpc.StatusCode.OK:
            raise LanemeshError(await self._lost())

    async def close(self) -> None:
        """Half-closes the call, and cancels it if the server does not end it within 2 s."""
        import grpc.aio

        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                async with self._writing:
                    await self._call.done_writing()
                await self._call.code()
        except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self._call.cancel()

    async def _lost(self) -> Fault:
        exit_reason = await self._exit_reason(self._server) if self._exit_reason is not None else ""
        return server_lost(self._server, exit_reason or await self._call.details() or "its connection broke")
