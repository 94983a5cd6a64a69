"""The node types of the bare server, and one of them in a run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from lanemesh.v1 import lane_pb2, node_pb2

from rigs.bare_server.consumer_end import Input
from rigs.bare_server.faults import Failed, Fault, consequence, fault
from rigs.bare_server.producer_end import Lane


class Component:
    """A node in a run."""

    def __init__(self, instance: node_pb2.Instance, config: dict[str, Any]) -> None:
        self.name, self.config = instance.component, config
        self.body, self.fires = BODIES[instance.provider]
        self.seconds = instance.timeout.ToNanoseconds() / 1e9 if instance.HasField("timeout") else None
        self.input = Input()
        self.lanes: list[Lane] = []
        self.skipped = False

    async def emit(self, item: lane_pb2.Item) -> bool:
        """Sends an item by every lane that is not stopped. Returns False if none is left."""
        taking = await asyncio.gather(*(lane.emit(item) for lane in self.lanes if not lane.stopped))
        return any(taking) or not self.lanes

    def text(self, text: str) -> Awaitable[bool]:
        return self.emit(lane_pb2.Item(text=text))

    async def work(self) -> None:
        """The body, until it ends or no lane takes anything."""
        if not self.fires:
            async with asyncio.timeout(self.seconds):
                await self.body(self, None)
            return
        self.skipped = True
        while (item := await self.input.next()) is not None:
            self.skipped = False
            async with asyncio.timeout(self.seconds):
                await self.body(self, item)
            if self.lanes and all(lane.stopped for lane in self.lanes):
                return

    async def run(self) -> Fault | None:
        """Runs the node to its end, and ends its lanes. Returns its fault."""
        cause: Fault | None = None
        working, watching = asyncio.ensure_future(self.work()), asyncio.ensure_future(self._unwanted())
        try:
            await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        except Failed as failed:
            cause = failed.fault
        except TimeoutError:
            cause = fault(4, "timeout", f"{self.name} took too long", component=self.name)
        except asyncio.CancelledError:
            cause = fault(1, "cancelled", f"{self.name} was cancelled", secondary=True, component=self.name)
        except Exception as error:
            cause = fault(2, "node-error", f"{type(error).__name__}: {error}", component=self.name)
        for task in (working, watching):
            task.cancel()
        await asyncio.wait([working, watching])
        if cause is None and self.lanes and all(lane.stopped for lane in self.lanes):
            cause = next((consequence(lane.fault) for lane in self.lanes if lane.fault is not None), None)
        outcome = consequence(cause) if cause is not None else None
        await asyncio.gather(*(lane.end(outcome) for lane in self.lanes))
        await self.input.stop(outcome)
        return cause

    async def _unwanted(self) -> None:
        """Returns when all lanes were stopped."""
        if not self.lanes or any(lane.inside is not None for lane in self.lanes):
            await asyncio.Event().wait()
        for lane in self.lanes:
            async with lane.news:
                await lane.news.wait_for(lambda lane=lane: lane.stopped)  # type: ignore[misc]


Body = Callable[[Component, Any], Awaitable[Any]]


async def _source(node: Component, _: None) -> None:
    for number in range(node.config.get("count", 3)):
        if not await node.text(str(number)):
            return


async def _count(node: Component, _: None) -> None:
    count = 0
    while await node.input.next() is not None:
        count += 1
    await node.text(str(count))


async def _first(node: Component, _: None) -> None:
    for _number in range(node.config.get("count", 1)):
        item = await node.input.next()
        if item is None:
            return
        await node.emit(item)


async def _slow(node: Component, item: lane_pb2.Item) -> None:
    await asyncio.sleep(node.config.get("milliseconds", 50) / 1000)
    await node.emit(item)


async def _fail(node: Component, item: lane_pb2.Item) -> None:
    if item.text == "fail":
        raise ValueError("it got the text that it fails at")
    await node.emit(item)


async def _sink(node: Component, item: lane_pb2.Item) -> None:
    return None


BODIES: dict[str, tuple[Body, bool]] = {
    "conformance_echo": (Component.emit, True),
    "conformance_source": (_source, False),
    "conformance_sink": (_sink, True),
    "conformance_count": (_count, False),
    "conformance_slow": (_slow, True),
    "conformance_fail": (_fail, True),
    "conformance_first": (_first, False),
}
"""The node types: their bodies, and whether they fire per item."""
SETTINGS = {
    "conformance_source": ("count", 0),
    "conformance_slow": ("milliseconds", 0),
    "conformance_first": ("count", 1),
}
"""The setting of each node type that has one, and its least value."""
