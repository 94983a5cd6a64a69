"""Execution of node bodies: in the event loop, or in worker threads."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, nullcontext
from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from lanemesh._aio.threads import HOP_SECONDS, THREADS, HopSize, ThreadSession, as_failure
from lanemesh.node.callables import CallKind, is_asynchronous, is_plain, kind_of
from lanemesh.node.context import Context
from lanemesh.node.node import Kind, Node

if TYPE_CHECKING:
    from lanemesh._aio.generators import GeneratorThread

MAX_HOP_BYTES = 256 * 1024
"""Total size of taken items above which a hop takes no more: 256 KiB."""


class Body(Protocol):
    """Runs `process` or `gen_process` on a copy of the node."""

    @property
    def abandoned(self) -> str:
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

    def __init__(self, context: Context, *, overlapping: bool = False) -> None:
        super().__init__(context, overlapping=overlapping)
        self._pulls: HopSize | None = None
        """The limit of a trip to a generator's thread."""

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """The values that `gen_process` yields."""
        from lanemesh._aio.generators import GeneratorThread

        context = self._its_context()
        make = partial(node.gen_process, context)
        values = GeneratorThread([make], on_abandoned=lambda: self._abandon(context)).values(last=True)
        values.__qualname__ = make.func.__qualname__  # type: ignore[attr-defined]  # named in the warning of `Closing`
        return values

    def generate_each(self, nodes: Iterable[Any]) -> GeneratorThread:
        """Runs `gen_process` on successive copies in one thread. The values of each are those of one call of `values`.

        Args:
            nodes: the copies to run on; the thread requests each one when it is due.
        """
        from lanemesh._aio.generators import MAX_AHEAD, GeneratorThread

        context = self._its_context()
        self._pulls = self._pulls or HopSize(MAX_AHEAD)
        makers = (partial(node.gen_process, context) for node in nodes)
        return GeneratorThread(
            makers,
            size=self._pulls,
            on_abandoned=lambda: self._abandon(context),
            name=f"{context.component}.gen_process",
        )

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
            results.append(copy_context().run(node.process, context))  # no variable passes to the next firing
        except StopIteration as error:
            return as_failure(error)
        except Exception as error:
            return error
        except BaseException as error:
            return as_failure(error)
        if context.cancelled or perf_counter() > until:
            break
    return None


async def iterated(
    make: Callable[[], Any], on_abandoned: Callable[[], object] | None = None
) -> AsyncGenerator[Any, None]:
    """The values of a call that may return a generator of either kind. The call is made in a worker thread, which also iterates
    over a synchronous generator. An asynchronous generator is iterated in the event loop.

    Raises:
        TypeError: the result of the call is not iterable.
    """
    from lanemesh._aio.generators import in_threads

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
