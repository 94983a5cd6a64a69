"""The rows `bare-one` and `bare-coalesced`: the chain on grpc.aio alone, each stage in a process of its own."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc

from chain.bare_stage import OPTIONS, ask
from chain.work import Work


class BareOne:
    """One item per message."""

    name = "bare-one"
    load = 8_000

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def results(self, work: Work) -> AsyncGenerator[str, None]:
        """Asks the count stage, which asks those before it."""
        async for item in ask(self._channel, "One", work):
            yield item.text

    async def media(self, items: int) -> AsyncIterator[str]:
        """One value of 1 MiB per message."""
        async for chunk in ask(self._channel, "Media", Work(items=items, every=items)):
            yield chunk.content.decode()


class BareCoalesced:
    """Up to 256 items per message: those that came up while the message before was being written."""

    name = "bare-coalesced"
    load = 400_000

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def results(self, work: Work) -> AsyncGenerator[str, None]:
        """Asks the count stage, which asks those before it."""
        async for message in ask(self._channel, "Coalesced", work):
            for item in message.items:
                yield item.text


@asynccontextmanager
async def bare_chain() -> AsyncIterator[grpc.aio.Channel]:
    """Three processes, and a channel to the last of them; leaving ends them."""
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(_stage("source"))
        upper = await stack.enter_async_context(_stage("upper", "--upstream", source))
        count = await stack.enter_async_context(_stage("count", "--upstream", upper))
        yield await stack.enter_async_context(grpc.aio.insecure_channel(count, options=OPTIONS))


@asynccontextmanager
async def _stage(*arguments: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chain.bare_stage", *arguments),
        cwd=Path(__file__).parents[1],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = (await asyncio.wait_for(process.stdout.readline(), timeout=30)).decode().strip()
        if not port:
            raise RuntimeError(f"the stage {arguments[0]} of the bare chain ended before it served")
        yield f"127.0.0.1:{port}"
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), timeout=5)
        except TimeoutError:
            process.kill()
            await process.wait()
