"""Drives nodes that read streams of text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from lanemesh.items import Envelope
from lanemesh.node.context import Context
from lanemesh.node.node import Node
from lanemesh.v1 import update_pb2


class Feed:
    """Inputs whose pieces are pushed by the test, and outputs that keep what is emitted."""

    def __init__(self, pieces: Sequence[str] = ()) -> None:
        self.pieces: asyncio.Queue[str | None] = asyncio.Queue()
        self.emitted: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        for piece in pieces:
            self.pieces.put_nowait(piece)

    async def stream(self, port: str) -> AsyncIterator[str]:
        assert port == "text"
        while (piece := await self.pieces.get()) is not None:
            yield piece

    async def emit(self, port: str, value: Any, envelope: Envelope | None = None) -> bool:
        self.emitted.put_nowait((port, value))
        return True


async def _report(update: update_pb2.Update) -> None:
    pass


def context_of(node: type[Node]) -> Context:
    return Context(run_id="r", component=f"{node.provider}_1", provider=node.provider, report=_report)


async def drive(kind: type[Node], feed: Feed, **config: Any) -> list[Any]:
    """Runs a node over a feed to its end; returns what it emitted."""
    node: Any = kind()
    node.config = kind.Config(**config)
    feed.pieces.put_nowait(None)
    await node.run(context_of(kind), feed, feed)
    return [value for _, value in [feed.emitted.get_nowait() for _ in range(feed.emitted.qsize())]]
