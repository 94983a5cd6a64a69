"""The timeout of a component."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest
from lanemesh import Context, In, LanemeshError, Node, Out
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.node.firing.deadline import Deadline, paused
from lanemesh.node.firing.loop import FiringRules
from lanemesh.node.firing.on_error import OnError, OnErrorPolicy
from lanemesh.node.outputs import OutputLanes, Outputs
from lanemesh.node.runtime.actor import Actor, State


async def test_a_timeout_is_reported_with_every_detail() -> None:
    deadline = Deadline("slow_1", 0.01, lambda: "it was left alone")
    with pytest.raises(LanemeshError) as caught:
        async with deadline.of("firing"):
            await asyncio.Event().wait()
    assert caught.value.fault.message == "slow_1: one firing took longer than its timeout of 0.01 s; it was left alone"


async def test_a_timeout_of_the_body_itself_is_its_own_error() -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with Deadline("slow_1", 10).of("firing"):
            raise TimeoutError("mine")


async def test_without_a_timeout_there_is_no_limit() -> None:
    async with Deadline("slow_1", None).of("run") as limit:
        assert limit is None
    with paused(None):
        await asyncio.sleep(0)


async def test_the_clock_stands_still_while_it_is_paused() -> None:
    async with Deadline("slow_1", 5).of("firing") as limit:
        assert limit is not None
        until = limit.when()
        assert until is not None
        with paused(limit):
            assert limit.when() is None
            await asyncio.sleep(0.02)
        again = limit.when()
        assert again is not None
        assert again >= until + 0.015


class Held(Node):
    """Waits on "first", and fails on all else."""

    failed: ClassVar[asyncio.Event]
    text: In[str]
    out: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, str]]:
        if self.text != "first":
            Held.failed.set()
            raise ValueError(self.text)
        await Held.failed.wait()
        await asyncio.sleep(0.01)  # the failed one waits for its turn by then
        yield "out", self.text


async def test_a_firing_that_fails_before_its_turn_waits_for_it_without_a_limit() -> None:
    """Its own is over with its body."""
    Held.failed = asyncio.Event()
    inbox = Inbox(["text"])
    edge = inbox.add_edge("x>text", "text")
    context = Context(run_id="run", component="held", provider="held", report=lambda _: asyncio.sleep(0))
    outputs = Outputs("held", {"out": OutputLanes("held.out", LaneType.TEXT, [])})
    rules = FiringRules(sync_mode="on_any", concurrency=2, on_error=OnError(policy=OnErrorPolicy.SKIP))
    for text in ("first", "second"):
        assert edge.put(text, 1, None)
    edge.end()
    async with asyncio.timeout(10):
        outcome = await Actor(Held(), context, inbox, outputs, rules, timeout=60).run()
    assert (outcome.state, outcome.skipped, outcome.fault) == (State.COMPLETED, 1, None)
