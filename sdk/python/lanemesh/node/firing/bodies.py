"""Where the bodies of a node run: in the event loop, or in worker threads."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from lanemesh._aio.threads import THREADS, as_failure
from lanemesh.lanes.user_code import ignored_close
from lanemesh.node.context import Context
from lanemesh.node.node import Kind, Node

CLOSE_SECONDS = 0.5
"""How long a synchronous generator that is closed early is waited for."""


CLOSE_ATTEMPTS = 8
"""How often a synchronous generator is closed that yields after it was closed."""

HOP_SECONDS = 0.001
"""Time after which a hop to a worker thread begins no further body."""

MAX_HOP = 512
"""Most bodies that share one hop."""
MAX_HOP_BYTES = 256 * 1024
"""Bytes of what was taken past which a hop takes no more: 256 KiB."""


class Body(Protocol):
    """Runs `process` or `gen_process` on a copy of the node."""

    abandoned: str
    """Says so if a body went on when it was cancelled."""

    def process(self, node: Any) -> Awaitable[Any]:
        """What `process` returns."""

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """What `gen_process` yields."""


def body_of(node: type[Node], context: Context, *, overlapping: bool = False) -> Body:
    """What runs the bodies of a node class; `overlapping` if several may run at once."""
    method: Any = getattr(node, node.kind_.value) if node.kind_ is not Kind.HELPER else None
    in_loop = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
    return LoopBody(context) if in_loop else ThreadBody(context, overlapping=overlapping)


class LoopBody:
    """Runs asynchronous bodies in the event loop."""

    abandoned = ""

    def __init__(self, context: Context) -> None:
        self._context = context

    def process(self, node: Any) -> Awaitable[Any]:
        """What `process` returns."""
        result: Awaitable[Any] = node.process(self._context)
        return result

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """What `gen_process` yields."""
        pairs: AsyncGenerator[Any, None] = node.gen_process(self._context)
        return pairs


class ThreadBody:
    """Runs synchronous bodies in worker threads."""

    def __init__(self, context: Context, *, overlapping: bool = False) -> None:
        self.abandoned = ""
        self._whole = context
        self._overlapping = overlapping
        self._context = context.child()
        """What bodies see, until one of them is abandoned: they see it by `cancelled`, later ones have another."""

    async def process(self, node: Any) -> Any:
        """What `process` returns."""
        context = self._its_context()
        return await self._call(partial(node.process, context), context)

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """What `gen_process` yields."""
        context = self._its_context()

        def call(step: Callable[[], Any]) -> Awaitable[Any]:
            return self._call(step, context)

        return in_threads(node.gen_process(context), call)

    async def process_each(self, nodes: Iterable[Any], results: list[Any]) -> Exception | None:
        """Runs `process` on one after the other in a single hop to a thread, until one raises or 1 ms has passed; on the first
        in any case.

        Args:
            nodes: the copies to run on; the thread asks for each when its turn has come.
            results: what they return is added here meanwhile.

        Returns:
            What the one after those raised that returned; None if none did.
        """
        context = self._its_context()
        error: Exception | None = await self._call(partial(_each, nodes, context, results), context)
        return error

    def _its_context(self) -> Context:
        return self._whole.child() if self._overlapping else self._context

    async def _call(self, body: Callable[[], Any], context: Context) -> Any:
        try:
            return await THREADS.call(body)
        except asyncio.CancelledError:
            context.cancelled = True
            context.abandon_waits()
            self._context = self._whole.child()
            self.abandoned = "its synchronous body did not stop and was abandoned"
            raise


def _each(nodes: Iterable[Any], context: Context, results: list[Any]) -> Exception | None:
    until = perf_counter() + HOP_SECONDS
    for node in nodes:
        try:
            results.append(node.process(context))
        except StopIteration as error:
            return as_failure(error)
        except Exception as error:
            return error
        except BaseException as error:
            return as_failure(error)
        if context.cancelled or perf_counter() > until:
            break
    return None


class HopSize:
    """How many bodies may share a hop: as many as were done in one lately, and twice that if all were."""

    def __init__(self) -> None:
        self.most = 1
        """Most bodies of the next hop."""

    def did(self, done: int, *, of: int) -> None:
        """A hop did so many bodies of those that it was given."""
        if done < of:
            self.most = max(1, done)
        elif of >= self.most:
            self.most = min(2 * self.most, MAX_HOP)


def _close(closer: Callable[[], object]) -> None:
    """Closes a generator; again if it yields after that. Raises RuntimeError if it goes on doing so."""
    for _ in range(CLOSE_ATTEMPTS - 1):
        try:
            closer()
        except RuntimeError as error:
            if not ignored_close(error):
                raise
        else:
            return
    closer()


async def in_threads(
    pairs: Iterator[Any], call: Callable[[Callable[[], Any]], Awaitable[Any]] = THREADS.call
) -> AsyncGenerator[Any, None]:
    """Iterates over a synchronous generator by `call`, which runs each step in a worker thread, and closes it in the end."""
    end = object()
    closing = threading.Event()
    stepping = threading.Lock()

    def step() -> Any:
        try:
            with stepping:
                return end if closing.is_set() else next(pairs, end)
        finally:
            if closing.is_set():  # it was abandoned meanwhile
                close()

    def close() -> None:
        closer = getattr(pairs, "close", None)
        if closer is not None and stepping.acquire(blocking=False):
            try:
                _close(closer)
            finally:
                stepping.release()

    ended = False
    try:
        while (pair := await call(step)) is not end:
            yield pair
        ended = True
    finally:
        closing.set()
        if not ended:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await THREADS.call(close)
