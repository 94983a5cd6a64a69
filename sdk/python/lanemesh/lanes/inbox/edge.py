"""The consumer end of one lane: counts arrived and taken items, and limits how many may wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.items import Envelope

if TYPE_CHECKING:
    from lanemesh.lanes.inbox.port import Entry, Port
    from lanemesh.lanes.recovery.reopening import Reopening

DEFAULT_LIMIT_ITEMS = 4096
"""Most items on an edge between two servers, unless the pipeline sets a limit."""
LOCAL_LIMIT_ITEMS = 1024
"""The same within one server. No frames are in flight there, and waiting items should fit into the processor's cache."""
DEFAULT_LIMIT_BYTES = 1024 * 1024
"""Byte limit of an edge, unless the pipeline sets one: 1 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeStatistics:
    """Statistics of an edge. Every arrived item is either taken, discarded or buffered."""

    arrived: int
    """Items that have arrived."""
    taken: int
    """Items that the node has taken."""
    discarded: int
    """Items that arrived after the node had stopped the edge, or were waiting when it did."""
    buffered_items: int
    """Waiting items, including held and parked ones."""
    buffered_bytes: int
    """Their bytes."""
    limit_items: int
    """Most items that may wait."""
    limit_bytes: int
    """Bytes above which no more items are accepted."""
    ended: bool
    """The producer has ended the edge: no more items will arrive."""
    stopped: bool
    """The node has stopped the edge: it takes no more items."""


class Edge:
    """The consumer end of one lane."""

    def __init__(
        self,
        edge_id: str,
        port: Port,
        *,
        limit_items: int = DEFAULT_LIMIT_ITEMS,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
    ) -> None:
        self.id = edge_id
        self.port = port
        self.limit_items = limit_items
        self.limit_bytes = limit_bytes
        self.arrived = 0
        self.taken = 0
        self.processed = 0
        self.discarded = 0
        self.buffered_bytes = 0
        self.resumed_from = 0
        """Items that another server had processed before this end was created."""
        self.base = 0
        """Items that had arrived when the present lane was opened."""
        self.committed: Callable[[], int] | None = None
        """If the node is recoverable: returns the number of committed items."""
        self.drained = True
        """The node no longer needs its producer once that has ended the edge. False while a recoverable node is running."""
        self.abandoned = False
        """The node is recoverable, and failed, was cancelled or lost a lane before everything that it took was committed."""
        self.reopening: Reopening | None = None
        """If the producer is recoverable: waits for the next lane."""
        self.ended = False
        self.stopped = False
        self.fault: Fault | None = None
        """The producer's fault, if it ended with one."""
        self.stop_reason = ""
        self.stop_fault: Fault | None = None
        """The consumer's fault, if it stopped with one."""
        self.direct = True
        """Items go directly into the port's buffer: the edge is open, and the port has no group stage."""
        self._wake: Callable[[], None] | None = None
        self.wake_at: float = inf
        """Total number of taken items at which a waiter is to be woken."""
        self._on_stop: list[Callable[[], None]] = []

    @property
    def buffered_items(self) -> int:
        """Waiting items, including held and parked ones."""
        return self.arrived - self.taken - self.discarded

    @property
    def full(self) -> bool:
        """The edge's limit in items or bytes is reached."""
        return self.buffered_items >= self.limit_items or self.buffered_bytes >= self.limit_bytes

    def put(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        """Adds an item. The caller has checked `full`.

        Returns:
            False if the node has stopped the edge: the item is discarded and counted.

        Raises:
            LaneFault: the edge has ended.
        """
        if not self.direct:
            return self._put_indirectly(value, size, envelope)
        self.arrived += 1
        self.buffered_bytes += size
        port = self.port
        inbox = port.inbox
        inbox.arrivals += 1
        port.entries.append((inbox.arrivals, self, value, size, envelope))
        if port.takers or port.watchers:
            port.wake()
        return True

    def put_plain(self, texts: list[str], overhead: int) -> None:
        """Adds many texts without envelopes, each counting its length and `overhead` in bytes."""
        if not self.direct:
            for text in texts:
                self._put_indirectly(text, len(text) + overhead, None)
            return
        self.arrived += len(texts)
        port = self.port
        inbox = port.inbox
        number = inbox.arrivals
        entries: list[Entry] = []
        held = 0
        for text in texts:
            number += 1
            size = len(text) + overhead
            held += size
            entries.append((number, self, text, size, None))
        port.entries.extend(entries)
        inbox.arrivals = number
        self.buffered_bytes += held
        if port.takers or port.watchers:
            port.wake(len(texts))

    def _put_indirectly(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        if self.stopped:
            self.arrived += 1
            self.discarded += 1
            return False
        if self.ended:
            message = f"an item arrived on the lane {self.id} after its end"
            raise LaneFault(Fault(code=Code.FAILED_PRECONDITION, reason="lane-ended", message=message))
        self.arrived += 1
        assert self.port.shaping is not None
        self.port.shaping.put(self, value, size, envelope)
        self.port.stir()
        return True

    def took(self, size: int) -> None:
        """Notes that the node has taken an item."""
        self.taken += 1
        self.buffered_bytes -= size
        if self.taken >= self.wake_at:
            self.notify()

    def when_taken(self, wake: Callable[[], None], at: int = 0) -> None:
        """Calls `wake` once: when `at` items have been taken in all, or when the limits grow, or at a stop.

        An edge has at most one waiter at a time.
        """
        self._wake = wake
        self.wake_at = at

    def when_stopped(self, call: Callable[[], None]) -> None:
        """Calls `call` when the consumer stops this edge; at once if it already has."""
        if self.stopped:
            call()
        else:
            self._on_stop.append(call)

    def end(self, fault: Fault | None = None) -> None:
        """The producer has ended the edge, cleanly or with a fault. Only the first end counts."""
        if self.ended:
            return
        self.ended, self.direct = True, False
        self.fault = fault
        self.port.edge_ended(self)

    def settle(self, *, abandoned: bool = False) -> None:
        """The node has ended, and everything that it sent is committed: its producer may end. Or it is `abandoned`: its producer
        may end this lane, and has to send to another node what is not committed."""
        self.drained = True
        self.abandoned = self.abandoned or abandoned
        self.notify()

    def grow(self, limit_items: int, limit_bytes: int) -> None:
        """Raises the limits; they are never lowered."""
        self.limit_items = max(self.limit_items, limit_items)
        self.limit_bytes = max(self.limit_bytes, limit_bytes)
        self.notify()

    def stop(self, reason: str, fault: Fault | None = None) -> None:
        """The consumer takes no more: waiting items are discarded and counted, and the producer is notified. Acts once."""
        if self.stopped:
            return
        self.stopped, self.direct = True, False
        self.stop_reason, self.stop_fault = reason, fault
        self.discarded += self.buffered_items
        self.buffered_bytes = 0
        self.port.edge_stopped(self)
        self.notify()
        calls, self._on_stop = self._on_stop, []
        if calls:
            cascade(calls)

    def statistics(self) -> EdgeStatistics:
        """The current statistics."""
        return EdgeStatistics(
            arrived=self.arrived,
            taken=self.taken,
            discarded=self.discarded,
            buffered_items=self.buffered_items,
            buffered_bytes=self.buffered_bytes,
            limit_items=self.limit_items,
            limit_bytes=self.limit_bytes,
            ended=self.ended,
            stopped=self.stopped,
        )

    def notify(self) -> None:
        """Wakes the waiter for capacity or for takes."""
        self.wake_at = inf
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake()


class _Pending(threading.local):
    """The deferred calls of this thread; None outside of a cascade."""

    calls: deque[Callable[[], object]] | None = None


_pending = _Pending()


def cascade(calls: Iterable[Callable[[], object]]) -> None:
    """Makes these calls, and the calls that they request through this function, in order. Requests within a cascade are deferred,
    and made before its outermost call returns. All are made even if one raises.

    A stop propagates up a pipeline, against the direction of its lanes: a node whose lanes are all stopped stops its own inputs,
    and so on. Nested calls would reach the recursion limit in a chain of a few hundred nodes.

    Raises:
        Exception: of the first call that failed.
    """
    if _pending.calls is not None:
        _pending.calls.extend(calls)
        return
    pending = _pending.calls = deque(calls)
    failure: Exception | None = None
    try:
        while pending:
            try:
                pending.popleft()()
            except Exception as error:
                failure = failure or error
    finally:
        _pending.calls = None
    if failure is not None:
        raise failure
