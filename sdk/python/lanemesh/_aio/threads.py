"""Worker threads for synchronous bodies: as many as are needed, daemonic, and never joined at exit, so that a stuck body delays
nothing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from lanemesh._aio.user_errors import NoException
from lanemesh.rendering import rendered

R = TypeVar("R")

MAX_THREADS = 10_000
"""Maximum number of threads of this process that run synchronous bodies; further bodies wait for one, and a warning is logged."""
KEPT_THREADS = 32
"""Maximum number of idle threads that are kept for later bodies."""
IDLE_SECONDS = 5.0
"""How long an idle thread stays that is not kept."""

HOP_SECONDS = 0.001
"""Time after which a hop to a worker thread starts no further body, and pulls no further value."""

MAX_HOP = 512
"""Most bodies that share one hop."""

log = logging.getLogger("lanemesh.threads")


_Deliver = Callable[[], object]


class _Job:
    """Something that a thread runs."""

    __slots__ = ("abandoned", "ended", "run")

    def __init__(self, run: Callable[[_Job], _Deliver | None]) -> None:
        self.run = run
        """Returns a function that passes on its result, called when the thread is free again."""
        self.ended = False
        self.abandoned = False
        """It is no longer awaited."""


class Threads:
    """A pool of daemon threads. A cancelled call is abandoned: its thread continues, and its result is discarded.

    Abandoned calls do not count against the limit, so stuck calls do not block others.
    """

    def __init__(self, limit: int = MAX_THREADS, kept: int = KEPT_THREADS) -> None:
        """`limit`: maximum number of threads; `kept`: maximum number of idle threads."""
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._limit = limit
        self._kept = kept
        self._threads = 0
        self._open = 0
        """Jobs that wait or run."""
        self._lock = threading.Lock()
        self._warned = False

    async def call(self, function: Callable[..., R], *arguments: Any) -> R:
        """Runs a function in a thread and returns its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        context = contextvars.copy_context()

        def run(job: _Job) -> _Deliver | None:
            if job.abandoned:  # cancelled while it waited for a thread
                return None
            return _answer(loop, future, lambda: context.run(function, *arguments))

        job = self.begin(run)
        try:
            return await future
        except asyncio.CancelledError:
            self.abandon(job)
            raise

    def begin(self, run: Callable[[_Job], _Deliver | None]) -> _Job:
        """Has a thread run something, which raises nothing."""
        job = _Job(run)
        with self._lock:
            self._open += 1
        self._jobs.put(job)
        self._grow()
        return job

    def abandon(self, job: _Job) -> None:
        """Lets a job go on without counting it against the limit."""
        with self._lock:
            if job.ended or job.abandoned:
                return
            job.abandoned = True
            self._limit += 1
        self._grow()

    def _grow(self) -> None:
        """Starts a thread if there is work for one more."""
        with self._lock:
            if self._threads >= self._open:
                return
            if self._threads >= self._limit:
                self._warn(f"all {self._limit} worker threads are in use")
                return
            self._threads += 1
            name = f"lanemesh-body-{self._threads}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError as error:  # the operating system starts no more threads
            with self._lock:
                self._threads -= 1
                if not self._threads:
                    raise
                self._warn(f"the operating system starts no more than {self._threads} threads ({error})")

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("%s: further synchronous bodies wait for one; lower concurrency, or use more node servers", why)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            deliver = job.run(job)
            with self._lock:
                job.ended = True
                self._open -= 1
                self._limit -= job.abandoned
                surplus = self._threads > self._limit
                self._threads -= surplus
            if deliver is not None:
                deliver()
            if surplus:
                return
            del job, deliver  # they reference the result of the call

    def _next(self) -> _Job | None:
        """The next job; None if the thread shall end, since more are idle than are kept."""
        while True:
            try:
                return self._jobs.get(timeout=IDLE_SECONDS if self._threads > self._kept else None)
            except queue.Empty:
                with self._lock:
                    if self._threads > max(self._kept, self._open):
                        self._threads -= 1
                        return None


class ThreadSession:
    """One thread and one context for several calls, one after the other, such as the steps of a generator.

    The thread is taken with the first call. `end` releases it.
    """

    def __init__(self, threads: Threads | None = None) -> None:
        self._threads = threads if threads is not None else THREADS
        self._calls: queue.SimpleQueue[_Deliver | None] = queue.SimpleQueue()
        self._context: contextvars.Context | None = None
        self._job: _Job | None = None
        self._ended = False

    async def call(self, function: Callable[[], R]) -> R:
        """Runs a function in the thread and returns its result. A cancelled call continues; later ones wait for it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self.post(lambda: _answer(loop, future, function)())
        try:
            return await future
        except asyncio.CancelledError:
            self.abandon()
            raise

    def post(self, function: Callable[[], object]) -> None:
        """Runs a function in the thread after the earlier calls. It raises nothing, and its result is discarded."""
        self._calls.put(function)
        if self._job is None:
            self._context = contextvars.copy_context()
            self._job = self._threads.begin(self._serve)

    def abandon(self) -> None:
        """The present call is not awaited any more: its thread does not count against the limit."""
        if self._job is not None:
            self._threads.abandon(self._job)

    def end(self, last: Callable[[], None] | None = None) -> None:
        """Releases the thread after its calls and `last`, which raises nothing."""
        if self._job is not None and not self._ended:
            self._ended = True
            if last is not None:
                self._calls.put(last)
            self._calls.put(None)

    def _serve(self, _: _Job) -> None:
        assert self._context is not None
        self._context.run(self._serve_in_context)

    def _serve_in_context(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # it references its result


class HopSize:
    """Limits the bodies or values of a hop to the number that the last one managed, or twice that if it reached its limit."""

    def __init__(self, limit: int = MAX_HOP) -> None:
        self.most = 1
        """Most bodies or values in the next hop."""
        self._limit = limit

    def did(self, done: int, *, of: int) -> None:
        """A hop has managed `done` of the `of` that it was given."""
        if done < of:
            self.most = max(1, done)
        elif of >= self.most:
            self.most = min(2 * self.most, self._limit)


def as_failure(error: BaseException) -> RuntimeError:
    """The failure of a body for an exception that no future can carry, or that would end more than the node."""
    if not isinstance(error, StopIteration):
        return NoException(error)
    failure = RuntimeError(f"a synchronous body raised StopIteration: {rendered(error.value)}")
    return failure.with_traceback(error.__traceback__)


def _answer(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], function: Callable[[], Any]) -> _Deliver:
    """Runs a function. Returns a function that sets its outcome on a future of a loop."""
    result: Any = None
    error: BaseException | None = None
    try:
        result = function()
    except StopIteration as raised:
        error = as_failure(raised)
    except Exception as raised:
        error = raised
    except BaseException as raised:
        error = as_failure(raised)

    def deliver() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: there is no waiter any more
            loop.call_soon_threadsafe(_settle, future, result, error)

    return deliver


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


THREADS = Threads()
"""The pool of this process."""
