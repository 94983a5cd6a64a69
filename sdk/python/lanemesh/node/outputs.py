"""The producer side of a node: its outputs, each with its outgoing lanes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from lanemesh._aio.user_errors import Withdrawn
from lanemesh.codec import make_item
from lanemesh.faults import Code, Fault, LaneFault, LanemeshError
from lanemesh.items import ABSENT, ITEM_OVERHEAD_BYTES, Envelope, Item, LaneType, Lineage
from lanemesh.lanes.transport.sender import SHORT_TEXT, LaneSender, OfferText, any_capacity
from lanemesh.node.join.lineage import LaneTags, LineageTracker, SequenceTag, lineage_of, one_of_each_fork
from lanemesh.node.waits import Wait, Waits

Offers = list[tuple[LaneSender, Envelope | None]]
"""Lanes, each with the envelope of an item on it."""


class OutputLanes:
    """One output and its outgoing lanes."""

    __slots__ = (
        "check",
        "ended",
        "is_text",
        "lane_type",
        "lanes",
        "offer",
        "senders",
        "sequence_tags",
        "where",
    )

    def __init__(
        self,
        where: str,
        lane_type: LaneType,
        senders: Iterable[LaneSender],
        forks: Mapping[str, Collection[str]] | None = None,
        check: Callable[[Any], Any] | None = None,
    ) -> None:
        """`where` is "component.port"; `forks` has, by edge, the forks whose sequence tags its items carry."""
        self.where = where
        self.lane_type = lane_type
        self.is_text = lane_type is LaneType.TEXT and check is None
        self.senders = tuple(senders)
        self.lanes = list(self.senders)
        """The lanes that still accept items."""
        self.sequence_tags = LaneTags(where, forks) if forks else None
        """The sequence tags of its lanes; None for none."""
        self.offer = self.lanes[0].offer if len(self.lanes) == 1 and self.sequence_tags is None else None
        """`offer` of the only lane; None if there are none or several, or if it carries sequence tags."""
        self.check = check
        """Returns a value of the declared type, or raises LanemeshError; None if the check of the lane's type suffices."""
        self.ended = False


class Outputs:
    """The outputs through which a node emits."""

    def __init__(
        self,
        component: str,
        ports: Mapping[str, OutputLanes],
        waiting: Callable[[], AbstractAsyncContextManager[None]] | None = None,
        waits: Waits | None = None,
    ) -> None:
        """`waiting` is the context manager around each wait for capacity; `waits` records it."""
        self._component = component
        self._ports = dict(ports)
        self._waiting = waiting
        self._waits = waits or Waits()
        self._open = self._ports
        """The open outputs, which `emit` uses."""
        self.texts: dict[str, OfferText] = {
            name: out.lanes[0].text_offer()
            for name, out in self._ports.items()
            if out.is_text and out.offer is not None
        }
        """The fast path: `text_offer` of the only lane of each open output that accepts any text. If it returns False, nothing was
        sent, and `emit` does it. It is the same object as long as there are outputs."""
        self.downstream_closed = False
        """There were lanes that the node had not ended itself, and none accepts items any more."""
        self._on_closed: list[Callable[[], object]] = []
        self._refused_once = False
        self._forgotten = ""
        self.runs_to_end = False
        """The node continues when all its lanes are stopped."""
        self.sends_one = False
        """The node has declared that it sends at most one item by each output."""
        self._sent: set[str] = set()
        self.tracker: LineageTracker | None = None
        """Tracks the sequence tags that a `run` node takes, if it passes any on."""
        self.descent: Lineage | None = None
        """The lineage of a value that is emitted without a `source`."""
        for sender in self.senders:
            sender.when_stopped(self._lane_stopped)

    async def emit(
        self, port: str, value: Any, envelope: Envelope | None = None, *, source: Item | None = None
    ) -> bool:
        """Sends a value to every lane of an output, and waits until each has capacity for it.

        Args:
            port: name of the output.
            value: a value of the output's type. Lists and objects are copied, so later changes have no effect.
            envelope: group, metadata and the like, if the value has them.
            source: in `run`, the item from which the value descends, for a `join` downstream; by default the last one taken.

        Returns:
            False once no lane of the output accepts items any more, or if there is no lane.

        Raises:
            ValueRefused: the value is not of the output's type, is not JSON, or is too large.
            LaneFault: a consumer failed, or the connection to it broke.
            LanemeshError: there is no such output, or it was completed.
        """
        offer_text = self.texts.get(port)
        if offer_text is not None and not self.sends_one and offer_text(value, envelope):
            return True
        out = self._open.get(port)
        if out is None or out.ended:
            raise self._refused(port, out)
        if self.sends_one:
            self._note_sent(port)
        plain = envelope is None or envelope.metadata is None
        if plain and out.is_text and type(value) is str and len(value) < SHORT_TEXT and value.isascii():
            size = len(value) + ITEM_OVERHEAD_BYTES
        else:
            value, size, envelope = make_item(out.lane_type, value, envelope, where=out.where)
            if out.check is not None and value is not ABSENT:
                value = out.check(value)
        if out.offer is not None:
            if out.offer(value, size, envelope):
                return True
            return await self._deliver(out, [(lane, envelope) for lane in out.lanes], value, size)
        lineage = self._descent(envelope, source) if out.sequence_tags is not None else None
        return await self._offer_all(out, value, size, envelope, lineage)

    async def send(self, port: str, value: Any, envelope: Envelope | None, lineage: Lineage | None) -> bool:
        """Like `emit`, for a value with a known lineage, including the sequence tags that it completes."""
        out = self._open.get(port)
        if out is None or out.ended:
            raise self._refused(port, out)
        value, size, envelope = make_item(out.lane_type, value, envelope, where=out.where)
        if out.check is not None and value is not ABSENT:
            value = out.check(value)
        return await self._offer_all(out, value, size, envelope, lineage)

    async def done_with(self, item: Item) -> None:
        """In `run`: no further value that descends from an item will be emitted.

        A `join` downstream is notified, and need not keep its siblings until this node ends. Has no effect if there is no `join`.
        """
        if self.tracker is not None:
            self.tracker.finished(lineage_of(item))
            await self.emit_completion(self.tracker.take_completed())

    async def emit_completion(
        self, tags: Sequence[SequenceTag], closed: Mapping[str, Collection[SequenceTag]] | None = None
    ) -> None:
        """Reports by every output that these sequence tags are completed, except those that it has already reported
        (`closed`)."""
        for name, out in self._ports.items():
            if out.sequence_tags is None or out.ended:
                continue
            known = closed.get(name, ()) if closed is not None else ()
            fresh = [one for one in tags if one[0] in out.sequence_tags.passed_on and one not in known]
            for forks in one_of_each_fork(fresh):
                full = _offer_tagged(out, ABSENT, ITEM_OVERHEAD_BYTES, None, Lineage(forks, frozenset(forks)))
                if full:
                    await self._as_capacity_allows(out, full, ABSENT, ITEM_OVERHEAD_BYTES)

    def put(self, port: str, value: Any, envelope: Envelope | None = None) -> bool:
        """Sends a short text if the only lane of the output has capacity for it now. False: nothing was sent, use `emit`."""
        offer_text = self.texts.get(port)
        return offer_text is not None and offer_text(value, envelope)

    def _descent(self, envelope: Envelope | None, source: Item | None) -> Lineage | None:
        """The lineage of a value that `run` emits. `done_with` reports whether it is the last one of its sequence tags."""
        lineage = lineage_of(source) if source is not None else envelope.lineage if envelope is not None else None
        if lineage is None:
            return self.descent if source is None else None
        return Lineage(lineage.forks) if lineage.done else lineage

    async def _offer_all(
        self, out: OutputLanes, value: Any, size: int, envelope: Envelope | None, lineage: Lineage | None
    ) -> bool:
        """Offers an item once to every lane of an output, and delivers it to the full ones. Returns as `emit` does."""
        if out.sequence_tags is None:
            full = [(lane, envelope) for lane in out.lanes if not lane.offer(value, size, envelope)]
        else:
            full = _offer_tagged(out, value, size, envelope, lineage)
        if not full and out.lanes:
            return True
        return await self._deliver(out, full, value, size)

    async def _deliver(self, out: OutputLanes, full: Offers, value: Any, size: int) -> bool:
        """Sends an item to the lanes that were full when it was offered to them. Returns as `emit` does."""
        if full:
            await self._as_capacity_allows(out, full, value, size)
        if not out.lanes and out.senders:
            await self._unwanted()
        return bool(out.lanes)

    async def _as_capacity_allows(self, out: OutputLanes, full: Offers, value: Any, size: int) -> None:
        """Sends an item to each of several full lanes as soon as that lane has capacity, because one lane may depend on another.
        Stopped lanes are left out."""
        while full:
            lanes = [lane for lane, _ in full]
            with self._waits.waiting(Wait(full_edges=tuple(lane.edge_id for lane in lanes))):
                if self._waiting is None:
                    await any_capacity(lanes)
                else:
                    async with self._waiting():
                        await any_capacity(lanes)
            full = [
                (lane, envelope)
                for lane, envelope in full
                if not lane.stopped and not lane.offer(value, size, envelope)
            ]
        for lane in out.lanes:
            if lane.stopped and lane.fault is not None:
                raise LaneFault(lane.fault.as_secondary(port=out.where))
        out.lanes = [lane for lane in out.lanes if not lane.stopped]

    async def _unwanted(self) -> None:
        """Closes a body that continues to emit after the return value False."""
        if self.closes_node:
            if self._refused_once:
                raise Withdrawn("every lane of this node was stopped")
            self._refused_once = True
        await asyncio.sleep(0)

    @property
    def names(self) -> list[str]:
        """The connected outputs."""
        return [name for name, out in self._ports.items() if out.senders]

    def lane_type(self, port: str) -> LaneType | None:
        """The type of an output's lanes; None if there is no such output, or it is neither connected nor declared."""
        out = self._ports.get(port)
        return out.lane_type if out is not None else None

    async def complete(self, port: str) -> None:
        """Ends this node's lanes of one output. Nothing can be emitted by it afterwards."""
        out = self._ports.get(port)
        if out is None:
            raise self._refused(port, out)
        self._end(port, out, None)
        self.downstream_closed = self.downstream_closed or self._all_stopped()

    def end(self, fault: Fault | None = None) -> None:
        """Ends every open output."""
        for name, out in self._ports.items():
            self._end(name, out, fault)

    def _end(self, name: str, out: OutputLanes, fault: Fault | None) -> None:
        if not out.ended:
            out.ended = True
            self.texts.pop(name, None)
            for sender in out.senders:
                sender.end(fault)

    @property
    def forks(self) -> list[Collection[str]]:
        """The forks whose sequence tags each lane carries, for the lanes that carry any."""
        return [
            forks
            for out in self._ports.values()
            if out.sequence_tags is not None
            for forks in out.sequence_tags.forks.values()
        ]

    @property
    def senders(self) -> list[LaneSender]:
        """The lanes of all outputs."""
        return [sender for out in self._ports.values() for sender in out.senders]

    @property
    def closes_node(self) -> bool:
        """No consumer takes further outputs, and the node does not have `runs_to_end`."""
        return self.downstream_closed and not self.runs_to_end

    @property
    def downstream_fault(self) -> Fault | None:
        """The fault of a consumer or a connection that stopped the last lane, reported as a consequence."""
        if not self._all_stopped():
            return None
        return next((sender.fault.as_secondary() for sender in self.senders if sender.fault is not None), None)

    def when_downstream_closed(self, call: Callable[[], object]) -> None:
        """Calls `call` when the last lane was stopped."""
        if self.downstream_closed:
            call()
        else:
            self._on_closed.append(call)

    def _lane_stopped(self) -> None:
        if self._all_stopped():
            self.downstream_closed = True
            calls, self._on_closed = self._on_closed, []
            for call in calls:
                call()

    def _all_stopped(self) -> bool:
        """There are lanes that the node has not ended itself, and none accepts items any more."""
        wanted = [sender for out in self._ports.values() if not out.ended for sender in out.senders]
        return bool(wanted) and all(sender.stopped for sender in wanted)

    async def closed(self) -> None:
        """Waits until every lane's consumer has taken or discarded all items."""
        senders = self.senders
        if len(senders) == 1:
            await senders[0].closed()
        else:
            await asyncio.gather(*(sender.closed() for sender in senders))

    def missing_await(self, port: str) -> None:
        """An `emit` was called and not awaited, so it had no effect. The next one fails, or `check_awaited` does."""
        self._forgotten = port
        self._open = {}
        self.texts.clear()

    def check_awaited(self) -> None:
        """Raises LanemeshError if an `emit` was not awaited."""
        if self._forgotten:
            raise self._not_awaited()

    def _not_awaited(self) -> LanemeshError:
        message = (
            f'{self._component} called outputs.emit("{self._forgotten}", ...) without `await`, so nothing was sent: '
            f'write `await outputs.emit("{self._forgotten}", ...)`'
        )
        details = {"component": self._component, "port": self._forgotten}
        return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="not-awaited", message=message, details=details))

    def _note_sent(self, port: str) -> None:
        if port in self._sent:
            message = (
                f'{self._component} emitted a second item by its output "{port}", but its sends_one permits '
                "one at most: emit once, or set it to False"
            )
            details = {"component": self._component, "port": port}
            raise LanemeshError(
                Fault(code=Code.INVALID_ARGUMENT, reason="second-item", message=message, details=details)
            )
        self._sent.add(port)

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


def _offer_tagged(
    out: OutputLanes, value: Any, size: int, envelope: Envelope | None, lineage: Lineage | None
) -> Offers:
    """Offers an item, with a separate envelope, to each lane. Returns the full lanes. A lane without an envelope for an item
    without a value gets none."""
    assert out.sequence_tags is not None
    envelopes = out.sequence_tags.envelopes(envelope, lineage, valued=value is not ABSENT)
    offers = [(lane, envelopes[lane.edge_id if lane.edge_id in envelopes else ""]) for lane in out.lanes]
    if value is ABSENT:
        offers = [(lane, envelope) for lane, envelope in offers if envelope is not None]
    return [(lane, envelope) for lane, envelope in offers if not lane.offer(value, size, envelope)]
