"""The rows `bare-one` and `bare-coalesced`: the chain on grpc.aio alone, each stage in a process of its own."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc

from chain.bare_stage import OPTIONS, ask
from chain.processes import serving
from chain.work import Work

STAGE = "chain.bare_stage"
"""The module of a stage."""


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
        _, source = await stack.enter_async_context(serving(STAGE, "source"))
        _, upper = await stack.enter_async_context(serving(STAGE, "upper", "--upstream", source))
        _, count = await stack.enter_async_context(serving(STAGE, "count", "--upstream", upper))
        yield await stack.enter_async_context(grpc.aio.insecure_channel(count, options=OPTIONS))
