"""An edge whose producer is recoverable: it outlives its lane, and waits for another one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from lanemesh.faults import Fault
from lanemesh.items import ABSENT, ITEM_OVERHEAD_BYTES, Envelope, Group, GroupOutcome, Item
from lanemesh.lanes.inbox.edge import Edge
from lanemesh.protocol import DETACHED_SECONDS, UNSAID_SECONDS

MAX_ENDED = 10_000
"""Most ended groups that are remembered. A repeated piece of an older group would start that group again."""


class GroupsSeen:
    """The groups of one edge."""

    def __init__(self, *, own: bool, max_ended: int = MAX_ENDED) -> None:
        """`own`: the producer opens the groups itself, and its successor opens new ones. Otherwise it passes groups on."""
        self._own = own
        self._max_ended = max_ended
        self._open: dict[str, Group] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        """The positions of the last pieces of ended groups."""
        self._lost = False
        """A producer was lost: pieces may arrive twice."""

    def observe(self, group: Group) -> bool:
        """Notes a piece. Returns whether it arrives for the first time.

        A producer that passes groups on keeps the positions of their pieces, and sends each piece once. So a piece that is not
        behind those that arrived before the loss has arrived already.
        """
        if self._lost and not self._own:
            known = self._open.get(group.id)
            latest = known.index if known is not None else self._ended.get(group.id, -1)
            if group.index <= latest:
                return False
        if not group.last:
            self._open[group.id] = group
            return True
        self._open.pop(group.id, None)
        if not self._own:
            self._ended[group.id] = group.index
            if len(self._ended) > self._max_ended:
                self._ended.popitem(last=False)
        return True

    def lost(self) -> list[Group]:
        """The producer was lost. Returns the ends of the groups that have no producer to end them."""
        self._lost = True
        if not self._own:
            return []
        ends = [Group(group.id, group.index + 1, True, GroupOutcome.ERROR) for group in self._open.values()]
        self._open.clear()
        return ends


class Reopening:
    """The recovery state of such an edge.

    A lane that breaks leaves the edge open: for 25 s until the orchestrator reports that the producer's server is lost, and for
    11 min after that until a new lane is opened. After that the edge ends with the fault of its lane.
    """

    def __init__(self, edge: Edge, *, own_groups: bool) -> None:
        """`own_groups`: the producer opens the groups of its items itself."""
        self.detached = False
        """The producer's server is lost, and a new lane may be opened."""
        self.cut: Callable[[], None] | None = None
        """Cuts the present lane, where there is one."""
        self._edge = edge
        self._groups = GroupsSeen(own=own_groups)
        self._fault: Fault | None = None
        self._timer: asyncio.TimerHandle | None = None

    def lane_lost(self, fault: Fault) -> None:
        """The lane broke before its end."""
        self.cut = None
        self._fault = fault
        if not self.detached:
            self._wait(UNSAID_SECONDS)

    def detach(self, fault: Fault) -> None:
        """The producer's server is lost, because of `fault`. The present lane, if there is one, is cut."""
        self.detached = True
        self._fault = fault
        self._wait(DETACHED_SECONDS)
        cut, self.cut = self.cut, None
        if cut is not None:
            cut()

    def reopen(self) -> None:
        """A new lane is opened. Groups that the lost producer left open end with an error before its items."""
        self.close()
        self.detached = False
        for end in self._groups.lost():
            self._edge.put(ABSENT, ITEM_OVERHEAD_BYTES, Envelope(group=end))
        self._edge.base = self._edge.arrived

    def first(self, item: Item) -> Item:
        """Returns the item itself, or an item without a value if it had arrived before its producer was lost, so that items keep
        their positions."""
        group = item.envelope.group if item.envelope is not None else None
        if group is None or self._groups.observe(group):
            return item
        return Item(ABSENT, ITEM_OVERHEAD_BYTES, None)

    def close(self) -> None:
        """Ends the wait for a lane."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        self.close()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self.detached = False
        self._edge.end(self._fault)
