"""Views of a run, and the reader that feeds them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from lanemesh.client.fanout import MAX_BYTES, Fanout
from lanemesh.text_outputs import Entry, TextOutputs


async def test_a_slow_view_gets_what_follows_an_update_that_fills_it() -> None:
    large = TextOutputs("out", "text", ["x" * (MAX_BYTES + 1)], first=1)
    small = TextOutputs("out", "text", ["end"], first=2)

    async def source() -> AsyncGenerator[Sequence[Entry], None]:
        yield [large]
        yield [small]

    fanout = Fanout(source)
    queue = fanout.open(lambda entry: True)
    async with asyncio.timeout(10):
        assert await fanout.next(queue) is large
        for _ in range(5):
            await asyncio.sleep(0)  # the reader waits for capacity now
        assert await fanout.next(queue) is small
        assert await fanout.next(queue) is None
    await fanout.close()
