"""Group stages of ports: apply the pure rules of groups to items, edges and limits before the items are enqueued."""

from __future__ import annotations

from typing import Any

from lanemesh.faults import Code, Fault
from lanemesh.items import Envelope, Item
from lanemesh.lanes.inbox.assembler import MAX_OPEN_ITEMS, Assembler, Join, TooMuchOpen, max_open_bytes
from lanemesh.lanes.inbox.edge import Edge
from lanemesh.lanes.inbox.port import Port
from lanemesh.lanes.inbox.serializer import GroupOrder


class Assembling:
    """Assembles wholes. Pieces count as taken when they arrive; a whole counts as one item until it is taken."""

    def __init__(self, port: Port, join: Join) -> None:
        self._port = port
        self._max_bytes = max_open_bytes(join)
        self._pieces = Assembler(join, MAX_OPEN_ITEMS, self._max_bytes)

    def put(self, edge: Edge, value: Any, size: int, envelope: Envelope | None) -> None:
        """A piece has arrived."""
        edge.buffered_bytes += size
        try:
            whole = self._pieces.put(edge.id, Item(value, size, envelope))
        except TooMuchOpen as error:
            self._port.fail(self._fault("whole-too-large", _too_much(error, self._max_bytes), Code.RESOURCE_EXHAUSTED))
        except ValueError as error:
            self._port.fail(
                self._fault("bad-whole", f"got pieces that cannot be assembled: {error}", Code.INVALID_ARGUMENT)
            )
        else:
            if whole is None:
                edge.took(size)
                return
            edge.buffered_bytes += whole.size - size
            self._port.enqueue(edge, *whole)

    def edge_ended(self, edge: Edge) -> None:
        """Completes open groups: at a clean end, the pieces sent so far are the whole."""
        try:
            wholes = self._pieces.end(edge.id, clean=edge.fault is None)
        except ValueError as error:
            self._port.fail(
                self._fault("bad-whole", f"got pieces that cannot be assembled: {error}", Code.INVALID_ARGUMENT)
            )
            return
        for whole in wholes:
            edge.taken -= 1  # the last piece of it had counted as taken
            edge.buffered_bytes += whole.size
            self._port.enqueue(edge, *whole)

    def edge_stopped(self, edge: Edge) -> None:
        """Discards the pieces of the edge."""
        self._pieces.drop(edge.id)

    @property
    def open_groups(self) -> int:
        """Wholes that are not complete."""
        return self._pieces.open_groups

    @property
    def aside_items(self) -> int:
        """Pieces of incomplete wholes."""
        return self._pieces.open_items

    @property
    def failed_groups(self) -> int:
        """Wholes that were never completed, because their producers failed or were cancelled."""
        return self._pieces.failed

    def _fault(self, reason: str, what: str, code: Code) -> Fault:
        name = self._port.name
        return Fault(code=code, reason=reason, message=f'the input "{name}" {what}', details={"port": name})


def _too_much(error: TooMuchOpen, max_bytes: int) -> str:
    return (
        f"holds {error.items:,} pieces and {error.size:,} bytes of incomplete wholes; its limit is "
        f"{MAX_OPEN_ITEMS:,} pieces and {max_bytes:,} bytes. Take the pieces when they arrive, or send smaller wholes"
    )


class GroupSerializer:
    """Delivers one group after the other. Pieces of other groups are parked, and count against the limits of their edges."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._order: GroupOrder[tuple[Edge, Any, int, Envelope | None]] = GroupOrder()

    def put(self, edge: Edge, value: Any, size: int, envelope: Envelope | None) -> None:
        """An item has arrived."""
        edge.buffered_bytes += size
        group = envelope.group if envelope is not None else None
        for entry in self._order.put(edge.id, group, (edge, value, size, envelope)):
            self._port.enqueue(*entry)

    def edge_ended(self, edge: Edge) -> None:
        """Ends the groups of an edge."""
        for entry in self._order.end(edge.id):
            self._port.enqueue(*entry)

    def edge_stopped(self, edge: Edge) -> None:
        """The parked items of an edge were discarded."""
        for entry in self._order.drop(edge.id):
            self._port.enqueue(*entry)

    @property
    def open_groups(self) -> int:
        """Groups that have begun and not ended."""
        return self._order.open_groups

    @property
    def aside_items(self) -> int:
        """Parked items."""
        return self._order.parked

    @property
    def failed_groups(self) -> int:
        """Always 0: no group is left out."""
        return 0
