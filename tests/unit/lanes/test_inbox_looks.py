"""The statistics of an inbox, and its errors by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import pytest
from lanemesh.faults import LaneFault, WouldBlock
from lanemesh.items import Envelope, Group, GroupOutcome, Item
from lanemesh.lanes.inbox.assembler import join_text
from lanemesh.lanes.inbox.inbox import EdgeStatistics, Inbox, PortStatistics


def piece(group: str, *, last: bool = False, outcome: GroupOutcome = GroupOutcome.OK) -> Envelope:
    return Envelope(group=Group(group, 0, last, outcome))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_statistics_of_an_edge_a_port_and_the_whole_inbox() -> None:
    inbox = Inbox(["a", "b"])
    edge = inbox.add_edge("e", "a", limit_items=3, limit_bytes=100)
    other = inbox.add_edge("f", "a")
    for number in range(3):
        edge.put(number, 10, None)
    port = inbox.port("a")
    port.take()
    port.hold()
    other.end()
    waiting = asyncio.create_task(inbox.changed(["b"]))
    await settle()
    assert edge.statistics() == EdgeStatistics(
        arrived=3,
        taken=1,
        discarded=0,
        buffered_items=2,
        buffered_bytes=20,
        limit_items=3,
        limit_bytes=100,
        ended=False,
        stopped=False,
    )
    assert port.statistics() == PortStatistics(
        edges=2, open_edges=1, waiting_items=1, aside_items=0, open_groups=0, failed_groups=0, waiters=0, ended=False
    )
    whole = inbox.statistics()
    assert (whole.arrivals, whole.waiting_items, whole.buffered_items, whole.buffered_bytes) == (3, 1, 2, 20)
    assert whole.ports["b"].waiters == 1
    assert whole.ports["b"].ended
    assert not whole.ended
    waiting.cancel()
    inbox.stop("over")
    assert inbox.statistics().ended


async def test_statistics_of_ports_that_mind_groups() -> None:
    inbox = Inbox(["whole", "kept"])
    wholes, kept = inbox.add_edge("e", "whole"), inbox.add_edge("f", "kept")
    inbox.assemble("whole", join_text)
    inbox.serialize_groups("kept")
    inbox.serialize_groups("whole")  # is so already
    for edge in (wholes, kept):
        edge.put("1", 1, piece("g"))
        edge.put("2", 1, piece("h"))
        edge.put("3", 1, piece("h", last=True, outcome=GroupOutcome.ERROR))
    statistics = inbox.statistics()
    assert (statistics.waiting_items, statistics.buffered_items) == (1, 3)
    assert (statistics.ports["whole"].aside_items, statistics.ports["whole"].open_groups) == (1, 1)
    assert statistics.ports["whole"].failed_groups == 1
    assert (statistics.ports["kept"].aside_items, statistics.ports["kept"].open_groups) == (2, 1)
    assert wholes.taken == 3


async def test_an_item_wakes_only_the_first_taker_of_its_port() -> None:
    inbox = Inbox(["a", "b"])
    a, b = inbox.add_edge("a", "a"), inbox.add_edge("b", "b")
    taken: list[str] = []

    async def take(who: str, port: str = "") -> None:
        items = inbox.stream(port) if port else inbox.iter_items()
        await anext(items)
        taken.append(who)

    async with asyncio.TaskGroup() as group:
        for who, port in (("any", ""), ("first", "b"), ("second", "b"), ("third", "b")):
            group.create_task(take(who, port))
        await settle()
        a.put(1, 1, None)  # for the one who takes any
        b.put(1, 1, None)  # who is awake already, and so it is for the next
        assert inbox.port("b").statistics().waiters == 2
        await settle()
        assert taken == ["any", "first"]
        b.put_plain(["1", "2", "3"], 1)  # an item for each of them
        await settle()
        assert taken == ["any", "first", "second", "third"]
    assert inbox.port("b").statistics().waiting_items == 1


def test_an_item_after_the_end_is_an_error_of_its_producer() -> None:
    inbox = Inbox(["a"])
    edge = inbox.add_edge("e", "a")
    assert edge.put(1, 1, None)
    edge.end()
    with pytest.raises(LaneFault, match="an item arrived on the lane e after its end") as caught:
        edge.put(2, 1, None)
    assert caught.value.fault.reason == "lane-ended"
    edge.stop("enough")
    assert not edge.put(3, 1, None)  # there was no taker
    assert edge.statistics().discarded == 2


def test_to_take_where_nothing_waits_is_an_error() -> None:
    port = Inbox(["a"]).port("a")
    for take in (port.take, port.hold):
        with pytest.raises(WouldBlock, match='no item waits at the input "a"') as caught:
            take()
        assert isinstance(caught.value, LookupError)


async def test_pieces_that_make_no_whole_fail_the_port_and_stop_its_producers() -> None:
    def refuse(_: object) -> None:
        raise ValueError("they do not fit")

    inbox = Inbox(["a"])
    edges = [inbox.add_edge(name, "a") for name in "ef"]
    inbox.assemble("a", refuse)
    assert edges[0].put(*Item("1", 1, piece("g", last=True)))
    for edge in edges:
        assert edge.stopped
        assert edge.stop_fault is not None
        assert edge.stop_fault.secondary
    for read in (inbox.stream("a"), inbox.stream("a", raising=False), inbox.iter_items(raising=False)):
        with pytest.raises(Exception, match="they do not fit") as caught:
            await anext(read)
        assert not caught.value.fault.secondary  # type: ignore[attr-defined]


async def test_what_goes_around_a_wait_misses_nothing_and_the_mark_is_for_the_wait_alone() -> None:
    inbox = Inbox(["a", "b"])
    edge = inbox.add_edge("e", "a")
    inbox.add_edge("f", "b")
    heard: list[str] = []

    @asynccontextmanager
    async def lend() -> AsyncIterator[None]:
        heard.append("lent")
        edge.put(1, 1, None)  # before any taker waits
        yield
        heard.append("back")

    @contextmanager
    def mark(names: Sequence[str]) -> Iterator[None]:
        heard.append(f"waits at {', '.join(names)}")
        yield
        heard.append("goes on")

    inbox.waiting, inbox.marking = lend, mark
    assert await anext(inbox.stream("a")) == 1
    assert heard == ["lent", "waits at a", "goes on", "back"]
    heard.clear()
    await inbox.changed(["a", "b"])
    assert heard == ["lent", "waits at a, b", "goes on", "back"]
