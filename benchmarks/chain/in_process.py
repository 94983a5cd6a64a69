"""The row `in-process`: what the chain costs in one process with nothing but deques and futures between the stages."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from chain.work import Count, Work, texts

LIMIT = 256


class Ended(Exception):
    """The producer has ended and everything was taken."""


class Channel:
    """One producer, one consumer, at most `LIMIT` texts between them."""

    def __init__(self) -> None:
        self._texts: deque[str] = deque()
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None

    async def put(self, text: str) -> None:
        """Waits while the channel is full."""
        while len(self._texts) >= LIMIT:
            await self._wait()
        self._texts.append(text)
        if self._waiting is not None:
            self._wake()

    async def take(self) -> str:
        """Waits while it is empty; raises `Ended` once it stays so."""
        while not self._texts:
            if self._ended:
                raise Ended
            await self._wait()
        text = self._texts.popleft()
        if self._waiting is not None and len(self._texts) < LIMIT:
            self._wake()
        return text

    def end(self) -> None:
        """No more texts will come."""
        self._ended = True
        self._wake()

    async def _wait(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


class InProcess:
    """The hand-written chain."""

    name = "in-process"
    load = 1_000_000

    async def results(self, work: Work) -> AsyncGenerator[str, None]:
        """Runs the three stages as tasks."""
        raw, upper, counted = Channel(), Channel(), Channel()
        async with asyncio.TaskGroup() as stages:
            stages.create_task(_source(work, raw))
            stages.create_task(_upper(raw, upper))
            stages.create_task(_count(work.every, upper, counted))
            try:
                while True:
                    yield await counted.take()
            except Ended:
                pass


async def _source(work: Work, out: Channel) -> None:
    for text in texts(work):
        await out.put(text)
        if work.interval_s:
            await asyncio.sleep(work.interval_s)
    out.end()


async def _upper(source: Channel, out: Channel) -> None:
    try:
        while True:
            await out.put((await source.take()).upper())
    except Ended:
        out.end()


async def _count(every: int, source: Channel, out: Channel) -> None:
    count = Count(every)
    try:
        while True:
            result = count.take(await source.take())
            if result is not None:
                await out.put(result)
    except Ended:
        if (last := count.end()) is not None:
            await out.put(last)
        out.end()
