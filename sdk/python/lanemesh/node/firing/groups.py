"""Groups: the pieces of one firing are marked as one whole, and every opened group is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from lanemesh.faults import LanemeshError
from lanemesh.items import ABSENT, Envelope, Group, GroupOutcome
from lanemesh.node.outputs import Outputs
from lanemesh.values import Answer

CLOSE_SECONDS = {GroupOutcome.ERROR: 1.0, GroupOutcome.CANCELLED: 0.25}
"""How long the ends of groups wait for capacity if their node failed or was cancelled. Otherwise they wait like any item. After
that, the fault that ends the lane has the same effect."""


class FiringGroups:
    """The groups of one firing of a generator: one per output whose items are pieces."""

    def __init__(self, opener: str, firing: int, outputs: Outputs) -> None:
        """`opener` and `firing` make the group names unique within the run."""
        self._opener = opener
        self._firing = firing
        self._outputs = outputs
        self._latest: dict[str, Group] = {}

    def piece(self, port: str, value: Any) -> Envelope:
        """The envelope of the next piece. An answer's finish reason ends its group; the next piece starts another group."""
        previous = self._latest.get(port)
        last = isinstance(value, Answer) and bool(value.finish_reason)
        if previous is None:
            group = Group(f"{self._opener}.{port}.{self._firing}", 0, last)
        elif previous.last:
            group = Group(f"{previous.id}+", 0, last)
        else:
            group = Group(previous.id, previous.index + 1, last)
        self._latest[port] = group
        return Envelope(group=group)

    async def close(self, outcome: GroupOutcome) -> None:
        """Ends every open group by an item without a value."""
        while self._latest:
            port, group = self._latest.popitem()
            if not group.last:
                await _end(self._outputs, port, group, outcome)


class KeptGroups:
    """The groups that a node passes on piece by piece, from its inputs to its outputs."""

    def __init__(self, outputs: Outputs, *, resumed: bool = False) -> None:
        """`resumed`: the lost predecessor of this node may have passed on earlier pieces of a group."""
        self._outputs = outputs
        self._resumed = resumed
        self._open: dict[tuple[str, str], Group] = {}

    async def pass_on(self, group: Group, sent: Collection[str] = ()) -> None:
        """Notes that a piece was taken, and `sent` by these outputs. If it was the last piece, the outputs that sent earlier pieces
        and not this one get the end of the group as a separate item."""
        for port in sent:
            self._open[port, group.id] = group
        if not group.last:
            return
        ports = [port for port, identity in self._open if identity == group.id]
        for port in {*ports, *self._outputs.names} if self._resumed else ports:
            self._open.pop((port, group.id), None)
            if port not in sent and not self._outputs.downstream_closed:
                await self._outputs.emit(port, ABSENT, Envelope(group=group))

    async def close(self, outcome: GroupOutcome) -> None:
        """Ends every group whose last piece did not arrive."""
        while self._open:
            (port, _), group = self._open.popitem()
            await _end(self._outputs, port, group, outcome)


async def _end(outputs: Outputs, port: str, group: Group, outcome: GroupOutcome) -> None:
    if outputs.downstream_closed:
        return
    end = Envelope(group=Group(group.id, group.index + 1, True, outcome))
    if outcome is GroupOutcome.OK:
        await outputs.emit(port, ABSENT, end)
        return
    with suppress(TimeoutError, LanemeshError):  # another error is already being raised
        async with asyncio.timeout(CLOSE_SECONDS[outcome]):
            await outputs.emit(port, ABSENT, end)
