"""The groups that have come by an edge whose producer may be lost: what then stays open, and what comes twice. Pure."""

from __future__ import annotations

from collections import OrderedDict

from lanemesh.items import Group, GroupOutcome

MAX_ENDED = 10_000
"""Most groups that are remembered after their ends; pieces of older ones that came twice would begin them anew."""


class GroupsSeen:
    """The groups of one edge."""

    def __init__(self, *, own: bool, max_ended: int = MAX_ENDED) -> None:
        """`own`: the producer opens the groups itself, and a new one in its place begins new ones; else it passes them on."""
        self._own = own
        self._max_ended = max_ended
        self._open: dict[str, Group] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        """The places of the last pieces of groups that have ended."""
        self._lost = False
        """A producer was lost: pieces may come twice."""

    def observe(self, group: Group) -> bool:
        """Notes a piece. Returns whether it comes for the first time.

        A producer that passes on groups leaves their pieces their places, and sends each of them once: what is not behind those
        that came before the loss has come already.
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
        """The producer was lost. Returns the ends of the groups that nobody will end any more."""
        self._lost = True
        if not self._own:
            return []
        ends = [Group(group.id, group.index + 1, True, GroupOutcome.ERROR) for group in self._open.values()]
        self._open.clear()
        return ends
