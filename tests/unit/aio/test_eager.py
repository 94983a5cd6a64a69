"""Coroutines that begin before they are awaited."""

import asyncio

import pytest
from lanemesh._aio.eager import EagerCoroutine


async def test_it_runs_to_its_first_wait_at_once_and_goes_on_when_awaited() -> None:
    heard: list[str] = []
    first, second = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        heard.append("began")
        await first.wait()
        heard.append("went on")
        await second.wait()
        heard.append("ended")

    begun = EagerCoroutine(work())
    assert heard == ["began"]
    assert not begun.succeeded
    first.set()
    await asyncio.sleep(0)
    assert heard == ["began"]
    task = asyncio.ensure_future(_awaits(begun))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert heard == ["began", "went on"]
    second.set()
    await task
    assert heard == ["began", "went on", "ended"]
    assert begun.succeeded


async def _awaits(begun: EagerCoroutine) -> None:
    await begun


async def test_what_ends_without_a_wait_has_ended() -> None:
    heard: list[str] = []

    async def work() -> None:
        heard.append("all")

    begun = EagerCoroutine(work())
    assert begun.succeeded
    await begun
    assert heard == ["all"]


@pytest.mark.parametrize("waits", [False, True])
async def test_what_it_raises_comes_to_who_awaits(waits: bool) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError("no")

    begun = EagerCoroutine(work())
    assert not begun.succeeded
    with pytest.raises(ValueError, match="no"):
        await begun
    assert not begun.succeeded


async def test_it_ends_where_it_waits_if_it_is_not_awaited_any_more() -> None:
    heard: list[str] = []
    waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        try:
            await waited
        finally:
            heard.append("ended")

    begun = EagerCoroutine(work())
    begun.close()
    begun.close()
    assert heard == ["ended"]
    assert waited.cancelled()


async def test_one_that_waits_for_its_next_turn_ends_too() -> None:
    heard: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            heard.append("ended")

    EagerCoroutine(work()).close()
    assert heard == ["ended"]


@pytest.mark.parametrize("swallows", [False, True])
async def test_a_cancellation_reaches_it(swallows: bool) -> None:
    heard: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            if not swallows:
                raise
            await asyncio.sleep(0)
            heard.append("went on")

    task = asyncio.ensure_future(_awaits(EagerCoroutine(work())))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert heard == (["cancelled", "went on"] if swallows else ["cancelled"])
    assert task.cancelled() is not swallows
