"""The inbox: what waits for one node, on all its ports."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from lanemesh.faults import Code, Fault, LaneFault
from lanemesh.items import Item, LaneType
from lanemesh.lanes.inbox.inbox import Edge, Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.outputs import OutputLanes, Outputs

FAULT = Fault(code=Code.UNKNOWN, reason="node-error", message="ValueError: no")


def producer(*edges: Edge) -> Outputs:
    """What sends into these edges, by outputs of their names."""
    return Outputs("p", {edge.id: OutputLanes(f"p.{edge.id}", LaneType.DATA, [MemorySender(edge)]) for edge in edges})


async def settle() -> None:
    """Lets every task run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def drained(stream: AsyncIterator[object]) -> list[object]:
    return [value async for value in stream]


def end(*edges: Edge, fault: Fault | None = None) -> None:
    for edge in edges:
        edge.end(fault)


@pytest.mark.conformance("INBOX-01")
async def test_a_port_is_first_in_first_out() -> None:
    inbox = Inbox(["a", "b"])
    edge = inbox.add_edge("e", "a")
    send = producer(edge)
    for number in range(100):
        await send.emit("e", number)
    end(edge)
    assert await drained(inbox.stream("a")) == list(range(100))


@pytest.mark.conformance("INBOX-02")
async def test_arrival_order_across_ports_also_when_mixed_with_a_stream() -> None:
    inbox = Inbox(["a", "b", "c"])
    edges = [inbox.add_edge(name, name) for name in "abc"]
    send = producer(*edges)
    for number, name in enumerate("abacbcaab"):
        await send.emit(name, number)
    end(*edges)
    both = inbox.iter_items()

    async def pair() -> tuple[str, int]:
        name, item = await anext(both)
        assert isinstance(item, Item)
        return name, item.value

    assert [await pair() for _ in range(3)] == [("a", 0), ("b", 1), ("a", 2)]
    assert await anext(inbox.stream("b")) == 4  # the next of b, past the c before it
    assert [await pair() for _ in range(5)] == [("c", 3), ("c", 5), ("a", 6), ("a", 7), ("b", 8)]
    with pytest.raises(StopAsyncIteration):
        await anext(both)


@pytest.mark.conformance("INBOX-03")
async def test_a_stream_ends_when_its_edges_have_ended_and_nothing_waits() -> None:
    inbox = Inbox(["a", "b"])
    a, b = inbox.add_edge("a", "a"), inbox.add_edge("b", "b")
    send = producer(a, b)
    await send.emit("a", 1)
    end(a)
    assert not inbox.port("a").ended  # something waits
    both = asyncio.create_task(drained(inbox.iter_items()))
    await settle()
    assert inbox.port("a").ended
    assert await drained(inbox.stream("a")) == []
    assert not both.done()
    await send.emit("b", 2)
    end(b)
    assert len(await both) == 2


@pytest.mark.conformance("INBOX-04")
async def test_a_port_is_open_until_all_its_producers_have_ended_each_counted_once() -> None:
    inbox = Inbox(["a"])
    edges = [inbox.add_edge(str(number), "a") for number in range(3)]
    reading = asyncio.create_task(drained(inbox.stream("a")))
    end(edges[0], edges[0], edges[0], edges[1])
    edges[0].end(FAULT)  # only the first end counts
    await settle()
    assert not reading.done()
    await producer(edges[2]).emit("2", "last")
    end(edges[2])
    assert await reading == ["last"]


@pytest.mark.conformance("INBOX-05")
async def test_a_full_edge_makes_its_producer_wait_and_no_other() -> None:
    inbox = Inbox(["a", "b"])
    full, sibling = (inbox.add_edge(name, "a", limit_items=2) for name in ("full", "sibling"))
    other = inbox.add_edge("other", "b", limit_items=2)
    send = producer(full, sibling, other)
    for number in range(2):
        await send.emit("full", number)
    waiting = asyncio.create_task(send.emit("full", 2))
    await settle()
    assert not waiting.done()
    assert await send.emit("sibling", "s")
    assert await send.emit("other", "o")
    assert await anext(inbox.stream("a")) == 0
    await waiting
    assert full.buffered_items == 2


@pytest.mark.conformance("INBOX-06")
async def test_eight_waiting_producers_lose_nothing_and_none_goes_over_its_limit() -> None:
    inbox = Inbox(["a"])
    edges = [inbox.add_edge(str(number), "a", limit_items=3) for number in range(8)]
    highest: Counter[str] = Counter()

    async def produce(edge: Edge) -> None:
        send = producer(edge)
        for number in range(500):
            await send.emit(edge.id, [edge.id, number])
            highest[edge.id] = max(highest[edge.id], edge.buffered_items)
        edge.end()

    async with asyncio.TaskGroup() as group:
        for edge in edges:
            group.create_task(produce(edge))
        await settle()
        seen = [value async for value in inbox.stream("a")]
    for edge in edges:
        assert [number for name, number in seen if name == edge.id] == list(range(500))
    assert set(highest.values()) == {3}


@pytest.mark.conformance("INBOX-07")
async def test_closing_wakes_all_waiters_and_a_later_put_reports_the_closure() -> None:
    inbox = Inbox(["a", "b"])
    a = inbox.add_edge("a", "a", limit_items=1)
    b = inbox.add_edge("b", "b", limit_items=1)
    send = producer(b)
    await producer(a).emit("a", 1)
    producers = [asyncio.create_task(producer(a).emit("a", number)) for number in range(3)]
    consumer = asyncio.create_task(drained(inbox.stream("b")))
    await settle()
    inbox.stop("enough")
    assert await asyncio.gather(*producers) == [False] * 3
    assert await consumer == []
    assert await send.emit("b", 1) is False
    assert a.statistics().discarded == 1


@pytest.mark.conformance("INBOX-08")
async def test_a_port_without_edges_is_ended_at_once() -> None:
    inbox = Inbox(["a"])
    assert inbox.port("a").ended
    assert await drained(inbox.stream("a")) == []
    assert await drained(inbox.iter_items()) == []


@pytest.mark.conformance("INBOX-09")
async def test_a_fault_end_is_raised_after_what_came_before_it_and_can_be_asked_for() -> None:
    inbox = Inbox(["a", "b"])
    a = inbox.add_edge("a", "a")
    inbox.add_edge("b", "b")
    await producer(a).emit("a", 1)
    end(a, fault=FAULT)
    stream = inbox.stream("a")
    assert await anext(stream) == 1
    with pytest.raises(LaneFault, match="ValueError: no") as caught:
        await anext(stream)
    assert caught.value.fault.secondary
    with pytest.raises(LaneFault, match="ValueError: no"):
        await drained(inbox.iter_items())
    assert inbox.port("a").fault == FAULT
    assert inbox.port("b").fault is None


@pytest.mark.conformance("INBOX-10")
async def test_a_cancelled_waiter_leaves_the_inbox_usable_and_loses_nothing() -> None:
    inbox = Inbox(["a"])
    edge = inbox.add_edge("e", "a", limit_items=1)
    send = producer(edge)
    consumer = asyncio.create_task(drained(inbox.stream("a")))
    await settle()
    consumer.cancel()
    await asyncio.gather(consumer, return_exceptions=True)
    assert not inbox.statistics().ports["a"].waiters
    await send.emit("e", 1)
    gone, waiting = (asyncio.create_task(send.emit("e", value)) for value in ("gone", 2))
    await settle()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    stream = inbox.stream("a")
    assert await anext(stream) == 1
    await waiting
    end(edge)
    assert await drained(stream) == [2]


@pytest.mark.conformance("INBOX-05")
async def test_what_is_held_counts_against_its_limit_until_it_is_taken() -> None:
    inbox = Inbox(["a"])
    edge = inbox.add_edge("e", "a", limit_items=1)
    send = producer(edge)
    await send.emit("e", 1)
    held = inbox.port("a").hold()
    assert inbox.port("a").head is None
    waiting = asyncio.create_task(send.emit("e", 2))
    await settle()
    assert not waiting.done()
    assert held.take().value == held.take().value == 1
    await waiting
    assert (edge.taken, edge.buffered_items) == (1, 1)


@pytest.mark.conformance("INBOX-07")
async def test_what_is_held_of_a_stopped_edge_counts_as_discarded() -> None:
    inbox = Inbox(["a"])
    edge = inbox.add_edge("e", "a")
    await producer(edge).emit("e", 1)
    held = inbox.port("a").hold()
    edge.stop("enough")
    assert held.take().value == 1
    assert (edge.taken, edge.discarded, edge.buffered_items, edge.buffered_bytes) == (0, 1, 0, 0)
