"""Hops of synchronous firings to a worker thread: what comes while they fire."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any, ClassVar

from lanemesh import Context, In, Node, Out
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.node.firing.bodies import ThreadBody
from lanemesh.node.outputs import OutputLanes, Outputs
from lanemesh.node.runtime.actor import Actor, State


class Held(Node):
    """Fires in a thread, on "slow" as long as the test wants."""

    begun: ClassVar[threading.Event]
    let_go: ClassVar[threading.Event]
    a: In[str]
    b: In[str | None] = None
    out: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        if self.a == "slow":
            Held.begun.set()
            Held.let_go.wait(10)
        return {"out": self.a}


async def test_what_comes_and_ends_while_a_hop_is_under_way_is_seen_after_it() -> None:
    Held.begun, Held.let_go = threading.Event(), threading.Event()
    inbox = Inbox(["a", "b"])
    a, b = inbox.add_edge("x>a", "a"), inbox.add_edge("y>b", "b")
    context = Context(run_id="run", component="held", provider="held", report=lambda _: asyncio.sleep(0))
    actor = Actor(Held(), context, inbox, Outputs("held", {"out": OutputLanes("held.out", LaneType.TEXT, [])}))
    running = asyncio.create_task(actor.run())
    async with asyncio.timeout(10):
        for text in ["quick"] * 100:  # hops get longer while firings are quick
            assert a.put(text, 1, None)
        while a.taken < 100:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
        assert a.put("slow", 1, None)
        await asyncio.to_thread(Held.begun.wait)
        assert a.put("last", 1, None)
        a.end()
        b.end()
        Held.let_go.set()
        outcome = await running
    assert (outcome.state, outcome.firings) == (State.COMPLETED, 102)


class Twice(Node):
    """Doubles numbers."""

    number: In[int]
    double: Out[int]

    def process(self, context: Context) -> dict[str, Any]:
        return {"double": 2 * self.number}


class JustLate(ThreadBody):
    """Its time is over when all bodies of a hop have returned and the loop does not know yet."""

    async def process_each(self, nodes: Iterable[Any], results: list[Any]) -> Exception | None:
        """Runs them, and is late."""
        await super().process_each(nodes, results)
        raise TimeoutError


async def test_a_hop_that_is_late_when_all_its_bodies_have_returned_fails_none() -> None:
    inbox = Inbox(["number"])
    numbers = inbox.add_edge("x>number", "number")
    for number in range(100):
        assert numbers.put(number, 1, None)
    numbers.end()
    context = Context(run_id="run", component="twice", provider="twice", report=lambda _: asyncio.sleep(0))
    outputs = Outputs("twice", {"double": OutputLanes("twice.double", LaneType.DATA, [])})
    outcome = await Actor(Twice(), context, inbox, outputs, body=JustLate(context)).run()
    assert (outcome.state, outcome.firings) == (State.COMPLETED, 100)
