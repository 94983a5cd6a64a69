"""What an actor waits for, as it is noted while it does; and that waiting for one lane holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from lanemesh._aio.signal import NOTHING
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.outputs import OutputLanes, Outputs
from lanemesh.node.waits import SIBLING, Wait, WaitingOutside, Waits

FULL = Wait(full_edges=("a>b",))


async def test_an_actor_is_idle_while_all_of_its_tasks_wait() -> None:
    waits = Waits()
    go_on = asyncio.Event()

    async def task(wait: Wait) -> None:
        with waits.task():
            with waits.waiting(wait):
                await go_on.wait()
            assert waits.idle_waits() == ()

    assert waits.idle_waits() == ()
    first = asyncio.create_task(task(FULL))
    await asyncio.sleep(0)
    assert (waits.idle_waits(), waits.blocked) == ([FULL], True)
    version = waits.version
    second = asyncio.create_task(task(Wait(any_inputs=("x",))))
    await asyncio.sleep(0)
    assert waits.idle_waits() == [FULL, Wait(any_inputs=("x",))]
    assert waits.version > version
    go_on.set()
    await asyncio.gather(first, second)
    assert (waits.idle_waits(), waits.blocked) == ((), False)


async def test_the_time_of_an_actor_is_split_into_waiting_busy_and_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("lanemesh.node.waits.time.monotonic", lambda: now[0])
    waits = Waits()
    assert waits.seconds() == (0, 0, 0)
    now[0] += 1000  # before its task has begun
    with waits.task():
        now[0] += 1
        with waits.waiting(Wait(any_inputs=("x",))):
            now[0] += 2
        with waits.waiting(FULL):
            now[0] += 4
            assert waits.seconds() == (2, 1, 4)
        async with WaitingOutside(waits, "a lease", lambda: NOTHING):
            now[0] += 8
    now[0] += 1000  # after its end
    assert waits.seconds() == (10, 1, 4)


async def test_only_the_outermost_wait_of_an_actors_own_task_counts() -> None:
    waits = Waits()
    with waits.waiting(FULL):  # no task of the actor
        assert (waits.idle_waits(), waits.blocked) == ((), False)
    with waits.task(), waits.waiting(Wait(all_inputs=("x", "y"))):
        version = waits.version
        with waits.waiting(FULL):
            assert waits.idle_waits() == [Wait(all_inputs=("x", "y"))]
            assert waits.version == version


async def test_a_wait_for_a_sibling_is_no_wait_for_the_run() -> None:
    waits = Waits()
    with waits.task(), waits.waiting(SIBLING):
        assert waits.idle_waits() == []


async def test_a_wait_for_capacity_is_reported_at_once() -> None:
    waits = Waits()
    told: list[float] = []
    waits.on_blocked = lambda: told.append(waits.blocked_since)
    with waits.task():
        with waits.waiting(Wait(any_inputs=("x",))):
            assert told == []
        with waits.waiting(FULL):
            assert told == [waits.blocked_since]


async def test_what_is_waited_for_outside_is_named_while_it_is() -> None:
    waits = Waits()
    inner: list[str] = []

    @asynccontextmanager
    async def yielded() -> AsyncIterator[None]:
        inner.append("entered")
        yield
        inner.append("left")

    async with WaitingOutside(waits, "the llm helper m", yielded):
        assert (waits.outside, inner) == (["the llm helper m"], ["entered"])
    assert (waits.outside, inner) == ([], ["entered", "left"])


async def test_a_wait_outside_ends_if_what_is_entered_within_it_fails() -> None:
    waits = Waits()

    def refuse() -> AbstractAsyncContextManager[None]:
        raise LookupError("the lease is lost")

    with pytest.raises(LookupError, match="the lease is lost"):
        async with WaitingOutside(waits, "the llm helper m", refuse):
            pass
    assert waits.outside == []


@pytest.mark.conformance("RUN-16")
async def test_a_value_goes_to_each_lane_as_soon_as_it_has_capacity() -> None:
    """The first lane stays full. Its consumer may need the item of the second lane first."""
    inbox = Inbox(["x", "y"])
    edges = [inbox.add_edge(f"p>{name}", name, limit_items=1) for name in ("x", "y")]
    waits = Waits()
    lanes = OutputLanes("p.out", LaneType.DATA, [MemorySender(edge) for edge in edges])
    outputs = Outputs("p", {"out": lanes}, waits=waits)

    async def emit() -> None:
        with waits.task():
            await outputs.emit("out", 1)
            await outputs.emit("out", 2)

    emitting = asyncio.create_task(emit())
    await asyncio.sleep(0)
    assert waits.idle_waits() == [Wait(full_edges=("p>x", "p>y"))]
    assert inbox.port("y").take().value == 1
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert inbox.port("y").take().value == 2
    assert waits.idle_waits() == [Wait(full_edges=("p>x",))]
    assert inbox.port("x").take().value == 1
    await emitting
    assert inbox.port("x").take().value == 2
