"""Frames with updates to clients of `Run` and `WatchRun`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import grpc.aio
from lanemesh._grpc.writing import write
from lanemesh.protocol import IDLE_FRAME_SECONDS
from lanemesh.text_outputs import Entry, TextOutputs
from lanemesh.v1 import run_pb2

Context = grpc.aio.ServicerContext[Any, Any]
Frame = run_pb2.RunResponse | run_pb2.WatchRunResponse
B = TypeVar("B")


def fill(frame: Frame, batch: Sequence[Entry], *, texts: bool) -> None:
    """Adds updates to a frame. `texts`: whether the client reads `text_outputs`."""
    for entry in batch:
        if not isinstance(entry, TextOutputs):
            frame.updates.append(entry)
        elif texts:
            frame.text_outputs.append(entry.to_proto())
        else:
            frame.updates.extend(entry.updates())


class Frames:
    """Writes the frames of one call to a client, one at a time."""

    def __init__(self, context: Context, empty: Callable[[], Frame]) -> None:
        """`empty` creates the frame without updates, which serves as heartbeat."""
        self._context = context
        self._empty = empty
        self._writing = asyncio.Lock()
        self._wrote_at = asyncio.get_running_loop().time()
        self._timer: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None
        """Writes a heartbeat."""
        self._over = False
        """All updates are sent: no further heartbeat begins."""

    async def send(self, batches: AsyncGenerator[B, None], framed: Callable[[B], Frame]) -> None:
        """Sends all updates, and a heartbeat after 20 s without one. Updates that arrive during a write are sent together in the
        next frame."""
        self._look()
        try:
            async with aclosing(batches):
                async for batch in batches:
                    await self._write(framed(batch))
        finally:
            self._over = True
            if self._timer is not None:
                self._timer.cancel()
            if (beating := self._beating) is not None:
                async with self._writing:  # cancelling a write would end the call
                    beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)

    async def send_empty(self) -> None:
        """Sends a frame without updates. Raises the error of gRPC if the client has disconnected."""
        await self._write(self._empty())

    def _look(self) -> None:
        """Begins a heartbeat if no frame was written for 20 s, and looks again when one may be due."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._wrote_at + IDLE_FRAME_SECONDS:
            self._beating = asyncio.create_task(self._beat(), name="heartbeat")
        else:
            self._timer = loop.call_at(self._wrote_at + IDLE_FRAME_SECONDS, self._look)

    async def _beat(self) -> None:
        await self.send_empty()
        self._beating = None
        if not self._over:
            self._look()

    async def _write(self, frame: Frame) -> None:
        async with self._writing:
            await write(self._context, frame)
        self._wrote_at = asyncio.get_running_loop().time()
