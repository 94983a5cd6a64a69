"""An edge that reports every arriving item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lanemesh.items import Envelope
from lanemesh.lanes.inbox.edge import Edge
from lanemesh.lanes.inbox.port import Port

OnItem = Callable[[int, Any, int, Envelope | None], object]
"""Gets each item: its position on the lane, from 0; its value, its size in bytes, its envelope."""


class TappedEdge(Edge):
    """The consumer end of a lane whose items are reported. Other edges have no cost from it."""

    def __init__(self, edge_id: str, port: Port, on_item: OnItem, **limits: int) -> None:
        super().__init__(edge_id, port, **limits)
        self._on_item = on_item

    def put(self, value: Any, size: int, envelope: Envelope | None) -> bool:
        """Adds an item, and reports it."""
        number = self.arrived
        wanted = super().put(value, size, envelope)
        self._on_item(number, value, size, envelope)
        return wanted

    def put_plain(self, texts: list[str], overhead: int) -> None:
        """Adds many texts, and reports each."""
        number = self.arrived
        super().put_plain(texts, overhead)
        for place, text in enumerate(texts, number):
            self._on_item(place, text, len(text) + overhead, None)
