"""Reading with waits that are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from lanemesh.client.reader import Reader


async def numbers(go: asyncio.Queue[int | Exception], ended: asyncio.Event) -> AsyncGenerator[int, None]:
    """Yields what comes, until 0 or an error does."""
    try:
        while number := await go.get():
            if isinstance(number, Exception):
                raise number
            await asyncio.sleep(0)
            yield number
    finally:
        ended.set()


async def test_a_wait_that_is_cancelled_loses_nothing() -> None:
    go: asyncio.Queue[int | Exception] = asyncio.Queue()
    ended = asyncio.Event()
    reader = Reader(numbers(go, ended))
    for number in (1, 2, 3):
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(reader), 0.001)
        go.put_nowait(number)
        assert await asyncio.wait_for(anext(reader), 5) == number
    go.put_nowait(0)
    assert [number async for number in reader] == []
    assert ended.is_set()


async def test_an_error_of_the_source_is_raised_once() -> None:
    go: asyncio.Queue[int | Exception] = asyncio.Queue()
    go.put_nowait(1)
    go.put_nowait(ValueError("no"))
    reader = Reader(numbers(go, asyncio.Event()))
    assert await anext(reader) == 1
    with pytest.raises(ValueError, match="no"):
        await anext(reader)
    with pytest.raises(StopAsyncIteration):
        await anext(reader)


@pytest.mark.parametrize("how", ["closed", "dropped"])
async def test_a_wait_that_was_left_ends_its_source(how: str) -> None:
    ended = asyncio.Event()
    reader = Reader(numbers(asyncio.Queue(), ended))
    waiting = asyncio.create_task(reader.asend(None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert not ended.is_set()
    if how == "closed":
        await reader.aclose()
        assert ended.is_set()
    del reader, waiting
    async with asyncio.timeout(5):
        await ended.wait()
