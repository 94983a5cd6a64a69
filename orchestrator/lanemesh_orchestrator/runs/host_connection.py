"""The orchestrator's end of a `Host` stream, to the host of this process or to a node server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from lanemesh._aio.tasks import shielded
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.context import ClientLink
from lanemesh.server.host.host import NodeHost
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    from lanemesh_orchestrator.runs.host_streams import HostStream, HostStreams


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

    async def close(self, *, finished: bool = False) -> None:
        """Closes the connection; the host cancels what still runs. `finished`: the run has finished there, or was never placed
        there, and nothing more will be sent. Further calls have no effect."""


class LocalConnection:
    """A connection to the host of this process."""

    def __init__(self, host: NodeHost, client: ClientLink | None = None) -> None:
        self._session = host.session(client)

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Passes the frame to the host."""
        self._session.handle(request)

    async def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """The responses of the host."""
        async with contextlib.aclosing(self._session.responses()) as responses:
            async for response in responses:
                yield response
                for further in response.more:
                    yield further

    async def close(self, *, finished: bool = False) -> None:
        """Ends the session."""
        await self._session.close("the run has ended")


class GrpcConnection:
    """A gRPC connection of one run to a node server, over a stream that earlier runs may have used."""

    def __init__(self, streams: HostStreams, address: str, server: str, exit_reason: ExitReason | None = None) -> None:
        """`streams` opens the stream, and gets it back when the run has finished."""
        self._exit_reason = exit_reason
        self._server = server
        self._address = address
        self._streams = streams
        self._stream = streams.take(address)
        self._place: node_pb2.HostRequest | None = None
        """The first frame, as long as it may have to be sent again: an earlier stream may have ended unnoticed."""
        self._has_sent = False
        self._closed = False

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Writes the frame. The write continues if the caller is cancelled, because cancelling a write would end the call."""
        import grpc.aio

        stream, self._has_sent = self._stream, True
        if stream.used and self._place is None and request.HasField("place"):
            self._place = request
        try:
            await shielded(stream.write(request))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            if not await self._replace(stream):
                raise LanemeshError(await self._lost()) from None

    async def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """The responses of the node server, until the stream ends."""
        import grpc.aio

        while True:
            stream, response = self._stream, grpc.aio.EOF
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                response = await stream.read()
            if response is grpc.aio.EOF:
                if await self._replace(stream):
                    continue
                break
            if not isinstance(response, node_pb2.HostResponse):  # gRPC has logged why
                stream.call.cancel()
                raise LanemeshError(bad_server(self._server, "it sent a frame that cannot be read"))
            for each in (response, *response.more):
                if self._place is not None and each.WhichOneof("frame") is not None:
                    self._place = None
                yield each
        if await self._stream.call.code() is not grpc.StatusCode.OK:
            raise LanemeshError(await self._lost())

    async def close(self, *, finished: bool = False) -> None:
        """Gives the stream back if the run has `finished`. Otherwise half-closes it, and cancels it if the server does not end it
        within 2 s."""
        if self._closed:
            return
        self._closed = True
        has_served = self._has_sent or self._stream.used  # else its server does not know that it can carry a run
        if finished and has_served:
            self._streams.give_back(self._address, self._stream)
        else:
            await self._stream.close()

    async def _replace(self, ended: HostStream) -> bool:
        """Uses a new stream in place of an earlier one that ended before it answered this run. Returns whether it did."""
        import grpc.aio

        if self._stream is not ended:
            return True  # another task has replaced it
        place, self._place = self._place, None
        if place is None or self._closed:
            return False
        ended.call.cancel()
        self._stream = self._streams.open(self._address)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader reports it
            await shielded(self._stream.write(place))
        return True

    async def _lost(self) -> Fault:
        exit_reason = await self._exit_reason(self._server) if self._exit_reason is not None else ""
        return server_lost(self._server, exit_reason or await self._stream.call.details() or "its connection broke")
