"""The reports of actors that wait for capacity, and the answers to probes."""

from __future__ import annotations

import asyncio
import time

import pytest
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.waits import Wait, Waits
from lanemesh.server.host import probing
from lanemesh.server.host.probing import BlockedEmitWatch, probed
from lanemesh.v1 import node_pb2

FULL = Wait(full_edges=("a>b",))


class Told:
    """The reports and their times; each can be awaited."""

    def __init__(self, *refusals: bool) -> None:
        self.times: list[float] = []
        self.tries = 0
        self._refusals = list(refusals)
        self._more = asyncio.Event()

    def __call__(self, component: str) -> bool:
        self.tries += 1
        if self._refusals and self._refusals.pop(0):
            return False
        assert component == "a"
        self.times.append(time.monotonic())
        self._more.set()
        return True

    async def until(self, number: int) -> None:
        """Waits until this number of reports has arrived."""
        while len(self.times) < number:
            self._more.clear()
            await self._more.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "BLOCKED_SECONDS", 0.02)


async def test_a_wait_for_capacity_is_reported_repeatedly_with_growing_pauses() -> None:
    told, waits = Told(), Waits()
    watch = BlockedEmitWatch(told)
    watch.add("a", waits)
    with waits.task(), waits.waiting(FULL):
        await told.until(4)
        begun = waits.blocked_since
    pauses = [later - earlier for earlier, later in zip([begun, *told.times], told.times, strict=False)]
    assert pauses[0] >= 0.02
    assert pauses[2] >= 0.04
    assert pauses[3] >= 0.08
    assert pauses[3] > pauses[1]
    watch.close()


async def test_an_active_actor_is_not_reported_and_has_no_timer() -> None:
    told, waits = Told(), Waits()
    watch = BlockedEmitWatch(told)
    watch.add("a", waits)
    longest = 0.0
    with waits.task():
        for _ in range(5):
            begun = time.monotonic()
            with waits.waiting(FULL):
                await asyncio.sleep(0.004)
            longest = max(longest, time.monotonic() - begun)
        await asyncio.sleep(0.05)
        assert watch._timer is None
        with waits.waiting(Wait(any_inputs=("x",))):
            await asyncio.sleep(0.05)
            assert watch._timer is None
    assert told.times == [] or longest >= 0.02, "reported, though no wait for capacity was long"
    watch.close()


async def test_a_report_that_cannot_be_sent_now_is_sent_later() -> None:
    told, waits = Told(True, True), Waits()
    watch = BlockedEmitWatch(told)
    watch.add("a", waits)
    with waits.task(), waits.waiting(FULL):
        await told.until(1)
    assert told.tries == 3
    watch.close()


async def test_a_closed_watch_is_silent() -> None:
    told, waits = Told(), Waits()
    watch = BlockedEmitWatch(told)
    watch.add("a", waits)
    with waits.task(), waits.waiting(FULL):
        watch.close()
        await asyncio.sleep(0.05)
    assert told.times == []
    assert watch._timer is None


async def test_the_answer_has_every_actor_and_both_ends_of_every_edge() -> None:
    inbox, waits = Inbox(["x"]), Waits()
    edge = inbox.add_edge("a>b", "x", limit_items=1, limit_bytes=100)
    sender = MemorySender(edge)
    assert sender.offer("x", 40, None)
    with waits.task(), waits.waiting(FULL):
        answer = probed(7, {"a": waits, "b": Waits()}, [sender], [edge])
    assert answer.id == 7
    waiting, busy = answer.actors
    assert (waiting.component, list(waiting.waits[0].full_edges)) == ("a", ["a>b"])
    assert (busy.component, list(busy.waits)) == ("b", [])
    producer = node_pb2.EdgeReport(edge_id="a>b", items=1, limit_items=1, limit_bytes=100, producer_end=True)
    consumer = node_pb2.EdgeReport(edge_id="a>b", items=1, limit_items=1, limit_bytes=100, held_bytes=40)
    assert list(answer.edges) == [producer, consumer]
