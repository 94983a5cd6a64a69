"""What a node sees of its inputs without reading them."""

from __future__ import annotations

import asyncio

from lanemesh import Envelope, Group, Inputs
from lanemesh.items import ABSENT
from lanemesh.lanes.inbox.inbox import Inbox


async def test_waiting_values_are_seen_in_order_and_not_taken() -> None:
    inbox = Inbox(["a", "b"])
    a, b = inbox.add_edge("1", "a"), inbox.add_edge("2", "b")
    inputs = Inputs("n", inbox, {})
    a.put("x", 1, None)
    b.put("other", 1, None)
    a.put(ABSENT, 1, Envelope(group=Group("g", 0, last=True)))
    a.put("y", 1, None)
    assert inputs.waiting("a") == ["x", "y"]
    assert await inputs.next("a") == "x"
    assert inputs.waiting("a") == ["y"]


async def test_an_arrival_wakes_the_task_that_waits_for_it_and_stays_for_the_reader() -> None:
    inbox = Inbox(["a", "b"])
    a, b = inbox.add_edge("1", "a"), inbox.add_edge("2", "b")
    inputs = Inputs("n", inbox, {})
    waiting = asyncio.create_task(inputs.arrival("a"))
    await asyncio.sleep(0)
    b.put("other", 1, None)
    await asyncio.sleep(0)
    assert not waiting.done()
    reading = asyncio.create_task(inputs.next("a"))
    await asyncio.sleep(0)
    a.put("x", 1, None)
    async with asyncio.timeout(20):
        await waiting
        assert await reading == "x"
