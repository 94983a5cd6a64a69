"""Flow traces: reports of the items that reach the nodes of a run, on their way to the run's clients."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from lanemesh._aio.signal import Signal
from lanemesh.codec import encode
from lanemesh.items import ABSENT, Envelope, Item, LaneType
from lanemesh.lanes.inbox.tap import OnItem
from lanemesh.redaction import NO_SECRETS, Secrets
from lanemesh.summaries import summary
from lanemesh.times import stamp
from lanemesh.v1 import update_pb2

MAX_ITEM_BYTES = 1024 * 1024
"""Largest item that is reported with its value: 1 MiB."""
MAX_WAITING = 10_000
"""Most traces that wait for the orchestrator; further ones are left out and counted."""
MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Total size of waiting traces above which further ones are left out and counted: 8 MiB."""


class TapLines:
    """Traces on their way to the clients. Items never wait for their traces, which are counted if there is no capacity."""

    def __init__(self, try_send: Callable[[update_pb2.Update], bool]) -> None:
        """`try_send` accepts an update if there is capacity for it, and returns whether it did."""
        self._try_send = try_send
        self._left_out: dict[str, int] = {}

    def report(self, update: update_pb2.Update) -> None:
        """Passes a trace on, with the number of traces of its edge that were left out directly before it."""
        trace = update.trace
        trace.left_out += self._left_out.pop(trace.edge_id, 0)
        if not self._try_send(update):
            self._left_out[trace.edge_id] = trace.left_out + (trace.lane_type != 0)

    def rests(self) -> list[update_pb2.Update]:
        """At the end: the reports of traces that were left out."""
        left_out, self._left_out = self._left_out, {}
        return [_trace(update_pb2.TraceUpdate(edge_id=edge, left_out=count)) for edge, count in left_out.items()]


class Traces:
    """The traces of one run on one host."""

    def __init__(
        self,
        level: update_pb2.TraceLevel.ValueType,
        types: Mapping[str, LaneType],
        send: Callable[[update_pb2.Update], Awaitable[None]],
        secrets: Secrets = NO_SECRETS,
    ) -> None:
        """`types` has the lane type of each edge. `send` passes an update on to the orchestrator, and waits while that is behind.
        `secrets` are redacted from the requests and answers of control connections."""
        self._level = level
        self._types = types
        self._send = send
        self._secrets = secrets
        self._waiting: deque[tuple[update_pb2.Update, int]] = deque()
        self._waiting_bytes = 0
        self._lines = TapLines(self._queue)
        self._work = Signal()

    def of(self, edge_id: str) -> OnItem:
        """The function to which an edge reports its items."""
        return partial(self._report_item, edge_id, self._types[edge_id])

    def of_control(self, edge_id: str) -> Callable[[str], None]:
        """The function that gets the requests and answers of a control connection, each a JSON object as text."""
        return partial(self._report_message, edge_id, itertools.count())

    async def pass_on(self) -> None:
        """Passes on waiting traces, until it is cancelled."""
        while True:
            await self._pass_on_waiting()
            await self._work.wait()

    async def end(self) -> None:
        """Passes on the remaining traces."""
        await self._pass_on_waiting()
        for rest in self._lines.rests():
            await self._send(rest)

    async def _pass_on_waiting(self) -> None:
        while self._waiting:
            update, size = self._waiting[0]
            await self._send(update)
            self._waiting.popleft()  # only now: a cancelled `send` has sent nothing
            self._waiting_bytes -= size

    def _report_item(
        self, edge_id: str, lane_type: LaneType, number: int, value: Any, size: int, envelope: Envelope | None
    ) -> None:
        trace = update_pb2.TraceUpdate(edge_id=edge_id, number=number, lane_type=lane_type.wire, size_bytes=size)
        if envelope is not None:
            bare = encode(lane_type, Item(ABSENT, 0, envelope))
            if bare.HasField("group"):
                trace.group.CopyFrom(bare.group)
        if self._level >= update_pb2.TRACE_LEVEL_SUMMARY and value is not ABSENT:
            trace.summary = summary(value)
        if self._level == update_pb2.TRACE_LEVEL_FULL and size <= MAX_ITEM_BYTES:
            trace.item.CopyFrom(encode(lane_type, Item(value, size, envelope)))
        self._lines.report(_trace(trace))

    def _report_message(self, edge_id: str, numbers: Iterator[int], text: str) -> None:
        text = self._secrets.hidden(text)
        size = len(text.encode("utf-8", "replace"))
        trace = update_pb2.TraceUpdate(
            edge_id=edge_id, number=next(numbers), lane_type=LaneType.DATA.wire, size_bytes=size
        )
        if self._level >= update_pb2.TRACE_LEVEL_SUMMARY:
            trace.summary = summary(text)
        if self._level == update_pb2.TRACE_LEVEL_FULL and size <= MAX_ITEM_BYTES:
            trace.item.data_json = text
        self._lines.report(_trace(trace))

    def _queue(self, update: update_pb2.Update) -> bool:
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES:
            return False
        size = update.ByteSize()
        self._waiting.append((update, size))
        self._waiting_bytes += size
        self._work.fire()
        return True


def _trace(trace: update_pb2.TraceUpdate) -> update_pb2.Update:
    update = update_pb2.Update(trace=trace)
    stamp(update.time)
    return update
