"""Worker threads for synchronous bodies: few, daemonic, and never joined at exit, so that a stuck body holds nothing up."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from lanemesh.lanes.rendering import rendered
from lanemesh.lanes.user_code import NoException

R = TypeVar("R")

MAX_THREADS = 32
"""Most threads of this process that run synchronous bodies; further bodies wait for one."""

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Threads:
    """A pool of daemon threads. A cancelled call is abandoned: its thread goes on, and what it returns is discarded.

    Abandoned bodies do not count against the limit, so that stuck ones take no thread from others.
    """

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._limit = limit
        self._threads = 0
        self._open = 0
        """Calls that wait or run."""
        self._lock = threading.Lock()

    async def call(self, function: Callable[..., R], *arguments: Any) -> R:
        """Runs a function in a thread and returns what it returns."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        context = contextvars.copy_context()
        ended = abandoned = False

        def job() -> R:
            nonlocal ended
            try:
                if abandoned:  # cancelled while it waited for a thread
                    raise asyncio.CancelledError
                return context.run(function, *arguments)
            finally:
                with self._lock:
                    ended = True
                    self._open -= 1
                    self._limit -= abandoned

        with self._lock:
            self._open += 1
        self._jobs.put((job, loop, future))
        self._grow()
        try:
            return await future
        except asyncio.CancelledError:
            with self._lock:
                if not ended:
                    abandoned = True
                    self._limit += 1
            self._grow()
            raise

    def _grow(self) -> None:
        """Starts a thread if there is work for one more."""
        with self._lock:
            if self._threads < min(self._open, self._limit):
                self._threads += 1
                threading.Thread(target=self._work, name=f"lanemesh-body-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while True:
            job, loop, future = self._jobs.get()
            result: Any = None
            error: BaseException | None = None
            try:
                result = job()
            except StopIteration as raised:
                error = as_failure(raised)
            except Exception as raised:
                error = raised
            except BaseException as raised:
                error = as_failure(raised)
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, future, result, error)
            with self._lock:
                if self._threads > self._limit:
                    self._threads -= 1
                    return


def as_failure(error: BaseException) -> RuntimeError:
    """What a body raised that no future can carry, or that would end more than the node, as its failure."""
    if not isinstance(error, StopIteration):
        return NoException(error)
    failure = RuntimeError(f"a synchronous body raised StopIteration: {rendered(error.value)}")
    return failure.with_traceback(error.__traceback__)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


THREADS = Threads()
"""The pool of this process."""
