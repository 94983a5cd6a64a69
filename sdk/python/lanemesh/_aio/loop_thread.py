"""An event loop in a thread of its own, for callers that do not await: scripts, threads, and notebooks, whose own loop is busy."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from lanemesh._aio.loops import misuse
from lanemesh.faults import LanemeshError

T = TypeVar("T")


class Closable(Protocol):
    """An asynchronous iterator that is read item by item."""

    async def aclose(self) -> None:
        """Ends it."""


STOP_SECONDS = 10.0
"""Time limit for the thread to end."""


class LoopThread:
    """Runs coroutines in a daemon thread. Any number of threads may call it at once."""

    def __init__(self, name: str) -> None:
        self.reading: set[Closable] = set()
        """Views and subscriptions that other threads read, and that have to be closed before the loop is."""
        self._name = name
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """It takes no more calls."""
        return self.forked or self._loop.is_closed() or not self._thread.is_alive()

    @property
    def forked(self) -> bool:
        """This is a child that was forked from the process that has the thread."""
        return os.getpid() != self._pid

    def call(
        self, work: Coroutine[Any, Any, T], on_interrupt: Callable[[], Coroutine[Any, Any, object]] | None = None
    ) -> T:
        """Runs a coroutine there and waits for it. An exception of a signal here cancels it; after an interrupt (Ctrl-C), the
        coroutine of `on_interrupt` runs first.

        Raises:
            LanemeshError: it is closed, this process was forked from its process, or it is called from its own thread, which
                would wait for itself.
            BaseException: the exception of the coroutine.
        """
        if self.closed or threading.current_thread() is self._thread:
            work.close()
            raise self._refused()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException as error:
            if not future.done():  # else it is the coroutine's own
                if on_interrupt is not None and isinstance(error, KeyboardInterrupt):
                    asyncio.run_coroutine_threadsafe(on_interrupt(), self._loop).result()
                future.cancel()
            raise

    def stop(self) -> None:
        """Ends the loop and its thread, within 10 s. Running tasks are cancelled."""
        if self.closed:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)

    def _refused(self) -> LanemeshError:
        if self.forked:
            why = 'does not work in a forked child: start the child by multiprocessing\'s "spawn" or "forkserver"'
            return misuse("forked", f"this {self._name} {why}")
        if self.closed:
            return misuse("closed", f"this {self._name} is closed: create another one")
        why = "is called from its own event loop: use `await` with the asynchronous one there"
        return misuse("other-loop", f"this {self._name} {why}")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=STOP_SECONDS / 2))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
