"""A run over one `Run` call: its updates, their acknowledgement, and its inputs."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc.aio

from lanemesh._aio.signal import Signal
from lanemesh._aio.tasks import shielded
from lanemesh._grpc.traceparent import trace_metadata
from lanemesh._grpc.writing import half_close
from lanemesh.channels import Channels
from lanemesh.client.calls import call_fault, cancel_run, decide_approval, push_input, with_faults
from lanemesh.client.inputs import check_size
from lanemesh.client.run_reader import TERMINAL
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import Entry, TextOutputs, last_of, merged
from lanemesh.v1 import run_pb2

if TYPE_CHECKING:
    from lanemesh.v1 import run_pb2_grpc

WINDOW_UPDATES = 256
"""Most updates that the orchestrator sends without an acknowledgement."""
MAX_INPUTS = 64
"""Most inputs on the call that the run has not accepted."""
MAX_INPUT_BYTES = 1024 * 1024
"""Most bytes of them: 1 MiB, or one larger input beside at most `ALONE_BYTES`."""
ALONE_BYTES = 256 * 1024
"""The orchestrator reports accepted inputs after so many bytes at the latest: 256 KiB."""


class GrpcRunLink:
    """Carries a run over one `Run` call.

    A task reads the call, so that frames without updates arrive although the program does not read. The window of the call bounds
    what it holds.
    """

    def __init__(
        self,
        stub: Callable[[], run_pb2_grpc.RunServiceAsyncStub],
        spec: run_pb2.RunSpec,
        address: str,
        channels: Callable[[str], Channels],
    ) -> None:
        """`stub` returns the stub of a connection, once there is an event loop."""
        self._stub = stub
        self._spec = spec
        self._address = address
        self._call: Any = None
        self._run_id = ""
        self._channels = channels
        self._writing = asyncio.Lock()
        self._input_token = ""
        """Makes this caller feed the run by `PushInput`."""
        self._took_inputs = False
        """The orchestrator has read the inputs of the first frame."""
        self._batches: deque[list[Entry]] = deque()
        self._received = 0
        """Number of the last received update."""
        self._ended = False
        self._error: LanemeshError | None = None
        self._changed = Signal()
        """Fires when a frame has arrived, and at the end of the call."""
        self._reader: asyncio.Task[None] | None = None
        self._acknowledged = 0
        self._to_acknowledge = 0
        self._acknowledging: asyncio.Task[None] | None = None
        self._sent: deque[int] = deque()
        """Sizes of the inputs that the run has not accepted."""
        self._sent_bytes = 0
        self._accepted = 0

    @property
    def run_id(self) -> str:
        """The run's id; empty before it has started."""
        return self._run_id

    def channels(self) -> Channels:
        """The run's channels."""
        return self._channels(self._run_id)

    async def start(self, given: Sequence[run_pb2.RunInput] | None = None) -> bool:
        """Starts the call, and waits for the run's first update. The first frame has all inputs, if they are given. Returns whether
        the orchestrator has taken them."""
        check_size(self._spec, "a pipeline with its settings", "Make it smaller, or split it")
        self._call = self._stub().Run(metadata=trace_metadata())
        try:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the read reports why
                request = run_pb2.RunRequest(
                    spec=self._spec, text_outputs=True, inputs=given, ends_input=given is not None
                )
                await self._call.write(request)
            while not self._batches and not self._ended:
                await self._read_frame()
        except LanemeshError as error:
            raise await with_faults(error, self._stub(), self._spec) from None
        except asyncio.CancelledError:
            self._call.cancel()
            raise
        if self._batches:
            first = self._batches[0][0]
            self._run_id = first.job.run_id if not isinstance(first, TextOutputs) else ""
        self._reader = asyncio.create_task(self._read(), name="run call")
        return self._took_inputs and given is not None

    async def batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        """Every update of the run."""
        while True:
            if self._batches:
                yield self._batches.popleft()
            elif self._ended:
                if self._error is not None:
                    raise self._error
                return
            else:
                await self._changed.wait()

    def acknowledge(self, sequence: int) -> None:
        """The program has taken the updates up to a number. Its acknowledgement is written next."""
        self._to_acknowledge = sequence
        if self._acknowledging is None and not self._ended:
            self._acknowledging = asyncio.create_task(self._write_acknowledgements(), name="acknowledgements")

    async def _write_acknowledgements(self) -> None:
        try:
            while self._to_acknowledge > self._acknowledged:
                async with self._writing:
                    self._acknowledged = self._to_acknowledge
                    request = run_pb2.RunRequest()
                    request.acknowledge.sequence = self._acknowledged
                    await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader gets the end of the run
            pass
        finally:
            self._acknowledging = None

    async def _read(self) -> None:
        try:
            while not self._ended:
                await self._read_frame()
        except LanemeshError as error:
            self._error = error
        finally:
            self._ended = True
            self._changed.fire()

    async def _read_frame(self) -> None:
        """Reads one frame, or the end of the call. Raises LanemeshError if the call failed."""
        try:
            response = await self._call.read()
            if isinstance(response, run_pb2.RunResponse):
                await self._take(response)
                return
            code = await self._call.code()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            code = await self._call.code()
        self._ended = True
        if code is not grpc.StatusCode.OK:
            error = grpc.aio.AioRpcError(
                code,
                await self._call.initial_metadata(),
                await self._call.trailing_metadata(),
                await self._call.details(),
            )
            raise LanemeshError(call_fault(error, self._address))

    async def _take(self, response: run_pb2.RunResponse) -> None:
        self._input_token = response.input_token or self._input_token
        self._took_inputs = self._took_inputs or response.took_inputs
        while self._accepted < response.accepted_inputs and self._sent:
            self._accepted += 1
            self._sent_bytes -= self._sent.popleft()
        batch = merged(response.updates, response.text_outputs)
        if batch:
            self._received = last_of(batch[-1])
            if self._received - self._to_acknowledge > WINDOW_UPDATES:
                self._call.cancel()
                raise LanemeshError(self._violation())
            self._batches.append(batch)
        self._changed.fire()
        last = batch[-1] if batch else None
        if last is not None and not isinstance(last, TextOutputs) and last.job.state in TERMINAL:
            async with self._writing:
                await half_close(self._call)

    def _violation(self) -> Fault:
        message = (
            f"the orchestrator at {self._address} sent update {self._received}, but update {self._to_acknowledge} is the last that "
            f"was acknowledged, and {WINDOW_UPDATES} may follow it. Is it of the same version as this client?"
        )
        return Fault(code=Code.INTERNAL, reason="bad-orchestrator", message=message)

    async def feed(self, given: run_pb2.RunInput) -> None:
        """Writes an input; the orchestrator cancels the run if the run rejects it. Waits while 64 inputs or 1 MiB are not
        accepted. Raises LanemeshError if it is too large."""
        check_size(given, "an input")
        size = given.ByteSize()
        while not self._ended and self._is_full(size):
            await self._changed.wait()
        self._sent.append(size)
        self._sent_bytes += size
        await self._write(run_pb2.RunRequest(input=given))

    def _is_full(self, size: int) -> bool:
        too_large = self._sent_bytes + size > MAX_INPUT_BYTES and self._sent_bytes > ALONE_BYTES
        return len(self._sent) >= MAX_INPUTS or too_large

    async def push(self, given: run_pb2.RunInput) -> None:
        """Feeds the run by `PushInput`, which returns the reason of a rejection. It has no deadline, because the source may be
        behind for any time."""
        await push_input(self._stub(), self._run_id, given, self._address, token=self._input_token)

    async def end_input(self) -> None:
        """Ends the input. The call stays open for acknowledgements."""
        with contextlib.suppress(LanemeshError):  # the reader gets the end of the run
            await self._write(run_pb2.RunRequest(end_input=run_pb2.InputEnd()))

    async def cancel(self, reason: str) -> None:
        """Cancels the run, so that its last updates still arrive."""
        await cancel_run(self._stub(), self._run_id, reason, self._address)

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        """Decides an approval."""
        await decide_approval(self._stub(), decision, self._address)

    async def close(self) -> None:
        """Disconnects, which cancels the run if it has not ended."""
        if self._call is None:
            return
        self._call.cancel()
        tasks = [task for task in (self._reader, self._acknowledging) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, request: run_pb2.RunRequest) -> None:
        try:
            await shielded(self._write_in_turn(request))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reader gets the end of the run
            message = f"run {self._run_id} accepts no input: it has ended, or is ending"
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="run-ended", message=message)) from None

    async def _write_in_turn(self, request: run_pb2.RunRequest) -> None:
        async with self._writing:
            await self._call.write(request)
