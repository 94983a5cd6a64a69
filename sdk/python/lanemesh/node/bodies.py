"""Where the bodies of a node run: in the event loop, or in worker threads."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from lanemesh.node.context import Context
from lanemesh.node.node import Kind, Node
from lanemesh.node.threads import THREADS

CLOSE_SECONDS = 0.5
"""How long a synchronous generator that is closed early is waited for."""


class Body(Protocol):
    """Runs `process` or `gen_process` on a copy of the node."""

    abandoned: str
    """Says so if a body went on when it was cancelled."""

    def process(self, node: Any) -> Awaitable[Any]:
        """What `process` returns."""

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """What `gen_process` yields."""


def body_of(node: type[Node], context: Context) -> Body:
    """What runs the bodies of a node class."""
    method: Any = getattr(node, node.kind_.value) if node.kind_ is not Kind.HELPER else None
    in_loop = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
    return LoopBody(context) if in_loop else ThreadBody(context)


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

    def __init__(self, context: Context) -> None:
        self.abandoned = ""
        self._context = context

    async def process(self, node: Any) -> Any:
        """What `process` returns."""
        return await self._call(partial(node.process, self._context))

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """What `gen_process` yields."""
        return in_threads(node.gen_process(self._context), self._call)

    async def _call(self, body: Callable[[], Any]) -> Any:
        try:
            return await THREADS.call(body)
        except asyncio.CancelledError:
            self._context.cancelled = True
            self._context.abandon_waits()
            self.abandoned = "its synchronous body did not stop and was abandoned"
            raise


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
                closer()
            finally:
                stepping.release()

    try:
        while (pair := await call(step)) is not end:
            yield pair
    finally:
        closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await THREADS.call(close)
