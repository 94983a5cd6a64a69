"""Frames on their way out of one end of a gRPC stream: written one at a time, never one written while another is."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from lanemesh._aio.signal import Signal
from lanemesh.protocol import IDLE_FRAME_SECONDS

FrameT = TypeVar("FrameT")

LIMIT = 256
"""Maximum number of unwritten frames; above that the peer is disconnected."""


class Outbox(Generic[FrameT]):
    """A queue with one reader, who iterates it and writes what it yields. Ends once finished and drained."""

    def __init__(self, empty: FrameT) -> None:
        self._empty = empty
        self._frames: deque[FrameT] = deque()
        self._wake = Signal()
        self._finished = False

    def put(self, frame: FrameT) -> None:
        """Queues a frame; never waits. Over the limit the outbox finishes; once it has, further frames are dropped."""
        if len(self._frames) >= LIMIT:
            self._finished = True
        if not self._finished:
            self._frames.append(frame)
        self._wake.fire()

    def finish(self) -> None:
        """Marks the end of the queue."""
        self._finished = True
        self._wake.fire()

    async def __aiter__(self) -> AsyncIterator[FrameT]:
        while True:
            while self._frames:
                yield self._frames.popleft()
            if self._finished:
                return
            if not await self._wake.wait_at_most(IDLE_FRAME_SECONDS):
                self._frames.append(self._empty)
