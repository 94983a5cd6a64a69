"""The `Host` streams to node servers that wait for their next run, so that most runs open none."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from lanemesh._grpc.connections import ConnectionPool
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.runs.host_connection import HostStream

MAX_SPARE = 32
"""Most streams to one address that wait for a run."""
SPARE_SECONDS = 300.0
"""How long a stream waits for a run before it is closed."""


class HostStreams:
    """Opens streams, and keeps those of finished runs for later ones: up to 32 for each address, for 300 s."""

    def __init__(self, can_reuse: Callable[[str], bool]) -> None:
        """`can_reuse` returns whether the server at an address accepts several runs on one stream."""
        self._can_reuse = can_reuse
        self._pool = ConnectionPool()
        self._spare: dict[str, deque[HostStream]] = {}
        self._timers: dict[HostStream, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def spare(self) -> int:
        """Number of streams that wait for a run."""
        return sum(len(streams) for streams in self._spare.values())

    def open(self, address: str) -> HostStream:
        """A new stream."""
        return HostStream(self._pool.channel(address))

    def take(self, address: str) -> HostStream:
        """The stream that was used last, or a new one. The run that gets it must notice if the stream has ended meanwhile."""
        spare = self._spare.get(address)
        if not spare:
            return self.open(address)
        stream = spare.pop()
        if not spare:
            del self._spare[address]
        self._timers.pop(stream).cancel()
        return stream

    def give_back(self, address: str, stream: HostStream) -> bool:
        """Keeps the stream of a finished run. Returns False if it is not kept: the caller has to close it."""
        spare = self._spare.get(address, ())
        if self._closed or len(spare) >= MAX_SPARE or not self._can_reuse(address) or stream.call.done():
            return False
        stream.used = True
        self._spare.setdefault(address, deque()).append(stream)
        self._timers[stream] = asyncio.get_running_loop().call_later(SPARE_SECONDS, self._discard, address, stream)
        self._watch(address, stream)
        return True

    async def close(self) -> None:
        """Closes the streams that wait for a run, and the connections."""
        self._closed = True
        for address, streams in list(self._spare.items()):
            for stream in list(streams):
                self._discard(address, stream)
        await asyncio.gather(*self._closing)
        await self._pool.close()

    def _watch(self, address: str, stream: HostStream) -> None:
        """Notices the end of a stream that waits. The frame that it reads is for the next run, unless it is a heartbeat."""
        stream.read_ahead().add_done_callback(partial(self._heard, address, stream))

    def _heard(self, address: str, stream: HostStream, reading: asyncio.Future[Any]) -> None:
        ended = reading.cancelled() or reading.exception() is not None
        if stream not in self._timers:  # a run has it, or it is being closed
            return
        frame = None if ended else reading.result()
        if isinstance(frame, node_pb2.HostResponse) and frame.WhichOneof("frame") is None:
            self._watch(address, stream)
        else:
            self._discard(address, stream)

    def _discard(self, address: str, stream: HostStream) -> None:
        self._timers.pop(stream).cancel()
        self._spare[address].remove(stream)
        if not self._spare[address]:
            del self._spare[address]
        task = asyncio.create_task(stream.close(), name=f"close a spare stream to {address}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
