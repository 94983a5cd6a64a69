"""Execution of node bodies: in the event loop, or in worker threads."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, nullcontext, suppress
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from lanemesh._aio.threads import THREADS, ThreadSession, as_failure
from lanemesh._aio.user_code import ignored_close
from lanemesh.node.callables import CallKind, is_asynchronous, is_plain, kind_of
from lanemesh.node.context import Context
from lanemesh.node.node import Kind, Node

CLOSE_SECONDS = 0.5
"""How long to wait for a synchronous generator that is closed early."""


CLOSE_ATTEMPTS = 8
"""How often a synchronous generator is closed if it yields after `close`."""

HOP_SECONDS = 0.001
"""Time after which a hop to a worker thread starts no further body."""

MAX_HOP = 512
"""Most bodies that share one hop."""
MAX_HOP_BYTES = 256 * 1024
"""Total size of taken items above which a hop takes no more: 256 KiB."""


class Body(Protocol):
    """Runs `process` or `gen_process` on a copy of the node."""

    abandoned: str
    """A message if a body continued after its cancellation."""

    def process(self, node: Any) -> Awaitable[Any]:
        """The result of `process`."""

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """The values that `gen_process` yields."""


def body_of(node: type[Node], context: Context, *, overlapping: bool = False) -> Body:
    """The executor for the bodies of a node class; `overlapping` if several may run at once."""
    method: Any = getattr(node, node.kind_.value) if node.kind_ is not Kind.HELPER else None
    if is_asynchronous(method):
        return LoopBody(context)
    if is_plain(method) or kind_of(method) is CallKind.GENERATOR:
        return ThreadBody(context, overlapping=overlapping)
    return DecoratedBody(context, overlapping=overlapping)


class LoopBody:
    """Runs asynchronous bodies in the event loop."""

    abandoned = ""

    def __init__(self, context: Context) -> None:
        self._context = context

    def process(self, node: Any) -> Awaitable[Any]:
        """The result of `process`."""
        result: Awaitable[Any] = node.process(self._context)
        return result

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """The values that `gen_process` yields."""
        pairs: AsyncGenerator[Any, None] = node.gen_process(self._context)
        return pairs


class _WorkerBody:
    """Runs bodies in worker threads."""

    def __init__(self, context: Context, *, overlapping: bool = False) -> None:
        self.abandoned = ""
        self._whole = context
        self._overlapping = overlapping
        self._context = context.child()
        """The context that bodies get. An abandoned body sees `cancelled` in it, and later bodies get another context."""

    async def process(self, node: Any) -> Any:
        """The result of `process`."""
        context = self._its_context()
        return await self._call(partial(node.process, context), context)

    def _its_context(self) -> Context:
        return self._whole.child() if self._overlapping else self._context

    async def _call(self, body: Callable[[], Any], context: Context) -> Any:
        try:
            return await THREADS.call(body)
        except asyncio.CancelledError:
            self._abandon(context)
            raise

    def _abandon(self, context: Context) -> None:
        """Signals an abandoned body, which no cancellation reaches, to stop. Later bodies get another context."""
        context.cancelled = True
        context.abandon_waits()
        self._context = self._whole.child()
        self.abandoned = "its synchronous body did not stop and was abandoned"


class ThreadBody(_WorkerBody):
    """Runs synchronous bodies in worker threads."""

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """The values that `gen_process` yields."""
        context = self._its_context()
        return in_threads(node.gen_process(context), lambda: self._abandon(context))

    async def process_each(self, nodes: Iterable[Any], results: list[Any]) -> Exception | None:
        """Runs `process` on successive copies in a single hop to a thread, until one raises or 1 ms has passed, but at least on
        the first.

        Args:
            nodes: the copies to run on; the thread requests each one when it is due.
            results: the results are appended here.

        Returns:
            The error of the body after the last result; None if none raised.
        """
        context = self._its_context()
        error: Exception | None = await self._call(partial(_each, nodes, context, results), context)
        return error


class DecoratedBody(_WorkerBody):
    """Runs bodies whose decorators hide their kind: each is called in a worker thread, and the result is awaited or iterated
    where it belongs."""

    async def process(self, node: Any) -> Any:
        """The result of `process`."""
        result = await super().process(node)
        return await result if inspect.isawaitable(result) else result

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """The values that `gen_process` yields."""
        context = self._its_context()
        return iterated(partial(node.gen_process, context), lambda: self._abandon(context))


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
    """Limits the bodies of a hop to the number that ran in the last one, or twice that if all of them ran."""

    def __init__(self) -> None:
        self.most = 1
        """Most bodies in the next hop."""

    def did(self, done: int, *, of: int) -> None:
        """A hop has run `done` bodies of the `of` that it was given."""
        if done < of:
            self.most = max(1, done)
        elif of >= self.most:
            self.most = min(2 * self.most, MAX_HOP)


def _close(closer: Callable[[], object]) -> None:
    """Closes a generator, and closes it again if it yields after that. Raises RuntimeError if it still yields at the bound."""
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
    pairs: Iterable[Any], on_abandoned: Callable[[], object] | None = None, session: ThreadSession | None = None
) -> AsyncGenerator[Any, None]:
    """Iterates over a synchronous generator in a worker thread, and closes it there. It has one thread and one context from its
    first step to its end.

    Args:
        pairs: the generator, or another iterable.
        on_abandoned: called when a step is cancelled. That step continues in its thread until it ends.
        session: the thread; a new one by default.
    """
    session = session or ThreadSession()
    steps = _Steps(pairs)
    try:
        while (value := await session.call(steps.next)) is not _END:
            yield value
    except asyncio.CancelledError:
        if on_abandoned is not None:
            on_abandoned()
        raise
    finally:
        try:
            if not steps.ended:
                await _closed(session, steps)
        finally:
            session.end()


async def iterated(
    make: Callable[[], Any], on_abandoned: Callable[[], object] | None = None
) -> AsyncGenerator[Any, None]:
    """The values of a call that may return a generator of either kind. The call is made in a worker thread, which also iterates
    over a synchronous generator. An asynchronous generator is iterated in the event loop.

    Raises:
        TypeError: the result of the call is not iterable.
    """
    session = ThreadSession()
    try:
        made = await session.call(make)
        if inspect.isawaitable(made):
            made = await made
        if not hasattr(made, "__aiter__") and not isinstance(made, Iterable):
            what = f"it returned {type(made).__name__}, which cannot be iterated; it must yield, or return a generator"
            raise TypeError(what)
        synchronous = not hasattr(made, "__aiter__")
        values = in_threads(made, on_abandoned, session) if synchronous else made
        async with aclosing(values) if hasattr(values, "aclose") else nullcontext():
            async for value in values:
                yield value
    finally:
        session.end()


async def _closed(session: ThreadSession, steps: _Steps) -> None:
    """Closes a synchronous generator, and waits up to CLOSE_SECONDS for it. If a step is running, it is closed after that step."""
    steps.closing = True
    if steps.stepping:
        session.end(last=steps.close_quietly)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await session.call(steps.close)


_END: Any = object()


class _Steps:
    """A synchronous generator, as used by its thread."""

    def __init__(self, pairs: Iterable[Any]) -> None:
        self._pairs = pairs
        self._iterator: Iterator[Any] | None = None
        self.stepping = False
        """A step is running."""
        self.ended = False
        """The generator has ended or failed."""
        self.closing = False
        """No further step starts."""

    def next(self) -> Any:
        """The next value; `_END` at the end."""
        if self.closing:
            return _END
        self.stepping = True
        try:
            if self._iterator is None:
                self._iterator = iter(self._pairs)
            value = next(self._iterator, _END)
        except BaseException:
            self.ended = True
            raise
        finally:
            self.stepping = False
        self.ended = value is _END
        return value

    def close(self) -> None:
        """Closes the generator."""
        closer = getattr(self._iterator or self._pairs, "close", None)
        if closer is not None:
            _close(closer)

    def close_quietly(self) -> None:
        """Closes the generator. Its errors are discarded."""
        with suppress(BaseException):
            self.close()
