"""The consumer ends of lanes: one inbox per node, one edge per lane, one first-in-first-out buffer per port.

Limits are per edge: a producer that finds its edge full waits for that edge alone. Nothing polls: a taker wakes the one
who waits for room, a put wakes the one who waits for items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import inf
from typing import Any

from lanemesh.lanes.faults import Code, Fault, LaneFault
from lanemesh.lanes.items import ABSENT, Envelope, Item
from lanemesh.lanes.signal import Signal

DEFAULT_LIMIT_ITEMS = 4096
"""Items that an edge holds unless the pipeline says otherwise."""
DEFAULT_LIMIT_BYTES = 1024 * 1024
"""Bytes past which an edge takes no more unless the pipeline says otherwise: 1 MiB."""

Entry = tuple[int, "Edge", Any, int, Envelope | None]
"""A waiting item: arrival number in the inbox, edge, value, size, envelope. A plain tuple, since there is one per item."""


@dataclass(frozen=True, slots=True)
class EdgeStatistics:
    """A look inside an edge."""

    arrived: int
    """Items that have come in."""
    taken: int
    """Items that the node has taken."""
    discarded: int
    """Items that came after the node had stopped the edge, or waited when it did."""
    buffered_items: int
    """Items that wait."""
    buffered_bytes: int
    """Their bytes."""
    limit_items: int
    """Most items that may wait."""
    ended: bool
    """No more will come."""


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
        self.buffered_items = 0
        self.buffered_bytes = 0
        self.ended = False
        self.stopped = False
        self.fault: Fault | None = None
        """The producer's fault, once ended with one."""
        self.stop_reason = ""
        self.stop_fault: Fault | None = None
        """The consumer's fault, once stopped with one."""
        self._wake: Callable[[], None] | None = None
        self.wake_at: float = inf
        """Items taken in all at which someone wants to be woken."""
        self._on_stop: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        """The edge's limit in items or bytes is reached."""
        return self.buffered_items >= self.limit_items or self.buffered_bytes >= self.limit_bytes

    def put(self, value: Any, size: int, envelope: Envelope | None) -> None:
        """Adds an item. The caller has looked at `full` and `stopped`; a stopped edge discards and counts."""
        self.arrived += 1
        if self.stopped:
            self.discarded += 1
            return
        self.buffered_items += 1
        self.buffered_bytes += size
        port = self.port
        inbox = port.inbox
        inbox.arrivals += 1
        port.entries.append((inbox.arrivals, self, value, size, envelope))
        if inbox.changes.waiters:
            inbox.changes.fire()

    def put_plain(self, texts: list[str], overhead: int) -> None:
        """Adds many texts without envelopes, each counting its length and `overhead` in bytes."""
        self.arrived += len(texts)
        if self.stopped:
            self.discarded += len(texts)
            return
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
        self.buffered_items += len(texts)
        self.buffered_bytes += held
        if inbox.changes.waiters:
            inbox.changes.fire()

    def took(self, size: int) -> None:
        """Notes that the node has taken an item."""
        self.taken += 1
        self.buffered_items -= 1
        self.buffered_bytes -= size
        if self.taken >= self.wake_at:
            self.notify()

    def when_taken(self, wake: Callable[[], None], at: int = 0) -> None:
        """Calls `wake` once: at the next take by which `at` items have been taken in all, or at growth or stop.

        At most one caller at a time waits on an edge.
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
        """The producer is done: cleanly, or with a fault. Only the first end counts."""
        if self.ended:
            return
        self.ended = True
        self.fault = fault
        self.port.edge_ended(self)

    def grow(self, limit_items: int, limit_bytes: int) -> None:
        """Raises the limits; they never shrink."""
        self.limit_items = max(self.limit_items, limit_items)
        self.limit_bytes = max(self.limit_bytes, limit_bytes)
        self.notify()

    def stop(self, reason: str, fault: Fault | None = None) -> None:
        """The consumer wants no more: what waits is dropped and counted, the producer is told. Only the first stop counts."""
        if self.stopped:
            return
        self.stopped, self.stop_reason, self.stop_fault = True, reason, fault
        self.discarded += self.buffered_items
        self.buffered_items = self.buffered_bytes = 0
        self.port.drop(self)
        self.notify()
        for call in self._on_stop:
            call()
        self._on_stop.clear()

    def statistics(self) -> EdgeStatistics:
        """A look inside."""
        return EdgeStatistics(
            self.arrived,
            self.taken,
            self.discarded,
            self.buffered_items,
            self.buffered_bytes,
            self.limit_items,
            self.ended,
        )

    def notify(self) -> None:
        """Wakes who waits for room or for takes."""
        self.wake_at = inf
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake()


class Held:
    """An item that has left its port's buffer and was not taken yet: it still counts against the limits of its edge."""

    __slots__ = ("_taken", "edge", "item")

    def __init__(self, edge: Edge, item: Item) -> None:
        self.edge = edge
        self.item = item
        self._taken = False

    def take(self) -> Item:
        """Counts it as taken; only the first time counts. One whose edge was stopped meanwhile counts as discarded already."""
        if not self._taken:
            self._taken = True
            if not self.edge.stopped:
                self.edge.took(self.item.size)
        return self.item


class Port:
    """One input: the items of all its edges, in arrival order."""

    def __init__(self, inbox: Inbox, name: str) -> None:
        self.inbox = inbox
        self.name = name
        self.edges: list[Edge] = []
        self.entries: deque[Entry] = deque()
        self.fault: Fault | None = None

    @property
    def ended(self) -> bool:
        """Every edge has ended or was stopped, and nothing waits."""
        return not self.entries and all(edge.ended or edge.stopped for edge in self.edges)

    @property
    def head(self) -> int | None:
        """Arrival number of the first waiting item; None if none waits."""
        return self.entries[0][0] if self.entries else None

    def edge_ended(self, edge: Edge) -> None:
        """Notes an edge's end; the first fault of an edge that the node still wants becomes the port's."""
        if edge.fault is not None and self.fault is None and not edge.stopped:
            self.fault = edge.fault
        self.inbox.changes.fire()

    def drop(self, edge: Edge) -> None:
        """Forgets what waits of an edge."""
        if self.entries:
            self.entries = deque(entry for entry in self.entries if entry[1] is not edge)
        self.inbox.changes.fire()

    def take(self) -> Item:
        """Takes the first waiting item. Raises IndexError if none waits."""
        _, edge, value, size, envelope = self.entries.popleft()
        edge.took(size)
        return Item(value, size, envelope)

    def hold(self) -> Held:
        """Moves the first waiting item out of the buffer without taking it. Raises IndexError if none waits."""
        _, edge, value, size, envelope = self.entries.popleft()
        return Held(edge, Item(value, size, envelope))

    def raise_fault(self) -> None:
        """Raises LaneFault if a producer ended with a fault."""
        if self.fault is not None:
            raise LaneFault(self.fault.as_secondary(port=self.name))


class Inbox:
    """Everything that waits for one node."""

    def __init__(self, ports: Iterable[str] = ()) -> None:
        self.ports: dict[str, Port] = {name: Port(self, name) for name in ports}
        self.arrivals = 0
        """Items that have arrived in all, which numbers them across ports."""
        self.changes = Signal()
        """Fires when an item arrives, an edge ends or is stopped."""
        self.waiting: Callable[[], AbstractAsyncContextManager[None]] | None = None
        """Goes around each wait for input, if set: a GPU lease may be yielded meanwhile."""
        self.noting: Callable[[tuple[str, ...]], AbstractContextManager[None]] | None = None
        """Goes around each wait for input as well, if set, and is told which ports are waited for, any of which will do."""

    def add_edge(self, edge_id: str, port: str, **limits: int) -> Edge:
        """Adds an edge into a port before the run starts."""
        home = self.ports.get(port)
        if home is None:
            home = self.ports[port] = Port(self, port)
        edge = Edge(edge_id, home, **limits)
        home.edges.append(edge)
        return edge

    def port(self, name: str) -> Port:
        """The port of a name. Raises LaneFault naming those there are if there is no such input."""
        try:
            return self.ports[name]
        except KeyError:
            known = ", ".join(self.ports) or "none"
            raise LaneFault(
                Fault(
                    code=Code.INVALID_ARGUMENT,
                    reason="unknown-port",
                    message=f'there is no input "{name}"; this node\'s inputs: {known}',
                    details={"port": name},
                )
            ) from None

    async def changed(self, *names: str) -> None:
        """Waits until an item arrives, an edge ends or is stopped. Who waits has done with what it took before.

        `names` are the ports where that is hoped for; none: all of them. A change of another port ends the wait too.
        """
        self.mark_processed()
        with self.noting(names or tuple(self.ports)) if self.noting is not None else nullcontext():
            if self.waiting is None:
                await self.changes.wait()
            else:
                async with self.waiting():
                    await self.changes.wait()

    def mark_processed(self) -> None:
        """Notes that the node has done with all that it took."""
        for port in self.ports.values():
            for edge in port.edges:
                edge.processed = edge.taken

    async def stream(self, name: str) -> AsyncGenerator[Any, None]:
        """The values of one port, in arrival order, until all its edges have ended and nothing waits.

        Raises:
            LaneFault: an edge ended with a fault; after the items before it.
        """
        port = self.port(name)
        while True:
            while port.entries:
                _, edge, value, size, _ = port.entries.popleft()
                edge.taken += 1  # `took`, spelled out: this is the innermost loop of every node
                edge.buffered_items -= 1
                edge.buffered_bytes -= size
                if edge.taken >= edge.wake_at:
                    edge.notify()
                if value is not ABSENT:
                    yield value
            port.raise_fault()
            if port.ended:
                return
            await self.changed(name)

    async def iter_items(self) -> AsyncGenerator[tuple[str, Item], None]:
        """Pairs of port and item, in arrival order across all ports, until all have ended.

        Raises:
            LaneFault: an edge ended with a fault; after the items before it.
        """
        while True:
            port = self.first_waiting()
            if port is not None:
                yield port.name, port.take()
                continue
            for other in self.ports.values():
                other.raise_fault()
            if all(other.ended for other in self.ports.values()):
                return
            await self.changed()

    def first_waiting(self, names: Iterable[str] | None = None) -> Port | None:
        """The port whose first waiting item arrived before those of the others; None if nothing waits."""
        ports = self.ports.values() if names is None else [self.ports[name] for name in names]
        waiting = [port for port in ports if port.entries]
        if not waiting:
            return None
        return waiting[0] if len(waiting) == 1 else min(waiting, key=lambda port: port.entries[0][0])

    def stop(self, reason: str, fault: Fault | None = None) -> None:
        """Stops every edge."""
        for port in self.ports.values():
            for edge in port.edges:
                edge.stop(reason, fault)

    def edges(self) -> list[Edge]:
        """Every edge of every port."""
        return [edge for port in self.ports.values() for edge in port.edges]
