"""The consumer ends of lanes: one inbox per node, one edge per lane, one first-in-first-out buffer per port.

Limits are per edge: a producer that finds its edge full waits for that edge alone. Nothing polls: a take wakes the producer that
waits for capacity on that edge, and an item wakes a taker that waits at its port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanemesh._aio.signal import NOTHING
from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.items import Item
from lanemesh.lanes.inbox.assembler import Join
from lanemesh.lanes.inbox.edge import DEFAULT_LIMIT_BYTES, DEFAULT_LIMIT_ITEMS, Edge, EdgeStatistics
from lanemesh.lanes.inbox.port import Held, Port, PortStatistics, Waiters
from lanemesh.lanes.streams import Stream, item_stream, value_stream

if TYPE_CHECKING:
    from lanemesh.lanes.inbox.tap import OnItem

__all__ = [
    "DEFAULT_LIMIT_BYTES",
    "DEFAULT_LIMIT_ITEMS",
    "Edge",
    "EdgeStatistics",
    "Held",
    "Inbox",
    "InboxStatistics",
    "Port",
    "PortStatistics",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxStatistics:
    """Statistics of an inbox."""

    arrivals: int
    """Total number of items that have arrived and could be taken."""
    waiting_items: int
    """Items that can be taken now."""
    buffered_items: int
    """Items that count against the limits of their edges: waiting, held or parked ones."""
    buffered_bytes: int
    """Their bytes."""
    ended: bool
    """Every port has ended."""
    ports: Mapping[str, PortStatistics]
    """The ports by name."""


class Inbox:
    """All items that wait for one node."""

    def __init__(self, ports: Iterable[str] = ()) -> None:
        self.ports: dict[str, Port] = {name: Port(self, name) for name in ports}
        self.arrivals = 0
        """Total number of items that have arrived. It numbers them across ports."""
        self.waiting: Callable[[], AbstractAsyncContextManager[None]] | None = None
        """Context manager around each wait for input, if set: a GPU lease may be yielded meanwhile."""
        self.marking: Callable[[Sequence[str]], AbstractContextManager[None]] | None = None
        """Context manager around the wait for input alone, if set. It gets the names of the inputs that are waited for."""
        self.tracing: Callable[[str], OnItem] | None = None
        """Returns the reporter for the items of an edge, if items are traced. Set before edges are added."""

    def add_edge(self, edge_id: str, port: str, **limits: int) -> Edge:
        """Adds an edge into a port before the run starts."""
        home = self.ports.get(port)
        if home is None:
            home = self.ports[port] = Port(self, port)
        if self.tracing is None:
            edge = Edge(edge_id, home, **limits)
        else:
            from lanemesh.lanes.inbox.tap import TappedEdge

            edge = TappedEdge(edge_id, home, self.tracing(edge_id), **limits)
        edge.direct = home.shaping is None
        home.edges.append(edge)
        return edge

    def assemble(self, port: str, join: Join) -> None:
        """Makes a port assemble its items by their groups. Called before anything arrives."""
        from lanemesh.lanes.inbox.group_stages import Assembling

        home = self.port(port)
        home.shape(Assembling(home, join))

    def serialize_groups(self, port: str) -> None:
        """Makes a port deliver its groups one after the other. Called before anything arrives."""
        from lanemesh.lanes.inbox.group_stages import GroupSerializer

        home = self.port(port)
        if home.shaping is None:  # wholes are never interleaved
            home.shape(GroupSerializer(home))

    def port(self, name: str) -> Port:
        """The port with a name. If there is no such input, raises LaneFault, which lists the inputs."""
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

    async def changed(self, names: Iterable[str] | None = None) -> None:
        """Waits until an item arrives, an edge ends or is stopped at one of these ports; at any port unless given.

        The caller has finished processing what it took before.
        """
        ports = list(self.ports.values()) if names is None else [self.port(name) for name in names]
        await _woken([port.watchers for port in ports], *self._begin_wait(ports))

    async def watch(self, *names: str) -> None:
        """Waits until something happens at one of these ports, for an observer beside the node; at any port unless given."""
        await _woken([self.port(name).watchers for name in names or self.ports])

    async def turn(self, ports: Sequence[Port]) -> None:
        """Waits, behind earlier waiters, until one of these ports has an item to take or has ended."""
        try:
            await _woken([port.takers for port in ports], *self._begin_wait(ports))
        except BaseException:
            for port in ports:  # it may have been woken already: the next waiter gets its turn
                if port.entries:
                    port.wake()
            raise

    def _begin_wait(
        self, ports: Sequence[Port]
    ) -> tuple[AbstractContextManager[None], AbstractAsyncContextManager[None]]:
        """Notes that the node has processed its items. Returns the context managers of its wait: `mark` and `around` of
        `_woken`."""
        self.mark_processed()
        return (
            self.marking([port.name for port in ports]) if self.marking is not None else NOTHING,
            self.waiting() if self.waiting is not None else NOTHING,
        )

    def mark_processed(self) -> None:
        """Notes that the node has processed everything that it took."""
        for port in self.ports.values():
            for edge in port.edges:
                edge.processed = edge.taken

    def stream(self, name: str, *, raising: bool = True) -> Stream[Any]:
        """The values of one port, in arrival order, until all its edges have ended and no item waits.

        Args:
            name: the port.
            raising: False: faults of producers are not raised; `port(name).fault` has them.

        Raises:
            LaneFault: during reading, after the last item: an edge ended with a fault.
        """
        return value_stream(self, self.port(name), raising=raising)

    def iter_items(self, names: Iterable[str] | None = None, *, raising: bool = True) -> Stream[tuple[str, Item]]:
        """Pairs of port and item, in arrival order across ports, until all of them have ended.

        Args:
            names: the ports; all unless given.
            raising: False: faults of producers are not raised; `port(name).fault` has them.

        Raises:
            LaneFault: during reading, after the last item: an edge ended with a fault.
        """
        return item_stream(self, names, raising=raising)

    def first_waiting(self, names: Iterable[str] | None = None) -> Port | None:
        """The port with the waiting item that arrived first; None if no item waits."""
        ports = self.ports.values() if names is None else [self.ports[name] for name in names]
        waiting = [port for port in ports if port.entries]
        if not waiting:
            return None
        return waiting[0] if len(waiting) == 1 else min(waiting, key=lambda port: port.entries[0][0])

    def withdraw(self, reason: str, fault: Fault | None = None) -> None:
        """Stops every edge because the node is closed. Further reading at a port that had not ended raises `Withdrawn`."""
        for port in self.ports.values():
            port.withdrawn = port.withdrawn or not port.ended
        self.stop(reason, fault)

    def stop(self, reason: str, fault: Fault | None = None) -> None:
        """Stops every edge."""
        for port in self.ports.values():
            for edge in port.edges:
                edge.stop(reason, fault)

    def edges(self) -> list[Edge]:
        """Every edge of every port."""
        return [edge for port in self.ports.values() for edge in port.edges]

    def statistics(self) -> InboxStatistics:
        """The current statistics."""
        edges = self.edges()
        return InboxStatistics(
            arrivals=self.arrivals,
            waiting_items=sum(len(port.entries) for port in self.ports.values()),
            buffered_items=sum(edge.buffered_items for edge in edges),
            buffered_bytes=sum(edge.buffered_bytes for edge in edges),
            ended=all(port.ended for port in self.ports.values()),
            ports={name: port.statistics() for name, port in self.ports.items()},
        )


async def _woken(
    queues: Sequence[Waiters],
    mark: AbstractContextManager[None] = NOTHING,
    around: AbstractAsyncContextManager[None] = NOTHING,
) -> None:
    """Waits in these queues at once until one of them wakes it. A change while `around` is entered counts as well.

    `mark` surrounds only the wait itself: leaving `around` may take time for other reasons.
    """
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for queue in queues:
        queue.append(waiter)
    try:
        if around is NOTHING:
            with mark:
                await waiter
        else:
            async with around:
                with mark:
                    await waiter
    finally:
        for queue in queues:
            if waiter in queue:
                queue.remove(waiter)
