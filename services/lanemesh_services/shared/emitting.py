"""Streams the values that a blocking function emits in a worker thread, such as the steps of a model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from lanemesh.extend import in_thread

T = TypeVar("T")


class Emitter(Generic[T]):
    """The end of the stream in the worker thread."""

    def __init__(self, send: Callable[[T], object], ahead: int) -> None:
        """`send`: called in the thread with each value. `ahead`: number of values that may wait for the reader."""
        self._send = send
        self._capacity = threading.Semaphore(ahead)
        self._stopped = threading.Event()

    @property
    def stopped(self) -> bool:
        """The reader is gone: the function should return soon."""
        return self._stopped.is_set()

    def emit(self, value: T) -> bool:
        """Sends a value, and waits while the reader is behind. Returns False if the reader is gone."""
        self._capacity.acquire()
        if self.stopped:
            return False
        with suppress(RuntimeError):  # the loop is closed
            self._send(value)
        return not self.stopped

    def taken(self) -> None:
        """The reader has taken a value."""
        self._capacity.release()

    def stop(self) -> None:
        """The reader is gone; a waiting `emit` returns False."""
        self._stopped.set()
        self._capacity.release()


async def emitted(function: Callable[[Emitter[T]], object], *, ahead: int = 2) -> AsyncGenerator[T, None]:
    """Yields each value that `function` emits, and raises its error after them.

    When the iteration is left or cancelled, the emitter is stopped, and the thread continues until the function notices that.

    Args:
        function: called in a worker thread with the emitter.
        ahead: how many values the function may be ahead of the reader.
    """
    loop = asyncio.get_running_loop()
    values: asyncio.Queue[tuple[T] | None] = asyncio.Queue()
    emitter: Emitter[T] = Emitter(lambda value: loop.call_soon_threadsafe(values.put_nowait, (value,)), ahead)
    task = asyncio.create_task(in_thread(function, emitter), name="emit values")
    task.add_done_callback(lambda _: values.put_nowait(None))
    try:
        while (value := await values.get()) is not None:
            emitter.taken()
            yield value[0]
        await task
    finally:
        emitter.stop()
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # its error was raised above, or it is not read any more
            await task
