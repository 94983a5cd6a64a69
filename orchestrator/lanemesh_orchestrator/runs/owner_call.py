"""The `Run` call of the owner of a run: its updates, its acknowledgements, and the inputs that it begins with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from lanemesh._aio.signal import Signal
from lanemesh._grpc.status import abort
from lanemesh.faults import LanemeshError
from lanemesh.text_outputs import Entry
from lanemesh.v1 import run_pb2

from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.frames import Context, Frames, fill
from lanemesh_orchestrator.runs.inputs import is_large

HALF_CLOSE_SECONDS = 2.0
"""Time limit for the caller of `Run` to half-close after the terminal update."""
MAX_INPUTS = 64
"""Most inputs that wait for the run. While they are that many, nothing else is read of the call, acknowledgements included; a
client that follows `accepted_inputs` never gets there."""
MAX_INPUT_BYTES = 16 * 1024 * 1024
"""Bytes of these inputs above which nothing else is read: 16 MiB."""
FIRST_BYTES = 1024 * 1024
"""Bytes of a first frame up to which its inputs are taken at once: 1 MiB."""
REPORT_INPUTS = 32
"""Number of accepted inputs after which their number is reported to the client."""
REPORT_BYTES = 256 * 1024
"""Bytes of accepted inputs after which their number is reported to the client: 256 KiB."""


class OwnerCall:
    """Serves one `Run` call. The run is cancelled when the call ends."""

    def __init__(self, run: ActiveRun, context: Context, input_token: str, first: run_pb2.RunRequest) -> None:
        """`input_token` lets the caller feed the run by `PushInput`. `first` is the first frame of the caller."""
        self._run = run
        self._context = context
        self._input_token = input_token
        self._texts = first.text_outputs
        self._frames = Frames(context, self._frame)
        self._inputs: deque[run_pb2.RunInput] = deque()
        self._input_bytes = 0
        self._input_ended = False
        self._end_sent = False
        """The caller has sent the end of its input, so that this is not a broken call."""
        self._changed = Signal()
        self._accepted = 0
        self._is_first = True
        """No frame was sent."""
        self._begin(first)

    def _begin(self, first: run_pb2.RunRequest) -> None:
        """Takes the inputs of the first frame. Inputs that are refused cancel the run."""
        is_small = len(first.inputs) <= MAX_INPUTS and first.ByteSize() <= FIRST_BYTES and not is_large(first.inputs)
        if is_small:
            try:
                self._run.begin(first.inputs, end=first.ends_input)
            except LanemeshError as error:
                self._run.cancel(str(error))
        else:
            self._inputs.extend(first.inputs)
            self._input_bytes = sum(given.ByteSize() for given in first.inputs)
        self._input_ended = self._end_sent = first.ends_input
        self._all_taken = is_small and first.ends_input
        """The run has got its input, to the end."""

    async def serve(self) -> None:
        """Sends all updates to the caller. Fails the call if it acknowledges a wrong number, or updates were dropped."""
        run = self._run
        tasks = [asyncio.create_task(self._read(), name=f"{run.id} requests")]
        if not self._all_taken:
            tasks.append(asyncio.create_task(self._feed(), name=f"{run.id} inputs"))
        try:
            await self._frames.send(run.log.owned_batches(awaits_start=not self._all_taken), self._framed)
            await asyncio.wait(
                tasks, timeout=HALF_CLOSE_SECONDS
            )  # ending the call first would break a write of the caller
        except LanemeshError as error:
            run.cancel(str(error))
            await abort(self._context, error.fault)
        finally:
            run.cancel("its caller disconnected")
            run.log.abandon()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        """Reads the frames of the caller, until it half-closes, which ends the input. A wrong acknowledgement cancels the run.

        A disconnected caller looks like one that has half-closed. Only a write reveals the difference, because it fails.
        """
        while True:
            frame = await self._context.read()
            if not isinstance(frame, run_pb2.RunRequest):
                break
            kind = frame.WhichOneof("frame")
            if kind == "acknowledge":
                try:
                    self._run.log.acknowledge(frame.acknowledge.sequence)
                except LanemeshError as error:  # `serve` fails the call with it
                    self._run.cancel(str(error))
                    return
            elif kind == "input" and not self._end_sent:
                await self._enqueue(frame.input)
            elif kind == "end_input":
                self._input_ended = self._end_sent = True
                self._changed.fire()
        self._input_ended = True
        self._changed.fire()
        self._run.log.end_acknowledgements()

    async def _enqueue(self, given: run_pb2.RunInput) -> None:
        while len(self._inputs) >= MAX_INPUTS or self._input_bytes >= MAX_INPUT_BYTES:
            await self._changed.wait()
        self._inputs.append(given)
        self._input_bytes += given.ByteSize()
        self._changed.fire()

    async def _feed(self) -> None:
        """Feeds the run, to the end of its input; an invalid input cancels it. Inputs after its end are
        dropped."""
        unreported = unreported_bytes = 0
        while self._inputs or not self._input_ended:
            if not self._inputs:
                await self._changed.wait()
                continue
            given = self._inputs[0]
            try:
                await self._run.push(given)
            except LanemeshError as error:
                self._run.cancel(str(error))
            self._inputs.popleft()
            size = given.ByteSize()
            self._input_bytes -= size
            self._changed.fire()
            self._accepted += 1
            unreported, unreported_bytes = unreported + 1, unreported_bytes + size
            if unreported >= REPORT_INPUTS or unreported_bytes >= REPORT_BYTES:
                unreported = unreported_bytes = 0
                await self._frames.send_empty()
        if not (self._end_sent or self._run.ended.is_set()):
            await self._frames.send_empty()  # fails if the caller has disconnected
        await self._run.push(end=True)

    def _frame(self) -> run_pb2.RunResponse:
        if not self._is_first:
            return run_pb2.RunResponse(accepted_inputs=self._accepted)
        self._is_first = False
        return run_pb2.RunResponse(accepted_inputs=self._accepted, input_token=self._input_token, took_inputs=True)

    def _framed(self, batch: Sequence[Entry]) -> run_pb2.RunResponse:
        frame = self._frame()
        fill(frame, batch, texts=self._texts)
        return frame
