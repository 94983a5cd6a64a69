"""One input of a node: the items of all its edges in arrival order, and the tasks that wait for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lanemesh.faults import Code, Fault, LaneFault, LanemeshError, WouldBlock
from lanemesh.items import ABSENT, Envelope, Item
from lanemesh.lanes.inbox.edge import Edge

if TYPE_CHECKING:
    from lanemesh.lanes.inbox.inbox import Inbox

SHORT_TEXT_BYTES = 4 * 1024
"""Longest text, as lanes count it, that is taken together with others: 4 KiB."""

Entry = tuple[int, Edge, Any, int, Envelope | None]
"""A waiting item: arrival number in the inbox, edge, value, size, envelope. A plain tuple, because there is one per item."""

Waiters = deque[asyncio.Future[None]]
"""The tasks that wait at a port, longest first."""


class GroupStage(Protocol):
    """Handles the groups of items before a port enqueues them in its buffer."""

    def put(self, edge: Edge, value: Any, size: int, envelope: Envelope | None) -> None:
        """An item has arrived."""

    def edge_ended(self, edge: Edge) -> None:
        """An edge has ended."""

    def edge_stopped(self, edge: Edge) -> None:
        """An edge was stopped: its parked items are discarded."""

    @property
    def open_groups(self) -> int:
        """Groups that have begun and not ended."""

    @property
    def aside_items(self) -> int:
        """Items that have arrived and cannot be taken yet."""

    @property
    def failed_groups(self) -> int:
        """Groups that were left out, because their producers failed or were cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortStatistics:
    """Statistics of a port."""

    edges: int
    """Its edges."""
    open_edges: int
    """The edges that have neither ended nor been stopped."""
    waiting_items: int
    """Items that can be taken now."""
    aside_items: int
    """Items that have arrived and cannot be taken yet: pieces of incomplete wholes, and groups that wait for their turn."""
    open_groups: int
    """Groups that have begun and not ended; counted only at a port with a group stage."""
    failed_groups: int
    """Wholes that were never completed, because their producers failed or were cancelled."""
    waiters: int
    """Tasks that wait for an event at this port."""
    ended: bool
    """Every edge has ended or was stopped, and no item waits."""


class Held:
    """An item that has left its port's buffer and was not taken yet. It still counts against the limits of its edge."""

    __slots__ = ("_taken", "edge", "item")

    def __init__(self, edge: Edge, item: Item) -> None:
        self.edge = edge
        self.item = item
        self._taken = False

    def take(self) -> Item:
        """Counts the item as taken, once. If its edge was stopped meanwhile, the item was already counted as discarded."""
        if not self._taken:
            self._taken = True
            if not self.edge.stopped:
                self.edge.took(self.item.size)
        return self.item


class Port:
    """One input: the items of all its edges, in arrival order.

    An item that arrives wakes the taker that has waited longest, and every watcher: each taker gets one item, and each watcher
    checks for itself. Waiters at other ports are not woken. Ends and stops wake every waiter.
    """

    def __init__(self, inbox: Inbox, name: str) -> None:
        self.inbox = inbox
        self.name = name
        self.edges: list[Edge] = []
        self.entries: deque[Entry] = deque()
        """The waiting items. It is the same object as long as the port exists."""
        self.fault: Fault | None = None
        """The first fault of a producer on an edge that the node had not stopped."""
        self.failure: Fault | None = None
        """The fault of the port itself, if it cannot continue."""
        self.withdrawn = False
        """The node was closed before the port had ended."""
        self.shaping: GroupStage | None = None
        """Handles the groups of the items, if set."""
        self.takers: Waiters = deque()
        """Waiters that take an item."""
        self.watchers: Waiters = deque()
        """Waiters for any event."""

    @property
    def ended(self) -> bool:
        """Every edge has ended or was stopped, and no item waits."""
        return not self.entries and all(edge.ended or edge.stopped for edge in self.edges)

    @property
    def head(self) -> int | None:
        """Arrival number of the first waiting item; None if none waits."""
        return self.entries[0][0] if self.entries else None

    def take(self) -> Item:
        """Takes the first waiting item. Raises WouldBlock if there is none."""
        try:
            _, edge, value, size, envelope = self.entries.popleft()
        except IndexError:
            raise self._would_block() from None
        edge.took(size)
        return Item(value, size, envelope)

    def each_plain(self) -> Iterator[Entry]:
        """Takes one plain item (a value without an envelope) after the other. Ends before the first other item, or when none waits.

        An item counts as taken when it is returned, and as processed when the next one is requested.
        """
        while entries := self.entries:
            entry = entries.popleft()
            _, edge, value, size, envelope = entry
            if envelope is not None or value is ABSENT:
                entries.appendleft(entry)
                return
            edge.taken += 1  # `took`, inlined: nearly every item takes this path
            edge.buffered_bytes -= size
            if edge.taken >= edge.wake_at:
                edge.notify()
            yield entry
            edge.processed = edge.taken

    def take_plain(self, most: int, most_bytes: int) -> list[Entry]:
        """Takes up to `most` plain items as `each_plain` does, and none above a total of `most_bytes`. They count as taken."""
        entries, held = self.entries, 0
        taken: list[Entry] = []
        while entries and len(taken) < most and held < most_bytes:
            entry = entries[0]
            if entry[4] is not None or entry[2] is ABSENT:
                break
            entries.popleft()
            taken.append(entry)
            entry[1].took(entry[3])
            held += entry[3]
        return taken

    def take_texts(self, most: int, most_bytes: int, before: float) -> list[str]:
        """Takes the waiting short texts without envelopes that arrived before an arrival number: up to `most` of them and
        `most_bytes`, but one larger one. Empty if another item waits first."""
        entries, held = self.entries, 0
        taken: list[str] = []
        while entries and len(taken) < most:
            number, edge, value, size, envelope = entries[0]
            held += size
            if envelope is not None or value is ABSENT or size > SHORT_TEXT_BYTES or number >= before:
                break
            if taken and held > most_bytes:
                break
            entries.popleft()
            taken.append(value)
            edge.taken += 1  # `took`, inlined
            edge.buffered_bytes -= size
            if edge.taken >= edge.wake_at:
                edge.notify()
        return taken

    def hold(self) -> Held:
        """Moves the first waiting item out of the buffer without taking it. Raises WouldBlock if there is none."""
        try:
            _, edge, value, size, envelope = self.entries.popleft()
        except IndexError:
            raise self._would_block() from None
        return Held(edge, Item(value, size, envelope))

    def enqueue(self, edge: Edge, value: Any, size: int, envelope: Envelope | None) -> None:
        """Adds an item, which already counts as buffered, to those that can be taken."""
        self.inbox.arrivals += 1
        self.entries.append((self.inbox.arrivals, edge, value, size, envelope))
        if self.takers or self.watchers:
            self.wake()

    def shape(self, shaping: GroupStage) -> None:
        """Sets the group stage of the port. Called before anything arrives."""
        self.shaping = shaping
        for edge in self.edges:
            edge.direct = False

    def edge_ended(self, edge: Edge) -> None:
        """Notes the end of an edge. The first fault, unless the node had stopped the edge, becomes the port's."""
        if edge.fault is not None and self.fault is None and not edge.stopped:
            self.fault = edge.fault
        if self.shaping is not None and not edge.stopped:
            self.shaping.edge_ended(edge)
        self.wake_all()

    def edge_stopped(self, edge: Edge) -> None:
        """Discards the waiting items of an edge."""
        if self.entries:
            kept = [entry for entry in self.entries if entry[1] is not edge]
            self.entries.clear()
            self.entries.extend(kept)
        if self.shaping is not None:
            self.shaping.edge_stopped(edge)
        self.wake_all()

    def fail(self, fault: Fault) -> None:
        """The port cannot continue: its producers are stopped, and the node fails at its next read."""
        self.failure = fault
        for edge in self.edges:
            edge.stop(fault.message, fault.as_secondary())

    def raise_fault(self) -> None:
        """Raises LaneFault if a producer ended with a fault, LanemeshError if the port itself cannot continue."""
        if self.failure is not None:
            raise LanemeshError(self.failure)
        if self.fault is not None:
            raise LaneFault(self.fault.as_secondary(port=self.name))

    def wake(self, count: int = 1) -> None:
        """`count` items have arrived: wakes as many takers, longest waiting first, and every watcher."""
        while self.takers and count:
            taker = self.takers.popleft()
            if not taker.done():
                taker.set_result(None)
                count -= 1
        self.stir()

    def stir(self) -> None:
        """The state has changed, but there may be no item to take: wakes every watcher."""
        if self.watchers:
            self._wake(self.watchers)

    def wake_all(self) -> None:
        """Wakes every waiter."""
        self._wake(self.takers)
        self._wake(self.watchers)

    def _wake(self, waiters: Waiters) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        waiters.clear()

    def statistics(self) -> PortStatistics:
        """The current statistics."""
        return PortStatistics(
            edges=len(self.edges),
            open_edges=sum(not (edge.ended or edge.stopped) for edge in self.edges),
            waiting_items=len(self.entries),
            aside_items=self.shaping.aside_items if self.shaping is not None else 0,
            open_groups=self.shaping.open_groups if self.shaping is not None else 0,
            failed_groups=self.shaping.failed_groups if self.shaping is not None else 0,
            waiters=len(self.takers) + len(self.watchers),
            ended=self.ended,
        )

    def _would_block(self) -> WouldBlock:
        message = f'no item waits at the input "{self.name}"; wait for `changed` first'
        details = {"port": self.name}
        return WouldBlock(Fault(code=Code.FAILED_PRECONDITION, reason="would-block", message=message, details=details))
