"""The recovery of components on a node host: reports committed items, and reconnects lanes whose other ends were lost."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from lanemesh.faults import Code, Fault
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.recovery.watermarks import Watermarks
from lanemesh.lanes.transport.sender import LaneSender
from lanemesh.v1 import node_pb2


class CommitTracker:
    """Tracks, for one recoverable node, the items that its producers need not keep any more."""

    def __init__(self, edges: Sequence[Edge]) -> None:
        self.senders: Sequence[LaneSender] = ()
        """Its outgoing lanes, once they exist."""
        self._edges = edges
        self._abandoned = False
        self._marks = Watermarks(len(edges))
        for number, edge in enumerate(edges):
            edge.drained = False
            edge.committed = partial(self._committed, number)

    def _committed(self, number: int) -> int:
        """How many items of one edge are processed, with all derived items out of reach of the loss of this server."""
        if self._abandoned:
            return self._marks.committed[number]
        committed = self._marks.look(
            [edge.processed for edge in self._edges],
            [sender.sent for sender in self.senders],
            [
                sys.maxsize if sender.discarded and sender.fault is None else sender.acknowledged
                for sender in self.senders
            ],
        )
        return committed[number]

    def abandon(self) -> None:
        """The node has failed or is being cancelled: nothing more is committed, because it drops what it has not sent."""
        self._abandoned = True

    def settle(self) -> None:
        """The node has ended, and its consumers have all items: its producers may end their lanes. If it was abandoned, or a lane
        of it broke, its producers have to send again what is not committed. Consumers also cut the lanes of a server that counts
        as lost and still runs."""
        abandoned = self._abandoned or any(sender.fault is not None for sender in self.senders)
        for edge in self._edges:
            edge.settle(abandoned=abandoned)


def detached(
    edge_ids: Iterable[str], senders: Mapping[str, LaneSender], incoming: Mapping[str, Edge]
) -> list[node_pb2.DetachedEdge]:
    """Detaches the lanes of edges whose other ends are lost. Returns the state of those that have an end here."""
    from lanemesh.lanes.recovery.replaying_sender import ReplayingSender

    answers: list[node_pb2.DetachedEdge] = []
    for edge_id in edge_ids:
        sender, edge = senders.get(edge_id), incoming.get(edge_id)
        if isinstance(sender, ReplayingSender):
            answers.append(sender.detach())
        elif edge is not None and sender is None:
            answers.append(_without_producer(edge))
        elif sender is not None:
            answers.append(_bound(edge_id, done=sender.stopped and sender.fault is None))
    return answers


def reroute(
    routes: Iterable[node_pb2.ReroutedEdge], ended_edges: Iterable[str], senders: Mapping[str, LaneSender]
) -> None:
    """Sends producers the new addresses of the consumers of detached edges, and reports the edges whose consumers have ended."""
    from lanemesh.lanes.recovery.replaying_sender import ReplayingSender

    for route in routes:
        sender = senders.get(route.edge_id)
        if isinstance(sender, ReplayingSender):
            sender.reroute(route)
    for edge_id in ended_edges:
        sender = senders.get(edge_id)
        if isinstance(sender, ReplayingSender):
            sender.end_consumer()


def _without_producer(edge: Edge) -> node_pb2.DetachedEdge:
    if edge.fault is not None:
        return node_pb2.DetachedEdge(edge_id=edge.id, fault=edge.fault.to_proto())
    if edge.ended or edge.stopped:
        return node_pb2.DetachedEdge(edge_id=edge.id, done=True)
    if edge.reopening is None:
        return _bound(edge.id, done=False)
    message = f"the lane {edge.id} broke: the server of its producer was lost, and no new lane was opened in time"
    edge.reopening.detach(
        Fault(code=Code.UNAVAILABLE, reason="lane-broken", message=message, details={"lane": edge.id}, secondary=True)
    )
    return node_pb2.DetachedEdge(edge_id=edge.id)


def _bound(edge_id: str, *, done: bool) -> node_pb2.DetachedEdge:
    """The report of a lane that cannot continue with another end."""
    detached_edge = node_pb2.DetachedEdge(edge_id=edge_id, done=done)
    if not done:
        message = f"the lane {edge_id} is not that of a recoverable component"
        fault = Fault(code=Code.FAILED_PRECONDITION, reason="not-recoverable", message=message, secondary=True)
        detached_edge.fault.CopyFrom(fault.to_proto())
    return detached_edge
