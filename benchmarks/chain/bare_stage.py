"""One process of the bare chain: a grpc.aio server with nothing of Lanemesh but its messages.

`python -m chain.bare_stage STAGE [--upstream ADDRESS]` prints its port and serves until its stdin ends, so that it
ends with whatever started it. Every stage offers four methods, and asks its upstream for the same one: `One` (an `Item` a
message), `Coalesced` (up to 256 items a message), `Media` (1 MiB a message), and `BothWays` (bidirectional, an `Item` a message).
"""

import argparse
import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

import grpc
from lanemesh.v1.lane_pb2 import Item, LaneChunk, LaneItems

from chain.work import MEBIBYTE, Count, Work, texts

SERVICE = "benchmarks.Bare"
BATCH = 256
"""Most items of one message, and most that wait to be written."""
OPTIONS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.so_reuseport", 0)]

type_of_answer: dict[str, type[Item] | type[LaneItems] | type[LaneChunk]] = {
    "One": Item,
    "Coalesced": LaneItems,
    "Media": LaneChunk,
}


def ask(channel: grpc.aio.Channel, method: str, work: Work) -> AsyncIterable[Any]:
    """Asks a stage for its stream of answers to the work."""
    call = channel.unary_stream(
        f"/{SERVICE}/{method}",
        request_serializer=Item.SerializeToString,
        response_deserializer=type_of_answer[method].FromString,
    )
    return call(Item(data_json=work.to_json()))


def open_chain(channel: grpc.aio.Channel, work: Work) -> AsyncIterable[Item]:
    """Opens a bidirectional stream to a stage and, through it, to all those before it; sends the work as the only input."""

    async def inputs() -> AsyncIterator[Item]:
        yield Item(data_json=work.to_json())

    return _both_ways(channel, inputs())


def _both_ways(channel: grpc.aio.Channel, inputs: AsyncIterator[Item]) -> AsyncIterable[Item]:
    call = channel.stream_stream(
        f"/{SERVICE}/BothWays", request_serializer=Item.SerializeToString, response_deserializer=Item.FromString
    )
    return call(inputs)


class Outbox:
    """Hand-written coalescing: what is put while a message is being written goes into the next one."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, text: str) -> None:
        """Waits while a full message of items has not been written."""
        while len(self._items) >= BATCH:
            self._room.clear()
            await self._room.wait()
        self._items.append(Item(text=text))
        self._changed.set()

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._changed.set()

    async def messages(self) -> AsyncIterator[LaneItems]:
        """All that waits, again and again, until the end."""
        while self._items or not self._ended:
            if not self._items:
                self._changed.clear()
                await self._changed.wait()
                continue
            message = LaneItems(items=self._items)
            self._items.clear()
            self._room.set()
            yield message


class Source:
    """Makes the items."""

    async def one(self, work: Work) -> AsyncIterator[Item]:
        """An item a message."""
        for text in texts(work):
            yield Item(text=text)
            if work.interval_s:
                await asyncio.sleep(work.interval_s)

    async def both_ways(self, inputs: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """The items of each input's work, an item a message."""
        async for given in inputs:
            async for item in self.one(Work.from_json(given.data_json)):
                yield item

    async def coalesced(self, work: Work, out: Outbox) -> None:
        """Into the outbox."""
        for text in texts(work):
            await out.put(text)
            if work.interval_s:
                await asyncio.sleep(work.interval_s)

    async def media(self, work: Work) -> AsyncIterator[LaneChunk]:
        """A MiB a message."""
        content = bytes(MEBIBYTE)
        for _ in range(work.items):
            yield LaneChunk(content=content)


class Upper:
    """Upper-cases text; passes media on."""

    def __init__(self, upstream: grpc.aio.Channel) -> None:
        self._upstream = upstream

    async def one(self, work: Work) -> AsyncIterator[Item]:
        """An item a message."""
        async for item in ask(self._upstream, "One", work):
            yield Item(text=item.text.upper())

    async def both_ways(self, inputs: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """Passes inputs on to the stage before; an item a message."""
        async for item in _both_ways(self._upstream, inputs):
            yield Item(text=item.text.upper())

    async def coalesced(self, work: Work, out: Outbox) -> None:
        """Into the outbox."""
        async for message in ask(self._upstream, "Coalesced", work):
            for item in message.items:
                await out.put(item.text.upper())

    async def media(self, work: Work) -> AsyncIterator[LaneChunk]:
        """A MiB a message."""
        async for chunk in ask(self._upstream, "Media", work):
            yield LaneChunk(content=chunk.content)


class Counter:
    """Counts what passes."""

    def __init__(self, upstream: grpc.aio.Channel) -> None:
        self._upstream = upstream

    async def one(self, work: Work) -> AsyncIterator[Item]:
        """A result a message."""
        count = Count(work.every)
        async for item in ask(self._upstream, "One", work):
            if (result := count.take(item.text)) is not None:
                yield Item(text=result)
        if (result := count.end()) is not None:
            yield Item(text=result)

    async def both_ways(self, inputs: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """Passes inputs on to the stage before; the count of every item, a result a message."""
        count = Count(every=1)
        async for item in _both_ways(self._upstream, inputs):
            if (result := count.take(item.text)) is not None:
                yield Item(text=result)

    async def coalesced(self, work: Work, out: Outbox) -> None:
        """Into the outbox."""
        count = Count(work.every)
        async for message in ask(self._upstream, "Coalesced", work):
            for item in message.items:
                if (result := count.take(item.text)) is not None:
                    await out.put(result)
        if (result := count.end()) is not None:
            await out.put(result)

    async def media(self, work: Work) -> AsyncIterator[LaneChunk]:
        """One message at the end: the count."""
        seen = 0
        async for chunk in ask(self._upstream, "Media", work):
            seen += len(chunk.content) == MEBIBYTE
        yield LaneChunk(content=str(seen).encode())


Stage = Source | Upper | Counter


def handlers(stage: Stage) -> grpc.GenericRpcHandler:
    """The methods of a stage."""

    async def one(request: Item, context: Any) -> AsyncIterator[Item]:
        async for item in stage.one(Work.from_json(request.data_json)):
            yield item

    async def coalesced(request: Item, context: Any) -> AsyncIterator[LaneItems]:
        out = Outbox()

        async def fill() -> None:
            try:
                await stage.coalesced(Work.from_json(request.data_json), out)
            finally:
                out.end()

        filling = asyncio.create_task(fill())
        try:
            async for message in out.messages():
                yield message
            await filling
        finally:
            filling.cancel()
            await asyncio.wait([filling])

    async def media(request: Item, context: Any) -> AsyncIterator[LaneChunk]:
        async for chunk in stage.media(Work.from_json(request.data_json)):
            yield chunk

    async def both_ways(requests: AsyncIterator[Item], context: Any) -> AsyncIterator[Item]:
        async for item in stage.both_ways(requests):
            yield item

    behaviours: dict[str, Callable[..., AsyncIterator[Any]]] = {"One": one, "Coalesced": coalesced, "Media": media}
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            method: grpc.unary_stream_rpc_method_handler(
                behaviour,
                request_deserializer=Item.FromString,
                response_serializer=type_of_answer[method].SerializeToString,
            )
            for method, behaviour in behaviours.items()
        }
        | {
            "BothWays": grpc.stream_stream_rpc_method_handler(
                both_ways, request_deserializer=Item.FromString, response_serializer=Item.SerializeToString
            )
        },
    )


async def serve(stage_name: str, upstream: str | None) -> None:
    """Serves one stage on a free port of the loopback until stdin ends."""
    stage: Stage = Source()
    if upstream is not None:
        channel = grpc.aio.insecure_channel(upstream, options=OPTIONS)
        stage = Upper(channel) if stage_name == "upper" else Counter(channel)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers([handlers(stage)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(grace=0)


def main() -> None:
    """The command line of one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["source", "upper", "count"])
    parser.add_argument("--upstream", help="address of the stage before this one")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.stage, arguments.upstream))


if __name__ == "__main__":
    main()
