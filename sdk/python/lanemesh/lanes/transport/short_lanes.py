"""The producer end of short lanes: whole lanes to one server share a call, so that a lane costs no call of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from lanemesh._aio.signal import Signal
from lanemesh._grpc.connections import ConnectionPool
from lanemesh._grpc.reading import read_all
from lanemesh._grpc.tls_errors import with_hint
from lanemesh.faults import Code, Fault
from lanemesh.lanes.transport.frames import MAX_FRAME_BYTES
from lanemesh.v1 import lane_pb2

EXCHANGE_SHORT = "/lanemesh.v1.NodeService/ExchangeShort"
"""The method that carries short lanes."""


log = logging.getLogger("lanemesh.lanes")


class Refused(Exception):
    """The consumer has refused a lane."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class CallBroken(Exception):
    """The call broke before a lane on it was reported as closed."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code


OnClosed = Callable[[Refused | CallBroken | None], None]
"""Called once for a lane: with None when every item was taken or discarded."""


class ShortLanes:
    """The calls of one server: one to each server that gets short lanes from it, as long as that one lives."""

    def __init__(self, pool: ConnectionPool) -> None:
        """`pool` has the connections."""
        self._pool = pool
        self._calls: dict[str, _Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, address: str, lane: lane_pb2.LaneOpen, on_closed: OnClosed) -> Callable[[], None]:
        """Sends a lane with all of its items and its end. Returns a function that forgets it: `on_closed` is not called then."""
        call = self._calls.get(address)
        if call is None or call.ended:
            call = self._calls[address] = _Call(self._pool, address)
            task = asyncio.create_task(call.run(), name=f"short lanes to {address}")
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._over(address, call, done))
        return call.send(lane, on_closed)

    async def close(self) -> None:
        """Ends every call; lanes that were not reported break."""
        for call in self._calls.values():
            call.cancel()
        await asyncio.gather(*self._tasks)

    def _over(self, address: str, call: _Call, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._calls.get(address) is call:
            del self._calls[address]


class _Call:
    """One `ExchangeShort` call. `run` writes and reads it."""

    def __init__(self, pool: ConnectionPool, address: str) -> None:
        self.ended = False
        """The call has ended, or is ending."""
        self._pool = pool
        self._channel = pool.acquire(address)
        self._call: Any = self._channel.stream_stream(
            EXCHANGE_SHORT,
            request_serializer=lane_pb2.ExchangeShortRequest.SerializeToString,
            response_deserializer=lane_pb2.ExchangeShortResponse.FromString,
        )()
        self._waiting: deque[lane_pb2.ShortLane] = deque()
        """Lanes to write."""
        self._open: dict[int, OnClosed] = {}
        """Lanes that were not reported, by number."""
        self._last_number = 0
        self._work = Signal()

    def send(self, lane: lane_pb2.LaneOpen, on_closed: OnClosed) -> Callable[[], None]:
        """Queues a lane, which is written next, together with those that wait by then."""
        self._last_number = number = self._last_number + 1
        self._open[number] = on_closed
        self._waiting.append(lane_pb2.ShortLane(number=number, open=lane))
        self._work.fire()

        def forget() -> None:
            self._open.pop(number, None)

        return forget

    def cancel(self) -> None:
        """Ends the call."""
        self.ended = True
        self._call.cancel()

    async def run(self) -> None:
        """Carries lanes until the call ends, which breaks those that were not reported."""
        writer = asyncio.create_task(self._write(), name="short lanes writer")
        try:
            await read_all(self._call, lane_pb2.ExchangeShortResponse, self._on_closed)
        finally:
            self.ended = True
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._waiting.clear()
            code, details = await self._call.code(), await self._call.details()
            self._pool.release(self._channel)
            broken = CallBroken(
                Code.UNAVAILABLE if code is grpc.StatusCode.OK else Code(code.value[0]),
                with_hint(details or "the connection is gone"),
            )
            for number in list(self._open):
                self._report(number, broken)

    def _report(self, number: int, broken: Refused | CallBroken | None) -> None:
        on_closed = self._open.pop(number, None)
        if on_closed is None:
            return  # it was forgotten, or the consumer does not keep to the protocol
        try:
            on_closed(broken)
        except Exception:  # an error of one lane must not end the others
            log.exception("the end of a short lane")

    async def _write(self) -> None:
        try:
            while True:
                if not self._waiting:
                    await self._work.wait()
                    continue
                request, size = lane_pb2.ExchangeShortRequest(), 0
                while self._waiting:
                    size += self._waiting[0].ByteSize()
                    if request.lanes and size > MAX_FRAME_BYTES:
                        break
                    request.lanes.append(self._waiting.popleft())
                await self._call.write(request)
        finally:
            self._call.cancel()  # no lane waits for a writer that has ended

    def _on_closed(self, response: lane_pb2.ExchangeShortResponse) -> None:
        """Reports the lanes that the consumer has closed."""
        for closed in response.closed:
            refused = Refused(Fault.from_proto(closed.fault)) if closed.HasField("fault") else None
            self._report(closed.number, refused)
