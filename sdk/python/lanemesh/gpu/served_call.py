"""Calls of `Lease` at the arbiter's end: each carries leases one after the other."""

from __future__ import annotations

import asyncio

import grpc

from lanemesh._grpc.first_frame import first_frame, late
from lanemesh._grpc.status import abort
from lanemesh._grpc.writing import write
from lanemesh.faults import Code, Fault
from lanemesh.gpu import frames
from lanemesh.gpu.arbiter import ArbiterStream, GpuArbiter
from lanemesh.gpu.outbox import Outbox
from lanemesh.v1 import gpu_pb2

HALF_CLOSE_TIMEOUT = 5.0
"""Seconds that a holder has to half-close after its last frame. Ending the call earlier is seen there as INTERNAL."""
REUSE_SECONDS = 300.0
"""How long after its beginning a call may request leases: its token was checked then."""

Context = grpc.aio.ServicerContext[gpu_pb2.LeaseRequest, gpu_pb2.LeaseResponse]


class ServedCall:
    """One call. Each of its leases has a stream of the arbiter behind it."""

    def __init__(self, arbiter: GpuArbiter, context: Context, request_seconds: float) -> None:
        """`request_seconds`: how long the holder may take to request a lease, first and after each one."""
        self._arbiter = arbiter
        self._context = context
        self._request_seconds = request_seconds
        self._loop = asyncio.get_running_loop()
        self._reusable_until = self._loop.time() + REUSE_SECONDS
        self._outbox = Outbox(gpu_pb2.LeaseResponse())
        self._stream: ArbiterStream | None = None
        """That of the present lease."""
        self._fault: Fault | None = None
        """How the call ends, if not well. Frames after that are discarded."""
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None
        self._open()

    async def serve(self) -> None:
        """Serves it to its end."""
        try:
            # The request is read here, and others by a task: the first grant waits for no other task.
            request = await first_frame(self._context, "request", self._request_seconds)
            if request is grpc.aio.EOF:
                return
            self._take(request)
            self._reading = asyncio.create_task(self._read(), name="gpu-arbiter-reader")
            async for frame in self._outbox:
                await write(self._context, frame)
            await asyncio.wait({self._reading}, timeout=HALF_CLOSE_TIMEOUT)
        finally:
            self._end()
            if self._reading is not None:
                self._reading.cancel()
        if self._fault is not None:
            await abort(self._context, self._fault)

    def close(self) -> None:
        """Ends it, if it carries no lease."""
        if self._stream is None:
            self._outbox.put(frames.revoked("shutdown", "The GPU arbiter is stopping."))
            self._outbox.finish()

    async def _read(self) -> None:
        """Passes the holder's frames to the arbiter until it half-closes or disconnects."""
        try:
            while isinstance(frame := await self._context.read(), gpu_pb2.LeaseRequest):
                if self._fault is None:
                    self._take(frame)
        finally:
            self._end()

    def _take(self, frame: gpu_pb2.LeaseRequest) -> None:
        if self._stream is None:
            if not (frame.HasField("acquire") or frame.HasField("reclaim")):
                return  # The lease has ended meanwhile: late frames have no effect.
            if self._loop.time() >= self._reusable_until:
                what = f"a Lease call takes requests for {REUSE_SECONDS:g} s; begin another one"
                self._fail(Fault(code=Code.DEADLINE_EXCEEDED, reason="bad-lease-frame", message=what))
                return
            self._open()
        assert self._stream is not None
        try:
            self._stream.send(frame)
        except ValueError as error:
            self._fail(Fault(code=Code.INVALID_ARGUMENT, reason="bad-lease-frame", message=str(error)))

    def _open(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stream = self._arbiter.open(self._deliver)

    def _deliver(self, frame: gpu_pb2.LeaseResponse | None) -> None:
        if frame is not None:
            self._outbox.put(frame)
        elif self._stream is not None and self._stream.is_revoked:
            self._stream = None
            self._timer = self._loop.call_later(self._request_seconds, self._on_idle)
        else:  # it goes on in another call
            self._end_at_once()

    def _on_idle(self) -> None:
        self._fault = late("request", self._request_seconds)
        self._end_at_once()

    def _end_at_once(self) -> None:
        """Ends the call after the frames that were sent. Its half-close is not awaited: the holder has no lease here."""
        if self._reading is not None:
            self._reading.cancel()
        self._outbox.finish()

    def _fail(self, fault: Fault) -> None:
        self._fault = fault
        self._outbox.finish()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._stream is not None:
            self._stream.lose()
        self._outbox.finish()
