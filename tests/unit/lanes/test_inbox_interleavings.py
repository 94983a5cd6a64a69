"""Any interleaving of puts, takes, holds, ends, stops, growths and cancellations, beside a naive inbox that is a mere list.

Nothing may be lost, doubled, out of order or over its limit, and nobody may wait for what is there.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.items import Item, LaneType
from lanemesh.lanes.inbox.inbox import Edge, Held, Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.outputs import OutputLanes, Outputs

from repeats import times

EDGES = {"a1": "a", "a2": "a", "a3": "a", "b1": "b"}
"""Edges and their ports."""
FAULT = Fault(code=Code.UNKNOWN, reason="node-error", message="no")


class Waiting(NamedTuple):
    """An item of the naive inbox."""

    port: str
    edge: str
    number: int


class Play:
    """The inbox under test, the naive one, and who produces and takes."""

    def __init__(self, limits: list[int]) -> None:
        self.inbox = Inbox(["a", "b", "empty"])
        self.edges: dict[str, Edge] = {}
        self.senders: dict[str, Outputs] = {}
        for (name, port), limit in zip(EDGES.items(), limits, strict=True):
            edge = self.edges[name] = self.inbox.add_edge(name, port, limit_items=limit)
            lanes = OutputLanes(name, LaneType.DATA, [MemorySender(edge)])
            self.senders[name] = Outputs("p", {"out": lanes})
        self.waiting: list[Waiting] = []
        self.held: list[tuple[Held, Waiting]] = []
        self.numbers = dict.fromkeys(EDGES, 0)
        self.producers: dict[str, asyncio.Task[None]] = {}
        self.takers: dict[asyncio.Task[None], str] = {}
        self.faults: set[str] = set()
        """Ports of which a producer has failed whose items were still wanted."""
        self.surprises: list[str] = []

    def expect(self, truth: bool, what: str) -> None:
        if not truth:
            self.surprises.append(what)

    def do(self, act: str, edge: str, which: int) -> None:
        """One step. None of them waits."""
        getattr(self, act)(edge, which)
        for name, one in self.edges.items():
            self.expect(one.buffered_items <= one.limit_items, f"{name} is over its limit")

    def emit(self, edge: str, which: int) -> None:
        if edge not in self.producers and not self.edges[edge].ended:
            producer = self.producers[edge] = asyncio.create_task(self._emit(edge))
            producer.add_done_callback(lambda _: self.producers.pop(edge))

    async def _emit(self, edge: str) -> None:
        number = self.numbers[edge] = self.numbers[edge] + 1
        if await self.senders[edge].emit("out", number):
            self.waiting.append(Waiting(EDGES[edge], edge, number))
        else:
            self.expect(self.edges[edge].stopped, f"{edge} refused an item")

    def take(self, edge: str, which: int) -> None:
        port = ("a", "b", "empty", "any")[which % 4]
        taker = asyncio.create_task(self._take(port))
        self.takers[taker] = port
        taker.add_done_callback(self.takers.pop)

    async def _take(self, port: str) -> None:
        stream = self.inbox.iter_items() if port == "any" else self.inbox.stream(port)
        async with aclosing(stream) as items:
            try:
                taken = await anext(items)
            except StopAsyncIteration:
                self.expect(self.over(port) and not self.first(port), f"{port} ended early")
                return
            except LaneFault:
                self.expect(self.failed(port) and not self.first(port), f"{port} failed early")
                return
            first = self.first(port)
            value = taken[1].value if isinstance(taken, tuple) and isinstance(taken[1], Item) else taken
            self.expect(first is not None and value == first.number, f"{value} of {port} was taken, and not {first}")
            if first is not None:
                self.waiting.remove(first)

    def hold(self, edge: str, which: int) -> None:
        first = self.first(EDGES[edge])
        if first is not None:
            self.held.append((self.inbox.port(first.port).hold(), first))
            self.waiting.remove(first)

    def take_held(self, edge: str, which: int) -> None:
        if self.held:
            held, item = self.held.pop(which % len(self.held))
            self.expect(held.take().value == item.number, "what was held is something else")

    def cancel_taker(self, edge: str, which: int) -> None:
        if self.takers:
            list(self.takers)[which % len(self.takers)].cancel()

    def cancel_producer(self, edge: str, which: int) -> None:
        if edge in self.producers:
            self.producers[edge].cancel()

    def end(self, edge: str, which: int) -> None:
        one = self.edges[edge]
        if edge not in self.producers:
            if which % 4 == 0 and not one.ended and not one.stopped:
                self.faults.add(one.port.name)
            one.end(FAULT if which % 4 == 0 else None)

    def stop(self, edge: str, which: int) -> None:
        self.edges[edge].stop("enough")
        self.waiting = [item for item in self.waiting if item.edge != edge]

    def grow(self, edge: str, which: int) -> None:
        self.edges[edge].grow(self.edges[edge].limit_items + which, 0)

    def first(self, port: str) -> Waiting | None:
        return next((item for item in self.waiting if port in (item.port, "any")), None)

    def over(self, port: str) -> bool:
        return all(edge.ended or edge.stopped for edge in self.edges.values() if port in (edge.port.name, "any"))

    def failed(self, port: str) -> bool:
        return port in self.faults or (port == "any" and bool(self.faults))

    def check(self) -> None:
        """When nothing moves, everything is accounted for, and no task waits without need."""
        for name, edge in self.edges.items():
            there = [item for item in self.waiting if item.edge == name]
            holding = [item for _, item in self.held if item.edge == name and not edge.stopped]
            self.expect(edge.buffered_items == len(there) + len(holding), f"{name} counts something else")
            self.expect(edge.arrived == edge.taken + edge.discarded + edge.buffered_items, f"{name} lost count")
            self.expect(name not in self.producers or (edge.full and not edge.stopped), f"{name}'s producer is stuck")
        for port in self.takers.values():
            idle = not self.first(port) and not self.over(port) and not self.failed(port)
            self.expect(idle, f"a taker of {port} is stuck")
        assert not self.surprises, self.surprises

    async def leave(self) -> None:
        """Closing wakes everyone, and nothing is left of them."""
        self.inbox.stop("over")
        await settle()
        assert not self.producers
        assert not self.takers
        assert not any(port.statistics().waiters for port in self.inbox.ports.values())


async def settle() -> None:
    """Lets everybody run as far as they can."""
    for _ in range(12):
        await asyncio.sleep(0)


ACTS = (
    "emit",
    "emit",
    "emit",
    "emit",
    "take",
    "take",
    "take",
    "hold",
    "take_held",
    "cancel_taker",
    "cancel_producer",
    "grow",
    "end",
    "stop",
)
STEPS = st.lists(
    st.tuples(st.sampled_from(ACTS), st.sampled_from(sorted(EDGES)), st.integers(0, 7), st.integers(0, 3)),
    min_size=30,
    max_size=60,
)


@pytest.mark.conformance("INBOX-02", "INBOX-06", "INBOX-07", "INBOX-10")
@pytest.mark.many
@settings(max_examples=times(150, 25), deadline=None)
@given(limits=st.lists(st.integers(1, 3), min_size=4, max_size=4), steps=STEPS)
def test_nothing_is_lost_doubled_over_its_limit_or_stuck(
    limits: list[int], steps: list[tuple[str, str, int, int]]
) -> None:
    async def play() -> None:
        stage = Play(limits)
        for act, edge, which, turns in steps:
            stage.do(act, edge, which)
            for _ in range(turns):  # with none, the next step comes before anybody has seen this one
                await asyncio.sleep(0)
            if turns == 3:
                await settle()
                stage.check()
        await settle()
        stage.check()
        await stage.leave()

    asyncio.run(play())
