"""Records the frames of lanes over gRPC at both of their ends, when both are in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from unittest.mock import patch

import grpc
import grpc.aio
from lanemesh.lanes.transport.grpc_receiver import GrpcReceiver
from lanemesh.lanes.transport.grpc_sender import GrpcSender
from lanemesh.v1 import lane_pb2


class End(Enum):
    """Where on a lane something happens."""

    PRODUCER = auto()
    CONSUMER = auto()
    CONNECTION = auto()
    """Between the two ends."""


class Act(Enum):
    """What an end has done or seen."""

    SENT = auto()
    """It sent a frame."""
    RECEIVED = auto()
    """It received a frame."""
    HALF_CLOSED = auto()
    """The producer has half-closed."""
    READ_TO_END = auto()
    """The consumer found no more frames."""
    CLOSED = auto()
    """The call has ended with the status OK."""
    BROKE = auto()
    """The call has ended otherwise, or this end has cancelled it; of the connection: it was cut."""
    REPORTED = auto()
    """What the end reports of the lane when it is over."""


class Ending(Enum):
    """How a lane ended; the names are those of the model."""

    CLEAN = auto()
    FAULT = auto()
    BROKEN = auto()


Frame = lane_pb2.ExchangeRequest | lane_pb2.ExchangeResponse


@dataclass(frozen=True, slots=True)
class Event:
    """One event at one end of a lane."""

    end: End
    act: Act
    frame: Frame | None = None
    """The frame, of SENT and RECEIVED."""
    ending: Ending | None = None
    """Of REPORTED; at the producer CLEAN means that every item was taken or discarded."""
    taken: int = 0
    """Of REPORTED at the consumer: items that the node has taken."""
    stopped: bool = False
    """Of REPORTED at the consumer: the node has stopped the lane."""


@dataclass(eq=False, slots=True)
class Record:
    """The events of one lane, in their order."""

    opening: lane_pb2.LaneOpen | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def merges(self) -> bool:
        """The lane carried items or its end in the frame with `open`."""
        return self.opening is not None and self.opening.HasField("items")


class Records:
    """The lanes that were recorded, by run and edge."""

    def __init__(self) -> None:
        self.lanes: dict[tuple[str, str], Record] = {}

    def of(self, opening: lane_pb2.LaneOpen) -> Record:
        """The record of a lane, which begins with the first call of this function for it."""
        record = self.lanes.setdefault((opening.run_id, opening.edge_id), Record())
        record.opening = opening
        return record


class _Call:
    """The call of a producer, recorded."""

    def __init__(self, call: Any, records: Records) -> None:
        self._call = call
        self._records = records
        self.record = Record()
        self._over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def write(self, frame: Any) -> None:
        """Records the frame, unless the call has ended."""
        copy = lane_pb2.ExchangeRequest()
        copy.MergeFromString(frame if isinstance(frame, bytes) else frame.SerializeToString())
        if copy.HasField("open"):
            self.record = self._records.of(copy.open)
        with self._recorded(Event(End.PRODUCER, Act.SENT, copy)):
            await self._call.write(frame)

    async def read(self) -> Any:
        """Records the frame."""
        response = await self._call.read()
        if isinstance(response, lane_pb2.ExchangeResponse):
            self.record.events.append(Event(End.PRODUCER, Act.RECEIVED, response))
        return response

    async def done_writing(self) -> None:
        """Records the half-close."""
        with self._recorded(Event(End.PRODUCER, Act.HALF_CLOSED)):
            await self._call.done_writing()

    async def code(self) -> Any:
        """Records the status."""
        code = await self._call.code()
        self._end(Act.CLOSED if code is grpc.StatusCode.OK else Act.BROKE)
        return code

    def cancel(self) -> Any:
        """Records the break."""
        if not self._call.done():
            self._end(Act.BROKE)
        return self._call.cancel()

    def _end(self, act: Act) -> None:
        if not self._over:
            self._over = True
            self.record.events.append(Event(End.PRODUCER, act))

    @contextmanager
    def _recorded(self, event: Event) -> Iterator[None]:
        events = self.record.events
        events.append(event)
        try:
            yield
        except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
            events[:] = [one for one in events if one is not event]  # the call had ended
            raise


class _Context:
    """The context of a consumer's handler, recorded."""

    def __init__(self, context: Any, records: Records) -> None:
        self._context = context
        self._records = records
        self.record = Record()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """Records the frame, or that there is none."""
        request = await self._context.read()
        if isinstance(request, lane_pb2.ExchangeRequest):
            copy = lane_pb2.ExchangeRequest()
            copy.CopyFrom(request)
            if copy.HasField("open"):
                self.record = self._records.of(copy.open)
            self.record.events.append(Event(End.CONSUMER, Act.RECEIVED, copy))
        else:
            self.record.events.append(Event(End.CONSUMER, Act.READ_TO_END))
        return request

    async def write(self, response: lane_pb2.ExchangeResponse) -> None:
        """Records the frame, unless the call has ended."""
        event = Event(End.CONSUMER, Act.SENT, response)
        events = self.record.events
        events.append(event)
        try:
            await self._context.write(response)
        except BaseException:
            events[:] = [one for one in events if one is not event]
            raise

    def broke(self) -> None:
        """Records the break, once."""
        event = Event(End.CONSUMER, Act.BROKE)
        if event not in self.record.events:
            self.record.events.append(event)

    async def serve(self, behavior: Callable[..., Any], requests: Any) -> None:
        """Runs the handler, and records how it ends."""
        try:
            await behavior(requests, self)
        except BaseException:
            self.broke()
            raise
        self.record.events.append(Event(End.CONSUMER, Act.CLOSED))


@contextmanager
def recorded() -> Iterator[Records]:
    """Records the lanes over the connections and servers that this process makes within the block."""
    records = Records()
    dial, handler = grpc.aio.insecure_channel, grpc.stream_stream_rpc_method_handler
    serve, closed = GrpcReceiver.serve, GrpcSender.closed

    def insecure_channel(target: str, *arguments: Any, **options: Any) -> grpc.aio.Channel:
        channel: Any = dial(target, *arguments, **options)
        stream_stream = channel.stream_stream

        def call_of(path: str, *serializers: Any, **more: Any) -> Any:
            made = stream_stream(path, *serializers, **more)
            if not path.endswith("/Exchange"):
                return made
            return lambda *given, **how: _Call(made(*given, **how), records)

        channel.stream_stream = call_of
        return channel  # type: ignore[no-any-return]

    def stream_stream_rpc_method_handler(behavior: Any, *serializers: Any, **more: Any) -> Any:
        if behavior.__name__ != "Exchange":
            return handler(behavior, *serializers, **more)

        async def exchange(requests: Any, context: Any) -> None:
            await _Context(context, records).serve(behavior, requests)

        return handler(exchange, *serializers, **more)

    async def served(receiver: GrpcReceiver) -> None:
        context: Any = receiver._context
        try:
            await serve(receiver)
        except BaseException:
            context.broke()
            raise
        finally:
            edge = receiver._edge
            how = Ending.CLEAN if edge.fault is None else Ending.FAULT
            if edge.fault is not None and edge.fault.reason == "lane-broken":
                how = Ending.BROKEN
            assert edge.ended
            context.record.events.append(
                Event(End.CONSUMER, Act.REPORTED, ending=how, taken=edge.taken, stopped=edge.stopped)
            )

    async def was_closed(sender: GrpcSender) -> None:
        await closed(sender)
        if isinstance(sender._call, _Call):
            how = Ending.BROKEN if sender.broken else Ending.CLEAN
            sender._call.record.events.append(Event(End.PRODUCER, Act.REPORTED, ending=how))

    with (
        patch.object(grpc.aio, "insecure_channel", insecure_channel),
        patch.object(grpc, "stream_stream_rpc_method_handler", stream_stream_rpc_method_handler),
        patch.object(GrpcReceiver, "serve", served),
        patch.object(GrpcSender, "closed", was_closed),
    ):
        yield records
