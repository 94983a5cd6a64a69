"""Numbers through a node that reads its own inputs: from what its values descend, unless it says so itself."""

from __future__ import annotations

from collections.abc import Collection

from lanemesh.items import ABSENT, Item, Lineage
from lanemesh.node.join.lineage import LineageTracker, lineage_of
from lanemesh.node.outputs import Outputs


class Tracking:
    """Sees every item that a `run` node takes.

    What it emits descends from the item that it took last. Numbers that end without an item for the node are handed on as ended;
    of all others only the node knows when it has done with them: `outputs.done_with(item)`.
    """

    def __init__(self, tracker: LineageTracker, outputs: Outputs, carrying: Collection[str]) -> None:
        """`carrying`: the inputs whose items have numbers."""
        self._tracker = tracker
        self._outputs = outputs
        self._carrying = carrying
        outputs.tracker = tracker

    async def took(self, port: str, item: Item) -> None:
        """The node has taken an item, or one without a value has come."""
        if port not in self._carrying:
            return
        lineage = lineage_of(item)
        valued = item.value is not ABSENT
        if valued:
            self._outputs.descent = Lineage(lineage.forks) if lineage is not None else None
        self._tracker.took(lineage, valued=valued)
        if self._tracker.closed:
            await self._outputs.emit_completion(self._tracker.take_completed())
