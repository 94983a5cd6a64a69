"""The producer side of a node: its outputs, each with the lanes that leave by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from lanemesh.lanes.faults import Code, Fault, LaneFault, LanemeshError
from lanemesh.lanes.items import ITEM_OVERHEAD_BYTES, Envelope, LaneType, make_item
from lanemesh.lanes.sender import LaneSender, any_room
from lanemesh.node.waits import Wait, Waits

_PLAIN_TEXT = 64 * 1024
"""Longest text in characters that `emit` takes without a closer look."""


class OutputLanes:
    """One output and the lanes that leave by it."""

    __slots__ = ("ended", "is_text", "lane_type", "lanes", "offer", "senders", "where")

    def __init__(self, where: str, lane_type: LaneType, senders: Iterable[LaneSender]) -> None:
        self.where = where
        self.lane_type = lane_type
        self.is_text = lane_type is LaneType.TEXT
        self.senders = tuple(senders)
        self.lanes = list(self.senders)
        """Those that still take items."""
        self.offer = self.lanes[0].offer if len(self.lanes) == 1 else None
        """Offers to the only lane; None if there are none or several."""
        self.ended = False


class Outputs:
    """What a node emits through."""

    def __init__(
        self,
        component: str,
        ports: Mapping[str, OutputLanes],
        waiting: Callable[[], AbstractAsyncContextManager[None]] | None = None,
        waits: Waits | None = None,
    ) -> None:
        """`waiting` goes around each wait for room; `waits` is told of it."""
        self._component = component
        self._ports = dict(ports)
        self._waiting = waiting
        self._waits = waits or Waits()
        self._open = self._ports
        """What `emit` sees of them."""
        self._told = False
        self._forgotten = ""
        self.runs_to_end = False
        """The node goes on when all its lanes are stopped."""

    async def emit(self, port: str, value: Any, envelope: Envelope | None = None) -> bool:
        """Sends a value to every lane of an output, and waits until each has room for it.

        Args:
            port: name of the output.
            value: a value of the output's type. Lists and objects are copied: later changes are seen by nobody.
            envelope: group, metadata and the like, if the value has them.

        Returns:
            False once no lane of the output takes anything any more, or if none ever did.

        Raises:
            ValueRefused: the value is not of the output's type, is no JSON, or is too large.
            LaneFault: a consumer failed, or the connection to it broke.
            LanemeshError: there is no such output, or it was completed.
        """
        out = self._open.get(port)
        if out is None or out.ended:
            raise self._refused(port, out)
        plain = envelope is None or envelope.metadata is None
        if plain and out.is_text and type(value) is str and len(value) < _PLAIN_TEXT and value.isascii():
            size = len(value) + ITEM_OVERHEAD_BYTES
        else:
            value, size, envelope = make_item(out.lane_type, value, envelope, where=out.where)
        if out.offer is not None and out.offer(value, size, envelope):
            return True
        return await self._emit_to_each(out, value, size, envelope)

    def put(self, port: str, value: Any, envelope: Envelope | None = None) -> bool:
        """Sends a short text if the only lane of the output has room for it now. False: nothing was sent, `emit` does it."""
        out = self._open.get(port)
        if out is None or not out.is_text or out.ended or out.offer is None:
            return False
        if type(value) is not str or len(value) >= _PLAIN_TEXT or not value.isascii():
            return False
        if envelope is not None and envelope.metadata is not None:
            return False
        return out.offer(value, len(value) + ITEM_OVERHEAD_BYTES, envelope)

    async def _emit_to_each(self, out: OutputLanes, value: Any, size: int, envelope: Envelope | None) -> bool:
        full = [lane for lane in out.lanes if not lane.offer(value, size, envelope)]
        if full:
            while full:  # each lane gets the value as soon as it has room: what waits behind one may depend on another
                with self._waits.waiting(Wait(full_edges=tuple(lane.edge_id for lane in full))):
                    if self._waiting is None:
                        await any_room(full)
                    else:
                        async with self._waiting():
                            await any_room(full)
                full = [lane for lane in full if not lane.stopped and not lane.offer(value, size, envelope)]
            self._forget_stopped(out)
        if not out.lanes and out.senders:
            await self._unwanted()
        return bool(out.lanes)

    async def _unwanted(self) -> None:
        """Closes a body that goes on emitting though it was told that nobody takes anything any more."""
        if self.deserted and not self.runs_to_end:
            if self._told:
                raise asyncio.CancelledError("every lane of this node was stopped")
            self._told = True
        await asyncio.sleep(0)

    def _forget_stopped(self, out: OutputLanes) -> None:
        for lane in out.lanes:
            if lane.stopped and lane.fault is not None:
                raise LaneFault(lane.fault.as_secondary(port=out.where))
        out.lanes = [lane for lane in out.lanes if not lane.stopped]

    def lane_type(self, port: str) -> LaneType | None:
        """The type of an output's lanes; None if there is no such output, or it leads nowhere and was not declared."""
        out = self._ports.get(port)
        return out.lane_type if out is not None else None

    async def complete(self, port: str) -> None:
        """Ends this node's lanes of one output. Nothing can be emitted there any more."""
        out = self._ports.get(port)
        if out is None:
            raise self._refused(port, out)
        self._end(out, None)

    def end(self, fault: Fault | None = None) -> None:
        """Ends every output that has not ended yet."""
        for out in self._ports.values():
            self._end(out, fault)

    def _end(self, out: OutputLanes, fault: Fault | None) -> None:
        if not out.ended:
            out.ended = True
            for sender in out.senders:
                sender.end(fault)

    @property
    def senders(self) -> list[LaneSender]:
        """The lanes of all outputs."""
        return [sender for out in self._ports.values() for sender in out.senders]

    @property
    def deserted(self) -> bool:
        """There were lanes that the node has not ended itself, and none takes anything any more."""
        wanted = [sender for out in self._ports.values() if not out.ended for sender in out.senders]
        return bool(wanted) and all(sender.stopped for sender in wanted)

    @property
    def deserted_because(self) -> Fault | None:
        """The fault of a consumer or a connection by which it came to be deserted, as its consequence tells it."""
        if not self.deserted:
            return None
        return next((sender.fault.as_secondary() for sender in self.senders if sender.fault is not None), None)

    def when_deserted(self, call: Callable[[], object]) -> None:
        """Calls `call` when the last lane was stopped."""

        def stopped() -> None:
            if self.deserted:
                call()

        for sender in self.senders:
            sender.when_stopped(stopped)

    async def closed(self) -> None:
        """Waits until every lane's consumer has taken or discarded all."""
        await asyncio.gather(*(sender.closed() for sender in self.senders))

    def forgot_await(self, port: str) -> None:
        """An `emit` was called and not awaited, so that it has done nothing. The next one fails, or `check_awaited` does."""
        self._forgotten = port
        self._open = {}

    def check_awaited(self) -> None:
        """Raises LanemeshError if an `emit` was not awaited."""
        if self._forgotten:
            raise self._not_awaited()

    def _not_awaited(self) -> LanemeshError:
        message = (
            f'{self._component} called outputs.emit("{self._forgotten}", ...) without `await`, so that nothing was sent: '
            f'write `await outputs.emit("{self._forgotten}", ...)`'
        )
        details = {"component": self._component, "port": self._forgotten}
        return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="not-awaited", message=message, details=details))

    def _refused(self, port: str, out: OutputLanes | None) -> LanemeshError:
        if self._forgotten:
            return self._not_awaited()
        known = ", ".join(self._ports) or "none"
        what = f'has no output "{port}"; its outputs: {known}' if out is None else f'has completed its output "{port}"'
        return LanemeshError(
            Fault(
                code=Code.INVALID_ARGUMENT,
                reason="unknown-port" if out is None else "port-completed",
                message=f"{self._component} {what}",
                details={"component": self._component, "port": port},
            )
        )
