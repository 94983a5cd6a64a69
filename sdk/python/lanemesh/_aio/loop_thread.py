"""An event loop in a thread of its own, for callers that do not await: scripts, threads, and notebooks, whose own loop is busy."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
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
        self._lock = threading.RLock()  # reentrant, because a finalizer may stop it while its thread makes a call
        self._ending = False
        """No call is submitted any more. Written under the lock, so that each call comes before `stop` or is refused."""
        self._calls: dict[Future[Any], Coroutine[Any, Any, Any]] = {}
        """The calls that have not ended."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """It takes no more calls."""
        return self._ending or self.forked or not self._thread.is_alive()

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
        future = self._submit(work)
        if future is None:
            raise self._refused()
        return self._result(future, on_interrupt)

    def call_unless_closed(
        self, work: Coroutine[Any, Any, object], on_interrupt: Callable[[], Coroutine[Any, Any, object]] | None = None
    ) -> None:
        """Runs a coroutine that frees something, as `call` does; there is nothing to do if it is closed."""
        future = self._submit(work)
        if future is not None:
            self._result(future, on_interrupt)
        elif not self.closed:
            raise self._refused()

    def stop(self) -> None:
        """Ends the loop and its thread, within 10 s. Running tasks are cancelled; calls from now on are refused."""
        if self.forked:
            return
        with self._lock:
            if not self.closed:
                self._ending = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T] | None:
        """Has the loop run a coroutine. Closes it and returns None if it takes no more, or this is its own thread."""
        if not self.forked and threading.current_thread() is not self._thread:
            with self._lock:
                if not self.closed:
                    future = asyncio.run_coroutine_threadsafe(work, self._loop)
                    self._calls[future] = work
                    future.add_done_callback(lambda done: self._calls.pop(done, None))
                    return future
        work.close()
        return None

    def _result(self, future: Future[T], on_interrupt: Callable[[], Coroutine[Any, Any, object]] | None = None) -> T:
        try:
            return future.result()
        except BaseException as error:
            if not future.done():  # else it is the coroutine's own
                if on_interrupt is not None and isinstance(error, KeyboardInterrupt):
                    interrupted = self._submit(on_interrupt())
                    if interrupted is not None:
                        interrupted.result()
                future.cancel()
            raise

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
            with self._lock:
                self._ending = True
                self._loop.close()
            self._refuse_unfinished()

    def _refuse_unfinished(self) -> None:
        """Ends the calls that the closed loop has left: their tasks went on after their cancellation, or another one ended it."""
        for future, work in list(self._calls.items()):
            if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()
            with contextlib.suppress(InvalidStateError):  # its caller has just cancelled it
                future.set_exception(self._refused())
