"""A few threads of an engine's own. They are daemons, so that neither a cancelled generation nor a hung one delays exit."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonPool:
    """A fixed number of daemon threads that take work first come, first served. Threads start when they are first needed.

    The queue has no limit of its own: whoever submits waits for the result, so it holds at most one entry per waiter.
    """

    def __init__(self, workers: int, name: str) -> None:
        self._workers = workers
        self._name = name
        self._threads: list[threading.Thread] = []
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._busy = 0

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queues a call; its future gets the result. Cancelling the future while the call waits takes it out of the queue."""
        future: Future[T] = Future()
        with self._lock:
            self._busy += 1
            if self._busy > len(self._threads) < self._workers:
                name = f"{self._name}-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
                self._threads[-1].start()
        self._work.put((work, future))
        return future

    async def run(self, work: Callable[[], T]) -> T:
        """Runs a blocking call and waits for it without blocking the event loop."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """Lets every thread end once the work before it is done. Does not wait."""
        for _ in self._threads:
            self._work.put(None)

    def _serve(self) -> None:
        while (entry := self._work.get()) is not None:
            work, future = entry
            try:
                if future.set_running_or_notify_cancel():
                    try:
                        result = work()
                    except BaseException as error:
                        future.set_exception(error)
                    else:
                        future.set_result(result)
            finally:
                with self._lock:
                    self._busy -= 1
            # A reference kept while waiting for more would keep an engine alive that nobody else has any more.
            del entry, work, future
