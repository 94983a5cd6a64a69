"""What arrives on one lane over gRPC, put into its edge: items, chunks of media, and the end. No call, no waiting."""

from __future__ import annotations

from collections.abc import Callable

from lanemesh.faults import Code, Fault
from lanemesh.items import ITEM_OVERHEAD_BYTES, MAX_MEDIA_BYTES, LaneType
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.lanes.transport.frames import plain_texts, read_items
from lanemesh.v1 import lane_pb2


class ProtocolViolation(Exception):
    """A frame violates the protocol of the lane. Only the lane fails."""


class Intake:
    """Puts the content of one lane into an edge of an inbox."""

    def __init__(self, edge: Edge, lane_type: LaneType, *, peer: str, cancelling: Callable[[], bool]) -> None:
        """`peer` is the address of the producer, for faults. `cancelling` returns whether the run is being cancelled."""
        self.received = 0
        """Items that have arrived on the lane."""
        self._edge = edge
        self._lane_type = lane_type
        self._peer = peer
        self._cancelling = cancelling
        self._inherited = edge.buffered_items
        """Items that an earlier lane of the edge had delivered and that were waiting when this lane was opened."""
        self._chunks = bytearray()
        """The chunks that have arrived of the next item: one buffer, since they may be of any number and size."""

    def take_in(self, items: lane_pb2.LaneItems) -> bool:
        """Items, and the end if it is with them. Returns whether the end reports the loss of the producer, as `end` does.

        Raises:
            ProtocolViolation: too many items are in transit, they come after the end, or one is no item of the lane's type.
        """
        if not items.HasField("end"):
            self._take_items(items)
            return False
        end = lane_pb2.LaneEnd()
        end.CopyFrom(items.end)
        items.ClearField("end")
        if items.items:
            self._take_items(items)
        return self.end(end)

    def take_chunk(self, content: bytes) -> None:
        """A leading part of a media value, or of a document's file. Raises ProtocolViolation if the value is too large."""
        if self._edge.stopped:
            self._chunks.clear()
            return
        if len(self._chunks) + len(content) > MAX_MEDIA_BYTES:
            raise ProtocolViolation(f"more than {MAX_MEDIA_BYTES:,} bytes of chunks arrived for one item")
        self._chunks += content

    def end(self, end: lane_pb2.LaneEnd) -> bool:
        """The end of the lane, which ends the edge. Returns True if it reports the loss of a recoverable producer instead: the edge
        waits for another lane, unless it has ended.

        Raises:
            ProtocolViolation: chunks came without their item.
        """
        edge = self._edge
        if edge.ended:
            return False
        fault = Fault.from_proto(end.outcome).as_secondary(lane=edge.id) if end.outcome.code else None
        if fault is not None and fault.code is Code.CANCELLED and edge.reopening is not None and not self._cancelling():
            # Its server, or an attempt to place it again, was abandoned, but the run was not: the effect is that of a loss.
            edge.reopening.lane_lost(fault)
            return True
        if fault is None and self._chunks and not edge.stopped:
            raise ProtocolViolation("the end arrived after chunks without their item")
        if fault is None and end.item_count != self.received:
            fault = self.fault(Code.DATA_LOSS, f"{self.received} of {end.item_count} items arrived")
        edge.end(fault)
        return False

    def fault(self, code: Code, why: str) -> Fault:
        """The fault of the lane if it breaks for this reason."""
        if self._cancelling():
            code = Code.CANCELLED
        return Fault(
            code=code,
            reason="lane-broken",
            message=f"the lane {self._edge.id} broke: {why}",
            details={"lane": self._edge.id, "peer": self._peer},
            secondary=True,
        )

    def _take_items(self, items: lane_pb2.LaneItems) -> None:
        edge = self._edge
        if edge.ended:
            raise ProtocolViolation("items arrived after the end")
        count = len(items.items)
        self.received += count
        if edge.stopped:
            edge.arrived += count
            edge.discarded += count
            self._chunks.clear()
            return
        under_way = edge.buffered_items + count
        if under_way > edge.limit_items + self._inherited:
            raise ProtocolViolation(f"{under_way} items are in transit; the limit is {edge.limit_items}")
        texts = plain_texts(items) if self._lane_type is LaneType.TEXT and not self._chunks else None
        if texts is not None:
            edge.put_plain(texts, ITEM_OVERHEAD_BYTES)
            return
        try:
            chunks, self._chunks = self._chunks, bytearray()
            for item in read_items(self._lane_type, items, chunks):
                edge.put(*(item if edge.reopening is None else edge.reopening.first(item)))
        except ValueError as error:
            raise ProtocolViolation(str(error)) from None
