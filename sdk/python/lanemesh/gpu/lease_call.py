"""Calls of `Lease` at the holder's end: each carries leases one after the other, since to open one takes as long as a grant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc

from lanemesh._grpc.tls_errors import with_hint
from lanemesh._grpc.writing import half_close
from lanemesh.gpu.arbiter import OnFrame
from lanemesh.gpu.outbox import Outbox
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

CLOSE_TIMEOUT = 5.0
"""Seconds that an arbiter has to end a stream that was closed."""
IDLE_SECONDS = 5.0
"""How long a call without a lease is kept for the next one."""
REUSE_SECONDS = 60.0
"""How long after its beginning a call takes new leases, so that a token which is valid no more does not serve for ever."""


class LeaseCall:
    """One call. A task reads, another one writes; cancelling either would end the call."""

    def __init__(
        self,
        stub: gpu_pb2_grpc.GpuArbiterServiceAsyncStub,
        on_idle: Callable[[LeaseCall], bool],
        on_unusable: Callable[[LeaseCall], None],
    ) -> None:
        """`on_idle` is called when a lease has ended and the call may carry another one; it returns whether the call is kept for
        that. `on_unusable` is called when it carries no further one, perhaps several times."""
        self.loop = asyncio.get_running_loop()
        self._on_idle = on_idle
        self._on_unusable = on_unusable
        self._outbox = Outbox(gpu_pb2.LeaseRequest())
        self._call = stub.Lease()
        self._reusable_until = self.loop.time() + REUSE_SECONDS
        self._stream: CallStream | None = None
        self._timer: asyncio.TimerHandle | None = None
        """Of a call without a lease, or of one that was closed."""
        self._finished = False
        # The writer begins first: it has the request by then.
        self._writing = asyncio.create_task(self._write(), name="gpu-lease-writer")
        self.task = asyncio.create_task(self._run(), name="gpu-lease-call")

    def open(self, on_frame: OnFrame) -> CallStream:
        """The stream of the next lease. The one before has ended."""
        self._set_timer(None, self.finish)
        self._stream = CallStream(self, on_frame)
        return self._stream

    def send(self, frame: gpu_pb2.LeaseRequest) -> None:
        """Queues a frame of the present lease."""
        self._outbox.put(frame)

    def finish(self) -> None:
        """Ends the call after the frames that were sent."""
        self._finished = True
        self._on_unusable(self)
        self._outbox.finish()
        self.end_in_time()

    def end_in_time(self) -> None:
        """Cancels the call if the arbiter does not end it, or its present lease, in time."""
        if not self.task.done():
            self._set_timer(CLOSE_TIMEOUT, self._call.cancel)

    def _set_timer(self, seconds: float | None, then: Callable[[], object]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, then) if seconds is not None else None

    async def _run(self) -> None:
        why = "the connection was closed"
        try:
            while isinstance(frame := await self._call.read(), gpu_pb2.LeaseResponse):
                if frame.WhichOneof("frame"):
                    self._take(frame)
            why = "it closed the stream"
        except grpc.aio.AioRpcError as error:
            why = reason_of(error)
        except asyncio.CancelledError:
            self._call.cancel()
        finally:
            self._finished = True
            self._outbox.finish()
            await self._writing
            self._set_timer(None, self.finish)
            self._on_unusable(self)
            self._end_stream(why)

    def _take(self, frame: gpu_pb2.LeaseResponse) -> None:
        stream = self._stream
        if stream is None:  # the arbiter stops
            self.finish()
            return
        if not frame.HasField("revoked"):
            stream.on_frame(frame)
            return
        self._stream = None
        if not self._finished:
            lasts = frame.revoked.reason != "shutdown" and self.loop.time() < self._reusable_until
            if lasts and self._on_idle(self):
                self._set_timer(IDLE_SECONDS, self.finish)
            else:
                self.finish()
        stream.on_frame(frame)
        stream.end("")

    def _end_stream(self, why: str) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.end(why)

    async def _write(self) -> None:
        try:
            async for frame in self._outbox:
                await self._call.write(frame)
            await half_close(self._call)
        except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            # The call has ended; the reading side reports the reason.
            self._outbox.finish()


class CallStream:
    """The stream of one lease on a call."""

    local = False

    def __init__(self, call: LeaseCall, on_frame: OnFrame) -> None:
        self.lost_because = ""
        self.on_frame = on_frame
        self._call: LeaseCall | None = call
        self._released = False
        """It was released, so the arbiter answers that it has ended."""

    def send(self, frame: gpu_pb2.LeaseRequest) -> None:
        if self._call is not None:
            self._released = self._released or (frame.HasField("release") and not frame.release.resident_bytes)
            self._call.send(frame)

    def close(self) -> None:
        if self._call is None:
            return
        if self._released:
            self._call.end_in_time()
        else:
            self._call.finish()

    def end(self, why: str) -> None:
        """No frame follows. `why`: what has ended it, if the arbiter did not."""
        self._call, self.lost_because = None, why
        self.on_frame(None)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Why a call has failed, in words."""
    return with_hint(error.details() or error.code().name)
