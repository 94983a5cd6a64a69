"""Requests that arrive together begin one after the other."""

import asyncio

from lanemesh_orchestrator.scheduling.turns import Turns


async def test_a_request_that_is_alone_does_not_wait() -> None:
    turns, begun = Turns(), []

    async def request() -> None:
        await turns.turn()
        begun.append(1)

    task = asyncio.create_task(request())
    await asyncio.sleep(0)
    assert begun == [1]
    await task


async def test_requests_that_arrive_together_leave_passes_of_the_event_loop_to_others() -> None:
    turns, order = Turns(), list[str]()

    async def request(name: str) -> None:
        await turns.turn()
        order.append(name)

    async def other() -> None:
        for _ in range(3):
            order.append("other")
            await asyncio.sleep(0)

    await asyncio.gather(*(request(name) for name in "abcd"), other())
    assert [name for name in order if name != "other"] == list("abcd")
    assert order.index("d") > order.index("other") + 3
    assert turns.waiting == 0


async def test_a_request_that_leaves_gets_no_turn() -> None:
    turns, order = Turns(), list[str]()

    async def request(name: str) -> None:
        await turns.turn()
        order.append(name)

    tasks = [asyncio.create_task(request(name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a", "c"]
    await turns.turn()
