"""The lanes that end on this host in one run: which of them may be opened, and which have to be."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Edge, Inbox
from lanemesh.v1 import lane_pb2, node_pb2

Refuse = Callable[[Code, str, str], LanemeshError]
"""Makes the error of a rejected lane from its code, its reason and why it is rejected."""


class IncomingLanes:
    """The consumer ends of the lanes of one part of a run, and the lanes that other servers have yet to open."""

    def __init__(self, place: node_pb2.Place, server: str) -> None:
        """Without edges. `server` is the name of this server, for faults."""
        self.types: Mapping[str, LaneType] = {edge.id: LaneType.from_wire(edge.lane_type) for edge in place.edges}
        """The types of the items of all edges of the part, by edge."""
        self._edges: dict[str, Edge] = {}
        self._place = place
        self._server = server
        self._accepted: set[str] = set()
        self._unopened: dict[str, node_pb2.Edge] = {}
        """Edges whose lanes other servers have not opened yet. An edge without a named server of its producer is not among them,
        nor is one whose producer gets the address only when this part of the run starts."""
        self._opened = asyncio.Event()
        """Set when no lane is awaited any more."""

    @property
    def edges(self) -> Mapping[str, Edge]:
        """The edges, by id."""
        return self._edges

    @property
    def are_awaited(self) -> bool:
        """Whether other servers have lanes to open."""
        return bool(self._unopened)

    def add(self, spec: node_pb2.Edge, inbox: Inbox, *, is_local: bool) -> Edge:
        """Adds the end of an edge to the inbox of its consumer. `is_local`: its producer is in this part of the run too."""
        limits = {"limit_items": max(1, spec.limit_items), "limit_bytes": max(1, spec.limit_bytes)}
        edge = self._edges[spec.id] = inbox.add_edge(spec.id, spec.input, **limits)
        if spec.serialize_groups:
            inbox.serialize_groups(spec.input)
        if is_local:
            return edge
        if spec.reopenable:
            from lanemesh.lanes.recovery.reopening import Reopening

            edge.reopening = Reopening(edge, own_groups=spec.own_groups)
        rerouted = self._place.incarnation and spec.replayable
        if spec.producer_server and not rerouted:
            self._unopened[spec.id] = spec
        return edge

    def accept(self, opening: lane_pb2.LaneOpen, refuse: Refuse) -> Edge:
        """The consumer end of an edge. Raises the error that `refuse` makes if there is none, it has a lane already, or the lane
        does not carry the key of the run."""
        if self._place.lane_key and not hmac.compare_digest(opening.lane_key, self._place.lane_key):
            lacks = "carries the key of another run" if opening.lane_key else "carries no key"
            why = f"it {lacks}. Only producers that the orchestrator of the run has placed may open its lanes"
            raise refuse(Code.PERMISSION_DENIED, "wrong-lane-key", why)
        edge = self._edges.get(opening.edge_id)
        if edge is None:
            raise refuse(Code.NOT_FOUND, "unknown-edge", "the run has no such edge here")
        own = self.types[edge.id]
        if opening.lane_type != own.wire:
            raise refuse(Code.INVALID_ARGUMENT, "lane-mismatch", f"the edge is of type {own.value}, the lane is not")
        if opening.reopen:
            if edge.reopening is None or not edge.reopening.detached or edge.ended:
                raise refuse(Code.FAILED_PRECONDITION, "not-detached", "the edge does not wait for a new lane")
            edge.reopening.reopen()
        elif edge.id in self._accepted:
            raise refuse(Code.ALREADY_EXISTS, "already-open", "the edge has a lane already")
        elif edge.reopening is not None and edge.reopening.detached:
            raise refuse(
                Code.FAILED_PRECONDITION, "producer-lost", "its producer counts as lost; the edge waits for another"
            )
        if opening.resume_from:
            if edge.committed is None:
                raise refuse(Code.FAILED_PRECONDITION, "no-resume", "the lanes of this edge cannot be resumed")
            edge.resumed_from = opening.resume_from
        self._await_no_longer(edge.id)
        return edge

    def open_none(self, edge_id: str) -> None:
        """No lane of this edge will be opened."""
        self._await_no_longer(edge_id)

    def _await_no_longer(self, edge_id: str) -> None:
        self._accepted.add(edge_id)
        if self._unopened.pop(edge_id, None) is not None and not self._unopened:
            self._opened.set()

    def grow(self, grow: node_pb2.Grow) -> None:
        """Raises the limits of a lane. Its producer gets further credit."""
        edge = self._edges.get(grow.edge_id)
        if edge is not None:
            edge.grow(grow.limit_items, grow.limit_bytes)

    async def opened(self) -> None:
        """Waits until other servers have opened all lanes that they have to, or until `stop_waiting`."""
        if self._unopened:
            await self._opened.wait()

    def stop_waiting(self) -> None:
        """Ends the wait of `opened`, whichever lanes were opened."""
        self._opened.set()

    def not_opened(self) -> list[Fault]:
        """Faults of the lanes that other servers have not opened, although every server has connected or started."""
        did = "started" if self._place.opens_lanes_at_start else "connected"
        return [
            Fault(
                code=Code.FAILED_PRECONDITION,
                reason="lane-not-opened",
                message=f'the node server "{edge.producer_server}" has {did}, but has not opened the lane {edge.id}',
                details={"server": self._server, "lane": edge.id, "component": edge.consumer},
            )
            for edge in self._unopened.values()
        ]

    def end_unopened(self) -> list[Fault]:
        """Ends the edges whose lanes were not opened in time: their consumers would wait for ever. Returns the faults."""
        self._opened.set()
        faults: list[Fault] = []
        for fault in self.not_opened():
            edge = self._edges[fault.details["lane"]]
            awaits_producer = edge.reopening is not None and edge.reopening.detached
            if not edge.ended and not edge.stopped and not awaits_producer:
                faults.append(fault)
                edge.end(fault)
        return faults

    def close(self) -> None:
        """Settles every edge: no further lane is accepted for those that wait for one."""
        for edge in self._edges.values():
            edge.settle()
            if edge.reopening is not None:
                edge.reopening.close()
