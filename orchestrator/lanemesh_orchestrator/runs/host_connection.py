"""The orchestrator's end of a `Host` conversation, with a host in this process or a node server elsewhere."""

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
"""How the process of a node server has ended, in words; empty if that is not known, or it has not."""


def server_lost(server: str, why: str) -> Fault:
    """How a run fails whose node server is gone."""
    message = f'the node server "{server}" is gone: {why}'
    return Fault(
        code=Code.UNAVAILABLE, reason="server-lost", message=message, details={"server": server}, secondary=True
    )


def bad_server(server: str, what: str) -> Fault:
    """How a run fails whose node server does not keep to the protocol."""
    message = (
        f'the node server "{server}" violates the protocol: {what}. Is it of the same version as the orchestrator?'
    )
    return Fault(code=Code.INTERNAL, reason="bad-server", message=message, details={"server": server})


class HostConnection(Protocol):
    """One run's conversation with one host."""

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Sends a frame. Raises LanemeshError if the host is gone."""

    def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """What the host says, until the conversation ends. Raises LanemeshError if it breaks."""

    async def close(self) -> None:
        """Ends the conversation; the host cancels what still runs."""


class LocalConnection:
    """With the host of this process."""

    def __init__(self, host: NodeHost, client: ClientLink | None = None) -> None:
        self._session = host.session(client)

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Hands the frame over."""
        self._session.handle(request)

    async def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """What the host says."""
        async for response in self._session.responses():
            yield response

    async def close(self) -> None:
        """Ends the session."""
        await self._session.close("the run has ended")


class GrpcConnection:
    """With a node server elsewhere."""

    def __init__(self, channel: grpc.aio.Channel, server: str, exit_reason: ExitReason | None = None) -> None:
        from lanemesh.v1.node_pb2_grpc import NodeServiceStub

        self._exit_reason = exit_reason
        self._server = server
        self._channel = channel  # which ends with the last who has it
        self._call = NodeServiceStub(channel).Host()
        self._writing = asyncio.Lock()

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Writes the frame. A cancelled caller leaves the write to end by itself, since cancelling it would end the call."""
        import grpc.aio

        try:
            await shielded(self._write(request))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise LanemeshError(await self._lost()) from None

    async def _write(self, request: node_pb2.HostRequest) -> None:
        async with self._writing:
            await self._call.write(request)

    async def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """What the node server says."""
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
        """Half-closes, and cancels the call if the server does not end it soon."""
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
