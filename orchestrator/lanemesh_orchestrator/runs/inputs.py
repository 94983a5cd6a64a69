"""The bounded input queue of a run: its clients enqueue items, in order, and its source takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lanemesh._aio.signal import Signal
from lanemesh.codec import decode, lane_type_of
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import ABSENT, LaneType
from lanemesh.node.context import ClientInput
from lanemesh.redaction import Secrets
from lanemesh.summaries import summary
from lanemesh.v1 import lane_pb2, run_pb2, update_pb2

if TYPE_CHECKING:
    from lanemesh_orchestrator.sessions.conversation import Conversation

MAX_INPUTS = 64
"""Most queued inputs of clients; further ones wait at the client."""
INLINE_BYTES = 256 * 1024
"""Most bytes of inputs, plain text aside, that are decoded in the event loop: 256 KiB."""
MAX_SUMMARIES = 10
"""Number of first inputs of a run whose summaries are kept for its record."""
MAX_BYTES = 16 * 1024 * 1024
"""Bytes of queued inputs at which further inputs wait at the client: 16 MiB."""


def is_large(given: Iterable[run_pb2.RunInput]) -> bool:
    """Whether the inputs, plain text aside, have more than 256 KiB in total, so that they are decoded in a thread."""
    return sum(one.ByteSize() for one in given if one.item.WhichOneof("payload") != "text") > INLINE_BYTES


def decode_all(given: Iterable[run_pb2.RunInput]) -> list[ClientInput]:
    """Decodes the inputs of a run that has not started. Raises LanemeshError if an item is no valid value."""
    try:
        return [_decoded(one) for one in given]
    except ValueError as error:
        message = f"the run accepts no input: an input is not a valid item: {error}"
        raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="bad-input", message=message)) from None


def _decoded(given: run_pb2.RunInput) -> ClientInput:
    lane_type = lane_type_of(given.item)
    return ClientInput(given.port, decode(lane_type, given.item), lane_type.value)


class RunInputs:
    """The inputs of one run."""

    def __init__(
        self,
        run_id: str,
        source: str | None,
        outputs: Mapping[str, lane_pb2.LaneType.ValueType] | None = None,
        conversation: Conversation | None = None,
    ) -> None:
        """`source` is the client-fed component; None: the pipeline has none.

        `outputs` are the lane types of its outputs, by name. An input must have one of these types, and may name one of these
        outputs. None: the types are not known, and the source itself rejects invalid inputs. `conversation` takes the first
        question, and adds the history of its session.
        """
        self._outputs = outputs
        self._conversation = conversation
        self._takes_questions = outputs is not None and lane_pb2.LANE_TYPE_QUESTIONS in outputs.values()
        self.source = source
        self._run_id = run_id
        self._waiting: deque[ClientInput] = deque()
        self._waiting_bytes = 0
        self._ended = False
        self._stopped = False
        self._changed = Signal()
        self._turn = asyncio.Lock()
        self._count = 0
        self._first: list[update_pb2.InputSummary] = []

    def begin(self, given: Iterable[run_pb2.RunInput | ClientInput], *, end: bool) -> None:
        """Enqueues the first inputs of a run, all at once, before any others. `end`: no more input follows.

        Raises:
            LanemeshError: the pipeline has no client-fed source, or an item is no valid value.
        """
        for one in [self._checked(one) if isinstance(one, ClientInput) else self._valid(one) for one in given]:
            self._check()
            self._add(one)
        self._ended = end
        self._changed.fire()

    async def push(self, given: Sequence[run_pb2.RunInput], *, end: bool = False) -> None:
        """Enqueues inputs in order; waits while the queue is full, and while another call enqueues. `end`: no more input follows.
        Large inputs are decoded in a thread.

        Enqueues no input if one of them is invalid.

        Raises:
            LanemeshError: the pipeline has no client-fed source, its input or the run itself has ended, or an item is no valid
                value.
        """
        async with self._turn:
            if is_large(given):
                taken = await asyncio.to_thread(self._all_valid, given)
            else:
                taken = self._all_valid(given)
            for one in taken:
                self._check()
                while self._is_full() and not self._stopped:
                    await self._changed.wait()
                self._check()
                self._add(one)
                self._changed.fire()
            if end:
                self._ended = True
                self._changed.fire()

    def stop(self) -> None:
        """Rejects further inputs because the run ends. Waiting calls of `push` fail."""
        self._stopped = True
        self._changed.fire()

    def summarize(self, job: update_pb2.JobUpdate, secrets: Secrets) -> None:
        """Adds the number of inputs until now, and summaries of the first ten without secrets, to an update."""
        job.input_count = self._count
        for one in self._first:
            entry = job.inputs.add()
            entry.CopyFrom(one)
            entry.summary = secrets.hidden(one.summary)

    async def take(self, component: str) -> AsyncIterator[ClientInput]:
        """Yields the inputs of a source until the client ends its input. Yields none for a component that is not client-fed."""
        while component == self.source:
            if self._waiting:
                one = self._waiting.popleft()
                self._waiting_bytes -= one.item.size
                yield one
                self._changed.fire()
            elif self._ended:
                return
            else:
                await self._changed.wait()

    def _is_full(self) -> bool:
        return len(self._waiting) >= MAX_INPUTS or self._waiting_bytes >= MAX_BYTES

    def _add(self, one: ClientInput) -> None:
        if self._conversation is not None:
            one = self._conversation.take(one, takes_questions=self._takes_questions)
        self._waiting.append(one)
        self._waiting_bytes += one.item.size
        if one.item.value is ABSENT:
            return
        self._count += 1
        if len(self._first) < MAX_SUMMARIES:
            lane = LaneType(one.kind).wire
            self._first.append(
                update_pb2.InputSummary(
                    port=one.port, lane_type=lane, size_bytes=one.item.size, summary=summary(one.item.value)
                )
            )

    def _check(self) -> None:
        if self.source is None:
            raise self._refused("no-source", "its pipeline has no source that a client feeds, such as `chat`")
        if self._stopped:
            raise self._refused("run-ended", "it has ended, or is ending")
        if self._ended:
            raise self._refused("input-ended", "its input has ended")

    def _all_valid(self, given: Iterable[run_pb2.RunInput]) -> list[ClientInput]:
        return [self._valid(one) for one in given]

    def _valid(self, given: run_pb2.RunInput) -> ClientInput:
        try:
            taken = _decoded(given)
        except ValueError as error:
            raise self._refused("bad-input", f"an input is not a valid item: {error}") from None
        return self._checked(taken)

    def _checked(self, taken: ClientInput) -> ClientInput:
        if self.source is not None and self._outputs is not None and taken.item.value is not ABSENT:
            self._check_type(taken.port, LaneType(taken.kind), self._outputs)
        return taken

    def _check_type(self, port: str, lane_type: LaneType, outputs: Mapping[str, lane_pb2.LaneType.ValueType]) -> None:
        """Rejects an input that the source cannot emit."""
        if port and port not in outputs:
            known = ", ".join(outputs) or "none"
            raise self._refused("bad-input", f'the source {self.source} has no output "{port}"; its outputs: {known}')
        types = dict.fromkeys(outputs.values())
        if lane_pb2.LANE_TYPE_UNSPECIFIED in types or lane_type.wire in types:
            return
        names = ", ".join(LaneType.from_wire(wire).value for wire in types)
        message = f"the source {self.source} does not accept {lane_type.value}; send one of these: {names}"
        raise self._refused("bad-input", message)

    def _refused(self, reason: str, why: str) -> LanemeshError:
        message = f"run {self._run_id} accepts no input: {why}"
        return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=reason, message=message))
